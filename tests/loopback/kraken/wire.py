"""Kraken's shapes: the ledger's values as Kraken writes them in its answers."""

import time
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from tests.loopback.kraken.ledger import Movement, Trade, VenueOrder
from tests.loopback.kraken.market import Instrument, Market

Json = dict[str, Any]


def pair_json(one: Instrument, status: str) -> Json:
    """Return a symbol as AssetPairs lists it."""
    return {
        "altname": one.altname,
        "wsname": one.wsname,
        "aclass_base": "currency",
        "base": one.base,
        "aclass_quote": "currency",
        "quote": one.quote,
        "lot": "unit",
        "cost_decimals": one.cost_decimals,
        "pair_decimals": _decimals(one.tick_size),
        "lot_decimals": one.lot_decimals,
        "lot_multiplier": 1,
        "leverage_buy": [],
        "leverage_sell": [],
        "fees": [[0, 0.4]],
        "fees_maker": [[0, 0.25]],
        "fee_volume_currency": "ZUSD",
        "margin_call": 80,
        "margin_stop": 40,
        "ordermin": f"{one.ordermin:f}",
        "costmin": f"{one.costmin:f}",
        "tick_size": f"{one.tick_size:f}",
        "status": status,
    }


def assets_json(instruments: Iterable[Instrument]) -> Json:
    """Return every asset of these symbols as Assets lists it."""
    names: dict[str, str] = {}
    for one in instruments:
        base, quote = one.wsname.split("/")
        names |= {one.base: base, one.quote: quote}
    return {
        id_: {"aclass": "currency", "altname": altname, "decimals": 10, "display_decimals": 5, "status": "enabled"}
        for id_, altname in names.items()
    }


def ticker_json(market: Market, one: Instrument) -> Json:
    """Return what Ticker says of a symbol: today's figures, and those of 24 hours, which here are the same."""
    book, today = market.book(one.id), market.today(one.id)
    prices = [price for _, price, _ in today] or [book.last]
    volume = sum((traded for _, _, traded in today), Decimal(0))
    last_volume = today[-1][2] if today else Decimal(0)
    average = sum(prices, Decimal(0)) / len(prices)
    digits = _decimals(one.tick_size) + 4

    def money(figure: Decimal) -> str:
        return f"{figure:.{digits}f}"

    bid, ask = book.shown or (money(book.bid), money(book.ask))
    return {
        "a": [ask, "1", "1.000"],
        "b": [bid, "1", "1.000"],
        "c": [money(book.last), f"{last_volume:.8f}"],
        "v": [f"{volume:.8f}"] * 2,
        "p": [money(average)] * 2,
        "t": [len(today)] * 2,
        "l": [money(min(prices))] * 2,
        "h": [money(max(prices))] * 2,
        "o": money(prices[0]),
    }


def order_json(market: Market, order: VenueOrder, *, with_trades: bool) -> Json:
    """Return an order as OpenOrders, ClosedOrders and QueryOrders show it."""
    one = market.instrument(order.pair)
    price = _shown(order.price if order.trigger is None else order.trigger)
    price2 = "0" if order.trigger is None else _shown(order.price)
    filled = order.filled
    shown: Json = {
        "refid": None,
        "userref": order.userref,
        "cl_ord_id": order.cl_ord_id,
        "status": order.status,
        "opentm": round(order.opened_at, 6),
        "starttm": 0,
        "expiretm": 0,
        "descr": descr_json(one, order.side, order.type, order.volume, price, price2),
        "vol": f"{order.volume:.8f}",
        "vol_exec": f"{filled:.8f}",
        "cost": f"{order.cost:.5f}",
        "fee": f"{order.fee:.5f}",
        "price": f"{order.cost / filled:.5f}" if filled else "0.00000",
        "stopprice": "0.00000",
        "limitprice": "0.00000",
        "misc": "",
        "oflags": order.oflags,
    }
    if order.closed_at is not None:
        shown |= {"reason": order.reason, "closetm": round(order.closed_at, 6)}
    if with_trades and order.trades:
        shown["trades"] = [trade.id for trade in order.trades]
    return shown


def descr_json(one: Instrument, side: str, type_: str, volume: Decimal, price: str, price2: str = "0") -> Json:
    """Return Kraken's description of an order."""
    at = "market" if type_ == "market" else f"{type_.replace('-', ' ')} {price}"
    return {
        "pair": one.altname,
        "type": side,
        "ordertype": type_,
        "price": price,
        "price2": price2,
        "leverage": "none",
        "order": f"{side} {volume:.8f} {one.altname} @ {at}",
        "close": "",
    }


def trade_json(trade: Trade) -> Json:
    """Return a trade as TradesHistory and QueryTrades show it."""
    return {
        "ordertxid": trade.order_id,
        "postxid": "TKH2SE-M7IF5-CFI7LT",
        "pair": trade.pair,
        "time": round(trade.at, 6),
        "type": trade.side,
        "ordertype": trade.type,
        "price": f"{trade.price:.5f}",
        "cost": f"{trade.cost:.5f}",
        "fee": f"{trade.fee:.5f}",
        "vol": f"{trade.volume:.8f}",
        "margin": "0.00000",
        "misc": "",
        "trade_id": trade.number,
        "maker": trade.is_maker,
    }


def movement_json(one: Movement) -> Json:
    """Return a row of the ledger as Ledgers shows it."""
    return {
        "refid": one.refid,
        "time": round(one.at, 6),
        "type": one.kind,
        "subtype": one.subtype,
        "aclass": "currency",
        "asset": one.asset,
        "amount": f"{one.amount:.10f}",
        "fee": f"{one.fee:.10f}",
        "balance": f"{one.balance:.10f}",
    }


def time_json() -> Json:
    """Return what Time says."""
    now = time.time()
    return {"unixtime": int(now), "rfc1123": time.strftime("%a, %d %b %y %H:%M:%S +0000", time.gmtime(now))}


def _shown(price: Decimal | None) -> str:
    return "0" if price is None else f"{price:f}"


def _decimals(step: Decimal) -> int:
    return max(0, -int(step.normalize().as_tuple().exponent))
