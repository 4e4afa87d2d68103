"""On PostgreSQL, an app role that owns nothing can't get past the triggers, whatever it was granted."""

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from django.utils import timezone
from psycopg import sql

from audit.anchors import write_anchors
from audit.triggers import TABLES
from tests.audit.factories import operator_event, order_event, write
from tests.conftest import CommittedDatabase, on_sqlite


@pytest.fixture
def app_role(committed_db: CommittedDatabase) -> Iterator[psycopg.Connection]:
    """Return a connection of a role that may do everything to the tables' rows and owns none of them."""
    if on_sqlite():
        pytest.skip("SQLite has no roles")
    write(order_event(), operator_event())
    write_anchors(now=timezone.now())
    role = sql.Identifier(f"app_{uuid4().hex[:12]}")
    with psycopg.connect(committed_db.url, autocommit=True) as owner:
        owner.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(role))
        owner.execute(sql.SQL("GRANT ALL ON ALL TABLES IN SCHEMA public TO {}").format(role))
        owner.execute(sql.SQL("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {}").format(role))
        with psycopg.connect(committed_db.url, autocommit=True) as app:
            app.execute(sql.SQL("SET SESSION AUTHORIZATION {}").format(role))
            yield app
        owner.execute(sql.SQL("DROP OWNED BY {}").format(role))
        owner.execute(sql.SQL("DROP ROLE {}").format(role))


WAYS = (
    "UPDATE {} SET seq = 0",
    "DELETE FROM {}",
    "TRUNCATE {} CASCADE",
    "ALTER TABLE {} DISABLE TRIGGER ALL",
    "ALTER TABLE {} DISABLE TRIGGER USER",
    "DROP TABLE {}",
    "CREATE RULE quiet AS ON UPDATE TO {} DO INSTEAD NOTHING",
)


@pytest.mark.parametrize("table", TABLES)
def test_no_row_is_changed_by_any_way(app_role: psycopg.Connection, table: str) -> None:
    name = sql.Identifier(table)
    count = sql.SQL("SELECT * FROM {} ORDER BY 1").format(name)
    before = app_role.execute(count).fetchall()
    for way in WAYS:
        with pytest.raises((psycopg.errors.IntegrityError, psycopg.errors.InsufficientPrivilege)):
            app_role.execute(sql.SQL(way).format(name))
    assert app_role.execute(count).fetchall() == before


def test_triggers_can_not_be_turned_off(app_role: psycopg.Connection) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        app_role.execute("SET session_replication_role = replica")
    functions = app_role.execute(
        "SELECT DISTINCT tgfoid::regprocedure::text FROM pg_trigger WHERE NOT tgisinternal"
    ).fetchall()
    assert functions
    for (function,) in functions:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app_role.execute(f"ALTER FUNCTION {function} RENAME TO gone")
