"""The pages of one bot: overview with its moving part, settings form, adding, and asking before what can't be undone."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

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
from audit.models import OrderEvent
from bots import manager
from bots.admin import equity
from bots.admin.actions import ACTIONS, BotAction, run_for_bots
from bots.admin.forms import BotForm, EditBotForm, NewBotForm
from bots.admin.overview import BotOverview, overview, overviews, with_books
from bots.models import Bot, BotStatus, Deal, Fill, Order
from bots.order_states import OPEN_STATES, RESTING_STATES
from bots.strategies import registry
from bots.strategies.base import Strategy
from bots.strategies.schema import ParamError

if TYPE_CHECKING:
    from bots.admin.bot import BotAdmin

ROWS = 8
CHART_HOURS = 24


def strategy_title(bot: Bot) -> str:
    """Return the name of the bot's strategy, or its key when no such strategy is known."""
    strategy = _strategy(bot)
    return bot.strategy if strategy is None else strategy.title


def bot_page(model_admin: "BotAdmin", request: HttpRequest, object_id: str) -> HttpResponse:
    """Show one bot, or save its settings through the manager."""
    bot = _bot(object_id)
    if not model_admin.has_view_permission(request, bot):
        raise PermissionDenied
    strategy, form = _strategy(bot), None
    may_edit = model_admin.has_change_permission(request, bot) and bot.status != BotStatus.ARCHIVED
    if strategy is not None:
        form = EditBotForm(request.POST or None, bot=bot, strategy=strategy)
    if request.method == "POST":
        if not may_edit or form is None:
            raise PermissionDenied
        if form.is_valid() and _saved(request, form, bot):
            return HttpResponseRedirect(request.path)
    context = _context(model_admin, request, bot.name) | _live_context(bot) | {
        "original": bot,
        "bot": bot,
        "form": form,
        "may_edit": may_edit,
        "strategy": strategy,
        "actions": _actions_of(bot) if model_admin.has_operate_permission(request) else [],
        "chart_hours": CHART_HOURS,
    }  # fmt: skip
    return TemplateResponse(request, "admin/bots/bot/page.html", context)


def live_part(model_admin: "BotAdmin", request: HttpRequest, bot_id: int) -> HttpResponse:
    """Answer with the moving part of a bot's page."""
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    return TemplateResponse(request, "admin/bots/bot/live.html", _live_context(_bot(bot_id)))


def equity_data(model_admin: "BotAdmin", request: HttpRequest, bot_id: int) -> HttpResponse:
    """Answer with the points of the bot's equity chart, in the book it trades in."""
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    bot = _bot(bot_id)
    since = timezone.now() - timedelta(hours=CHART_HOURS)
    points = equity.curve(Bot.objects.filter(pk=bot.pk), is_live=bot.is_live, since=since)
    return JsonResponse({"points": equity.chart_data(points)})


def act(model_admin: "BotAdmin", request: HttpRequest, bot_id: int, key: str) -> HttpResponse:
    """Do an action on a POST. A GET asks first, where there is something to ask, and changes nothing."""
    action = ACTIONS.get(key)
    if action is None:
        raise Http404
    if not model_admin.has_operate_permission(request):
        raise PermissionDenied
    bot = _bot(bot_id)
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
    context = _context(model_admin, request, action.label.rstrip("…")) | {
        "action": action,
        "subjects": [{"seen": one, "resting": _resting(one.bot).count()} for one in seen],
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
    context = _context(model_admin, request, "Add bot") | {"strategies": registry.all()}
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
        manager.update(form.apply(_bot(bot.pk)), actor=actor_of(request))
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


def _bot(bot_id: str | int) -> Bot:
    if not str(bot_id).isdecimal():
        raise Http404
    return get_object_or_404(with_books(Bot.objects.all()), pk=bot_id)


def _strategy(bot: Bot) -> Strategy | None:
    try:
        return registry.get(bot.strategy)
    except registry.UnknownStrategyError:
        return None


def _actions_of(bot: Bot) -> list[BotAction]:
    return [] if bot.status == BotStatus.ARCHIVED else list(ACTIONS.values())


def _context(model_admin: "BotAdmin", request: HttpRequest, title: str) -> dict[str, Any]:
    return {
        **model_admin.admin_site.each_context(request),
        "title": title,
        "opts": model_admin.opts,
        "model_admin": model_admin,
    }


def _resting(bot: Bot) -> QuerySet[Order]:
    return Order.objects.filter(bot=bot, status__in=RESTING_STATES)


def _live_context(bot: Bot) -> dict[str, Any]:
    """Return what moves on a bot's page, all as of one moment."""
    now = timezone.now()
    seen: BotOverview = overview(bot, now)
    orders = Order.objects.filter(bot=bot)
    return {
        "now": now,
        "seen": seen,
        "bot": bot,
        "deal": Deal.objects.filter(bot=bot, is_live=bot.is_live, closed_at__isnull=True).first(),
        "deals_closed": Deal.objects.filter(bot=bot, is_live=bot.is_live, closed_at__isnull=False).count(),
        "orders": orders.order_by("-id")[:ROWS],
        "open_orders": orders.filter(status__in=OPEN_STATES).count(),
        "last_order_at": orders.aggregate(at=Max("created_at"))["at"],
        "fills": Fill.objects.filter(order__bot=bot).select_related("order").order_by("-id")[:ROWS],
        "events": OrderEvent.objects.filter(bot_id=bot.pk).order_by("-id")[:ROWS],
    }
