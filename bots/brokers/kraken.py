"""Kraken's spot market as a broker: orders are sent once, and what is not known is called UNKNOWN.

A process has one broker per key (see the factory). Nothing is opened before the first question; every private question takes
a turn of the key's signer. Money goes in and out as Kraken's own text, never as a float.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from django.utils import timezone

from bots.brokers import kraken_lists
from bots.brokers.base import (
    AccountReport,
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
from bots.brokers.budget import Purpose, spending
from bots.brokers.held_back import no_rules, not_acknowledged
from bots.brokers.kraken_budget import EngineCall, cancel_of
from bots.brokers.kraken_client import KrakenClient
from bots.brokers.kraken_line import KrakenLine
from bots.brokers.kraken_orders import (
    dead_man_left,
    disagreement,
    entries,
    is_whole,
    missing,
    moment,
    number,
    order_fields,
    ours,
    report,
    traded,
    transaction_id,
    unsound,
    venue_deadline,
)
from bots.brokers.kraken_pairs import VENUE, Pair, PairBook, Pairs, tradeable
from bots.brokers.outcomes import CallFailed, Failure, Kind
from bots.brokers.parts import MayAsk, Part, Stretch, may_ask
from bots.order_states import OrderStatus
from safety.intents import MarketStatus, OrderIntent, Permit, Side

CASH = frozenset({"USD", "USDT", "USDC"})
#: How long one question or one cancel may take, waiting for its turn included.
ANSWER_WITHIN = timedelta(seconds=4)
PUBLIC_MS = 2_000
#: Kraken refuses a deadline that is nearer than 2 s when the order reaches it; the rest is for the way there.
SEND_BEFORE = timedelta(milliseconds=2_100)
#: Trades come in pages of 50, and this many orders or trades fit into one question.
PAGES_MAX = 6
ASK_AT_ONCE = 20
MARKET_STATES = {
    "online": MarketStatus.OPEN,
    "cancel_only": MarketStatus.CANCEL_ONLY,
    "post_only": MarketStatus.POST_ONLY,
    "limit_only": MarketStatus.POST_ONLY,
}

#: What Kraken may say, besides "unknown order", of an id that it does not know.
NO_SUCH_ID = "EOrder:Invalid order"
#: Seconds that a dead-man switch may be wound up for; milliseconds would be far outside.
DEAD_MAN_S_MIN, DEAD_MAN_S_MAX = 10, 600
#: What a refusal has to be about for it to be Kraken's word on the order itself.
JUDGED = frozenset({Kind.ORDER, Kind.FUNDS, Kind.MODE, Kind.RIGHTS, Kind.DUPLICATE, Kind.LATE})

Raw = Mapping[str, Any]
T = TypeVar("T")


class KrakenBroker:
    """The account at Kraken that ``key`` opens. Threads may share one."""

    def __init__(self, base_url: str, key: str, secret: str) -> None:
        self._client = KrakenClient(base_url, key, secret)
        self._pairs = Pairs(self._client)
        self._line = KrakenLine(self._client, VENUE, key, secret)
        self._ask = self._line.ask

    def submit(self, order: OrderIntent, permit: Permit, deadline: datetime) -> OrderReport:
        """Send ``order`` once, with ``deadline`` as Kraken's own deadline too (rounded up to the second).

        See VenueBroker. Raises PermitError without a permit for exactly this order, and for one that is not a live one of Kraken.
        """
        require_permit(order, permit)
        if not order.is_live or order.venue != VENUE:
            raise PermitError(f"order {order.client_order_id} is no live order of Kraken: nothing was sent")
        try:
            # Rules change rarely and the venue checks them too; an order does not wait for a newer list, and an exit must not be
            # denied for want of one: what the market data was told serves as well.
            pair = self._pairs.pair(order.symbol, timeout_ms=PUBLIC_MS, may_be_old=True)
            fields = order_fields(order, pair, deadline)
        except CallFailed as failed:
            return no_rules(failed.failure)
        with spending(Purpose.EXITS if order.side == Side.SELL else Purpose.ORDERS):
            try:
                last_call, engine = venue_deadline(deadline) - SEND_BEFORE, EngineCall(order.symbol)
                answer = self._ask("post_addorder", fields, deadline, last_call=last_call, engine=engine)
                order_id = transaction_id(answer)
            except CallFailed as failed:
                return self._not_acknowledged(order, failed.failure)
            return self._acknowledged(order, pair, order_id, deadline)

    @spending(Purpose.CANCELS)
    def cancel(self, order: OrderIntent, venue_order_id: str, *, urgent: bool = False) -> OrderReport:
        """Ask for the cancel of ``order``, then ask where it stands, and report that. See VenueBroker."""
        named = {"txid": venue_order_id} if venue_order_id else {"cl_ord_id": order.client_order_id}
        note = "Kraken took the cancel and has not carried it out yet"
        try:
            engine = cancel_of(order.symbol, order.created_at, timezone.now())
            answer = self._ask("post_cancelorder", named, _soon(), urgent=urgent, engine=engine)
            taken = bool(number(answer, "count"))
        except CallFailed as failed:
            # Also "unknown order", which says that it is over and not whether it was filled or cancelled.
            note, taken = failed.failure.reason, failed.failure.kind == Kind.GONE
        search = self._look_up(order, venue_order_id, urgent=urgent)
        if search.found is None:
            reason = f"{note}; where the order stands is not known: {search.reason or 'it was not found'}"
            return OrderReport(OrderStatus.UNKNOWN, venue_order_id, reason=reason, cancel_taken=taken)
        found = search.found
        if found.status in {OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED}:
            return replace(found, reason=found.reason or note, cancel_taken=taken)
        return found

    @spending(Purpose.LOOK_UPS)
    def look_up(self, order: OrderIntent, venue_order_id: str = "") -> LookUp:
        """Search for ``order``: by Kraken's id where it is known, else among open orders, closed orders and trades.

        Where Kraken does not know its own id any more, everything is searched, too: only then the order counts as not there.
        """
        found = self._look_up(order, venue_order_id)
        return self._look_up(order, gone_id=venue_order_id) if found.is_gone else found

    def account(self) -> AccountReport:
        """Return the balances, without what is staked or earns. Raises VenueError. Kraken sets no flags on an account."""
        try:
            balances = self._ask("post_balanceex", {}, _soon())
            book = self._pairs.book(timeout_ms=PUBLIC_MS)
            if not balances:
                raise unsound("every balance")
            found = {
                book.code(asset): (number(balances[asset], "balance"), number(balances[asset], "hold_trade"))
                for asset in tradeable(balances)
            }
        except (CallFailed, TypeError) as error:
            raise VenueError(f"The balances could not be read: {error}") from error
        return AccountReport(
            cash_usd={code: total for code, (total, _) in found.items() if code in CASH},
            holdings={code: total for code, (total, _) in found.items() if code not in CASH and total},
            on_hold={code: held for code, (_, held) in found.items() if held},
        )

    def key_rights(self) -> KeyRights:
        """Return what the key may do; asking for it needs no right itself."""
        try:
            info = self._ask("post_getapikeyinfo", {}, _soon())
            names, allowlist = info.get("permissions"), info.get("ipAllowlist")
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise unsound("the list of rights")
            created_at = moment(info, "createdTime") if info.get("createdTime") else None
        except CallFailed as failed:
            return KeyRights(is_refused=failed.failure.kind == Kind.KEY, reason=failed.failure.reason)
        return KeyRights(
            names=frozenset(names),
            can_trade="modify-trades" in names,
            # The rights to add or change an address that money goes to count as well.
            can_withdraw=any("withdraw" in name for name in names),
            is_known=True,
            created_at=created_at,
            ip_allowlist=tuple(map(str, allowlist)) if isinstance(allowlist, list) else None,
        )

    def status(self) -> VenueStatus:
        """Return how Kraken works now, and its clock. Raises VenueError."""
        try:
            name = str(self._client.public("get_systemstatus", {}, timeout_ms=PUBLIC_MS).get("status"))
            asked_at, asked_ns = timezone.now(), time.monotonic_ns()
            seconds = moment(self._client.public("get_time", {}, timeout_ms=PUBLIC_MS), "unixtime")
            took = timedelta(microseconds=(time.monotonic_ns() - asked_ns) // 1000)
        except CallFailed as failed:
            raise VenueError(f"How Kraken works now could not be read: {failed}") from failed
        # Kraken gives whole seconds: on the average it is half a second later.
        grain = timedelta(milliseconds=500)
        return VenueStatus(
            name=name,
            market=MARKET_STATES.get(name, MarketStatus.CLOSED),
            server_time=seconds + grain,
            clock_skew_s=_seconds(seconds + grain - (asked_at + took / 2)),
            uncertain_s=_seconds(took / 2 + grain),
        )

    def open_orders(self) -> tuple[ListedOrder, ...]:
        """Return every open order of the account, in one question. See VenueBroker."""
        return self._listed("open orders", kraken_lists.open_orders)

    def ended_orders(self, stretch: Stretch) -> Part[ListedOrder]:
        """Return orders that ended in this stretch: a question for every 50 of them. See VenueBroker."""
        may = self._may_ask("post_closedorders", stretch)
        return self._listed("closed orders", lambda ask, book: kraken_lists.ended_orders(ask, book, stretch, may))

    def fills(self, stretch: Stretch) -> Part[ListedFill]:
        """Return executions of this stretch: a question, which counts double, for every 50. See VenueBroker."""
        may = self._may_ask("post_tradeshistory", stretch)
        return self._listed("trades", lambda ask, book: kraken_lists.fills(ask, book, stretch, may))

    def transfers(self, stretch: Stretch) -> Part[Transfer]:
        """Return what else moved balances in this stretch: a question, which counts double, for every 50 rows of the ledger."""
        may = self._may_ask("post_ledgers", stretch)
        return self._listed("ledger", lambda ask, book: kraken_lists.transfers(ask, book, stretch, may))

    def validate(self, order: OrderIntent) -> str | None:
        """Have Kraken check ``order`` as it would be sent, and place nothing. See VenueBroker. Never None: Kraken has this."""
        deadline = _soon()
        try:
            pair = self._pairs.pair(order.symbol, timeout_ms=PUBLIC_MS)
            # The text 'true', and nothing else, keeps Kraken from placing it.
            fields = order_fields(order, pair, deadline) | {"validate": "true"}
            answer = self._ask("post_addorder", fields, deadline, last_call=venue_deadline(deadline) - SEND_BEFORE)
        except CallFailed as failed:
            if failed.failure.kind in JUDGED:
                return failed.failure.reason
            raise VenueError(f"Kraken could not be asked to check an order: {failed}") from failed
        if answer.get("txid"):
            raise VenueError(f"Kraken placed an order that it was to check only: cancel {answer['txid']} at Kraken now")
        if not isinstance(answer.get("descr"), dict):
            raise VenueError("Kraken was asked to check an order and gave no sound answer")
        return ""

    def cancel_all_after(self, timeout_s: int) -> timedelta | None:
        """Have Kraken cancel every order of the account in ``timeout_s`` seconds unless it is asked again; 0 switches that off.

        See bots/dead_man.py, which alone may ask for it. Return how long Kraken waits, None once it is off. Raises VenueError
        when that is not known, and ValueError for milliseconds and anything else that can't be meant.
        """
        if timeout_s and not DEAD_MAN_S_MIN <= timeout_s <= DEAD_MAN_S_MAX:
            raise ValueError(f"{timeout_s} is no number of seconds from {DEAD_MAN_S_MIN} to {DEAD_MAN_S_MAX}")
        try:
            # Not ccxt's own call: it takes milliseconds, and what it makes of 60 switches the dead-man switch off.
            answer = self._ask("post_cancelallordersafter", {"timeout": str(timeout_s)}, _soon())
            return dead_man_left(answer, timeout_s)
        except CallFailed as failed:
            raise VenueError(f"Kraken's dead-man switch could not be set: {failed}") from failed

    def _may_ask(self, method: str, stretch: Stretch) -> MayAsk:
        return may_ask(stretch, lambda share_pct: self._line.has_room(method, share_pct=share_pct))

    def _listed(self, what: str, read: Callable[[kraken_lists.Ask, PairBook], T]) -> T:
        try:
            book = self._pairs.book(timeout_ms=PUBLIC_MS)
            return read(lambda method, asked: self._ask(method, asked, _soon()), book)
        except CallFailed as failed:
            raise VenueError(f"Kraken's list of {what} could not be read: {failed}") from failed

    def _acknowledged(self, order: OrderIntent, pair: Pair, order_id: str, deadline: datetime) -> OrderReport:
        """Report a new order, with what it filled at once; when that can't be asked now, the fills come with a later question."""
        try:
            return self._by_id(order, pair, order_id, deadline)
        except CallFailed as failed:
            reason = f"Kraken took it; its fills are asked for again ({failed.failure.reason})"
            return OrderReport(OrderStatus.ACCEPTED, order_id, reason=reason)

    def _not_acknowledged(self, order: OrderIntent, failure: Failure) -> OrderReport:
        standing = self.look_up(order).found if failure.kind == Kind.DUPLICATE else None
        return standing or not_acknowledged(failure)

    def _look_up(self, order: OrderIntent, order_id: str = "", *, urgent: bool = False, gone_id: str = "") -> LookUp:
        try:
            pair = self._pairs.pair(order.symbol, timeout_ms=PUBLIC_MS)
            if order_id:
                return LookUp(self._by_id(order, pair, order_id, _soon(), urgent=urgent), is_complete=True)
            return self._search(order, pair, urgent=urgent, is_gone=bool(gone_id)).unless_other(gone_id)
        except CallFailed as failed:
            is_gone = bool(order_id) and (failed.failure.kind == Kind.GONE or NO_SUCH_ID in failed.failure.reason)
            return LookUp(reason=failed.failure.reason, is_gone=is_gone)

    def _by_id(
        self, order: OrderIntent, pair: Pair, order_id: str, deadline: datetime, *, urgent: bool = False
    ) -> OrderReport:
        """Return where the order with this id stands. Raises CallFailed when that is not known, or it is not ours."""
        answer = self._ask("post_queryorders", {"txid": order_id, "trades": "true"}, deadline, urgent=urgent)
        listed = entries({"order": answer}, "order")
        return self._report(order, pair, order_id, listed, deadline, urgent=urgent, is_known=True)

    def _search(self, order: OrderIntent, pair: Pair, *, urgent: bool, is_gone: bool = False) -> LookUp:
        """Search by our own id. Open orders come first: what ends meanwhile is then among the closed ones.

        Trades only lead to an order by its id at Kraken: where that ``is_gone``, they say nothing more.
        """
        mine = {"cl_ord_id": order.client_order_id, "trades": "true"}
        found: dict[str, Raw] = {}
        are_all = True
        for method, key in (("post_openorders", "open"), ("post_closedorders", "closed")):
            answer = self._ask(method, mine, _soon(), urgent=urgent)
            listed = entries(answer, key)
            are_all = are_all and is_whole(answer, len(listed))
            found |= ours(listed, order.client_order_id)
        if not found and not is_gone:
            found, trades_are_all = self._among_trades(order, pair, urgent=urgent)
            are_all = are_all and trades_are_all
        if len(found) > 1:
            return LookUp(
                reason=f"Kraken has {len(found)} orders with the id {order.client_order_id}: {', '.join(found)}"
            )
        for order_id in found:
            return LookUp(self._report(order, pair, order_id, found, _soon(), urgent=urgent), is_complete=True)
        return LookUp(None, are_all, "" if are_all else "Kraken has more orders or trades than were looked through")

    def _among_trades(self, order: OrderIntent, pair: Pair, *, urgent: bool) -> tuple[dict[str, Raw], bool]:
        """Return the order with our id that trades since its making lead to, and whether all trades were seen."""
        trades, are_all = self._history(order, urgent=urgent)
        named = [traded(one) for one in trades.values()]
        ids = sorted({order_id for symbol, order_id in named if symbol in pair.names})
        found: dict[str, Raw] = {}
        for some in _chunks(ids):
            answer = self._ask("post_queryorders", {"txid": ",".join(some), "trades": "true"}, _soon(), urgent=urgent)
            orders = entries({"orders": answer}, "orders")
            are_all = are_all and not missing(some, orders)
            found |= ours(orders, order.client_order_id)
        return found, are_all

    def _report(
        self,
        order: OrderIntent,
        pair: Pair,
        order_id: str,
        listed: Mapping[str, Raw],
        deadline: datetime,
        *,
        urgent: bool,
        is_known: bool = False,
    ) -> OrderReport:
        """Return the report of an order that was listed, with its trades. Raises CallFailed when it is not ours."""
        if order_id not in listed:
            raise unsound(f"order {order_id}")
        raw = listed[order_id]
        differs = disagreement(order, pair, raw, is_known=is_known)
        if differs:
            raise CallFailed(Failure(Kind.UNKNOWN, f"order {order_id} at Kraken is not ours as it stands: {differs}"))
        if not number(raw, "vol_exec"):
            return report(order_id, raw, {})
        return report(order_id, raw, self._trades_of(order, order_id, raw, deadline, urgent=urgent))

    def _trades_of(
        self, order: OrderIntent, order_id: str, raw: Raw, deadline: datetime, *, urgent: bool
    ) -> dict[str, Raw]:
        ids = raw.get("trades")
        if not isinstance(ids, list) or not ids:
            trades, _ = self._history(order, urgent=urgent)
            return {id_: one for id_, one in trades.items() if one.get("ordertxid") == order_id}
        found: dict[str, Raw] = {}
        for some in _chunks([str(one) for one in ids]):
            answer = self._ask("post_querytrades", {"txid": ",".join(some)}, deadline, urgent=urgent)
            found |= {id_: one for id_, one in entries({"trades": answer}, "trades").items() if id_ in some}
        return found

    def _history(self, order: OrderIntent, *, urgent: bool) -> tuple[dict[str, Raw], bool]:
        """Return the account's trades since the order was made, and whether they are all."""
        start = int(order.created_at.timestamp()) - 5
        trades: dict[str, Raw] = {}
        for _ in range(PAGES_MAX):
            asked = {"start": str(start), "ofs": str(len(trades))}
            answer = self._ask("post_tradeshistory", asked, _soon(), urgent=urgent)
            page = entries(answer, "trades")
            is_news = bool(missing(page, trades))
            trades |= page
            # Another page would cost two more of the key's requests; without a count only an empty one says that it was the last.
            if not is_news or ("count" in answer and is_whole(answer, len(trades))):
                return trades, is_whole(answer, len(trades))
        return trades, is_whole(answer, len(trades))


def _soon() -> datetime:
    return timezone.now() + ANSWER_WITHIN


def _seconds(span: timedelta) -> Decimal:
    return Decimal(span // timedelta(microseconds=1)).scaleb(-6)


def _chunks(ids: list[str]) -> Iterator[list[str]]:
    return (ids[start : start + ASK_AT_ONCE] for start in range(0, len(ids), ASK_AT_ONCE))
