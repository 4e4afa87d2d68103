"""Alpaca's stock market as a broker, for its live account or its paper account: orders are sent once, UNKNOWN is called so.

A process has one broker per key (see the factory). Nothing is opened before the first question. Money goes in and out as
Alpaca's own text, never as a float. Alpaca has no deadline of its own: what is sent is sent early enough to be answered in time.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from django.utils import timezone

from bots.brokers import alpaca_lists as lists
from bots.brokers import alpaca_orders as orders
from bots.brokers.alpaca_budget import AlpacaBudget
from bots.brokers.alpaca_client import AlpacaClient, unsound
from bots.brokers.alpaca_orders import DOLLAR, VENUE, Raw, figure, mapping, moment, rows, text
from bots.brokers.back_off import BackOff, not_sent
from bots.brokers.base import (
    AccountReport,
    Execution,
    KeyRights,
    ListedFill,
    ListedOrder,
    LookUp,
    OrderReport,
    PermitError,
    Transfer,
    VenueError,
    VenueStatus,
    require_permit,
)
from bots.brokers.budget import Purpose, purpose_now, spending
from bots.brokers.held_back import no_rules, not_acknowledged
from bots.brokers.outcomes import CallFailed, Failure, Kind
from bots.brokers.parts import MayAsk, Part, Stretch, may_ask
from bots.order_states import OrderStatus
from safety.intents import MarketStatus, OrderIntent, Permit, Side

#: How long one question or one cancel may take.
ANSWER_WITHIN = timedelta(seconds=4)
#: An order is sent only while so much time is left: Alpaca can't be told to refuse it when it comes late.
SEND_BEFORE = timedelta(milliseconds=2_500)
#: How long before an order's making the search for it begins: the venue's clock may be behind ours.
SEARCH_BEFORE = timedelta(seconds=10)
#: What Alpaca may set against an account. One that is missing from the answer is not taken for one that is not set.
FLAGS = ("trading_blocked", "account_blocked", "trade_suspended_by_user")
#: How the numbers of paper accounts begin.
PAPER_PREFIX = "PA"
RESTING = frozenset({OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED})


class AlpacaBroker:
    """The account at Alpaca that ``key`` opens at ``base_url``: the live one, or the paper one. Threads may share one."""

    def __init__(self, base_url: str, key: str, secret: str, *, is_live: bool) -> None:
        self._client = AlpacaClient(base_url, key, secret)
        self._is_live = is_live
        account = VENUE if is_live else f"{VENUE}-paper"
        self._budget, self._back_off = AlpacaBudget(account), BackOff(account)

    def submit(self, order: OrderIntent, permit: Permit, deadline: datetime) -> OrderReport:
        """Send ``order`` once, for the day. Nothing is sent when less than ``SEND_BEFORE`` is left of ``deadline``.

        See VenueBroker. Raises PermitError without a permit for exactly this order, and for one of another venue or account.
        """
        require_permit(order, permit)
        if order.venue != VENUE or order.is_live != self._is_live:
            kind = "live" if self._is_live else "paper"
            raise PermitError(f"order {order.client_order_id} is no {kind} order of Alpaca: nothing was sent")
        try:
            fields = orders.order_fields(order)
        except CallFailed as failed:
            return no_rules(failed.failure)
        with spending(Purpose.EXITS if order.side == Side.SELL else Purpose.ORDERS):
            try:
                answer = self._ask("POST", "/orders", body=fields, deadline=deadline, last_call=deadline - SEND_BEFORE)
                order_id = _new_id(order, answer)
            except CallFailed as failed:
                return self._not_acknowledged(order, failed.failure)
            return self._acknowledged(order, order_id, deadline)

    @spending(Purpose.CANCELS)
    def cancel(self, order: OrderIntent, venue_order_id: str, *, urgent: bool = False) -> OrderReport:
        """Ask for the cancel of ``order``, then ask where it stands, and report that. See VenueBroker."""
        note, taken = "Alpaca took the cancel and has not carried it out yet", True
        try:
            # Alpaca cancels by its own id alone.
            venue_order_id = venue_order_id or text(self._by_client_id(order, urgent=urgent), "id")
            self._ask("DELETE", _path(venue_order_id), urgent=urgent)
        except CallFailed as failed:
            # Also "already filled", which does not say of how much.
            note, taken = failed.failure.reason, failed.failure.kind == Kind.GONE
        answer = self._look_up(order, venue_order_id, urgent=urgent)
        found = answer.found
        if found is None:
            reason = f"{note}; where the order stands is not known: {answer.reason or 'it was not found'}"
            return OrderReport(OrderStatus.UNKNOWN, venue_order_id, reason=reason, cancel_taken=taken)
        if found.status in RESTING:
            return replace(found, reason=found.reason or note, cancel_taken=taken)
        return found

    @spending(Purpose.LOOK_UPS)
    def look_up(self, order: OrderIntent, venue_order_id: str = "") -> LookUp:
        """Search for ``order``: by Alpaca's id where it is known, else by our id, and then among all orders made since.

        Where Alpaca does not know its own id any more, everything is searched, too: only then the order counts as not there.
        """
        found = self._look_up(order, venue_order_id)
        return self._look_up(order, gone_id=venue_order_id) if found.is_gone else found

    def account(self) -> AccountReport:
        """Return the cash and the shares. Raises VenueError. A short position counts below zero.

        Cash and not buying power: a paper account may buy on margin for four times what it has.
        """
        try:
            raw = mapping(self._ask("GET", "/account"), "the account")
            held = rows(self._ask("GET", "/positions"), "positions")
            if text(raw, "currency") != DOLLAR:
                raise unsound("an account in dollars")
            cash = figure(raw, "cash", may_be_negative=True)
            holdings = {_asset(one): figure(one, "qty", may_be_negative=True) for one in held}
            free = {_asset(one): _free(one) for one in held}
            flags = self._flags(raw)
            if not held and _says_that_it_holds(raw):
                # Never taken for flat: the account itself is worth more than its cash.
                raise unsound("every position")
        except CallFailed as failed:
            raise VenueError(f"The account at Alpaca could not be read: {failed}") from failed
        return AccountReport(
            cash_usd={DOLLAR: cash},
            holdings={asset: quantity for asset, quantity in holdings.items() if quantity},
            on_hold={
                asset: abs(quantity - free[asset]) for asset, quantity in holdings.items() if quantity != free[asset]
            },
            flags=flags,
        )

    def key_rights(self) -> KeyRights:
        """Return what the key may do, as far as Alpaca tells: whoever may read the account may trade; of withdrawals, nothing."""
        try:
            mapping(self._ask("GET", "/account"), "the account")
        except CallFailed as failed:
            return KeyRights(is_refused=failed.failure.kind == Kind.KEY, reason=failed.failure.reason)
        return KeyRights(names=frozenset({"trade"}), can_trade=True, is_known=True)

    def status(self) -> VenueStatus:
        """Return whether the stock market is open, by Alpaca's clock, and that clock. Raises VenueError."""
        try:
            asked_at, asked_ns = timezone.now(), time.monotonic_ns()
            raw = mapping(self._ask("GET", "/clock"), "the clock")
            took = timedelta(microseconds=(time.monotonic_ns() - asked_ns) // 1000)
            server_time, is_open = moment(raw, "timestamp"), raw.get("is_open")
            if not isinstance(is_open, bool):
                raise unsound("is_open")
        except CallFailed as failed:
            raise VenueError(f"How Alpaca works now could not be read: {failed}") from failed
        return VenueStatus(
            name="open" if is_open else "closed",
            market=MarketStatus.OPEN if is_open else MarketStatus.CLOSED,
            server_time=server_time,
            clock_skew_s=_seconds(server_time - (asked_at + took / 2)),
            uncertain_s=_seconds(took / 2),
        )

    def open_orders(self) -> tuple[ListedOrder, ...]:
        """Return every open order of the account. Raises VenueError unless the list is surely whole."""
        try:
            return tuple(orders.listed_order(raw) for raw in lists.orders(self._ask, "open"))
        except CallFailed as failed:
            raise VenueError(f"The open orders at Alpaca could not be read: {failed}") from failed

    def ended_orders(self, stretch: Stretch) -> Part[ListedOrder]:
        """Return orders that ended in this stretch, by when they were made. See VenueBroker.

        Left out is what somebody else had resting for more than six days, and an order that ended in a way unknown here.
        """
        try:
            part = lists.ended_orders(self._ask, stretch, self._may_ask(stretch))
            found = [orders.listed_order(raw) for raw in part.rows]
        except CallFailed as failed:
            raise VenueError(f"The ended orders at Alpaca could not be read: {failed}") from failed
        fresh = tuple(one for one in found if one.ended_at is not None and one.ended_at > stretch.since)
        return Part(fresh, part.place, part.upto, is_last=part.is_last)

    def fills(self, stretch: Stretch) -> Part[ListedFill]:
        """Return executions of this stretch, oldest first. See VenueBroker."""
        try:
            after = stretch.since - lists.SEAM
            part = lists.activities_part(self._ask, after, stretch, self._may_ask(stretch), fills=True)
            found = [orders.listed_fill(raw) for raw in part.rows]
        except CallFailed as failed:
            raise VenueError(f"The fills at Alpaca could not be read: {failed}") from failed
        fresh = [one for one in found if one.execution.filled_at > stretch.since]
        fresh.sort(key=lambda one: (one.execution.filled_at, one.execution.trade_id))
        return Part(tuple(fresh), part.place, part.upto, is_last=part.is_last)

    def transfers(self, stretch: Stretch) -> Part[Transfer]:
        """Return movements of this stretch that are no trade, oldest first. See VenueBroker.

        For most movements Alpaca names only the day: those of the day of ``since``, and of the day before, are among them.
        Their references count once.
        """
        try:
            after = lists.before_its_day(stretch.since)
            part = lists.activities_part(self._ask, after, stretch, self._may_ask(stretch), fills=False)
            found = [one for raw in part.rows for one in lists.transfers(raw)]
        except CallFailed as failed:
            raise VenueError(f"The movements at Alpaca could not be read: {failed}") from failed
        found.sort(key=lambda one: (one.happened_at, one.reference))
        return Part(tuple(found), part.place, part.upto, is_last=part.is_last)

    def validate(self, order: OrderIntent) -> str | None:
        """Return None: Alpaca checks no order without placing it."""
        return None

    def _may_ask(self, stretch: Stretch) -> MayAsk:
        return may_ask(stretch, lambda share_pct: self._budget.has_room(share_pct=share_pct))

    def _acknowledged(self, order: OrderIntent, order_id: str, deadline: datetime) -> OrderReport:
        """Report a new order, with what it filled at once; when that can't be asked now, the fills come with a later question."""
        try:
            raw = self._ask("GET", _path(order_id), deadline=deadline)
            return self._report(order, raw, deadline=deadline, is_known=True)
        except CallFailed as failed:
            reason = f"Alpaca took it; its fills are asked for again ({failed.failure.reason})"
            return OrderReport(OrderStatus.ACCEPTED, order_id, reason=reason)

    def _not_acknowledged(self, order: OrderIntent, failure: Failure) -> OrderReport:
        # A duplicate stands: its first answer never reached us.
        standing = self.look_up(order).found if failure.kind == Kind.DUPLICATE else None
        return standing or not_acknowledged(failure)

    def _look_up(self, order: OrderIntent, order_id: str = "", *, urgent: bool = False, gone_id: str = "") -> LookUp:
        try:
            if order_id:
                raw = self._ask("GET", _path(order_id), urgent=urgent)
                return LookUp(self._report(order, raw, urgent=urgent, is_known=True), is_complete=True)
            return self._search(order, urgent=urgent).unless_other(gone_id)
        except CallFailed as failed:
            is_gone = bool(order_id) and failed.failure.kind == Kind.GONE
            return LookUp(reason=failed.failure.reason, is_gone=is_gone)

    def _search(self, order: OrderIntent, *, urgent: bool) -> LookUp:
        """Search by our own id; when there is none, every order made since is looked through before it counts as absent."""
        try:
            raw: Raw | None = self._by_client_id(order, urgent=urgent)
        except CallFailed as failed:
            if failed.failure.kind != Kind.GONE:
                raise
            raw = self._among_all(order, urgent=urgent)
        return LookUp(None if raw is None else self._report(order, raw, urgent=urgent), is_complete=True)

    def _by_client_id(self, order: OrderIntent, *, urgent: bool) -> Raw:
        asked = {"client_order_id": order.client_order_id}
        return mapping(self._ask("GET", "/orders:by_client_order_id", params=asked, urgent=urgent), "the order")

    def _among_all(self, order: OrderIntent, *, urgent: bool) -> Raw | None:
        def ask(method: str, path: str, *, params: Mapping[str, str]) -> Any:
            return self._ask(method, path, params=params, urgent=urgent)

        made = lists.orders(ask, "all", order.created_at - SEARCH_BEFORE)
        return next((one for one in made if one.get("client_order_id") == order.client_order_id), None)

    def _report(
        self,
        order: OrderIntent,
        answer: Any,
        *,
        deadline: datetime | None = None,
        urgent: bool = False,
        is_known: bool = False,
    ) -> OrderReport:
        """Return the report of an order, with its fills. Raises CallFailed when it is not ours."""
        raw = _ours(order, answer, is_known=is_known)
        filled = figure(raw, "filled_qty")
        if not filled:
            return orders.report(raw, [])

        def ask(method: str, path: str, *, params: Mapping[str, str]) -> Any:
            return self._ask(method, path, params=params, deadline=deadline, urgent=urgent)

        def own(fills: Iterable[Raw]) -> list[Execution]:
            return [orders.execution(one) for one in fills if one.get("order_id") == raw["id"]]

        def is_enough(fills: Iterable[Raw]) -> bool:
            return sum((one.quantity for one in own(fills)), Decimal(0)) >= filled

        since = moment(raw, "created_at") - SEARCH_BEFORE
        return orders.report(raw, own(lists.activities(ask, since, fills=True, is_enough=is_enough)))

    def _flags(self, raw: Raw) -> tuple[str, ...]:
        """Return what stands against the account. Raises CallFailed without a status."""
        found = []
        if text(raw, "status") != "ACTIVE":
            found.append(f"status {text(raw, 'status')}")
        for name in FLAGS:
            value = raw.get(name)
            if value is not False:
                found.append(name if value is True else f"{name} is not known")
        number = raw.get("account_number")
        if not isinstance(number, str) or not number:
            found.append("whether it is a paper account is not known")
        elif number.startswith(PAPER_PREFIX) == self._is_live:
            kind = "paper" if self._is_live else "real"
            found.append(f"a {kind} account behind the {'live' if self._is_live else 'paper'} keys")
        return tuple(found)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, str] | None = None,
        deadline: datetime | None = None,
        last_call: datetime | None = None,
        urgent: bool = False,
    ) -> Any:
        """Send one request, to be answered by ``deadline`` (soon, if there is none); nothing leaves after ``last_call``.

        The only way to Alpaca. ``urgent`` is a cancel of the kill switch. Raises CallFailed.
        """
        purpose = Purpose.CANCELS if urgent else purpose_now()
        self._back_off.check(purpose, urgent=urgent)
        if method == "DELETE":
            # A cancel leaves in any case: Alpaca has the last word.
            self._budget.count()
        else:
            self._budget.wait_for_room(purpose, is_order=method == "POST", urgent=urgent)
        now = timezone.now()
        left_ms = ((deadline or now + ANSWER_WITHIN) - now) // timedelta(milliseconds=1)
        if left_ms <= 0 or (last_call is not None and now > last_call):
            raise not_sent("its turn came too late: nothing was sent")
        try:
            return self._client.ask(method, path, params=params, body=body, timeout_ms=left_ms)
        except CallFailed as failed:
            self._back_off.note(failed.failure)
            if failed.failure.kind == Kind.RATE:
                self._budget.answered(0)
            raise
        finally:
            self._budget.answered(self._client.left)


def _new_id(order: OrderIntent, answer: Any) -> str:
    """Return the id that Alpaca gave a new order. Raises CallFailed when there is none: then its outcome is not known.

    Whatever else the answer says, it is the answer to this order, which stands.
    """
    raw = mapping(answer, "the new order")
    if raw.get("client_order_id") != order.client_order_id:
        raise unsound("our id of the new order")
    return text(raw, "id")


def _ours(order: OrderIntent, answer: Any, *, is_known: bool) -> Raw:
    """Return an order that agrees with ours. Raises CallFailed for any other, and for what cannot be read."""
    raw = mapping(answer, "the order")
    order_id = text(raw, "id")
    differs = orders.disagreement(order, raw, is_known=is_known)
    if differs:
        raise CallFailed(Failure(Kind.UNKNOWN, f"order {order_id} at Alpaca is not ours as it stands: {differs}"))
    return raw


def _path(order_id: str) -> str:
    return f"/orders/{quote(order_id, safe='')}"


def _asset(position: Raw) -> str:
    """Return what a position is in; crypto positions are written as pairs without a stroke."""
    symbol = text(position, "symbol")
    return symbol.removesuffix(DOLLAR).removesuffix("/") if position.get("asset_class") == "crypto" else symbol


def _free(position: Raw) -> Decimal:
    key = "qty" if position.get("qty_available") is None else "qty_available"
    return figure(position, key, may_be_negative=True)


def _says_that_it_holds(account: Raw) -> bool:
    values = ("long_market_value", "short_market_value")
    return any(figure(account, one, may_be_negative=True) for one in values if account.get(one) is not None)


def _seconds(span: timedelta) -> Decimal:
    return Decimal(span // timedelta(microseconds=1)).scaleb(-6)
