"""Plain, prepared SQL: what becomes of it when a migration changes what it reads."""

import pytest
from django.db import NotSupportedError, connection, transaction

from audit import sql
from tests.conftest import CommittedDatabase

READ = "SELECT name FROM things WHERE id = %s"


@pytest.fixture
def things(committed_db: CommittedDatabase) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite prepares nothing for a connection")
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE things (id bigint, name varchar(10))")
        cursor.execute("INSERT INTO things VALUES (1, 'one')")


def widen() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE things ALTER name TYPE varchar(500)")


def test_column_that_changed_its_type_fails_once_and_is_read_again(things: None) -> None:
    assert sql.rows(READ, [1]) == [("one",)]
    widen()
    with pytest.raises(NotSupportedError):
        sql.rows(READ, [1])
    assert sql.rows(READ, [1]) == [("one",)]


def test_transaction_that_met_it_is_rolled_back_and_the_next_one_reads(things: None) -> None:
    assert sql.rows(READ, [1]) == [("one",)]
    widen()
    with pytest.raises(NotSupportedError), transaction.atomic():
        sql.rows(READ, [1])
    with transaction.atomic():
        assert sql.rows(READ, [1]) == [("one",)]
