"""A bot that changes between the look at who may do what and the act: nobody does more than he was let in for."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.utils import timezone

from bots.models import Bot
from safety import api_tokens
from safety.api_scopes import Scope
from safety.permissions import RISK_MANAGER
from tests.bots.builders import Floor, floor, make_bot
from tests.bots.live import live_bot
from tests.loopback.client import KrakenLoopback
from tests.safety.test_kill_concurrency import at_once
from tests.tradingops.api.asking import Script, script

__all__ = ["floor", "script"]
pytestmark = pytest.mark.usefixtures("committed_db")
#: Long enough that the request stands at the bot's lock. One that comes later sees the change, which is no less safe.
HELD_S = 2.0
ASKED_AFTER_S = 0.7


def operator() -> Script:
    """Return a script that may touch nothing that is live."""
    maker = User.objects.create_user("maker", is_staff=True)
    maker.groups.add(Group.objects.get(name=RISK_MANAGER))
    made = api_tokens.make("op", Scope.OPERATE, None, maker=User.objects.get(), reason="a test", now=timezone.now())
    return Script(made[1])


def meanwhile(bot: Bot, asked: Callable[[], tuple[int, Any]], **changes: Any) -> tuple[int, Any]:
    """Change a bot while a request waits for its lock, and return the answer."""

    def change() -> None:
        with transaction.atomic():
            Bot.objects.select_for_update().get(pk=bot.pk)
            Bot.objects.filter(pk=bot.pk).update(**changes)
            time.sleep(HELD_S)

    def ask() -> tuple[int, Any]:
        time.sleep(ASKED_AFTER_S)
        return asked()

    changed, told = at_once(change, ask)
    assert changed is None, changed
    assert isinstance(told, tuple), told
    return told


@pytest.mark.parametrize(
    ("method", "what", "body"),
    [
        ("POST", "/stop", None),
        ("POST", "/pause", None),
        ("POST", "/close-position", None),
        ("POST", "/dry-run", {"dry_run": True}),
        ("POST", "/start", None),
        ("PATCH", "", {"poll_seconds": 77}),
        ("DELETE", "", None),
    ],
)
def test_operate_token_does_nothing_to_a_bot_that_is_set_live_meanwhile(
    script: Script, kraken: KrakenLoopback, method: str, what: str, body: dict[str, Any] | None
) -> None:
    bot = live_bot()
    Bot.objects.update(dry_run=True)
    asks = operator()
    status, told = meanwhile(bot, lambda: asks._send(method, f"/bots/{bot.pk}{what}", body), dry_run=False)
    assert status in (403, 409), told
    after = Bot.objects.get(pk=bot.pk)
    assert (after.dry_run, after.turning_to_paper, after.status, after.poll_seconds) == (False, False, "running", 1)


def test_params_that_somebody_else_changed_meanwhile_stay(script: Script, floor: Floor) -> None:
    bot = make_bot()
    names = [name for name, value in bot.params.items() if isinstance(value, str) and value.isdecimal()]
    mine, theirs = names[:2]
    changed = {**bot.params, theirs: str(int(bot.params[theirs]) + 1)}
    wanted = str(int(bot.params[mine]) + 1)
    status, told = meanwhile(bot, lambda: script.patch(f"/bots/{bot.pk}", params={mine: wanted}), params=changed)
    assert status == 200, told
    assert json.loads(json.dumps(Bot.objects.get(pk=bot.pk).params)) == {**changed, mine: wanted}


def test_name_that_another_bot_takes_at_the_same_moment_is_409(script: Script, floor: Floor) -> None:
    first, second = make_bot("first"), make_bot("second")
    status, told = meanwhile(first, lambda: script.patch(f"/bots/{second.pk}", name="wanted"), name="wanted")
    assert (status, told["code"]) == (409, "denied")
