"""Alpaca's shapes: the ledger's values as Alpaca writes them. Trading figures are texts, market data has JSON numbers."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tests.loopback.alpaca.hours import NEW_YORK, Session
from tests.loopback.alpaca.ledger import NANO, Activity, Ledger, Position, Trade, VenueOrder
from tests.loopback.alpaca.market import Asset, Bar, Book
from tests.loopback.alpaca.rules import MULTIPLIER, buying_power, plain

Json = dict[str, Any]
CENT = Decimal("0.01")


def stamp(at_ns: int) -> str:
    """Return a moment as the venue writes it: RFC 3339, UTC, to the nanosecond."""
    at = datetime.fromtimestamp(at_ns // NANO, UTC)
    fraction = f"{at_ns % NANO:09d}".rstrip("0")
    return f"{at:%Y-%m-%dT%H:%M:%S}{'.' if fraction else ''}{fraction}Z"


def text(figure: Decimal | None) -> str | None:
    return None if figure is None else plain(figure)


def order_json(order: VenueOrder, asset_id: str, *, status: str | None = None) -> Json:
    """Return an order as every question shows it. With ``status``: as the answer to its submission, before any fill."""
    filled = order.filled if status is None else Decimal(0)
    ended = order.ended_ns if status is None else {}

    def when(name: str) -> str | None:
        return stamp(ended[name]) if name in ended else None

    return {
        "asset_class": "us_equity",
        "asset_id": asset_id,
        "canceled_at": when("canceled"),
        "client_order_id": order.client_order_id,
        "created_at": stamp(order.created_ns),
        "expired_at": when("expired"),
        "expires_at": stamp(int(order.expires_at) * NANO),
        "extended_hours": order.extended_hours,
        "failed_at": when("rejected"),
        "filled_at": when("filled"),
        "filled_avg_price": plain((order.cost / filled).quantize(Decimal("1e-9"))) if filled else None,
        "filled_qty": plain(filled),
        "hwm": None,
        "id": order.id,
        "legs": None,
        "limit_price": text(order.limit_price),
        "notional": text(order.notional),
        "order_class": "",
        "order_type": order.type,
        "position_intent": f"{order.side}_to_{'open' if order.side == 'buy' else 'close'}",
        "qty": text(order.qty),
        "replaced_at": None,
        "replaced_by": None,
        "replaces": None,
        "side": order.side,
        "source": None,
        "status": order.status if status is None else status,
        "stop_price": None,
        "submitted_at": stamp(order.created_ns),
        "subtag": None,
        "symbol": order.symbol,
        "time_in_force": order.time_in_force,
        "trail_percent": None,
        "trail_price": None,
        "type": order.type,
        "updated_at": stamp(order.updated_ns if status is None else order.created_ns),
    }


def account_json(ledger: Ledger, number: str, created: str) -> Json:
    """Return the account; figures of margin that nobody here computes are left at zero."""
    cash = ledger.cash
    value = sum((held.qty * ledger.market.books[symbol].last for symbol, held in ledger.positions.items()), Decimal(0))
    power, equity = plain(buying_power(ledger)), plain((cash + value).quantize(CENT))
    return {
        "account_blocked": False,
        "account_number": number,
        "accrued_fees": "0",
        "admin_configurations": {},
        "balance_asof": f"{ledger.market.hours.now():%Y-%m-%d}",
        "buying_power": power,
        "cash": plain(cash),
        "created_at": created,
        "crypto_status": "ACTIVE",
        "crypto_tier": 1,
        "currency": "USD",
        "effective_buying_power": power,
        "equity": equity,
        "id": f"00000000-0000-4000-8000-{number[-6:].rjust(12, '0')}",
        "initial_margin": "0",
        "intraday_adjustments": "0",
        "last_equity": equity,
        "last_maintenance_margin": "0",
        "long_market_value": plain(value.quantize(CENT)),
        "maintenance_margin": "0",
        "multiplier": str(MULTIPLIER),
        "non_marginable_buying_power": plain(cash - ledger.reserved()),
        "options_approved_level": 0,
        "options_buying_power": "0",
        "options_trading_level": 0,
        "pending_reg_taf_fees": "0",
        "portfolio_value": equity,
        "position_market_value": plain(value.quantize(CENT)),
        "regt_buying_power": power,
        "short_market_value": "0",
        "shorting_enabled": True,
        "sma": "0",
        "status": "ACTIVE",
        "trade_suspended_by_user": False,
        "trading_blocked": False,
        "transfers_blocked": False,
        "user_configurations": None,
    }


def position_json(ledger: Ledger, share: Asset, held: Position) -> Json:
    last = ledger.market.books[share.symbol].last
    gain = held.qty * last - held.cost
    return {
        "asset_class": "us_equity",
        "asset_id": share.id,
        "asset_marginable": True,
        "avg_entry_price": plain((held.cost / held.qty).quantize(Decimal("1e-6"))),
        "change_today": "0",
        "cost_basis": plain(held.cost),
        "current_price": plain(last),
        "exchange": share.exchange,
        "lastday_price": plain(share.price),
        "market_value": plain(held.qty * last),
        "qty": plain(held.qty),
        "qty_available": plain(held.qty - ledger.on_hold(share.symbol)),
        "side": "long" if held.qty > 0 else "short",
        "symbol": share.symbol,
        "unrealized_intraday_pl": plain(gain),
        "unrealized_intraday_plpc": "0",
        "unrealized_pl": plain(gain),
        "unrealized_plpc": "0",
    }


def trade_json(trade: Trade) -> Json:
    """Return an execution as the activities show it."""
    return {
        "activity_type": "FILL",
        "cum_qty": plain(trade.cum_qty),
        "id": trade.id,
        "leaves_qty": plain(trade.leaves_qty),
        "order_id": trade.order_id,
        "order_status": trade.order_status,
        "price": plain(trade.price),
        "qty": plain(trade.qty),
        "side": trade.side,
        "symbol": trade.symbol,
        # Activities have microseconds where orders have nanoseconds.
        "transaction_time": stamp(trade.at_ns // 1000 * 1000),
        "type": "fill" if trade.order_status == "filled" else "partial_fill",
    }


def activity_json(one: Activity) -> Json:
    """Return what moved the account without a trade; it has a date, and no time."""
    day = datetime.fromtimestamp(one.at_ns // NANO, UTC).astimezone(NEW_YORK)
    found: Json = {
        "activity_type": one.type,
        "date": f"{day:%Y-%m-%d}",
        "description": one.description,
        "id": one.id,
        "net_amount": plain(one.net_amount),
        "status": "executed",
    }
    more = {"symbol": one.symbol, "qty": text(one.qty), "per_share_amount": text(one.per_share_amount)}
    return found | {name: value for name, value in more.items() if value is not None}


def asset_json(one: Asset) -> Json:
    return {
        "attributes": ["has_options"],
        "borrow_status": "easy_to_borrow" if one.shortable else "not_borrowable",
        "class": one.asset_class,
        "easy_to_borrow": one.shortable,
        "exchange": one.exchange,
        "fractionable": one.fractionable,
        "id": one.id,
        "maintenance_margin_requirement": 30,
        "margin_requirement_long": "30",
        "margin_requirement_short": "30",
        "marginable": True,
        "name": one.name,
        "shortable": one.shortable,
        "status": one.status,
        "symbol": one.symbol,
        "tradable": one.tradable,
    }


def session_json(one: Session) -> Json:
    """Return a trading day; its clock times are New York's, without a zone."""
    opens, closes = one.opens.astimezone(NEW_YORK), one.closes.astimezone(NEW_YORK)
    is_all_day = f"{closes:%H:%M}" == "00:00"
    return {
        "close": "23:59" if is_all_day else f"{closes:%H:%M}",
        "date": one.date.isoformat(),
        "open": f"{opens:%H:%M}",
        "session_close": "2000",
        "session_open": "0400",
        "settlement_date": one.date.isoformat(),
    }


def quote_json(book: Book, now: float) -> Json:
    at = book.quoted_at if book.quoted_at is not None else now
    return {
        "ap": number(book.ask),
        "as": 3 if book.ask else 0,
        "ax": "V" if book.ask else " ",
        "bp": number(book.bid),
        "bs": 2 if book.bid else 0,
        "bx": "V" if book.bid else " ",
        "c": ["R"],
        "t": stamp(int(at * 1_000_000) * 1000),
        "z": "C",
    }


def last_trade_json(book: Book) -> Json:
    size = book.prints[-1][2] if book.prints else Decimal(100)
    at = stamp(int(book.last_at * 1_000_000) * 1000)
    return {
        "c": ["@"],
        "i": 1 + len(book.prints),
        "p": number(book.last),
        "s": number(size),
        "t": at,
        "x": "V",
        "z": "C",
    }


def bar_json(bar: Bar) -> Json:
    return {
        "c": number(bar.close),
        "h": number(bar.high),
        "l": number(bar.low),
        "n": bar.count,
        "o": number(bar.open),
        "t": f"{bar.opened:%Y-%m-%dT%H:%M:%SZ}",
        "v": number(bar.volume),
        "vw": number(bar.average),
    }


def number(figure: Decimal) -> int | float:
    """Return a JSON number that reads as the figure did; none here has more digits than a float keeps."""
    return int(figure) if figure == figure.to_integral_value() else float(figure)
