"""What is thought of a venue's own candles, through its real feed; and what that takes away from a bot that trades there."""

import pytest
from django.utils import timezone
from pytest_django import Settings

from bots.dispatch import lines
from bots.intelligence.values import Action
from bots.models import Bot, BotDecision, Order
from tests.bots.builders import Floor, Worker, blocks_of, buy, floor
from tests.bots.live import live_desk
from tests.bots.test_thoughts import thought_of
from tests.loopback.client import KrakenLoopback

__all__ = ["floor"]
pytestmark = pytest.mark.usefixtures("committed_db")


@pytest.fixture
def bot(kraken: KrakenLoopback, settings: Settings, floor: Floor) -> Bot:
    floor.strategy("wanting", lambda view: [buy("0.3")])
    return live_desk(kraken, settings, strategy="wanting")


def test_quiet_market_at_kraken_takes_nothing_away(bot: Bot) -> None:
    thought = thought_of(bot)
    assert (thought.action, thought.reasons) == (Action.TRADE_ALLOWED, ())


@pytest.mark.parametrize(("score_min", "sent"), [(0, 1), (100, 0)])
def test_live_bot_sends_only_what_is_left(bot: Bot, kraken: KrakenLoopback, score_min: int, sent: int) -> None:
    Bot.objects.filter(pk=bot.pk).update(score_min=score_min)
    now = timezone.now()
    Worker().tick(bot, now=now)
    assert lines.settle(20)
    assert Order.objects.count() == sent
    assert [entry.path for entry in kraken.log() if entry.path == "AddOrder"] == ["AddOrder"] * sent
    row = BotDecision.objects.get(bot=bot)
    assert (row.decided_at, row.action) == (now, "trade_allowed" if sent else "manage_only")
    assert ("INTELLIGENCE_SCORE_BELOW_MIN" in blocks_of(bot)) == (not sent)
