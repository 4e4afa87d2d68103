"""Reading all that a plan is made from: the settings, the scan, its own bots and how they stand, and what bars new ones."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import Max
from django.utils import timezone

from audit.models import OperatorEvent
from bots import going_live, manager
from bots.accounts import account_name, load_account_books
from bots.autopilot import config as settings_of
from bots.autopilot import losses
from bots.autopilot.losses import Standing
from bots.autopilot.scan import Seen, symbols_of
from bots.autopilot.sectors import sector
from bots.autopilot.values import Candidate, Key, OwnBot, Rules, Situation, Stand
from bots.batch import RECENT
from bots.blocks import state_blocks
from bots.exposure import Market
from bots.ladder import Funds, LegCheck, check_ladder
from bots.market_data.base import MarketDataError
from bots.markets import Moment, market_for
from bots.models import (
    Account,
    AutopilotBot,
    AutopilotConfig,
    Bot,
    BotStatus,
    CloseMode,
    Order,
    PaperBroker,
    Phase,
    Position,
)
from bots.order_states import OPEN_STATES
from safety.kill_switch import StateBook
from safety.limits import LimitBook

#: Who pauses bots without being a person: what they paused may still be closed for its score.
AUTOMATIC = frozenset({"automatic", "worker", "system"})
TEXT_MAX = 300


def gather(config: AutopilotConfig, seen: Iterable[Seen], now: datetime, *, is_dry: bool = False) -> Situation:
    """Return the situation as of ``now``. ``is_dry``: nothing is written, not even what losses or an account come to."""
    moment, is_live = Moment(now), not config.dry_run
    standing = (
        losses.peek(config, moment, is_live=is_live) if is_dry else losses.measure(config, moment, is_live=is_live)
    )
    # New bots go by the losses of their book; those that it has, each by its own.
    books = {is_live: standing}
    if is_live:
        books[False] = losses.peek(config, moment, is_live=False)
    states, venues = StateBook.read(), {venue for venue, _ in symbols_of(config)}
    venues |= set(Bot.objects.filter(by_autopilot=True).values_list("venue", flat=True).distinct())
    halted = {venue: " ".join(one.message for one in state_blocks(states.reading(venue))) for venue in venues}
    locked = {venue: _locked(venue) for venue in venues} if is_live else {}
    return Situation(
        now=now,
        rules=rules_of(config),
        candidates=tuple(one.candidate for one in seen),
        own=tuple(own_bots(config, books)),
        taken=taken(),
        closed_at=closed_at(),
        halted={venue: text for venue, text in halted.items() if text},
        stopped=standing.stopped,
        unknown_losses=standing.unknown,
        locked={venue: text for venue, text in locked.items() if text},
        objection=Trial(config, now, may_measure=is_live and not is_dry).objection,
    )


def standing_of(config: AutopilotConfig, now: datetime) -> Standing:
    """Return how its losses stand in the book that it makes bots for, and write nothing."""
    return losses.peek(config, Moment(now), is_live=not config.dry_run)


def rules_of(config: AutopilotConfig) -> Rules:
    """Return the settings that a plan follows."""
    return Rules(
        slots=config.slots,
        sector_slots=config.sector_slots,
        score_min=config.score_min,
        score_demote=config.score_demote,
        total_capital_usd=config.total_capital_usd,
        is_by_conviction=config.is_by_conviction,
        asset_types=frozenset(config.asset_types),
        cooldown=timedelta(minutes=config.cooldown_minutes),
        is_flatten=config.close_mode == CloseMode.FLATTEN,
    )


def taken() -> dict[Key, str]:
    """Return for each symbol on which somebody else's bot stands the name of that bot.

    One on paper that the console itself fills has an account of its own, and is in nobody's way.
    """
    others = Bot.objects.filter(by_autopilot=False).exclude(status=BotStatus.ARCHIVED)
    others = others.exclude(dry_run=True, paper_broker=PaperBroker.BUILT_IN)
    return {
        (venue, symbol): name for venue, symbol, name in others.order_by("-pk").values_list("venue", "symbol", "name")
    }


def closed_at() -> dict[Key, datetime]:
    """Return when the last own bot of each symbol was closed."""
    closed = AutopilotBot.objects.filter(closed_at__isnull=False).values("bot__venue", "bot__symbol")
    rows = closed.annotate(at=Max("closed_at")).values_list("bot__venue", "bot__symbol", "at")
    return {(venue, symbol): at for venue, symbol, at in rows}


def own_bots(config: AutopilotConfig, books: Mapping[bool, Standing] | None = None) -> list[OwnBot]:
    """Return its bots that are not archived, and how each stands. ``books`` are the losses live and on paper, where known."""
    rows = AutopilotBot.objects.select_related("bot").exclude(bot__status=BotStatus.ARCHIVED).order_by("pk")
    found = []
    for row in rows:
        bot = row.bot
        stand, said = stand_of(row, is_live=not config.dry_run)
        is_flat = holds_nothing(bot)
        area = sector(bot.venue, bot.symbol)
        code, held = _held(bot, config, books or {})
        found.append(
            OwnBot(
                bot.pk,
                bot.name,
                bot.venue,
                bot.symbol,
                area,
                bot.capital_usd,
                stand,
                is_flat,
                said,
                held,
                code,
                _is_kept(row),
            )
        )
    return found


def _held(bot: Bot, config: AutopilotConfig, books: Mapping[bool, Standing]) -> tuple[str, str]:
    """Return why a bot that the autopilot paused may not buy again now, after its code; an empty text where it may."""
    if bot.is_live and config.dry_run:
        return "set_to_paper", "it is live, and the autopilot is set to paper. A person has to start it."
    standing = books.get(bot.is_live)
    if standing is None:
        return "", ""
    return ("loss_limit", standing.stopped) if standing.stopped else ("losses_unknown", standing.unknown)


def stand_of(row: AutopilotBot, *, is_live: bool) -> tuple[Stand, str]:
    """Return how a bot stands, and what is to be said of who or what changed it since the autopilot left it."""
    bot, phase = row.bot, Phase(row.phase)
    if bot.status == BotStatus.RUNNING:
        return (Stand.KEPT, "") if phase in losses.LET_GO_ON else (Stand.TRADING, "")
    if bot.status == BotStatus.STOPPED:
        if phase == Phase.STARTING:
            if is_live and bot.dry_run and bot.went_live_at is not None:
                return Stand.STARTING, "a person set it to paper meanwhile."
            return Stand.STARTING, "" if is_live else "the autopilot was set to paper meanwhile."
        if phase == Phase.WAITING:
            return Stand.WAITING, ""
    if bot.status == BotStatus.PAUSED:
        touched = "" if bot.status_reason == row.reason else bot.status_reason
        if phase == Phase.LEAVING and not _is_kept(row):
            return Stand.LEAVING, touched
        # One that a person had let go on before stays KEPT in its row: see losses.
        if phase in (Phase.LOSS_HOLD, Phase.KEPT) and not touched:
            return Stand.LOSS_HOLD, ""
    who = _who_held(bot)
    why = f": {bot.status_reason}" if bot.status_reason else ""
    said = f"It was {bot.status} by {who}{why}"[:TEXT_MAX].rstrip(".")
    is_control = bot.status == BotStatus.PAUSED and who in AUTOMATIC
    return (Stand.PAUSED if is_control else Stand.HANDS_OFF), said


def _is_kept(row: AutopilotBot) -> bool:
    """Return whether a person let a bot go on that was on its way out, also when it was paused again before any cycle looked."""
    if row.phase == Phase.KEPT:
        return True
    let_go_on_at = row.bot.attended_at
    return row.phase in losses.LET_GO_ON and let_go_on_at is not None and let_go_on_at > row.phase_at


def _who_held(bot: Bot) -> str:
    """Return who paused or stopped a bot last."""
    acts = OperatorEvent.objects.filter(action__in=("bot_paused", "bot_stopped"), object=f"bot:{bot.pk} {bot.name}")
    return acts.order_by("-id").values_list("actor", flat=True).first() or "somebody"


def holds_nothing(bot: Bot) -> bool:
    """Return whether a bot has no order that has not ended and holds no more than dust in any book. What isn't known is held."""
    if Order.objects.filter(bot=bot, status__in=OPEN_STATES).exists():
        return False
    books = Position.objects.filter(bot=bot)
    try:
        return all(not book.quantity or manager.is_dust(bot, book) for book in books)
    except ArithmeticError:
        # A price that is no number says nothing.
        return False


def _locked(venue: str) -> str:
    blocks = [one for one in settings_of.venue_live_blocks(venue) if one.code != "KILL_SWITCH"]
    return " ".join(one.message for one in blocks)[: 3 * TEXT_MAX]


class Trial:
    """Tries every purchase that a new bot may come to make on the controls, beforehand. Nothing is placed."""

    def __init__(self, config: AutopilotConfig, now: datetime, *, may_measure: bool) -> None:
        self._config, self._now, self._is_live = config, now, not config.dry_run
        self._may_measure = may_measure
        self._limits = LimitBook.read([]).for_bot(0, is_live=self._is_live)

    def objection(self, candidate: Candidate, capital_usd: Decimal) -> str:
        """Return why a bot with this capital could not make all its purchases there; an empty text where it could."""
        try:
            market = market_for(candidate.venue, candidate.symbol, self._now)
            funds = self._funds(market)
            if funds is None:
                return f"What the live account at {candidate.venue} holds is not known now."
            bot = Bot(
                venue=candidate.venue,
                symbol=candidate.symbol,
                strategy=candidate.strategy or "",
                params={},
                capital_usd=capital_usd,
            )
            legs = check_ladder(bot, market, self._limits, funds, is_live=self._is_live, now=self._now)
        except MarketDataError as error:
            return str(error)
        except ArithmeticError as error:
            # A figure that is no number, of one symbol: the others go on.
            return f"What its orders would come to can't be said: {error!r}"
        return _first_denial(legs)

    def _funds(self, market: Market) -> Funds | None:
        """Return the account that a new bot would trade on, or None where that is not known."""
        if not self._is_live:
            # As large as all that the autopilot may use: that is the account which its paper bots rehearse.
            return Funds(self._config.total_capital_usd)
        quote = market.view.quote
        if self._may_measure:
            going_live.measure_first(quote.venue)
        # Read anew, since the venue may have taken its time to answer.
        now = timezone.now()
        try:
            shared = load_account_books(account_name(quote.venue, is_live=True), now - RECENT)
        except Account.DoesNotExist:
            return None
        equity, committed = shared.equity_usd(quote, now), shared.gross_exposure_usd(quote, now)
        return None if equity is None or committed is None else Funds(equity, committed)


def _first_denial(legs: Iterable[LegCheck]) -> str:
    for one in legs:
        if not one.passes:
            return f"{one.leg.name}: {one.denials[0].message}"
    return ""
