"""The pages of one bot: overview with its moving part, settings form, adding, and asking before what can't be undone."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError
from django.db.models import Max, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from audit.admin_base import actor_of
from audit.models import EventKind, OrderEvent
from bots import manager
from bots.admin import equity
from bots.admin.actions import ACTIONS, REASON_CHARS_MAX, BotAction, may, run_for_bots
from bots.admin.forms import BotForm, EditBotForm, NewBotForm
from bots.admin.limit_bars import limit_bars
from bots.admin.overview import BotOverview, overview, overviews, with_books
from bots.admin.thoughts_shown import why_context
from bots.blocks import from_tick, in_short
from bots.models import Bot, BotStatus, Deal, Difference, Fill, Order, PaperBroker, Venue
from bots.order_states import OPEN_STATES, RESTING_STATES
from bots.reconciliation import queries
from bots.shadows import has_twins
from bots.strategies import registry
from bots.strategies.base import Strategy
from bots.strategies.schema import ParamError
from safety.permissions import CLEAR_HOLDS, TRADE_LIVE

if TYPE_CHECKING:
    from bots.admin.bot import BotAdmin

ROWS = 8
EVENTS_LOOKED_AT = 300
CHART_HOURS = 24


def strategy_title(bot: Bot) -> str:
    """Return the name of the bot's strategy, or its key when no such strategy is known."""
    strategy = _strategy(bot)
    return bot.strategy if strategy is None else strategy.title


def bot_page(model_admin: "BotAdmin", request: HttpRequest, object_id: str) -> HttpResponse:
    """Show one bot, or save its settings through the manager."""
    bot = get_bot(object_id)
    if not model_admin.has_view_permission(request, bot):
        raise PermissionDenied
    strategy, form = _strategy(bot), None
    may_edit = model_admin.has_change_permission(request, bot) and bot.status != BotStatus.ARCHIVED
    # Other settings of a live bot can mean more real money at risk.
    may_edit = may_edit and (not bot.is_live or request.user.has_perm(TRADE_LIVE))
    if strategy is not None:
        form = EditBotForm(request.POST or None, bot=bot, strategy=strategy)
    if request.method == "POST":
        if not may_edit or form is None:
            raise PermissionDenied
        if form.is_valid() and _saved(request, form, bot):
            return HttpResponseRedirect(request.path)
    live = live_context(request, bot)
    context = page_context(model_admin, request, bot.name, [bot]) | why_context(bot, live["now"]) | live | {
        "bot": bot,
        "form": form,
        "may_edit": may_edit,
        "strategy": strategy,
        "actions": _actions_of(request, bot),
        "may_go_live": may_go_live(request, bot),
        "may_clear_held": bool(bot.entries_held) and request.user.has_perm(CLEAR_HOLDS),
        "has_twins": has_twins(bot),
        "chart_hours": CHART_HOURS,
    }  # fmt: skip
    return TemplateResponse(request, "admin/bots/bot/page.html", context)


def live_part(model_admin: "BotAdmin", request: HttpRequest, bot_id: int) -> HttpResponse:
    """Answer with the moving part of a bot's page."""
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    return TemplateResponse(request, "admin/bots/bot/live.html", live_context(request, get_bot(bot_id)))


def equity_data(model_admin: "BotAdmin", request: HttpRequest, bot_id: int) -> HttpResponse:
    """Answer with the points of the bot's equity chart, in the book it trades in."""
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    bot = get_bot(bot_id)
    since = timezone.now() - timedelta(hours=CHART_HOURS)
    points = equity.curve(Bot.objects.filter(pk=bot.pk), is_live=bot.is_live, since=since)
    return JsonResponse({"points": equity.chart_data(points)})


def act(model_admin: "BotAdmin", request: HttpRequest, bot_id: int, key: str) -> HttpResponse:
    """Do an action on a POST. A GET asks first, where there is something to ask, and changes nothing."""
    action = ACTIONS.get(key)
    if action is None:
        raise Http404
    bot = get_bot(bot_id)
    if not may(request, action, bot):
        raise PermissionDenied
    if request.method == "GET" and action.needs_confirmation:
        return confirm(model_admin, request, action, [bot], is_bulk=False)
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if action.needs_confirmation and "confirmed" not in request.POST:
        return confirm(model_admin, request, action, [bot], is_bulk=False)
    run_for_bots(request, action, [bot])
    return HttpResponseRedirect(reverse("admin:bots_bot_change", args=[bot.pk]))


def confirm(
    model_admin: "BotAdmin", request: HttpRequest, action: BotAction, bots: list[Bot], *, is_bulk: bool
) -> HttpResponse:
    """Ask before an action, naming for each bot what will be sold or cancelled."""
    seen = overviews(bots, timezone.now())
    context = page_context(model_admin, request, action.label.rstrip("…"), bots) | {
        "action": action,
        "subjects": [{"seen": one, "resting": resting_of(one.bot).count()} for one in seen],
        "reason": request.POST.get("reason", ""),
        "reason_chars_max": REASON_CHARS_MAX,
        "is_bulk": is_bulk,
        "bulk_name": request.POST.get("action", ""),
        "back": reverse("admin:bots_bot_changelist")
        if is_bulk
        else reverse("admin:bots_bot_change", args=[bots[0].pk]),
        "now": timezone.now(),
    }
    return TemplateResponse(request, "admin/bots/bot/confirm.html", context)


def add_page(model_admin: "BotAdmin", request: HttpRequest) -> HttpResponse:
    """Offer the strategies; with one chosen, its form. The new bot is on paper and stopped."""
    if not model_admin.has_add_permission(request):
        raise PermissionDenied
    context = page_context(model_admin, request, "Add bot") | {"strategies": registry.all()}
    key = request.GET.get("strategy", "")
    if key not in {strategy.key for strategy in registry.all()}:
        return TemplateResponse(request, "admin/bots/bot/add_strategy.html", context)
    form = NewBotForm(request.POST or None, strategy=registry.get(key))
    if request.method == "POST" and form.is_valid():
        bot = _created(request, form)
        if bot is not None:
            return HttpResponseRedirect(reverse("admin:bots_bot_change", args=[bot.pk]))
    context |= {"form": form, "strategy": form.strategy}
    return TemplateResponse(request, "admin/bots/bot/add.html", context)


def _created(request: HttpRequest, form: NewBotForm) -> Bot | None:
    try:
        bot = manager.create(form.new_bot(), actor=actor_of(request))
    except (manager.BotActionError, ParamError, IntegrityError) as error:
        _show_refusal(form, error)
        return None
    messages.success(
        request, f"{bot.name} was made. It is on paper and stopped: press Start when you want it to trade."
    )
    return bot


def _saved(request: HttpRequest, form: EditBotForm, bot: Bot) -> bool:
    """Save the settings; what the manager refuses is shown in the form, with everything typed kept."""
    if form.cleaned_data["revision"] != bot.revision:
        form.take_revision(bot.revision)
        form.add_error(
            None,
            f"The bot was changed meanwhile (it is now {bot.status}). Nothing was saved yet and what you typed is kept: "
            "look at it again, then save.",
        )
        return False
    try:
        manager.update(form.apply(get_bot(bot.pk)), actor=actor_of(request))
    except (manager.BotActionError, ParamError, IntegrityError) as error:
        _show_refusal(form, error)
        return False
    messages.success(request, "Saved. The bot uses the new settings from its next tick.")
    return True


def _show_refusal(form: BotForm, error: Exception) -> None:
    if isinstance(error, ParamError):
        form.show_param_error(error)
    elif isinstance(error, IntegrityError):
        form.add_error("name", "The database refused this; another bot may have taken the name just now.")
    else:
        form.add_error(None, str(error))


def get_bot(bot_id: str | int) -> Bot:
    """Return a bot with its books. Raises Http404."""
    if not str(bot_id).isdecimal():
        raise Http404
    return get_object_or_404(with_books(Bot.objects.all()), pk=bot_id)


def _strategy(bot: Bot) -> Strategy | None:
    try:
        return registry.get(bot.strategy)
    except registry.UnknownStrategyError:
        return None


def _actions_of(request: HttpRequest, bot: Bot) -> list[BotAction]:
    """Return what this person can do to this bot as it stands."""
    if bot.status == BotStatus.ARCHIVED:
        return []
    return [one for one in ACTIONS.values() if one.fits(bot) and may(request, one, bot)]


def may_go_live(request: HttpRequest, bot: Bot) -> bool:
    """Return whether the way to live is shown to this person: the bot can be live, and is not, or is on its way back."""
    can = bot.venue != Venue.REPLAY and bot.status != BotStatus.ARCHIVED
    return can and (not bot.is_live or bot.turning_to_paper) and request.user.has_perm(TRADE_LIVE)


def page_context(
    model_admin: "BotAdmin", request: HttpRequest, title: str, about: list[Bot] | None = None
) -> dict[str, Any]:
    """Return what a page of ours needs; the path at its top ends with the bot when it is ``about`` a single one."""
    return {
        **model_admin.admin_site.each_context(request),
        "title": title,
        "opts": model_admin.opts,
        "model_admin": model_admin,
        "original": about[0] if about is not None and len(about) == 1 else None,
    }


def resting_of(bot: Bot) -> QuerySet[Order]:
    return Order.objects.filter(bot=bot, status__in=RESTING_STATES)


def live_context(request: HttpRequest, bot: Bot) -> dict[str, Any]:
    """Return what moves on a bot's page, all as of one moment."""
    now = timezone.now()
    seen: BotOverview = overview(bot, now)
    orders = Order.objects.filter(bot=bot)
    return {
        "now": now,
        "seen": seen,
        "bot": bot,
        "is_rehearsal": settings.ENVIRONMENT.is_rehearsal,
        "denial": last_denial(bot),
        "unsettled": unsettled(bot),
        "bars": [] if bot.status == BotStatus.ARCHIVED else limit_bars(bot, now),
        "deal": Deal.objects.filter(bot=bot, is_live=bot.is_live, closed_at__isnull=True).first(),
        "deals_closed": Deal.objects.filter(bot=bot, is_live=bot.is_live, closed_at__isnull=False).count(),
        "orders": orders.order_by("-id")[:ROWS],
        "open_orders": orders.filter(status__in=OPEN_STATES).count(),
        "last_order_at": orders.aggregate(at=Max("created_at"))["at"],
        "fills": Fill.objects.filter(order__bot=bot).select_related("order").order_by("-id")[:ROWS],
        "events": OrderEvent.objects.filter(bot_id=bot.pk).order_by("-id")[:ROWS],
    }


def unsettled(bot: Bot) -> tuple[Difference, ...]:
    """Return what our books and the bot's venue disagree about in its symbol: its entries wait for that."""
    if not bot.is_live and bot.paper_broker != PaperBroker.VENUE:
        return ()
    return queries.open_about(bot.venue, bot.symbol, is_live=bot.is_live)


def last_denial(bot: Bot) -> dict[str, Any] | None:
    """Return a bot's last denied order with every reason, when it is among its last events."""
    # Bounded: a bot that was never denied anything may have a million rows.
    recent = OrderEvent.objects.filter(bot_id=bot.pk).order_by("-id").values_list("pk", "event")[:EVENTS_LOOKED_AT]
    found = next((pk for pk, event in recent if event == EventKind.DENIED), None)
    if found is None:
        return None
    event = OrderEvent.objects.get(pk=found)
    details = event.details if isinstance(event.details, dict) else {}
    blocks = from_tick(details.get("reasons", []))
    return {"event": event, "blocks": blocks, "in_short": in_short(blocks)}
