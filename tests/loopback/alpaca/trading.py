"""Alpaca's trading interface over one account's ledger: which path does what, and what a test may order."""

import math
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from tests.loopback.alpaca import rules
from tests.loopback.alpaca.access import ApiKey
from tests.loopback.alpaca.hours import DAY, NEW_YORK
from tests.loopback.alpaca.ledger import NANO, Activity, Ledger, Position, Refused, VenueOrder, activity_id
from tests.loopback.alpaca.market import Market
from tests.loopback.alpaca.moments import moment_ns
from tests.loopback.alpaca.rest import Fields, RestVenue, last_part
from tests.loopback.alpaca.wire import (
    Json,
    account_json,
    activity_json,
    asset_json,
    order_json,
    position_json,
    session_json,
    trade_json,
)
from tests.loopback.server import Answer, Logged, Request

CASH = Decimal(100_000)
ORDERS_DEFAULT, ORDERS_MAX = 50, 500
ACTIVITIES_MAX = 100
CALENDAR_DAYS_MAX = 3_700
CREATED = "2026-01-05T15:00:00.000001Z"
NUMBERS = {"paper": "PA3LOOPBACK1", "live": "847360001"}
ORDER_NOT_FOUND = (404, 40410000, "order not found")


class TradingVenue(RestVenue):
    """One account, live or paper, of a venue that speaks as Alpaca does."""

    def __init__(self, market: Market, kind: str, key: ApiKey) -> None:
        super().__init__(market, (key,))
        self.kind = kind
        self.ledger = Ledger(market, CASH)
        #: What a test wants otherwise in the account; None leaves a field out.
        self.account_changes: dict[str, Any] = {}
        #: A status that the answers to submissions carry in place of the venue's own.
        self.submit_status: str | None = None
        self._paths: dict[str, Callable[[Request, Fields], Any]] = {
            "GET /v2/orders": self._list_orders,
            "GET /v2/orders/{id}": lambda request, fields: self._shown(self._order(last_part(request))),
            "GET /v2/orders:by_client_order_id": self._by_client_id,
            "GET /v2/account": lambda request, fields: self._account(),
            "GET /v2/positions": lambda request, fields: self._positions(),
            "GET /v2/positions/{symbol}": self._position,
            "GET /v2/clock": lambda request, fields: self._clock(),
            "GET /v2/calendar": lambda request, fields: self._calendar(fields),
            "GET /v2/assets": self._assets,
            "GET /v2/assets/{symbol}": self._asset,
            "GET /v2/account/activities": lambda request, fields: self._activities(fields),
            "GET /v2/account/activities/{type}": lambda request, fields: self._activities(
                {**fields, "activity_types": last_part(request)}
            ),
        }

    def answer(self, request: Request, entry: Logged, invisible_s: float) -> Answer:
        self.ledger.settle()
        if entry.path == "POST /v2/orders":
            return Answer(self._submit(request.body, invisible_s))
        if entry.path == "DELETE /v2/orders/{id}":
            self.ledger.cancel(self._order(last_part(request)))
            return Answer(None, status=204)
        if entry.path == "DELETE /v2/orders":
            return Answer(self._cancel_all(), status=207)
        if entry.path not in self._paths:
            raise Refused(404, 40410000, "endpoint not found")
        return Answer(self._paths[entry.path](request, entry.fields))

    # Orders.

    def _submit(self, body: str, invisible_s: float) -> Json:
        new = rules.read(body, invisible_s)
        with self.ledger.lock:
            rules.check(self.ledger, new, self._account())
            order = self.ledger.place(new)
        status = "accepted" if order.status == "accepted" else "pending_new"
        return order_json(order, self._asset_id(order), status=self.submit_status or status)

    def _order(self, order_id: str) -> VenueOrder:
        found = self.ledger.orders.get(order_id)
        if found is None or found.visible_at > time.time():
            raise Refused(*ORDER_NOT_FOUND)
        return found

    def _by_client_id(self, request: Request, fields: Fields) -> Json:
        found = self.ledger.by_client_id(fields.get("client_order_id", ""))
        if found is None or found.visible_at > time.time():
            raise Refused(*ORDER_NOT_FOUND)
        return self._shown(found)

    def _list_orders(self, request: Request, fields: Fields) -> list[Json]:
        status, direction = fields.get("status", "open"), fields.get("direction", "desc")
        if status not in {"open", "closed", "all"} or direction not in {"asc", "desc"}:
            raise Refused(422, rules.MALFORMED, "invalid status or direction")
        limit = _whole(fields, "limit", ORDERS_DEFAULT, ORDERS_MAX)
        after, until = moment_ns(fields.get("after")), moment_ns(fields.get("until"))
        symbols = [name for name in fields.get("symbols", "").split(",") if name]
        with self.ledger.lock:
            found = [
                one
                for one in self.ledger.orders.values()
                if one.is_listed
                and one.visible_at <= time.time()
                and (status == "all" or one.is_open == (status == "open"))
                and (not symbols or one.symbol in symbols)
                and fields.get("side", one.side) == one.side
                and (after is None or one.created_ns > after)
                and (until is None or one.created_ns < until)
            ]
            found.sort(key=lambda one: one.created_ns, reverse=direction == "desc")
            return [self._shown(one) for one in found[:limit]]

    def _cancel_all(self) -> list[Json]:
        with self.ledger.lock:
            found = [one for one in self.ledger.orders.values() if one.is_open and one.visible_at <= time.time()]
            for order in found:
                self.ledger.cancel(order)
            return [{"id": order.id, "status": 200, "body": self._shown(order)} for order in found]

    def _shown(self, order: VenueOrder) -> Json:
        with self.ledger.lock:
            return order_json(order, self._asset_id(order))

    def _asset_id(self, order: VenueOrder) -> str:
        return self.market.assets[order.symbol].id

    # The account.

    def _account(self) -> Json:
        with self.ledger.lock:
            found = account_json(self.ledger, NUMBERS[self.kind], CREATED) | self.account_changes
        return {name: value for name, value in found.items() if value is not None or name == "user_configurations"}

    def _positions(self) -> list[Json]:
        with self.ledger.lock:
            held = dict(self.ledger.positions)
            return [position_json(self.ledger, self.market.assets[symbol], one) for symbol, one in held.items()]

    def _position(self, request: Request, fields: Fields) -> Json:
        share = self.market.find(last_part(request))
        with self.ledger.lock:
            if share is None or share.symbol not in self.ledger.positions:
                raise Refused(404, 40410000, "position does not exist")
            return position_json(self.ledger, share, self.ledger.positions[share.symbol])

    def _activities(self, fields: Fields) -> list[Json]:
        types = [name for name in fields.get("activity_types", "").split(",") if name]
        size = _whole(fields, "page_size", ACTIVITIES_MAX, ACTIVITIES_MAX)
        is_descending = fields.get("direction", "desc") == "desc"
        after, until = moment_ns(fields.get("after")), moment_ns(fields.get("until"))
        day = fields.get("date")
        with self.ledger.lock:
            trades = [one for one in self.ledger.trades if one.visible_at <= time.time()]
            all_of_them: list[tuple[int, str, Json]] = [(one.at_ns, one.id, trade_json(one)) for one in trades]
            all_of_them += [(one.at_ns, one.id, activity_json(one)) for one in self.ledger.activities]
        rows = [
            (at_ns, id_, shown)
            for at_ns, id_, shown in sorted(all_of_them, key=lambda row: row[0], reverse=is_descending)
            if (not types or shown["activity_type"] in types)
            and (after is None or at_ns > after)
            and (until is None or at_ns < until)
            and (day is None or _day(at_ns) == day)
        ]
        token = fields.get("page_token")
        if token:
            ids = [id_ for _, id_, _ in rows]
            rows = rows[ids.index(token) + 1 :] if token in ids else []
        return [shown for _, _, shown in rows[:size]]

    # The market.

    def _clock(self) -> Json:
        hours = self.market.hours
        now = hours.now()
        return {
            "is_open": hours.is_open(now),
            "next_close": hours.next_close(now).astimezone(NEW_YORK).isoformat(),
            "next_open": hours.next_open(now).astimezone(NEW_YORK).isoformat(),
            "timestamp": now.astimezone(NEW_YORK).isoformat(),
        }

    def _calendar(self, fields: Fields) -> list[Json]:
        first = date.fromisoformat(fields.get("start", "2026-01-01")[:10])
        last = date.fromisoformat(fields.get("end", "2029-12-31")[:10])
        days = (first + number * DAY for number in range(min((last - first).days + 1, CALENDAR_DAYS_MAX)))
        return [session_json(one) for one in map(self.market.hours.session, days) if one is not None]

    def _assets(self, request: Request, fields: Fields) -> list[Json]:
        return [
            asset_json(one)
            for one in self.market.assets.values()
            if fields.get("status", one.status) == one.status
            and fields.get("asset_class", one.asset_class) == one.asset_class
            and fields.get("exchange", one.exchange) == one.exchange
        ]

    def _asset(self, request: Request, fields: Fields) -> Json:
        found = self.market.find(last_part(request))
        if found is None:
            raise Refused(404, 40410000, f"asset not found for {last_part(request)}")
        return asset_json(found)

    # What a test may order.

    def orders_of_a_test(self) -> dict[str, Callable[..., Any]]:
        ledger = self.ledger
        return {
            "key": lambda: {"key": self.keys[0].key, "secret": self.keys[0].secret},
            "orders": lambda: {one.id: self._shown(one) for one in list(ledger.orders.values())},
            "trades": lambda: {one.id: trade_json(one) for one in list(ledger.trades)},
            "activities": lambda: [activity_json(one) for one in list(ledger.activities)],
            "cash": lambda: rules.plain(ledger.cash),
            "positions": lambda: {symbol: rules.plain(one.qty) for symbol, one in list(ledger.positions.items())},
            "set_account": lambda **changes: self.account_changes.update(changes),
            "set_submit_status": lambda status: setattr(self, "submit_status", status),
            "set_cancel_s": lambda seconds: setattr(ledger, "cancel_s", float(seconds)),
            "set_activity_lag_s": lambda seconds: setattr(ledger, "activity_lag_s", float(seconds)),
            "set_cash_step": lambda step: setattr(ledger, "cash_step", None if step is None else Decimal(step)),
            "place": self._place_by_hand,
            "fill": self._fill,
            "cancel": lambda order_id: ledger.cancel(ledger.orders[order_id]),
            "end": lambda order_id, status: ledger.end(ledger.orders[order_id], status),
            "forget": lambda order_id: setattr(ledger.orders[order_id], "visible_at", math.inf),
            "recall": lambda order_id: setattr(ledger.orders[order_id], "visible_at", 0.0),
            "unlist": lambda order_id: setattr(ledger.orders[order_id], "is_listed", False),
            "set_position": self._set_position,
            "activity": self._activity,
            "change_shares": self._change_shares,
        }

    def _place_by_hand(self, body: str) -> str:
        new = rules.read(body)
        with self.ledger.lock:
            rules.check(self.ledger, new, self._account())
            return self.ledger.place(new).id

    def _fill(self, order_id: str, qty: str, price: str | None = None) -> str:
        given = None if price is None else Decimal(price)
        return self.ledger.fill(self.ledger.orders[order_id], Decimal(qty), given).id

    def _set_position(self, symbol: str, qty: str) -> None:
        """Set what is held, at the last price, as a transfer of shares does; no cash moves."""
        self.market.asset(symbol)
        with self.ledger.lock:
            self.ledger.positions.pop(symbol, None)
            if Decimal(qty):
                cost = Decimal(qty) * self.market.books[symbol].last
                self.ledger.positions[symbol] = Position(Decimal(qty), cost)

    def _activity(
        self,
        type: str,
        net_amount: str = "0",
        symbol: str | None = None,
        description: str = "",
        qty: str | None = None,
    ) -> str:
        at_ns, shares = time.time_ns(), None if qty is None else Decimal(qty)
        one = Activity(activity_id(at_ns), type, Decimal(net_amount), at_ns, symbol, shares, description=description)
        return self.ledger.book_activity(one)

    def _change_shares(self, type: str, symbol: str, qty: str, net_amount: str = "0", listed: bool = True) -> str:
        """Add shares, or take them, at unchanged cost, as in a split or a merger; unless ``listed`` no activity tells of it."""
        self.market.asset(symbol)
        with self.ledger.lock:
            held = self.ledger.positions.setdefault(symbol, Position())
            held.qty += Decimal(qty)
            if not held.qty:
                del self.ledger.positions[symbol]
        return self._activity(type, net_amount, symbol, qty=qty) if listed else ""


def _whole(fields: Fields, name: str, default: int, most: int) -> int:
    text = fields.get(name, str(default))
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise Refused(422, rules.MALFORMED, f"{name} must be between 1 and {most}")
    return int(text)


def _day(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns // NANO, UTC).astimezone(NEW_YORK).date().isoformat()
