"""The replay feed: exact on its path, blind to the future, and the same for everyone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from threading import Thread

import numpy as np
import pytest
import talib
from hypothesis import assume, given
from hypothesis import strategies as st

from bots.market_data.base import CandleSeries, MarketDataError, Traded
from bots.market_data.datasets import Dataset, dataset
from bots.market_data.replay import COUNT_MAX, ReplayFeed
from bots.market_data.replay_clock import FixedClock, start_clock
from tests.bots.market_data.builders import SYMBOL, T0, Figures, after, bars, feed_of, toy

RISING: Figures = ("100", "106", "97", "103", "30")
FALLING: Figures = ("103", "105", "99", "100", "60")
HISTORY: Figures = ("50", "50", "50", "50", "1")
SILENT: Figures = ("100", "106", "97", "103", "0")
moments = st.decimals(min_value=0, max_value=40, places=6)


def model_price(data: Dataset, seconds: Decimal) -> Fraction:
    """Return the path's price by the book: straight lines between four corners, bar after bar, round after round."""
    bar_s, first, last = Fraction(data.info.bar_s), data.info.loop_first, data.info.loop_last
    bars_played = Fraction(seconds) / bar_s
    index = first + int(bars_played) % (last - first + 1)
    opened, high, low, closed = (Fraction(int(x[index]), 100) for x in (data.open, data.high, data.low, data.close))
    corners = [opened, low, high, closed] if closed >= opened else [opened, high, low, closed]
    third, part = divmod((bars_played - int(bars_played)) * 3, 1)
    start, end = corners[int(third)], corners[int(third) + 1]
    return start + (end - start) * part


def series_equal(one: CandleSeries, two: CandleSeries) -> bool:
    """Return whether two series hold the same candles."""
    names = ("opened_at", "open", "high", "low", "close", "volume")
    return all(np.array_equal(getattr(one, name), getattr(two, name)) for name in names)


@pytest.mark.parametrize(
    ("seconds", "price"),
    [
        ("0", "100"),
        ("0.5", "98.5"),
        ("1", "97"),
        ("2", "106"),
        ("2.5", "104.5"),
        ("3", "103"),
        ("4", "105"),
        ("5", "99"),
    ],
)
def test_price_goes_by_the_low_first_when_the_bar_rose_and_by_the_high_first_when_it_fell(
    seconds: str, price: str
) -> None:
    quote = feed_of(toy([HISTORY, RISING, FALLING])).quote(SYMBOL, after(seconds))
    exact = Decimal(price)
    # Ten basis points to each side, outward to the tick of 0.01.
    assert quote.bid <= exact * Decimal("0.999") < quote.bid + Decimal("0.01")
    assert quote.ask - Decimal("0.01") < exact * Decimal("1.001") <= quote.ask


@given(st.lists(bars(), min_size=2, max_size=6), moments)
def test_quote_is_the_path_with_the_half_spread_rounded_outward(figures: list[Figures], seconds: Decimal) -> None:
    data = toy(figures)
    quote = feed_of(data).quote(SYMBOL, after(seconds))
    price = model_price(data, seconds)
    assert Fraction(quote.bid) <= price * Fraction(999, 1000) < Fraction(quote.bid) + Fraction(1, 100)
    assert Fraction(quote.ask) - Fraction(1, 100) < price * Fraction(1001, 1000) <= Fraction(quote.ask)
    assert 0 < quote.bid < quote.ask
    assert quote.bid % Decimal("0.01") == 0 == quote.ask % Decimal("0.01")


def test_quote_is_marked_and_as_old_as_the_question() -> None:
    quote = feed_of(toy([HISTORY, RISING])).quote(SYMBOL, after(1))
    assert (quote.venue, quote.source, quote.symbol, quote.seen_at) == ("replay", "replay", SYMBOL, after(1))


@given(st.lists(bars(), min_size=8, max_size=8), st.lists(bars(), min_size=8, max_size=8), st.integers(1, 6), moments)
def test_later_bars_change_nothing_that_was_seen_before(
    figures: list[Figures], others: list[Figures], known: int, seconds: Decimal
) -> None:
    """No look-ahead: with every bar after the playing one replaced, quote, candles and trades stay as they were."""
    now = after(Decimal(3 * (known - 1)) + seconds % 3)
    one = feed_of(toy(figures))
    two = feed_of(toy(figures[: known + 1] + others[known + 1 :]))
    assert one.quote(SYMBOL, now) == two.quote(SYMBOL, now)
    assert one.traded(SYMBOL, T0, now) == two.traded(SYMBOL, T0, now)
    for timeframe in ("1m", "5m"):
        assert series_equal(one.candles(SYMBOL, timeframe, now, 50), two.candles(SYMBOL, timeframe, now, 50))


@given(st.lists(bars(), min_size=2, max_size=6), moments, moments)
def test_two_feeds_agree_at_every_moment(figures: list[Figures], first: Decimal, second: Decimal) -> None:
    """Whatever one feed was asked before: hosts must see one market."""
    one, two = feed_of(toy(figures)), feed_of(toy(figures))
    one.quote(SYMBOL, after(first))
    one.candles(SYMBOL, "1m", after(first), 10)
    assert one.quote(SYMBOL, after(second)) == two.quote(SYMBOL, after(second))
    assert series_equal(one.candles(SYMBOL, "1m", after(second), 10), two.candles(SYMBOL, "1m", after(second), 10))
    assert one.traded(SYMBOL, after(first), after(second)) == two.traded(SYMBOL, after(first), after(second))


@given(st.lists(bars(volume_min=1), min_size=2, max_size=5), moments, moments)
def test_traded_encloses_every_price_of_its_time_and_touches_its_ends(
    figures: list[Figures], first: Decimal, second: Decimal
) -> None:
    assume(first != second)
    since, until = sorted((first, second))
    data = toy(figures)
    traded = feed_of(data).traded(SYMBOL, after(since), after(until))
    assert traded is not None
    # Every corner of the path lies on a whole second, since a bar of three seconds has three lines.
    corners = [Decimal(k) for k in range(int(since) + 1, int(until) + 1)]
    prices = [model_price(data, moment) for moment in (since, *corners, until)]
    # A bar's close and the next one's open fall on the same moment: the model shows only the open there.
    closes = [model_price(data, k - Decimal("1e-12")) for k in corners]
    prices += closes
    assert abs(Fraction(traded.low) - min(prices)) < Fraction(1, 10**7)
    assert abs(Fraction(traded.high) - max(prices)) < Fraction(1, 10**7)


@given(st.lists(bars(volume_min=1), min_size=2, max_size=5), moments, moments)
def test_traded_volume_is_the_time_share_of_each_bar(figures: list[Figures], first: Decimal, second: Decimal) -> None:
    assume(first != second)
    since, until = (Fraction(moment) / 3 for moment in sorted((first, second)))
    data = toy(figures)
    rounds = data.info.loop_last
    total = Fraction(0)
    for bar in range(int(until) + 1):
        share = min(until, Fraction(bar + 1)) - max(since, Fraction(bar))
        total += max(share, Fraction(0)) * int(data.volume[1 + bar % rounds])
    traded = feed_of(data).traded(SYMBOL, after(min(first, second)), after(max(first, second)))
    assert traded is not None
    assert traded.volume is not None
    assert Fraction(traded.volume) <= total < Fraction(traded.volume) + Fraction(1, 10**8)


def test_traded_over_many_rounds_counts_each_of_them() -> None:
    feed = feed_of(toy([HISTORY, RISING, FALLING]))
    assert feed.traded(SYMBOL, after(0), after(6 * 100)) == Traded(Decimal(97), Decimal(106), Decimal(90 * 100))
    assert feed.traded(SYMBOL, after(3), after(6 * 50 + 6)) == Traded(Decimal(97), Decimal(106), Decimal(90 * 50 + 60))


def test_bar_without_volume_sets_no_limit() -> None:
    feed = feed_of(toy([HISTORY, RISING, SILENT]))
    assert feed.traded(SYMBOL, after(0), after(3)) == Traded(Decimal(97), Decimal(106), Decimal(30))
    touching = feed.traded(SYMBOL, after(0), after("3.000001"))
    assert touching is not None
    assert touching.volume is None


@pytest.mark.parametrize(("since", "until"), [("5", "5"), ("6", "5")])
def test_nothing_was_traded_in_no_time(since: str, until: str) -> None:
    assert feed_of(toy([HISTORY, RISING])).traded(SYMBOL, after(since), after(until)) is None


def test_nothing_was_traded_before_the_replay_began() -> None:
    feed = feed_of(toy([HISTORY, RISING]))
    assert feed.traded(SYMBOL, T0 - timedelta(hours=1), T0) is None
    assert feed.quote(SYMBOL, T0 - timedelta(hours=1)).bid == feed.quote(SYMBOL, T0).bid


def test_candles_are_those_that_closed_with_todays_times() -> None:
    feed = feed_of(toy([HISTORY, RISING, FALLING]))
    first = feed.candles(SYMBOL, "1m", after("2.999999"), 10)
    assert first.close.tolist() == [50]
    second = feed.candles(SYMBOL, "1m", after(3), 10)
    assert second.close.tolist() == [50, 103]
    # The bar that began to play at T0 opened at T0; the one before it a bar's playing time earlier.
    assert second.opened_at.tolist() == [int(T0.timestamp()) - 3, int(T0.timestamp())]
    assert (second.venue, second.symbol, second.timeframe) == ("replay", SYMBOL, "1m")


def test_candles_at_the_seam_are_those_before_the_loop_and_never_those_of_its_end() -> None:
    feed = feed_of(toy([HISTORY, RISING, FALLING]))
    before, at_seam = (feed.candles(SYMBOL, "1m", after(moment), 10) for moment in ("5.9", "6"))
    assert before.close.tolist() == [50, 103]
    assert at_seam.close.tolist() == [50]
    assert at_seam.opened_at.tolist() == [int(after(3).timestamp())]
    assert feed.quote(SYMBOL, after(6)).mid == feed.quote(SYMBOL, after(0)).mid
    assert feed.candles(SYMBOL, "1m", after(9), 10).close.tolist() == [50, 103]


def test_candles_are_one_object_until_the_next_bar_closes() -> None:
    feed = feed_of(toy([HISTORY, RISING, FALLING]))
    series = feed.candles(SYMBOL, "1m", after(3), 10)
    assert feed.candles(SYMBOL, "1m", after("5.9"), 10) is series
    assert feed.candles(SYMBOL, "1m", after(9), 10) is not series
    assert feed.candles(SYMBOL, "1m", after(9), 10) is not feed.candles(SYMBOL, "1m", after(9), 9)


def test_candles_are_limited_to_what_was_asked_for() -> None:
    feed = ReplayFeed(FixedClock(start_clock(T0)))
    series = feed.candles("BTC-PERP", "1m", T0, 200)
    whole = dataset("BTC-PERP").frame("1m")
    assert series.close.tolist() == whole.close[7175 - 200 : 7175].tolist()
    # No copies of history: a thousand bots on one symbol cost what one costs.
    assert np.shares_memory(series.close, whole.close)
    assert talib.SMA(series.close, 20)[-1] == pytest.approx(series.close[-20:].mean())


def test_resampled_candles_show_only_whole_ones() -> None:
    feed = ReplayFeed(FixedClock(start_clock(T0)))
    data = dataset("BTC-PERP")
    frame = data.frame("15m")
    for minute in range(20):
        series = feed.candles("BTC-PERP", "15m", after(2 * minute), 3)
        playing = 7175 + minute
        whole = [k for k in range(len(frame.first) - 1) if frame.first[k + 1] <= playing][-3:]
        assert series.close.tolist() == frame.close[whole].tolist()
        opened = int(frame.first[whole[-1]])
        assert series.opened_at[-1] == int(T0.timestamp()) + 2 * (opened - 7175)


@pytest.mark.parametrize("count", [0, -1, COUNT_MAX + 1])
def test_count_out_of_bounds_is_refused(count: int) -> None:
    with pytest.raises(MarketDataError, match="candles can be asked for"):
        feed_of(toy([HISTORY, RISING])).candles(SYMBOL, "1m", T0, count)


def test_unknown_symbols_and_timeframes_are_refused_by_every_question() -> None:
    feed = feed_of(toy([HISTORY, RISING]))
    for ask in (feed.timeframes, feed.rules, feed.bar_s, feed.quote_age_max_s):
        with pytest.raises(MarketDataError, match="no recording of 'X': choose TOY"):
            ask("X")
    with pytest.raises(MarketDataError, match="no recording"):
        feed.quote("X", T0)
    with pytest.raises(MarketDataError, match="no recording"):
        feed.traded("X", T0, T0)
    with pytest.raises(MarketDataError, match="TOY has no 1d candles on replay: choose 1m, 5m"):
        feed.candles(SYMBOL, "1d", T0, 5)


@given(st.lists(bars(), min_size=2, max_size=6), st.decimals("0.1", "60", places=3), moments)
def test_change_of_speed_goes_on_where_it_was(figures: list[Figures], speed: Decimal, seconds: Decimal) -> None:
    data = toy(figures)
    feed, steady = feed_of(data), feed_of(data)
    changed_at = after(seconds) + timedelta(seconds=2)
    feed.set_speed(speed, after(seconds))
    for moment in (after(seconds), changed_at - timedelta(microseconds=1), changed_at):
        assert feed.quote(SYMBOL, moment) == steady.quote(SYMBOL, moment)
    later = timedelta(seconds=7)
    played = seconds + 2 + 7 * speed
    price = model_price(data, played)
    assert Fraction(feed.quote(SYMBOL, changed_at + later).bid) <= price * Fraction(999, 1000)
    assert Fraction(feed.quote(SYMBOL, changed_at + later).ask) >= price * Fraction(1001, 1000)


def test_traded_across_a_change_of_speed_is_what_was_played() -> None:
    feed = feed_of(toy([HISTORY, RISING, FALLING]))
    feed.set_speed(Decimal(3), after(1))
    # Three seconds at speed 1, then one second at speed 3: both bars once.
    traded = feed.traded(SYMBOL, after(0), after(4))
    assert traded == Traded(Decimal(97), Decimal(106), Decimal(90))


def test_speed_shortens_how_long_a_bar_takes_and_a_quote_may_be_old() -> None:
    feed = feed_of(toy([HISTORY, RISING, FALLING]))
    assert (feed.bar_s(SYMBOL), feed.quote_age_max_s(SYMBOL)) == (Decimal(3), Decimal(13))
    feed.set_speed(Decimal(2), T0)
    assert feed.speed(after(1)) == 1
    assert feed.speed(after(2)) == 2
    assert (feed.bar_s(SYMBOL), feed.quote_age_max_s(SYMBOL)) == (Decimal("1.5"), Decimal("11.5"))
    series = feed.candles(SYMBOL, "1m", after(5), 10)
    # From second 2 on a bar takes 1.5 s: what began at second 1.5 by this measure is the second bar of the first round.
    assert series.opened_at.tolist() == [int(after("3.5").timestamp()) - 1]


def test_shipped_recordings_play_for_days_without_an_invalid_quote() -> None:
    feed = ReplayFeed(FixedClock(start_clock(T0)))
    for symbol in feed.symbols():
        rules = feed.rules(symbol)
        for hours in range(0, 72, 5):
            now = T0 + timedelta(hours=hours, seconds=hours * 7, milliseconds=hours)
            quote = feed.quote(symbol, now)
            assert 0 < quote.bid < quote.ask
            assert quote.bid % rules.tick_size == 0 == quote.ask % rules.tick_size
            assert (quote.ask - quote.bid) / quote.mid < Decimal("0.001")
            series = feed.candles(symbol, feed.timeframes(symbol)[0], now, 300)
            assert len(series) == 300
            assert datetime.fromtimestamp(int(series.opened_at[-1]), UTC) < now


def test_threads_see_one_market() -> None:
    feed = ReplayFeed(FixedClock(start_clock(T0)))
    expected = {second: feed.quote("SPY", after(second)) for second in range(60)}
    wrong: list[int] = []

    def ask() -> None:
        for second, quote in expected.items():
            same = feed.candles("SPY", "1d", after(second), 50)
            if feed.quote("SPY", after(second)) != quote or len(same) != 50:
                wrong.append(second)

    threads = [Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_another_tick_size_rounds_the_quote_to_it() -> None:
    data = toy([HISTORY, RISING])
    coarse = replace(data, info=replace(data.info, tick_size=Decimal("0.5")), tick=50)
    quote = feed_of(coarse).quote(SYMBOL, T0)
    assert (quote.bid, quote.ask) == (Decimal("99.5"), Decimal("100.5"))
