"""Rows of one model by constant SQL: what its fields ask for is worked out once, and not for every order.

The values go through the same fields as in the ORM, in both directions; only the putting together of query sets is left out.
"""

from collections.abc import Callable, Collection, Sequence
from functools import cache, cached_property
from typing import Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections, transaction
from django.db.models import Field, Model
from django.db.models.sql import Query

from audit import sql

Row = TypeVar("Row", bound=Model)
Fields = list[Field[Any, Any]]


class Columns:
    """Some columns of a model's table, or all: their names for a SELECT, and the values of their fields."""

    def __init__(self, model: type[Model], names: tuple[str, ...] | None = None) -> None:
        self._of, self._chosen = model, names
        self.table = f'"{model._meta.db_table}"'

    def columns(self, alias: str = "") -> str:
        """Return the columns for a SELECT."""
        return ", ".join(f'{alias or self.table}."{field.column}"' for field in self._fields)

    @cached_property
    def width(self) -> int:
        """Return the number of the columns."""
        return len(self._fields)

    def values(self, found: Sequence[Any]) -> list[Any]:
        """Return what the driver gave for ``columns`` as the fields' values. Raises ValueError for what is no exact figure."""
        made = list(found)
        own = connections[DEFAULT_DB_ALIAS]
        for at, convert, expression in _converters(self, own.vendor):
            made[at] = convert(made[at], expression, own)
        return made

    @cached_property
    def _fields(self) -> Fields:
        fields = {field.attname: field for field in self._of._meta.concrete_fields}
        return list(fields.values()) if self._chosen is None else [fields[name] for name in self._chosen]


class Table(Columns, Generic[Row]):
    """The table of one model whose rows are read and written whole. Nothing is validated, and no signal is sent."""

    def __init__(self, model: type[Row]) -> None:
        super().__init__(model)
        self.model = model

    def row(self, found: Sequence[Any]) -> Row:
        """Return the instance of what the driver gave for ``columns``. Raises ValueError for what is no exact figure."""
        return self.model.from_db(DEFAULT_DB_ALIAS, self._names, self.values(found))

    def read(self, column: str, values: Collection[Any]) -> list[Row]:
        """Return the rows of which the column is one of these values. Raises django.db.Error."""
        if not values:
            return []
        condition, params = sql.any_of(column, values)
        return [self.row(found) for found in sql.rows(self._select + condition, params)]

    def save(self, row: Row, without: tuple[str, ...] = ()) -> None:
        """Add a row that has no id yet, which gets one, or write one that has, all of it but the fields named.

        The fields give their values as they are: what ``auto_now`` would set, the caller sets. Raises django.db.Error, also when
        a row that has an id is not there; as with the ORM, the transaction can then only be rolled back, on SQLite too.
        """
        with transaction.mark_for_rollback_on_error(DEFAULT_DB_ALIAS):
            if row.pk is None:
                statement, fields = self._insert
                row.pk = sql.added(statement, _values(row, fields))
                row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS
                return
            statement, fields = self._update(without)
            if sql.change(statement, [*_values(row, fields), row.pk]) != 1:
                raise DatabaseError(f"{self.model.__name__} {row.pk} is not there")

    @cached_property
    def _names(self) -> list[str]:
        return [field.attname for field in self._fields]

    @cached_property
    def _select(self) -> str:
        return f"SELECT {self.columns()} FROM {self.table} WHERE "

    @cached_property
    def _insert(self) -> tuple[str, Fields]:
        fields = [field for field in self._fields if not field.primary_key]
        columns = ", ".join(f'"{field.column}"' for field in fields)
        return f"INSERT INTO {self.table} ({columns}) VALUES ({', '.join(['%s'] * len(fields))})", fields

    @cache  # noqa: B019  (a table lives as long as its module)
    def _update(self, without: tuple[str, ...]) -> tuple[str, Fields]:
        fields = [field for field in self._fields if not field.primary_key and field.name not in without]
        columns = ", ".join(f'"{field.column}" = %s' for field in fields)
        return f"UPDATE {self.table} SET {columns} WHERE id = %s", fields


def _values(row: Model, fields: Fields) -> list[Any]:
    own = connections[DEFAULT_DB_ALIAS]
    return [field.get_db_prep_save(getattr(row, field.attname), own) for field in fields]


@cache
def _converters(columns: Columns, vendor: str) -> list[tuple[int, Callable[..., Any], Any]]:
    """Return what makes a field's value of what this database gives, with the place of its column."""
    model = columns._of
    places = [field.get_col(model._meta.db_table) for field in columns._fields]
    found = Query(model).get_compiler(DEFAULT_DB_ALIAS).get_converters(places)
    return [(at, convert, expression) for at, (converts, expression) in found.items() for convert in converts]
