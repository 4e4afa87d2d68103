"""Units, savepoints and record(): rows commit with their change, or neither does."""
# ruff: noqa: PT012 - what a unit does when its body raises is the very thing under test

import threading
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import IntegrityError, connection, transaction

from audit.insert import ChainHeadError
from audit.log import AuditUnitError, Unit, current_unit, joined_unit, record, unit
from audit.models import AppendOnlyError, ChainHead, OperatorEvent, OrderEvent
from tests.audit.factories import execute, operator_event, order_event, write, write_fills
from tests.conftest import CommittedDatabase


def order_ids() -> list[str]:
    """Return the client order ids that were written, in the order of their rows."""
    return list(OrderEvent.objects.order_by("id").values_list("client_order_id", flat=True))


def heads() -> dict[str, int]:
    """Return the seq of each chain's head."""
    return dict(ChainHead.objects.values_list("chain", "seq"))


@pytest.mark.django_db
def test_record_outside_a_unit_is_refused() -> None:
    with pytest.raises(AuditUnitError, match="outside a unit"):
        record(order_event())
    with transaction.atomic(), pytest.raises(AuditUnitError, match="outside a unit"):
        record(order_event())


@pytest.mark.django_db
def test_rows_of_a_unit_are_chained_in_their_order_each_in_its_chain() -> None:
    with unit():
        for number in range(3):
            record(order_event(client_order_id=f"paper-{number}"))
            record(order_event(client_order_id=f"live-{number}", is_live=True))
        record(operator_event())
    assert heads() == {"operator": 1, "live": 3, "paper": 3}
    for is_live, name in ((0, "paper"), (1, "live")):
        rows = list(OrderEvent.objects.filter(is_live=is_live).order_by("seq"))
        assert [(row.seq, row.client_order_id) for row in rows] == [(n + 1, f"{name}-{n}") for n in range(3)]
        assert [row.prev_hash for row in rows[1:]] == [row.hash for row in rows[:-1]]
        assert ChainHead.objects.get(chain=name).hash == rows[-1].hash


@pytest.mark.django_db
def test_a_second_unit_goes_on_where_the_first_ended() -> None:
    write_fills(2)
    write_fills(3)
    assert list(OrderEvent.objects.order_by("id").values_list("seq", flat=True)) == [1, 2, 3, 4, 5]


@pytest.mark.django_db
def test_nothing_is_written_before_the_unit_ends() -> None:
    with unit():
        record(order_event())
        assert not OrderEvent.objects.exists()
    assert OrderEvent.objects.count() == 1


@pytest.mark.django_db
def test_a_unit_without_rows_moves_no_head() -> None:
    with unit():
        pass
    assert heads() == {"operator": 0, "live": 0, "paper": 0}


def test_unit_that_raises_leaves_neither_rows_nor_changes(committed_db: CommittedDatabase) -> None:
    with pytest.raises(KeyError), unit():
        Group.objects.create(name="desk")
        record(order_event())
        raise KeyError("after the record")
    assert not OrderEvent.objects.exists()
    assert not Group.objects.filter(name="desk").exists()
    assert heads()["paper"] == 0
    assert current_unit() is None


def test_unit_really_commits(committed_db: CommittedDatabase) -> None:
    with unit():
        Group.objects.create(name="desk")
        record(order_event())
    connection.close()
    assert order_ids() == ["t-abc-1-0"]
    assert Group.objects.filter(name="desk").exists()


def test_unit_marked_for_rollback_writes_nothing(committed_db: CommittedDatabase) -> None:
    with unit():
        record(order_event())
        transaction.set_rollback(True)
    assert not OrderEvent.objects.exists()


def test_unit_inside_another_transaction_is_refused(committed_db: CommittedDatabase) -> None:
    with transaction.atomic(), pytest.raises(RuntimeError, match="durable"), unit():
        raise AssertionError("the unit must not open")
    assert current_unit() is None


@pytest.mark.django_db
def test_unit_inside_a_unit_is_refused_and_joined_unit_joins_it() -> None:
    with unit() as outer:
        with pytest.raises(AuditUnitError, match="joined_unit"), unit():
            raise AssertionError("the unit must not open")
        with joined_unit() as joined:
            record(order_event())
        assert joined is outer
        assert not OrderEvent.objects.exists()
    assert OrderEvent.objects.count() == 1


@pytest.mark.django_db
def test_joined_unit_opens_one_when_there_is_none() -> None:
    with joined_unit():
        record(order_event())
    assert OrderEvent.objects.count() == 1
    assert current_unit() is None


@pytest.mark.django_db
def test_savepoint_rolled_back_drops_its_rows_hooks_and_changes_only() -> None:
    called: list[str] = []
    with unit() as opened:
        record(order_event(client_order_id="before"))
        with pytest.raises(KeyError), opened.savepoint():
            Group.objects.create(name="dropped")
            record(order_event(client_order_id="dropped"))
            opened.before_commit(lambda: called.append("dropped"))
            raise KeyError("one bot's tick failed")
        with opened.savepoint():
            Group.objects.create(name="kept")
            record(order_event(client_order_id="kept"))
            opened.before_commit(lambda: called.append("kept"))
    assert order_ids() == ["before", "kept"]
    assert list(Group.objects.filter(name__in=["kept", "dropped"]).values_list("name", flat=True)) == ["kept"]
    assert called == ["kept"]


@pytest.mark.django_db
def test_savepoint_inside_a_savepoint_drops_its_own_rows_only() -> None:
    with unit() as opened, opened.savepoint():
        record(order_event(client_order_id="outer"))
        with pytest.raises(KeyError), opened.savepoint():
            record(order_event(client_order_id="inner"))
            raise KeyError
        record(order_event(client_order_id="outer again"))
    assert order_ids() == ["outer", "outer again"]


@pytest.mark.django_db
def test_savepoint_marked_for_rollback_drops_its_rows() -> None:
    with unit() as opened:
        with opened.savepoint():
            record(order_event(client_order_id="dropped"))
            transaction.set_rollback(True)
        record(order_event(client_order_id="kept"))
    assert order_ids() == ["kept"]


@pytest.mark.django_db
def test_savepoint_ended_by_a_database_error_leaves_the_unit_usable() -> None:
    with unit() as opened:
        Group.objects.create(name="desk")
        with pytest.raises(IntegrityError), opened.savepoint():
            record(order_event(client_order_id="dropped"))
            Group.objects.create(name="desk")
        record(order_event(client_order_id="kept"))
    assert order_ids() == ["kept"]


@pytest.mark.django_db
def test_record_inside_a_plain_atomic_block_is_refused() -> None:
    with unit(), transaction.atomic(), pytest.raises(AuditUnitError, match="savepoint"):
        record(order_event())


@pytest.mark.django_db
def test_record_inside_an_atomic_block_without_savepoint_is_allowed() -> None:
    with unit(), transaction.atomic(savepoint=False):  # it can only roll back together with the unit
        record(order_event())
    assert OrderEvent.objects.count() == 1


@pytest.mark.django_db
def test_hooks_run_in_order_before_the_rows_are_written_and_may_record() -> None:
    seen: list[Any] = []

    def first() -> None:
        seen.append(OrderEvent.objects.count())
        record(order_event(client_order_id="from the hook"))

    with unit() as opened:
        opened.before_commit(first)
        opened.before_commit(lambda: seen.append("second"))
        record(order_event(client_order_id="from the body"))
    assert seen == [0, "second"]
    assert order_ids() == ["from the body", "from the hook"]


def test_hook_that_raises_rolls_everything_back(committed_db: CommittedDatabase) -> None:
    def lease_lost() -> None:
        raise PermissionError("the lease went to another worker")

    with pytest.raises(PermissionError), unit() as opened:
        opened.before_commit(lease_lost)
        Group.objects.create(name="desk")
        record(order_event())
    assert not OrderEvent.objects.exists()
    assert not Group.objects.filter(name="desk").exists()


def test_hooks_that_add_hooks_for_ever_are_stopped(committed_db: CommittedDatabase) -> None:
    with pytest.raises(AuditUnitError, match="hooks"), unit() as opened:

        def again() -> None:
            opened.before_commit(again)

        opened.before_commit(again)


def test_a_unit_belongs_to_its_thread(committed_db: CommittedDatabase) -> None:
    seen: list[Unit | None] = []
    with unit():
        thread = threading.Thread(target=lambda: seen.append(current_unit()))
        thread.start()
        thread.join(timeout=5)
    assert seen == [None]


def test_head_moved_behind_our_back_stops_the_unit(committed_db: CommittedDatabase) -> None:
    write_fills(1)
    with pytest.raises(IntegrityError), unit():
        record(order_event())
        # A head that lags behind its rows, as after a restored head table: the next row would repeat a seq.
        execute("UPDATE chain_heads SET seq = 7 WHERE chain = 'paper'")
        execute(
            "INSERT INTO order_events (seq, ts, client_order_id, venue, symbol, side, ord_type, venue_order_id, event,"
            " status, reason, is_live, actor, details, prev_hash, hash) VALUES (8, '2026-01-31 12:00:00+00', 'c', 'v', 's',"
            " 'buy', 'limit', '', 'filled', 'filled', '', 0, 'a', '{}', 'p', 'h')"
        )
    assert order_ids() == ["t-abc-1-0"]
    assert heads()["paper"] == 1


def test_missing_head_row_stops_the_unit(committed_db: CommittedDatabase) -> None:
    from tests.audit.factories import drop_triggers

    drop_triggers()
    execute("DELETE FROM chain_heads WHERE chain = 'paper'")
    with pytest.raises(ChainHeadError, match="paper"):
        write_fills(1)
    assert not OrderEvent.objects.exists()


@pytest.mark.django_db
def test_details_come_back_as_an_object() -> None:
    write(order_event(details={"levels": [1, 2], "note": "ü"}))
    assert OrderEvent.objects.get().details == {"levels": [1, 2], "note": "ü"}


@pytest.mark.django_db
def test_text_with_every_awkward_character_is_written() -> None:
    awkward = "tab\t newline\n return\r backslash\\ \\N quote\" ' ünï 🙂 %s {} \x01"
    write(order_event(reason=awkward, details={"raw": awkward}), operator_event(old=awkward, new=awkward))
    row = OrderEvent.objects.get()
    assert (row.reason, row.details) == (awkward, {"raw": awkward})
    assert OperatorEvent.objects.get().new == awkward


WRITES: list[Any] = [
    lambda row: row.save(),
    lambda row: row.delete(),
    lambda row: OrderEvent().save(),
    lambda row: OrderEvent.objects.create(),
    lambda row: OrderEvent.objects.bulk_create([row]),
    lambda row: OrderEvent.objects.bulk_update([row], ["reason"]),
    lambda row: OrderEvent.objects.get_or_create(seq=9),
    lambda row: OrderEvent.objects.update_or_create(seq=1),
    lambda row: OrderEvent.objects.update(reason="nicer"),
    lambda row: OrderEvent.objects.filter(seq=1).delete(),
    lambda row: OrderEvent.objects.filter(seq=1)._raw_delete("default"),
]


@pytest.mark.django_db
@pytest.mark.parametrize("write_past_the_log", WRITES)
def test_orm_writes_are_refused_and_point_to_record(write_past_the_log: Any) -> None:
    write_fills(1)
    with pytest.raises(AppendOnlyError, match=r"audit\.log\.record"):
        write_past_the_log(OrderEvent.objects.get())
