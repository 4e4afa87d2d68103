"""What Alpaca says of an account, its key and its clock; what it lists; and that no list is taken for whole that is not."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from bots.brokers import alpaca_lists
from bots.brokers.alpaca import AlpacaBroker
from bots.brokers.base import TransferKind, VenueError
from bots.order_states import OrderStatus
from safety.intents import MarketStatus, Side
from tests.bots.brokers.alpaca_builders import (
    ACCOUNT,
    CLOCK,
    FILLS,
    LIST,
    POSITIONS,
    broker_at,
    send,
    stock_order,
)
from tests.bots.brokers.parts import rows_of, stretch
from tests.loopback import faults
from tests.loopback.client import AAPL, AlpacaLoopback
from tests.loopback.faults import Fault, Reply

pytestmark = pytest.mark.django_db
ACTIVITIES = "GET /v2/account/activities"


# The account.


def test_account_tells_cash_and_not_buying_power(alpaca: AlpacaLoopback) -> None:
    send(alpaca.paper, stock_order(quantity="1.5"))
    report = broker_at(alpaca.paper).account()
    assert report.cash_usd == {"USD": Decimal(alpaca.paper.cash())}
    assert report.holdings == {AAPL: Decimal("1.5")}
    assert (report.on_hold, report.flags) == ({}, ())


def test_shares_on_offer_are_on_hold(alpaca: AlpacaLoopback) -> None:
    send(alpaca.paper, stock_order(quantity="3"))
    send(alpaca.paper, stock_order(Side.SELL, "2", limit="300"))
    assert broker_at(alpaca.paper).account().on_hold == {AAPL: Decimal(2)}


def test_short_position_counts_below_zero(alpaca: AlpacaLoopback) -> None:
    alpaca.paper.set_position("MSFT", "-2")
    assert broker_at(alpaca.paper).account().holdings == {"MSFT": Decimal(-2)}


def test_empty_account_is_flat_when_everything_says_so(alpaca: AlpacaLoopback) -> None:
    report = broker_at(alpaca.live).account()
    assert (report.cash_usd, report.holdings, report.flags) == ({"USD": Decimal(100_000)}, {}, ())


def test_list_of_positions_that_the_account_contradicts_is_not_flat(alpaca: AlpacaLoopback) -> None:
    """The account holds something by its own figures, and the list is empty."""
    alpaca.paper.set_account(long_market_value="230")
    with pytest.raises(VenueError, match="every position"):
        broker_at(alpaca.paper).account()


@pytest.mark.parametrize("path", [ACCOUNT, POSITIONS])
def test_account_that_cannot_be_asked_is_not_an_empty_one(alpaca: AlpacaLoopback, path: str) -> None:
    alpaca.paper.fault(faults.http_status(path, 500))
    with pytest.raises(VenueError, match="could not be read"):
        broker_at(alpaca.paper).account()


@pytest.mark.parametrize(
    ("changes", "flags"),
    [
        ({"status": "ACCOUNT_CLOSED"}, ("status ACCOUNT_CLOSED",)),
        ({"trading_blocked": True}, ("trading_blocked",)),
        ({"account_blocked": True, "trade_suspended_by_user": True}, ("account_blocked", "trade_suspended_by_user")),
        ({"trading_blocked": None}, ("trading_blocked is not known",)),
        ({"account_blocked": "false"}, ("account_blocked is not known",)),
        ({"pattern_day_trader": True}, ()),
        ({"account_number": "847360001"}, ("a real account behind the paper keys",)),
        ({"account_number": None}, ("whether it is a paper account is not known",)),
    ],
)
def test_flags_are_told_and_absent_is_not_false(
    alpaca: AlpacaLoopback, changes: dict[str, object], flags: tuple[str, ...]
) -> None:
    alpaca.paper.set_account(**changes)
    assert broker_at(alpaca.paper).account().flags == flags


def test_paper_account_behind_the_live_keys_is_told(alpaca: AlpacaLoopback) -> None:
    alpaca.live.set_account(account_number="PA3LOOPBACK9")
    assert broker_at(alpaca.live).account().flags == ("a paper account behind the live keys",)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": None},
        {"cash": None},
        {"cash": "NaN"},
        {"cash": "1e999"},
        {"cash": True},
        {"currency": "EUR"},
        {"cash": ""},
    ],
)
def test_account_without_its_figures_is_none(alpaca: AlpacaLoopback, changes: dict[str, object]) -> None:
    alpaca.paper.set_account(**changes)
    with pytest.raises(VenueError, match="could not be read"):
        broker_at(alpaca.paper).account()


def test_cash_below_zero_is_a_debt_and_read_as_one(alpaca: AlpacaLoopback) -> None:
    alpaca.paper.set_account(cash="-12.5")
    assert broker_at(alpaca.paper).account().cash_usd == {"USD": Decimal("-12.5")}


# The key, and the clock.


def test_key_that_opens_the_account_may_trade(alpaca: AlpacaLoopback) -> None:
    rights = broker_at(alpaca.live).key_rights()
    assert (rights.is_known, rights.can_trade, rights.can_withdraw, rights.is_refused) == (True, True, False, False)
    assert rights.ip_allowlist is None


def test_key_of_the_other_account_is_refused(alpaca: AlpacaLoopback) -> None:
    rights = AlpacaBroker(alpaca.live.url, alpaca.paper.key, alpaca.paper.secret, is_live=True).key_rights()
    assert (rights.is_known, rights.is_refused) == (False, True)
    assert "API key" in rights.reason


def test_clock_and_hours(alpaca: AlpacaLoopback) -> None:
    status = broker_at(alpaca.paper).status()
    assert (status.market, status.name) == (MarketStatus.OPEN, "open")
    assert abs(status.clock_skew_s) <= status.uncertain_s + 1
    alpaca.set_open(False)
    alpaca.set_clock_skew(30)
    later = broker_at(alpaca.paper).status()
    assert (later.market, later.name) == (MarketStatus.CLOSED, "closed")
    assert abs(later.clock_skew_s - 30) <= later.uncertain_s + 1


@pytest.mark.parametrize("reply", [Reply.EMPTY, Reply.HTML, Reply.HALF])
def test_clock_without_a_sound_answer_raises(alpaca: AlpacaLoopback, reply: Reply) -> None:
    alpaca.paper.fault(Fault(CLOCK, reply))
    with pytest.raises(VenueError, match="could not be read"):
        broker_at(alpaca.paper).status()


def test_nothing_is_validated_without_placing_it(alpaca: AlpacaLoopback) -> None:
    assert broker_at(alpaca.paper).validate(stock_order()) is None
    assert alpaca.paper.log() == []


# Lists.


def test_open_orders_are_ours_and_anybody_s(alpaca: AlpacaLoopback) -> None:
    ours = stock_order(limit="200", quantity="0.5")
    order_id = send(alpaca.paper, ours).venue_order_id
    alpaca.paper.fill(order_id, "0.2")
    by_hand = alpaca.paper.place("buy", "2", symbol="MSFT", price="400")
    send(alpaca.paper, stock_order())
    first, second = broker_at(alpaca.paper).open_orders()
    assert (first.venue_order_id, first.client_order_id, first.symbol) == (order_id, ours.client_order_id, AAPL)
    assert (first.quantity, first.filled_quantity, first.limit_price) == (Decimal("0.5"), Decimal("0.2"), Decimal(200))
    assert (first.status, first.ended_at, first.side, first.type) == ("partially_filled", None, Side.BUY, "limit")
    assert (second.venue_order_id, second.symbol, second.status) == (by_hand, "MSFT", OrderStatus.ACCEPTED)
    assert second.client_order_id not in {"", ours.client_order_id}


def test_ended_orders_are_listed_by_when_they_ended(alpaca: AlpacaLoopback) -> None:
    early = alpaca.paper.place("buy", "1", price="200")
    gone = alpaca.paper.place("buy", "1", price="201")
    alpaca.paper.cancel(gone)
    since = timezone.now()
    alpaca.paper.wait_until(timezone.now, lambda now: now > since + timedelta(milliseconds=5))
    alpaca.paper.end(early, "expired")
    late = alpaca.paper.place("buy", "1")
    found = rows_of(broker_at(alpaca.paper).ended_orders, since)
    assert [(one.venue_order_id, one.status) for one in found] == [(early, "expired"), (late, "filled")]
    assert all(one.ended_at is not None and one.ended_at > since for one in found)
    assert {one.venue_order_id for one in rows_of(broker_at(alpaca.paper).ended_orders, since - timedelta(hours=1))} == {
        early, gone, late,
    }  # fmt: skip


def test_fills_are_those_of_the_account(alpaca: AlpacaLoopback) -> None:
    alpaca.paper.place("buy", "1")
    since = max(datetime.fromisoformat(one["transaction_time"]) for one in alpaca.paper.trades().values())
    alpaca.paper.wait_until(timezone.now, lambda now: now > since + timedelta(milliseconds=5))
    order = stock_order(quantity="0.7")
    order_id = send(alpaca.paper, order).venue_order_id
    alpaca.paper.place("sell", "0.2")
    ours, theirs = rows_of(broker_at(alpaca.paper).fills, since)
    assert (ours.venue_order_id, ours.symbol, ours.base, ours.quote, ours.side) == (
        order_id,
        AAPL,
        AAPL,
        "USD",
        Side.BUY,
    )
    assert (ours.execution.quantity, ours.execution.fee) == (Decimal("0.7"), Decimal(0))
    assert (theirs.side, theirs.execution.quantity) == (Side.SELL, Decimal("0.2"))
    assert {ours.execution.trade_id, theirs.execution.trade_id} < set(alpaca.paper.trades())


def test_fills_and_orders_on_many_pages_are_all_there(alpaca: AlpacaLoopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alpaca_lists, "ORDERS_PAGE", 3)
    monkeypatch.setattr(alpaca_lists, "ACTIVITIES_PAGE", 3)
    since = timezone.now() - timedelta(hours=1)
    for _ in range(7):
        alpaca.paper.place("buy", "0.1")
        alpaca.paper.place("buy", "0.1", price="200")
    broker = broker_at(alpaca.paper)
    assert (
        len(rows_of(broker.fills, since)) == len(broker.open_orders()) == len(rows_of(broker.ended_orders, since)) == 7
    )
    assert len(alpaca.paper.log(FILLS)) == 3
    # One more than without the seam: it is asked again across it.
    assert len([one for one in alpaca.paper.log(LIST) if one.fields["status"] == "open"]) in (3, 4)


def test_list_that_is_longer_than_is_looked_through_is_not_called_whole(
    alpaca: AlpacaLoopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alpaca_lists, "ORDERS_PAGE", 2)
    monkeypatch.setattr(alpaca_lists, "PAGES_MAX", 2)
    for _ in range(9):
        alpaca.paper.place("buy", "0.1", price="200")
    with pytest.raises(VenueError, match=r"more .* than were looked through"):
        broker_at(alpaca.paper).open_orders()


def test_history_is_read_in_parts_that_go_on_where_the_last_one_ended(
    alpaca: AlpacaLoopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, size in (("ORDERS_PAGE", 3), ("ACTIVITIES_PAGE", 2), ("PART_PAGES", 1)):
        monkeypatch.setattr(alpaca_lists, name, size)
    since = timezone.now() - timedelta(hours=1)
    for _ in range(9):
        alpaca.paper.place("buy", "0.1")
        alpaca.paper.activity("CSD", "1")
    broker = broker_at(alpaca.paper)
    first = broker.fills(stretch(since))
    assert (len(first.rows), first.is_last) == (2, False)
    later = broker.fills(stretch(since, place=first.place))
    assert first.rows[-1].execution.filled_at <= later.rows[0].execution.filled_at
    assert {one.execution.trade_id for one in first.rows}.isdisjoint(one.execution.trade_id for one in later.rows)
    assert len(rows_of(broker.ended_orders, since)) == 9
    assert len(rows_of(broker.fills, since)) == len(rows_of(broker.transfers, since)) == 9
    # Without time nothing is asked, and nothing is called whole.
    before = alpaca.paper.last_id()
    for read in (broker.ended_orders, broker.fills, broker.transfers):
        part = read(stretch(since, place=first.place, has_time=lambda: False))
        assert (part.rows, part.place, part.is_last) == ((), first.place, False)
    assert alpaca.paper.last_id() == before


@pytest.mark.parametrize("reply", [Reply.EMPTY, Reply.HTML, Reply.HALF])
def test_unsound_list_is_never_an_empty_one(alpaca: AlpacaLoopback, reply: Reply) -> None:
    since = timezone.now()
    broker = broker_at(alpaca.paper)
    alpaca.paper.fault(*(Fault(path, reply, count=2) for path in (LIST, FILLS, ACTIVITIES)))
    for ask in (
        broker.open_orders,
        lambda: rows_of(broker.ended_orders, since),
        lambda: rows_of(broker.fills, since),
        lambda: rows_of(broker.transfers, since),
    ):
        with pytest.raises(VenueError, match="could not be read"):
            ask()


def test_transfers_are_what_moved_without_a_trade(alpaca: AlpacaLoopback) -> None:
    send(alpaca.paper, stock_order())
    ids = [
        alpaca.paper.activity("CSD", "500"),
        alpaca.paper.activity("CSW", "-20.5"),
        alpaca.paper.activity("DIV", "1.02", symbol="AAPL"),
        alpaca.paper.activity("FEE", "-0.01"),
        alpaca.paper.activity("JNLC", "-3"),
        alpaca.paper.activity("SOMETHING_NEW", "7"),
    ]
    found = {one.reference: one for one in rows_of(broker_at(alpaca.paper).transfers, timezone.now())}
    assert [(found[id_].kind, found[id_].asset, found[id_].quantity) for id_ in ids] == [
        (TransferKind.DEPOSIT, "USD", Decimal(500)),
        (TransferKind.WITHDRAWAL, "USD", Decimal("-20.5")),
        (TransferKind.REWARD, "USD", Decimal("1.02")),
        (TransferKind.FEE, "USD", Decimal("-0.01")),
        (TransferKind.WITHDRAWAL, "USD", Decimal(-3)),
        (TransferKind.OTHER, "USD", Decimal(7)),
    ]
    assert len(found) == 6


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"activity_type": "FILL"}, []),
        ({"activity_type": "DIV", "net_amount": "1.02", "symbol": "T", "qty": "2"}, [("reward", "USD", "1.02", "a")]),
        ({"activity_type": "SPLIT", "net_amount": "0", "symbol": "T", "qty": "9"}, [("share_change", "T", "9", "a:T")]),
        ({"activity_type": "ACATS", "symbol": "T", "qty": "-2"}, [("withdrawal", "T", "-2", "a:T")]),
        ({"activity_type": "JNLS", "symbol": "T", "qty": "2"}, [("deposit", "T", "2", "a:T")]),
        (
            {"activity_type": "REORG", "net_amount": "5", "symbol": "T", "qty": "-1"},
            [("share_change", "USD", "5", "a"), ("share_change", "T", "-1", "a:T")],
        ),
        ({"activity_type": "INT", "net_amount": 3}, [("reward", "USD", "3", "a")]),
        ({"activity_type": "MEM"}, []),
    ],
)
def test_activity_moves_money_shares_both_or_nothing(raw: dict[str, object], expected: list[tuple[str, ...]]) -> None:
    found = alpaca_lists.transfers({"id": "a", "date": "2026-07-01", **raw})
    assert [(one.kind.value, one.asset, f"{one.quantity:f}", one.reference) for one in found] == expected


@pytest.mark.parametrize(
    ("date", "begins"),
    [("2026-07-01", datetime(2026, 7, 1, 4, tzinfo=UTC)), ("2026-12-01", datetime(2026, 12, 1, 5, tzinfo=UTC))],
)
def test_day_begins_at_midnight_in_new_york(date: str, begins: datetime) -> None:
    assert alpaca_lists.day({"date": date}) == begins


@pytest.mark.parametrize(
    ("since", "from_"),
    [
        (datetime(2026, 7, 2, 3, tzinfo=UTC), datetime(2026, 6, 30, 4, tzinfo=UTC)),
        (datetime(2026, 7, 2, 5, tzinfo=UTC), datetime(2026, 7, 1, 4, tzinfo=UTC)),
        # The day after the clocks went forward has begun an hour earlier.
        (datetime(2026, 3, 8, 12, tzinfo=UTC), datetime(2026, 3, 7, 5, tzinfo=UTC)),
        (datetime(2026, 3, 9, 12, tzinfo=UTC), datetime(2026, 3, 8, 5, tzinfo=UTC)),
    ],
)
def test_movements_are_asked_for_from_the_day_before(since: datetime, from_: datetime) -> None:
    assert alpaca_lists.before_its_day(since) == from_
