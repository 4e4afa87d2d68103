"""What a person does on the Safety page. Each is a POST of its own with CSRF. What lets trading go on asks for a
recent sign-in; what stops it never does."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters

from audit.admin_base import actor_of
from bots import flatten, going_live
from bots.manager import BotActionError
from safety import kill_runs, kill_switch
from safety.intents import Level
from safety.permissions import CLEAR_HOLDS, ENGAGE, OPERATE_BOT, RELEASE, RUN_READINESS
from safety.recent_signin import CODE, PASSWORD, ask
from tradingops import readiness_button
from tradingops.failures import database_down
from tradingops.halt import help_along
from tradingops.mode import scope_name
from tradingops.safety_forms import ClearForm, EngageForm, FlattenForm, ReleaseForm
from tradingops.safety_kill_panel import held_bots, held_scopes
from tradingops.safety_page import show

Act = Callable[[HttpRequest], HttpResponse]


def post_only(*permissions: str, is_recent: bool) -> Callable[[Act], Act]:
    """Let an act be reached by a POST of someone with these rights; with ``is_recent`` only after a recent sign-in."""

    def take(act: Act) -> Act:
        @sensitive_post_parameters(PASSWORD, CODE)
        @wraps(act)
        def guarded(request: HttpRequest) -> HttpResponse:
            if not request.user.has_perms(permissions):
                raise PermissionDenied
            if request.method != "POST":
                return _to_page() if request.method == "GET" else HttpResponseNotAllowed(["POST"])
            asked = ask(request) if is_recent else None
            return act(request) if asked is None else asked

        return guarded

    return take


@post_only(ENGAGE, is_recent=False)
def engage(request: HttpRequest) -> HttpResponse:
    """Stop a scope as far as was chosen. No sign-in again: nothing may stand between a person and a stop."""
    form = EngageForm(request.POST)
    if not form.is_valid():
        return show(request, engage_form=form)
    given = form.cleaned_data
    level = Level(given["level"])
    try:
        run = kill_switch.engage(
            level,
            given["reason"],
            actor=actor_of(request),
            scope=given["scope"],
            cancel_resting=given["cancel_resting"],
        )
    except kill_switch.EngageFailedError as failed:
        return database_down(problem=str(failed))
    if kill_runs.is_host_only(run):
        return database_down(has_latch=True)
    help_along(run)
    messages.warning(request, f"{scope_name(given['scope']).capitalize()}: trading is {level.value} or stricter now.")
    return _to_page()


@post_only(ENGAGE, OPERATE_BOT, is_recent=False)
def flatten_scope(request: HttpRequest) -> HttpResponse:
    """Sell all that a scope holds, after the word was typed."""
    form = FlattenForm(request.POST)
    if not form.is_valid():
        return show(request, flatten_form=form)
    given = form.cleaned_data
    try:
        run = flatten.start(given["scope"], actor=actor_of(request), reason=given["reason"])
    except (kill_switch.FlattenRefusedError, kill_switch.UnknownScopeError) as refused:
        form.add_error(None, str(refused))
        return show(request, flatten_form=form)
    help_along(run)
    messages.warning(request, f"Selling what {scope_name(given['scope'])} holds. Below you see how far it has come.")
    return _to_page()


@post_only(RELEASE, is_recent=True)
def release(request: HttpRequest) -> HttpResponse:
    """Let a scope trade again. What still holds is named; standing blockers do not stop a release."""
    form = ReleaseForm(request.POST, held=held_scopes())
    if not form.is_valid():
        return show(request, release_form=form)
    scope = form.cleaned_data["scope"]
    try:
        left = kill_switch.release(form.cleaned_data["reason"], actor=actor_of(request), scope=scope)
    except kill_switch.ReleaseRefusedError as refused:
        form.add_error(None, str(refused))
        return show(request, release_form=form)
    if left:
        reasons = "; ".join(latch.reason for latch in left)
        messages.warning(request, f"Released, but these still hold: {reasons}.")
    else:
        messages.success(
            request, f"{scope_name(scope).capitalize()} is released. Live bots' entries are held until cleared."
        )
    return _to_page()


@post_only(CLEAR_HOLDS, is_recent=True)
def clear_held(request: HttpRequest) -> HttpResponse:
    """Let the ticked bots make entries again."""
    form = ClearForm(request.POST, held=[(str(bot.pk), bot.name) for bot in held_bots()])
    if not form.is_valid():
        return show(request, clear_form=form)
    try:
        numbers = [int(number) for number in form.cleaned_data["bots"]]
        cleared = going_live.clear_held(numbers, actor=actor_of(request), reason=form.cleaned_data["reason"])
    except BotActionError as refused:
        form.add_error(None, str(refused))
        return show(request, clear_form=form)
    messages.success(
        request, f"Entries may go on: {', '.join(bot.name for bot in cleared) or 'nothing was held any more'}."
    )
    return _to_page()


@post_only(RUN_READINESS, is_recent=False)
def run_readiness(request: HttpRequest) -> HttpResponse:
    """Start a readiness run. Its progress is on the page."""
    if readiness_button.start(actor_of(request)) is None:
        messages.info(request, "A run is under way already.")
    return _to_page("readiness")


def _to_page(anchor: str = "kill-switch") -> HttpResponse:
    return HttpResponseRedirect(f"{reverse('admin:console_safety')}#{anchor}")


def acts() -> dict[str, Any]:
    """Return the acts by the last part of their address."""
    return {
        "engage": engage,
        "flatten": flatten_scope,
        "release": release,
        "clear-held": clear_held,
        "run-readiness": run_readiness,
    }
