"""The Safety page: what is allowed, what holds it back, what is used of the limits, and what nobody knows."""

from http import HTTPStatus
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.utils import timezone

from audit import bot_names
from audit.admin_base import ok_or_login
from audit.models import EventKind, OrderEvent
from bots import dead_man
from bots.blocks import from_tick, in_short
from bots.reconciliation import queries
from safety import readiness
from safety.models import NotificationPrefs, RiskLimits
from safety.permissions import CLEAR_HOLDS, ENGAGE, OPERATE_BOT, RELEASE, RUN_READINESS
from tradingops import readiness_button, safety_checklist, safety_kill_panel
from tradingops.halt import SEE_STATE, progress_context
from tradingops.mode import status_of
from tradingops.notification_lines import channel_lines, failing
from tradingops.safety_forms import ClearForm, EngageForm, FlattenForm, ReleaseForm
from tradingops.safety_limits import limits_in_use
from tradingops.safety_rates import rates
from tradingops.urgent import panel

DENIALS_SHOWN = 10


def safety_page(request: HttpRequest) -> HttpResponse:
    """Show the page. It changes nothing: each act on it is a POST of its own."""
    if not request.user.has_perm(SEE_STATE):
        raise PermissionDenied
    return show(request)


def show(request: HttpRequest, **bound: forms.Form) -> HttpResponse:
    """Return the page; ``bound`` are the forms that were refused, with what was typed in them."""
    context = {
        **admin.site.each_context(request),
        "title": "Safety",
        **live_context(request),
        **progress_context(),
        **_forms(request, bound),
    }
    status = HTTPStatus.UNPROCESSABLE_ENTITY if bound else HTTPStatus.OK
    return TemplateResponse(request, "admin/safety/page.html", context, status=status)


def live_part(request: HttpRequest) -> HttpResponse:
    """Answer with the moving parts of the page."""
    refused = ok_or_login(request, SEE_STATE)
    if refused is not None:
        return refused
    return render(request, "admin/safety/live_part.html", live_context(request) | {"console": status_of(request)})


def live_context(request: HttpRequest) -> dict[str, Any]:
    """Return what moves on the page, as of now."""
    now = timezone.now()
    status, ready = status_of(request), readiness.live_ready()
    run, locks = readiness.last_run(), safety_checklist.venue_locks()
    channels = channel_lines(now)
    findings = [] if run is None else readiness.findings_of(run)
    going = readiness_button.under_way(now)
    return {
        "now": now,
        **panel(request),
        "channels": channels,
        "failing_channels": failing(channels, now),
        "holds": safety_kill_panel.holds(),
        "checklist": safety_checklist.checklist(status, ready, locks, findings),
        "ready": ready,
        "venue_locks": locks,
        "unknowns": safety_checklist.not_known(ready, findings, now),
        "limits": limits_in_use(now),
        "denials": _denials(),
        "findings": findings,
        "results": safety_checklist.grouped(findings),
        "run": run,
        "going": going,
        "reconciliations": queries.overview(),
        "dead_man_switches": dead_man.views(now),
        "rates": rates(now),
        "autopilot": status.autopilot if request.user.has_perm("bots.view_autopilotconfig") else None,
        "may_run": request.user.has_perm(RUN_READINESS) and (going is None or going.is_lost),
        "prefs": NotificationPrefs.objects.first() if request.user.has_perm("safety.view_notificationprefs") else None,
        "has_limits": RiskLimits.objects.exists(),
    }


def _denials() -> list[OrderEvent]:
    """Return the last denials with the names of their bots, newest first."""
    events = list(OrderEvent.objects.filter(event=EventKind.DENIED).order_by("-id")[:DENIALS_SHOWN])
    known = bot_names.by_id() if events else {}
    for event in events:
        event.known_bot = known.get(event.bot_id)
        event.in_short = in_short(from_tick(event.denials))
    return events


def _forms(request: HttpRequest, bound: dict[str, forms.Form]) -> dict[str, Any]:
    """Return the forms that this person may send."""
    user = request.user
    made: dict[str, Any] = {}
    held_bots, held_scopes = safety_kill_panel.held_bots(), safety_kill_panel.held_scopes()
    if user.has_perm(ENGAGE):
        made["engage_form"] = EngageForm()
        if user.has_perm(OPERATE_BOT):
            made |= {"flatten_form": FlattenForm(), "positions_open": safety_kill_panel.positions_open()}
    if user.has_perm(RELEASE) and held_scopes:
        made["release_form"] = ReleaseForm(held=held_scopes)
    if user.has_perm(CLEAR_HOLDS) and held_bots:
        made["clear_form"] = ClearForm(held=[(str(bot.pk), bot.name) for bot in held_bots])
    return {"held_bots": held_bots, "held_scopes": held_scopes, **made, **bound}
