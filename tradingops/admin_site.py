"""The console's own addresses under the admin: the moving parts of its pages, which only read, the replay's speed and safety."""

from datetime import timedelta
from typing import Any, cast

from django.contrib import admin
from django.core.paginator import InvalidPage
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import URLPattern, path
from django.utils import timezone

from audit.admin_base import SAFE_METHODS, ok_or_login, record_change
from audit.log import joined_unit
from bots.admin import equity
from bots.admin.replay import speed_page
from bots.admin.setup_views import setup_page
from tradingops.autopilot_live import back_to_paper, go_live_page
from tradingops.autopilot_page import autopilot_page, autopilot_part, preview_page, run_cycle, switch
from tradingops.autopilot_settings import settings_page
from tradingops.dashboard import CHART_HOURS, live_context
from tradingops.halt import halt_page, progress_part
from tradingops.mode import page_context
from tradingops.notifications_page import note_acts, notifications_page, notifications_part
from tradingops.reconcile_page import reconcile_page, reconcile_part, settle_page
from tradingops.safety_actions import acts
from tradingops.safety_dead_man import dead_man_page
from tradingops.safety_page import live_part, safety_page
from tradingops.second_factor_pages import own_page
from tradingops.sign_in import sign_in, sign_in_code, sign_out
from tradingops.what_if_page import what_if_page

SEE_BOTS = "bots.view_bot"


def status_part(request: HttpRequest) -> HttpResponse:
    """Answer with the banner (mode, trading state and why) and the kill button."""
    if not (request.user.is_authenticated and getattr(request.user, "is_staff", False)):
        return HttpResponse(status=204, headers={"HX-Refresh": "true"})
    return render(request, "admin/console/status_part.html", page_context(request))


def dashboard_part(request: HttpRequest) -> HttpResponse:
    """Answer with the moving part of the dashboard."""
    refused = ok_or_login(request, SEE_BOTS)
    if refused is not None:
        return refused
    context = live_context(request, timezone.now()) | {"is_part": True}
    return render(request, "admin/console/dashboard_live.html", context)


def equity_data(request: HttpRequest) -> HttpResponse:
    """Answer with the points of the dashboard's chart: all paper books together."""
    refused = ok_or_login(request, SEE_BOTS)
    if refused is not None:
        return refused
    points = equity.curve(
        equity.built_in_paper_bots(), is_live=False, since=timezone.now() - timedelta(hours=CHART_HOURS)
    )
    return JsonResponse({"points": equity.chart_data(points)})


def own_password(request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
    """Show the form, or set one's own password in one audit unit, as it is when someone else sets it."""
    show = type(admin.site).password_change
    if request.method in SAFE_METHODS:
        return show(admin.site, request, extra_context)
    with joined_unit():
        before = getattr(request.user, "password", "")
        response = show(admin.site, request, extra_context)
        if getattr(request.user, "password", "") != before:
            record_change(request, "user_password_set", f"user:{request.user.pk} {request.user}", "", "a new password")
        return response


def search(request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
    """Answer the theme's search for pages. Raises Http404 for a page of results that there is not."""
    try:
        return cast(HttpResponse, type(admin.site).search(admin.site, request, extra_context))  # type: ignore[attr-defined]
    except (ValueError, InvalidPage) as error:
        raise Http404 from error


def extra_urls() -> list[URLPattern]:
    """Return the addresses. The parts see to their own sign-in, since a redirect would land in the middle of a page."""
    return [
        path("login/code/", sign_in_code, name="console_login_code"),
        path("second-factor/", admin.site.admin_view(own_page), name="console_second_factor"),
        path("setup/", admin.site.admin_view(setup_page), name="console_setup"),
        path("setup/<slug:step>/", admin.site.admin_view(setup_page), name="console_setup_step"),
        path("replay/", admin.site.admin_view(speed_page), name="console_replay"),
        path("autopilot/", admin.site.admin_view(autopilot_page), name="console_autopilot"),
        path("autopilot/settings/", admin.site.admin_view(settings_page), name="console_autopilot_settings"),
        path("autopilot/live/", admin.site.admin_view(go_live_page), name="console_autopilot_go_live"),
        path("autopilot/paper/", admin.site.admin_view(back_to_paper), name="console_autopilot_paper"),
        path("autopilot/switch/", admin.site.admin_view(switch), name="console_autopilot_switch"),
        path("autopilot/run/", admin.site.admin_view(run_cycle), name="console_autopilot_run"),
        path("autopilot/preview/", admin.site.admin_view(preview_page), name="console_autopilot_preview"),
        path("part/autopilot/", autopilot_part, name="console_autopilot_live"),
        path("safety/", admin.site.admin_view(safety_page), name="console_safety"),
        *(path(f"safety/{name}/", admin.site.admin_view(act), name=f"console_{name}") for name, act in acts().items()),
        path("safety/notifications/", admin.site.admin_view(notifications_page), name="console_notifications"),
        *(
            path(f"safety/notifications/{name}/", admin.site.admin_view(act), name=f"console_notifications_{name}")
            for name, act in note_acts().items()
        ),
        path("part/notifications/", notifications_part, name="console_notifications_live"),
        path("safety/what-if/", admin.site.admin_view(what_if_page), name="console_what_if"),
        path("safety/dead-man/", admin.site.admin_view(dead_man_page), name="console_dead_man"),
        path("safety/reconciliation/", admin.site.admin_view(reconcile_page), name="console_reconciliation"),
        path(
            "safety/reconciliation/<int:difference_id>/",
            admin.site.admin_view(settle_page),
            name="console_reconciliation_settle",
        ),
        path("part/reconciliation/", reconcile_part, name="console_reconciliation_live"),
        path("part/safety/", live_part, name="console_safety_live"),
        path("safety/halt/", admin.site.admin_view(halt_page), name="console_halt"),
        path("part/safety/progress/", progress_part, name="console_progress"),
        path("part/status/", status_part, name="console_status"),
        path("part/dashboard/", dashboard_part, name="console_dashboard"),
        path("part/equity/", equity_data, name="console_equity"),
    ]


def install() -> None:
    """Add the addresses to the admin site; the theme's site asks for them under these names."""
    admin.site.extra_urls = extra_urls  # type: ignore[attr-defined]
    admin.site.password_change = own_password  # type: ignore[assignment]
    admin.site.search = search  # type: ignore[attr-defined]
    admin.site.login = sign_in  # type: ignore[method-assign]
    admin.site.logout = sign_out  # type: ignore[assignment]
