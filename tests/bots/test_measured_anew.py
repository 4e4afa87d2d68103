"""A measurement that is overtaken, by a younger one or by a withdrawal that was counted meanwhile, makes up no loss."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connections
from django.utils import timezone

from bots import account_chores
from bots.account_chores import Answer, ask_account, measure_at_venue, price_usd
from bots.models import Account, Bot
from tests.bots.reconciliation.conftest import armed, bot
from tests.bots.reconciliation.desk import baseline, round_at
from tests.loopback.client import KrakenLoopback

__all__ = ["armed", "bot"]
pytestmark = pytest.mark.usefixtures("committed_db")
WAIT_S = 60


def kept() -> Account:
    return Account.objects.get(name="kraken")


@contextmanager
def measuring(
    monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> Iterator[tuple["Future[Account]", Callable[[], None]]]:
    """Measure with an answer in a thread of its own, which waits before it locks anything until it is let go."""
    reached, may_go = threading.Event(), threading.Event()

    def price(venue: str, asset: str, now: datetime) -> Decimal | None:
        found = price_usd(venue, asset, now)
        if threading.current_thread() is not threading.main_thread():
            reached.set()
            assert may_go.wait(WAIT_S)
        return found

    def measure() -> Account:
        try:
            return measure_at_venue("kraken", is_live=True, answer=answer)
        finally:
            connections.close_all()

    monkeypatch.setattr(account_chores, "price_usd", price)
    with ThreadPoolExecutor(1) as pool:
        try:
            running = pool.submit(measure)
            assert reached.wait(WAIT_S)
            yield running, may_go.set
        finally:
            may_go.set()


def test_withdrawal_that_is_counted_while_an_older_answer_is_valued_is_no_loss(
    armed: Bot, kraken: KrakenLoopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Asked before the withdrawal, and written after it was counted.
    old = ask_account("kraken", is_live=True)
    measure_at_venue("kraken", is_live=True)
    before = kept()
    assert before.peak_equity_usd is not None
    with measuring(monkeypatch, old) as (running, let_go):
        kraken.withdraw("ZUSD", "5000")
        usd = baseline("USD")
        assert round_at(trigger="command").state == "agrees"
        assert baseline("USD") == usd - 5000
        let_go()
        running.result(WAIT_S)
    after = kept()
    assert after.equity_usd is not None
    assert after.peak_equity_usd is not None
    assert abs(after.peak_equity_usd - (before.peak_equity_usd - 5000)) < 50
    assert abs(after.peak_equity_usd - after.equity_usd) < 50


def test_answer_counts_as_the_books_are_once_the_account_is_locked(
    armed: Bot, kraken: KrakenLoopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing younger was measured: only what was counted meanwhile tells that the answer is from before the withdrawal."""
    measure_at_venue("kraken", is_live=True)
    before = kept()
    old = ask_account("kraken", is_live=True)
    monkeypatch.setattr("bots.reconciliation.engine.measure_at_venue", lambda *_, **__: kept())
    with measuring(monkeypatch, old) as (running, let_go):
        kraken.withdraw("ZUSD", "5000")
        assert round_at(trigger="command").state == "agrees"
        let_go()
        account = running.result(WAIT_S)
    assert account.measured_at == old.asked_at
    assert account.equity_usd is not None
    assert before.equity_usd is not None
    assert abs(account.equity_usd - (before.equity_usd - 5000)) < 50
    peak = kept().peak_equity_usd
    assert peak is not None
    assert abs(peak - account.equity_usd) < 50


@pytest.mark.parametrize(("seconds", "is_kept"), [(-1, False), (0, True), (1, True)])
def test_measurement_older_than_the_one_that_is_there_is_dropped(
    armed: Bot, kraken: KrakenLoopback, seconds: int, is_kept: bool
) -> None:
    answer = ask_account("kraken", is_live=True)
    measured_at = timezone.now() - timedelta(seconds=5)
    Account.objects.filter(name="kraken").update(measured_at=measured_at, equity_usd=Decimal(1))
    asked_at = measured_at + timedelta(seconds=seconds)
    measure_at_venue("kraken", is_live=True, answer=Answer(answer.report, asked_at))
    assert (kept().equity_usd != 1) is is_kept
    assert kept().measured_at == (asked_at if is_kept else measured_at)


def test_measurement_from_a_clock_that_was_ahead_does_not_stop_the_next(armed: Bot, kraken: KrakenLoopback) -> None:
    Account.objects.filter(name="kraken").update(measured_at=timezone.now() + timedelta(hours=1), equity_usd=Decimal(1))
    account = measure_at_venue("kraken", is_live=True)
    assert account.equity_usd != 1
    assert account.measured_at is not None
    assert account.measured_at <= timezone.now()
