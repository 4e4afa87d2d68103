"""Which venue has a feed."""

import subprocess
import sys

import pytest

from bots.market_data.base import MarketDataError
from bots.market_data.datasets import manifest
from bots.market_data.feeds import feed_for, known_symbols, replay_feed
from tests.loopback.client import AlpacaLoopback, KrakenLoopback


def test_replay_is_one_feed_per_process() -> None:
    assert feed_for("replay") is feed_for("replay") is replay_feed()


def test_kraken_is_one_feed_per_process(kraken: KrakenLoopback) -> None:
    assert feed_for("kraken") is feed_for("kraken")
    assert kraken.log() == []


def test_alpaca_is_one_feed_per_process(alpaca: AlpacaLoopback) -> None:
    assert feed_for("alpaca") is feed_for("alpaca")
    assert (alpaca.data.log(), alpaca.paper.log(), alpaca.live.log()) == ([], [], [])


def test_alpaca_without_a_key_says_what_to_set() -> None:
    with pytest.raises(MarketDataError, match="set ALPACA_API_KEY_PAPER and ALPACA_API_SECRET_PAPER"):
        feed_for("alpaca")


def test_rehearsal_of_one_venue_asks_no_other(alpaca: AlpacaLoopback) -> None:
    with pytest.raises(MarketDataError, match="In a rehearsal Kraken is off"):
        feed_for("kraken")


@pytest.mark.parametrize("venue", ["", "REPLAY", "nyse"])
def test_unknown_venue_is_refused(venue: str) -> None:
    with pytest.raises(MarketDataError, match="no venue called"):
        feed_for(venue)


def test_known_symbols_are_those_of_the_recordings_where_no_venue_is_in_reach() -> None:
    assert known_symbols() == {"replay": tuple(manifest())}


def test_known_symbols_of_alpaca_are_those_that_it_trades(alpaca: AlpacaLoopback) -> None:
    # The list is large: the first question may find it under way.
    known = alpaca.data.wait_until(known_symbols, lambda found: "alpaca" in found, 30)
    assert known["alpaca"] == ("AAPL", "BRK.B", "KO", "MSFT", "OCGN", "SNDL", "SPY")


def test_known_symbols_of_kraken_are_those_in_dollars(kraken: KrakenLoopback) -> None:
    assert known_symbols()["kraken"] == ("BTC/USD", "BTC/USDT", "DOGE/USD", "ETH/USD", "SOL/USD")


def test_neither_feeds_nor_brokers_load_the_venue_library_before_it_is_needed() -> None:
    code = (
        "import sys, django; django.setup(); import bots.market_data.feeds, bots.brokers.factory, bots.market_data.kraken;"
        "sys.exit('ccxt' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
