"""Settings with channels, and notifications to plan."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pytest_django import Settings

from safety.notification_models import Delivery
from safety.notifications import outbox, planning

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
#: Nothing listens there.
AWAY = "http://127.0.0.1:9/api/webhooks/1/very-secret"
Telling = Callable[..., None]


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def tell(
    event: str = "risk_alert", subject: str = "bot:1", title: str = "Loss", text: str = "", seconds: float = 0
) -> None:
    outbox.tell(event, subject, title, text, at=at(seconds))


def planned(seconds: float = 0) -> list[Delivery]:
    """Plan what there is at that time, and return all messages in the order in which they were begun."""
    planning.plan(at(seconds))
    return list(Delivery.objects.order_by("id"))


@pytest.fixture
def configured(settings: Settings) -> Settings:
    """Name a Discord where nothing listens: enough to plan for."""
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, discord_webhook_url=AWAY)
    return settings
