"""A halt with a scoped token waits for no lock that it does not need."""

import time
from dataclasses import replace

import pytest
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from safety import api_tokens
from safety.api_scopes import Scope
from safety.kill_file import kill_file
from safety.models import ApiToken, TradingState
from safety.permissions import RISK_MANAGER
from tests.safety.test_kill_concurrency import at_once
from tests.tradingops.api.asking import Script, script

__all__ = ["script"]
pytestmark = pytest.mark.usefixtures("committed_db")
HALT = {"level": "halted", "reason": "a test"}
#: SQLite's writer keeps every other one waiting, PostgreSQL's whoever wants the token's row: he gives up after 10 s.
HELD_S = 12.0
#: SQLite's halt waits five seconds for the writer, then writes the file; PostgreSQL's does not want the token's row at all.
HALTED_S = 9.0


def made(name: str, scope: Scope = Scope.ENGAGE) -> str:
    """Return the text of a new token."""
    maker, is_new = User.objects.get_or_create(username="maker", defaults={"is_staff": True})
    if is_new:
        maker.groups.add(Group.objects.get(name=RISK_MANAGER))
    maker = User.objects.get(pk=maker.pk)
    return api_tokens.make(name, scope, None, maker=maker, reason="a test", now=timezone.now())[1]


def test_halt_does_not_wait_for_a_lock_only_to_note_that_its_token_was_used(script: Script) -> None:
    text = made("halts")

    def freeze() -> None:
        with transaction.atomic():
            ApiToken.objects.update(name="frozen")
            time.sleep(HELD_S)

    def halt() -> float:
        time.sleep(0.5)
        began_s = time.monotonic()
        Client().post("/api/safety/kill-switch", HALT, "application/json", headers={"Authorization": f"Bearer {text}"})
        return began_s

    def halted_after() -> float:
        began_s = time.monotonic()
        while not is_halted() and time.monotonic() - began_s < HELD_S * 3:
            time.sleep(0.05)
        return time.monotonic() - began_s

    *_, after_s = at_once(freeze, halt, halted_after)
    assert isinstance(after_s, float), after_s
    assert after_s < HALTED_S, after_s


def is_halted() -> bool:
    """Return whether this host is halted, by the database or the file, as another process finds it."""
    return kill_file().exists() or TradingState.objects.filter(scope="global", level="halted").exists()


def test_use_is_noted_by_a_halt(script: Script) -> None:
    assert Script(made("halts")).post("/safety/kill-switch", HALT)[0] == 200
    assert ApiToken.objects.get().last_used_at is not None


def test_no_name_of_a_token_shares_a_bucket_with_anothers_changes(script: Script, settings: Settings) -> None:
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, api_requests_per_minute=1, api_writes_per_minute=1)
    assert Script(made("bob", Scope.OPERATE)).post("/bots", {})[0] == 422
    assert Script(made("bob writes", Scope.READ)).get("/bots")[0] == 200
