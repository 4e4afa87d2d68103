"""The markets that a bot can be made for: those priced in US dollars, by venue."""

from dataclasses import dataclass

from bots.market_data.base import MarketDataError
from bots.market_data.feeds import feed_for
from bots.models import Venue
from safety.controls.market import QUOTE_CURRENCIES

VENUE_TITLES = {
    Venue.REPLAY.value: "Replay: real prices that were recorded, never live",
    Venue.KRAKEN.value: "Kraken: crypto",
    Venue.ALPACA.value: "Alpaca: US stocks",
}


@dataclass(frozen=True, slots=True)
class Market:
    """One symbol at one venue."""

    venue: str
    symbol: str

    @property
    def key(self) -> str:
        """Return how a form names it."""
        return f"{self.venue}:{self.symbol}"

    @property
    def label(self) -> str:
        """Return how a list shows it; recorded data is always marked."""
        return f"{self.symbol} · REPLAY, recorded data" if self.venue == Venue.REPLAY else self.symbol


@dataclass(frozen=True, slots=True)
class Offer:
    """The markets by the titles of their venues, and sentences on the venues whose symbols can't be listed now."""

    groups: list[tuple[str, list[Market]]]
    silent: list[str]


def offer() -> Offer:
    """Return every market that is priced in dollars. Each venue is asked once."""
    groups, silent = [], []
    for venue in Venue.values:
        try:
            feed = feed_for(venue)
            markets = [
                Market(venue, one) for one in feed.symbols() if feed.rules(one).quote_currency in QUOTE_CURRENCIES
            ]
        except MarketDataError as error:
            title, text = VENUE_TITLES[venue].partition(":")[0], str(error).rstrip(".")
            silent.append(f"{text}." if text.startswith(title) else f"{title}: {text}.")
            continue
        groups.append((VENUE_TITLES[venue], markets))
    return Offer([group for group in groups if group[1]], silent)


def why_not(venue: str, symbol: str) -> str:
    """Return why no bot can be made for this symbol, or an empty text."""
    try:
        feed = feed_for(venue)
        currency = feed.rules(symbol).quote_currency
        is_known = symbol in feed.symbols()
    except MarketDataError as error:
        return f"It can't be chosen: {str(error).rstrip('.')}."
    if currency not in QUOTE_CURRENCIES:
        return f"{symbol} is priced in {currency}. Choose one that is priced in USD, USDT or USDC: every limit is in dollars."
    return "" if is_known else f"{symbol} can't be traded at {venue} now. Choose another one."
