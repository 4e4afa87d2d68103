"""The page that says why a bot traded, or not, at any moment; and the part of its own page that says it now."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from audit.models import OperatorEvent, OrderEvent
from bots.admin.bot_views import get_bot, page_context
from bots.admin.thoughts_shown import decisions_until, entries_from, why_context
from bots.models import Bot, BotDecision

if TYPE_CHECKING:
    from bots.admin.bot import BotAdmin

#: What happened so long before and after a moment is shown beside it.
AROUND = timedelta(minutes=10)
EVENTS_SHOWN = 40
ACTS_SHOWN = 20
TIME_CHARS_MAX = 40


def why_part(model_admin: "BotAdmin", request: HttpRequest, bot_id: int) -> HttpResponse:
    """Answer with the part of a bot's page that says why it trades, or not."""
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    return TemplateResponse(request, "admin/bots/bot/why_now.html", why_context(get_bot(bot_id), timezone.now()))


def why_page(model_admin: "BotAdmin", request: HttpRequest, bot_id: int) -> HttpResponse:
    """Show what was thought of the bot's market at the moment ``at`` (UTC), and what happened around it."""
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    bot, now = get_bot(bot_id), timezone.now()
    at, problem = _moment_of(request.GET.get("at", ""), bot, now)
    context = page_context(model_admin, request, f"Why {bot.name} traded, or not", [bot]) | {
        "bot": bot,
        "now": now,
        "at": at,
        "problem": problem,
        "typed": request.GET.get("at", "")[:TIME_CHARS_MAX],
        "entries_from": entries_from(bot),
        "around_min": AROUND // timedelta(minutes=1),
    }
    if at is not None:
        context |= _then(bot, at, may_see_acts=request.user.has_perm("audit.view_operatorevent"))
    return TemplateResponse(request, "admin/bots/bot/why_then.html", context)


def _then(bot: Bot, at: datetime, *, may_see_acts: bool) -> dict[str, Any]:
    decisions = decisions_until(bot, at)
    after = BotDecision.objects.filter(bot=bot, decided_at__gt=at).order_by("decided_at", "id").first()
    events = OrderEvent.objects.filter(bot_id=bot.pk, ts__range=(at - AROUND, at + AROUND)).order_by("id")
    acts = OperatorEvent.objects.none()
    if may_see_acts:
        acts = OperatorEvent.objects.filter(
            object__startswith=f"bot:{bot.pk} ", ts__range=(at - AROUND, at + AROUND)
        ).order_by("id")
    return {
        "thought": decisions[0] if decisions else None,
        "until": None if after is None else after.decided_at,
        "decisions": decisions,
        "events": list(events[:EVENTS_SHOWN]),
        "acts": list(acts[:ACTS_SHOWN]),
    }


def _moment_of(text: str, bot: Bot, now: datetime) -> tuple[datetime | None, str]:
    """Return the moment that was asked for, in UTC, or why it is none. Nothing asked for is now."""
    if not text.strip():
        return now, ""
    try:
        moment = datetime.fromisoformat(text.strip()[:TIME_CHARS_MAX])
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None, "That is not a time. Write it as 2026-01-31 14:05:09, in UTC."
    if moment > now:
        return None, "That time is still to come."
    if moment < bot.created_at:
        return None, f"The bot was made at {bot.created_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, after that time."
    return moment, ""
