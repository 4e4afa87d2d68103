"""The pages between paper and live: what going live means and the typed name, and letting held entries go on."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.widgets import UnfoldAdminTextInputWidget

from audit.admin_base import actor_of
from bots import going_live
from bots.admin.actions import REASON_CHARS_MAX
from bots.admin.bot_views import page_context
from bots.admin.limit_texts import leg_lines, limit_lines, rounded_up
from bots.live_preview import Preview, preview
from bots.manager import BotActionError
from bots.models import Bot, BotStatus, Venue
from safety import recent_signin
from safety.permissions import CLEAR_HOLDS, TRADE_LIVE

if TYPE_CHECKING:
    from bots.admin.bot import BotAdmin

BOTS_MAX = 20


def _text(label: str, help_text: str = "") -> forms.CharField:
    widget = UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"})
    return forms.CharField(label=label, help_text=help_text, max_length=REASON_CHARS_MAX, widget=widget)


class ReasonForm(forms.Form):
    """A reason, without which nothing is done."""

    reason = _text("Why", "Kept in the operator events with your name.")


class GoLiveForm(ReasonForm):
    """The reason, and each bot's name as it has to be typed."""

    def __init__(self, *args: Any, bots: list[Bot], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.bots = bots
        for bot in bots:
            self.fields[name_field(bot)] = _text("Type the bot's name", f"Exactly: {bot.name}")
            self.fields[seen_field(bot)] = forms.IntegerField(required=False)

    def clean(self) -> dict[str, Any]:
        """Refuse a name that is not the bot's, letter by letter, and a bot that is not what its page showed.

        Whoever may not set a bot live may change one on paper: what is set live has to be what was looked at.
        """
        cleaned = super().clean() or {}
        for bot in self.bots:
            typed = cleaned.get(name_field(bot))
            if typed is not None and typed != bot.name:
                self.add_error(name_field(bot), "That is not the bot's name. Capitals and spaces count.")
            if cleaned.get(seen_field(bot)) != bot.revision:
                self.add_error(name_field(bot), "The bot was changed since this page was shown. Look at it again.")
        return cleaned

    def typed(self, bot: Bot) -> str:
        """Return what was typed as this bot's name."""
        return str(self.cleaned_data[name_field(bot)])


def name_field(bot: Bot) -> str:
    """Return the name of the field that takes this bot's name."""
    return f"confirm_{bot.pk}"


def seen_field(bot: Bot) -> str:
    """Return the name of the hidden field that tells which revision of the bot the page showed."""
    return f"seen_{bot.pk}"


def to_page(name: str, queryset: QuerySet[Bot]) -> HttpResponse:
    """Lead to a page about these bots."""
    chosen = ",".join(str(pk) for pk in queryset.order_by("name").values_list("pk", flat=True)[:BOTS_MAX])
    return HttpResponseRedirect(f"{reverse(f'admin:{name}')}?bots={chosen}")


def go_live(model_admin: "BotAdmin", request: HttpRequest, bot_id: int | None = None) -> HttpResponse:
    """Show what going live means for one bot or several; on a POST with every name typed and a reason, set them live."""
    if not request.user.has_perm(TRADE_LIVE):
        raise PermissionDenied
    asked = recent_signin.ask(request)
    if asked is not None:
        return asked
    bots = _chosen(request, bot_id)
    fit = [bot for bot in bots if not why_never(bot)]
    if request.method == "POST" and "measure" in request.POST:
        _ask_venues(request, fit)
        # What was typed meanwhile stays.
        form = GoLiveForm(initial=request.POST.dict(), bots=fit)
    else:
        form = GoLiveForm(request.POST or None, bots=fit)
    if form.is_bound and request.method == "POST" and fit and form.is_valid():
        _set_live(request, fit, form)
        return HttpResponseRedirect(_back(bots))
    context = page_context(model_admin, request, "Go live", bots) | {
        "form": form,
        "subjects": [_subject(preview(bot), form) for bot in fit],
        "unfit": [{"bot": bot, "why": why_never(bot)} for bot in bots if bot not in fit],
        "back": _back(bots),
    }
    return TemplateResponse(request, "admin/bots/bot/go_live.html", context)


def clear_held(model_admin: "BotAdmin", request: HttpRequest) -> HttpResponse:
    """Show which bots' entries are held and why; on a POST with a reason, let them go on."""
    if not request.user.has_perm(CLEAR_HOLDS):
        raise PermissionDenied
    asked = recent_signin.ask(request)
    if asked is not None:
        return asked
    bots = [bot for bot in _chosen(request, None) if bot.entries_held]
    form = ReasonForm(request.POST or None)
    if request.method == "POST" and bots and form.is_valid():
        chosen = [bot.pk for bot in bots]
        cleared = going_live.clear_held(chosen, actor=actor_of(request), reason=form.cleaned_data["reason"])
        names = ", ".join(bot.name for bot in cleared)
        messages.success(request, f"May buy again: {names}." if cleared else "Nothing was held any more.")
        return HttpResponseRedirect(_back(bots))
    context = page_context(model_admin, request, "Let them buy again", bots) | {
        "form": form,
        "bots": bots,
        "back": _back(bots),
    }
    return TemplateResponse(request, "admin/bots/bot/clear_held.html", context)


def why_never(bot: Bot) -> str:
    """Return why this bot can't be set live at all, or an empty text."""
    if bot.status == BotStatus.ARCHIVED:
        return "It is archived."
    if bot.venue == Venue.REPLAY:
        return "It trades recorded prices, which can never be live. Make a bot for a real venue instead."
    if bot.is_live and not bot.turning_to_paper:
        return "It is live already."
    return ""


def _ask_venues(request: HttpRequest, bots: list[Bot]) -> None:
    """Have the bots' live accounts asked, and say which did not answer."""
    for venue in sorted({bot.venue for bot in bots}):
        if not going_live.measure_first(venue):
            messages.error(
                request, f"{venue.capitalize()} did not tell what the account holds. Reconciliation says why."
            )


def _set_live(request: HttpRequest, bots: list[Bot], form: GoLiveForm) -> None:
    """Set each bot live by itself, so that one refusal stops no other, and tell what came of each."""
    actor, reason = actor_of(request), form.cleaned_data["reason"]
    armed = []
    for bot in bots:
        try:
            done = going_live.set_live(bot.pk, actor=actor, confirm=form.typed(bot), reason=reason, has_more=True)
        except BotActionError as refused:
            messages.error(request, f"{bot.name}: {refused}")
            continue
        armed.append(done)
    if armed:
        going_live.check_readiness(actor)
    for done in armed:
        if preview(done).blocks:
            messages.warning(
                request, f"{done.name} is set LIVE, and BLOCKED: no live order goes out. Its page says by what."
            )
        else:
            messages.warning(request, f"{done.name} is LIVE: {_what_now(done)}")


def _what_now(bot: Bot) -> str:
    if bot.status == BotStatus.RUNNING:
        return "its next order is for real money."
    return f"it is {bot.status}; once it is started, its orders are for real money."


def _subject(found: Preview, form: GoLiveForm) -> dict[str, Any]:
    return {
        "found": found,
        "bot": found.bot,
        "field": form[name_field(found.bot)],
        "seen_name": seen_field(found.bot),
        "worst": None if found.worst is None else rounded_up(found.worst),
        "legs": leg_lines(found.legs),
        "denied": leg_lines(found.denied),
        "limits": limit_lines(found.limits, found.bot.capital_usd),
    }


def _chosen(request: HttpRequest, bot_id: int | None) -> list[Bot]:
    """Return the bots that a page is about. Raises Http404 when there are none."""
    asked = [str(bot_id)] if bot_id is not None else request.GET.get("bots", "").split(",")[:BOTS_MAX]
    bots = list(Bot.objects.filter(pk__in=[one for one in asked if one.isdecimal() and len(one) < 18]).order_by("name"))
    if not bots:
        raise Http404
    return bots


def _back(bots: list[Bot]) -> str:
    if len(bots) == 1:
        return reverse("admin:bots_bot_change", args=[bots[0].pk])
    return reverse("admin:bots_bot_changelist")
