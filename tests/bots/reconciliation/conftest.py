"""Desks whose account is reconciled."""

import pytest
from pytest_django import Settings

from bots.models import Bot
from bots.order_states import OrderStatus
from tests.bots.live import live_desk, live_intent, send
from tests.bots.reconciliation.desk import round_at
from tests.conftest import CommittedDatabase
from tests.loopback.client import KrakenLoopback


@pytest.fixture
def bot(committed_db: CommittedDatabase, kraken: KrakenLoopback, settings: Settings) -> Bot:
    """Return a live bot with nothing in its way."""
    return live_desk(kraken, settings)


@pytest.fixture
def armed(bot: Bot) -> Bot:
    """Return a live bot on an account whose baseline was taken."""
    run = round_at()
    assert run.state == "agrees", run.reason
    return bot


@pytest.fixture
def holding(armed: Bot) -> Bot:
    """Return a live bot that holds 0.3 BTC, on an account that agrees."""
    assert send(live_intent(armed)).order.status == OrderStatus.FILLED
    assert round_at().state == "agrees"
    return armed
