"""``manage.py reconcile``: 0 when both sides agree, 2 when they differ, 3 when that could not be told."""

import json
import re
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from bots.brokers.factory import forget_brokers
from bots.management.commands import reconcile as command
from bots.models import AccountSync, Bot, RateCounter
from bots.reconciliation import turns
from tests.bots.builders import make_bot
from tests.bots.live import live_desk, live_intent, send
from tests.bots.reconciliation.desk import round_at
from tests.conftest import CommittedDatabase
from tests.loopback import faults, limits
from tests.loopback.client import KrakenLoopback

pytestmark = pytest.mark.usefixtures("committed_db")
#: How far it has come, in words; which list it is at depends on how fast the machine is.
READING = r"reading the account's history(: | since ).*20\d\d-\d\d-\d\d \d\d:\d\d UTC"


@pytest.fixture
def bot(committed_db: CommittedDatabase, kraken: KrakenLoopback, settings: Settings) -> Bot:
    """Return a live bot with nothing in its way."""
    return live_desk(kraken, settings)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command wait no longer than a test may."""
    monkeypatch.setattr(command, "ROUNDS_MAX", 2)
    monkeypatch.setattr(command, "AGAIN_S", 0.0)
    monkeypatch.setattr(command, "TURN_WITHIN_S", 0.0)


def ran(*arguments: str) -> tuple[int, str]:
    """Run the command and return its exit code and what it printed."""
    out = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("reconcile", *arguments, stdout=out, stderr=out)
    return int(str(ended.value.code)), out.getvalue()


def told(*arguments: str) -> tuple[int, dict[str, Any]]:
    code, printed = ran("--json", *arguments)
    return code, json.loads(printed)


def test_both_sides_that_agree_are_0(bot: Bot, kraken: KrakenLoopback) -> None:
    send(live_intent(bot))
    code, found = told()
    assert code == found["exit_code"] == 0
    (account,) = found["accounts"]
    assert (account["account"], account["is_live"], account["result"]) == ("kraken", True, "agrees")
    btc = next(one for one in account["assets"] if one["asset"] == "BTC")
    assert btc == {
        "asset": "BTC", "verdict": "agrees", "venue": "0.8", "expected": "0.8", "baseline": "0.5", "held": "0.3",
        "flows": "0", "delta": "0",
    }  # fmt: skip
    code, text = ran()
    assert code == 0
    assert "kraken (live): agrees" in text
    assert "venue 0.8, ought to be 0.8 (owner 0.5, bots 0.3, trades 0)" in text


def test_what_is_missing_is_2_and_named(bot: Bot, kraken: KrakenLoopback) -> None:
    send(live_intent(bot))
    round_at()
    kraken.set_balance("XXBT", "0.2")
    round_at()
    round_at(12)
    code, found = told()
    assert code == 2
    (account,) = found["accounts"]
    assert account["result"] == "differs"
    assert [(one["kind"], one["asset"]) for one in account["differences"]] == [("shortage", "BTC")]
    assert "0.1 BTC are missing" in account["differences"][0]["text"]
    code, text = ran()
    assert (code, "kraken (live): DIFFERS" in text, "open since" in text) == (2, True, True)


@pytest.mark.usefixtures("hurried")
def test_unsound_answer_is_3_with_the_reason(bot: Bot, kraken: KrakenLoopback) -> None:
    kraken.fault(faults.page("OpenOrders", count=faults.FOR_EVER))
    code, found = told()
    assert code == 3
    assert found["accounts"][0]["result"] == "unknown"
    assert found["accounts"][0]["reason"]
    code, text = ran()
    assert (code, "COULD NOT BE TOLD: " in text) == (3, True)


@pytest.mark.usefixtures("hurried")
def test_first_sight_of_a_shortage_is_not_called_one(bot: Bot, kraken: KrakenLoopback) -> None:
    """It has to be seen twice, some seconds apart: the command says that it could not tell, not that all is well."""
    send(live_intent(bot))
    round_at()
    kraken.set_balance("XXBT", "0.2")
    assert ran()[0] == 3


@pytest.fixture
def long_history(bot: Bot, kraken: KrakenLoopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let so much have been traded by hand that the smallest limit does not let the command read it."""
    send(live_intent(bot))
    round_at()
    then = timezone.now() - timedelta(hours=2)
    AccountSync.objects.update(baseline_at=then, history_at=then, history_since=then)
    with time_machine.travel(timezone.now() - timedelta(hours=1), tick=True):
        order_id = kraken.place("sell", "0.02", price="150")
        for _ in range(180):
            kraken.fill(order_id, "0.0001")
    limits.restore(monkeypatch)
    forget_brokers()
    RateCounter.objects.all().delete()


@pytest.mark.usefixtures("hurried", "long_history")
def test_long_history_that_is_being_read_is_3_and_says_how_far() -> None:
    code, text = ran()
    assert code == 3
    assert re.search(f"kraken \\(live\\): COULD NOT BE TOLD: {READING}", text)
    # A minute later.
    RateCounter.objects.all().delete()
    code, found = told()
    (account,) = found["accounts"]
    assert (code, account["result"], account["differences"]) == (3, "unknown", [])
    assert re.match(READING, account["reason"])


@pytest.mark.usefixtures("hurried", "long_history")
def test_shortage_while_a_long_history_is_read_is_2_and_says_how_far(kraken: KrakenLoopback) -> None:
    kraken.set_balance("XXBT", "0.2")
    round_at()
    # The confirming round comes later, when the limit has room for its own questions again.
    for sync in AccountSync.objects.all():
        for doubt in sync.doubts.values():
            doubt["since"] = (timezone.now() - timedelta(seconds=20)).isoformat()
        sync.save(update_fields=["doubts"])
    RateCounter.objects.all().delete()
    code, text = ran()
    assert code == 2
    assert re.search(f"kraken \\(live\\): DIFFERS: {READING}", text)
    assert "0.1 BTC are missing" in text


@pytest.mark.usefixtures("hurried")
def test_round_of_somebody_else_that_does_not_end_is_3(bot: Bot) -> None:
    turns.take("kraken", is_live=True)
    code, found = told()
    assert code == 3
    assert "does not end" in found["accounts"][0]["reason"]


def test_nothing_to_compare_agrees(committed_db: CommittedDatabase) -> None:
    assert told() == (0, {"exit_code": 0, "accounts": []})
    make_bot("paper")
    code, text = ran()
    assert (code, "nothing to compare" in text) == (0, True)


def test_only_the_venue_that_was_asked_for(bot: Bot) -> None:
    assert told("--venue", "alpaca")[1]["accounts"] == []
    assert len(told("--venue", "kraken")[1]["accounts"]) == 1
    with pytest.raises(CommandError, match="invalid choice"):
        call_command("reconcile", "--venue", "replay")
