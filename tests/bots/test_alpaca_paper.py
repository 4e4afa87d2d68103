"""A stock bot on Alpaca's data trades on paper, with the built-in broker: through the real tick, against the loopback."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import numpy as np
import pytest
from django.utils import timezone

from bots import manager
from bots.account_chores import price_usd
from bots.admin.markets import offer, why_not
from bots.manager import BotActionError, check_symbol
from bots.market_data import feeds
from bots.market_data.alpaca import AlpacaFeed, Keys
from bots.market_data.base import CandleSeries, MarketDataError
from bots.market_data.feeds import feed_for, forget_feeds
from bots.market_data.market_hours import SESSION_S, sessions_at
from bots.markets import Moment, candle_basis, market_for
from bots.models import Bot, BotTick, Order
from bots.order_states import OrderStatus
from bots.strategies import registry
from tests.bots.builders import Floor, Worker, buy, floor, make_bot, sell
from tests.loopback import faults
from tests.loopback.client import AAPL, AlpacaLoopback

__all__ = ["floor"]

Found = TypeVar("Found")


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


def stock_bot(**changes: Any) -> Bot:
    """Return a running paper bot in a stock, once all that a tick asks of the market is there."""
    soon(lambda: feed_for("alpaca").symbols())
    fields = {"venue": "alpaca", "symbol": AAPL, "capital_usd": Decimal(1_000), **changes}
    soon(lambda: market_for("alpaca", fields["symbol"], timezone.now()))
    soon(lambda: feed_for("alpaca").candles(fields["symbol"], "1m", timezone.now(), 512))
    return make_bot(**fields)


@pytest.mark.usefixtures("committed_db")
def test_tick_of_a_paper_bot_fills_at_alpacas_quote_and_sends_nothing(alpaca: AlpacaLoopback, floor: Floor) -> None:
    floor.strategy("buys", lambda view: [] if view.position.quantity else [buy("0.123456789")])
    alpaca.set_price("229.98", "230.02", volume="0")
    bot = stock_bot(strategy="buys")
    Worker().tick(bot)
    (order,) = Order.objects.all()
    assert order.status == OrderStatus.FILLED, order.reason
    assert not order.is_live
    # 230.02, and 2 basis points of slippage, to the cent.
    assert (order.filled_quantity, order.average_price) == (Decimal("0.123456789"), Decimal("230.07"))
    assert order.fees == 0
    assert [entry.path for entry in alpaca.paper.log() if entry.method != "GET"] == []
    assert alpaca.live.log() == []


@pytest.mark.usefixtures("committed_db")
@pytest.mark.parametrize(
    ("quantity", "codes"), [("10", []), ("10.5", ["INSTRUMENT_RULES"]), ("0.999999999", ["INSTRUMENT_RULES"])]
)
def test_stock_that_is_traded_whole_takes_no_fraction(
    alpaca: AlpacaLoopback, floor: Floor, quantity: str, codes: list[str]
) -> None:
    floor.strategy("buys", lambda view: [buy(quantity)])
    bot = stock_bot(strategy="buys", symbol="OCGN")
    Worker().tick(bot)
    (order,) = Order.objects.all()
    assert (order.status == OrderStatus.DENIED) == bool(codes), order.reason
    assert [one["code"] for one in BotTick.objects.get(bot=bot).blocked_by] == codes


@pytest.mark.usefixtures("committed_db")
def test_bot_waits_while_the_venue_is_closed(alpaca: AlpacaLoopback, floor: Floor) -> None:
    floor.strategy("churn", lambda view: [sell(str(view.position.quantity))] if view.position.quantity else [buy("1")])
    alpaca.set_open(False)
    bot = stock_bot(strategy="churn")
    worker = Worker()
    for _ in range(3):
        worker.tick(bot)
    tick = BotTick.objects.get(bot=bot)
    assert tick.note.startswith("The market is closed until ")
    assert [one["code"] for one in tick.blocked_by] == ["MARKET_CLOSED"]
    assert not Order.objects.exists()


@pytest.mark.usefixtures("committed_db")
@pytest.mark.parametrize("key", [strategy.key for strategy in registry.all()])
def test_every_strategy_warms_up_on_stocks(alpaca: AlpacaLoopback, key: str) -> None:
    bot = stock_bot(strategy=key)
    Worker().tick(bot)
    bot.refresh_from_db()
    assert (bot.status, bot.last_error) == ("running", "")


# Setup.


def test_setup_offers_alpacas_stocks_with_few_requests(alpaca: AlpacaLoopback) -> None:
    soon(lambda: feed_for("alpaca").symbols())
    (stocks,) = [markets for title, markets in offer().groups if title.startswith("Alpaca")]
    assert [one.key for one in stocks][:2] == ["alpaca:AAPL", "alpaca:BRK.B"]
    assert len(alpaca.paper.log()) == 1


@pytest.mark.parametrize(
    ("symbol", "problem"), [(AAPL, ""), ("TSLA", "Alpaca has no stock TSLA"), ("GONE", "can't be traded")]
)
def test_setup_says_why_a_stock_cannot_be_chosen(alpaca: AlpacaLoopback, symbol: str, problem: str) -> None:
    soon(lambda: feed_for("alpaca").symbols())
    found = alpaca.data.wait_until(lambda: why_not("alpaca", symbol), lambda text: "not answered yet" not in text, 30)
    assert problem in found
    assert bool(problem) == bool(found)


# What a share is worth while nobody, or nobody sound, quotes it.


def test_closed_market_values_by_the_last_price_of_its_session(alpaca: AlpacaLoopback) -> None:
    alpaca.set_price("10", "0", volume="0")
    alpaca.set_open(False)
    now = timezone.now()
    closes = soon(lambda: feed_for("alpaca").candles(AAPL, "1m", now, 5)).close
    moment = Moment(now)
    assert soon(lambda: moment.mark("alpaca", AAPL)) == Decimal(str(closes[-1]))
    assert soon(lambda: price_usd("alpaca", AAPL, now)) == moment.mark("alpaca", AAPL)


@pytest.mark.parametrize(
    ("bid", "ask", "expected"),
    [
        ("220", "240", None),
        ("231.5", "232", "231.5"),
        ("200", "210", "210"),
        ("0", "240", None),
        ("150", "0", None),
        ("240", "220", None),
    ],
)
def test_open_market_values_by_the_last_price_between_bid_and_offer(
    alpaca: AlpacaLoopback, bid: str, ask: str, expected: str | None
) -> None:
    alpaca.set_price(bid, ask, volume="0")
    feed, now = feed_for("alpaca"), timezone.now()
    last = Decimal(str(soon(lambda: feed.candles(AAPL, "1m", now, 1)).close[-1]))
    assert Decimal(229) < last < Decimal(231)
    assert soon(lambda: feed.mark(AAPL, now)) == (last if expected is None else Decimal(expected))


def test_stock_that_is_halted_is_still_valued_and_a_stranger_never(alpaca: AlpacaLoopback) -> None:
    alpaca.set_asset(AAPL, tradable=False)
    assert soon(lambda: price_usd("alpaca", AAPL, timezone.now())) is not None
    assert soon(lambda: price_usd("alpaca", "TSLA", timezone.now())) is None
    alpaca.paper.fault(faults.http_status("GET /v2/assets/{symbol}", 503, count=faults.FOR_EVER))
    forget_feeds()
    with pytest.raises(MarketDataError):
        price_usd("alpaca", "TSLA", timezone.now())


# How old candles are, at fixed moments.


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture
def exchange_hours(alpaca: AlpacaLoopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the feed go by the exchange's calendar, as it does at the real venue."""
    keys = Keys(alpaca.data.url, alpaca.paper.url, alpaca.paper.key, alpaca.paper.secret, "alpaca-paper")
    monkeypatch.setitem(feeds._alpaca, keys, AlpacaFeed(keys, sessions_at, SESSION_S))


def last_bar(timeframe: str, opened: str) -> CandleSeries:
    one = np.ones(1)
    return CandleSeries("alpaca", AAPL, timeframe, np.array([int(utc(opened).timestamp())]), one, one, one, one, one)


@pytest.mark.usefixtures("exchange_hours")
@pytest.mark.parametrize(
    ("timeframe", "opened", "now", "age_s", "bar_s"),
    [
        ("1m", "2025-11-03 15:00", "2025-11-03 15:01:01.5", "1.5", 60),
        ("1m", "2025-11-03 20:59", "2025-11-04 14:30:10", "10", 60),  # a night
        ("1m", "2025-10-31 19:59", "2025-11-03 14:31:00", "60", 60),  # a weekend, and the end of summer time
        ("1m", "2025-11-26 20:59", "2025-11-28 14:30:30", "30", 60),  # Thanksgiving
        ("5m", "2025-11-28 17:55", "2025-12-01 14:35", "300", 300),  # an early close
        ("1h", "2025-11-28 17:00", "2025-12-01 14:30", "0", 3600),
        ("1h", "2025-11-28 17:00", "2025-12-01 15:30", "3600", 3600),
        # A day is as long as its session, and over at midnight in New York.
        ("1d", "2025-10-31 04:00", "2025-11-03 20:00", "19800", 23_400),
        ("1d", "2025-11-28 05:00", "2025-12-01 21:00", "23400", 23_400),
        ("1d", "2025-11-26 05:00", "2025-12-01 21:00", "36000", 23_400),  # Friday's half-day bar is missing
        # The bar is not over yet.
        ("1d", "2025-11-03 05:00", "2025-11-03 20:00", "0", 23_400),
    ],
)
def test_candles_grow_old_only_while_the_market_is_open(
    timeframe: str, opened: str, now: str, age_s: str, bar_s: int
) -> None:
    basis = candle_basis(last_bar(timeframe, opened), utc(now))
    assert basis is not None
    assert (basis.age_s, basis.bar_s) == (Decimal(age_s), bar_s)


@pytest.mark.usefixtures("exchange_hours")
def test_age_of_a_candle_from_the_future_is_not_known() -> None:
    assert candle_basis(last_bar("1m", "2025-11-03 15:02"), utc("2025-11-03 15:01")) is None


def test_rehearsal_trades_round_the_clock(alpaca: AlpacaLoopback) -> None:
    feed = feed_for("alpaca")
    night = utc("2025-11-27 03:00")
    assert feed.trading_s(AAPL, night, night + timedelta(hours=1)) == 3_600
    assert feed.session_s(AAPL) == 86_400


@pytest.mark.parametrize(
    ("shown", "named"), [(7, "AAPL, BRK.B, KO, MSFT, OCGN, SNDL, SPY."), (2, "AAPL, BRK.B and 5 more.")]
)
def test_symbol_that_is_none_is_refused_with_some_that_are(
    alpaca: AlpacaLoopback, monkeypatch: pytest.MonkeyPatch, shown: int, named: str
) -> None:
    soon(lambda: feed_for("alpaca").symbols())
    monkeypatch.setattr(manager, "SYMBOLS_SHOWN_MAX", shown)
    with pytest.raises(BotActionError) as refused:
        check_symbol("alpaca", "TSLA")
    assert str(refused.value) == f"alpaca has no symbol 'TSLA'. Known are: {named}"
