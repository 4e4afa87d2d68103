"""What the autopilot's page shows: each symbol's last score and how it came there, its decisions and its cycles."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from audit import figures
from bots.admin.autopilot import summary_shown
from bots.admin.overview import BotOverview, overviews, with_books
from bots.autopilot.preview import Plan
from bots.autopilot.reading import BookFigures, BotFigures, Overview
from bots.autopilot.values import Decision, Kind
from bots.models import AutopilotConfig, AutopilotCycle, AutopilotDecision, Bot, CycleStatus, Recommendation
from tradingops.autopilot_status import own_bots
from tradingops.sparklines import POINTS_MAX, Sparkline, sparkline

SYMBOLS_SHOWN = 40
DECISIONS_SHOWN = 15
CYCLES_SHOWN = 8
BOTS_SHOWN = 100
CLOSED_SHOWN = 10
#: So many scores are looked at for the charts and the order of the symbols, however large the universe is.
SCORES_READ_MAX = 6_000
SCANS_MIN = 3
#: A cycle that began so long ago is not under way any more, whatever its row says: the next one calls it lost.
CYCLE_LIFE_MAX = timedelta(minutes=10)
HUNDRED = Decimal(100)
WOULD = {
    Kind.CREATED: "make",
    Kind.STARTED: "start",
    Kind.CLOSED: "close",
    Kind.DEMOTED: "let go",
    Kind.PROMOTED: "take back",
    Kind.KEPT: "keep",
    Kind.WATCHED: "watch",
    Kind.SKIPPED: "skip",
}


@dataclass(frozen=True, slots=True)
class SymbolView:
    """One symbol: what the last scan thought of it, the chart of its scores, and the bot that trades it."""

    row: Recommendation
    chart: Sparkline
    zone: str
    bot: Bot | None

    @property
    def change(self) -> str:
        """Return how the score moved since the scan before."""
        if self.row.score_before is None:
            return ""
        moved = self.row.score - self.row.score_before
        return f"{moved:+d}" if moved else "±0"

    @property
    def reasons(self) -> list[str]:
        """Return why less than everything is allowed."""
        return [str(one.get("message", "")) for one in self.row.reasons if isinstance(one, dict)]

    @property
    def parts(self) -> list[tuple[str, Any]]:
        """Return the parts of the score by their names."""
        return [(name.replace("_", " "), value) for name, value in sorted(self.row.parts.items())]


@dataclass(frozen=True, slots=True)
class OwnBotView:
    """One of its bots at work: what the autopilot knows of it, and what every page shows of a bot."""

    figures: BotFigures
    seen: BotOverview


@dataclass(frozen=True, slots=True)
class WouldView:
    """What a cycle would decide about a symbol: the decision, what it would do in a word, and the kind of market."""

    decision: Decision
    verb: str
    regime: str


@dataclass(frozen=True, slots=True)
class CycleView:
    """One cycle, with what it came to in words."""

    row: AutopilotCycle

    @property
    def counts(self) -> str:
        """Return what it came to."""
        return summary_shown(self.row.summary)

    @property
    def took_s(self) -> str:
        """Return how long it took."""
        if self.row.finished_at is None:
            return ""
        return f"{(self.row.finished_at - self.row.started_at).total_seconds():.1f} s"


def symbols(config: AutopilotConfig) -> tuple[list[SymbolView], int]:
    """Return the symbols of the universe that were scanned, the best score first, and how many more there are."""
    size = max(1, sum(len(some) for some in config.universe.values()))
    scans = max(SCANS_MIN, min(POINTS_MAX, SCORES_READ_MAX // size))
    cycles = list(AutopilotCycle.objects.order_by("-id").values_list("pk", flat=True)[:scans])
    found = Recommendation.objects.filter(cycle_id__in=cycles).order_by("-id")
    history: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for pk, venue, symbol, score in found.values_list("pk", "venue", "symbol", "score")[:SCORES_READ_MAX]:
        if symbol in config.universe.get(venue, ()):
            history.setdefault((venue, symbol), []).append((pk, score))
    best = sorted(history, key=lambda key: (-history[key][0][1], key))
    rows = Recommendation.objects.in_bulk([history[key][0][0] for key in best[:SYMBOLS_SHOWN]])
    trading = {(bot.venue, bot.symbol): bot for bot in own_bots().only("pk", "name", "venue", "symbol")}
    views = [
        SymbolView(
            row=rows[history[key][0][0]],
            chart=_chart([score for _, score in reversed(history[key])], config),
            zone=zone(history[key][0][1], config),
            bot=trading.get(key),
        )
        for key in best[:SYMBOLS_SHOWN]
        if history[key][0][0] in rows
    ]
    return views, len(best) - len(views)


def _chart(scores: list[int], config: AutopilotConfig) -> Sparkline:
    return sparkline(scores, enter=config.score_min, leave=config.score_demote)


def zone(score: int, config: AutopilotConfig) -> str:
    """Return where a score stands: it may get a bot, it is watched, or it may not keep one."""
    if score >= config.score_min:
        return "enter"
    return "watch" if score >= config.score_demote else "leave"


def decisions() -> list[AutopilotDecision]:
    """Return the last decisions, newest first."""
    return list(AutopilotDecision.objects.select_related("bot").order_by("-id")[:DECISIONS_SHOWN])


def cycles() -> list[CycleView]:
    """Return the last cycles, newest first."""
    return [CycleView(row) for row in AutopilotCycle.objects.order_by("-id")[:CYCLES_SHOWN]]


def running_cycle(now: datetime) -> AutopilotCycle | None:
    """Return the cycle that is under way, if one is."""
    running = AutopilotCycle.objects.filter(status=CycleStatus.RUNNING, started_at__gt=now - CYCLE_LIFE_MAX)
    return running.order_by("-id").first()


def own_views(found: Overview, now: datetime) -> tuple[list[OwnBotView], list[BotFigures]]:
    """Return its bots at work as pages show bots, and the last ones that were closed."""
    at_work = [one for one in found.bots if one.stand is not None][:BOTS_SHOWN]
    seen = overviews(with_books(Bot.objects.filter(pk__in=[one.own.pk for one in at_work])), now)
    views = {one.bot.pk: one for one in seen}
    closed = [one for one in found.bots if one.stand is None][:CLOSED_SHOWN]
    return [OwnBotView(one, views[one.own.pk]) for one in at_work if one.own.pk in views], closed


def books_in_use(found: Overview) -> list[BookFigures]:
    """Return the books that one of its bots is in; paper and live are never added together."""
    return [book for book in (found.paper, found.live) if book.bots] or [found.paper]


def would_do(found: Plan) -> list[WouldView]:
    """Return what a cycle would decide, as people read it, each with the kind of market that was seen."""
    regimes = {(one.venue, one.symbol): one.regime for one in found.seen}
    return [WouldView(one, WOULD.get(one.kind, one.kind), regimes.get(one.key, "")) for one in found.decisions]


def at_stake(config: AutopilotConfig, *, is_live: bool | None = None) -> str:
    """Return what it may do and lose with these settings, in words; as they are, or as if it were live."""
    capital, slots = config.total_capital_usd, config.slots
    day, week = capital * config.daily_loss_pct / HUNDRED, capital * config.weekly_loss_pct / HUNDRED
    real = not config.dry_run if is_live is None else is_live
    money = "with REAL MONEY" if real else "on paper, with no real money"
    return (
        f"It may have up to {slots} bot{'' if slots == 1 else 's'} with {figures.money(capital)} together, {money}. "
        "At worst, if every price goes to zero, they lose all of that. It stops making bots, and its bots stop buying, "
        f"once they have lost {figures.money(day)} in a UTC day or {figures.money(week)} in a week; what they hold by then "
        "can still lose more."
    )
