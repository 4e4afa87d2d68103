"""Notifications over the API: the preferences, and a test message."""

from datetime import time
from http import HTTPStatus
from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Router, Schema
from pydantic import ConfigDict, Field, StringConstraints

from safety.models import NotificationPrefs
from safety.notifications import prefs, trial
from safety.notifications.messages import EVENTS
from safety.permissions import CHANGE_NOTIFICATIONS
from tradingops.api.auth import caller_of
from tradingops.api.errors import REFUSALS, Refused
from tradingops.api.values import Flag, Text

router = Router(tags=["notifications"])

Clock = Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$"), Field(examples=["22:00"])]


class QuietHours(Schema):
    """Hours, UTC, in which only what is urgent is sent; both ends null for none. They may cross midnight."""

    model_config = ConfigDict(extra="forbid")

    start: Clock | None = Field(None, alias="from", description="Quiet from then on, ``HH:MM`` UTC.")
    until: Clock | None = Field(None, description="Quiet until then, ``HH:MM`` UTC.")


class PrefsOut(Schema):
    """What is sent to people."""

    enabled: bool = Field(description="Whether anything is sent at all.")
    discord: bool = Field(description="Whether Discord is used.")
    email: bool = Field(description="Whether e-mail is used.")
    events: dict[str, bool] = Field(description="For every event whether it is sent.", examples=[{"risk_alert": True}])
    quiet_hours: QuietHours


class PrefsIn(Schema):
    """What is to change; what is left out stays as it is. ``events`` may name some of them."""

    model_config = ConfigDict(extra="forbid")

    enabled: Flag | None = None
    discord: Flag | None = None
    email: Flag | None = None
    events: dict[str, Flag] | None = Field(None, examples=[{"daily_summary": False}], max_length=len(EVENTS))
    quiet_hours: QuietHours | None = None
    reason: Text = Field("", max_length=500, description="Why. It is kept in the audit.")


class DeliveryOut(Schema):
    """What became of the test message on one channel, by the channel's own word."""

    channel: str = Field(examples=["discord"])
    state: str = Field(description="delivered, try_again, refused, not_configured or switched_off.")
    detail: str = Field(description="The same in words, and what to do.")
    retry_after_s: float | None = Field(description="How long the channel wants to be left alone, in seconds.")


class TestOut(Schema):
    """What became of the test message. ``delivered``: at least one channel says that it has it."""

    __test__ = False

    delivered: bool
    channels: list[DeliveryOut]


@router.get(
    "/notification/prefs", response={200: PrefsOut, **REFUSALS}, summary="What is sent to people", by_alias=True
)
def read_prefs(request: HttpRequest) -> dict[str, Any]:
    """Return the notification preferences."""
    caller_of(request).require("safety.view_notificationprefs")
    return _shown(prefs.read())


@router.post("/notification/prefs", response={200: PrefsOut, **REFUSALS}, summary="Change what is sent", by_alias=True)
def change_prefs(request: HttpRequest, payload: PrefsIn) -> dict[str, Any]:
    """Change the preferences that are named, and return all of them."""
    asker = caller_of(request)
    asker.require_live(CHANGE_NOTIFICATIONS)
    quiet = payload.quiet_hours
    wanted = prefs.Change(
        enabled=payload.enabled,
        discord=payload.discord,
        email=payload.email,
        events=payload.events,
        quiet=None if quiet is None else prefs.Quiet(_time(quiet.start), _time(quiet.until)),
    )
    try:
        return _shown(prefs.change(wanted, actor=asker.actor, reason=payload.reason))
    except prefs.PrefsError as wrong:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(wrong)) from wrong


@router.post("/notification/test", response={200: TestOut, **REFUSALS}, summary="Send a test message")
def send_test(request: HttpRequest) -> TestOut:
    """Send a test message through every channel now, and say what really became of it."""
    asker = caller_of(request)
    asker.require_live(CHANGE_NOTIFICATIONS)
    found = trial.send_test(actor=asker.actor)
    return TestOut(
        delivered=any(one.is_delivered for one in found),
        channels=[
            DeliveryOut(channel=one.channel, state=one.state, detail=one.detail, retry_after_s=one.retry_after_s)
            for one in found
        ],
    )


def _shown(found: NotificationPrefs) -> dict[str, Any]:
    return {
        "enabled": found.enabled,
        "discord": found.discord,
        "email": found.email,
        "events": prefs.events_of(found),
        "quiet_hours": {"from": _text(found.quiet_from), "until": _text(found.quiet_until)},
    }


def _time(text: str | None) -> time | None:
    return None if text is None else time.fromisoformat(text)


def _text(moment: time | None) -> str | None:
    return None if moment is None else f"{moment:%H:%M}"
