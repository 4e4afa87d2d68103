"""How fast recorded market data plays: one speed for every recording and every process."""

from decimal import Decimal

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils import timezone
from unfold.widgets import UnfoldAdminTextInputWidget

from audit.admin_base import record_change
from audit.decimals import decimal_text
from audit.log import unit
from bots.admin.actions import OPERATE
from bots.market_data.base import MarketDataError
from bots.market_data.feeds import replay_feed
from bots.market_data.replay_clock import KEY, SPEED_MAX, SPEED_MIN


class SpeedForm(forms.Form):
    """The speed: 1 plays each bar in its own playing time, 2 in half of it."""

    speed = forms.DecimalField(
        label="Speed",
        min_value=SPEED_MIN,
        max_value=SPEED_MAX,
        decimal_places=3,
        help_text=f"From {SPEED_MIN} to {SPEED_MAX}. 1 is the ordinary speed, 2 is twice as fast. Bots go on as they are.",
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal", "autocomplete": "off"}),
    )


def speed_page(request: HttpRequest) -> HttpResponse:
    """Show the speed, or set it with an operator event."""
    if not request.user.has_perm(OPERATE):
        raise PermissionDenied
    speed, problem = _speed()
    form = SpeedForm(request.POST or None, initial={"speed": None if speed is None else decimal_text(speed)})
    if request.method == "POST" and form.is_valid():
        try:
            _set(request, form.cleaned_data["speed"])
        except MarketDataError as error:
            form.add_error("speed", str(error))
        else:
            return HttpResponseRedirect(request.path)
    context = {**admin.site.each_context(request), "title": "Replay speed", "form": form, "problem": problem}
    return TemplateResponse(request, "admin/console/replay.html", context)


def _speed() -> tuple[Decimal | None, str]:
    try:
        return replay_feed().speed(timezone.now()), ""
    except MarketDataError as error:
        return None, str(error)


def _set(request: HttpRequest, speed: Decimal) -> None:
    now = timezone.now()
    with unit():
        old = replay_feed().speed(now)
        replay_feed().set_speed(speed, now)
        record_change(request, "replay_speed_changed", f"setting:{KEY}", decimal_text(old), decimal_text(speed))
    messages.success(request, f"The recordings play at speed {decimal_text(speed)} within a few seconds.")
