"""The database itself refuses to change or remove audit rows, on SQLite and PostgreSQL."""

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection
from django.db.migrations.exceptions import IrreversibleError
from django.utils import timezone

from audit.anchors import write_anchors
from audit.models import ChainHead, OrderEvent
from audit.triggers import TABLES, install_sql, missing_triggers
from tests.audit.factories import drop_triggers, execute, fetch, operator_event, order_event, write
from tests.conftest import CommittedDatabase

APPEND_ONLY = ["order_events", "operator_events", "anchors"]


@pytest.fixture
def written(committed_db: CommittedDatabase) -> CommittedDatabase:
    """A database with a row in every table."""
    write(order_event(), order_event(is_live=True), operator_event())
    write_anchors(now=timezone.now())
    return committed_db


def refused(sql: str) -> None:
    """Check that a statement is refused and changes nothing in any of the tables."""
    before = {table: fetch(f"SELECT * FROM {table} ORDER BY 1") for table in TABLES}
    with pytest.raises(IntegrityError, match=r"append-only|only move on"):
        execute(sql)
    assert {table: fetch(f"SELECT * FROM {table} ORDER BY 1") for table in TABLES} == before


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_update_is_refused(written: CommittedDatabase, table: str) -> None:
    refused(f"UPDATE {table} SET hash = 'forged' WHERE seq = 1")
    refused(f"UPDATE {table} SET seq = seq")


@pytest.mark.parametrize("table", TABLES)
def test_delete_is_refused(written: CommittedDatabase, table: str) -> None:
    refused(f"DELETE FROM {table}")


@pytest.mark.parametrize("table", TABLES)
def test_truncate_is_refused(written: CommittedDatabase, table: str) -> None:
    if written.vendor == "postgresql":
        refused(f"TRUNCATE {table} CASCADE")
    else:
        refused(f"DELETE FROM {table} WHERE 1")  # SQLite's TRUNCATE is a DELETE; its shortcut must not skip the trigger


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("recursive", ["ON", "OFF"])
def test_replace_is_refused_whatever_the_pragma(written: CommittedDatabase, table: str, recursive: str) -> None:
    if written.vendor == "postgresql":
        pytest.skip("SQLite's own statement")
    execute(f"PRAGMA recursive_triggers = {recursive}")
    refused(f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}")
    refused(f"REPLACE INTO {table} SELECT * FROM {table} LIMIT 1")


@pytest.mark.parametrize("free", ["id", "seq", "prev_hash"])
def test_replace_by_each_unique_key_alone_is_refused(written: CommittedDatabase, free: str) -> None:
    if written.vendor == "postgresql":
        pytest.skip("SQLite's own statement")
    execute("PRAGMA recursive_triggers = OFF")
    other = {"id": "id + 100", "seq": "seq + 100", "prev_hash": "'other'"}
    # All unique keys but one are new ones.
    values = {column: column if column == free else new for column, new in other.items()}
    columns = [name for (name,) in fetch("SELECT name FROM pragma_table_info('order_events')")]
    chosen = ", ".join(values.get(column, column) for column in columns)
    refused(f"INSERT OR REPLACE INTO order_events SELECT {chosen} FROM order_events WHERE is_live = 0")


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_upsert_is_refused(written: CommittedDatabase, table: str) -> None:
    columns = [str(row[0]) for row in _columns(table)]
    names = ", ".join(f'"{column}"' for column in columns)
    refused(
        f"INSERT INTO {table} ({names}) SELECT {names} FROM {table} WHERE 1 = 1 ON CONFLICT (id) DO UPDATE SET hash = 'forged'"
    )


def _columns(table: str) -> list[tuple[str]]:
    if connection.vendor == "postgresql":
        return fetch("SELECT column_name FROM information_schema.columns WHERE table_name = %s", table)
    return fetch(f"SELECT name FROM pragma_table_info('{table}')")


@pytest.mark.parametrize("table", TABLES)
def test_replication_role_does_not_turn_the_triggers_off(written: CommittedDatabase, table: str) -> None:
    if written.vendor == "sqlite":
        pytest.skip("PostgreSQL's own setting")
    execute("SET session_replication_role = replica")
    refused(f"UPDATE {table} SET hash = 'forged'")
    refused(f"DELETE FROM {table}")
    refused(f"TRUNCATE {table}")


@pytest.mark.parametrize("change", ["seq = 0", "seq = seq", "hash = 'forged'", "chain = 'live2', seq = 99"])
def test_head_can_only_move_on(written: CommittedDatabase, change: str) -> None:
    refused(f"UPDATE chain_heads SET {change} WHERE chain = 'paper'")


def test_head_may_move_on(written: CommittedDatabase) -> None:
    execute("UPDATE chain_heads SET seq = 2, hash = 'next' WHERE chain = 'paper'")
    assert ChainHead.objects.get(chain="paper").seq == 2


def test_refusal_says_which_table_and_what(written: CommittedDatabase) -> None:
    with pytest.raises(IntegrityError, match="order_events is append-only: DELETE is refused"):
        execute("DELETE FROM order_events")


@pytest.mark.parametrize("event", ["bought", "FILLED", ""])
def test_an_unknown_event_is_refused_by_the_database_too(committed_db: CommittedDatabase, event: str) -> None:
    with pytest.raises(IntegrityError):
        execute(_insert(event=event))


@pytest.mark.parametrize("is_live", ["2", "-1"])
def test_is_live_other_than_0_and_1_is_refused_by_the_database_too(
    committed_db: CommittedDatabase, is_live: str
) -> None:
    with pytest.raises(IntegrityError):
        execute(_insert(is_live=is_live))


def test_a_second_row_with_the_same_place_or_predecessor_is_refused(committed_db: CommittedDatabase) -> None:
    write(order_event())
    prev_hash = OrderEvent.objects.get().prev_hash
    with pytest.raises(IntegrityError):
        execute(_insert(seq="1", prev_hash="other"))
    with pytest.raises(IntegrityError):
        execute(_insert(seq="2", prev_hash=prev_hash))


def _insert(event: str = "filled", is_live: str = "0", seq: str = "1", prev_hash: str = "p") -> str:
    return (
        "INSERT INTO order_events (seq, ts, client_order_id, venue, symbol, side, ord_type, venue_order_id, event, status,"
        f" reason, is_live, actor, details, prev_hash, hash) VALUES ({seq}, '2026-01-31 12:00:00+00', 'c', 'v', 's', 'buy',"
        f" 'limit', '', '{event}', 'filled', '', {is_live}, 'a', '{{}}', '{prev_hash}', 'h')"
    )


@pytest.mark.django_db
def test_no_trigger_is_missing_after_the_migrations() -> None:
    assert missing_triggers(connection) == []


def test_missing_triggers_are_named_and_can_be_put_back(committed_db: CommittedDatabase) -> None:
    drop_triggers()
    missing = missing_triggers(connection)
    assert len(missing) == 12
    assert "order_events: order_events_refuse_update" in missing
    for statement in install_sql(connection.vendor):
        execute(statement)
    assert missing_triggers(connection) == []


def test_a_trigger_that_does_not_always_fire_counts_as_missing(committed_db: CommittedDatabase) -> None:
    if committed_db.vendor == "sqlite":
        pytest.skip("PostgreSQL's own state of a trigger")
    execute("ALTER TABLE order_events ENABLE TRIGGER order_events_refuse_delete")
    execute("ALTER TABLE anchors DISABLE TRIGGER anchors_refuse_update")
    assert missing_triggers(connection) == [
        "order_events: order_events_refuse_delete",
        "anchors: anchors_refuse_update",
    ]


def test_other_databases_are_refused() -> None:
    with pytest.raises(ValueError, match="mysql"):
        install_sql("mysql")


def test_migrating_back_is_refused(committed_db: CommittedDatabase) -> None:
    with pytest.raises(IrreversibleError, match="can't be taken back"):
        call_command("migrate", "audit", "0001", verbosity=0)
    assert missing_triggers(connection) == []
