"""What the venue asks of an order before it takes it, in the order and the words in which it says no."""

import json
from decimal import ROUND_DOWN, Decimal
from typing import Any

from tests.loopback.alpaca.ledger import Ledger, NewOrder, Refused
from tests.loopback.alpaca.market import Asset

WRONG, NOT_ALLOWED, MALFORMED = 42210000, 40310000, 40010001
QTY_STEP = Decimal("1e-9")
COST_MIN = Decimal(1)
CLIENT_ID_CHARS_MAX = 128
MULTIPLIER = 4
TIMES_IN_FORCE = frozenset({"day", "gtc", "opg", "cls", "ioc", "fok"})


def read(body: str, invisible_s: float = 0.0) -> NewOrder:
    """Return the order that a request's JSON asks for; figures may be numbers or texts. Raises Refused."""
    try:
        raw = json.loads(body, parse_float=Decimal, parse_int=Decimal)
    except ValueError:
        raise Refused(400, 40010000, "request body format is invalid") from None
    if not isinstance(raw, dict):
        raise Refused(400, 40010000, "request body format is invalid")
    if not raw.get("symbol"):
        raise Refused(422, MALFORMED, "symbol is required")
    new = NewOrder(
        symbol=str(raw["symbol"]),
        side=str(raw.get("side", "")),
        type=str(raw.get("type", "")),
        qty=_figure(raw, "qty"),
        notional=_figure(raw, "notional"),
        limit_price=_figure(raw, "limit_price"),
        time_in_force=str(raw.get("time_in_force", "")),
        client_order_id=str(raw.get("client_order_id") or ""),
        extended_hours=bool(raw.get("extended_hours")),
        invisible_s=invisible_s,
    )
    _check_form(new)
    return new


def check(ledger: Ledger, new: NewOrder, account: dict[str, Any]) -> None:
    """Raise Refused when the venue would not take this order of this account."""
    share = ledger.market.find(new.symbol)
    if share is None:
        raise Refused(422, WRONG, f'asset "{new.symbol}" not found')
    if share.status != "active" or not share.tradable:
        raise Refused(422, WRONG, f'asset "{new.symbol}" is not tradable')
    if account.get("trade_suspended_by_user"):
        raise Refused(403, NOT_ALLOWED, "new orders are rejected by user request")
    if account.get("trading_blocked") or account.get("account_blocked") or account.get("status") != "ACTIVE":
        raise Refused(403, NOT_ALLOWED, "account is not allowed to trade")
    if new.client_order_id and ledger.by_client_id(new.client_order_id) is not None:
        raise Refused(422, MALFORMED, "client_order_id must be unique")
    _check_figures(new, share)
    _check_wash_trade(ledger, new)
    if new.side == "buy":
        _check_cash(ledger, new)
    else:
        _check_shares(ledger, new, share)


def is_fractional(new: NewOrder) -> bool:
    return new.notional is not None or (new.qty is not None and new.qty != new.qty.to_integral_value())


def buying_power(ledger: Ledger) -> Decimal:
    """Return what may be bought for: a margin account lends three times its cash."""
    return (ledger.cash - ledger.reserved()) * MULTIPLIER


def plain(figure: Decimal) -> str:
    """Return a figure as the venue writes it: no exponent, no zeros at its end."""
    text = f"{figure:f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"


def _figure(raw: dict[str, Any], name: str) -> Decimal | None:
    if raw.get(name) is None:
        return None
    try:
        found = Decimal(str(raw[name]))
    except ArithmeticError:
        raise Refused(422, MALFORMED, f"invalid {name}") from None
    if not found.is_finite() or found <= 0:
        raise Refused(422, MALFORMED, f"{name} must be > 0")
    return found


def _check_form(new: NewOrder) -> None:
    if new.side not in {"buy", "sell"}:
        raise Refused(422, MALFORMED, "side must be buy or sell")
    if new.type not in {"market", "limit"}:
        raise Refused(422, MALFORMED, "invalid order type")
    if new.time_in_force not in TIMES_IN_FORCE:
        raise Refused(422, MALFORMED, "invalid time_in_force")
    if (new.qty is None) == (new.notional is None):
        raise Refused(422, MALFORMED, "one of qty or notional is required")
    if new.type == "limit" and new.limit_price is None:
        raise Refused(422, MALFORMED, "limit orders require a limit price")
    if new.type == "market" and new.limit_price is not None:
        raise Refused(422, MALFORMED, "market orders must not have a limit price")
    if len(new.client_order_id) > CLIENT_ID_CHARS_MAX:
        raise Refused(422, MALFORMED, f"client_order_id must be no more than {CLIENT_ID_CHARS_MAX} characters")


def _check_figures(new: NewOrder, share: Asset) -> None:
    if new.qty is not None and new.qty % QTY_STEP:
        raise Refused(422, WRONG, "qty must be limited to 9 decimal places")
    if new.notional is not None and new.notional != new.notional.quantize(Decimal("0.01"), ROUND_DOWN):
        raise Refused(422, WRONG, "notional value must be limited to 2 decimal places")
    if is_fractional(new) and not share.fractionable:
        raise Refused(403, NOT_ALLOWED, f'asset "{new.symbol}" is not fractionable')
    if is_fractional(new) and new.time_in_force != "day":
        raise Refused(422, WRONG, "fractional orders must be DAY orders")
    if new.limit_price is not None:
        step = Decimal("0.01") if new.limit_price >= 1 else Decimal("0.0001")
        if new.limit_price % step:
            text = "sub-penny increment does not fulfill minimum pricing criteria"
            raise Refused(422, WRONG, f"invalid limit_price {plain(new.limit_price)}. {text}")


def _check_wash_trade(ledger: Ledger, new: NewOrder) -> None:
    standing = ledger.opposite(new)
    if standing is None:
        return
    kind = "market/stop" if standing.limit_price is None or new.limit_price is None else "limit"
    raise Refused(
        403,
        NOT_ALLOWED,
        "potential wash trade detected. use complex orders",
        existing_order_id=standing.id,
        reject_reason=f"opposite side {kind} order exists",
    )


def _check_cash(ledger: Ledger, new: NewOrder) -> None:
    price = new.limit_price or ledger.market.books[new.symbol].ask or ledger.market.books[new.symbol].last
    cost = new.notional if new.notional is not None else (new.qty or Decimal(0)) * price
    if is_fractional(new) and cost < COST_MIN:
        raise Refused(403, NOT_ALLOWED, "cost basis must be >= minimal amount of order 1")
    power = buying_power(ledger)
    if cost > power:
        figures = {"buying_power": plain(power), "cost_basis": plain(cost)}
        raise Refused(403, NOT_ALLOWED, "insufficient buying power", **figures)


def _check_shares(ledger: Ledger, new: NewOrder, share: Asset) -> None:
    held, on_hold = ledger.held(new.symbol), ledger.on_hold(new.symbol)
    price = new.limit_price or ledger.market.books[new.symbol].bid or ledger.market.books[new.symbol].last
    qty = new.qty if new.qty is not None else (new.notional or Decimal(0)) / price
    if held <= 0 and (is_fractional(new) or not share.shortable):
        raise Refused(
            422, WRONG, "fractional orders cannot be sold short" if is_fractional(new) else "cannot be shorted"
        )
    if held > 0 and qty > held - on_hold:
        raise Refused(
            403,
            NOT_ALLOWED,
            f"insufficient qty available for order (requested: {plain(qty)}, available: {plain(held - on_hold)})",
            available=plain(held - on_hold),
            existing_qty=plain(held),
            held_for_orders=plain(on_hold),
            symbol=new.symbol,
        )
    if held <= 0 and qty * price > buying_power(ledger):
        raise Refused(403, NOT_ALLOWED, "insufficient buying power")
