"""What comes late or was lost: sales of more than is held, live fills of a bot on paper, orders that a restored backup forgot."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from audit.models import OperatorEvent
from bots import sweep
from bots.brokers.base import Execution, OrderReport
from bots.executor import cancel_at_venue, venue
from bots.models import AccountMovement, Bot, Fill, Order
from bots.order_ids import installation_id, random_order_id, tick_order_id
from bots.order_states import OrderStatus
from bots.reconciliation.settling import settle
from bots.strategies import registry
from bots.strategies.base import PlannedLeg
from bots.strategies.smart_dca import SmartDca
from bots.workers.schedule import latest_due
from safety.intents import Side
from tests.bots.builders import events_of, position_of
from tests.bots.live import live_bot, live_intent, send, stored
from tests.bots.reconciliation.desk import alarms, assert_agrees, baseline, entry, open_differences, round_at
from tests.loopback import faults
from tests.loopback.client import KrakenLoopback

pytestmark = pytest.mark.usefixtures("committed_db")


def execution(quantity: str, price: str = "99", trade_id: str = "T-LATE") -> Execution:
    return Execution(trade_id, Decimal(quantity), Decimal(price), Decimal("0.03"), True, timezone.now())


def by_hand(kraken: KrakenLoopback, side: str, volume: str, client_order_id: str) -> str:
    """Place an order at the venue past the console, with one of its ids."""
    return str(
        kraken.control("place", pair="XBTUSD", type=side, volume=volume, ordertype="market", cl_ord_id=client_order_id)
    )


# A sale of more than the book holds.


def test_sale_of_more_than_is_held_is_booked_and_told_of(holding: Bot, kraken: KrakenLoopback) -> None:
    """Two sales of the same 0.3: one was cancelled, which the venue did too late."""
    first = send(live_intent(holding, Side.SELL, limit="101")).order
    cancel_at_venue(first.pk, actor="anna", reason="a test")
    assert send(live_intent(holding, Side.SELL)).order.status == OrderStatus.FILLED
    late = OrderReport(OrderStatus.CANCELED, first.venue_order_id, (execution("0.3", "101"),))
    for _ in range(2):
        venue.apply(first.pk, late)
    first.refresh_from_db()
    position = position_of(holding, is_live=True)
    assert (first.filled_quantity, position.quantity, position.cost) == (Decimal("0.3"), 0, 0)
    assert Fill.objects.filter(trade_id="T-LATE").count() == 1
    assert position.realised_pnl == position.cash_flow
    assert baseline("BTC") == Decimal("0.2")
    assert baseline("USD") == 10_000 + Decimal("30.3")
    (found,) = open_differences()
    assert (found.kind, found.symbol) == ("oversold", "BTC/USD")
    holding.refresh_from_db()
    assert "sold more" in holding.entries_held
    assert entry(holding) == ["ENTRIES_HELD", "RECONCILIATION_OPEN"]
    assert settle(found.pk, actor="anna", reason="seen").outcome == "noted"
    assert AccountMovement.objects.filter(kind="oversold").count() == 2


def test_late_live_fill_of_a_bot_on_paper_leaves_it_reduce_only_until_flat(
    holding: Bot, kraken: KrakenLoopback
) -> None:
    order = send(live_intent(holding, limit="98")).order
    cancel_at_venue(order.pk, actor="anna", reason="a test")
    send(live_intent(holding, Side.SELL))
    Bot.objects.filter(pk=holding.pk).update(dry_run=True)
    venue.apply(order.pk, OrderReport(OrderStatus.CANCELED, order.venue_order_id, (execution("0.3"),)))
    holding.refresh_from_db()
    assert (holding.dry_run, holding.turning_to_paper) == (False, True)
    assert "turned to paper" in holding.entries_held
    assert position_of(holding, is_live=True).quantity == Decimal("0.3")
    assert f"order:{order.client_order_id}" in alarms("risk_alert")
    assert "ENTRIES_HELD" in entry(holding)
    assert send(live_intent(holding, Side.SELL, "0.2")).order.status == OrderStatus.FILLED


def test_late_fill_of_dust_does_not_bring_a_bot_back(holding: Bot, kraken: KrakenLoopback) -> None:
    order = send(live_intent(holding, limit="98")).order
    cancel_at_venue(order.pk, actor="anna", reason="a test")
    send(live_intent(holding, Side.SELL))
    Bot.objects.filter(pk=holding.pk).update(dry_run=True)
    venue.apply(order.pk, OrderReport(OrderStatus.CANCELED, order.venue_order_id, (execution("0.00001"),)))
    holding.refresh_from_db()
    assert holding.dry_run


def test_fill_after_the_cancel_is_told_of(holding: Bot, kraken: KrakenLoopback) -> None:
    order = send(live_intent(holding, limit="98")).order
    cancel_at_venue(order.pk, actor="anna", reason="a test")
    assert alarms("risk_alert") == []
    venue.apply(order.pk, OrderReport(OrderStatus.CANCELED, order.venue_order_id, (execution("0.1"),)))
    assert alarms("risk_alert") == [f"order:{order.client_order_id}"]


def test_unknown_outcome_is_put_before_a_person_once(armed: Bot, kraken: KrakenLoopback) -> None:
    kraken.fault(faults.request_lost("AddOrder"))
    order = send(live_intent(armed)).order
    assert order.status == OrderStatus.UNKNOWN
    sweep.tell_of_unknown(timezone.now())
    assert alarms("order_unknown") == []
    for seconds in (25, 45):
        sweep.tell_of_unknown(timezone.now() + timedelta(seconds=seconds))
    assert alarms("order_unknown") == [f"order:{order.client_order_id}"]


# Orders that the database does not know.


def test_order_of_a_tick_that_the_database_forgot_is_adopted_by_its_bot(armed: Bot, kraken: KrakenLoopback) -> None:
    due_at = latest_due(armed.pk, armed.poll_seconds, timezone.now())
    id_ = tick_order_id(installation_id(), armed.pk, due_at, "base")
    by_hand(kraken, "buy", "0.2", id_)
    round_at(trigger="command")
    order = Order.objects.get(client_order_id=id_)
    assert (order.bot_id, order.leg, order.status, order.created_at) == (armed.pk, "base", OrderStatus.FILLED, due_at)
    assert events_of(order) == ["unknown", "adopted", "filled"]
    assert position_of(armed, is_live=True).quantity == Decimal("0.2")
    armed.refresh_from_db()
    assert "not in the database" in armed.entries_held
    assert alarms("order_unknown") == [f"order:{id_}"]
    round_at(61)
    assert_agrees(kraken, armed)
    assert baseline("BTC") == Decimal("0.5")


class Broken(SmartDca):
    """A strategy of somebody's that fails on its own settings."""

    key = "broken"

    def ladder(self, params: dict[str, Any], capital_usd: Decimal) -> tuple[PlannedLeg, ...]:
        raise ZeroDivisionError("a step of nothing")


def test_strategy_that_fails_does_not_stop_its_account_s_reconciliation(
    armed: Bot, kraken: KrakenLoopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry._strategies, Broken.key, Broken())
    broken = live_bot("broken", running=False)
    Bot.objects.filter(pk=broken.pk).update(strategy=Broken.key)
    ids = {}
    for bot, leg in ((broken, "base"), (broken, "exit"), (armed, "base")):
        due_at = latest_due(bot.pk, bot.poll_seconds, timezone.now())
        ids[bot.name, leg] = tick_order_id(installation_id(), bot.pk, due_at, leg)
        by_hand(kraken, "buy", "0.2", ids[bot.name, leg])
    assert round_at(trigger="command").state != "failed"
    # What can still be proven is: an exit has the same name in every strategy.
    for key, bot in ((("live", "base"), armed), (("broken", "exit"), broken)):
        assert Order.objects.get(client_order_id=ids[key]).bot_id == bot.pk
    assert not Order.objects.filter(client_order_id=ids["broken", "base"]).exists()
    assert Order.objects.filter(status=OrderStatus.EXTERNAL).count() == 1


@pytest.mark.parametrize("kind", ["manual", "tick of another"])
def test_order_with_an_id_like_ours_that_proves_nothing_is_external_and_told_of(
    armed: Bot, kraken: KrakenLoopback, kind: str
) -> None:
    due_at = latest_due(armed.pk, armed.poll_seconds, timezone.now())
    id_ = random_order_id("manual") if kind == "manual" else tick_order_id("another", armed.pk, due_at, "base")
    there = by_hand(kraken, "buy", "0.2", id_)
    round_at(trigger="command")
    order = Order.objects.get(venue_order_id=there)
    assert (order.bot_id, order.status) == (None, OrderStatus.EXTERNAL)
    assert order.client_order_id != id_
    assert alarms("risk_alert") == [f"order:{there}"]
    round_at(61)
    assert_agrees(kraken, armed)
    assert baseline("BTC") == Decimal("0.7")
    assert entry(armed) == []


def test_order_that_was_denied_and_is_there_closes_its_symbol_and_is_never_adopted(
    armed: Bot, kraken: KrakenLoopback
) -> None:
    intent = live_intent(armed)
    assert send(intent).order.status == OrderStatus.FILLED
    second = live_intent(armed, quantity="0.2")
    order = send(second).order
    Order.objects.filter(pk=order.pk).update(status=OrderStatus.REJECTED, venue_order_id="")
    round_at(trigger="command")
    assert stored(second).status == OrderStatus.REJECTED
    (found,) = open_differences()
    assert (found.kind, found.client_order_id) == ("order", second.client_order_id)
    assert "RECONCILIATION_OPEN" in entry(armed, "0.1")
    settle(found.pk, actor="anna", reason="I have seen it")
    round_at(12, trigger="command")
    assert not any(one.kind == "order" for one in open_differences())


def test_second_order_with_our_id_is_somebody_else_s_and_closes_the_symbol(armed: Bot, kraken: KrakenLoopback) -> None:
    intent = live_intent(armed)
    send(intent)
    there = by_hand(kraken, "buy", "0.3", intent.client_order_id)
    round_at(61, trigger="command")
    assert position_of(armed, is_live=True).quantity == Decimal("0.3")
    assert Order.objects.get(venue_order_id=there).status == OrderStatus.EXTERNAL
    (found,) = open_differences()
    assert (found.kind, found.venue_order_id) == ("order", there)
    assert baseline("BTC") == Decimal("0.8")
    assert OperatorEvent.objects.filter(action="reconciliation_mismatch").count() == 1


def test_trade_that_was_taken_for_somebody_else_s_is_taken_back_once_it_is_ours(
    armed: Bot, kraken: KrakenLoopback
) -> None:
    """Its order was in no list for a while, and its own look-ups did not find it either."""
    kraken.fault(faults.request_lost("AddOrder"))
    intent = live_intent(armed)
    send(intent)
    Order.objects.update(status=OrderStatus.NOT_SENT)
    there = by_hand(kraken, "buy", "0.3", intent.client_order_id)
    kraken.unlist(there)
    round_at(61, trigger="command")
    assert baseline("BTC") == Decimal("0.8")
    order = stored(intent)
    venue.apply(order.pk, OrderReport(OrderStatus.FILLED, there, tuple(_trades(kraken, there))), adopt=True)
    round_at(75, trigger="command")
    assert baseline("BTC") == Decimal("0.5")
    assert_agrees(kraken, armed)


def _trades(kraken: KrakenLoopback, order_id: str) -> list[Execution]:
    return [
        Execution(id_, Decimal(one["vol"]), Decimal(one["price"]), Decimal(one["fee"]), False, timezone.now())
        for id_, one in kraken.trades().items()
        if one["ordertxid"] == order_id
    ]
