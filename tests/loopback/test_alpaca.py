"""The loopback Alpaca itself: alpaca-py as it comes can use it, its books are right, and its noes are Alpaca's."""

import json
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
import requests
from alpaca.common.exceptions import APIError
from alpaca.common.rest import RESTClient

from tests.loopback import faults
from tests.loopback.alpaca import start_alpaca
from tests.loopback.client import AlpacaAccount, AlpacaLoopback

ORDERS = "POST /v2/orders"


@pytest.fixture(scope="module")
def hosts() -> Iterator[AlpacaLoopback]:
    """One venue for the tests that only ask, or that look at what they placed themselves."""
    with start_alpaca() as servers:
        yield AlpacaLoopback(servers.live.url, servers.paper.url, servers.data.url)


@pytest.fixture
def venue() -> Iterator[AlpacaLoopback]:
    """A venue of this test's own."""
    with start_alpaca() as servers:
        yield AlpacaLoopback(servers.live.url, servers.paper.url, servers.data.url)


def rest(account: AlpacaAccount, url: str | None = None) -> Any:
    """Return alpaca-py's REST layer as it comes, but that it asks once."""
    client = RESTClient(url or account.url, account.key, account.secret, raw_data=True)
    client._retry = 0
    return client


def sdk(account: AlpacaAccount) -> tuple[Any, Any]:
    """Return the whole SDK's client of the account, and its module of requests. It warns of a library that it uses itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from alpaca.trading import client, requests
    url = account.url
    return client.TradingClient(account.key, account.secret, paper=not account.is_live, url_override=url), requests


def market(trading: Any, qty: int) -> Any:
    return trading.MarketOrderRequest(symbol="AAPL", qty=qty, side="buy", time_in_force="day")


def order(side: str = "buy", qty: str = "1", price: str | None = None, **changes: Any) -> dict[str, Any]:
    kind = {"type": "market"} if price is None else {"type": "limit", "limit_price": price}
    return {"symbol": "AAPL", "side": side, "qty": qty, "time_in_force": "day", **kind, **changes}


def refusal(account: AlpacaAccount, body: dict[str, Any]) -> tuple[int, int, str]:
    """Return the status, code and words with which the venue says no to an order."""
    with pytest.raises(APIError) as raised:
        rest(account).post("/orders", body)
    told = json.loads(str(raised.value))
    return raised.value.status_code, told["code"], told["message"]


def test_submission_answers_pending_new_and_the_first_question_filled(venue: AlpacaLoopback) -> None:
    client = rest(venue.paper)
    told = client.post("/orders", order(client_order_id="a-1"))
    assert (told["status"], told["filled_qty"], told["filled_avg_price"], told["order_class"]) == (
        "pending_new",
        "0",
        None,
        "",
    )
    shown = client.get(f"/orders/{told['id']}")
    assert (shown["status"], shown["filled_qty"], shown["filled_avg_price"]) == ("filled", "1", "230.01")
    assert client.get("/orders:by_client_order_id", {"client_order_id": "a-1"}) == shown
    (fill,) = client.get("/account/activities/FILL")
    assert (fill["order_id"], fill["qty"], fill["price"], fill["type"]) == (told["id"], "1", "230.01", "fill")
    assert (venue.paper.cash(), venue.paper.positions()) == ("99769.99", {"AAPL": "1"})
    assert (venue.live.cash(), venue.live.positions()) == ("100000", {})


def test_the_whole_sdk_reads_every_answer(venue: AlpacaLoopback) -> None:
    """Its models are strict: a field that is missing or of a wrong kind raises."""
    client, trading = sdk(venue.live)
    client.submit_order(market(trading, 2))
    venue.live.place("buy", "1", price="100")
    assert client.get_account().cash == "99539.98"
    assert [one.status.value for one in client.get_orders()] == ["new"]
    everything = client.get_orders(trading.GetOrdersRequest(status="all", limit=500))
    assert [one.status.value for one in everything] == ["new", "filled"]
    assert [one.qty for one in client.get_all_positions()] == ["2"]
    assert client.get_open_position("AAPL").avg_entry_price == "230.01"
    assert client.get_clock().is_open
    assert len(client.get_calendar(trading.GetCalendarRequest(start=day("2026-03-02"), end=day("2026-03-04")))) == 3
    assert client.get_asset("AAPL").fractionable
    assert "GONE" in {one.symbol for one in client.get_all_assets()}
    assert [one.status for one in client.cancel_orders()] == [200]


def day(text: str) -> Any:
    return datetime.fromisoformat(text).date()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (order(symbol="ZZZZ"), (422, 42210000, 'asset "ZZZZ" not found')),
        (order(symbol="GONE"), (422, 42210000, 'asset "GONE" is not tradable')),
        (order(symbol="OCGN", qty="1.5"), (403, 40310000, 'asset "OCGN" is not fractionable')),
        (order(qty="1.5", time_in_force="gtc"), (422, 42210000, "fractional orders must be DAY orders")),
        (order(qty="0.0000000001"), (422, 42210000, "qty must be limited to 9 decimal places")),
        (order(qty="0.001"), (403, 40310000, "cost basis must be >= minimal amount of order 1")),
        (order(qty="0"), (422, 40010001, "qty must be > 0")),
        (order(qty="10000"), (403, 40310000, "insufficient buying power")),
        (order("sell", "0.5"), (422, 42210000, "fractional orders cannot be sold short")),
        (order(side="hold"), (422, 40010001, "side must be buy or sell")),
        (order(type="limit"), (422, 40010001, "limit orders require a limit price")),
        (order(notional="5"), (422, 40010001, "one of qty or notional is required")),
        (order(client_order_id="x" * 129), (422, 40010001, "client_order_id must be no more than 128 characters")),
    ],
)
def test_order_against_the_rules_is_refused_in_alpacas_words(
    hosts: AlpacaLoopback, body: dict[str, Any], says: tuple[int, int, str]
) -> None:
    before = len(hosts.paper.orders())
    assert refusal(hosts.paper, body) == says
    assert len(hosts.paper.orders()) == before


def test_price_below_a_cent_is_refused_and_below_a_dollar_taken(hosts: AlpacaLoopback) -> None:
    status, code, words = refusal(hosts.paper, order(price="100.005"))
    assert (status, code) == (422, 42210000)
    assert words.startswith("invalid limit_price 100.005.")
    assert rest(hosts.paper).post("/orders", order(symbol="SNDL", price="0.1001"))["limit_price"] == "0.1001"


def test_client_order_id_is_unique_for_ever(venue: AlpacaLoopback) -> None:
    says = (422, 40010001, "client_order_id must be unique")
    client = rest(venue.paper)
    client.post("/orders", order(client_order_id="filled"))
    assert refusal(venue.paper, order(client_order_id="filled")) == says
    resting = client.post("/orders", order(price="100", client_order_id="gone"))
    client.delete(f"/orders/{resting['id']}")
    assert refusal(venue.paper, order(client_order_id="gone")) == says
    assert len(venue.paper.orders()) == 2


def test_more_than_is_held_and_not_on_hold_cannot_be_sold(venue: AlpacaLoopback) -> None:
    venue.paper.set_position("AAPL", "1.5")
    rest(venue.paper).post("/orders", order("sell", "1", price="300"))
    says = "insufficient qty available for order (requested: 0.6, available: 0.5)"
    assert refusal(venue.paper, order("sell", "0.6")) == (403, 40310000, says)
    rest(venue.paper).post("/orders", order("sell", "0.5"))
    assert venue.paper.positions() == {"AAPL": "1"}


@pytest.mark.parametrize(("price", "kind"), [(None, "market/stop"), ("101", "limit")])
def test_order_that_could_meet_an_own_one_is_a_wash_trade(venue: AlpacaLoopback, price: str | None, kind: str) -> None:
    venue.paper.set_position("AAPL", "5")
    standing = venue.paper.place("sell", "1", price="235")
    with pytest.raises(APIError) as raised:
        rest(venue.paper).post("/orders", order(price=price and "236"))
    told = json.loads(str(raised.value))
    assert (told["existing_order_id"], told["reject_reason"]) == (standing, f"opposite side {kind} order exists")
    rest(venue.paper).post("/orders", order(price="200"))


def test_cancel_answers_204_and_then_says_what_the_order_was(venue: AlpacaLoopback) -> None:
    client = rest(venue.paper)
    resting = client.post("/orders", order(price="100"))["id"]
    assert client.delete(f"/orders/{resting}") is None
    assert client.get(f"/orders/{resting}")["canceled_at"] is not None
    for id_, status, words in ((resting, 422, "order is already in"), ("nobody", 404, "order not found")):
        with pytest.raises(APIError, match=words) as raised:
            client.delete(f"/orders/{id_}")
        assert raised.value.status_code == status


def test_cancel_that_takes_a_while_lets_the_order_fill_meanwhile(venue: AlpacaLoopback) -> None:
    client = rest(venue.paper)
    venue.paper.set_cancel_s(3600)
    resting = client.post("/orders", order(qty="2", price="100"))["id"]
    client.delete(f"/orders/{resting}")
    assert client.get(f"/orders/{resting}")["status"] == "pending_cancel"
    venue.set_price("99.99", "100.00")
    assert client.get(f"/orders/{resting}")["status"] == "filled"


def test_partial_fills_add_up_and_a_late_one_counts_after_the_cancel(venue: AlpacaLoopback) -> None:
    client = rest(venue.paper)
    venue.set_depth("0.4")
    id_ = client.post("/orders", order(price="240"))["id"]
    assert client.get(f"/orders/{id_}")["status"] == "partially_filled"
    client.delete(f"/orders/{id_}")
    venue.paper.fill(id_, "0.1", "239")
    shown = client.get(f"/orders/{id_}")
    assert (shown["status"], shown["filled_qty"]) == ("canceled", "0.5")
    fills = client.get("/account/activities", {"activity_types": "FILL", "direction": "asc"})
    assert [(one["qty"], one["cum_qty"], one["leaves_qty"], one["type"]) for one in fills] == [
        ("0.4", "0.4", "0.6", "partial_fill"),
        ("0.1", "0.5", "0.5", "partial_fill"),
    ]
    assert Decimal(venue.paper.cash()) == Decimal(100_000) - Decimal("0.4") * Decimal("230.01") - Decimal("23.9")


def test_closed_market_keeps_an_order_accepted_and_expires_the_days_own(venue: AlpacaLoopback) -> None:
    client = rest(venue.live)
    resting = client.post("/orders", order(price="100"))["id"]
    venue.set_open(False)
    assert client.get(f"/orders/{resting}")["status"] == "expired"
    assert not client.get("/clock")["is_open"]
    waiting = client.post("/orders", order())
    assert waiting["status"] == client.get(f"/orders/{waiting['id']}")["status"] == "accepted"
    venue.set_open(True)
    assert client.get(f"/orders/{waiting['id']}")["status"] == "filled"


def test_key_of_another_kind_and_a_revoked_one_are_refused(venue: AlpacaLoopback) -> None:
    for url, account, status in (
        (venue.live.url, venue.paper, 401),
        (venue.paper.url, venue.live, 401),
        (venue.paper.url, venue.paper, 200),
    ):
        headers = {"APCA-API-KEY-ID": account.key, "APCA-API-SECRET-KEY": account.secret}
        assert requests.get(f"{url}/v2/account", headers=headers, timeout=5).status_code == status
    venue.paper.revoke_keys()
    with pytest.raises(APIError, match="forbidden"):
        rest(venue.paper).get("/account")
    assert venue.paper.secret not in str(venue.paper.log())


def test_limit_on_requests_answers_429_with_when_to_come_again(venue: AlpacaLoopback) -> None:
    venue.paper.set_rate_limit(3)
    headers = {"APCA-API-KEY-ID": venue.paper.key, "APCA-API-SECRET-KEY": venue.paper.secret}
    answers = [requests.get(f"{venue.paper.url}/v2/clock", headers=headers, timeout=5) for _ in range(4)]
    assert [one.status_code for one in answers] == [200, 200, 200, 429]
    assert [one.headers["X-RateLimit-Remaining"] for one in answers] == ["2", "1", "0", "0"]
    assert time.time() < int(answers[-1].headers["X-RateLimit-Reset"]) <= time.time() + 62
    assert answers[-1].json() == {"code": 42910000, "message": "rate limit exceeded"}


def test_faults_and_log_know_requests_by_method_and_path(venue: AlpacaLoopback) -> None:
    venue.paper.fault(
        faults.http_status(ORDERS, 504), faults.venue_error("GET /v2/orders/{id}", "429 42910000 rate limit exceeded")
    )
    with pytest.raises(APIError) as raised:
        rest(venue.paper).post("/orders", order(client_order_id="x-1", qty="1"))
    assert raised.value.status_code == 504
    (standing,) = venue.paper.orders_with("x-1")
    with pytest.raises(APIError, match="42910000"):
        rest(venue.paper).get(f"/orders/{standing['id']}")
    (entry,) = venue.paper.log(ORDERS)
    assert (entry.fields["client_order_id"], entry.fault, entry.performed is not None) == ("x-1", "status", True)
    assert json.loads(entry.body)["qty"] == "1"
    assert [one.outcome for one in venue.paper.log("GET /v2/orders/{id}")] == ["not carried out"]


def test_what_is_invisible_is_in_no_answer_and_still_takes_its_id(venue: AlpacaLoopback) -> None:
    venue.paper.fault(faults.invisible(ORDERS, 3600))
    client = rest(venue.paper)
    id_ = client.post("/orders", order(client_order_id="x-2"))["id"]
    for path, query in ((f"/orders/{id_}", {}), ("/orders:by_client_order_id", {"client_order_id": "x-2"})):
        with pytest.raises(APIError, match="order not found"):
            client.get(path, query)
    assert client.get("/orders", {"status": "all"}) == client.get("/account/activities/FILL") == []
    assert refusal(venue.paper, order(client_order_id="x-2"))[2] == "client_order_id must be unique"


def test_orders_and_activities_come_by_page_and_in_either_direction(venue: AlpacaLoopback) -> None:
    client = rest(venue.paper)
    ids = [client.post("/orders", order())["id"] for _ in range(5)]
    listed = client.get("/orders", {"status": "all", "limit": 3, "direction": "asc"})
    assert [one["id"] for one in listed] == ids[:3]
    rest_of_them = client.get("/orders", {"status": "all", "after": listed[-1]["submitted_at"]})
    assert [one["id"] for one in rest_of_them][-2:] == ids[:2:-1]
    venue.paper.activity("CSD", "250.5")
    page, seen = None, list[Any]()
    while rows := client.get("/account/activities", {"page_size": 2, **({"page_token": page} if page else {})}):
        seen, page = seen + rows, rows[-1]["id"]
    assert [one.get("order_id") for one in seen] == [None, *reversed(ids)]
    assert (seen[0]["activity_type"], seen[0]["net_amount"]) == ("CSD", "250.5")


def test_status_that_nobody_knows_is_answered_after_the_order_was_placed(venue: AlpacaLoopback) -> None:
    venue.paper.set_submit_status("in_a_new_state")
    client, trading = sdk(venue.paper)
    with pytest.raises(ValueError, match="in_a_new_state"):
        client.submit_order(market(trading, 1))
    assert len(venue.paper.orders()) == 1


def test_account_can_be_blocked_and_a_field_left_out(venue: AlpacaLoopback) -> None:
    venue.live.set_account(trading_blocked=True, status=None)
    account = rest(venue.live).get("/account")
    assert account["trading_blocked"]
    assert "status" not in account
    assert refusal(venue.live, order())[0] == 403


def test_bars_come_by_page_until_now_and_stand_on_their_grid(venue: AlpacaLoopback) -> None:
    client = rest(venue.paper, venue.data.url)
    start = datetime.now(UTC) - timedelta(minutes=90)
    query = {"symbols": "MSFT,KO", "timeframe": "1Min", "start": start.isoformat(), "limit": 50}
    found: dict[str, list[Any]] = {"KO": [], "MSFT": []}
    pages = 0
    token: dict[str, str] = {}
    while pages == 0 or token:
        answer = client.get("/stocks/bars", {**query, **token})
        for symbol, bars in answer["bars"].items():
            found[symbol] += bars
        token = {"page_token": answer["next_page_token"]} if answer["next_page_token"] else {}
        pages += 1
    assert pages == 4
    for bars in found.values():
        assert 88 <= len(bars) <= 91
        stamps = [datetime.fromisoformat(one["t"]) for one in bars]
        assert all(later - one == timedelta(minutes=1) for one, later in pairwise(stamps))
        assert all(one["l"] <= one["o"] <= one["h"] and one["l"] <= one["c"] <= one["h"] for one in bars)


def test_newest_bars_come_first_on_request_and_go_on_where_the_page_ended(venue: AlpacaLoopback) -> None:
    client = rest(venue.paper, venue.data.url)
    query = {"symbols": "KO", "timeframe": "5Min", "start": "2026-01-05T00:00:00Z", "limit": 3, "sort": "desc"}
    first = client.get("/stocks/bars", query)
    second = client.get("/stocks/bars", {**query, "page_token": first["next_page_token"]})
    stamps = [datetime.fromisoformat(one["t"]) for one in first["bars"]["KO"] + second["bars"]["KO"]]
    assert all(one - later == timedelta(minutes=5) for one, later in pairwise(stamps))
    assert stamps[0] > datetime.now(UTC) - timedelta(minutes=15)


def test_daily_bars_begin_at_midnight_in_new_york_and_weekends_have_none(venue: AlpacaLoopback) -> None:
    venue.set_round_the_clock(False)
    query = {"symbols": "AAPL", "timeframe": "1Day", "start": "2026-03-01", "end": "2026-03-13"}
    bars = rest(venue.paper, venue.data.url).get("/stocks/bars", query)["bars"]["AAPL"]
    # Summer time began on 8 March.
    assert [one["t"][5:16] for one in bars][:6] == [f"03-0{day}T05:00" for day in range(2, 7)] + ["03-09T04:00"]
    assert len(bars) == 10


def test_quotes_trades_and_snapshots_are_json_numbers_and_strangers_are_left_out(venue: AlpacaLoopback) -> None:
    client = rest(venue.live, venue.data.url)
    venue.set_price("231.02", "231.04")
    assert client.get("/stocks/quotes/latest", {"symbols": "AAPL,ZZZZ"})["quotes"].keys() == {"AAPL"}
    assert client.get("/stocks/quotes/latest", {"symbols": "AAPL"})["quotes"]["AAPL"]["ap"] == 231.04
    assert client.get("/stocks/trades/latest", {"symbols": "AAPL"})["trades"]["AAPL"]["p"] == 231.03
    assert client.get("/stocks/snapshots", {"symbols": "AAPL"})["AAPL"]["dailyBar"]["c"] == 231.03
    venue.set_price("0", "0")
    assert client.get("/stocks/quotes/latest", {"symbols": "AAPL"})["quotes"]["AAPL"]["bp"] == 0
    venue.freeze_quote(3600)
    stamp = client.get("/stocks/quotes/latest", {"symbols": "AAPL"})["quotes"]["AAPL"]["t"]
    assert datetime.fromisoformat(f"{stamp[:19]}Z") < datetime.now(UTC) - timedelta(minutes=59)


def test_settings_of_this_process_point_at_the_venue(alpaca: AlpacaLoopback, settings: Any) -> None:
    assert settings.ENVIRONMENT.alpaca_base_url_live.url == alpaca.live.url
    assert settings.ENVIRONMENT.alpaca_api_key_paper == alpaca.paper.key
    assert set(alpaca.environ()) <= {name.upper() for name in settings.ENVIRONMENT.__slots__}
