"""The triggers that refuse to change audit rows, on SQLite and PostgreSQL, and the check that they are in place.

They deter; the chain proves. A migration that rebuilds one of these tables (SQLite does for most alterations) must call
``install`` again, since the triggers go with the old table.
"""

from collections.abc import Iterator

from django.db.backends.base.base import BaseDatabaseWrapper

# Per table: the conditions on which an existing row stands in the way of an insert (a REPLACE would delete it).
APPEND_ONLY_TABLES = {
    "order_events": ("id = NEW.id", "is_live = NEW.is_live AND seq = NEW.seq", "prev_hash = NEW.prev_hash"),
    "operator_events": ("id = NEW.id", "seq = NEW.seq", "prev_hash = NEW.prev_hash"),
    "anchors": ("id = NEW.id", "chain = NEW.chain AND seq = NEW.seq"),
}
HEADS_TABLE = "chain_heads"
TABLES = (*APPEND_ONLY_TABLES, HEADS_TABLE)


def trigger_names(vendor: str) -> dict[str, set[str]]:
    """Return the names of the triggers each table must have on a database of ``vendor``."""
    kinds = ("update", "delete", "truncate") if vendor == "postgresql" else ("update", "delete", "insert")
    return {table: {f"{table}_refuse_{kind}" for kind in kinds} for table in TABLES}


def missing_triggers(connection: BaseDatabaseWrapper) -> list[str]:
    """Return ``table: trigger`` for each trigger that is absent or, on PostgreSQL, does not always fire; [] when all hold."""
    if connection.vendor == "postgresql":
        # tgenabled A: it fires also under session_replication_role = replica.
        query = (
            "SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE tgenabled = 'A' AND tgname LIKE '%_refuse_%'"
            " AND tgrelid IN (SELECT to_regclass(name) FROM unnest(ARRAY["
            + ", ".join(f"'{table}'" for table in TABLES)
            + "]) AS name)"
        )
    else:
        query = "SELECT tbl_name, name FROM sqlite_master WHERE type = 'trigger'"
    with connection.cursor() as cursor:
        cursor.execute(query)
        found = set(cursor.fetchall())
    wanted = trigger_names(connection.vendor)
    return [f"{table}: {name}" for table in TABLES for name in sorted(wanted[table]) if (table, name) not in found]


def install_sql(vendor: str) -> list[str]:
    """Return the statements that put every trigger in place on a database of ``vendor``, replacing what is there."""
    if vendor == "postgresql":
        return list(_postgresql())
    if vendor == "sqlite":
        return list(_sqlite())
    raise ValueError(f"no append-only triggers for {vendor}: use sqlite or postgresql")


def _sqlite() -> Iterator[str]:
    for table, conflicts in APPEND_ONLY_TABLES.items():
        for action in ("UPDATE", "DELETE"):
            yield _sqlite_trigger(table, action, "", f"{table} is append-only: {action} is refused")
        # BEFORE DELETE does not see the deletes of INSERT OR REPLACE unless recursive_triggers is on; this one always does.
        exists = " OR ".join(f"EXISTS (SELECT 1 FROM {table} WHERE {conflict})" for conflict in conflicts)
        yield _sqlite_trigger(table, "INSERT", f"WHEN {exists}", f"{table} is append-only: the row is already there")
    yield _sqlite_trigger(HEADS_TABLE, "DELETE", "", "chain_heads only move on: DELETE is refused")
    forward = "WHEN NEW.chain IS NOT OLD.chain OR NOT (NEW.seq > OLD.seq)"
    yield _sqlite_trigger(HEADS_TABLE, "UPDATE", forward, "chain_heads only move on: seq must rise")
    exists = "WHEN EXISTS (SELECT 1 FROM chain_heads WHERE chain = NEW.chain)"
    yield _sqlite_trigger(HEADS_TABLE, "INSERT", exists, "chain_heads only move on: the head is already there")


def _sqlite_trigger(table: str, action: str, when: str, message: str) -> str:
    name = f"{table}_refuse_{action.lower()}"
    return (
        f"CREATE TRIGGER IF NOT EXISTS {name} BEFORE {action} ON {table} FOR EACH ROW {when} "
        f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
    )


def _postgresql() -> Iterator[str]:
    yield """
        CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
        END $$
    """
    yield """
        CREATE OR REPLACE FUNCTION audit_head_moves_on() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.chain IS DISTINCT FROM OLD.chain OR NEW.seq <= OLD.seq THEN
                RAISE EXCEPTION 'chain_heads only move on: seq must rise' USING ERRCODE = 'restrict_violation';
            END IF;
            RETURN NEW;
        END $$
    """
    for table in TABLES:
        for action in ("UPDATE", "DELETE", "TRUNCATE"):
            name = f"{table}_refuse_{action.lower()}"
            each = "STATEMENT" if action == "TRUNCATE" else "ROW"
            function = "audit_head_moves_on" if (table, action) == (HEADS_TABLE, "UPDATE") else "audit_refuse"
            yield f"DROP TRIGGER IF EXISTS {name} ON {table}"
            yield f"CREATE TRIGGER {name} BEFORE {action} ON {table} FOR EACH {each} EXECUTE FUNCTION {function}()"
            # ALWAYS: session_replication_role = replica turns ordinary triggers off.
            yield f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}"
