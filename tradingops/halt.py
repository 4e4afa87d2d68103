"""The HALT button of every page, and the page that goes on telling what came of it."""

from http import HTTPStatus
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache

from audit.admin_base import actor_of, ok_or_login
from safety import kill_runs, kill_switch
from safety.intents import Level
from safety.models import KillRun
from tradingops.background import in_background
from tradingops.failures import database_down
from tradingops.mode import may_engage, scope_name, status_of
from tradingops.safety_kill_panel import positions_open

REASON = "The HALT button was pressed in the console"
SEE_STATE = "safety.view_tradingstate"
RUNS_SHOWN = 3


@never_cache
def halt_page(request: HttpRequest) -> HttpResponse:
    """Halt everything on a POST. A GET asks, or tells what came of the last halt; it changes nothing."""
    if not may_engage(request):
        raise PermissionDenied
    if request.method == "POST":
        return _halt(request)
    context = {**admin.site.each_context(request), "title": "Halt trading", **progress_context()}
    return TemplateResponse(request, "admin/safety/halt.html", context)


def _halt(request: HttpRequest) -> HttpResponse:
    try:
        run = kill_switch.engage(Level.HALTED, REASON, actor=actor_of(request))
    except kill_switch.EngageFailedError as failed:
        return database_down(problem=str(failed))
    if kill_runs.is_host_only(run):
        return database_down(has_latch=True)
    help_along(run)
    return HttpResponseRedirect(reverse("admin:console_halt"), status=HTTPStatus.SEE_OTHER)


def help_along(run: KillRun) -> None:
    """Cancel at the venues what rests there without making anybody wait: no worker may be alive to do it."""
    if KillRun.objects.filter(pk=run.pk, ended_at__isnull=True).exists():
        in_background("cancelling after a halt", lambda: kill_runs.wait_for_drain(run))


def progress_part(request: HttpRequest) -> HttpResponse:
    """Answer with what has come of the last halts so far."""
    refused = ok_or_login(request, SEE_STATE)
    if refused is not None:
        return refused
    return render(request, "admin/safety/progress.html", {**progress_context(), "console": status_of(request)})


def progress_context() -> dict[str, Any]:
    """Return the runs of the kill switch that are to be shown: all that still work, else the last few."""
    open_runs = list(KillRun.objects.filter(ended_at__isnull=True).order_by("-id")[:RUNS_SHOWN])
    runs = open_runs or list(KillRun.objects.order_by("-id")[:1])
    shown = [{"run": run, "scope": scope_name(run.scope)} for run in runs]
    held = positions_open() if any(run.is_flatten for run in runs) else 0
    return {"runs": shown, "is_working": bool(open_runs), "positions_held": held, "now": timezone.now()}
