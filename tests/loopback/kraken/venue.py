"""Kraken's REST interface over the ledger: which path does what, and what a test may order."""

import math
import re
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar
from urllib.parse import parse_qs

from tests.loopback.kraken.dead_man import DeadMan
from tests.loopback.kraken.keys import ApiKey
from tests.loopback.kraken.ledger import Ledger, Movement, NewOrder, Refused, Trade, VenueOrder
from tests.loopback.kraken.limits import Limits
from tests.loopback.kraken.market import Instrument, Market
from tests.loopback.kraken.wire import (
    assets_json,
    descr_json,
    movement_json,
    order_json,
    pair_json,
    ticker_json,
    time_json,
    trade_json,
)
from tests.loopback.server import Answer, Logged, Request

PRIVATE = "/0/private/"
PUBLIC = "/0/public/"
PAGE_ROWS = 50
INTERVALS_MIN = frozenset({1, 5, 15, 30, 60, 240, 1440, 10080, 21600})
DEADLINE_MIN = timedelta(seconds=2)
DEADLINE_MAX = timedelta(seconds=60)
_CLIENT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}|[ -~]{1,18}")
BALANCES = {"ZUSD": Decimal(10_000), "USDT": Decimal(1_000), "XXBT": Decimal("0.5"), "XBT.F": Decimal("0.25")}

Fields = dict[str, str]
Row = TypeVar("Row", VenueOrder, Trade, Movement)


class KrakenVenue:
    """One account of a venue that speaks as Kraken does."""

    def __init__(self) -> None:
        self.market = Market()
        self.ledger = Ledger(self.market, BALANCES)
        self.key = ApiKey()
        self.status = "online"
        self.dead_man = DeadMan(self.ledger)
        self.limits = Limits()
        self._public: dict[str, Callable[[Fields], Any]] = {
            "Assets": lambda fields: assets_json(self.market.instruments.values()),
            "AssetPairs": self._asset_pairs,
            "Ticker": lambda fields: {one.id: ticker_json(self.market, one) for one in self._pairs(fields)},
            "OHLC": self._ohlc,
            "SystemStatus": lambda fields: {
                "status": self.status,
                "timestamp": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            },
            "Time": lambda fields: time_json(),
        }
        self._private: dict[str, Callable[[Fields, float], Any]] = {
            "BalanceEx": lambda fields, _: self._balances(),
            "AddOrder": self._add_order,
            "CancelOrder": lambda fields, _: self._cancel_order(fields),
            "OpenOrders": lambda fields, _: self._open_orders(fields),
            "ClosedOrders": lambda fields, _: self._closed_orders(fields),
            "QueryOrders": lambda fields, _: self._query_orders(fields),
            "TradesHistory": lambda fields, _: self._trades_history(fields),
            "QueryTrades": lambda fields, _: self._query_trades(fields),
            "GetApiKeyInfo": lambda fields, _: self._key_info(),
            "Ledgers": lambda fields, _: self._ledgers(fields),
            "CancelAllOrdersAfter": lambda fields, _: self.dead_man.set(fields),
        }

    def endpoint(self, request: Request) -> str:
        return request.path.rsplit("/", 1)[-1]

    def admit(self, request: Request, entry: Logged) -> Answer | None:
        try:
            if request.path.startswith(PRIVATE):
                fields = self.key.check(request, entry.path, entry)
                self.limits.count_request(entry.path)
                self._check_deadline(fields)
            else:
                entry.fields = {name: values[-1] for name, values in parse_qs(request.query).items()}
        except Refused as refused:
            return self._refusal(refused)
        return None

    def perform(self, request: Request, entry: Logged, invisible_s: float) -> Answer:
        self.dead_man.settle()
        try:
            if request.path.startswith(PRIVATE) and request.method == "POST" and entry.path in self._private:
                result = self._private[entry.path](entry.fields, invisible_s)
            elif request.path.startswith(PUBLIC) and entry.path in self._public:
                result = self._public[entry.path](entry.fields)
            else:
                raise Refused("EGeneral:Unknown method")
        except Refused as refused:
            return self._refusal(refused)
        return Answer({"error": [], "result": result})

    def control(self, name: str, params: dict[str, Any]) -> Any:
        self.dead_man.settle()
        orders: dict[str, Callable[..., Any]] = {
            "set_price": self._set_price,
            "set_depth": self._set_depth,
            "set_balance": self._set_balance,
            "clear_balances": lambda: self.ledger.balances.clear(),
            "set_rights": self._set_rights,
            "set_status": self._set_status,
            "set_pair_status": lambda pair, status: self.market.status.__setitem__(self._named(pair).id, status),
            "revoke_key": lambda: setattr(self.key, "is_revoked", True),
            "orders": lambda: self._shown(self.ledger.orders.values()),
            "trades": lambda: {one.id: trade_json(one) for one in list(self.ledger.trades)},
            "balances": lambda: {asset: f"{amount:f}" for asset, amount in self.ledger.balances.items()},
            "fill": self._fill,
            "place": self._place_by_hand,
            "cancel": self._cancel_at_venue,
            "reveal": self.ledger.reveal,
            "show_quote": lambda pair, bid, ask: setattr(self.market.book(self._named(pair).id), "shown", (bid, ask)),
            "forget": lambda order_id: setattr(self.ledger.orders[order_id], "visible_at", math.inf),
            "unlist": lambda order_id: setattr(self.ledger.orders[order_id], "is_listed", False),
            "deposit": lambda asset, amount: self._move(asset, amount, "deposit"),
            "withdraw": lambda asset, amount, fee="0": self._move(asset, f"-{amount}", "withdrawal", fee=fee),
            "move": self._move,
            "set_tier": self.limits.set_tier,
            "counter": self.limits.counter,
            "dead_man": self.dead_man.left_s,
            "hurry_dead_man": self.dead_man.hurry,
            "key": lambda: {"key": self.key.key, "secret": self.key.secret},
        }
        try:
            return orders[name](**params)
        except Refused as refused:
            raise ValueError(str(refused)) from refused

    def error(self, text: str) -> Answer:
        return Answer({"error": [text]}, f"refused: {text}")

    def _refusal(self, refused: Refused) -> Answer:
        return self.error(str(refused))

    # Public endpoints.

    def _asset_pairs(self, fields: Fields) -> Any:
        chosen = self._pairs(fields) if "pair" in fields else self.market.instruments.values()
        return {one.id: pair_json(one, self.market.status[one.id]) for one in chosen}

    def _ohlc(self, fields: Fields) -> Any:
        (one,) = self._pairs(fields)[:1]
        interval = int(_number(fields, "interval", "1"))
        if interval not in INTERVALS_MIN:
            raise Refused("EGeneral:Invalid arguments:interval")
        bars = self.market.bars(one.id, interval * 60, float(_number(fields, "since", "0")))
        return {one.id: bars, "last": bars[-2][0] if len(bars) > 1 else 0}

    def _pairs(self, fields: Fields) -> list[Instrument]:
        names = [name for name in fields.get("pair", "").split(",") if name]
        found = [self.market.find(name) for name in names]
        if not found or None in found:
            raise Refused("EQuery:Unknown asset pair")
        return [one for one in found if one is not None]

    # Private endpoints.

    def _balances(self) -> Any:
        with self.ledger.lock:
            held = self.ledger.on_hold()
            return {
                asset: {"balance": f"{amount:.10f}", "hold_trade": f"{held.get(asset, Decimal(0)):.10f}"}
                for asset, amount in self.ledger.balances.items()
            }

    def _add_order(self, fields: Fields, invisible_s: float) -> Any:
        _check_elapsed(fields)
        (one,) = self._pairs(fields)[:1]
        new = _new_order(fields, one, invisible_s)
        self._check_mode(one, new)
        price = f"{new.price:f}" if new.price is not None else "0"
        descr = descr_json(one, new.side, new.type, new.volume, price)
        if fields.get("validate") == "true":
            self.ledger.check(new)
            return {"descr": {"order": descr["order"]}}
        self.limits.count_order(one.id)
        return {"descr": {"order": descr["order"]}, "txid": [self.ledger.place(new).id]}

    def _cancel_order(self, fields: Fields) -> Any:
        if self.status == "maintenance":
            raise Refused("EService:Unavailable")
        named = fields.get("txid") or fields.get("cl_ord_id") or ""
        with self.ledger.lock:
            found = [
                one for one in self.ledger.orders.values() if one.is_open and named in (one.id, one.cl_ord_id) and named
            ]
            if not found:
                raise Refused("EOrder:Unknown order")
            for order in found:
                self.limits.count_cancel(order.pair, time.time() - order.opened_at)
                self.ledger.cancel(order)
        return {"count": len(found)}

    def _open_orders(self, fields: Fields) -> Any:
        found = [one for one in self._chosen(fields) if one.is_open]
        return {"open": self._shown(found, fields)}

    def _closed_orders(self, fields: Fields) -> Any:
        start, end = (float(_number(fields, name, default)) for name, default in (("start", "0"), ("end", "1e12")))
        ended = [one for one in self._chosen(fields) if one.closed_at is not None]
        by = fields.get("closetime", "both")
        found = [one for one in ended if any(start < at <= end for at in _times(one, by))]
        found.sort(key=lambda one: one.closed_at or 0, reverse=True)
        page = _page(found, fields)
        return {"closed": self._shown(page, fields), "count": len(found)}

    def _query_orders(self, fields: Fields) -> Any:
        ids = fields.get("txid", "").split(",")
        with self.ledger.lock:
            found = [self.ledger.orders[id_] for id_ in ids if id_ in self.ledger.orders]
        found = [one for one in found if one.visible_at <= time.time()]
        if not found:
            raise Refused("EOrder:Unknown order")
        return self._shown(found, fields)

    def _trades_history(self, fields: Fields) -> Any:
        start, end = (float(_number(fields, name, default)) for name, default in (("start", "0"), ("end", "1e12")))
        found = [one for one in self._trades() if start < one.at <= end]
        found.sort(key=lambda one: one.number, reverse=True)
        return {"trades": {one.id: trade_json(one) for one in _page(found, fields)}, "count": len(found)}

    def _ledgers(self, fields: Fields) -> Any:
        start, end = (float(_number(fields, name, default)) for name, default in (("start", "0"), ("end", "1e12")))
        with self.ledger.lock:
            found = [one for one in reversed(self.ledger.movements) if start < one.at <= end]
        return {"ledger": {one.id: movement_json(one) for one in _page(found, fields)}, "count": len(found)}

    def _query_trades(self, fields: Fields) -> Any:
        ids = fields.get("txid", "").split(",")
        return {one.id: trade_json(one) for one in self._trades() if one.id in ids}

    def _key_info(self) -> Any:
        return {
            "apiKeyName": "loopback",
            "apiKey": f"{self.key.key[:8]}...",
            "nonce": str(self.key.nonce),
            "nonceWindow": 0,
            "permissions": sorted(self.key.rights),
            "iban": "",
            "validUntil": "0",
            "queryFrom": "0",
            "queryTo": "0",
            "createdTime": str(self.key.created),
            "modifiedTime": str(self.key.created),
            "ipAllowlist": list(self.key.ip_allowlist),
            "lastUsed": str(int(time.time())),
        }

    def _chosen(self, fields: Fields) -> list[VenueOrder]:
        """Return the visible orders that the request's filters let through."""
        now = time.time()
        with self.ledger.lock:
            orders = list(self.ledger.orders.values())
        return [
            one
            for one in orders
            if one.is_listed
            and one.visible_at <= now
            and fields.get("cl_ord_id", one.cl_ord_id) == one.cl_ord_id
            and fields.get("userref", str(one.userref)) == str(one.userref)
        ]

    def _shown(self, orders: Iterable[VenueOrder], fields: Fields | None = None) -> Any:
        with_trades = fields is None or fields.get("trades") == "true"
        with self.ledger.lock:
            return {one.id: order_json(self.market, one, with_trades=with_trades) for one in list(orders)}

    def _trades(self) -> list[Trade]:
        now = time.time()
        with self.ledger.lock:
            return [one for one in self.ledger.trades if self.ledger.orders[one.order_id].visible_at <= now]

    def _check_deadline(self, fields: Fields) -> None:
        if "deadline" in fields:
            left = _moment(fields["deadline"]) - datetime.now(UTC)
            if not DEADLINE_MIN <= left <= DEADLINE_MAX:
                raise Refused("EGeneral:Invalid arguments:deadline")

    def _check_mode(self, one: Instrument, new: NewOrder) -> None:
        for status in (self.status, self.market.status[one.id]):
            if status == "maintenance":
                raise Refused("EService:Unavailable")
            if status == "cancel_only" or (status == "post_only" and "post" not in new.oflags.split(",")):
                raise Refused(f"EService:Market in {status} mode")

    # What a test may order.

    def _set_price(self, pair: str, bid: str, ask: str, volume: str = "1") -> None:
        self.ledger.set_price(self._named(pair).id, Decimal(bid), Decimal(ask), Decimal(volume))

    def _set_depth(self, pair: str, depth: str | None) -> None:
        self.market.book(self._named(pair).id).depth = None if depth is None else Decimal(depth)

    def _set_balance(self, asset: str, amount: str) -> None:
        with self.ledger.lock:
            self.ledger.balances[asset] = Decimal(amount)

    def _move(self, asset: str, amount: str, kind: str, subtype: str = "", fee: str = "0") -> str:
        return self.ledger.move(asset, Decimal(amount), kind, subtype, Decimal(fee)).id

    def _set_rights(self, rights: list[str], ip_allowlist: list[str] | None = None) -> None:
        self.key.rights = frozenset(rights)
        self.key.ip_allowlist = tuple(ip_allowlist or ())

    def _set_status(self, status: str) -> None:
        if status not in {"online", "maintenance", "cancel_only", "post_only"}:
            raise ValueError(f"no such status: {status}")
        self.status = status

    def _fill(self, order_id: str, volume: str, price: str | None = None) -> str:
        order = self.ledger.orders[order_id]
        return self.ledger.fill(order, Decimal(volume), None if price is None else Decimal(price)).id

    def _place_by_hand(self, **fields: str) -> str:
        (one,) = self._pairs(fields)[:1]
        return self.ledger.place(_order_by_hand(fields, one)).id

    def _cancel_at_venue(self, order_id: str, reason: str = "User requested") -> None:
        self.ledger.cancel(self.ledger.orders[order_id], reason)

    def _named(self, name: str) -> Instrument:
        found = self.market.find(name.replace("BTC", "XBT").replace("DOGE", "XDG"))
        if found is None:
            raise ValueError(f"no such symbol: {name}")
        return found


def _new_order(fields: Fields, one: Instrument, invisible_s: float) -> NewOrder:
    client_id = fields.get("cl_ord_id")
    if client_id is not None and not _CLIENT_ID.fullmatch(client_id):
        raise Refused("EGeneral:Invalid arguments:cl_ord_id")
    side, type_ = fields.get("type", ""), fields.get("ordertype", "")
    if side not in {"buy", "sell"} or type_ not in {"market", "limit"}:
        raise Refused("EGeneral:Invalid arguments")
    return NewOrder(
        pair=one.id,
        side=side,
        type=type_,
        volume=_number(fields, "volume"),
        price=_number(fields, "price") if type_ == "limit" else None,
        cl_ord_id=client_id,
        userref=int(_number(fields, "userref", "0")),
        oflags=fields.get("oflags", "fciq"),
        invisible_s=invisible_s,
    )


def _order_by_hand(fields: Fields, one: Instrument) -> NewOrder:
    """Return an order of any type that a person can place; ``price`` is then its trigger, ``price2`` its limit."""
    if fields["ordertype"] in {"market", "limit"}:
        return _new_order(fields, one, 0)
    limit = _number(fields, "price2") if "price2" in fields else None
    side, volume, trigger = fields["type"], _number(fields, "volume"), _number(fields, "price")
    return NewOrder(one.id, side, fields["ordertype"], volume, limit, trigger=trigger)


def _times(order: VenueOrder, by: str) -> list[float]:
    """Return the times that a question for closed orders goes by."""
    opened, closed = order.opened_at, order.closed_at or 0.0
    return {"open": [opened], "close": [closed]}.get(by, [opened, closed])


def _number(fields: Fields, name: str, default: str = "") -> Decimal:
    try:
        found = Decimal(fields.get(name, default))
    except InvalidOperation:
        raise Refused(f"EGeneral:Invalid arguments:{name}") from None
    if not found.is_finite():
        raise Refused(f"EGeneral:Invalid arguments:{name}")
    return found


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Refused("EGeneral:Invalid arguments:deadline") from None
    if found.tzinfo is None:
        raise Refused("EGeneral:Invalid arguments:deadline")
    return found


def _check_elapsed(fields: Fields) -> None:
    """Refuse an order whose deadline passed on its way to the engine."""
    if "deadline" in fields and _moment(fields["deadline"]) < datetime.now(UTC):
        raise Refused("EService:Deadline elapsed")


def _page(rows: list[Row], fields: Fields) -> list[Row]:
    start = int(_number(fields, "ofs", "0"))
    return rows[start : start + PAGE_ROWS]
