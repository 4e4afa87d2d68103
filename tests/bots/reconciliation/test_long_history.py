"""A history that does not fit into one round is read over several, under the smallest limit, and nothing is lost or doubled.

Time is made to pass by moving back what is stored of it, here and at the loopback: so it passes on PostgreSQL as well.
"""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
import time_machine
from django.db.models import F
from django.utils import timezone
from pytest_django import Settings

from bots import going_live
from bots.brokers import alpaca_lists
from bots.brokers.factory import forget_brokers
from bots.models import Account, AccountMovement, AccountSync, AssetBaseline, Bot, Order, RateCounter, ReconciliationRun
from bots.order_states import OrderStatus
from bots.reconciliation import chores, passes
from bots.reconciliation.engine import reconcile
from safety.intents import Side
from tests.bots.alpaca_desk import paper_desk
from tests.bots.live import live_intent, measured, send
from tests.bots.reconciliation.desk import account, alarms, assert_agrees, baseline, open_differences, round_at
from tests.loopback import faults, limits
from tests.loopback.client import AlpacaLoopback, KrakenLoopback

pytestmark = [pytest.mark.usefixtures("committed_db"), pytest.mark.timeout(900)]

ROUND_S = chores.READ_ON_EVERY.total_seconds()
DECAY = 0.33
#: Twice what some 150 trades take. A round that ends a long reading must not spend the limit on a part of the next one.
ROUNDS_MAX = 20
KINDS = ("external_fill", "deposit")
#: Three pages of ended orders.
ORDERS = 110


@pytest.fixture
def starter(holding: Bot, kraken: KrakenLoopback, monkeypatch: pytest.MonkeyPatch) -> Bot:
    """Return a live bot that holds 0.3 BTC, on an account of the Starter tier, here and at the venue."""
    limits.restore(monkeypatch)
    forget_brokers()
    kraken.set_tier("starter")
    RateCounter.objects.all().delete()
    then = timezone.now() - timedelta(hours=3)
    AccountSync.objects.update(baseline_at=then, history_at=then, history_since=then, sound_at=then)
    return holding


def pass_time(kraken: KrakenLoopback | None = None, seconds: float = ROUND_S) -> None:
    """Let so much time have passed, and let the next round be one of a process that knows nothing but the database."""
    forget_brokers()
    passed = timedelta(seconds=seconds)
    RateCounter.objects.update(empty_at=F("empty_at") - passed)
    moments = ("started_at", "sound_at", "listed_at", "history_at", "failing_since", "reading_since")
    AccountSync.objects.update(**{name: F(name) - passed for name in moments})
    for sync in AccountSync.objects.all():
        for doubt in sync.doubts.values():
            doubt["since"] = (datetime.fromisoformat(doubt["since"]) - passed).isoformat()
        sync.save(update_fields=["doubts"])
    if kraken is not None:
        kraken.set_tier("starter", counter=max(0.0, kraken.counter() - DECAY * seconds))


def trade(kraken: KrakenLoopback, fills: int, deposits: int, minutes_ago: int = 60) -> None:
    """Let somebody have traded by hand so often, and paid in so often, since the last look."""
    with time_machine.travel(timezone.now() - timedelta(minutes=minutes_ago), tick=True):
        _trade(kraken, fills, deposits)


def _trade(kraken: KrakenLoopback, fills: int, deposits: int) -> None:
    volume = max(fills * Decimal("0.0001"), Decimal("0.01"))
    order_id = kraken.place("sell", f"{volume:f}", price="150")
    for _ in range(fills):
        kraken.fill(order_id, "0.0001")
    for _ in range(deposits):
        kraken.deposit("ZUSD", "1.0001")


def due_round() -> ReconciliationRun | None:
    return chores.reconcile_when_due("kraken", is_live=True, now=timezone.now())


def read_on(kraken: KrakenLoopback, rounds_max: int) -> list[ReconciliationRun]:
    """Let rounds go on as the chore does them until one agrees."""
    runs: list[ReconciliationRun] = []
    while len(runs) < rounds_max:
        pass_time(kraken)
        run = due_round()
        if run is not None:
            runs.append(run)
            if run.state == "agrees":
                return runs
    raise AssertionError([(one.state, one.reason) for one in runs[-5:]])


def is_counted_once(kraken: KrakenLoopback, fills: int, deposits: int) -> None:
    """Fail unless each trade of others in the venue's own ledger counts once, with its two sides, and nothing else does."""
    ours = set(Order.objects.filter(bot__isnull=False).values_list("venue_order_id", flat=True))
    there = [id_ for id_, trade in kraken.trades().items() if trade["ordertxid"] not in ours]
    assert len(there) == fills
    moved = AccountMovement.objects.filter(counts=True, undone_at__isnull=True)
    references = moved.filter(kind="external_fill").values_list("reference", flat=True)
    assert sorted(references) == sorted(2 * [f"fill:{one}" for one in there])
    assert moved.filter(kind="deposit").count() == deposits
    assert baseline("BTC") == Decimal("0.5") - fills * Decimal("0.0001")


@pytest.mark.slow
@pytest.mark.any_database
@pytest.mark.timeout(1200)
def test_thousand_fills_and_thousands_of_ledger_rows_are_read_on_the_smallest_tier(
    starter: Bot, kraken: KrakenLoopback
) -> None:
    trade(kraken, fills=1_000, deposits=200)
    runs = read_on(kraken, rounds_max=60)
    # 20 pages of trades and 44 of the ledger, each counting two, of the 6.6 that fall off between two rounds.
    assert 10 < len(runs) <= 45
    assert {one.state for one in runs[:-1]} == {"waits"}
    assert all("reading the account's history" in one.reason for one in runs[:-1])
    assert all(one.figures == {} for one in runs[:-1])
    is_counted_once(kraken, 1_000, 200)
    assert_agrees(kraken, starter)
    assert not [one for one in kraken.log() if "Rate limit" in one.outcome]
    assert alarms("reconciliation_mismatch") == []
    assert account().reading == ""


def test_long_history_is_read_over_rounds_while_more_comes_in(starter: Bot, kraken: KrakenLoopback) -> None:
    trade(kraken, fills=180, deposits=30)
    for number in range(3):
        pass_time(kraken)
        run = due_round()
        assert run is not None
        assert (run.state, number) == ("waits", number)
        trade(kraken, fills=5, deposits=1, minutes_ago=0)
    seen = account()
    assert not seen.agrees
    assert seen.reading.startswith("reading the account's history")
    assert AccountSync.objects.get().reading["place"]
    # Exits go on, and entries wait.
    measured(equity_usd="10050")
    denied = send(live_intent(starter, quantity="0.2")).denials
    assert [(one.code, "reading the account's history" in one.actual) for one in denied] == [
        ("RECONCILIATION_OPEN", True)
    ]
    assert send(live_intent(starter, Side.SELL, "0.1")).order.status == OrderStatus.FILLED
    read_on(kraken, rounds_max=ROUNDS_MAX)
    is_counted_once(kraken, 195, 33)
    assert_agrees(kraken, starter)
    assert open_differences() == []
    assert alarms("reconciliation_mismatch") == []
    assert send(live_intent(starter, quantity="0.2")).denials == ()


@pytest.mark.slow
@pytest.mark.any_database
def test_many_ended_orders_are_read_over_rounds_and_each_is_known(starter: Bot, kraken: KrakenLoopback) -> None:
    with time_machine.travel(timezone.now() - timedelta(minutes=60), tick=True):
        placed = []
        for _ in range(ORDERS):
            placed.append(kraken.place("sell", "0.01", price="150"))
            kraken.fill(placed[-1], "0.0001")
            kraken.cancel(placed[-1])
    runs = read_on(kraken, rounds_max=ROUNDS_MAX)
    assert len(runs) > 2
    is_counted_once(kraken, ORDERS, 0)
    assert_agrees(kraken, starter)
    known = Order.objects.filter(status=OrderStatus.EXTERNAL, external_ended_at__isnull=False)
    assert sorted(known.values_list("venue_order_id", flat=True)) == sorted(placed)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["TradesHistory", "Ledgers"])
def test_page_that_fails_loses_nothing_of_what_was_read(starter: Bot, kraken: KrakenLoopback, path: str) -> None:
    trade(kraken, fills=120, deposits=20)
    pass_time(kraken)
    assert due_round() is not None
    kraken.fault(faults.Fault(path, faults.Reply.HALF, skip=1, count=2))
    states = [run.state for run in read_on(kraken, rounds_max=ROUNDS_MAX)]
    assert "failed" in states
    is_counted_once(kraken, 120, 20)
    assert_agrees(kraken, starter)


def test_shortage_is_named_while_a_long_history_is_read(starter: Bot, kraken: KrakenLoopback) -> None:
    trade(kraken, fills=180, deposits=30)
    kraken.set_balance("XXBT", "0.2")
    states = []
    for _ in range(3):
        pass_time(kraken)
        run = due_round()
        states.append(run.state if run else "")
    assert states[-1] == "differs"
    assert "reading the account's history" in ReconciliationRun.objects.latest("id").reason
    assert [(one.kind, one.asset) for one in open_differences()] == [("shortage", "BTC")]
    assert alarms("reconciliation_mismatch") == ["account:kraken BTC"]


def test_round_that_reads_a_part_does_not_count_as_a_comparison(starter: Bot, kraken: KrakenLoopback) -> None:
    trade(kraken, fills=180, deposits=0)
    before = AccountSync.objects.get().sound_at
    run = round_at()
    assert run.state == "waits"
    sync = AccountSync.objects.get()
    assert sync.sound_at == before
    assert sync.reading_since is not None
    assert chores.due(sync, timezone.now() + timedelta(seconds=10)) == ""
    assert chores.due(sync, timezone.now() + chores.READ_ON_EVERY) == "history"


def test_going_live_again_measures_and_reads_no_history(holding: Bot, kraken: KrakenLoopback) -> None:
    send(live_intent(holding, Side.SELL, "0.3"))
    assert round_at().state == "agrees"
    going_live.set_paper(holding.pk, actor="anna")
    then = timezone.now() - timedelta(hours=3)
    AccountSync.objects.update(baseline_at=then, history_at=then, history_since=then)
    Account.objects.update(measured_at=then)
    after = kraken.last_id()
    going_live.set_live(holding.pk, actor="anna", confirm=holding.name, reason="again", has_more=True)
    asked = [one.path for one in kraken.log(after_id=after) if one.method == "POST"]
    assert asked == ["BalanceEx"]
    measured_at = Account.objects.get(pk="kraken").measured_at
    assert measured_at is not None
    assert measured_at > then
    sync = AccountSync.objects.get()
    assert (sync.baseline_at, sync.history_since, sync.reading, sync.reading_since) == (None, None, {}, None)
    assert round_at().found["baseline"] == 1


@pytest.mark.parametrize(("age_s", "holds"), [(0, False), (29, False), (31, True), (-1, True)])
def test_entries_wait_for_a_history_that_takes_longer_than_usual(age_s: int, holds: bool) -> None:
    now = timezone.now()
    sync = AccountSync(reading_since=now - timedelta(seconds=age_s))
    assert bool(passes.holds_entries(sync, now)) == holds


def test_entries_wait_for_no_history_that_is_not_read() -> None:
    assert passes.holds_entries(None, timezone.now()) == ""
    assert passes.holds_entries(AccountSync(), timezone.now()) == ""


@pytest.mark.parametrize("reading", [{}, {"since": "x"}, {"step": "orders"}, {"since": 5}])
def test_progress_that_cannot_be_read_begins_anew(reading: dict[str, object]) -> None:
    assert passes.under_way(AccountSync(reading=reading)) is None


@pytest.mark.slow
def test_long_activities_of_alpaca_are_read_over_rounds(
    alpaca: AlpacaLoopback, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, size in (("ORDERS_PAGE", 10), ("ACTIVITIES_PAGE", 10), ("PART_PAGES", 2)):
        monkeypatch.setattr(alpaca_lists, name, size)
    paper_desk(alpaca)
    assert reconcile("alpaca", is_live=False, trigger="test").state == "agrees"
    then = timezone.now() - timedelta(days=12)
    AccountSync.objects.update(baseline_at=then, history_at=then, history_since=then)
    # So long ago that what is read again each time, which is days of orders, holds nothing of it.
    with time_machine.travel(timezone.now() - timedelta(days=10), tick=True):
        paid = [alpaca.paper.activity("CSD", "1.01") for _ in range(150)]
        for _ in range(150):
            alpaca.paper.place("buy", "0.1")
    runs = []
    for _ in range(30):
        # Of the limit's share for long histories so much is left: about 15 pages.
        RateCounter.objects.filter(account="alpaca-paper").update(empty_at=timezone.now() + timedelta(seconds=20))
        runs.append(reconcile("alpaca", is_live=False, trigger="test"))
        pass_time(seconds=0)
        if runs[-1].state == "agrees":
            break
    assert runs[-1].state == "agrees", runs[-1].reason
    # 15 pages of each of the three lists.
    assert 3 < len(runs) <= 20
    assert {(one.state, one.reason.split(":")[0].split(" since")[0]) for one in runs[:-1]} == {
        ("waits", "reading the account's history")
    }
    rows = {one.asset: one.quantity for one in AssetBaseline.objects.filter(account_id="alpaca-paper")}
    assert rows["AAPL"] == Decimal(alpaca.paper.positions()["AAPL"]) == 15
    assert rows["USD"] == Decimal(alpaca.paper.cash())
    counted = AccountMovement.objects.filter(account_id="alpaca-paper", counts=True)
    references = {kind: sorted(counted.filter(kind=kind).values_list("reference", flat=True)) for kind in KINDS}
    # A trade has two sides.
    assert references["external_fill"] == sorted(2 * [f"fill:{one}" for one in alpaca.paper.trades()])
    assert references["deposit"] == sorted(f"transfer:{one}" for one in paid)
