"""The bots: list, page, forms and actions. Everything that changes goes through ``bots.manager`` and is audited there."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from audit import figures
from audit.admin import market_shown
from audit.admin_base import ConsoleModelAdmin, display
from audit.templatetags.figures import pnl
from bots.admin import bot_views, going_live_views, shadow_views, why
from bots.admin.actions import ACTIONS, BotAction, run_for_bots
from bots.admin.overview import overviews, with_books
from bots.models import Bot
from safety.permissions import ENGAGE, TRADE_LIVE, may_operate

STATUS_COLOURS = {"Running": "success", "Paused": "warning", "Stopped": "default", "Archived": "default"}


def _bulk(action: BotAction) -> Any:
    """Return the list's action for a BotAction. It is a POST with CSRF; what needs a confirmation asks first."""

    @admin.action(description=action.label, permissions=[action.right])
    def act(model_admin: "BotAdmin", request: HttpRequest, queryset: QuerySet[Bot]) -> HttpResponse | None:
        bots = list(with_books(queryset))
        if action.needs_confirmation and "confirmed" not in request.POST:
            return bot_views.confirm(model_admin, request, action, bots, is_bulk=True)
        run_for_bots(request, action, bots)
        return None

    act.__name__ = f"{action.key.replace('-', '_')}_bots"
    return act


@admin.action(description="Go live…", permissions=["trade_live"])
def _go_live_bots(model_admin: "BotAdmin", request: HttpRequest, queryset: QuerySet[Bot]) -> HttpResponse:
    """Lead to the page that lists every lock and limit and asks for each bot's name. Nothing changes here."""
    return going_live_views.to_page("bots_bot_go_live", queryset)


@admin.action(description="Let them buy again…", permissions=["trade_live"])
def _clear_held_bots(model_admin: "BotAdmin", request: HttpRequest, queryset: QuerySet[Bot]) -> HttpResponse:
    """Lead to the page that asks for a reason. Nothing changes here."""
    return going_live_views.to_page("bots_bot_clear_held", queryset)


_go_live_bots.__name__, _clear_held_bots.__name__ = "go_live_bots", "clear_held_bots"


@admin.register(Bot)
class BotAdmin(ConsoleModelAdmin):
    """All bots at a glance; each has a page of its own."""

    list_display = (
        "name", "state", "mode", "market", "strategy_shown", "position", "realised", "unrealised", "last_tick", "trouble",
    )  # fmt: skip
    list_filter = ("status", "venue", "strategy", "dry_run")
    search_fields = ("name", "symbol")
    ordering = ("name",)
    list_per_page = 50
    list_before_template = "admin/bots/bot/list_intro.html"
    actions = [*(_bulk(action) for action in ACTIONS.values()), _go_live_bots, _clear_held_bots]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Bot]:
        """Return the bots with their books, so that a row costs no query."""
        return with_books(super().get_queryset(request))

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Return the list with what is shown of each bot, all as of one moment."""
        changelist: ChangeList = super().get_changelist_instance(request)
        bots = list(changelist.result_list)
        for bot, found in zip(bots, overviews(bots, timezone.now()), strict=True):
            bot.overview = found
        changelist.result_list = bots
        return changelist

    def has_operate_permission(self, request: HttpRequest, obj: Bot | None = None) -> bool:
        """Return whether this person may start, stop, pause and close bots."""
        return may_operate(request.user, is_live=obj is not None and obj.is_live, raises_risk=False)

    def has_halt_permission(self, request: HttpRequest, obj: Bot | None = None) -> bool:
        """Return whether this person may throw the kill switch."""
        return bool(request.user.has_perm(ENGAGE))

    def has_trade_live_permission(self, request: HttpRequest, obj: Bot | None = None) -> bool:
        """Return whether this person may set bots live, and let held entries go on."""
        return bool(request.user.has_perm(TRADE_LIVE))

    def get_urls(self) -> list[URLPattern]:
        """Return the pages of the bots. Actions are POSTs; a GET at most asks whether it shall be done."""
        wrap = self.admin_site.admin_view

        def view(name: str, room: Any = bot_views) -> Any:
            return wrap(lambda request, **kwargs: getattr(room, name)(self, request, **kwargs))

        own = [
            path("<int:bot_id>/live/", view("live_part"), name="bots_bot_live"),
            path("<int:bot_id>/equity/", view("equity_data"), name="bots_bot_equity"),
            path("<int:bot_id>/do/<slug:key>/", view("act"), name="bots_bot_act"),
            path("go-live/", view("go_live", going_live_views), name="bots_bot_go_live"),
            path("<int:bot_id>/go-live/", view("go_live", going_live_views), name="bots_bot_go_live_one"),
            path("<int:bot_id>/shadow/", view("shadow_page", shadow_views), name="bots_bot_shadow"),
            path("<int:bot_id>/why/", view("why_page", why), name="bots_bot_why"),
            path("<int:bot_id>/why/now/", view("why_part", why), name="bots_bot_why_part"),
            path("clear-held/", view("clear_held", going_live_views), name="bots_bot_clear_held"),
        ]
        return own + super().get_urls()

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Choose a strategy, then fill in its settings."""
        return bot_views.add_page(self, request)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show the bot's page, or save its settings."""
        return bot_views.bot_page(self, request, object_id)

    @display(description="State", label=STATUS_COLOURS, ordering="status")
    def state(self, bot: Bot) -> str:
        """Return what the bot is asked to do."""
        return bot.get_status_display()

    @display(description="Mode", label={"Paper": "info", "Live": "danger", "Live, blocked": "danger"})
    def mode(self, bot: Any) -> str:
        """Return whether real money is meant, and whether a shut gate holds it back."""
        if bot.overview.is_blocked_live:
            return "Live, blocked"
        return "Live" if bot.is_live else "Paper"

    @display(description="Market", ordering="symbol")
    def market(self, bot: Any) -> SafeString:
        """Return symbol and venue, with the mark of recorded data."""
        return market_shown(bot.symbol, bot.venue)

    @display(description="Strategy", ordering="strategy")
    def strategy_shown(self, bot: Bot) -> str:
        """Return the strategy's name."""
        return bot_views.strategy_title(bot)

    @display(description="Position")
    def position(self, bot: Any) -> SafeString | str:
        """Return quantity and value at the current quote."""
        seen = bot.overview
        if not seen.quantity:
            return "flat"
        worth = "worth not known" if seen.value is None else figures.money(seen.value)
        old = " (old price)" if seen.mark is not None and seen.mark.is_stale else ""
        return format_html(
            '<div><span class="tc-nowrap">{}</span><br><span class="tc-subtle">{}{}</span></div>',
            figures.quantity(seen.quantity), worth, old,
        )  # fmt: skip

    @display(description="Realised")
    def realised(self, bot: Any) -> SafeString:
        """Return what is gained or lost for good, net of fees."""
        return pnl(bot.overview.realised_pnl)

    @display(description="Unrealised")
    def unrealised(self, bot: Any) -> SafeString:
        """Return what would be gained or lost at the current bid, before fees."""
        return pnl(bot.overview.unrealised_pnl)

    @display(description="Last tick")
    def last_tick(self, bot: Any) -> SafeString | str:
        """Return when the bot ticked last, with a warning when nobody seems to tick it."""
        shown = figures.age(bot.overview.ticked_at, timezone.now())
        if bot.overview.is_silent:
            return format_html('{}<br><strong class="tc-warn">No worker is ticking it</strong>', shown)
        return shown

    @display(description="Held back by")
    def trouble(self, bot: Any) -> SafeString | str:
        """Return the last error and what keeps the bot from trading."""
        lines = [("tc-error", f"Error: {bot.last_error}")] if bot.last_error else []
        if bot.overview.is_unmanaged:
            lines.append(("tc-warn", "Nobody manages its position"))
        lines += [("tc-subtle", text) for text in bot.overview.blocked_by]
        if not lines:
            return "–"
        # One block: on a phone the cell lays what it holds side by side.
        return format_html("<div>{}</div>", format_html_join("", '<div class="{} tc-clip">{}</div>', lines))
