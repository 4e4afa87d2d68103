"""The replay's speed: set by people with the right to it, within its bounds, with an operator event."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from audit.models import OperatorEvent
from bots.market_data import feeds
from bots.market_data.replay import ReplayFeed
from safety.models import Setting
from tests.bots.admin.conftest import Desk
from tests.bots.builders import Floor
from tests.conftest import CommittedDatabase

PAGE = "/admin/replay/"


@pytest.fixture
def replay(committed_db: CommittedDatabase, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Return a desk whose bots see the recordings themselves."""
    monkeypatch.setattr(feeds, "_REPLAY", ReplayFeed())
    user = User.objects.create_superuser("operator", password="x")
    client = Client()
    client.force_login(user)
    return Desk(client, user, floor=Floor(feeds._REPLAY, monkeypatch))  # type: ignore[arg-type]


def latest_speed() -> Decimal:
    later = timezone.now() + timedelta(seconds=60)
    return feeds.replay_feed().speed(later)


def test_new_speed_is_kept_and_audited(replay: Desk) -> None:
    assert 'value="1"' in replay.get(PAGE)
    assert "speed 2.5" in replay.told(PAGE, {"speed": "2.50"})[0]
    assert latest_speed() == Decimal("2.5")
    event = OperatorEvent.objects.get()
    assert (event.actor, event.action, event.old, event.new) == ("operator", "replay_speed_changed", "1", "2.5")


@pytest.mark.parametrize("speed", ["0", "0.09", "61", "abc", "NaN", "1.0001", ""])
def test_speed_out_of_bounds_changes_nothing_and_stays_typed(replay: Desk, speed: str) -> None:
    shown = replay.post(PAGE, {"speed": speed}).content.decode()
    assert "id_speed_error" in shown
    assert f'value="{speed}"' in shown or not speed
    assert latest_speed() == 1
    assert not OperatorEvent.objects.exists()


@pytest.mark.parametrize("speed", ["0.1", "60"])
def test_speed_at_its_bounds_is_taken(replay: Desk, speed: str) -> None:
    replay.told(PAGE, {"speed": speed})
    assert latest_speed() == Decimal(speed)


def test_unreadable_clock_is_told(replay: Desk) -> None:
    Setting.objects.create(key="replay_clock", value="nonsense")
    assert "cannot be read" in replay.get(PAGE)
    assert "cannot be read" in replay.post(PAGE, {"speed": "2"}).content.decode()


def test_speed_needs_the_right_to_operate(replay: Desk) -> None:
    replay.as_staff("bots.view_bot")
    assert replay.post(PAGE, {"speed": "2"}).status_code == 403
    assert latest_speed() == 1
