"""What must hold of every database, whatever happened to it: computed anew from the rows, with nothing of the ledger's code.

``check()`` is the oracle of docs/faults.md: what holds of the database by itself, and what has to agree with the ledger that each
loopback venue keeps of its own. Sums are fractions, so that no rounding hides a difference.
"""

from collections import Counter, defaultdict
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from audit.models import OperatorEvent, OrderEvent
from audit.verify import verify_chains
from bots.models import Bot, Deal, Fill, Order, Position
from tests.faults.venues import SeenOrder, SeenTrade, VenueSide

RESTING = {"accepted", "partially_filled"}
FINAL = {"denied", "filled", "canceled", "rejected", "expired", "not_sent"}
FILL_EVENTS = {"filled", "partially_filled"}
#: The one rounding in the books: a sale's share of the cost, to 1e-18.
ROUNDING = Fraction(1, 10**18)
#: How soon a person has to be told that an outcome is not known.
ALERT_WITHIN = timedelta(seconds=60)
#: Rows of an order's story that say what was wanted or found, and not where the order stands.
NOT_A_STATE = {"cancel_requested", "adopted"}
#: How the story begins of an order whose rows the database lost, and which was found at the venue.
LOST = ["unknown", "adopted"]
#: What a person has to be given a reason for.
EXPLAINED = {"denied", "rejected", "unknown", "not_sent"}
#: Each time that the oracle found nothing wrong, and of which venues: no test of a fault passes without (conftest.py).
asked: list[tuple[str, ...]] = []


def check(*venues: VenueSide) -> None:
    """Fail with what is wrong: in the database by itself, or between it and the ledger of each venue, to the last digit."""
    check_everything()
    for venue in venues:
        check_venue(venue)
    asked.append(tuple(venue.name for venue in venues))


def check_venue(venue: VenueSide) -> None:
    """Fail unless the venue holds each of our orders once, each of its own is known here, and all figures agree."""
    sent = Order.objects.filter(venue=venue.name, is_live=venue.is_live, deadline_at__isnull=False)
    ours = {order.client_order_id: order for order in sent}
    there = venue.orders()
    twice = [id_ for id_, count in Counter(one.client_order_id for one in there).items() if id_ in ours and count > 1]
    assert not twice, f"{venue.name} holds more than one order for {twice}"
    trades: dict[str, list[SeenTrade]] = defaultdict(list)
    for trade in venue.trades():
        trades[trade.order_id].append(trade)
    for seen in there:
        order = ours.get(seen.client_order_id)
        if order is None:
            check_external(venue, seen)
        else:
            check_agrees(order, seen, trades[seen.id])
    missing = {one.client_order_id for one in ours.values() if one.venue_order_id} - {
        one.client_order_id for one in there
    }
    assert not missing, f"{venue.name} does not hold {sorted(missing)}, which we say it took"
    mine = {one.id for one in there if one.client_order_id in ours}
    check_money(venue, [trade for id_, some in trades.items() if id_ not in mine for trade in some])


def check_agrees(order: Order, seen: SeenOrder, trades: list[SeenTrade]) -> None:
    """Fail unless one of our orders stands here as it stands at the venue, with the same trades."""
    if order.status == "unknown":
        return
    assert order.venue_order_id == seen.id, f"{order} is {order.status} here and stands at the venue as {seen}"
    assert (order.side, order.quantity) == (seen.side, seen.quantity), f"{order} was changed on its way: {seen}"
    assert (order.status in RESTING) == seen.is_open, f"{order} is {order.status} here; at the venue: {seen}"
    fills = [(one.trade_id, one.quantity, one.price, one.fee) for one in Fill.objects.filter(order=order)]
    told = [(one.id, one.quantity, one.price, one.fee) for one in trades]
    assert sorted(fills) == sorted(told), f"{order}: fills here and trades at the venue"


def check_external(venue: VenueSide, seen: SeenOrder) -> None:
    """Fail unless an order that is not ours is known as somebody else's."""
    rows = Order.objects.filter(venue=venue.name, venue_order_id=seen.id, status="external", bot=None)
    assert rows.count() == 1, f"{venue.name} holds an order that nobody here knows: {seen}"
    assert rows.get().filled_quantity == seen.filled_quantity, f"{seen} is not known as it stands"


def check_money(venue: VenueSide, of_others: list[SeenTrade]) -> None:
    """Fail unless what the account holds is what it held, what was moved and traded by others, and what our books say."""
    expected = {asset: _exact(amount) for asset, amount in venue.opening.items()}
    for asset, amount in venue.moved.items():
        expected[asset] = expected.get(asset, Fraction(0)) + _exact(amount)
    books = Position.objects.filter(bot__venue=venue.name, is_live=venue.is_live).select_related("bot")
    for book in books:
        base, quote = assets_of(book.bot.symbol)
        expected[base] = expected.get(base, Fraction(0)) + _exact(book.quantity)
        expected[quote] = expected.get(quote, Fraction(0)) + _exact(book.cash_flow)
    for trade in of_others:
        base, quote = assets_of(trade.symbol)
        expected[base] = expected.get(base, Fraction(0)) + trade.sign * _exact(trade.quantity)
        paid = trade.sign * _exact(trade.quantity) * _exact(trade.price) + _exact(trade.fee)
        expected[quote] = expected.get(quote, Fraction(0)) - paid
    found = {asset: _exact(amount) for asset, amount in venue.balances().items()}
    differs = {
        asset: (float(expected.get(asset, 0)), float(found.get(asset, 0)))
        for asset in expected.keys() | found.keys()
        if expected.get(asset, 0) != found.get(asset, 0)
    }
    assert not differs, f"{venue.name}: expected and held: {differs}"


def assets_of(symbol: str) -> tuple[str, str]:
    """Return what is traded and what it is paid in; a share is paid in dollars."""
    base, _, quote = symbol.partition("/")
    return base, quote or "USD"


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
    if order.status == "external":
        assert {event.event for event in events} == {"external"}, f"{order}: {[event.event for event in events]}"
        return
    assert order.status in RESTING | FINAL | {"unknown"}, f"{order} was left {order.status}"
    # A repeat of the tick is told of after the story, and changes nothing.
    story = [event for event in events if not _is_repeat(event)]
    names = [event.event for event in story]
    is_lost = names[:2] == LOST
    assert is_lost or names[:1] == ["intent"], f"{order}: {names}"
    assert names.count("intent") == (not is_lost), f"{order}: {names}"
    was_sent = not is_lost and (order.status != "denied" or order.submitting_at is not None)
    assert names.count("submitting") == was_sent, f"{order}: {names}"
    states = [name for name in names if name not in NOT_A_STATE]
    assert states[-1] == order.status, f"{order} is {order.status}, its last audit row {states[-1]}"
    if is_lost:
        check_came_back(order)
    elif "unknown" in names or order.status == "unknown":
        check_alert(order, events)
    unexplained = [event for event in story if event.event in EXPLAINED and not event.reason]
    assert not unexplained, f"{order}: nobody was told why: {unexplained}"
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


def check_alert(order: Order, events: list[OrderEvent]) -> None:
    """Fail unless a person was told in time that nobody knows what became of an order."""
    sent_at = next(event.ts for event in events if event.event == "submitting")
    told_at = next((event.ts for event in events if event.event == "unknown"), None)
    assert told_at is not None, f"{order} is unknown, and nobody was told"
    assert told_at - sent_at < ALERT_WITHIN, f"{order} is unknown since {sent_at}, told at {told_at}"


def check_came_back(order: Order) -> None:
    """Fail unless a person was told of an order that the database had lost, and its id was taken up by one bot."""
    told = OperatorEvent.objects.filter(action="order_unknown", object=f"order:{order.client_order_id}")
    assert told.count() == 1, f"{order} came back from the venue, and {told.count()} alarms tell of it"
    assert order.bot_id is not None, f"{order} came back from the venue, and belongs to no bot"


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
