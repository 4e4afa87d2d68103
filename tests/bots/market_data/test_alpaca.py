"""Alpaca's feed against the loopback: what it gives, how often it asks, and what it does when nobody answers."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import pytest
import time_machine
from django.utils import timezone
from pytest_django import Settings

from bots.market_data.alpaca import AlpacaFeed, Keys
from bots.market_data.base import MarketDataError, UnknownSymbolError
from bots.market_data.feeds import feed_for
from bots.market_data.market_hours import SESSION_S, sessions_at
from bots.markets import Moment, market_for
from safety.intents import MarketStatus
from tests.loopback import faults
from tests.loopback.client import AAPL, AlpacaLoopback
from tradingops.environment_values import Endpoint, Gate

SNAPSHOTS, BARS = "GET /v2/stocks/snapshots", "GET /v2/stocks/bars"
ASSET, ASSETS, CLOCK = "GET /v2/assets/{symbol}", "GET /v2/assets", "GET /v2/clock"
Found = TypeVar("Found")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the feed wait for its answers for as long as a busy machine takes."""
    monkeypatch.setattr("bots.market_data.fetcher.WAIT_S", 30.0)


@pytest.fixture
def feed(alpaca: AlpacaLoopback) -> AlpacaFeed:
    found = feed_for("alpaca")
    if not isinstance(found, AlpacaFeed):
        raise TypeError(found)
    return found


def soon(ask: Callable[[], Found], timeout_s: float = 30.0) -> Found:
    """Return what ``ask`` gives, trying again where a busy machine let it wait for longer than the feed does."""
    give_up_at = time.monotonic() + timeout_s
    while True:
        try:
            return ask()
        except MarketDataError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.1)


def problem_of(ask: Callable[[], object], timeout_s: float = 30.0) -> str:
    """Return why ``ask`` has no answer, once that is more than a busy machine; an empty text when it has one."""
    give_up_at = time.monotonic() + timeout_s
    problem = ""
    while time.monotonic() < give_up_at:
        try:
            ask()
        except MarketDataError as error:
            problem = str(error)
        else:
            return ""
        if "has not answered yet" not in problem:
            break
        time.sleep(0.1)
    return problem


def now_quote(feed: AlpacaFeed, symbol: str = AAPL) -> object:
    return soon(lambda: feed.quote(symbol, timezone.now()))


def test_quote_has_the_time_that_the_venue_gives_it(alpaca: AlpacaLoopback, feed: AlpacaFeed) -> None:
    alpaca.set_price("229.98", "230.02")
    before = timezone.now() - timedelta(seconds=1)
    quote = soon(lambda: feed.quote(AAPL, timezone.now()))
    assert (quote.venue, quote.symbol, quote.bid, quote.ask) == ("alpaca", AAPL, Decimal("229.98"), Decimal("230.02"))
    assert before <= quote.seen_at <= timezone.now()


@pytest.mark.usefixtures("patient")
def test_machine_that_slept_asks_for_a_quote_at_once(alpaca: AlpacaLoopback, feed: AlpacaFeed) -> None:
    now_quote(feed)
    alpaca.set_price("229.98", "230.02")
    with time_machine.travel(timezone.now() + timedelta(minutes=2), tick=True):
        assert soon(lambda: feed.quote(AAPL, timezone.now())).bid == Decimal("229.98")


@pytest.mark.usefixtures("patient")
def test_machine_that_slept_does_not_believe_that_the_market_is_still_open(
    alpaca: AlpacaLoopback, feed: AlpacaFeed
) -> None:
    assert soon(lambda: feed.market_status(AAPL, timezone.now())) == MarketStatus.OPEN
    alpaca.set_open(False)
    with time_machine.travel(timezone.now() + timedelta(minutes=9), tick=True):
        assert soon(lambda: feed.market_status(AAPL, timezone.now())) == MarketStatus.CLOSED


@pytest.mark.usefixtures("patient")
def test_machine_that_slept_asks_how_a_stock_is_traded(alpaca: AlpacaLoopback, feed: AlpacaFeed) -> None:
    now_quote(feed)
    assert soon(lambda: feed.market_status(AAPL, timezone.now())) == MarketStatus.OPEN
    alpaca.set_asset(AAPL, tradable=False)
    with time_machine.travel(timezone.now() + timedelta(minutes=11), tick=True):
        wanted = alpaca.paper.wait_until(
            lambda: feed.market_status(AAPL, timezone.now()), lambda one: one != "open", 30
        )
    assert wanted == MarketStatus.CLOSED


@pytest.mark.usefixtures("patient")
def test_machine_that_slept_waits_for_the_candles_of_meanwhile(alpaca: AlpacaLoopback, feed: AlpacaFeed) -> None:
    soon(lambda: feed.candles(AAPL, "1m", timezone.now(), 10))
    alpaca.data.fault(faults.arrives_late(BARS, 0.3))
    with time_machine.travel(timezone.now() + timedelta(minutes=9), tick=True):
        began = time.monotonic()
        feed.candles(AAPL, "1m", timezone.now(), 10)
        assert time.monotonic() - began >= 0.3


def test_frozen_quote_grows_old(alpaca: AlpacaLoopback, feed: AlpacaFeed) -> None:
    alpaca.freeze_quote(3_600)
    quote = soon(lambda: feed.quote(AAPL, timezone.now()))
    assert timedelta(minutes=59) < timezone.now() - quote.seen_at < timedelta(minutes=61)
    assert feed.quote_age_max_s(AAPL) == 10


def test_side_that_nobody_quotes_stays_zero(alpaca: AlpacaLoopback, feed: AlpacaFeed) -> None:
    alpaca.set_price("229.98", "0", volume="0")
    quote = soon(lambda: feed.quote(AAPL, timezone.now()))
    assert (quote.bid, quote.ask) == (Decimal("229.98"), Decimal(0))


@pytest.mark.parametrize(
    ("symbol", "lot", "notional_min", "is_active"),
    [(AAPL, "1e-9", 1, True), ("BRK.B", "1e-9", 1, True), ("OCGN", "1", 0, True), ("GONE", "1e-9", 1, False)],
)
def test_rules_come_of_the_venue(feed: AlpacaFeed, symbol: str, lot: str, notional_min: int, is_active: bool) -> None:
    rules = soon(lambda: feed.rules(symbol))
    assert (rules.venue, rules.symbol, rules.quote_currency) == ("alpaca", symbol, "USD")
    assert (rules.lot_size, rules.quantity_min) == (Decimal(lot), Decimal(lot))
    assert (rules.notional_min, rules.is_active) == (notional_min, is_active)
    assert (rules.tick_at(Decimal(1)), rules.tick_at(Decimal("0.9999"))) == (Decimal("0.01"), Decimal("0.0001"))


@pytest.mark.parametrize("symbol", ["TSLA", "BTC/USD", "../orders", "aapl", "", "A" * 300])
def test_unknown_symbol_is_said_to_be_one(alpaca: AlpacaLoopback, feed: AlpacaFeed, symbol: str) -> None:
    problem = problem_of(lambda: feed.quote(symbol, timezone.now()))
    assert problem == f"Alpaca has no stock {symbol[:20]}."
    with pytest.raises(UnknownSymbolError):
        feed.rules(symbol)
    assert {entry.path for entry in alpaca.paper.log()} <= {ASSET}


def test_symbols_are_those_that_can_be_traded_and_bring_their_rules(alpaca: AlpacaLoopback, feed: AlpacaFeed) -> None:
    assert soon(feed.symbols) == ("AAPL", "BRK.B", "KO", "MSFT", "OCGN", "SNDL", "SPY")
    assert [feed.rules(one).symbol for one in feed.symbols()] == list(feed.symbols())
    assert [entry.path for entry in alpaca.paper.log()] == [ASSETS]


def test_all_who_ask_at_once_share_one_request(alpaca: AlpacaLoopback, feed: AlpacaFeed) -> None:
    now_quote(feed)
    threads = [threading.Thread(target=feed.quote, args=(AAPL, timezone.now())) for _ in range(16)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took_s = time.monotonic() - began
    assert len(alpaca.data.log(SNAPSHOTS)) <= 1 + took_s / 2 + 1
    assert len(alpaca.paper.log(ASSET)) == 1


def test_all_wanted_symbols_come_in_one_request(alpaca: AlpacaLoopback, feed: AlpacaFeed) -> None:
    for symbol in (AAPL, "SPY", "KO"):
        now_quote(feed, symbol)
    time.sleep(2.05)
    now_quote(feed)
    *_, last = alpaca.data.log(SNAPSHOTS)
    assert last.fields["symbols"] == "AAPL,KO,SPY"
    assert last.fields["feed"] == "iex"


def test_candles_leave_out_the_unfinished_one(alpaca: AlpacaLoopback, feed: AlpacaFeed) -> None:
    series = soon(lambda: feed.candles(AAPL, "1m", timezone.now(), 512))
    now_s = timezone.now().timestamp()
    assert len(series) == 512
    assert now_s - 190 < int(series.opened_at[-1]) <= now_s - 60
    assert not series.close.flags.writeable
    assert (alpaca.data.log(BARS)[0].fields["adjustment"], alpaca.data.log(BARS)[0].fields["feed"]) == ("split", "iex")


def test_equal_questions_get_the_same_candles_without_asking_again(alpaca: AlpacaLoopback, feed: AlpacaFeed) -> None:
    series = soon(lambda: feed.candles(AAPL, "1h", timezone.now(), 100))
    now = datetime.fromtimestamp(int(series.opened_at[-1]) + 3600 + 60, UTC)
    assert feed.candles(AAPL, "1h", now, 100) is series
    assert len(feed.candles(AAPL, "1h", now, 50)) == 50
    assert [entry.fields["timeframe"] for entry in alpaca.data.log(BARS)] == ["1Hour"]


def test_pages_of_bars_are_put_together(
    alpaca: AlpacaLoopback, feed: AlpacaFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bots.market_data.alpaca_bars.PAGE_BARS", 300)
    series = soon(lambda: feed.candles(AAPL, "1m", timezone.now(), 2_000))
    asked = alpaca.data.log(BARS)
    assert len(asked) >= 7
    assert ["page_token" in entry.fields for entry in asked[:2]] == [False, True]
    assert len(series) >= 1_999
    assert set((series.opened_at[1:] - series.opened_at[:-1]).tolist()) == {60}


def test_next_candles_are_asked_for_from_the_last_one_on(alpaca: AlpacaLoopback, feed: AlpacaFeed) -> None:
    before = soon(lambda: feed.candles(AAPL, "1m", timezone.now(), 10))
    time.sleep(3.05)
    later = datetime.fromtimestamp(int(before.opened_at[-1]) + 120, UTC)
    assert feed.candles(AAPL, "1m", later, 10) is before
    *_, last = alpaca.data.wait_for(BARS, 2)
    assert last.fields["start"] == f"{datetime.fromtimestamp(int(before.opened_at[-1]), UTC):%Y-%m-%dT%H:%M:%SZ}"


def test_new_candles_of_all_symbols_come_in_one_request(alpaca: AlpacaLoopback, feed: AlpacaFeed) -> None:
    known = [soon(lambda one=one: feed.candles(one, "1m", timezone.now(), 10)) for one in (AAPL, "SPY", "KO")]  # type: ignore[misc]
    last_id = alpaca.data.last_id()
    time.sleep(3.05)
    later = datetime.fromtimestamp(max(int(one.opened_at[-1]) for one in known) + 120, UTC)
    for one in known:
        feed.candles(one.symbol, "1m", later, 10)
    alpaca.data.wait_for(BARS, 4)
    first, *_ = alpaca.data.log(BARS, after_id=last_id)
    assert sorted(first.fields["symbols"].split(",")) == [AAPL, "KO", "SPY"]


def test_all_candles_are_fetched_anew_after_a_split(
    alpaca: AlpacaLoopback, feed: AlpacaFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = soon(lambda: feed.candles(AAPL, "1m", timezone.now(), 10))
    # Any difference counts, none too: the loopback knows no splits.
    monkeypatch.setattr("bots.market_data.alpaca_bars.SPLIT_CHANGE", -1)
    time.sleep(3.05)
    feed.candles(AAPL, "1m", datetime.fromtimestamp(int(before.opened_at[-1]) + 120, UTC), 10)
    asked = alpaca.data.wait_for(BARS, 3)
    assert [entry.fields["sort"] for entry in asked] == ["desc", "asc", "desc"]


@pytest.mark.parametrize("timeframe", ["1m", "5m", "15m", "1h", "4h", "1d"])
def test_every_timeframe_has_candles(feed: AlpacaFeed, timeframe: str) -> None:
    series = soon(lambda: feed.candles(AAPL, timeframe, timezone.now(), 40))
    assert len(series) == 40
    assert timeframe in feed.timeframes(AAPL)


@pytest.mark.parametrize(("timeframe", "count"), [("2m", 10), ("1m", 0), ("1m", 5_001)])
def test_candles_that_alpaca_has_not_are_refused(feed: AlpacaFeed, timeframe: str, count: int) -> None:
    with pytest.raises(MarketDataError, match=r"choose|can be asked for"):
        feed.candles(AAPL, timeframe, timezone.now(), count)


def test_traded_is_what_the_looks_prove(alpaca: AlpacaLoopback, feed: AlpacaFeed) -> None:
    now_quote(feed)
    began = timezone.now()
    alpaca.set_price("228", "229", volume="70")
    alpaca.set_price("229", "230", volume="30")
    time.sleep(2.05)
    now_quote(feed)
    traded = feed.traded(AAPL, began, timezone.now() + timedelta(seconds=5))
    assert traded is not None
    # The price in between was at no look the last one.
    assert (traded.low, traded.high) == (Decimal("229.5"), Decimal("229.5"))
    assert traded.volume is not None
    assert traded.volume >= 30
    asked = len(alpaca.data.log())
    assert feed.traded(AAPL, timezone.now() + timedelta(seconds=9), timezone.now() + timedelta(seconds=20)) is None
    assert len(alpaca.data.log()) == asked


def test_market_is_open_when_the_venue_says_so(alpaca: AlpacaLoopback, feed: AlpacaFeed) -> None:
    assert soon(lambda: feed.market_status(AAPL, timezone.now())) == MarketStatus.OPEN
    assert feed.closed_until(AAPL, timezone.now()) is None


def test_venues_clock_closes_the_market(alpaca: AlpacaLoopback, feed: AlpacaFeed) -> None:
    alpaca.set_open(False)
    opens = soon(lambda: feed.closed_until(AAPL, timezone.now()))
    assert opens is not None
    assert opens > timezone.now()
    assert feed.market_status(AAPL, timezone.now()) == MarketStatus.CLOSED


@pytest.mark.parametrize(("change", "is_active"), [({"tradable": False}, True), ({"status": "inactive"}, False)])
def test_stock_that_is_leaving_can_be_sold_until_it_is_gone(
    alpaca: AlpacaLoopback, feed: AlpacaFeed, change: dict[str, Any], is_active: bool
) -> None:
    alpaca.set_asset(AAPL, **change)
    assert soon(lambda: feed.market_status(AAPL, timezone.now())) == MarketStatus.CLOSED
    assert feed.rules(AAPL).is_active == is_active


def test_exchanges_calendar_closes_the_market_whatever_the_venue_says(alpaca: AlpacaLoopback) -> None:
    keys = Keys(alpaca.data.url, alpaca.paper.url, alpaca.paper.key, alpaca.paper.secret)
    feed = AlpacaFeed(keys, sessions_at, SESSION_S)
    thanksgiving = datetime(2025, 11, 27, 15, 0, tzinfo=UTC)
    assert feed.closed_until(AAPL, thanksgiving) == datetime(2025, 11, 28, 14, 30, tzinfo=UTC)
    assert soon(lambda: feed.market_status(AAPL, thanksgiving)) == MarketStatus.CLOSED
    assert alpaca.paper.log(CLOCK) == []
    assert feed.trading_s(AAPL, thanksgiving, datetime(2025, 12, 1, 14, 31, tzinfo=UTC)) == 12_660


def test_moment_has_all_that_the_gate_asks_of_a_market(alpaca: AlpacaLoopback) -> None:
    market = soon(lambda: Moment(timezone.now()).market_on_candles("alpaca", AAPL, "auto", 50))
    assert (market.status, market.fees.taker) == ("open", 0)
    assert market.candles is not None
    assert market.candles.bar_s == 60
    assert 0 <= market.candles.age_s < 130


def test_dead_venue_holds_up_nobody_for_long(alpaca: AlpacaLoopback, feed: AlpacaFeed) -> None:
    for host in (alpaca.data, alpaca.paper):
        host.fault(faults.request_lost(faults.ANY, count=faults.FOR_EVER))
    began = time.monotonic()
    for symbol in (AAPL, "SPY", "KO") * 20:
        with pytest.raises(MarketDataError, match="Alpaca"):
            market_for("alpaca", symbol, timezone.now())
    assert time.monotonic() - began < 4


def test_venue_that_died_leaves_its_last_quote_with_its_age(alpaca: AlpacaLoopback, feed: AlpacaFeed) -> None:
    now_quote(feed)
    alpaca.data.fault(faults.request_lost(faults.ANY, count=faults.FOR_EVER))
    time.sleep(2.05)
    first = feed.quote(AAPL, timezone.now())
    assert feed.quote(AAPL, timezone.now()) == first
    assert first.seen_at < timezone.now() - timedelta(seconds=2)


@pytest.mark.parametrize("fault", [faults.page, faults.half])
@pytest.mark.parametrize("path", [SNAPSHOTS, BARS])
def test_answer_that_is_none_is_no_market_data(
    alpaca: AlpacaLoopback, feed: AlpacaFeed, fault: Callable[[str], faults.Fault], path: str
) -> None:
    soon(lambda: feed.rules(AAPL))
    alpaca.data.fault(replace(fault(path), count=faults.FOR_EVER))
    ask = (
        (lambda: feed.candles(AAPL, "1m", timezone.now(), 10))
        if path == BARS
        else (lambda: feed.quote(AAPL, timezone.now()))
    )
    assert "could not be understood" in problem_of(ask)


def test_key_that_is_refused_is_named_and_not_tried_all_the_time(alpaca: AlpacaLoopback) -> None:
    feed = AlpacaFeed(Keys(alpaca.data.url, alpaca.paper.url, "stranger", "none"), sessions_at, SESSION_S)

    assert "does not accept the API key" in problem_of(lambda: feed.rules(AAPL))
    asked = len(alpaca.paper.log())
    for _ in range(20):
        with pytest.raises(MarketDataError, match="does not accept the API key"):
            feed.rules(AAPL)
    assert len(alpaca.paper.log()) == asked


# Keys and addresses.


def test_without_a_key_the_variable_to_set_is_named(alpaca: AlpacaLoopback, settings: Settings) -> None:
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, alpaca_api_key_paper=None, alpaca_api_key_live=None)
    with pytest.raises(MarketDataError, match=r"set ALPACA_API_KEY_PAPER and ALPACA_API_SECRET_PAPER in .env$"):
        feed_for("alpaca")


@pytest.mark.parametrize("is_open", [False, True])
def test_live_key_is_used_only_with_its_gate_open(alpaca: AlpacaLoopback, settings: Settings, is_open: bool) -> None:
    gate = Gate("LIVE_TRADING_ENABLED", is_open, "environment")
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, alpaca_api_key_paper=None, live_trading_enabled=gate)
    if not is_open:
        with pytest.raises(MarketDataError, match="only with LIVE_TRADING_ENABLED=1"):
            feed_for("alpaca")
    else:
        soon(lambda: feed_for("alpaca").quote(AAPL, timezone.now()))
    assert bool(alpaca.live.log()) == is_open


def test_paper_key_comes_first(alpaca: AlpacaLoopback, settings: Settings) -> None:
    gate = Gate("LIVE_TRADING_ENABLED", True, "environment")
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, live_trading_enabled=gate)
    soon(lambda: feed_for("alpaca").quote(AAPL, timezone.now()))
    assert alpaca.live.log() == []


@pytest.mark.parametrize("name", ["alpaca_data_url", "alpaca_base_url_paper"])
def test_rehearsal_asks_no_real_address(alpaca: AlpacaLoopback, settings: Settings, name: str) -> None:
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, **{name: Endpoint("https://real.example", is_loopback=False)})
    with pytest.raises(MarketDataError, match="In a rehearsal Alpaca is off"):
        feed_for("alpaca")


def test_nothing_is_loaded_before_it_is_needed() -> None:
    code = (
        "import sys, django; django.setup(); import bots.market_data.feeds, bots.brokers.factory, bots.market_data.alpaca;"
        "sys.exit(any(name in sys.modules for name in ('alpaca', 'ccxt', 'exchange_calendars', 'pandas')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
