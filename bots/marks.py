"""What a book is worth now: the price it is valued at, where that came from, and how old it is."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from bots.books import EXACT
from bots.exposure import Market
from bots.market_data.base import MarketDataError
from bots.markets import Moment
from bots.models import Bot, Position

STORED = "last stored price"


@dataclass(frozen=True, slots=True)
class Mark:
    """The price a position is valued at: what it would sell for now (the bid), or else the last price that is stored."""

    price: Decimal
    seen_at: datetime | None
    source: str
    is_stale: bool


@dataclass(frozen=True, slots=True)
class Valuation:
    """One book at its mark, in the quote currency. None means *not known*, never zero; ``problem`` says why, or what is odd."""

    position: Position
    mark: Mark | None
    problem: str = ""

    @property
    def value(self) -> Decimal | None:
        """Return what the position is worth at the mark: zero when flat, None without a mark."""
        if not self.position.quantity:
            return Decimal(0)
        return None if self.mark is None else EXACT.multiply(self.position.quantity, self.mark.price)

    @property
    def unrealised_pnl(self) -> Decimal | None:
        """Return the value less the cost, or None without a mark."""
        return None if self.value is None else EXACT.subtract(self.value, self.position.cost)

    @property
    def pnl(self) -> Decimal | None:
        """Return realised and unrealised P&L together, net of fees, or None without a mark."""
        gain = self.unrealised_pnl
        return None if gain is None else EXACT.add(self.position.realised_pnl, gain)

    @property
    def average_price(self) -> Decimal | None:
        """Return the average cost of one unit, or None when flat."""
        return EXACT.divide(self.position.cost, self.position.quantity) if self.position.quantity else None


def valued(position: Position, bot: Bot, moment: Moment) -> Valuation:
    """Return a book of ``bot`` at the market's price as of ``moment``; at its stored price, and said so, where there is none."""
    market, problem = market_of(bot, moment)
    mark = mark_of(position, market, moment)
    if not position.quantity:
        return Valuation(position, mark)
    return Valuation(position, mark, problem or quote_problem(market, moment.now))


def market_of(bot: Bot, moment: Moment) -> tuple[Market | None, str]:
    """Return the bot's market, or None and why there is none."""
    try:
        return moment.market(bot.venue, bot.symbol), ""
    except MarketDataError as error:
        return None, str(error)


def mark_of(position: Position, market: Market | None, moment: Moment) -> Mark | None:
    """Return the price that a book in this market is valued at: the stored one without a market, None without any."""
    if market is None:
        return stored_mark(position)
    quote = market.view.quote
    try:
        price = moment.mark(quote.venue, quote.symbol)
    except MarketDataError:
        return stored_mark(position)
    source = quote.source if market.view.is_open else f"{quote.source}, the session's last price"
    return Mark(price, quote.seen_at, source, is_stale(market, moment.now))


def stored_mark(position: Position) -> Mark | None:
    """Return the last price that is stored, which nobody vouches for any more, or None."""
    if position.mark_price is None:
        return None
    return Mark(position.mark_price, position.marked_at, STORED, True)


def quote_problem(market: Market | None, now: datetime) -> str:
    """Return what is odd about a market's price, for people; an empty text when nothing is."""
    if market is not None and not market.view.is_open:
        return "The market is closed."
    return "The quote is too old to enter on." if market is not None and is_stale(market, now) else ""


def is_stale(market: Market, now: datetime) -> bool:
    """Return whether a market's quote is older than its feed's own limit."""
    return now - market.view.quote.seen_at > timedelta(seconds=float(market.quote_age_max_s))
