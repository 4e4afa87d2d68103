"""Every combination of what live trading needs, against a loopback venue that counts: exactly one lets an order through."""

from dataclasses import replace
from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from django.conf import settings as django_settings
from pytest_django import Settings

from bots.models import Bot
from safety.models import ReadinessRun, Setting, TradingState
from tests.bots.live import live_desk, live_intent, measured, open_gates, ready, send
from tests.conftest import CommittedDatabase
from tests.loopback.client import KrakenLoopback
from tradingops.environment import load_environment

#: What each lock is when it is shut, and the code that tells of it.
LOCKS = {
    "gate": "LIVE_GATE_CLOSED",
    "keys": "LIVE_GATE_CLOSED",
    "dry_run": "LIVE_GATE_CLOSED",
    "stamp": "LIVE_GATE_CLOSED",
    "state": "KILL_SWITCH",
    "readiness": "READINESS",
}
REASONS = {"gate": "ALLOW_LIVE_TRADING", "keys": "KEYS", "dry_run": "DRY_RUN", "stamp": "DATABASE_STAMP"}


@pytest.fixture
def bot(committed_db: CommittedDatabase, kraken: KrakenLoopback, settings: Settings) -> Bot:
    """Return a live bot with nothing in its way."""
    return live_desk(kraken, settings)


def shut(name: str, bot: Bot, settings: Settings) -> None:
    """Shut one lock, as it would be in life."""
    environment = settings.ENVIRONMENT
    match name:
        case "gate":
            open_gates(settings, live=False)
        case "keys":
            settings.ENVIRONMENT = replace(environment, kraken_api_secret=None)
        case "dry_run":
            Bot.objects.filter(pk=bot.pk).update(dry_run=True)
        case "stamp":
            Setting.objects.filter(key="database_stamp").delete()
        case "state":
            TradingState.objects.filter(scope="global").update(level="halted")
        case "readiness":
            ready("disk_space")


def test_exactly_one_combination_lets_an_order_through(bot: Bot, kraken: KrakenLoopback, settings: Settings) -> None:
    whole = settings.ENVIRONMENT
    for number, pattern in enumerate(product([True, False], repeat=len(LOCKS))):
        settings.ENVIRONMENT = whole
        Bot.objects.filter(pk=bot.pk).update(dry_run=False)
        Setting.objects.update_or_create(key="database_stamp", defaults={"value": "rehearsal"})
        TradingState.objects.filter(scope="global").update(level="active")
        ReadinessRun.objects.all().delete()
        ready()
        measured()
        closed = [name for name, is_open in zip(LOCKS, pattern, strict=True) if not is_open]
        for name in closed:
            shut(name, bot, settings)
        intent = live_intent(bot, quantity=str(Decimal("0.2") + Decimal(number) / 1000))
        submission = send(intent)
        codes = {denial.code for denial in submission.denials}
        assert codes == {LOCKS[name] for name in closed}, closed
        gate = next((one.message for one in submission.denials if one.code == "LIVE_GATE_CLOSED"), "")
        # Every shut lock is named, and never only the first.
        assert all(REASONS[name] in gate for name in closed if name in REASONS), (closed, gate)
    assert len(kraken.log("AddOrder")) == 1


@pytest.mark.parametrize(
    ("text", "sends"),
    [
        ("1", 1),
        ("yse", 0),
        (" 1", 0),
        ("1 ", 0),
        ("TRUE", 0),
        ("true", 0),
        ("on", 0),
        ("", 0),
        (None, 0),
        ("0", 0),
        ("11", 0),
    ],
)
def test_only_a_plain_1_opens_the_gate(
    bot: Bot, kraken: KrakenLoopback, settings: Settings, text: str | None, sends: int
) -> None:
    real: dict[str, Any] = {"SECRET_KEY": django_settings.SECRET_KEY, **kraken.environ()}
    if text is not None:
        real["ALLOW_LIVE_TRADING"] = text
    settings.ENVIRONMENT = load_environment(settings.BASE_DIR, settings.VAR_DIR, real, settings.VAR_DIR / "no.env")
    submission = send(live_intent(bot))
    assert len(kraken.log("AddOrder")) == sends
    if text in ("TRUE", "true", "on"):
        assert "write ALLOW_LIVE_TRADING=1" in submission.denials[0].message.replace("Write", "write")
