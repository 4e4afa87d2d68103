"""Several baselines are locked in one order everywhere, so that two transactions never wait for each other."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from django.db import OperationalError, connection, connections
from django.utils import timezone

from audit.log import unit
from bots.brokers.base import Execution
from bots.models import Account, AccountMovement, AccountSync, Bot, Fill, Order
from bots.reconciliation import movements
from bots.reconciliation.balances import Movement
from bots.reconciliation.movements import Valued
from safety.intents import Side
from tests.bots.live import live_intent, send
from tests.bots.reconciliation.desk import baseline, round_at
from tests.conftest import on_sqlite
from tests.loopback.client import KrakenLoopback

pytestmark = pytest.mark.usefixtures("committed_db")
TIMES = 25
DAY = timedelta(days=1)


def locked_by(act: Callable[[], object]) -> list[str]:
    """Return the assets whose baselines this locks, in that order, in an audit unit of its own."""
    found: list[str] = []

    def note(execute: Callable[..., object], sql: str, params: object, many: bool, context: object) -> object:
        if "FOR NO KEY UPDATE" in sql and "asset_baselines" in sql and isinstance(params, tuple):
            found.extend(one for one in params if one in ("BTC", "USD", "ETH"))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note), unit():
        act()
    return list(dict.fromkeys(found))


def paid_in(reference: str, asset: str) -> Valued:
    return Valued(Movement(reference, asset, "deposit", Decimal("0.001"), timezone.now()), None)


def lend(order: Order, trade_id: str) -> None:
    sold = Execution(trade_id, Decimal("0.001"), Decimal(100), Decimal(0), is_maker=False, filled_at=timezone.now())
    movements.lend(order, sold, Decimal("0.001"), Decimal("0.1"))


def test_baselines_are_locked_by_name_whatever_comes_first(holding: Bot) -> None:
    if on_sqlite():
        pytest.skip("SQLite locks its whole database")
    account, order = Account.objects.get(pk="kraken"), Order.objects.latest("id")
    rows = [paid_in("r1", "USD"), paid_in("r2", "BTC"), paid_in("r3", "ETH")]
    at = timezone.now() - DAY
    assert locked_by(lambda: movements.count(account, rows, baseline_at=at)) == ["BTC", "ETH", "USD"]
    assert locked_by(lambda: lend(order, "t1")) == ["BTC", "USD"]
    nothing = Decimal(0)
    assert locked_by(lambda: movements.follow(account, {"USD": nothing, "BTC": nothing}, at)) == ["BTC", "USD"]


def test_fills_that_take_from_the_owner_and_movements_never_lock_each_other_out(holding: Bot) -> None:
    if on_sqlite():
        pytest.skip("SQLite locks its whole database")
    account, order, at = Account.objects.get(pk="kraken"), Order.objects.latest("id"), timezone.now() - DAY
    before = baseline("BTC")
    barrier = threading.Barrier(2)

    def each(act: Callable[[int], None]) -> list[str]:
        failed = []
        try:
            for number in range(TIMES):
                barrier.wait(60)
                try:
                    with unit():
                        act(number)
                except OperationalError as error:
                    failed.append(str(error))
            return failed
        finally:
            connections.close_all()

    def count(number: int) -> None:
        Account.objects.select_for_update(no_key=True).get(pk=account.pk)
        rows = [paid_in(f"u{number}", "USD"), paid_in(f"b{number}", "BTC")]
        movements.count(account, rows, baseline_at=at)

    with ThreadPoolExecutor(2) as pool:
        ran = [pool.submit(each, act) for act in (count, lambda number: lend(order, f"t{number}"))]
        assert [one.result() for one in ran] == [[], []]
    # As much was paid in as was taken.
    assert baseline("BTC") == before
    assert AccountMovement.objects.filter(kind="oversold").count() == 2 * TIMES


# What was counted as somebody else's and turns out to be ours.


def counted_as_others(holding: Bot, happened_at: datetime) -> Fill:
    """Let a fill of ours have been counted as somebody else's, then."""
    fill = Fill.objects.latest("id")
    account = Account.objects.get(pk="kraken")
    for asset, quantity in (("BTC", fill.quantity), ("USD", -fill.quantity * fill.price)):
        AccountMovement.objects.create(
            account=account, reference=f"fill:{fill.trade_id}", asset=asset, kind="external_fill", quantity=quantity,
            happened_at=happened_at, noted_at=timezone.now(),
        )  # fmt: skip
        with unit():
            movements.settle(account, asset, quantity, f"as counted {asset}")
    return fill


@pytest.mark.parametrize("days", [0, 3, 40])
def test_fill_of_ours_is_taken_back_however_late_it_is_booked(holding: Bot, kraken: KrakenLoopback, days: int) -> None:
    at = timezone.now() - timedelta(days=days)
    AccountSync.objects.update(baseline_at=at - timedelta(hours=1))
    before = baseline("BTC"), baseline("USD")
    counted_as_others(holding, at)
    assert round_at(trigger="command").state == "agrees"
    assert (baseline("BTC"), baseline("USD")) == before
    assert AccountMovement.objects.filter(undone_at__isnull=False).count() == 2
    assert send(live_intent(holding, Side.SELL, "0.1")).denials == ()


def test_what_moved_an_earlier_baseline_is_left_alone(holding: Bot, kraken: KrakenLoopback) -> None:
    fill = Fill.objects.latest("id")
    taken_at = AccountSync.objects.get().baseline_at
    assert taken_at is not None
    AccountMovement.objects.create(
        account_id="kraken", reference=f"fill:{fill.trade_id}", asset="BTC", kind="external_fill",
        quantity=fill.quantity, happened_at=taken_at - timedelta(minutes=1), noted_at=taken_at - timedelta(minutes=1),
    )  # fmt: skip
    before = baseline("BTC")
    assert round_at(trigger="command").state == "agrees"
    assert baseline("BTC") == before
    assert not AccountMovement.objects.filter(undone_at__isnull=False).exists()
