"""Orders that go to a venue: one submission each, what is not known is asked for, and the books agree with the venue's."""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.db import connection, transaction
from django.utils import timezone
from pytest_django import Settings

from audit.log import unit
from bots import executor, manager, sweep
from bots.brokers.base import Execution, OrderReport
from bots.brokers.factory import broker_for
from bots.executor import venue
from bots.exposure import Market
from bots.hand_orders import HandOrder, place_order
from bots.manager import BotActionError, close_position
from bots.markets import market_for
from bots.models import Account, Bot, BotStatus, Order
from bots.order_states import OrderStatus
from bots.workers.leases import Fence, LeaseHolder, LeaseLost, shard_lease, shard_of
from safety.intents import Level, OrderIntent, OrderType, Side
from safety.kill_switch import engage
from tests.bots.builders import events_of, position_of
from tests.bots.live import live_desk, live_intent, measured, open_gates, send, stored
from tests.conftest import CommittedDatabase
from tests.loopback import faults
from tests.loopback.client import KrakenLoopback

pytestmark = pytest.mark.usefixtures("committed_db")
ADD, CANCEL = "AddOrder", "CancelOrder"


@pytest.fixture
def bot(committed_db: CommittedDatabase, kraken: KrakenLoopback, settings: Settings) -> Bot:
    """Return a live bot with nothing in its way."""
    return live_desk(kraken, settings)


def venue_market(bot: Bot) -> Market:
    """Return the bot's market as of now."""
    return market_for(bot.venue, bot.symbol, timezone.now())


def sent(kraken: KrakenLoopback) -> int:
    """Return how many orders reached the venue, by its own log."""
    return len(kraken.log(ADD))


def resting(bot: Bot, quantity: str = "0.3", limit: str = "98") -> Order:
    order = send(live_intent(bot, quantity=quantity, limit=limit)).order
    assert order.status == OrderStatus.ACCEPTED
    return order


def sweep_at(moment: datetime) -> None:
    with time_machine.travel(moment, tick=False):
        sweep.sweep(moment)


def fence_of(bot: Bot) -> Fence:
    """Return the fence of a worker that holds the bot."""
    leases = LeaseHolder("worker", 30)
    leases.claim([shard_lease(shard_of(bot.pk))], 1)
    return leases.fence()


def before_the_send(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Let something happen after the claim has committed, and before the second look."""

    def late(*args: Any, **kwargs: Any) -> Any:
        act()
        return broker_for(*args, **kwargs)

    monkeypatch.setattr("bots.executor.venue.broker_for", late)


def test_market_order_is_sent_once_and_its_fill_booked(bot: Bot, kraken: KrakenLoopback) -> None:
    intent = live_intent(bot)
    order = send(intent).order
    assert order.status == OrderStatus.FILLED
    assert sent(kraken) == 1
    (there,) = kraken.orders_with(intent.client_order_id)
    assert order.filled_quantity == Decimal(there["vol_exec"]) == Decimal("0.3")
    assert order.fees == Decimal(there["fee"])
    assert events_of(order) == ["intent", "submitting", "filled"]
    position = position_of(bot, is_live=True)
    assert position.quantity == Decimal("0.3")
    assert position.cost == order.filled_notional
    assert position.filled_orders == 1


def test_limit_order_rests_until_a_look_up_finds_its_fills(bot: Bot, kraken: KrakenLoopback) -> None:
    order = resting(bot)
    (there,) = (one for one in kraken.orders() if one == order.venue_order_id)
    kraken.fill(there, "0.1")
    sweep_at(timezone.now() + timedelta(seconds=31))
    order.refresh_from_db()
    assert (order.status, order.filled_quantity) == (OrderStatus.PARTIALLY_FILLED, Decimal("0.1"))
    kraken.fill(there, "0.2")
    sweep_at(timezone.now() + timedelta(seconds=62))
    order.refresh_from_db()
    assert (order.status, order.filled_quantity) == (OrderStatus.FILLED, Decimal("0.3"))
    assert position_of(bot, is_live=True).quantity == Decimal("0.3")
    assert order.fills.count() == 2


def test_order_behind_a_shut_gate_is_denied_and_never_sent(
    bot: Bot, kraken: KrakenLoopback, settings: Settings
) -> None:
    open_gates(settings, live=False)
    submission = send(live_intent(bot))
    assert "LIVE_GATE_CLOSED" in [denial.code for denial in submission.denials]
    assert submission.order.status == OrderStatus.DENIED
    assert sent(kraken) == 0


def test_halt_between_claim_and_send_stops_the_order(
    bot: Bot, kraken: KrakenLoopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_the_send(monkeypatch, lambda: engage(Level.HALTED, "now", actor="anna", cancel_resting=False))
    intent = live_intent(bot)
    assert [denial.code for denial in send(intent).denials] == ["KILL_SWITCH"]
    assert stored(intent).status == OrderStatus.DENIED
    assert events_of(stored(intent)) == ["intent", "submitting", "denied"]
    assert sent(kraken) == 0


@pytest.mark.parametrize("jump_s", [6, -600], ids=["frozen", "clock set back"])
def test_process_that_was_frozen_after_its_claim_sends_nothing(
    bot: Bot, kraken: KrakenLoopback, monkeypatch: pytest.MonkeyPatch, jump_s: int
) -> None:
    with time_machine.travel(timezone.now()) as traveller:
        before_the_send(monkeypatch, lambda: traveller.shift(timedelta(seconds=jump_s)))
        assert [denial.code for denial in send(live_intent(bot)).denials] == ["INTENT_EXPIRED"]
    assert sent(kraken) == 0


@pytest.mark.parametrize(("ttl_s", "sends"), [(3.0, 0), (8.0, 1)])
def test_lease_has_to_outlive_the_venue_s_deadline(bot: Bot, kraken: KrakenLoopback, ttl_s: float, sends: int) -> None:
    leases = LeaseHolder("worker", ttl_s)
    leases.claim([shard_lease(shard_of(bot.pk))], 1)
    intent = live_intent(bot)
    market = venue_market(bot)
    executor.submit_to_venue(intent, market, fence=leases.fence())
    assert sent(kraken) == sends
    assert (stored(intent).status == OrderStatus.FILLED) is bool(sends)
    assert stored(intent).fence_token


def test_worker_that_lost_its_lease_writes_and_sends_nothing(bot: Bot, kraken: KrakenLoopback) -> None:
    leases = LeaseHolder("worker", 30)
    leases.claim([shard_lease(shard_of(bot.pk))], 1)
    fence = leases.fence()
    leases.release()
    with pytest.raises(LeaseLost):
        executor.submit_to_venue(live_intent(bot), venue_market(bot), fence=fence)
    assert not Order.objects.exists()
    assert sent(kraken) == 0


def test_same_id_again_is_denied_and_the_first_order_stands(bot: Bot, kraken: KrakenLoopback) -> None:
    intent = live_intent(bot)
    first = send(intent).order
    again = send(intent)
    assert [denial.code for denial in again.denials] == ["DUPLICATE_ORDER"]
    assert again.order == first
    assert sent(kraken) == 1


OUTCOMES_UNKNOWN = {
    "answer lost": faults.answer_lost(ADD),
    "reset in mid-body": faults.reset(ADD),
    "page of HTML": faults.page(ADD),
    "half a JSON": faults.half(ADD),
    "503 after taking it": faults.http_status(ADD, 503),
}


@pytest.mark.parametrize("fault", OUTCOMES_UNKNOWN.values(), ids=OUTCOMES_UNKNOWN)
def test_outcome_that_is_not_known_is_looked_up_and_adopted(
    bot: Bot, kraken: KrakenLoopback, fault: faults.Fault
) -> None:
    kraken.fault(fault)
    intent = live_intent(bot)
    assert send(intent).order.status == OrderStatus.UNKNOWN
    assert send(live_intent(bot)).is_denied
    sweep_at(timezone.now() + timedelta(seconds=6))
    order = stored(intent)
    assert order.status == OrderStatus.FILLED
    assert events_of(order) == ["intent", "submitting", "unknown", "adopted", "filled"]
    assert len(kraken.orders_with(intent.client_order_id)) == 1
    assert sent(kraken) == 1


def test_order_that_never_arrived_is_not_sent_after_whole_look_ups(bot: Bot, kraken: KrakenLoopback) -> None:
    kraken.fault(faults.request_lost(ADD))
    intent = live_intent(bot)
    send(intent)
    now = timezone.now()
    for seconds in (6, 30, 55):
        sweep_at(now + timedelta(seconds=seconds))
        assert stored(intent).status == OrderStatus.UNKNOWN
    sweep_at(now + timedelta(seconds=80))
    assert stored(intent).status == OrderStatus.NOT_SENT
    assert kraken.orders() == {}


def test_failed_look_ups_do_not_count_as_absence(bot: Bot, kraken: KrakenLoopback) -> None:
    kraken.fault(faults.request_lost(ADD))
    intent = live_intent(bot)
    send(intent)
    kraken.fault(faults.page("OpenOrders", count=99))
    now = timezone.now()
    for seconds in (70, 80, 90, 100):
        sweep_at(now + timedelta(seconds=seconds))
    assert stored(intent).status == OrderStatus.UNKNOWN
    assert stored(intent).empty_look_ups == 0


def test_sender_that_died_leaves_an_order_that_is_resolved(
    bot: Bot, kraken: KrakenLoopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(BaseException):
        pass

    def die() -> None:
        raise Died

    before_the_send(monkeypatch, die)
    intent = live_intent(bot)
    with pytest.raises(Died):
        send(intent)
    assert stored(intent).status == OrderStatus.SUBMITTING
    monkeypatch.undo()
    now = timezone.now()
    sweep_at(now + timedelta(seconds=18))
    assert stored(intent).status == OrderStatus.SUBMITTING
    for seconds in (20, 45, 70):
        sweep_at(now + timedelta(seconds=seconds))
    assert stored(intent).status == OrderStatus.NOT_SENT
    assert sent(kraken) == 0


def test_rejections_are_counted_and_an_acceptance_ends_the_row(bot: Bot, kraken: KrakenLoopback) -> None:
    kraken.fault(faults.venue_error(ADD, "EOrder:Insufficient funds", count=2))
    for quantity in ("0.3", "0.31"):
        assert send(live_intent(bot, quantity=quantity)).order.status == OrderStatus.REJECTED
    assert position_of(bot, is_live=True).reject_streak == 2
    assert send(live_intent(bot, quantity="0.32")).order.status == OrderStatus.FILLED
    assert position_of(bot, is_live=True).reject_streak == 0


def test_cancel_keeps_what_was_filled_before_it(bot: Bot, kraken: KrakenLoopback) -> None:
    order = resting(bot)
    kraken.fill(order.venue_order_id, "0.1")
    done = executor.cancel_at_venue(order.pk, actor="anna", reason="a test")
    assert (done.status, done.filled_quantity) == (OrderStatus.CANCELED, Decimal("0.1"))
    assert events_of(done)[2:] == ["accepted", "cancel_requested", "partially_filled", "canceled"]
    assert position_of(bot, is_live=True).quantity == Decimal("0.1")


def test_cancel_that_the_venue_did_not_answer_is_sent_again(bot: Bot, kraken: KrakenLoopback) -> None:
    order = resting(bot)
    kraken.fault(faults.request_lost(CANCEL, hang_s=8), faults.page("QueryOrders"))
    assert executor.cancel_at_venue(order.pk, actor="anna", reason="a test").status == OrderStatus.ACCEPTED
    sweep_at(timezone.now() + timedelta(seconds=4))
    order.refresh_from_db()
    assert order.status == OrderStatus.CANCELED
    assert events_of(order).count("cancel_requested") == 1


def test_fill_that_is_told_after_the_cancel_is_booked(bot: Bot, kraken: KrakenLoopback) -> None:
    order = resting(bot)
    done = executor.cancel_at_venue(order.pk, actor="anna", reason="a test")
    assert done.status == OrderStatus.CANCELED
    late = Execution("T-LATE", Decimal("0.1"), Decimal(98), Decimal("0.03"), is_maker=True, filled_at=timezone.now())
    report = OrderReport(OrderStatus.CANCELED, order.venue_order_id, (late,))
    for _ in range(2):
        venue.apply(order.pk, report)
    order.refresh_from_db()
    assert (order.status, order.filled_quantity) == (OrderStatus.CANCELED, Decimal("0.1"))
    assert position_of(bot, is_live=True).quantity == Decimal("0.1")
    assert order.fills.count() == 1


def test_state_that_is_older_than_ours_changes_nothing(bot: Bot) -> None:
    order = send(live_intent(bot)).order
    assert order.status == OrderStatus.FILLED
    venue.apply(order.pk, OrderReport(OrderStatus.ACCEPTED, order.venue_order_id))
    order.refresh_from_db()
    assert order.status == OrderStatus.FILLED


@pytest.mark.parametrize("opened", [unit, transaction.atomic], ids=["unit", "atomic"])
def test_nothing_is_sent_inside_a_transaction(bot: Bot, kraken: KrakenLoopback, opened: Any) -> None:
    order, market = resting(bot), venue_market(bot)
    with opened():
        with pytest.raises(executor.OpenTransactionError):
            executor.submit_to_venue(live_intent(bot), market)
        with pytest.raises(executor.OpenTransactionError):
            executor.cancel_at_venue(order.pk, actor="anna", reason="a test")
    assert sent(kraken) == 1
    assert not kraken.log(CANCEL)


def test_order_by_hand_goes_where_the_bot_trades(bot: Bot, kraken: KrakenLoopback) -> None:
    wanted = HandOrder(Side.BUY, OrderType.MARKET, Decimal("0.3"))
    assert place_order(bot.pk, wanted, actor="anna").order.is_live
    assert sent(kraken) == 1
    Bot.objects.filter(pk=bot.pk).update(dry_run=True)
    submission = place_order(bot.pk, HandOrder(Side.BUY, OrderType.MARKET, Decimal("0.2")), actor="anna")
    assert (submission.order.is_live, submission.order.status) == (False, OrderStatus.FILLED)
    assert sent(kraken) == 1


def test_close_cancels_what_rests_and_sells_what_is_held(bot: Bot, kraken: KrakenLoopback) -> None:
    send(live_intent(bot))
    low = resting(bot, "0.2", "97")
    submission = close_position(bot.pk, actor="anna")
    assert submission.order.status == OrderStatus.FILLED
    assert position_of(bot, is_live=True).quantity == 0
    low.refresh_from_db()
    bot.refresh_from_db()
    assert (low.status, bot.status) == (OrderStatus.CANCELED, "paused")
    with pytest.raises(BotActionError, match="nothing to close"):
        close_position(bot.pk, actor="anna")


def test_close_sells_nothing_when_the_resting_sale_was_filled_before_its_cancel(
    bot: Bot, kraken: KrakenLoopback
) -> None:
    send(live_intent(bot))
    sale = send(live_intent(bot, Side.SELL, limit="101")).order
    kraken.fill(sale.venue_order_id, "0.3")
    with pytest.raises(BotActionError, match="nothing left to close"):
        close_position(bot.pk, actor="anna")
    assert position_of(bot, is_live=True).quantity == 0
    assert sent(kraken) == 2


def test_purchases_sent_since_the_account_was_measured_are_not_forgotten(bot: Bot, kraken: KrakenLoopback) -> None:
    measured("60", "10000")
    assert not send(live_intent(bot)).is_denied
    codes = [denial.code for denial in send(live_intent(bot, quantity="0.31")).denials]
    assert codes == ["INSUFFICIENT_FUNDS"]


def test_connection_is_free_while_the_venue_is_asked(bot: Bot, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    before_the_send(monkeypatch, lambda: seen.append(connection.in_atomic_block))
    send(live_intent(bot))
    assert seen == [False]


def test_intent_of_a_bot_that_turned_to_paper_meanwhile_is_denied(bot: Bot, kraken: KrakenLoopback) -> None:
    intent: OrderIntent = live_intent(bot)
    Bot.objects.filter(pk=bot.pk).update(dry_run=True)
    assert "LIVE_GATE_CLOSED" in [denial.code for denial in send(intent).denials]
    assert sent(kraken) == 0


@pytest.mark.parametrize("status", [BotStatus.STOPPED, BotStatus.ARCHIVED])
def test_what_a_tick_decided_is_not_sent_once_its_bot_is_stopped(
    bot: Bot, kraken: KrakenLoopback, status: BotStatus
) -> None:
    fence = fence_of(bot)
    Bot.objects.filter(pk=bot.pk).update(status=status)
    submission = executor.submit_to_venue(live_intent(bot), venue_market(bot), fence=fence)
    assert [denial.code for denial in submission.denials] == ["INTENT_EXPIRED"]
    assert events_of(submission.order) == ["intent", "denied"]
    assert sent(kraken) == 0


def test_person_may_order_of_a_stopped_bot_and_not_of_an_archived_one(bot: Bot, kraken: KrakenLoopback) -> None:
    Bot.objects.filter(pk=bot.pk).update(status=BotStatus.STOPPED)
    assert not send(live_intent(bot)).is_denied
    Bot.objects.filter(pk=bot.pk).update(status=BotStatus.ARCHIVED)
    assert send(live_intent(bot, quantity="0.2")).is_denied
    assert sent(kraken) == 1


@pytest.mark.parametrize(
    ("act", "actor", "is_cancelled"),
    [
        (manager.stop, "bot", True),
        (manager.pause, "bot", True),
        (manager.pause, "anna", True),
        (manager.stop, "anna", False),
        (None, "bot", False),
    ],
)
def test_order_that_was_on_its_way_when_its_bot_was_stopped_does_not_rest_for_ever(
    bot: Bot,
    kraken: KrakenLoopback,
    monkeypatch: pytest.MonkeyPatch,
    act: Callable[..., Bot] | None,
    actor: str,
    is_cancelled: bool,
) -> None:
    if act is not None:
        before_the_send(monkeypatch, lambda: act(bot.pk, actor="anna"))
    order = send(live_intent(bot, limit="98", actor=f"bot:{bot.pk}" if actor == "bot" else actor)).order
    assert order.status == OrderStatus.ACCEPTED
    monkeypatch.undo()
    sweep_at(timezone.now() + timedelta(seconds=1))
    order.refresh_from_db()
    assert (order.status == OrderStatus.CANCELED) is is_cancelled


@pytest.mark.parametrize("state", [OrderStatus.SUBMITTING, OrderStatus.UNKNOWN, OrderStatus.ACCEPTED])
def test_bot_with_an_order_at_its_venue_keeps_its_symbol_and_is_not_archived(bot: Bot, state: OrderStatus) -> None:
    order = resting(bot)
    Order.objects.filter(pk=order.pk).update(status=state)
    with pytest.raises(BotActionError, match="not ended at its venue"):
        manager.archive(bot.pk, actor="anna")
    bot.symbol = "ETH/USD"
    with pytest.raises(BotActionError, match="symbol can change only"):
        manager.update(bot, actor="anna")
    assert Order.objects.get(pk=order.pk).cancel_requested_at is None


def test_exit_does_not_wait_for_an_account_that_cannot_be_measured(bot: Bot, kraken: KrakenLoopback) -> None:
    send(live_intent(bot))
    measured(measured_at=None, flags=None)
    Account.objects.update(equity_usd=None, cash_usd=None)
    assert send(live_intent(bot, quantity="0.31")).is_denied
    assert send(live_intent(bot, Side.SELL)).order.status == OrderStatus.FILLED
