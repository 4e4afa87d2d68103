"""Model fields that give back exactly what went in, on SQLite and on PostgreSQL.

SQLite keeps 15 significant digits in a NUMERIC column, so exact decimals live in TEXT there and comparisons cast.
"""

import json
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

from django import forms
from django.core.exceptions import ValidationError
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.lookups import GreaterThan, GreaterThanOrEqual, LessThan, LessThanOrEqual

from audit.decimals import decimal_text, storable

_ST = TypeVar("_ST", contravariant=True)
_GT = TypeVar("_GT", covariant=True)


class ExactDecimalField(models.Field[_ST, _GT]):
    """A decimal of up to 38 significant digits, 28 of them after the point; floats are refused.

    ``numeric`` on PostgreSQL, canonical text on SQLite. Never aggregate it in SQL on SQLite: sum in Python.
    """

    description = "Exact decimal"
    _pyi_private_set_type: Decimal | str | int
    _pyi_private_get_type: Decimal

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return "numeric" if connection.vendor == "postgresql" else "text"

    def to_python(self, value: Any) -> Decimal | None:
        if value is None:
            return None
        if isinstance(value, float):
            raise ValidationError("a float is not exact: give a Decimal or text")
        try:
            return storable(value if isinstance(value, Decimal) else Decimal(str(value).strip()))
        except (InvalidOperation, ValueError) as error:
            raise ValidationError(f"not an exact decimal: {value}") from error

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        if hasattr(value, "resolve_expression"):
            return value
        return self.to_python(value)

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:
        if not prepared:
            value = self.get_prep_value(value)
        if value is None or connection.vendor == "postgresql" or not isinstance(value, Decimal):
            return value
        return decimal_text(value)

    def from_db_value(self, value: Any, expression: Any, connection: BaseDatabaseWrapper) -> Decimal | None:
        if value is None:
            return None
        if isinstance(value, float):
            raise TypeError("a float came out of the database: never compute exact decimals in SQL on SQLite")
        return Decimal(decimal_text(value if isinstance(value, Decimal) else Decimal(str(value))))

    def value_to_string(self, obj: models.Model) -> str:
        value: Any = self.value_from_object(obj)
        return "" if value is None else decimal_text(value)

    def formfield(self, **kwargs: Any) -> Any:
        return super().formfield(**{"form_class": forms.DecimalField, **kwargs})


class ByteOrderCharField(models.CharField[Any, Any]):
    """Short text that is compared byte by byte on both databases, as hashes, ids and symbols are.

    By a language's rules PostgreSQL takes twice as long to keep the index of a hash, under the lock of the chain's head.
    """

    description = "Text in byte order"

    def db_parameters(self, connection: BaseDatabaseWrapper) -> Any:
        collation = "C" if connection.vendor == "postgresql" else None
        return {**super().db_parameters(connection), "collation": collation}


class _NumericOnSqlite:
    """A comparison of numbers: on SQLite both sides are cast, since text would compare letter by letter."""

    def as_sqlite(self, compiler: Any, connection: BaseDatabaseWrapper) -> tuple[str, Any]:
        lhs, lhs_params = self.process_lhs(compiler, connection)  # type: ignore[attr-defined]
        rhs, rhs_params = self.process_rhs(compiler, connection)  # type: ignore[attr-defined]
        operator = connection.operators[self.lookup_name]  # type: ignore[attr-defined]
        return f"CAST({lhs} AS REAL) {operator % f'CAST({rhs} AS REAL)'}", [*lhs_params, *rhs_params]


def _numeric(base: type) -> type:
    return type(f"Exact{base.__name__}", (_NumericOnSqlite, base), {})


for _lookup in (GreaterThan, GreaterThanOrEqual, LessThan, LessThanOrEqual):
    ExactDecimalField.register_lookup(_numeric(_lookup))


class CanonicalJSONField(models.TextField[Any, Any]):
    """A JSON object kept as its canonical text (sorted keys, no spaces), so that its bytes never change.

    Allowed inside: text, whole numbers, true, false, null, lists and objects. Floats are refused: give decimals as text.
    """

    description = "Canonical JSON"
    _pyi_private_set_type: Any
    _pyi_private_get_type: Any

    def get_prep_value(self, value: Any) -> Any:
        return value if value is None or isinstance(value, str) else canonical_json(value)

    def from_db_value(self, value: Any, expression: Any, connection: BaseDatabaseWrapper) -> Any:
        return None if value is None else json.loads(value)

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str):
            try:
                return json.loads(value)
            except ValueError as error:
                raise ValidationError(f"not JSON: {error}") from error
        return value

    def value_to_string(self, obj: models.Model) -> str:
        return canonical_json(self.value_from_object(obj))


def canonical_json(value: Any) -> str:
    """Return ``value`` as JSON with sorted keys, no spaces and no floats; Decimals become text. Raises TypeError on others."""
    return _ENCODER.encode(_plain(value))


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return decimal_text(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} cannot be kept in canonical JSON")
