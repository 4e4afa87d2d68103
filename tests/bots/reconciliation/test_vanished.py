"""Orders that rest, as far as we know, and that their venue neither lists nor finds: told of, and ended by a person alone."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import partial

import pytest
import time_machine
from django.utils import timezone
from pytest_django import Settings

from audit.models import OrderEvent
from bots import executor, sweep
from bots.account_chores import measure_at_venue
from bots.accounts import account_name
from bots.market_data.base import MarketDataError
from bots.market_data.feeds import forget_feeds
from bots.markets import market_for
from bots.models import AccountSync, Bot, Difference, Order, RateCounter
from bots.order_states import OrderStatus
from bots.reconciliation.engine import reconcile
from bots.reconciliation.settling import SettleError, settle
from safety.intents import OrderIntent, Side
from tests.bots.alpaca_desk import live_stock_desk, paper_desk, stock_intent
from tests.bots.builders import position_of
from tests.bots.live import live_desk, live_intent, send
from tests.bots.reconciliation.desk import alarms
from tests.conftest import CommittedDatabase
from tests.loopback import faults
from tests.loopback.client import AlpacaAccount, AlpacaLoopback, KrakenLoopback, Loopback

pytestmark = pytest.mark.usefixtures("committed_db")
#: When rounds are held, in seconds from now: three of them search for what is missing.
ROUNDS_S = (1, 50, 100)


@dataclass
class Desk:
    """A bot at a venue, and what lets an order be forgotten there and be there again."""

    bot: Bot
    there: KrakenLoopback | AlpacaAccount
    intent: Callable[..., OrderIntent]
    recall: Callable[[str], object]
    searches: str

    def rest(self, quantity: str = "0.3", side: Side = Side.BUY, limit: str = "98") -> Order:
        order = send(self.intent(side, quantity, limit)).order
        assert order.status == OrderStatus.ACCEPTED
        return order

    def vanish(self, quantity: str = "0.3", side: Side = Side.BUY, limit: str = "98") -> Order:
        """Let an order rest that the venue then does not know any more."""
        order = self.rest(quantity, side, limit)
        self.there.forget(order.venue_order_id)
        return order

    def rounds(self, *seconds: float) -> None:
        for one in seconds or ROUNDS_S:
            with time_machine.travel(timezone.now() + timedelta(seconds=one), tick=True):
                reconcile(self.bot.venue, is_live=self.bot.is_live, trigger="test")
            # What was asked in the future is not used up yet.
            RateCounter.objects.all().delete()

    def differences(self) -> list[Difference]:
        name = account_name(self.bot.venue, is_live=self.bot.is_live)
        return list(Difference.objects.filter(account_id=name, closed_at__isnull=True))


@pytest.fixture(params=["kraken", "alpaca", "alpaca-paper"])
def desk(
    request: pytest.FixtureRequest, committed_db: CommittedDatabase, settings: Settings, kraken: KrakenLoopback
) -> Desk:
    """Return a desk at each account that orders can be sent to, which agrees."""
    if request.param == "kraken":
        bot = live_desk(kraken, settings)
        found = Desk(bot, kraken, partial(live_intent, bot), lambda _: kraken.reveal(), "ClosedOrders")
    else:
        alpaca: AlpacaLoopback = request.getfixturevalue("alpaca")
        is_live = request.param == "alpaca"
        bot = live_stock_desk(alpaca, settings) if is_live else paper_desk(alpaca)
        there = alpaca.live if is_live else alpaca.paper
        found = Desk(bot, there, partial(stock_intent, bot), there.recall, "GET /v2/orders:by_client_order_id")
    found.rounds(0)
    return found


def price_age_s(bot: Bot) -> float | None:
    now = timezone.now()
    try:
        return (now - market_for(bot.venue, bot.symbol, now).view.quote.seen_at).total_seconds()
    except MarketDataError:
        return None


def states(order: Order) -> tuple[str, int]:
    order.refresh_from_db()
    return order.status, order.empty_look_ups


def settle_it(found: Difference) -> Difference:
    return settle(found.pk, actor="anna", reason="it is not on their page either")


def test_order_that_is_nowhere_is_told_of_after_three_whole_look_ups(desk: Desk) -> None:
    order = desk.vanish()
    for seconds, times in zip(ROUNDS_S, (1, 2, 3), strict=True):
        assert desk.differences() == []
        desk.rounds(seconds)
        assert states(order) == (OrderStatus.ACCEPTED, times)
    (found,) = desk.differences()
    assert (found.kind, found.symbol, found.client_order_id) == ("order", desk.bot.symbol, order.client_order_id)
    for said in (order.client_order_id, order.venue_order_id, "0.3", "neither lists nor finds", "settle this"):
        assert said in found.text
    assert alarms("reconciliation_mismatch") == [f"order:{order.client_order_id}"]
    # However long it lasts, it is told of once and never ended by itself.
    desk.rounds(500, 900)
    assert states(order) == (OrderStatus.ACCEPTED, 3)
    assert [one.pk for one in desk.differences()] == [found.pk]
    assert alarms("reconciliation_mismatch") == [f"order:{order.client_order_id}"]


def test_three_look_ups_within_a_minute_are_not_enough(desk: Desk) -> None:
    order = desk.vanish()
    with time_machine.travel(timezone.now(), tick=False) as clock:
        for _ in range(5):
            sweep.look_up(Order.objects.get(pk=order.pk), timezone.now())
            clock.shift(14.9)
        assert states(order) == (OrderStatus.ACCEPTED, 2)
        assert desk.differences() == []
        sweep.look_up(Order.objects.get(pk=order.pk), timezone.now())
    assert states(order) == (OrderStatus.ACCEPTED, 3)
    assert len(desk.differences()) == 1


def test_answers_that_are_not_whole_count_for_nothing(desk: Desk) -> None:
    order = desk.vanish()
    for _ in range(4):
        desk.there.fault(faults.page(desk.searches))
        sweep.look_up(Order.objects.get(pk=order.pk), timezone.now())
    assert states(order) == (OrderStatus.ACCEPTED, 0)


def test_entries_wait_and_exits_go_while_it_is_open(desk: Desk) -> None:
    assert send(desk.intent(Side.BUY, "0.25")).order.status == OrderStatus.FILLED
    desk.vanish("0.2")
    desk.rounds()
    # The rounds in the future left prices and figures of then.
    forget_feeds()
    measure_at_venue(desk.bot.venue, is_live=desk.bot.is_live)
    Loopback.wait_until(lambda: price_age_s(desk.bot), lambda age_s: age_s is not None and abs(age_s) < 5, 60)
    assert "RECONCILIATION_OPEN" in [one.code for one in send(desk.intent(Side.BUY, "0.21")).denials]
    # A limit: Alpaca refuses a market order while an order rests on the other side, also one that it shows to nobody.
    exit_ = send(desk.intent(Side.SELL, "0.25", "99"))
    assert exit_.denials == ()
    assert exit_.order.status == OrderStatus.FILLED


def test_person_takes_the_venue_s_word_and_the_order_is_canceled(desk: Desk) -> None:
    order = desk.vanish()
    desk.rounds()
    (found,) = desk.differences()
    done = settle_it(found)
    assert (done.outcome, done.closed_by) == ("accepted", "anna")
    assert states(order)[0] == OrderStatus.CANCELED
    event = OrderEvent.objects.filter(client_order_id=order.client_order_id).order_by("id").last()
    assert event is not None
    assert (event.event, event.actor) == ("canceled", "anna")
    assert "not on their page" in event.reason
    assert settle_it(found).closed_at == done.closed_at
    desk.rounds(200)
    assert desk.differences() == []


def test_order_that_is_there_after_all_is_not_ended_by_anybody(desk: Desk) -> None:
    order = desk.vanish()
    desk.rounds()
    (found,) = desk.differences()
    desk.recall(order.venue_order_id)
    with pytest.raises(SettleError, match="has the order after all"):
        settle_it(found)
    assert states(order) == (OrderStatus.ACCEPTED, 0)
    desk.rounds(200)
    found.refresh_from_db()
    assert (found.outcome, found.closed_by) == ("agrees", "automatic")


def test_venue_that_cannot_be_asked_settles_nothing(desk: Desk) -> None:
    order = desk.vanish()
    desk.rounds()
    (found,) = desk.differences()
    desk.there.fault(faults.page(desk.searches))
    with pytest.raises(SettleError, match="could not say"):
        settle_it(found)
    assert states(order)[0] == OrderStatus.ACCEPTED
    assert [one.pk for one in desk.differences()] == [found.pk]


def test_order_that_is_listed_again_closes_its_difference(desk: Desk) -> None:
    order = desk.vanish()
    desk.rounds()
    desk.recall(order.venue_order_id)
    desk.rounds(130)
    assert states(order) == (OrderStatus.ACCEPTED, 0)
    assert desk.differences() == []
    assert Difference.objects.get().reason == "the venue has the order again"


def test_order_that_filled_meanwhile_is_booked_and_closes_its_difference(desk: Desk) -> None:
    order = desk.vanish()
    desk.rounds()
    desk.recall(order.venue_order_id)
    desk.there.fill(order.venue_order_id, "0.3")
    # It is asked for again after a while, since no list of open orders has it.
    desk.rounds(420, 450)
    assert states(order)[0] == OrderStatus.FILLED
    assert position_of(desk.bot, is_live=desk.bot.is_live).quantity == Decimal("0.3")
    assert desk.differences() == []


def test_order_that_fills_after_it_was_given_up_is_booked_and_told_of(desk: Desk) -> None:
    order = desk.vanish()
    desk.rounds()
    settle_it(desk.differences()[0])
    desk.recall(order.venue_order_id)
    desk.there.fill(order.venue_order_id, "0.3")
    desk.rounds(200)
    assert states(order)[0] == OrderStatus.FILLED
    assert position_of(desk.bot, is_live=desk.bot.is_live).quantity == Decimal("0.3")
    assert f"order:{order.client_order_id}" in alarms("risk_alert")


def test_order_whose_cancel_was_asked_for_is_told_of_too(desk: Desk) -> None:
    order = desk.vanish()
    executor.ask_to_cancel(order.pk, actor="anna", reason="a test")
    for seconds in ROUNDS_S:
        with time_machine.travel(timezone.now() + timedelta(seconds=seconds), tick=True):
            sweep.carry_out_cancels(timezone.now())
        desk.rounds(seconds)
    assert states(order)[1] == 3 or states(order)[0] == OrderStatus.CANCELED
    assert len(desk.differences()) == (states(order)[0] == OrderStatus.ACCEPTED)


def test_sweep_counts_look_ups_where_reconciliation_does_not_list(desk: Desk) -> None:
    order = desk.vanish()
    AccountSync.objects.update(listed_at=None)
    for seconds in (40, 90, 140):
        moment = timezone.now() + timedelta(seconds=seconds)
        with time_machine.travel(moment, tick=False):
            sweep.sweep(moment)
    assert states(order) == (OrderStatus.ACCEPTED, 3)
    assert len(desk.differences()) == 1


def test_however_many_are_missing_each_is_told_of(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than one round asks for: those that were asked for the longest ago come first."""
    monkeypatch.setattr("bots.reconciliation.orders.LOOK_UPS_MAX", 2)
    orders = [desk.vanish(quantity) for quantity in ("0.1", "0.11", "0.12", "0.13")]
    desk.rounds(*range(1, 800, 46))
    assert [states(one)[1] for one in orders] == [3] * len(orders)
    assert len(desk.differences()) == len(orders)


def test_shortage_beside_a_missing_order_is_found(desk: Desk) -> None:
    """An order that the venue does not have keeps nothing from being compared for ever."""
    assert send(desk.intent(Side.BUY, "0.3")).order.status == OrderStatus.FILLED
    desk.vanish("0.2")
    desk.rounds(1)
    if isinstance(desk.there, KrakenLoopback):
        desk.there.set_balance("XXBT", "0.1")
    else:
        desk.there.set_position(desk.bot.symbol, "0.1")
    desk.rounds(20, 40)
    assert [one.kind for one in desk.differences()] == ["shortage"]
