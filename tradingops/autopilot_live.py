"""From paper to real money and back, for the autopilot: a page of its own with the locks, the typed words and a reason."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.views.decorators.debug import sensitive_post_parameters

from audit.admin_base import actor_of
from bots.autopilot import config as autopilot_config
from bots.autopilot.config import AutopilotLiveRefused, live_blocks
from bots.models import AutopilotConfig, Venue
from safety import live_gate, readiness
from safety.kill_switch import read_state
from safety.permissions import OPERATE_BOT, TRADE_LIVE
from safety.recent_signin import CODE, PASSWORD, ask
from tradingops import autopilot_figures
from tradingops.autopilot_forms import ONE_POSITION, LiveForm
from tradingops.autopilot_page import SEE, post_only, to_page


@sensitive_post_parameters(PASSWORD, CODE)
def go_live_page(request: HttpRequest) -> HttpResponse:
    """Show what it means and every lock; on a POST with the words typed and a reason, let it trade with real money."""
    if not request.user.has_perms((SEE, OPERATE_BOT, TRADE_LIVE)):
        raise PermissionDenied
    asked = ask(request)
    if asked is not None:
        return asked
    config = autopilot_config.read()
    if not config.dry_run:
        messages.info(request, "It is set live already.")
        return to_page()
    form = LiveForm(request.POST if request.method == "POST" else None, config=config)
    if request.method == "POST" and form.is_valid() and _set_live(request, form):
        return to_page()
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Autopilot: real money",
        "form": form,
        "config": config,
        "at_stake": autopilot_figures.at_stake(config, is_live=True),
        "one_position": ONE_POSITION,
        "blocks": live_blocks(config),
        "venues": _venues(config),
        "replay_count": len(config.universe.get(Venue.REPLAY, ())),
    }
    return TemplateResponse(request, "admin/autopilot/go_live.html", context)


def _set_live(request: HttpRequest, form: LiveForm) -> bool:
    given = form.cleaned_data
    try:
        done = autopilot_config.set_live(actor=actor_of(request), confirm=given["confirm"], reason=given["reason"])
    except AutopilotLiveRefused as refused:
        form.add_error(None, str(refused))
        return False
    now_on = (
        "Its next bots trade with real money."
        if done.enabled
        else "It is off: once switched on, it trades with real money."
    )
    messages.warning(request, f"The autopilot is set LIVE. {now_on}")
    return True


@post_only
def back_to_paper(request: HttpRequest) -> HttpResponse:
    """Have it trade on paper from now on. Never asks for anything: this only shrinks a risk."""
    autopilot_config.set_paper(actor=actor_of(request), reason="set back to paper on the Autopilot page")
    messages.success(
        request,
        "The autopilot makes bots on paper from now on. Bots of its own that are live stay live: see the list below.",
    )
    return to_page()


def _venues(config: AutopilotConfig) -> list[dict[str, Any]]:
    """Return the locks of each venue of the universe that can be live, its trading state and its readiness."""
    venues = sorted(venue for venue, some in config.universe.items() if some and venue != Venue.REPLAY)
    return [
        {
            "venue": venue,
            "symbols": len(config.universe[venue]),
            # The lock that a bot's own dry run is opens with each bot that it makes.
            "locks": [one for one in live_gate.read_locks(venue, dry_run=False) if one.id != "DRY_RUN"],
            "state": read_state(venue),
            "verdict": readiness.verdict(venue),
            "blocks": autopilot_config.venue_live_blocks(venue),
        }
        for venue in venues
    ]
