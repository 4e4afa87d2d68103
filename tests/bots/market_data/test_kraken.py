"""Kraken's feed against the loopback: what it gives, how often it asks, and what it does when nobody answers."""

import threading
import time
from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.utils import timezone

from bots.market_data.base import Feed, MarketDataError, price_above_zero
from bots.market_data.feeds import feed_for
from safety.intents import MarketStatus
from tests.clock import stay_within_the_hour
from tests.loopback import faults
from tests.loopback.client import KrakenLoopback

BTC = "BTC/USD"


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the feed wait for its answers for as long as a busy machine takes."""
    monkeypatch.setattr("bots.market_data.fetcher.WAIT_S", 30.0)


@pytest.fixture
def feed(kraken: KrakenLoopback) -> Feed:
    return feed_for("kraken")


def test_quote_is_the_ticker_as_of_the_request(kraken: KrakenLoopback, feed: Feed) -> None:
    kraken.set_price("60001.5", "60002.5")
    before = timezone.now()
    quote = feed.quote(BTC, before)
    assert (quote.bid, quote.ask, quote.source) == (Decimal("60001.5"), Decimal("60002.5"), "kraken")
    assert before <= quote.seen_at <= timezone.now()


@pytest.mark.usefixtures("patient")
def test_machine_that_slept_asks_for_a_quote_at_once(kraken: KrakenLoopback, feed: Feed) -> None:
    feed.quote(BTC, timezone.now())
    kraken.set_price("60001.5", "60002.5")
    with time_machine.travel(timezone.now() + timedelta(seconds=9), tick=True):
        assert feed.quote(BTC, timezone.now()).bid == Decimal("60001.5")


@pytest.mark.usefixtures("patient")
def test_machine_that_slept_does_not_believe_that_the_venue_is_still_open(kraken: KrakenLoopback, feed: Feed) -> None:
    assert feed.market_status(BTC, timezone.now()) == MarketStatus.OPEN
    kraken.set_status("cancel_only")
    with time_machine.travel(timezone.now() + timedelta(hours=9), tick=True):
        assert feed.market_status(BTC, timezone.now()) == MarketStatus.CANCEL_ONLY


@pytest.mark.usefixtures("patient")
def test_machine_that_slept_asks_how_each_symbol_is_traded(kraken: KrakenLoopback, feed: Feed) -> None:
    assert feed.market_status(BTC, timezone.now()) == MarketStatus.OPEN
    kraken.set_pair_status("cancel_only")
    with time_machine.travel(timezone.now() + timedelta(hours=9), tick=True):
        status = kraken.wait_until(lambda: feed.market_status(BTC, timezone.now()), lambda one: one != "open", 30)
    assert status == MarketStatus.CANCEL_ONLY


@pytest.mark.usefixtures("patient")
def test_machine_that_slept_decides_by_no_candles_of_before(kraken: KrakenLoopback, feed: Feed) -> None:
    before = feed.candles(BTC, "1m", timezone.now(), 10)
    kraken.fault(faults.arrives_late("OHLC", 0.3))
    with time_machine.travel(timezone.now() + timedelta(hours=9), tick=True):
        assert feed.candles(BTC, "1m", timezone.now(), 10) is not before
    assert len(kraken.log("OHLC")) == 2


@pytest.mark.usefixtures("patient")
def test_clock_that_was_set_back_keeps_nothing_fresh(kraken: KrakenLoopback, feed: Feed) -> None:
    feed.quote(BTC, timezone.now())
    kraken.set_price("60001.5", "60002.5")
    time.sleep(1.05)
    with time_machine.travel(timezone.now() - timedelta(hours=1), tick=True):
        assert feed.quote(BTC, timezone.now()).bid == Decimal("60001.5")


def test_mark_is_the_bid_and_never_zero(kraken: KrakenLoopback, feed: Feed) -> None:
    kraken.set_price("60001.5", "60002.5")
    assert feed.mark(BTC, timezone.now()) == Decimal("60001.5")
    with pytest.raises(MarketDataError, match="nobody bids for it"):
        price_above_zero(Decimal(0), BTC)


def test_rules_come_of_the_venue(feed: Feed) -> None:
    rules = feed.rules("DOGE/USD")
    assert rules.quote_currency == "USD"
    assert (rules.tick_size, rules.lot_size) == (Decimal("0.0000001"), Decimal("0.00000001"))
    assert (rules.quantity_min, rules.notional_min, rules.is_active) == (Decimal(50), Decimal("0.5"), True)


def test_unknown_symbol_is_said_to_be_one(feed: Feed) -> None:
    with pytest.raises(MarketDataError, match=r"Kraken has no symbol BTC/GBP\."):
        feed.quote("BTC/GBP", timezone.now())


def test_all_who_ask_within_a_second_share_one_request(kraken: KrakenLoopback, feed: Feed) -> None:
    began = time.monotonic()
    feed.quote(BTC, timezone.now())
    threads = [threading.Thread(target=feed.quote, args=(BTC, timezone.now())) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kraken.log("Ticker")) <= 1 + (time.monotonic() - began)
    assert len(kraken.log("AssetPairs")) == 1


def test_all_wanted_symbols_come_in_one_request(kraken: KrakenLoopback, feed: Feed) -> None:
    began = time.monotonic()
    for symbol in (BTC, "ETH/USD", "SOL/USD"):
        feed.quote(symbol, timezone.now())
    time.sleep(1.05)
    for symbol in (BTC, "ETH/USD", "SOL/USD"):
        feed.quote(symbol, timezone.now())
    *_, last = kraken.log("Ticker")
    assert set(last.fields["pair"].split(",")) == {"XXBTZUSD", "XETHZUSD", "SOLUSD"}
    assert 4 <= len(kraken.log("Ticker")) <= 3 + (time.monotonic() - began)


def test_candles_leave_out_the_unfinished_one(kraken: KrakenLoopback, feed: Feed) -> None:
    before = timezone.now()
    series = feed.candles(BTC, "1m", before, 512)
    assert len(series) == 512
    assert int(series.opened_at[-1]) + 60 <= timezone.now().timestamp()
    assert int(series.opened_at[-1]) + 120 > before.timestamp()
    assert not series.close.flags.writeable
    assert len(feed.candles(BTC, "1m", timezone.now(), 5_000)) == 719


def test_equal_questions_get_the_same_candles_without_asking_again(kraken: KrakenLoopback, feed: Feed) -> None:
    now = timezone.now()
    assert feed.candles(BTC, "1h", now, 100) is feed.candles(BTC, "1h", now, 100)
    assert len(feed.candles(BTC, "1h", now, 50)) == 50
    assert [entry.fields["interval"] for entry in kraken.log("OHLC")] == ["60"]


def test_closed_candle_is_fetched_while_the_ones_before_it_are_given(kraken: KrakenLoopback, feed: Feed) -> None:
    now = timezone.now()
    before = feed.candles(BTC, "1m", now, 10)
    time.sleep(2.05)
    kraken.fault(faults.arrives_late("OHLC", 0.5))
    assert feed.candles(BTC, "1m", now + timedelta(seconds=120), 10) is before
    kraken.wait_for("OHLC", 2)


@pytest.mark.parametrize(("timeframe", "count"), [("2m", 10), ("1m", 0), ("1m", 5_001)])
def test_candles_that_kraken_has_not_are_refused(feed: Feed, timeframe: str, count: int) -> None:
    with pytest.raises(MarketDataError):
        feed.candles(BTC, timeframe, timezone.now(), count)


@pytest.mark.parametrize(
    ("venue", "pair", "expected"),
    [
        ("online", "online", MarketStatus.OPEN),
        ("online", "post_only", MarketStatus.POST_ONLY),
        ("online", "limit_only", MarketStatus.POST_ONLY),
        ("online", "reduce_only", MarketStatus.CLOSED),
        ("cancel_only", "online", MarketStatus.CANCEL_ONLY),
        ("maintenance", "online", MarketStatus.CLOSED),
        ("post_only", "cancel_only", MarketStatus.POST_ONLY),
    ],
)
def test_market_status(kraken: KrakenLoopback, feed: Feed, venue: str, pair: str, expected: MarketStatus) -> None:
    kraken.set_status(venue)
    kraken.set_pair_status(pair)
    assert feed.market_status(BTC, timezone.now()) == expected


@pytest.mark.usefixtures("patient")
def test_traded_is_what_the_ticker_proves(kraken: KrakenLoopback, feed: Feed) -> None:
    # The lowest and the highest price of a new day are others, and with them what is proven.
    stay_within_the_hour()
    began = timezone.now()
    kraken.set_price("60000", "60001", volume="0")
    feed.quote(BTC, began)
    kraken.set_price("59000", "59002", volume="2")
    kraken.set_price("59900", "59902", volume="0.5")
    time.sleep(1.05)
    feed.quote(BTC, timezone.now())
    traded = feed.traded(BTC, began, timezone.now() + timedelta(seconds=2))
    assert traded is not None
    assert (traded.low, traded.high, traded.volume) == (Decimal(59001), Decimal(59901), Decimal("2.5"))
    asked = len(kraken.log())
    assert feed.traded(BTC, timezone.now() + timedelta(seconds=5), timezone.now() + timedelta(seconds=9)) is None
    assert len(kraken.log()) == asked


def test_dead_venue_holds_up_nobody_for_more_than_two_seconds(kraken: KrakenLoopback, feed: Feed) -> None:
    kraken.fault(faults.request_lost(faults.ANY, count=faults.FOR_EVER))
    began = time.monotonic()
    for symbol in (BTC, "ETH/USD", "SOL/USD") * 20:
        with pytest.raises(MarketDataError, match="Kraken's symbols are not known"):
            feed.quote(symbol, timezone.now())
    assert time.monotonic() - began < 4


def test_venue_that_died_leaves_its_last_quote_with_its_age(kraken: KrakenLoopback, feed: Feed) -> None:
    first = feed.quote(BTC, timezone.now())
    kraken.fault(faults.request_lost(faults.ANY, count=faults.FOR_EVER))
    time.sleep(1.05)
    began = time.monotonic()
    assert feed.quote(BTC, timezone.now()) == first
    assert feed.rules(BTC).is_active
    assert time.monotonic() - began < 4


def test_failure_is_believed_for_a_while_and_then_asked_again(kraken: KrakenLoopback, feed: Feed) -> None:
    kraken.fault(faults.http_status("AssetPairs", 503))
    for _ in range(50):
        with pytest.raises(MarketDataError, match="server answered with an error"):
            feed.rules(BTC)
    assert len(kraken.log("AssetPairs")) == 1
    time.sleep(5.1)
    assert feed.rules(BTC).symbol == BTC


def test_list_of_symbols_may_take_longer_than_a_quote(kraken: KrakenLoopback, feed: Feed) -> None:
    kraken.fault(faults.arrives_late("AssetPairs", 5))

    def rules() -> object:
        try:
            return feed.rules(BTC)
        except MarketDataError:
            return None

    kraken.wait_until(rules, lambda found: found is not None, 60)
    assert len(kraken.log("AssetPairs")) == 1


@pytest.mark.parametrize("fault", [faults.page, faults.half])
def test_answer_that_is_none_is_no_market_data(kraken: KrakenLoopback, feed: Feed, fault: type) -> None:
    feed.rules(BTC)
    kraken.fault(fault("OHLC"))
    with pytest.raises(MarketDataError, match="no sound answer"):
        feed.candles(BTC, "1m", timezone.now(), 10)
