"""What kind of instrument a symbol is, as far as the price collar asks: is its market deep, so that prices hardly jump?"""

from bots.models.bot import Venue

# The coins with the deepest USD markets at Kraken, month after month. Whatever is not named here gets the wider collar.
MAJOR_COINS = frozenset({"BTC", "XBT", "ETH", "SOL", "XRP", "ADA", "DOGE", "LTC"})
# Where a symbol without a separator is a stock or an index.
_STOCK_VENUES = frozenset({Venue.ALPACA, Venue.REPLAY})


def is_major(venue: str, symbol: str) -> bool:
    """Return whether a symbol is one of the major coins, a stock or an index."""
    base = symbol.replace("-", "/").split("/")[0]
    if base != symbol:
        return base in MAJOR_COINS
    return venue in _STOCK_VENUES
