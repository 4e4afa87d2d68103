"""The page that holds a bot's live orders against their paper twins."""

from typing import TYPE_CHECKING

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from bots import shadows
from bots.admin.bot_views import get_bot, page_context

if TYPE_CHECKING:
    from bots.admin.bot import BotAdmin

#: So many of the latest orders are compared and summed.
ORDERS_MAX = 100


def shadow_page(model_admin: "BotAdmin", request: HttpRequest, bot_id: int) -> HttpResponse:
    """Show how a bot's latest live orders did against their paper twins, each and in sum."""
    if not model_admin.has_view_permission(request) or not request.user.has_perm("bots.view_order"):
        raise PermissionDenied
    bot = get_bot(bot_id)
    compared = shadows.compared_of(bot, ORDERS_MAX)
    context = page_context(model_admin, request, f"{bot.name} and its paper twin", [bot]) | {
        "bot": bot,
        "is_on": shadows.is_shadowed(bot),
        "compared": compared,
        "summed": shadows.sum_up(compared),
        "orders_max": ORDERS_MAX,
        "now": timezone.now(),
    }
    return TemplateResponse(request, "admin/bots/bot/shadow.html", context)
