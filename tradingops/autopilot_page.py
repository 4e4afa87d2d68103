"""The autopilot's page: what it is, what it did and why, and the switch. Its settings and real money have pages of their own."""

from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.debug import sensitive_post_parameters

from audit.admin_base import actor_of, ok_or_login
from bots.admin.autopilot import summary_shown
from bots.autopilot import config as autopilot_config
from bots.autopilot import reading
from bots.autopilot.config import AutopilotConfigError
from bots.autopilot.cycle import AutopilotOff, CycleTaken
from bots.autopilot.preview import preview
from bots.models import AutopilotConfig, AutopilotCycle, CycleStatus
from safety.permissions import OPERATE_BOT, TRADE_LIVE, may_operate
from safety.recent_signin import CODE, PASSWORD, ask
from tradingops import autopilot_figures, autopilot_status
from tradingops.autopilot_runs import WAIT_S, run_now

SEE = "bots.view_autopilotconfig"
PAGE = "admin:console_autopilot"
Act = Callable[[HttpRequest], HttpResponse]


def autopilot_page(request: HttpRequest) -> HttpResponse:
    """Show the page. It changes nothing: each act on it is a POST of its own."""
    if not request.user.has_perm(SEE):
        raise PermissionDenied
    context = {**admin.site.each_context(request), "title": "Autopilot", **live_context(request)}
    return TemplateResponse(request, "admin/autopilot/page.html", context)


def autopilot_part(request: HttpRequest) -> HttpResponse:
    """Answer with the moving part of the page."""
    refused = ok_or_login(request, SEE)
    if refused is not None:
        return refused
    return render(request, "admin/autopilot/live.html", live_context(request) | {"is_part": True})


def live_context(request: HttpRequest) -> dict[str, Any]:
    """Return what moves on the page, as of now."""
    now = timezone.now()
    config = autopilot_config.read()
    symbols, left_out = autopilot_figures.symbols(config)
    overview = reading.overview(now)
    bots, closed = autopilot_figures.own_views(overview, now)
    return {
        "now": now,
        "config": config,
        "status": autopilot_status.read(now),
        "at_stake": autopilot_figures.at_stake(config),
        "symbols": symbols,
        "symbols_left_out": left_out,
        "universe_size": sum(len(some) for some in config.universe.values()),
        "overview": overview,
        "books": autopilot_figures.books_in_use(overview),
        "bots": bots,
        "closed": closed,
        "decisions": autopilot_figures.decisions(),
        "cycles": autopilot_figures.cycles(),
        "running": autopilot_figures.running_cycle(now),
        "may_operate": request.user.has_perm(OPERATE_BOT),
        "may_raise": may_raise(request, config),
        "may_go_live": request.user.has_perms((OPERATE_BOT, TRADE_LIVE)),
    }


def may_raise(request: HttpRequest, config: AutopilotConfig) -> bool:
    """Return whether this person may do what lets it trade more: with real money that takes the right to trade live, too."""
    return may_operate(request.user, is_live=autopilot_config.is_about_real_money(config), raises_risk=True)


def ask_if_live(request: HttpRequest, config: AutopilotConfig) -> HttpResponse | None:
    """Return a page that asks for the password where real money is at stake, or None when the view may go on."""
    return ask(request) if autopilot_config.is_about_real_money(config) else None


def post_only(act: Act) -> Act:
    """Let an act be reached by a POST of someone who may operate bots."""

    @sensitive_post_parameters(PASSWORD, CODE)
    @wraps(act)
    def guarded(request: HttpRequest) -> HttpResponse:
        if not request.user.has_perms((SEE, OPERATE_BOT)):
            raise PermissionDenied
        if request.method != "POST":
            return to_page() if request.method == "GET" else HttpResponseNotAllowed(["POST"])
        return act(request)

    return guarded


@post_only
def switch(request: HttpRequest) -> HttpResponse:
    """Switch it on or off. Off never asks for anything; on takes the right to trade live where it is set live."""
    is_on = request.POST.get("enabled") == "1"
    config = autopilot_config.read()
    if is_on:
        if not may_raise(request, config):
            raise PermissionDenied
        asked = ask_if_live(request, config)
        if asked is not None:
            return asked
    # Off is always possible.
    may_be_real = not is_on or autopilot_config.is_about_real_money(config)
    try:
        autopilot_config.change(
            {"enabled": is_on}, actor=actor_of(request), reason=_reason(request), may_be_real_money=may_be_real
        )
    except AutopilotConfigError as wrong:
        messages.error(request, f"It was not switched {'on' if is_on else 'off'}. {wrong}")
        return to_page()
    if is_on:
        messages.success(request, "The autopilot is on. Its first cycle begins within seconds.")
    else:
        messages.warning(request, "The autopilot is off. Its bots stay as they are: stop or close them on their pages.")
    return to_page()


@post_only
def run_cycle(request: HttpRequest) -> HttpResponse:
    """Run one cycle now. It goes on by itself when it takes longer than a page should."""
    config = autopilot_config.read()
    if not may_raise(request, config):
        raise PermissionDenied
    asked = ask_if_live(request, config)
    if asked is not None:
        return asked
    try:
        done = run_now(actor_of(request), WAIT_S)
    except (AutopilotOff, CycleTaken) as refused:
        messages.info(request, f"No cycle was run. {refused}")
        return to_page()
    _tell(request, done)
    return to_page()


def _tell(request: HttpRequest, cycle: AutopilotCycle | None) -> None:
    """Say what a cycle came to."""
    if cycle is None or cycle.status == CycleStatus.RUNNING:
        messages.info(request, "The cycle is under way. Below you see what it decides.")
    elif cycle.status == CycleStatus.DONE:
        messages.success(request, f"The cycle is over: {summary_shown(cycle.summary)}.")
    else:
        done = f" It came to: {summary_shown(cycle.summary)}." if cycle.summary else ""
        messages.error(request, f"The cycle failed: {cycle.error or cycle.get_status_display()}{done}")


@post_only
def preview_page(request: HttpRequest) -> HttpResponse:
    """Show what a cycle would do now. It looks at the markets, and writes and changes nothing."""
    config = autopilot_config.read()
    now = timezone.now()
    plan = preview(now) if any(config.universe.values()) else None
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "What the autopilot would do now",
        "config": config,
        "now": now,
        "plan": plan,
        "would": [] if plan is None else autopilot_figures.would_do(plan),
    }
    return TemplateResponse(request, "admin/autopilot/preview.html", context)


def _reason(request: HttpRequest) -> str:
    return request.POST.get("reason", "")[:500]


def to_page() -> HttpResponse:
    """Lead back to the page."""
    return HttpResponseRedirect(reverse(PAGE), status=HTTPStatus.FOUND)
