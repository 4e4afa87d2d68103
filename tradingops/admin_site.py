"""The console's own addresses under the admin: the moving parts of its pages, which only read, and the replay's speed."""

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import URLPattern, path
from django.utils import timezone

from audit.admin_base import SAFE_METHODS, ok_or_login, record_change
from audit.log import joined_unit
from bots.admin import equity
from bots.admin.replay import speed_page
from tradingops.dashboard import CHART_HOURS, live_context
from tradingops.mode import status_of

SEE_BOTS = "bots.view_bot"


def status_part(request: HttpRequest) -> HttpResponse:
    """Answer with the banner: mode, trading state and why."""
    if not (request.user.is_authenticated and getattr(request.user, "is_staff", False)):
        return HttpResponse(status=204, headers={"HX-Refresh": "true"})
    context = {"console": status_of(request), "console_private": True}
    return render(request, "admin/console/banner.html", context)


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
    points = equity.curve(equity.current_bots(), is_live=False, since=timezone.now() - timedelta(hours=CHART_HOURS))
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


def extra_urls() -> list[URLPattern]:
    """Return the addresses. The parts see to their own sign-in, since a redirect would land in the middle of a page."""
    return [
        path("replay/", admin.site.admin_view(speed_page), name="console_replay"),
        path("part/status/", status_part, name="console_status"),
        path("part/dashboard/", dashboard_part, name="console_dashboard"),
        path("part/equity/", equity_data, name="console_equity"),
    ]


def install() -> None:
    """Add the addresses to the admin site; the theme's site asks for them under these names."""
    admin.site.extra_urls = extra_urls  # type: ignore[attr-defined]
    admin.site.password_change = own_password  # type: ignore[assignment]
