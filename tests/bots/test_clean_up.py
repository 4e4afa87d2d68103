"""The clean-up after the kill switch: what rests goes, what must stay stays, and drained is said when it is so."""

import time
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone
from pytest_django import Settings

from audit.models import OperatorEvent
from bots import clean_up
from bots.models import Bot, Order
from bots.order_states import OrderStatus
from bots.safety_chores import go_on_with_kill_runs
from safety import kill_runs, signals
from safety.intents import Level, Side
from safety.kill_switch import engage, release
from safety.models import KillRun
from tests.bots.builders import Floor, Worker, events_of, make_bot, position_of, trade
from tests.bots.live import live_bot, live_desk, live_intent, send
from tests.conftest import CommittedDatabase
from tests.faults.oracle import check_everything
from tests.loopback import faults
from tests.loopback.client import KrakenLoopback

BUY, SELL = Side.BUY, Side.SELL


def work(run: KillRun, for_s: float = 10.0, *, network: bool = True) -> KillRun:
    """Do a round of the clean-up, as a worker does."""
    return clean_up.work_on(run, until_s=time.monotonic() + for_s, network=network)


def status(order: Order) -> str:
    return Order.objects.get(pk=order.pk).status


def paper_bot(name: str = "bot") -> tuple[Bot, Order, Order]:
    """Return a bot with a position, a resting purchase and a resting sale."""
    bot = make_bot(name)
    trade(bot, BUY, "1")
    return bot, trade(bot, BUY, "0.5", limit="99").order, trade(bot, SELL, "0.5", limit="101").order


@pytest.fixture
def worker(db: None) -> Worker:
    return Worker()


# Paper.


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("level", "cancel_resting", "entry", "exit_"),
    [
        (Level.HALTED, True, "canceled", "canceled"),
        (Level.REDUCING, True, "canceled", "accepted"),
        (Level.HALTED, False, "accepted", "accepted"),
        (Level.REDUCING, False, "accepted", "accepted"),
    ],
)
def test_what_rests_is_cancelled_by_level(
    floor: Floor, level: Level, cancel_resting: bool, entry: str, exit_: str
) -> None:
    _, purchase, sale = paper_bot()
    run = engage(level, "a drill", actor="anna", cancel_resting=cancel_resting)
    assert (status(purchase), status(sale)) == (entry, exit_)
    found = kill_runs.progress(run)
    assert found is not None
    gone = {one.client_order_id for one in (purchase, sale) if status(one) == "canceled"}
    assert (set(found.canceled), found.in_flight, found.cancel_failed) == (gone, (), ())
    assert (found.is_drained, found.is_done, found.state) == (True, True, level.value)
    check_everything()


@pytest.mark.django_db
@pytest.mark.parametrize("scope", ["global", "venue:replay", "bot"])
def test_scope_says_whose_orders_go(floor: Floor, scope: str) -> None:
    (one, purchase, _), (_, other, _) = paper_bot("one"), paper_bot("other")
    engage(Level.HALTED, "a drill", actor="anna", scope=f"bot:{one.pk}" if scope == "bot" else scope)
    assert status(purchase) == "canceled"
    assert (status(other) == "canceled") is (scope != "bot")


@pytest.mark.django_db
def test_halt_of_another_venue_leaves_orders_alone(floor: Floor) -> None:
    _, purchase, _ = paper_bot()
    engage(Level.HALTED, "a drill", actor="anna", scope="venue:kraken")
    assert status(purchase) == "accepted"


@pytest.mark.django_db
@pytest.mark.parametrize("cancel_resting", [True, False])
def test_rest_of_a_market_order_never_fills_on_its_old_decision(
    floor: Floor, worker: Worker, cancel_resting: bool
) -> None:
    floor.strategy("idle")
    bot = make_bot(strategy="idle")
    floor.feed.volume = Decimal(1)
    order = trade(bot, BUY, "0.5").order
    assert order.status == "partially_filled"
    engage(Level.HALTED, "a drill", actor="anna", cancel_resting=cancel_resting)
    release("over", actor="anna")
    worker.tick(bot, now=timezone.now() + timedelta(seconds=5))
    assert status(order) == "canceled"
    assert position_of(bot).quantity == Decimal("0.1")
    check_everything()


@pytest.mark.django_db
def test_release_itself_takes_back_what_the_clean_up_had_no_time_for(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that died right after it engaged, and a release before any worker took the run up."""
    monkeypatch.setattr(signals.kill_switch_engaged, "receivers", [])
    signals.kill_switch_engaged.sender_receivers_cache.clear()
    bot = make_bot()
    floor.feed.volume = Decimal(1)
    order = trade(bot, BUY, "0.5").order
    run = engage(Level.HALTED, "a drill", actor="anna")
    assert status(order) == "partially_filled"
    release("over", actor="ben")
    assert status(order) == "canceled"
    assert work(run).ended_at is not None


@pytest.mark.django_db
def test_chore_goes_on_with_what_a_dead_process_left(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals.kill_switch_engaged, "receivers", [])
    signals.kill_switch_engaged.sender_receivers_cache.clear()
    _, purchase, sale = paper_bot()
    run = engage(Level.HALTED, "a drill", actor="anna")
    found = kill_runs.progress(run)
    assert found is not None
    assert (found.is_drained, found.is_done) == (False, False)
    go_on_with_kill_runs(timezone.now())
    assert (status(purchase), status(sale)) == ("canceled", "canceled")
    assert kill_runs.unfinished() == []
    done = OperatorEvent.objects.get(action="kill_switch_done")
    assert purchase.client_order_id in done.new


@pytest.mark.django_db
def test_run_that_cannot_go_on_keeps_no_younger_one_from_it(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals.kill_switch_engaged, "receivers", [])
    signals.kill_switch_engaged.sender_receivers_cache.clear()
    _, purchase, _ = paper_bot()
    stuck = engage(Level.REDUCING, "the first", actor="anna")
    run = engage(Level.HALTED, "the second", actor="anna")
    real = clean_up.concern_of

    def concern_of(one: KillRun) -> clean_up.Concern:
        if one.pk == stuck.pk:
            raise ValueError("a row that nobody understands")
        return real(one)

    monkeypatch.setattr(clean_up, "concern_of", concern_of)
    go_on_with_kill_runs(timezone.now())
    assert status(purchase) == "canceled"
    assert [one.pk for one in kill_runs.unfinished()] == [stuck.pk]
    assert KillRun.objects.get(pk=run.pk).ended_at is not None


@pytest.mark.django_db
def test_run_that_is_taken_up_after_a_release_leaves_new_orders_alone(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals.kill_switch_engaged, "receivers", [])
    signals.kill_switch_engaged.sender_receivers_cache.clear()
    _, purchase, _ = paper_bot()
    run = engage(Level.HALTED, "a drill", actor="anna")
    KillRun.objects.update(engaged_at=timezone.now() - timedelta(seconds=30))
    Order.objects.update(created_at=timezone.now() - timedelta(seconds=40))
    release("over", actor="anna")
    fresh = trade(make_bot("new"), BUY, "0.5", limit="99").order
    work(run)
    assert (status(purchase), status(fresh)) == ("canceled", "accepted")


@pytest.mark.django_db
def test_failing_receiver_is_logged_and_the_rest_goes_on(floor: Floor, caplog: pytest.LogCaptureFixture) -> None:
    def fail(**_: object) -> None:
        raise ValueError("a broken subscriber")

    _, purchase, _ = paper_bot()
    signals.kill_switch_engaged.connect(fail)
    try:
        run = engage(Level.HALTED, "a drill", actor="anna")
    finally:
        signals.kill_switch_engaged.disconnect(fail)
    assert status(purchase) == "canceled"
    assert run.blocked_ms is not None
    assert "a broken subscriber" in caplog.text


# What a release brings about.


@pytest.mark.django_db
def test_release_holds_the_entries_of_every_live_bot_of_its_scope(floor: Floor) -> None:
    bots = {name: make_bot(name) for name in ("paper", "live", "held", "elsewhere")}
    Bot.objects.filter(name__in=["live", "held", "elsewhere"]).update(venue="kraken", dry_run=False)
    Bot.objects.filter(name="elsewhere").update(venue="alpaca")
    Bot.objects.filter(name="held").update(entries_held="an adopted order")
    engage(Level.HALTED, "a drill", actor="anna", scope="venue:kraken")
    release("over", actor="ben", scope="venue:kraken")
    held = dict(Bot.objects.values_list("name", "entries_held"))
    assert held["live"].startswith("released by ben")
    assert (held["held"], held["paper"], held["elsewhere"]) == ("an adopted order", "", "")
    assert OperatorEvent.objects.filter(action="bot_entries_held").count() == 1
    assert Bot.objects.get(name="live").revision > bots["live"].revision


@pytest.mark.django_db
def test_release_whose_consequences_fail_is_no_release(floor: Floor) -> None:
    def fail(**_: object) -> None:
        raise ValueError("no baselines")

    engage(Level.HALTED, "a drill", actor="anna")
    signals.kill_switch_released.connect(fail)
    try:
        with pytest.raises(ValueError, match="no baselines"):
            release("over", actor="ben")
    finally:
        signals.kill_switch_released.disconnect(fail)
    assert not OperatorEvent.objects.filter(action="kill_switch_released").exists()
    assert engage(Level.HALTED, "again", actor="anna").level == "halted"


# At a venue.


@pytest.fixture
def live(committed_db: CommittedDatabase, kraken: KrakenLoopback, settings: Settings) -> Bot:
    """Return a live bot with nothing in its way."""
    return live_desk(kraken, settings)


def resting(bot: Bot, quantity: str = "0.3", limit: str = "98", side: Side = BUY) -> Order:
    order = send(live_intent(bot, side, quantity, limit)).order
    assert order.status == OrderStatus.ACCEPTED
    return order


def test_venue_s_orders_are_cancelled_by_whoever_waits(live: Bot, kraken: KrakenLoopback) -> None:
    order = resting(live)
    run = engage(Level.HALTED, "a drill", actor="anna")
    assert kraken.log("CancelOrder") == [], "whoever engages does not wait for a venue"
    before = kill_runs.progress(run)
    assert before is not None
    assert (before.is_drained, before.is_done, before.in_flight) == (True, False, (order.client_order_id,))
    found = kill_runs.wait_for_drain(run)
    assert (found.is_done, found.canceled, found.in_flight) == (True, (order.client_order_id,), ())
    assert status(order) == "canceled"
    assert events_of(order)[-2:] == ["cancel_requested", "canceled"]


def test_reducing_leaves_a_live_exit_at_the_venue(live: Bot, kraken: KrakenLoopback) -> None:
    assert send(live_intent(live)).order.status == OrderStatus.FILLED
    sale, purchase = resting(live, "0.2", "101", SELL), resting(live)
    run = engage(Level.REDUCING, "a drill", actor="anna")
    assert kill_runs.wait_for_drain(run).is_done
    assert (status(sale), status(purchase)) == ("accepted", "canceled")


def test_cancel_that_fails_is_said_and_tried_again_until_the_venue_confirms(
    live: Bot, kraken: KrakenLoopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = resting(live)
    kraken.fault(faults.http_status("CancelOrder", 503, is_carried_out=False))
    run = engage(Level.HALTED, "a drill", actor="anna")
    found = kill_runs.wait_for_drain(run, 5)
    assert (found.cancel_failed, found.is_done) == ((order.client_order_id,), False)
    monkeypatch.setattr(clean_up, "ASKED_LATELY", timedelta(0))
    go_on_with_kill_runs(timezone.now())
    after = kill_runs.progress(run)
    assert after is not None
    assert (after.canceled, after.cancel_failed, after.is_done) == ((order.client_order_id,), (), True)


def test_cancel_of_one_order_that_fails_stops_no_other(live: Bot, kraken: KrakenLoopback) -> None:
    first, second = resting(live), resting(live, "0.25")
    kraken.fault(faults.http_status("CancelOrder", 503, is_carried_out=False))
    found = kill_runs.wait_for_drain(engage(Level.HALTED, "a drill", actor="anna"), 5)
    assert (found.cancel_failed, found.canceled) == ((first.client_order_id,), (second.client_order_id,))


def test_order_that_filled_before_its_cancel_is_not_called_cancelled(live: Bot, kraken: KrakenLoopback) -> None:
    order = resting(live)
    run = engage(Level.HALTED, "a drill", actor="anna")
    kraken.fill(order.venue_order_id, "0.3")
    found = kill_runs.wait_for_drain(run)
    assert (found.is_done, found.canceled, found.cancel_failed) == (True, (), ())
    assert position_of(live, is_live=True).quantity == Decimal("0.3")


# Drained.


def unanswered(bot: Bot, state: OrderStatus, deadline_in_s: float | None) -> Order:
    """Leave an order as a sender that died, or a venue that did not answer, leaves it."""
    order = resting(bot)
    at = None if deadline_in_s is None else timezone.now() + timedelta(seconds=deadline_in_s)
    Order.objects.filter(pk=order.pk).update(status=state, deadline_at=at)
    return order


@pytest.mark.parametrize(
    ("state", "deadline_in_s", "is_drained"),
    [
        (OrderStatus.SUBMITTING, 4, False),
        (OrderStatus.SUBMITTING, -60, False),
        (OrderStatus.SUBMITTING, None, False),
        (OrderStatus.UNKNOWN, 4, False),
        (OrderStatus.UNKNOWN, -14, False),
        (OrderStatus.UNKNOWN, -15.1, True),
        (OrderStatus.UNKNOWN, None, False),
        (OrderStatus.ACCEPTED, 4, True),
    ],
)
def test_drained_is_when_nothing_can_reach_the_venue_any_more(
    live: Bot, state: OrderStatus, deadline_in_s: float | None, is_drained: bool
) -> None:
    order = unanswered(live, state, deadline_in_s)
    run = work(engage(Level.HALTED, "a drill", actor="anna"), network=False)
    assert (run.drained_at is not None) is is_drained
    assert run.in_flight == [order.client_order_id], "what is not resolved is still told of"
    assert run.ended_at is None


def test_order_of_unknown_outcome_that_turns_up_resting_is_cancelled(live: Bot, kraken: KrakenLoopback) -> None:
    order = unanswered(live, OrderStatus.UNKNOWN, -60)
    run = work(engage(Level.HALTED, "a drill", actor="anna"))
    assert (run.drained_at is not None, run.ended_at) == (True, None)
    Order.objects.filter(pk=order.pk).update(status=OrderStatus.ACCEPTED)
    assert kill_runs.wait_for_drain(run).canceled == (order.client_order_id,)


def test_exit_under_way_does_not_hold_up_the_drain_of_reducing(live: Bot) -> None:
    order = unanswered(live, OrderStatus.SUBMITTING, 4)
    Order.objects.filter(pk=order.pk).update(is_entry=False)
    assert work(engage(Level.REDUCING, "a drill", actor="anna")).drained_at is not None


@pytest.mark.parametrize(
    ("scope", "is_drained"),
    [
        (lambda bot: "venue:kraken", False),
        (lambda bot: f"bot:{bot.pk}", False),
        (lambda bot: "venue:replay", True),
        (lambda bot: f"bot:{bot.pk + 1}", True),
    ],
)
def test_only_the_scope_s_senders_are_waited_for(live: Bot, scope: Callable[[Bot], str], is_drained: bool) -> None:
    live_bot("other")
    unanswered(live, OrderStatus.SUBMITTING, 4)
    run = work(engage(Level.HALTED, "a drill", actor="anna", scope=scope(live)))
    assert (run.drained_at is not None) is is_drained


def test_wait_is_bounded(live: Bot) -> None:
    unanswered(live, OrderStatus.SUBMITTING, 4)
    run = engage(Level.HALTED, "a drill", actor="anna")
    started_s = time.monotonic()
    assert not kill_runs.wait_for_drain(run, 0.5).is_drained
    # Far below the ten seconds that it may wait at most.
    assert time.monotonic() - started_s < 6
