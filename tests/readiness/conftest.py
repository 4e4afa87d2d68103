"""What the tests of readiness share: one check's outcome, with a setting of the environment changed."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from safety import facts, readiness
from safety.readiness_values import Context, Finding
from tradingops.environment import load_environment

Environ = Callable[..., None]
CheckOf = Callable[..., Finding]


@pytest.fixture(autouse=True)
def _fresh_facts() -> Iterator[None]:
    """Read the settings anew in each test, as a process that has just started."""
    facts.forget()
    yield
    facts.forget()


@pytest.fixture
def environ(settings: Settings) -> Environ:
    """Return what starts this process anew with other variables."""

    def change(**real: str) -> None:
        secret = {"SECRET_KEY": str(settings.SECRET_KEY)}
        settings.ENVIRONMENT = load_environment(settings.BASE_DIR, settings.VAR_DIR, {**secret, **real})
        facts.forget()

    return change


def find(id: str, venue: str | None = None, **changed: Any) -> Finding:
    """Make one check and return its finding, with what the running processes tell now."""
    check = next(one for one in readiness.load_checks() if one.id == id)
    context = replace(Context(timezone.now(), readiness.running_processes()), **changed)
    [finding] = [one for one in readiness._make(check, context) if one.venue == venue]
    return finding
