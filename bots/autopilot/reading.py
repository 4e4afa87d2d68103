"""What pages show of the autopilot: what is in use, how its bots do against holding the same symbols, and scores over time."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import Max

from bots.autopilot import config as settings_of
from bots.autopilot import losses
from bots.autopilot.scan import symbols_of
from bots.autopilot.sectors import sector
from bots.autopilot.situation import stand_of
from bots.autopilot.values import Key, Stand
from bots.books import EXACT
from bots.market_data.base import MarketDataError
from bots.markets import Moment
from bots.models import AutopilotBot, AutopilotConfig, BotStatus, Position, Recommendation

BOTS_MAX = 500
HISTORY_MAX = 20_000
HUNDRED = Decimal(100)


@dataclass(frozen=True, slots=True)
class BotFigures:
    """One of its bots. ``pnl_usd`` is realised and unrealised, net of fees; None: not known.

    ``held_usd`` is what its capital would have made in the same symbol from when it was made until it was closed, or until now,
    before fees. ``stand`` is None once it is archived; ``said`` is who or what paused it.
    """

    own: AutopilotBot
    stand: Stand | None
    said: str
    pnl_usd: Decimal | None
    held_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class BookFigures:
    """What all its bots made on paper, or live, and its loss limits. Money in USD; None: not known.

    ``held_usd`` is what holding the same symbols would have made, of the bots of which both prices are known; ``held_bots`` of
    ``bots`` are those. ``stopped`` is which limit keeps it from making bots, until ``stopped_until``.
    """

    is_live: bool
    bots: int
    pnl_usd: Decimal | None
    held_usd: Decimal | None
    held_bots: int
    day_lost_usd: Decimal | None
    day_limit_usd: Decimal
    week_lost_usd: Decimal | None
    week_limit_usd: Decimal
    stopped: str = ""
    stopped_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Overview:
    """Slots and capital in use, by sector too, its bots (those at work first), and the books of paper and live."""

    slots: int
    slots_used: int
    capital_total_usd: Decimal
    capital_used_usd: Decimal
    by_sector: dict[str, int]
    bots: tuple[BotFigures, ...]
    paper: BookFigures
    live: BookFigures


def overview(now: datetime) -> Overview:
    """Return how things stand now. It asks the markets of what its bots trade, and writes nothing."""
    config, moment = settings_of.read(), Moment(now)
    rows = list(AutopilotBot.objects.select_related("bot").order_by("-pk")[:BOTS_MAX])
    books = _books(rows)
    figures = [_figures(one, books, moment, config) for one in rows]
    at_work = [one for one in figures if one.stand is not None]
    by_sector: dict[str, int] = {}
    for one in at_work:
        area = sector(one.own.bot.venue, one.own.bot.symbol)
        by_sector[area] = by_sector.get(area, 0) + 1
    return Overview(
        slots=config.slots,
        slots_used=len(at_work),
        capital_total_usd=config.total_capital_usd,
        capital_used_usd=sum((one.own.bot.capital_usd for one in at_work), Decimal(0)),
        by_sector=by_sector,
        bots=tuple(sorted(figures, key=lambda one: (one.stand is None, -one.own.pk))),
        paper=_book(config, figures, moment, is_live=False),
        live=_book(config, figures, moment, is_live=True),
    )


def latest() -> list[Recommendation]:
    """Return what the last scan that saw it thought of each symbol of the universe, the best score first."""
    wanted = set(symbols_of(settings_of.read()))
    newest = Recommendation.objects.order_by().values("venue", "symbol").annotate(newest=Max("pk"))
    rows = Recommendation.objects.filter(pk__in=[one["newest"] for one in newest])
    return sorted((one for one in rows if (one.venue, one.symbol) in wanted), key=lambda one: (-one.score, one.symbol))


def watch_list() -> list[Recommendation]:
    """Return the symbols that are good enough to stay and not to be let in."""
    config = settings_of.read()
    return [one for one in latest() if config.score_demote <= one.score < config.score_min]


def histories(now: datetime, *, over: timedelta = timedelta(days=1)) -> dict[Key, list[tuple[datetime, int]]]:
    """Return when each symbol was scanned since then and with which score, oldest first; a bounded number of rows."""
    rows = Recommendation.objects.filter(scanned_at__gte=now - over).order_by("-pk")
    found: dict[Key, list[tuple[datetime, int]]] = {}
    for venue, symbol, at, score in rows.values_list("venue", "symbol", "scanned_at", "score")[:HISTORY_MAX]:
        found.setdefault((venue, symbol), []).append((at, score))
    return {key: history[::-1] for key, history in found.items()}


def _books(rows: Iterable[AutopilotBot]) -> dict[tuple[int, bool], Position]:
    found = Position.objects.filter(bot_id__in=[one.pk for one in rows])
    return {(one.bot_id, one.is_live): one for one in found}


def _figures(
    own: AutopilotBot, books: dict[tuple[int, bool], Position], moment: Moment, config: AutopilotConfig
) -> BotFigures:
    bot = own.bot
    is_over = bot.status == BotStatus.ARCHIVED
    stand, said = (None, "") if is_over else stand_of(own, is_live=not config.dry_run)
    price = own.closed_price if is_over else _mark(own, moment)
    book = books.get((own.pk, bot.is_live))
    pnl: Decimal | None = Decimal(0)
    if book is not None:
        pnl = _pnl(book, price)
    held = None
    if price is not None and own.made_price:
        held = EXACT.multiply(bot.capital_usd, price / own.made_price - 1).quantize(losses.STEP_USD)
    return BotFigures(own, stand, said, pnl, held)


def _pnl(book: Position, price: Decimal | None) -> Decimal | None:
    if not book.quantity:
        return book.realised_pnl
    if price is None:
        return None
    return book.realised_pnl + EXACT.subtract(EXACT.multiply(book.quantity, price), book.cost)


def _mark(own: AutopilotBot, moment: Moment) -> Decimal | None:
    try:
        return moment.mark(own.bot.venue, own.bot.symbol)
    except MarketDataError:
        return None


def _book(config: AutopilotConfig, figures: list[BotFigures], moment: Moment, *, is_live: bool) -> BookFigures:
    standing = losses.peek(config, moment, is_live=is_live)
    row = standing.losses
    mine = [one for one in figures if one.own.bot.is_live == is_live]
    known = [one.held_usd for one in mine if one.held_usd is not None]
    pnl = None if standing.unknown else row.pnl_usd
    return BookFigures(
        is_live=is_live,
        bots=len(mine),
        pnl_usd=pnl,
        held_usd=sum(known, Decimal(0)) if known else None,
        held_bots=len(known),
        day_lost_usd=_lost(row.day_start_pnl_usd, pnl),
        day_limit_usd=config.total_capital_usd * config.daily_loss_pct / HUNDRED,
        week_lost_usd=_lost(row.week_start_pnl_usd, pnl),
        week_limit_usd=config.total_capital_usd * config.weekly_loss_pct / HUNDRED,
        stopped=standing.stopped,
        stopped_until=row.stopped_until if standing.stopped else None,
    )


def _lost(start_usd: Decimal | None, pnl_usd: Decimal | None) -> Decimal | None:
    """Return what was lost since then; 0 for a gain."""
    return None if start_usd is None or pnl_usd is None else max(start_usd - pnl_usd, Decimal(0))
