"""Kraken's orders and trades, read strictly: raw answers in, reports out. What cannot be read raises CallFailed, never passes."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Context, Decimal, InvalidOperation, localcontext
from typing import Any

from bots.brokers.base import Execution, OrderReport
from bots.brokers.kraken_pairs import Pair
from bots.brokers.outcomes import CallFailed, Failure, Kind
from bots.order_states import OrderStatus
from safety.intents import OrderIntent

#: How far the venue's clock may be behind ours; the readiness check refuses to trade beyond it.
CLOCK_SKEW = timedelta(seconds=2)
#: No figure of a venue is that long, or that many places away from the point.
DIGITS_MAX = 40
#: Kraken tells the times of its dead-man switch in whole seconds.
DEAD_MAN_GRAIN = timedelta(seconds=2)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Sums and steps of figures as they were written; none is rounded.
EXACT = Context(prec=80)
_ENDED = {"canceled": OrderStatus.CANCELED, "expired": OrderStatus.EXPIRED}

Raw = Mapping[str, Any]


def order_fields(order: OrderIntent, pair: Pair, deadline: datetime) -> dict[str, str]:
    """Return the form of an AddOrder. Raises CallFailed when Kraken would have to change the order to take it.

    Kraken's own deadline is the given one, rounded up to its whole second. Fees are asked for in the quote currency.
    """
    _refuse_if_off(order.quantity, pair.rules.lot_size, "quantity")
    fields = {
        "pair": pair.id,
        "type": order.side.value,
        "ordertype": order.type.value,
        "volume": f"{order.quantity:f}",
        "cl_ord_id": order.client_order_id,
        "oflags": "fciq",
        "deadline": f"{venue_deadline(deadline):%Y-%m-%dT%H:%M:%SZ}",
    }
    if order.limit_price is not None:
        _refuse_if_off(order.limit_price, pair.rules.tick_size, "limit price")
        fields["price"] = f"{order.limit_price:f}"
    return fields


def venue_deadline(deadline: datetime) -> datetime:
    """Return ``deadline`` rounded up to the whole second, as Kraken takes it."""
    whole = deadline.astimezone(UTC).replace(microsecond=0)
    return whole if whole == deadline else whole + timedelta(seconds=1)


def disagreement(order: OrderIntent, pair: Pair, raw: Raw, *, is_known: bool = False) -> str:
    """Return in what an order at the venue differs from ours, or an empty text. Raises CallFailed for what cannot be read.

    ``is_known``: its id there is the one that the venue gave our order. Then it is not taken for an older one, however far the
    clocks are apart: otherwise what it did would never be booked.
    """
    descr = mapping(raw, "descr")
    theirs, where = raw.get("cl_ord_id"), descr.get("pair")
    if theirs is not None and theirs != order.client_order_id:
        return f"its client order id is {theirs}"
    if not isinstance(where, str) or where not in pair.names:
        return f"it is in {where}"
    if descr.get("type") != order.side:
        return f"it is a {descr.get('type')}"
    if number(raw, "vol") != order.quantity:
        return f"its quantity is {raw.get('vol')}"
    if moment(raw, "opentm") < order.created_at - CLOCK_SKEW and not is_known:
        return "it is older than our order"
    return ""


def report(order_id: str, raw: Raw, trades: Mapping[str, Raw]) -> OrderReport:
    """Return where an order stands, with its executions. Raises CallFailed for what cannot be read.

    The status never runs ahead of the executions: as long as Kraken lists fewer than it says were filled, the order is open.
    """
    executions = tuple(sorted((execution(id_, one) for id_, one in trades.items()), key=lambda one: one.filled_at))
    filled, quantity = number(raw, "vol_exec"), number(raw, "vol")
    listed = sum((one.quantity for one in executions), Decimal(0))
    if listed != filled:
        resting = OrderStatus.PARTIALLY_FILLED if executions else OrderStatus.ACCEPTED
        reason = f"Kraken says that {filled} were filled and lists {listed}: the rest is asked for again"
        return OrderReport(resting, order_id, executions, reason)
    status = ordered_status(order_id, raw, quantity=quantity, filled=filled)
    is_resting = status in {OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED}
    return OrderReport(status, order_id, executions, "" if is_resting else str(raw.get("reason") or ""))


def ordered_status(order_id: str, raw: Raw, *, quantity: Decimal, filled: Decimal) -> OrderStatus:
    """Return the state that Kraken gives an order with these figures. Raises CallFailed for one that is not known."""
    status = raw.get("status")
    if not isinstance(status, str):
        raise unsound(f"the status of order {order_id}")
    if status in {"open", "pending"}:
        return OrderStatus.PARTIALLY_FILLED if filled else OrderStatus.ACCEPTED
    if status in _ENDED:
        return _ENDED[status]
    if status == "closed":
        # What was closed without being filled whole was given up by the venue.
        return OrderStatus.FILLED if filled >= quantity else OrderStatus.CANCELED
    raise unsound(f"the status of order {order_id}")


def transaction_id(answer: Raw) -> str:
    """Return the id that Kraken gave a new order. Raises CallFailed when there is none: then its outcome is not known."""
    ids = answer.get("txid")
    if isinstance(ids, list) and len(ids) == 1 and isinstance(ids[0], str) and ids[0]:
        return ids[0]
    raise unsound("the new order's id")


def dead_man_left(answer: Raw, timeout_s: int) -> timedelta | None:
    """Return how long the dead-man switch waits by Kraken's own clock, None when it is off. Raises CallFailed.

    An answer that tells another time than was asked for is no answer to this question.
    """
    trigger = answer.get("triggerTime")
    if not timeout_s:
        if trigger in ("0", 0, None, ""):
            return None
        raise unsound("the word that the dead-man switch is off")
    try:
        left = datetime.fromisoformat(str(trigger)) - datetime.fromisoformat(str(answer.get("currentTime")))
    except (ValueError, TypeError, OverflowError):
        raise unsound("the time of the dead-man switch") from None
    if abs(left - timedelta(seconds=timeout_s)) > DEAD_MAN_GRAIN:
        raise unsound(f"a dead-man switch in {timeout_s} s")
    return left


def entries(answer: Raw, key: str) -> dict[str, Raw]:
    """Return the orders or trades under ``key``, by id. Raises CallFailed when they are not there."""
    found = answer.get(key)
    if isinstance(found, dict) and all(isinstance(one, dict) for one in found.values()):
        return found
    raise unsound(f"the list {key}")


def ours(listed: Mapping[str, Raw], client_order_id: str) -> dict[str, Raw]:
    """Return the orders with this id of ours. Raises CallFailed when an order's id cannot be read: it could be the one."""
    if not all(isinstance(one.get("cl_ord_id"), str | None) for one in listed.values()):
        raise unsound("the client order id of every order")
    return {id_: one for id_, one in listed.items() if one.get("cl_ord_id") == client_order_id}


def traded(raw: Raw) -> tuple[str, str]:
    """Return the symbol, in Kraken's words, and the order's id of a trade. Raises CallFailed when it does not name both."""
    pair, order_id = raw.get("pair"), raw.get("ordertxid")
    if not isinstance(pair, str) or not isinstance(order_id, str) or not pair or not order_id:
        raise unsound("the symbol or the order of a trade")
    return pair, order_id


def is_whole(answer: Raw, seen: int) -> bool:
    """Return whether ``seen`` entries are all that the answer counts. Raises CallFailed when the count cannot be read."""
    return number({"count": 0, **answer}, "count") <= seen


def number(raw: Raw, key: str, *, may_be_negative: bool = False) -> Decimal:
    """Return a figure, 0 or more unless told otherwise, exactly as it was written. Raises CallFailed."""
    written = raw.get(key) if isinstance(raw, Mapping) else None
    # True and False are numbers to Python. A figure of hundreds of digits is none, and counting with it would take for ever.
    if not isinstance(written, str | int | float | Decimal) or isinstance(written, bool):
        raise unsound(key)
    if not isinstance(written, int) and len(str(written)) > DIGITS_MAX:
        raise unsound(key)
    try:
        found = Decimal(str(written))
    except (ValueError, InvalidOperation):
        raise unsound(key) from None
    if not found.is_finite() or (found < 0 and not may_be_negative):
        raise unsound(key)
    if found and not -DIGITS_MAX < found.adjusted() < DIGITS_MAX:
        raise unsound(key)
    return found


def moment(raw: Raw, key: str) -> datetime:
    """Return a time, to the microsecond. Raises CallFailed."""
    try:
        return _EPOCH + timedelta(microseconds=int(number(raw, key).scaleb(6).to_integral_value(ROUND_CEILING)))
    except OverflowError:
        raise unsound(key) from None


def missing(ids: Iterable[str], trades: Mapping[str, Raw]) -> list[str]:
    """Return which of the ids are not among the trades."""
    return [one for one in ids if one not in trades]


def unsound(what: str) -> CallFailed:
    """Return the error for an answer in which ``what`` is missing or cannot be read."""
    return CallFailed(Failure(Kind.UNKNOWN, f"Kraken's answer was no sound answer ({what} is missing)"))


def execution(trade_id: str, raw: Raw) -> Execution:
    """Return one trade. Raises CallFailed for what cannot be read."""
    found = Execution(
        trade_id=trade_id,
        quantity=number(raw, "vol"),
        price=number(raw, "price"),
        # Some makers are paid.
        fee=number(raw, "fee", may_be_negative=True),
        is_maker=raw.get("maker") is True,
        filled_at=moment(raw, "time"),
    )
    if not found.quantity or not found.price:
        raise unsound(f"the figures of trade {trade_id}")
    return found


def mapping(raw: Raw, key: str) -> Raw:
    """Return the part of an answer under ``key``. Raises CallFailed when it is not there."""
    found = raw.get(key)
    if not isinstance(found, dict):
        raise unsound(key)
    return found


def _refuse_if_off(figure: Decimal, step: Decimal, name: str) -> None:
    with localcontext(EXACT):
        is_sound = figure.is_finite() and figure > 0 and figure % step == 0
    if not is_sound:
        raise CallFailed(
            Failure(Kind.ORDER, f"the {name} {figure} is not a whole number of Kraken's steps of {step:f}")
        )
