"""Fees by venue; a recording pays what its real venue takes."""

from decimal import Decimal

import pytest

from bots.brokers.base import FeeSchedule
from bots.brokers.fees import FEES, fees_for
from bots.market_data.base import MarketDataError
from bots.market_data.datasets import manifest

KRAKEN = FeeSchedule(maker=Decimal("0.0025"), taker=Decimal("0.004"))
FREE = FeeSchedule(maker=Decimal(0), taker=Decimal(0))


@pytest.mark.parametrize(
    ("venue", "symbol", "fees"),
    [
        ("kraken", "BTC/USD", KRAKEN),
        ("alpaca", "SPY", FREE),
        ("replay", "BTC-PERP", KRAKEN),
        ("replay", "SPY", FREE),
        ("replay", "AAPL", FREE),
        ("replay", "SPX", FREE),
    ],
)
def test_fees_are_those_of_the_venue_that_the_symbol_stands_for(venue: str, symbol: str, fees: FeeSchedule) -> None:
    assert fees_for(venue, symbol) == fees


@pytest.mark.parametrize(("venue", "symbol"), [("replay", "DOGE"), ("nyse", "SPY"), ("", "SPY")])
def test_unknown_fees_are_refused_and_not_taken_for_zero(venue: str, symbol: str) -> None:
    with pytest.raises(MarketDataError, match="not known"):
        fees_for(venue, symbol)


def test_every_recording_names_fees_that_exist() -> None:
    assert {info.fee_key for info in manifest().values()} <= set(FEES)
    assert all(0 <= fees.maker <= fees.taker < 1 for fees in FEES.values())
