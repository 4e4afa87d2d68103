"""An alert channel counts when a message really went through it, and not too long ago."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from safety.checks.alerts import FAILING_FOR_MAX, PROVEN_FOR
from safety.models import NotificationPrefs
from safety.notification_models import ChannelState
from safety.readiness_values import Finding, State
from tests.readiness.conftest import find
from tests.readiness.processes import beat_all

pytestmark = pytest.mark.django_db
ID = "alert_delivered"
SECOND = timedelta(seconds=1)


def channel(name: str = "discord", **fields: Any) -> None:
    ChannelState.objects.update_or_create(name=name, defaults={"delivered_at": timezone.now(), **fields})


def found(*channels: str) -> Finding:
    beat_all(channels=list(channels or ["discord"]))
    return find(ID)


def test_without_a_channel_it_passes_and_says_so() -> None:
    beat_all(channels=[])
    assert (find(ID).state, find(ID).found) == (State.OK, "No alert channel is configured and on.")


def test_a_channel_that_delivered_passes() -> None:
    channel()
    assert found().state == State.OK


def test_a_channel_that_never_delivered_blocks_and_says_how_to_try_it() -> None:
    finding = found()
    assert (finding.state, finding.blocks) == (State.FAILED, True)
    assert "Discord has never delivered" in finding.found
    assert "--send-test" in finding.remedy


def test_every_channel_that_is_on_has_to_work() -> None:
    channel("discord")
    finding = found("discord", "email")
    assert finding.state == State.FAILED
    assert "Email has never delivered" in finding.found
    assert "Discord" not in finding.found


@pytest.mark.parametrize("off", [{"enabled": False}, {"discord": False}])
def test_a_channel_that_a_person_switched_off_is_not_asked_for(off: dict[str, bool]) -> None:
    NotificationPrefs.objects.filter(pk=1).update(**off)
    assert found().state == State.OK


@pytest.mark.parametrize(
    ("since", "state"), [(FAILING_FOR_MAX - 5 * SECOND, State.OK), (FAILING_FOR_MAX + SECOND, State.FAILED)]
)
def test_a_channel_may_fail_for_a_moment(since: timedelta, state: State) -> None:
    channel(failing_since=timezone.now() - since, detail="Discord does not know this webhook.")
    finding = found()
    assert finding.state == state
    assert ("does not know this webhook" in finding.found) is (state == State.FAILED)


@pytest.mark.parametrize(("ago", "state"), [(PROVEN_FOR - 5 * SECOND, State.OK), (PROVEN_FOR + SECOND, State.FAILED)])
def test_an_old_delivery_proves_nothing_any_more(ago: timedelta, state: State) -> None:
    channel(delivered_at=timezone.now() - ago)
    assert found().state == state


def test_it_is_not_known_while_processes_are_silent() -> None:
    channel()
    assert find(ID).state == State.NOT_KNOWN
