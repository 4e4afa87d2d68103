"""What trading costs, by venue: the lowest tier of each venue's public fee schedule, as of 2025."""

from decimal import Decimal

from bots.brokers.base import FeeSchedule
from bots.market_data.base import MarketDataError
from bots.market_data.datasets import VENUE as REPLAY
from bots.market_data.datasets import manifest

FEES = {
    # Kraken Pro, spot, under 10,000 USD in 30 days: 0.25 % maker, 0.40 % taker.
    "kraken": FeeSchedule(maker=Decimal("0.0025"), taker=Decimal("0.0040")),
    # Alpaca takes no commission on US stocks. What regulators take of sales is charged at the end of the day, in one sum for the
    # account, and told of at no fill: see docs/stocks.md.
    "alpaca": FeeSchedule(maker=Decimal(0), taker=Decimal(0)),
}


def fees_for(venue: str, symbol: str) -> FeeSchedule:
    """Return the fees of ``symbol``; a recording has those of the venue that it stands for.

    Raises MarketDataError when they are not known, since an order must not pass as free of charge by mistake.
    """
    key = venue
    if venue == REPLAY:
        info = manifest().get(symbol)
        key = "" if info is None else info.fee_key
    fees = FEES.get(key)
    if fees is None:
        raise MarketDataError(f"The fees of {symbol!r} at {venue!r} are not known")
    return fees
