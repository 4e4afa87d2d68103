"""Alpaca's orders and fills, read strictly: raw answers in, reports out. What cannot be read raises CallFailed, never passes."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, InvalidOperation, localcontext
from typing import Any

from bots.brokers.alpaca_client import unsound
from bots.brokers.base import Execution, ListedFill, ListedOrder, OrderReport
from bots.brokers.outcomes import CallFailed, Failure, Kind
from bots.order_states import OrderStatus
from safety.intents import OrderIntent, Side

VENUE = "alpaca"
DOLLAR = "USD"
#: How far the venue's clock may be behind ours; the readiness check refuses to trade beyond it.
CLOCK_SKEW = timedelta(seconds=2)
#: Alpaca takes fractions of a share down to here, and prices in cents: in hundredths of a cent below one dollar.
QUANTITY_STEP = Decimal("1e-9")
CENT, SUB_CENT = Decimal("0.01"), Decimal("0.0001")
#: Figures of an account have fewer digits; what has more is no figure of Alpaca, and would only cost time and memory.
DIGITS_MAX = 30
WORD_CHARS_MAX = 60
#: As much of an id as the database keeps; Alpaca's own ids and words are shorter. Others' client order ids may be longer.
TEXT_CHARS_MAX, CLIENT_ID_CHARS_MAX = 80, 128
_EXACT = Context(prec=80)

#: States in which an order may still trade, and a remark for people where there is something to say.
OPEN = {
    "new": "",
    "accepted": "",
    "pending_new": "",
    "partially_filled": "",
    "accepted_for_bidding": "",
    "pending_cancel": "Alpaca took the cancel and has not carried it out yet",
    "pending_replace": "somebody changes it at Alpaca",
    "pending_review": "Alpaca reviews it",
    "stopped": "Alpaca says that its trade is guaranteed and has not happened yet",
    "suspended": "Alpaca does not let it trade now",
    "held": "Alpaca holds it back",
    "calculated": "it is done for the day, and Alpaca still settles it",
    "done_for_day": "it is done for the day, and has not ended yet",
}
#: States that end an order, beside ``filled``, and which of its times says when.
ENDED = {
    "canceled": (OrderStatus.CANCELED, "canceled_at"),
    "expired": (OrderStatus.EXPIRED, "expired_at"),
    "rejected": (OrderStatus.REJECTED, "failed_at"),
    # Its id is over; the order that took its place is another one, which is not ours.
    "replaced": (OrderStatus.CANCELED, "replaced_at"),
}
ENDED_STATES = frozenset({OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.EXPIRED, OrderStatus.REJECTED})

Raw = Mapping[str, Any]


def order_fields(order: OrderIntent) -> dict[str, str]:
    """Return the body of a new order, every figure as text. Raises CallFailed when Alpaca would have to change the order.

    All orders are for the day: Alpaca takes fractions of a share on no other terms.
    """
    _refuse_if_off(order.quantity, QUANTITY_STEP, "quantity")
    fields = {
        "symbol": order.symbol,
        "side": order.side.value,
        "type": order.type.value,
        "qty": f"{order.quantity:f}",
        "time_in_force": "day",
        "client_order_id": order.client_order_id,
    }
    if order.limit_price is not None:
        _refuse_if_off(order.limit_price, CENT if order.limit_price >= 1 else SUB_CENT, "limit price")
        fields["limit_price"] = f"{order.limit_price:f}"
    return fields


def disagreement(order: OrderIntent, raw: Raw, *, is_known: bool = False) -> str:
    """Return in what an order at the venue differs from ours, or an empty text. Raises CallFailed for what cannot be read.

    ``is_known``: its id there is the one that the venue gave our order. Then it is not taken for an older one, however far the
    clocks are apart: otherwise what it did would never be booked.
    """
    if raw.get("client_order_id") != order.client_order_id:
        return f"its client order id is {_word(raw.get('client_order_id'))}"
    if raw.get("symbol") != order.symbol:
        return f"it is in {_word(raw.get('symbol'))}"
    if raw.get("side") != order.side:
        return f"it is a {_word(raw.get('side'))}"
    if raw.get("qty") is None or figure(raw, "qty") != order.quantity:
        return f"its quantity is {_word(raw.get('qty'))}"
    if moment(raw, "created_at") < order.created_at - CLOCK_SKEW and not is_known:
        return "it is older than our order"
    return ""


def report(raw: Raw, executions: Iterable[Execution]) -> OrderReport:
    """Return where an order stands, with its executions. Raises CallFailed for what cannot be read.

    The status never runs ahead of the executions: as long as Alpaca lists other fills than it says there were, the order is open.
    """
    found = tuple(sorted(executions, key=lambda one: (one.filled_at, one.trade_id)))
    order_id, filled = text(raw, "id"), figure(raw, "filled_qty")
    listed = sum((one.quantity for one in found), Decimal(0))
    status, reason = standing(raw)
    if listed != filled:
        resting = OrderStatus.PARTIALLY_FILLED if found else OrderStatus.ACCEPTED
        reason = f"Alpaca says that {filled:f} were filled and lists {listed:f}: it is asked again"
        return OrderReport(resting, order_id, found, reason)
    return OrderReport(status, order_id, found, reason)


def standing(raw: Raw) -> tuple[OrderStatus, str]:
    """Return the state that an order is in by Alpaca's word and its filled quantity, and a remark for people.

    A word that is not known here leaves it open: it is never taken for an end. Raises CallFailed where there is no word.
    """
    word, filled = text(raw, "status"), figure(raw, "filled_qty")
    resting = OrderStatus.PARTIALLY_FILLED if filled else OrderStatus.ACCEPTED
    if word in OPEN:
        return resting, OPEN[word]
    if word == "filled":
        if raw.get("qty") is None or filled >= figure(raw, "qty"):
            return OrderStatus.FILLED, ""
        return resting, "Alpaca calls it filled, and less was filled than ordered: it is asked again"
    if word not in ENDED:
        return resting, f"Alpaca calls its state {_word(word)}, which is not known here: it is asked again"
    status = ENDED[word][0]
    if word == "replaced":
        return status, f"somebody replaced it at Alpaca by order {_word(raw.get('replaced_by'))}"
    if word == "rejected" and filled:
        return OrderStatus.CANCELED, "Alpaca rejected what was left of it"
    return status, "Alpaca took it, and rejected it then" if word == "rejected" else ""


def listed_order(raw: Raw) -> ListedOrder:
    """Return one order of a list. Raises CallFailed for what cannot be read.

    An order for an amount of money has no quantity at Alpaca: it counts with what was filled of it.
    """
    status, reason = standing(raw)
    filled = figure(raw, "filled_qty")
    client_order_id = raw.get("client_order_id")
    return ListedOrder(
        venue_order_id=text(raw, "id"),
        client_order_id=str(client_order_id) if is_plain(client_order_id, CLIENT_ID_CHARS_MAX) else "",
        symbol=text(raw, "symbol"),
        side=side(raw),
        type=text(raw, "type"),
        quantity=filled if raw.get("qty") is None else figure(raw, "qty"),
        filled_quantity=filled,
        limit_price=None if raw.get("limit_price") is None else figure(raw, "limit_price"),
        status=status,
        opened_at=moment(raw, "created_at"),
        ended_at=_ended_at(raw) if status in ENDED_STATES else None,
        reason=reason,
    )


def listed_fill(raw: Raw) -> ListedFill:
    """Return one execution of a list of activities. Raises CallFailed for what cannot be read."""
    symbol = text(raw, "symbol")
    # Stocks are traded for dollars; crypto at Alpaca is written as a pair.
    base, _, quote = symbol.partition("/")
    return ListedFill(text(raw, "order_id"), symbol, base, quote or DOLLAR, side(raw), execution(raw))


def execution(raw: Raw) -> Execution:
    """Return one fill. Raises CallFailed for what cannot be read.

    Alpaca takes no commission on stocks and names no fee with a fill: what regulators take comes as an activity of its own. It
    does not say who made and who took either.
    """
    found = Execution(
        trade_id=text(raw, "id"),
        quantity=figure(raw, "qty"),
        price=figure(raw, "price"),
        fee=Decimal(0),
        is_maker=False,
        filled_at=moment(raw, "transaction_time"),
    )
    if not found.quantity or not found.price:
        raise unsound(f"a figure of fill {found.trade_id}")
    return found


def side(raw: Raw) -> Side:
    """Return which way something traded; a short sale is a sale. Raises CallFailed."""
    known = {"buy": Side.BUY, "sell": Side.SELL, "sell_short": Side.SELL}
    found = known.get(text(raw, "side"))
    if found is None:
        raise unsound("side")
    return found


def rows(answer: Any, what: str) -> list[Raw]:
    """Return a list of objects. Raises CallFailed for anything else: no answer is not an empty list."""
    if isinstance(answer, list) and all(isinstance(one, dict) for one in answer):
        return answer
    raise unsound(f"the list of {what}")


def mapping(answer: Any, what: str) -> Raw:
    """Return an object. Raises CallFailed for anything else."""
    if isinstance(answer, dict):
        return answer
    raise unsound(what)


def text(raw: Raw, key: str) -> str:
    """Return an id or a word: short, and not empty. Raises CallFailed for any other, which no database could keep."""
    found = raw.get(key)
    if is_plain(found):
        return str(found)
    raise unsound(key)


def is_plain(found: object, chars_max: int = TEXT_CHARS_MAX) -> bool:
    """Return whether something is a short text of characters that can be seen: no NUL, and no half of a pair."""
    return isinstance(found, str) and 0 < len(found) <= chars_max and found.isprintable()


def figure(raw: Raw, key: str, *, may_be_negative: bool = False) -> Decimal:
    """Return a figure, 0 or more unless told otherwise, exactly as it was written. Raises CallFailed."""
    written = raw.get(key)
    if isinstance(written, bool) or not isinstance(written, str | int | Decimal):
        raise unsound(key)
    try:
        found = Decimal(written)
    except InvalidOperation:
        raise unsound(key) from None
    is_sound = found.is_finite() and abs(found.adjusted()) <= DIGITS_MAX and len(found.as_tuple().digits) <= DIGITS_MAX
    if not is_sound or (found < 0 and not may_be_negative):
        raise unsound(key)
    return found


def moment(raw: Raw, key: str) -> datetime:
    """Return a time in UTC, cut to the microsecond. Raises CallFailed."""
    try:
        found = datetime.fromisoformat(text(raw, key))
        if found.tzinfo is None:
            raise unsound(key)
        return found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise unsound(key) from None


def stamp(at: datetime) -> str:
    """Return a moment as Alpaca takes it in a question."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _ended_at(raw: Raw) -> datetime:
    word = text(raw, "status")
    key = "filled_at" if word == "filled" else ENDED[word][1]
    return moment(raw, key if raw.get(key) is not None else "updated_at")


def _refuse_if_off(amount: Decimal, step: Decimal, name: str) -> None:
    with localcontext(_EXACT):
        is_sound = amount.is_finite() and amount > 0 and amount % step == 0
    if not is_sound:
        reason = f"the {name} {amount} is not a whole number of Alpaca's steps of {step:f}"
        raise CallFailed(Failure(Kind.ORDER, reason))


def _word(found: object) -> str:
    """Return something of the venue's for a sentence, cut short."""
    return repr(found)[:WORD_CHARS_MAX]
