"""What an account lists: every order, trade and movement, ours or anybody's, whole or not at all."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bots.brokers import kraken_lists
from bots.brokers.base import ListedOrder, TransferKind, VenueError
from bots.brokers.kraken import KrakenBroker
from bots.brokers.kraken_client import KrakenClient
from bots.brokers.kraken_pairs import PairBook, parse_pairs
from bots.brokers.outcomes import CallFailed
from bots.brokers.parts import PART_PAGES
from bots.order_states import OrderStatus
from safety.intents import Side
from tests.bots.brokers.kraken_builders import broker_at, live_order, send
from tests.bots.brokers.parts import as_long_as_it_takes, rows_of, stretch
from tests.loopback import faults
from tests.loopback.client import KrakenLoopback
from tests.loopback.faults import Fault, Reply
from tests.loopback.kraken.market import INSTRUMENTS
from tests.loopback.kraken.wire import pair_json

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
LISTS: dict[str, Callable[[KrakenBroker], Any]] = {
    "OpenOrders": lambda broker: broker.open_orders(),
    "ClosedOrders": lambda broker: rows_of(broker.ended_orders, timezone.now() - HOUR),
    "TradesHistory": lambda broker: rows_of(broker.fills, timezone.now() - HOUR),
    "Ledgers": lambda broker: rows_of(broker.transfers, timezone.now() - HOUR),
}
AT = datetime(2026, 1, 1, tzinfo=UTC)


def test_open_orders_are_ours_and_anybodys(kraken: KrakenLoopback) -> None:
    ours = live_order(quantity="0.01", limit="50000")
    our_id = send(ours).venue_order_id
    theirs = kraken.place("sell", "0.02", price="70000")
    kraken.fill(theirs, "0.005")
    found = {one.venue_order_id: one for one in broker_at(kraken).open_orders()}
    assert set(found) == {our_id, theirs}
    mine, other = found[our_id], found[theirs]
    assert (mine.client_order_id, mine.symbol, mine.side, mine.type) == (
        ours.client_order_id,
        "BTC/USD",
        Side.BUY,
        "limit",
    )
    assert (mine.quantity, mine.filled_quantity, mine.limit_price) == (Decimal("0.01"), 0, Decimal(50_000))
    assert (mine.status, mine.ended_at) == (OrderStatus.ACCEPTED, None)
    assert abs(mine.opened_at - timezone.now()) < HOUR
    assert (other.client_order_id, other.side, other.filled_quantity) == ("", Side.SELL, Decimal("0.005"))
    assert other.status == OrderStatus.PARTIALLY_FILLED


@pytest.mark.parametrize(
    ("fields", "limit_price"),
    [
        ({"ordertype": "stop-loss", "price": "50000"}, None),
        ({"ordertype": "take-profit", "price": "70000"}, None),
        ({"ordertype": "stop-loss-limit", "price": "50000", "price2": "49000"}, Decimal(49_000)),
        ({"ordertype": "take-profit-limit", "price": "70000", "price2": "69999.9"}, Decimal("69999.9")),
    ],
)
def test_orders_of_types_that_we_never_send_are_listed(
    kraken: KrakenLoopback, fields: dict[str, str], limit_price: Decimal | None
) -> None:
    id_ = kraken.place("sell", "0.02", **fields)
    (found,) = broker_at(kraken).open_orders()
    assert (found.venue_order_id, found.type, found.limit_price) == (id_, fields["ordertype"], limit_price)


def test_ended_orders_are_those_that_ended_since(kraken: KrakenLoopback) -> None:
    ours = live_order()
    ours_id = send(ours).venue_order_id
    early = kraken.place("buy", "0.01", price="50000")
    kraken.place("buy", "0.01", price="50000")
    kraken.fill(early, "0.004")
    since = timezone.now()
    kraken.cancel(early)
    found = {one.venue_order_id: one for one in rows_of(broker_at(kraken).ended_orders, since - HOUR)}
    assert set(found) == {ours_id, early}
    assert (found[ours_id].status, found[ours_id].filled_quantity) == (OrderStatus.FILLED, Decimal("0.001"))
    assert (found[early].status, found[early].filled_quantity) == (OrderStatus.CANCELED, Decimal("0.004"))
    assert found[early].reason == "User requested"
    # It was opened before and ended after: the end is what counts.
    assert [one.venue_order_id for one in rows_of(broker_at(kraken).ended_orders, since)] == [early]


def test_fills_are_every_execution_oldest_first(kraken: KrakenLoopback) -> None:
    since = timezone.now() - HOUR
    resting = kraken.place("sell", "0.02", price="70000")
    first = kraken.fill(resting, "0.005")
    bought = kraken.place("buy", "50", symbol="XDGUSD")
    found = rows_of(broker_at(kraken).fills, since)
    assert [one.venue_order_id for one in found] == [resting, bought]
    assert (found[0].symbol, found[0].base, found[0].quote, found[0].side) == ("BTC/USD", "BTC", "USD", Side.SELL)
    assert (found[1].symbol, found[1].base) == ("DOGE/USD", "DOGE")
    done = found[0].execution
    assert (done.trade_id, done.quantity, done.price) == (first, Decimal("0.005"), Decimal(70_000))
    assert (done.fee, done.is_maker) == (Decimal("0.875"), True)
    assert rows_of(broker_at(kraken).fills, found[0].execution.filled_at) == found[1:]


def test_transfers_are_all_that_moved_without_a_trade(kraken: KrakenLoopback) -> None:
    since = timezone.now() - HOUR
    kraken.place("buy", "0.01")
    kraken.deposit("ZUSD", "1000")
    kraken.withdraw("XXBT", "0.1", fee="0.0002")
    kraken.stake("XXBT", "0.05", "XBT.F")
    kraken.move("XBT.F", "0.001", "staking")
    kraken.move("XXBT", "0.0003", "earn", "reward")
    kraken.move("ZUSD", "-20", "transfer", "spottofutures")
    kraken.move("USDT", "5", "receive")
    kraken.move("ZUSD", "0", "rollover", fee="1.5")
    found = rows_of(broker_at(kraken).transfers, since)
    assert [(one.kind, one.asset, one.quantity) for one in found] == [
        (TransferKind.DEPOSIT, "USD", Decimal(1000)),
        (TransferKind.WITHDRAWAL, "BTC", Decimal("-0.1002")),
        (TransferKind.OTHER, "BTC", Decimal("-0.05")),
        (TransferKind.REWARD, "BTC", Decimal("0.0003")),
        (TransferKind.OTHER, "USD", Decimal(-20)),
        (TransferKind.OTHER, "USDT", Decimal(5)),
        (TransferKind.FEE, "USD", Decimal("-1.5")),
    ]
    assert len({one.reference for one in found}) == len(found)


def test_fills_and_transfers_together_are_what_the_balances_moved_by(kraken: KrakenLoopback) -> None:
    broker = broker_at(kraken)
    before, since = broker.account(), timezone.now() - HOUR
    kraken.place("buy", "0.0123")
    kraken.set_price("65000", "65001")
    kraken.place("sell", "0.1")
    kraken.withdraw("ZUSD", "12.34", fee="0.05")
    kraken.stake("XXBT", "0.05", "XBT.F")
    after = broker.account()
    usd, btc = before.cash_usd["USD"], before.holdings["BTC"]
    for one in rows_of(broker.fills, since):
        sign = 1 if one.side == Side.BUY else -1
        btc += sign * one.execution.quantity
        usd -= sign * one.execution.quantity * one.execution.price + one.execution.fee
    for move in rows_of(broker.transfers, since):
        usd += move.quantity if move.asset == "USD" else 0
        btc += move.quantity if move.asset == "BTC" else 0
    assert (usd, btc) == (after.cash_usd["USD"], after.holdings["BTC"])


def test_quiet_account_lists_nothing_and_that_is_whole(kraken: KrakenLoopback) -> None:
    assert [read(broker_at(kraken)) for read in LISTS.values()] == [(), (), (), ()]


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    "fault",
    [
        faults.page,
        faults.half,
        lambda path: Fault(path, Reply.EMPTY),
        lambda path: faults.http_status(path, 503),
        lambda path: faults.venue_error(path, "EGeneral:Permission denied"),
        lambda path: faults.reset(path),
    ],
)
def test_list_that_cannot_be_read_raises(kraken: KrakenLoopback, path: str, fault: Any) -> None:
    kraken.fault(fault(path))
    with pytest.raises(VenueError, match="could not be read"):
        LISTS[path](broker_at(kraken))


def test_long_lists_come_in_pages_and_are_whole(kraken: KrakenLoopback) -> None:
    since = timezone.now() - HOUR
    ids = {kraken.place("buy", "0.0001") for _ in range(60)}
    for _ in range(51):
        kraken.deposit("ZUSD", "1")
    broker = broker_at(kraken)
    assert {one.venue_order_id for one in rows_of(broker.ended_orders, since)} == ids
    assert {one.venue_order_id for one in rows_of(broker.fills, since)} == ids
    assert len(rows_of(broker.transfers, since)) == 51
    # How many there are, and two pages.
    assert len(kraken.log("ClosedOrders")) == 3
    starts = {entry.fields["start"] for entry in kraken.log("ClosedOrders")}
    assert starts == {str(int(since.timestamp()) - 1)}


def test_page_that_fails_fails_the_whole_list(kraken: KrakenLoopback) -> None:
    for _ in range(51):
        kraken.place("buy", "0.0001")
    kraken.fault(Fault("TradesHistory", Reply.HALF, skip=1))
    with pytest.raises(VenueError, match="trades could not be read"):
        rows_of(broker_at(kraken).fills, timezone.now() - HOUR)


class Rows:
    """Kraken's list of orders that ended, the newest first, 50 at a time; ``before`` changes it before a question."""

    def __init__(self, count: int, counted: int = 0, before: Callable[["Rows"], None] | None = None) -> None:
        self.ids = [f"O{number}" for number in reversed(range(count))]
        self.counted, self.before, self.asked = counted, before, 0

    def __call__(self, method: str, asked: Any) -> dict[str, Any]:
        self.asked += 1
        if self.before is not None:
            self.before(self)
        start = int(asked["ofs"])
        page = self.ids[start : start + 50]
        # All at one moment: only their order tells them apart.
        listed = {id_: order(closetm=1.9e9, status="canceled") for id_ in page}
        return {"closed": listed, "count": len(self.ids) + self.counted}


class Pages:
    """Room for so many pages, and no more."""

    def __init__(self, count: int) -> None:
        self.left = count

    def __call__(self, *, begins: bool) -> bool:
        self.left -= 1
        return self.left >= 0


def read_all(rows: Rows, book: PairBook, pages: int = 4) -> list[list[str]]:
    """Return the ids of every part of a list, each part with room for so many pages."""
    parts: list[list[str]] = []
    place = ""
    while True:
        part = kraken_lists.ended_orders(rows, book, stretch(AT, place=place), Pages(pages))
        parts.append([one.venue_order_id for one in part.rows])
        if part.is_last:
            return parts
        assert part.place != place, "no progress"
        place = part.place


def order(**changes: Any) -> dict[str, Any]:
    """Return an order as Kraken lists it."""
    descr = {"pair": "XBTUSD", "type": "buy", "ordertype": "limit", "price": "50000", "price2": "0"}
    descr |= changes.pop("descr", {})
    return {
        "status": "open",
        "opentm": 1.7e9,
        "vol": "0.1",
        "vol_exec": "0",
        "oflags": "fciq",
        "descr": descr,
        **changes,
    }


@pytest.fixture(scope="module")
def book() -> PairBook:
    return parse_pairs({one.id: pair_json(one, "online") for one in INSTRUMENTS}, KrakenClient("http://127.0.0.1:9"))


def numbers(*parts: list[str]) -> set[int]:
    return {int(id_[1:]) for part in parts for id_ in part if id_[0] == "O"}


def test_long_list_is_read_oldest_first_and_no_page_twice(book: PairBook) -> None:
    rows = Rows(1_234)
    parts = read_all(rows, book)
    assert numbers(*parts) == set(range(1_234))
    assert numbers(parts[0]) == set(range(150))
    for earlier, later in pairwise(parts):
        assert max(numbers(earlier)) < max(numbers(later))
    # Its pages, and one question before for how many there are.
    assert rows.asked == 25 + 1


@pytest.mark.parametrize("count", [0, 1, 49, 50])
def test_list_that_fits_into_a_page_is_one_question(book: PairBook, count: int) -> None:
    rows = Rows(count)
    assert [len(part) for part in read_all(rows, book, pages=1)] == [count]
    assert rows.asked == 1


@pytest.mark.parametrize("count", [51, 99, 100, 101])
def test_page_more_is_a_question_more(book: PairBook, count: int) -> None:
    rows = Rows(count)
    assert numbers(*read_all(rows, book)) == set(range(count))
    assert rows.asked == -(-count // 50) + 1


def test_list_goes_on_with_room_for_a_page_at_a_time(book: PairBook) -> None:
    rows = Rows(501)
    parts = read_all(rows, book, pages=1)
    assert numbers(*parts) == set(range(501))
    assert [len(part) for part in parts[:3]] == [0, 50, 50]


def test_list_without_room_for_a_page_stays_where_it_is(book: PairBook) -> None:
    for place in ("", "1000:200"):
        part = kraken_lists.ended_orders(Rows(1_000), book, stretch(AT, place=place), Pages(0))
        assert (part.rows, part.place, part.is_last) == ((), place, False)


@given(seed=st.integers(0, 10**9), count=st.integers(0, 400), pages=st.integers(1, 5))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_nothing_is_missed_whatever_is_listed_late(book: PairBook, seed: int, count: int, pages: int) -> None:
    """What was there at the first question is read, wherever rows come in meanwhile."""
    chance = Random(seed)

    def come_in(rows: Rows) -> None:
        if chance.random() < 0.4 and rows.asked < 40:
            for number in range(chance.randint(1, 60)):
                rows.ids.insert(chance.randint(0, len(rows.ids)), f"N{rows.asked}-{number}")

    rows = Rows(count, before=come_in)
    assert numbers(*read_all(rows, book, pages)) == set(range(count))


def test_list_from_which_rows_are_gone_is_begun_again(book: PairBook) -> None:
    def lose(rows: Rows) -> None:
        if rows.asked == 6:
            del rows.ids[-7:]

    rows = Rows(600, before=lose)
    assert numbers(*read_all(rows, book)) == set(range(600))
    assert rows.asked > 13


@pytest.mark.parametrize("count", [40, 60, 500])
def test_list_that_never_adds_up_raises(book: PairBook, count: int) -> None:
    rows = Rows(count, counted=3)
    with pytest.raises(CallFailed, match="a part of a list"):
        read_all(rows, book)
    assert rows.asked <= PART_PAGES


def test_page_that_repeats_what_was_read_raises(book: PairBook) -> None:
    def turn_round(rows: Rows) -> None:
        if rows.asked == 3:
            rows.ids = rows.ids[25:] + [f"N{number}" for number in range(25)]

    with pytest.raises(CallFailed, match="a part of a list"):
        read_all(Rows(400, before=turn_round), book)


@pytest.mark.parametrize("place", ["x", "5", ":", "-1:5", "5:x"])
def test_place_that_says_nothing_lets_the_list_begin_anew(book: PairBook, place: str) -> None:
    part = kraken_lists.ended_orders(Rows(120), book, stretch(AT, place=place), Pages(9))
    assert len(part.rows) == 120


def listed(book: PairBook, raw: dict[str, Any]) -> ListedOrder:
    (found,) = kraken_lists.open_orders(lambda method, asked: {"open": {"O1": raw}}, book)
    return found


def test_order_by_value_is_turned_into_units(book: PairBook) -> None:
    by_value = order(vol="100", vol_exec="25", price="50000", oflags="fciq,viqc", descr={"ordertype": "market"})
    found = listed(book, by_value)
    assert (found.quantity, found.filled_quantity) == (Decimal("0.002"), Decimal("0.0005"))
    waiting = order(vol="100", oflags="viqc", descr={"ordertype": "take-profit", "price": "40000"})
    assert listed(book, waiting).quantity == Decimal("0.0025")
    with pytest.raises(CallFailed, match="by value"):
        listed(book, order(vol="100", oflags="viqc", price="0", descr={"ordertype": "market", "price": "0"}))


def test_order_whose_prices_follow_the_market_has_no_limit(book: PairBook) -> None:
    trailing = {"ordertype": "trailing-stop-limit", "price": "+1.0%", "price2": "-5.0"}
    assert listed(book, order(descr=trailing)).limit_price is None


def test_symbol_that_is_no_longer_listed_is_cut_at_a_quote(book: PairBook) -> None:
    assert listed(book, order(descr={"pair": "AAPLxUSD"})).symbol == "AAPLx/USD"
    assert listed(book, order(descr={"pair": "XMLNZEUR"})).symbol == "XMLN/EUR"
    assert listed(book, order(descr={"pair": "ODDPAIR"})).symbol == "ODDPAIR"


@pytest.mark.parametrize(
    "changes",
    [
        {"vol": None},
        {"vol": "NaN"},
        {"vol": "1e999999"},
        {"vol": "-1"},
        {"vol": True},
        {"vol_exec": []},
        {"opentm": "soon"},
        {"opentm": "9" * 39},
        {"status": "closed"},
        {"status": "new_state"},
        {"descr": {"type": "hold"}},
        {"descr": {"pair": 7}},
        {"descr": {"ordertype": None}},
        {"descr": {"price": "0"}},
        {"descr": {"price": "+1%"}},
        {"cl_ord_id": 5},
    ],
)
def test_open_order_that_cannot_be_read_fails_the_list(book: PairBook, changes: dict[str, Any]) -> None:
    with pytest.raises(CallFailed, match="no sound answer"):
        listed(book, order(**changes))


@pytest.mark.parametrize("count", [None, "many", 2, {}])
def test_open_orders_that_are_counted_otherwise_fail(book: PairBook, count: Any) -> None:
    answer = {"open": {"O1": order()}, "count": count}
    if count is None:
        assert len(kraken_lists.open_orders(lambda method, asked: answer, book)) == 1
        return
    with pytest.raises(CallFailed):
        kraken_lists.open_orders(lambda method, asked: answer, book)


@pytest.mark.parametrize("answer", [{"closed": {}}, {"closed": [], "count": 0}, {"closed": {"O": order()}, "count": 1}])
def test_closed_orders_without_a_count_or_an_end_fail(book: PairBook, answer: dict[str, Any]) -> None:
    with pytest.raises(CallFailed):
        kraken_lists.ended_orders(lambda method, asked: answer, book, stretch(AT), as_long_as_it_takes)


def trade(**changes: Any) -> dict[str, Any]:
    raw = {"ordertxid": "O1", "pair": "XXBTZUSD", "time": 1.8e9, "type": "buy", "price": "5", "fee": "0.1", "vol": "2"}
    return raw | changes


def test_trades_on_margin_move_no_holdings(book: PairBook) -> None:
    rows = {"T1": trade(margin="12.5"), "T2": trade(margin="0.00000")}
    found = kraken_lists.fills(
        lambda method, asked: {"trades": rows, "count": 2}, book, stretch(AT), as_long_as_it_takes
    )
    assert [one.execution.trade_id for one in found.rows] == ["T2"]


@pytest.mark.parametrize(
    "changes", [{"pair": "ODDPAIR"}, {"ordertxid": ""}, {"vol": "0"}, {"type": "b"}, {"margin": "?"}]
)
def test_trade_that_cannot_be_read_fails_the_list(book: PairBook, changes: dict[str, Any]) -> None:
    with pytest.raises(CallFailed):
        kraken_lists.fills(
            lambda method, asked: {"trades": {"T1": trade(**changes)}, "count": 1},
            book,
            stretch(AT),
            as_long_as_it_takes,
        )


@pytest.mark.parametrize("changes", [{"type": None}, {"asset": ""}, {"amount": "?"}, {"time": None}, {"fee": "NaN"}])
def test_movement_that_cannot_be_read_fails_the_list(book: PairBook, changes: dict[str, Any]) -> None:
    row = {"type": "deposit", "asset": "ZUSD", "amount": "5", "fee": "0", "time": 1.8e9} | changes
    with pytest.raises(CallFailed):
        kraken_lists.transfers(
            lambda method, asked: {"ledger": {"L1": row}, "count": 1}, book, stretch(AT), as_long_as_it_takes
        )


# The check of an order that is not placed.


def test_validate_places_nothing_and_sends_the_text_true(kraken: KrakenLoopback) -> None:
    assert broker_at(kraken).validate(live_order(limit="30000")) == ""
    (entry,) = kraken.log("AddOrder")
    assert entry.fields["validate"] == "true"
    assert (kraken.orders(), kraken.trades()) == ({}, {})


def test_validate_says_why_kraken_would_not_take_the_order(kraken: KrakenLoopback) -> None:
    broker = broker_at(kraken)
    assert "does not hold enough" in (broker.validate(live_order(quantity="5")) or "")
    assert "Kraken's steps" in (broker.validate(live_order(limit="30000.05")) or "")
    assert "minimum quantity" in (broker.validate(live_order(quantity="0.00001")) or "")
    kraken.set_status("cancel_only")
    assert "cancel" in (broker.validate(live_order()) or "")
    kraken.set_rights("query-funds")
    assert "no right" in (broker.validate(live_order()) or "")
    assert kraken.orders() == {}


@pytest.mark.parametrize("fault", [faults.page, faults.half, lambda path: faults.http_status(path, 502)])
def test_validate_without_a_sound_answer_raises(kraken: KrakenLoopback, fault: Any) -> None:
    kraken.fault(fault("AddOrder"))
    with pytest.raises(VenueError):
        broker_at(kraken).validate(live_order())
    assert kraken.orders() == {}
