"""What must hold of every database, whatever happened to it: computed anew from the rows, with nothing of the ledger's code.

Sums are fractions, so that no rounding hides a difference.
"""

from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from typing import Any

from audit.models import OrderEvent
from audit.verify import verify_chains
from bots.models import Bot, Deal, Fill, Order, Position

RESTING = {"accepted", "partially_filled"}
FINAL = {"denied", "filled", "canceled", "rejected", "expired", "not_sent"}
FILL_EVENTS = {"filled", "partially_filled"}
#: The one rounding in the books: a sale's share of the cost, to 1e-18.
ROUNDING = Fraction(1, 10**18)


def check_everything() -> None:
    """Fail with what is wrong when the chains, the orders, the books or the deals do not agree with each other."""
    check_chains()
    events = _events_by_order()
    for order in Order.objects.all():
        check_order(order, events.pop(order.client_order_id, []))
    assert not events, f"audit rows of orders that do not exist: {sorted(events)}"
    check_trade_ids()
    for bot in Bot.objects.all():
        for is_live in (False, True):
            check_book(bot, is_live=is_live)


def check_chains() -> None:
    """Fail when a chain does not verify."""
    bad = [report.bad for report in verify_chains() if not report.intact]
    assert not bad, bad


def _events_by_order() -> dict[str, list[OrderEvent]]:
    events: dict[str, list[OrderEvent]] = defaultdict(list)
    for event in OrderEvent.objects.order_by("id"):
        events[event.client_order_id].append(event)
    return events


def check_order(order: Order, events: list[OrderEvent]) -> None:
    """Fail unless the order is final or rests, and its audit rows tell its whole story, each fill once."""
    assert order.status in RESTING | FINAL, f"{order} was left {order.status}"
    # A repeat of the tick is told of after the story, and changes nothing.
    story = [event for event in events if not _is_repeat(event)]
    names = [event.event for event in story]
    assert names[:1] == ["intent"], f"{order}: {names}"
    assert names.count("intent") == 1, f"{order}: {names}"
    assert names.count("submitting") == (order.status != "denied" or order.submitting_at is not None), names
    assert names[-1] == order.status, f"{order} is {order.status}, its last audit row {names[-1]}"
    assert all(event.is_live == int(order.is_live) for event in story), f"{order}: live and paper rows are mixed"
    told = sorted(_told(event) for event in story if event.event in FILL_EVENTS)
    fills = list(Fill.objects.filter(order=order))
    assert told == sorted((one.trade_id, one.quantity, one.price, one.fee) for one in fills), (
        f"{order}: fills and audit"
    )
    assert _sum(one.quantity for one in fills) == _exact(order.filled_quantity), f"{order}: filled quantity"
    assert _sum(_exact(one.quantity) * _exact(one.price) for one in fills) == _exact(order.filled_notional)
    assert _sum(one.fee for one in fills) == _exact(order.fees), f"{order}: fees"
    assert order.filled_quantity <= order.quantity, f"{order} was filled beyond its quantity"
    assert (order.filled_quantity == order.quantity) == (order.status == "filled"), f"{order} is {order.status}"


def _is_repeat(event: OrderEvent) -> bool:
    reasons = event.details.get("reasons", [])
    return event.event == "denied" and [one.get("actual") for one in reasons] == ["again"]


def _told(event: OrderEvent) -> tuple[str, Decimal | None, Decimal | None, Decimal]:
    return event.details["trade_id"], event.amount, event.price, Decimal(event.details["fee"])


def check_trade_ids() -> None:
    """Fail when a trade counts twice."""
    ids = list(Fill.objects.values_list("venue", "is_live", "trade_id"))
    assert len(ids) == len(set(ids))


def check_book(bot: Bot, *, is_live: bool) -> None:
    """Fail unless position, cash and deals follow from the fills of this book alone."""
    fills = list(Fill.objects.filter(order__bot=bot, is_live=is_live).select_related("order").order_by("id"))
    position = Position.objects.filter(bot=bot, is_live=is_live).first()
    deals = list(Deal.objects.filter(bot=bot, is_live=is_live))
    assert sum(deal.closed_at is None for deal in deals) <= 1, f"{bot}: two open deals"
    if position is None:
        assert not fills, f"{bot}: fills, and no position"
        assert not deals, f"{bot}: deals, and no position"
        return
    assert all(fill.order.is_live is is_live for fill in fills), f"{bot}: books are mixed"
    bought, sold = (_side(fills, side) for side in ("buy", "sell"))
    fees = _sum(fill.fee for fill in fills)
    assert _exact(position.quantity) == bought["quantity"] - sold["quantity"], (
        f"{bot}: position is not the sum of fills"
    )
    assert _exact(position.cash_flow) == sold["notional"] - bought["notional"] - fees, f"{bot}: cash"
    assert _exact(position.fees) == fees, f"{bot}: fees"
    # What was spent is either in the position or was realised.
    assert _exact(position.realised_pnl) == _exact(position.cash_flow) + _exact(position.cost), f"{bot}: P&L"
    cost, realised = slow_book(fills)
    assert abs(cost - _exact(position.cost)) <= len(fills) * ROUNDING, f"{bot}: cost"
    assert abs(realised - _exact(position.realised_pnl)) <= len(fills) * ROUNDING, f"{bot}: realised P&L"
    if not position.quantity:
        assert position.cost == 0, f"{bot}: flat, and a cost is left"
    check_deals(bot, position, deals)
    check_filled_orders(bot, position, fills)


def check_filled_orders(bot: Bot, position: Position, fills: list[Fill]) -> None:
    """Fail unless every order that filled wholly is counted once, and the values of the last 30 are kept in their order."""
    filled: dict[int, Fraction] = defaultdict(Fraction)
    values: dict[int, Fraction] = defaultdict(Fraction)
    done = []
    for fill in fills:
        filled[fill.order_id] += _exact(fill.quantity)
        values[fill.order_id] += _exact(fill.quantity) * _exact(fill.price)
        if filled[fill.order_id] == _exact(fill.order.quantity):
            done.append(values[fill.order_id])
    assert position.filled_orders == len(done), f"{bot}: {position.filled_orders} filled orders, not {len(done)}"
    assert [Fraction(one) for one in position.recent_notionals] == done[-30:], f"{bot}: values of filled orders"


def check_deals(bot: Bot, position: Position, deals: list[Deal]) -> None:
    """Fail unless the deals hold every trade of the book and their gains add up to the book's realised P&L."""
    held = _sum(deal.bought_quantity for deal in deals) - _sum(deal.sold_quantity for deal in deals)
    assert held == _exact(position.quantity), f"{bot}: the deals hold {held}, the position {position.quantity}"
    assert _sum(deal.fees for deal in deals) == _exact(position.fees), f"{bot}: fees of the deals"
    assert _sum(deal.pnl for deal in deals) == _exact(position.realised_pnl), f"{bot}: the deals' P&L is not the book's"


def slow_book(fills: list[Fill]) -> tuple[Fraction, Fraction]:
    """Return cost and realised P&L at average cost, computed without any rounding."""
    quantity = cost = realised = Fraction(0)
    for fill in fills:
        amount, notional, fee = _exact(fill.quantity), _exact(fill.quantity) * _exact(fill.price), _exact(fill.fee)
        realised -= fee
        if fill.order.side == "buy":
            quantity, cost = quantity + amount, cost + notional
            continue
        share = cost * amount / quantity
        realised += notional - share
        quantity, cost = quantity - amount, cost - share
    return cost, realised


def _side(fills: list[Fill], side: str) -> dict[str, Fraction]:
    mine = [fill for fill in fills if fill.order.side == side]
    notional = _sum(_exact(fill.quantity) * _exact(fill.price) for fill in mine)
    return {"quantity": _sum(fill.quantity for fill in mine), "notional": notional}


def _exact(value: Decimal | Fraction) -> Fraction:
    return Fraction(value)


def _sum(values: Any) -> Fraction:
    return sum((_exact(value) for value in values), Fraction(0))
