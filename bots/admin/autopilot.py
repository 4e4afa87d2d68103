"""The autopilot's rows, to look at only: its settings change on its own page, and nowhere else."""

import json
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from audit import figures
from audit.admin import HistoryAdmin, market_shown
from audit.admin_base import ReadOnlyModelAdmin, display
from audit.admin_filters import DayFilter
from bots.models import AutopilotConfig, AutopilotCycle, AutopilotDecision, Recommendation

ERROR_CHARS_MAX = 160
SYMBOLS_MAX = 500
CYCLE_COLOURS = {"Running": "info", "Done": "success", "Failed": "danger", "Lost": "warning"}
KIND_COLOURS = {
    "created": "success",
    "started": "success",
    "promoted": "success",
    "closed": "danger",
    "demoted": "warning",
    "skipped": "info",
    "failed": "danger",
}
KINDS = ("created", "started", "closed", "demoted", "promoted", "kept", "watched", "skipped", "failed")


class StartedFilter(DayFilter):
    """A stretch of UTC days up to now, by when the cycle began."""

    field = "started_at"


class DecidedFilter(DayFilter):
    """A stretch of UTC days up to now, by when it was decided."""

    field = "decided_at"


class ScannedFilter(DayFilter):
    """A stretch of UTC days up to now, by when the market was scanned."""

    field = "scanned_at"


class KindFilter(admin.SimpleListFilter):
    """What was decided."""

    title = "decision"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return every kind of decision."""
        return [(kind, kind.capitalize()) for kind in KINDS]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Return the decisions of one kind."""
        return queryset.filter(kind=self.value()) if self.value() in KINDS else queryset


class UniverseFilter(admin.SimpleListFilter):
    """One symbol, of those that the autopilot may trade."""

    title = "symbol"
    parameter_name = "symbol"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the symbols of the universe as it is now; the search finds the others."""
        config = AutopilotConfig.objects.filter(pk=1).first()
        universe = {} if config is None else config.universe
        return [(one, one) for one in sorted({symbol for some in universe.values() for symbol in some})[:SYMBOLS_MAX]]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Return the rows of one symbol."""
        return queryset.filter(symbol=self.value()) if self.value() else queryset


class OfSymbolAdmin(HistoryAdmin):
    """Rows that are about a symbol each; the search takes a whole one, which an index answers."""

    search_fields = ("symbol",)
    search_help_text = "A symbol, in full"

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Look for a whole symbol."""
        term = search_term.strip()
        return (queryset.filter(symbol=term) if term else queryset), False

    @display(description="Market")
    def market(self, row: Any) -> SafeString | str:
        """Return symbol and venue; what is about everything has none."""
        return market_shown(row.symbol, row.venue) if row.symbol else "everything"


@admin.register(AutopilotConfig)
class AutopilotConfigAdmin(ReadOnlyModelAdmin):
    """The one row of settings. The page Autopilot changes it."""

    list_display = ("name", "state", "money", "profile", "slots", "score_min", "score_demote", "scan_interval_s")
    sortable_by = ()
    fieldsets = (
        (None, {"fields": ("state", "money", "profile")}),
        ("Where", {"fields": ("universe_shown", "asset_types_shown")}),
        ("How much", {"fields": ("capital", "is_by_conviction", "slots", "sector_slots")}),
        ("When", {"fields": ("score_min", "score_demote", "cooldown_minutes", "scan_interval_s", "auto_start")}),
        ("Until when", {"fields": ("daily_loss_pct", "weekly_loss_pct", "close_mode")}),
    )
    readonly_fields = ("state", "money", "universe_shown", "asset_types_shown", "capital")

    @display(description="Autopilot")
    def name(self, config: AutopilotConfig) -> str:
        """Return the row's name."""
        return str(config)

    @display(description="Is", label={"On": "success", "Off": "info"})
    def state(self, config: AutopilotConfig) -> str:
        """Return whether it is switched on."""
        return "On" if config.enabled else "Off"

    @display(description="Trades", label={"On paper": "info", "With real money": "danger"})
    def money(self, config: AutopilotConfig) -> str:
        """Return what its bots trade with."""
        return "On paper" if config.dry_run else "With real money"

    @display(description="Symbols by venue")
    def universe_shown(self, config: AutopilotConfig) -> SafeString | str:
        """Return the universe as it is kept."""
        return _plain(config.universe) if config.universe else "none"

    @display(description="Kinds of assets")
    def asset_types_shown(self, config: AutopilotConfig) -> str:
        """Return which kinds it may trade."""
        return ", ".join(config.asset_types) or "all"

    @display(description="Capital of all its bots")
    def capital(self, config: AutopilotConfig) -> str:
        """Return what its bots may have together."""
        return figures.money(config.total_capital_usd)


@admin.register(AutopilotCycle)
class AutopilotCycleAdmin(HistoryAdmin):
    """Its cycles, newest first."""

    list_display = ("started", "finished", "state", "trigger", "counts", "problem")
    list_filter = (("status", admin.ChoicesFieldListFilter), StartedFilter)
    fields = ("started", "finished", "state", "trigger", "holder", "counts", "error")
    readonly_fields = ("started", "finished", "state", "counts")

    @display(description="Began (UTC)")
    def started(self, cycle: AutopilotCycle) -> str:
        """Return when it began."""
        return f"{cycle.started_at:%Y-%m-%d %H:%M:%S}"

    @display(description="Took")
    def finished(self, cycle: AutopilotCycle) -> str:
        """Return how long it took."""
        if cycle.finished_at is None:
            return "not ended"
        return f"{(cycle.finished_at - cycle.started_at).total_seconds():.1f} s"

    @display(description="State", label=CYCLE_COLOURS)
    def state(self, cycle: AutopilotCycle) -> str:
        """Return how far it came."""
        return cycle.get_status_display()

    @display(description="Came to")
    def counts(self, cycle: AutopilotCycle) -> str:
        """Return what it came to."""
        return summary_shown(cycle.summary)

    @display(description="What went wrong")
    def problem(self, cycle: AutopilotCycle) -> str:
        """Return the error, cut to what fits a row."""
        return cycle.error[:ERROR_CHARS_MAX] or "–"


@admin.register(AutopilotDecision)
class AutopilotDecisionAdmin(OfSymbolAdmin):
    """What it decided about each symbol, and why; newest first."""

    list_display = ("decided", "kind_shown", "market", "score_shown", "reason", "bot_shown")
    list_filter = (KindFilter, UniverseFilter, DecidedFilter)
    list_select_related = ("bot",)
    fields = ("decided", "kind_shown", "market", "score_shown", "code", "reason", "bot_shown", "cycle", "facts_shown")
    readonly_fields = ("decided", "kind_shown", "market", "score_shown", "bot_shown", "facts_shown")

    @display(description="When (UTC)")
    def decided(self, decision: AutopilotDecision) -> str:
        """Return when it was decided."""
        return f"{decision.decided_at:%Y-%m-%d %H:%M:%S}"

    @display(description="Decided", label={kind.capitalize(): colour for kind, colour in KIND_COLOURS.items()})
    def kind_shown(self, decision: AutopilotDecision) -> str:
        """Return what was decided, in a word."""
        return decision.kind.capitalize()

    @display(description="Score")
    def score_shown(self, decision: AutopilotDecision) -> str:
        """Return the score it was decided at."""
        return "–" if decision.score is None else str(decision.score)

    @display(description="Bot")
    def bot_shown(self, decision: AutopilotDecision) -> str:
        """Return the bot that it is about."""
        return "–" if decision.bot is None else decision.bot.name

    @display(description="Figures")
    def facts_shown(self, decision: AutopilotDecision) -> SafeString:
        """Return the figures as they are kept."""
        return _plain(decision.facts)


@admin.register(Recommendation)
class RecommendationAdmin(OfSymbolAdmin):
    """What each scan thought of each symbol, newest first."""

    list_display = ("scanned", "market", "score", "trend_shown", "regime_shown", "action_shown", "why")
    list_filter = (UniverseFilter, ScannedFilter)
    fields = (
        "scanned", "market", "timeframe", "score", "score_before", "trend_shown", "regime_shown", "confidence",
        "action_shown", "why", "cost_bps", "parts_shown", "cycle",
    )  # fmt: skip
    readonly_fields = ("scanned", "market", "trend_shown", "regime_shown", "action_shown", "why", "parts_shown")

    @display(description="When (UTC)")
    def scanned(self, row: Recommendation) -> str:
        """Return when the market was scanned."""
        return f"{row.scanned_at:%Y-%m-%d %H:%M:%S}"

    @display(description="Trend, points a scan")
    def trend_shown(self, row: Recommendation) -> str:
        """Return how the score has been changing."""
        return "–" if row.trend is None else f"{row.trend:+.1f}"

    @display(description="Kind of market")
    def regime_shown(self, row: Recommendation) -> str:
        """Return the regime in words."""
        return row.regime.replace("_", " ")

    @display(description="Allowed")
    def action_shown(self, row: Recommendation) -> str:
        """Return what is allowed, in words."""
        return row.action.replace("_", " ")

    @display(description="Why")
    def why(self, row: Recommendation) -> str:
        """Return the reasons for which less than everything is allowed."""
        return " ".join(str(one.get("message", "")) for one in row.reasons if isinstance(one, dict)) or "–"

    @display(description="Parts of the score")
    def parts_shown(self, row: Recommendation) -> SafeString:
        """Return the parts as they are kept."""
        return _plain(row.parts)


def summary_shown(summary: dict[str, Any]) -> str:
    """Return what a cycle came to as a line for people: the counts that are not zero."""
    told = [
        f"{name.replace('_', ' ')} {value}" for name, value in sorted(summary.items()) if value not in (0, "", None)
    ]
    return ", ".join(told) or "nothing"


def _plain(value: Any) -> SafeString:
    return format_html('<pre class="tc-pre">{}</pre>', json.dumps(value, indent=2, sort_keys=True))
