"""Readiness of the reconciliation: fresh within five minutes or no live entry; what is open is told."""

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from bots import going_live
from bots.models import AccountSync, Bot, Order, ReconciliationRun
from bots.readiness_chores import due
from bots.readiness_reconciliation import AGE_MAX
from safety import readiness
from safety.models import ReadinessRun
from safety.readiness_values import Finding, Severity, State
from tests.bots.builders import make_bot
from tests.bots.live import live_desk, live_intent, send
from tests.bots.reconciliation.desk import round_at
from tests.conftest import CommittedDatabase
from tests.loopback import faults
from tests.loopback.client import BTC, KrakenLoopback
from tests.readiness.conftest import find

FRESH, AGREES = "reconciliation_fresh", "reconciliation_agrees"


@pytest.fixture
def bot(committed_db: CommittedDatabase, kraken: KrakenLoopback, settings: Settings) -> Bot:
    """Return a live bot with nothing in its way."""
    return live_desk(kraken, settings)


def compared(ago: timedelta) -> Finding:
    """Let the last sound round be so long ago, and make the check."""
    now = timezone.now()
    AccountSync.objects.update(sound_at=now - ago)
    return find(FRESH, "kraken", now=now)


class TestFresh:
    def test_account_that_nobody_uses_needs_none(self, committed_db: CommittedDatabase) -> None:
        make_bot("paper")
        for venue in ("kraken", "alpaca"):
            assert find(FRESH, venue).state == State.NOT_USED
            assert find(AGREES, venue).state == State.NOT_USED

    def test_account_that_was_never_compared_blocks(self, bot: Bot) -> None:
        found = find(FRESH, "kraken")
        assert (found.blocks, "never compared" in found.found, "reconcile" in found.remedy) == (True, True, True)
        assert find(FRESH, "alpaca").state == State.NOT_USED

    def test_account_whose_baseline_could_not_be_taken_blocks(self, bot: Bot, kraken: KrakenLoopback) -> None:
        order = send(live_intent(bot, limit="98")).order
        kraken.fill(order.venue_order_id, "0.1")
        # It was looked up just now, so that it waits with its fill: there is no still moment to take the baseline in.
        Order.objects.filter(pk=order.pk).update(looked_up_at=timezone.now() + timedelta(seconds=30))
        assert round_at().state == "waits"
        found = find(FRESH, "kraken")
        assert (found.blocks, "never compared" in found.found, "something moved" in found.found) == (True, True, True)
        Order.objects.filter(pk=order.pk).update(looked_up_at=None)
        round_at(20)
        assert round_at(30).state == "agrees"
        assert find(FRESH, "kraken", now=timezone.now() + timedelta(seconds=31)).state == State.OK

    def test_five_minutes_is_the_limit(self, bot: Bot) -> None:
        round_at()
        assert compared(timedelta(seconds=1)).state == State.OK
        assert compared(AGE_MAX).state == State.OK
        late = compared(AGE_MAX + timedelta(seconds=1))
        assert (late.blocks, "5 min ago" in late.found) == (True, True)

    def test_comparison_in_the_future_is_no_fresh_one(self, bot: Bot) -> None:
        round_at()
        assert "in the future" in compared(timedelta(seconds=-60)).found
        assert compared(timedelta(seconds=-60)).blocks

    def test_round_that_ended_while_the_run_waited_for_a_venue_is_fresh(self, bot: Bot) -> None:
        round_at()
        assert compared(timedelta(seconds=-20)).state == State.OK

    def test_round_that_failed_freshens_nothing_and_is_told(self, bot: Bot, kraken: KrakenLoopback) -> None:
        round_at()
        kraken.fault(faults.page("OpenOrders", count=faults.FOR_EVER))
        assert round_at().state == "failed"
        assert "The last round failed: " in compared(timedelta(minutes=6)).found


class TestAgrees:
    def test_open_difference_is_a_warning_that_names_it(self, bot: Bot, kraken: KrakenLoopback) -> None:
        send(live_intent(bot))
        round_at()
        assert find(AGREES, "kraken").state == State.OK
        kraken.set_balance("XXBT", "0.2")
        round_at()
        assert find(AGREES, "kraken").state == State.OK
        round_at(12)
        found = find(AGREES, "kraken")
        assert (found.state, found.severity, found.blocks) == (State.FAILED, Severity.WARNING, False)
        assert "0.1 BTC are missing" in found.found
        kraken.set_balance("XXBT", "0.8")
        round_at(40)
        assert find(AGREES, "kraken").state == State.OK


class TestWhen:
    def test_setting_the_first_bot_live_compares_its_account_at_once(self, bot: Bot) -> None:
        other = make_bot("second", venue="kraken", symbol=BTC)
        going_live.set_live(other.pk, actor="anna", confirm="second", reason="a test")
        assert find(FRESH, "kraken").state == State.OK
        third = make_bot("third", venue="kraken", symbol=BTC)
        going_live.set_live(third.pk, actor="anna", confirm="third", reason="a test")
        # An account that was compared before is left to the workers.
        assert list(ReconciliationRun.objects.values_list("trigger", "state")) == [("set_live", "agrees")]

    def test_runs_follow_closely_until_the_first_comparison(self, committed_db: CommittedDatabase) -> None:
        now = timezone.now()
        results = [Finding(FRESH, "t", Severity.BLOCKER, State.FAILED, "never", "wait", "kraken").as_dict()]
        last = ReadinessRun(
            trigger="set_live", started_at=now - timedelta(seconds=15), finished_at=now - timedelta(seconds=14),
            version="1", config_hash="", results=results,
        )  # fmt: skip
        assert readiness.findings_of(last)[0].blocks
        went_live = now - timedelta(seconds=20)
        long_ago = now - timedelta(hours=1)
        assert due(last, started_at=long_ago, set_live_at=went_live, now=now) == "start"
        assert due(last, started_at=long_ago, set_live_at=long_ago, now=now) == ""
