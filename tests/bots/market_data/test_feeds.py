"""Which venue has a feed."""

import pytest

from bots.market_data.base import MarketDataError
from bots.market_data.datasets import manifest
from bots.market_data.feeds import feed_for, known_symbols, replay_feed


def test_replay_is_one_feed_per_process() -> None:
    assert feed_for("replay") is feed_for("replay") is replay_feed()


@pytest.mark.parametrize(("venue", "name"), [("kraken", "Kraken"), ("alpaca", "Alpaca")])
def test_real_venue_says_that_it_cannot_trade_yet(venue: str, name: str) -> None:
    with pytest.raises(MarketDataError, match=f"The {name} feed comes with the real venues"):
        feed_for(venue)


@pytest.mark.parametrize("venue", ["", "REPLAY", "nyse"])
def test_unknown_venue_is_refused(venue: str) -> None:
    with pytest.raises(MarketDataError, match="no venue called"):
        feed_for(venue)


def test_known_symbols_are_those_of_the_recordings() -> None:
    assert known_symbols() == {"replay": tuple(manifest())}
