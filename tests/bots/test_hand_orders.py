"""Orders by hand: how old they are when their market takes its time to load."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
import time_machine
from django.utils import timezone

from bots.hand_orders import HandOrder, Once, new_order_id, place_order
from bots.market_data import feeds
from bots.order_states import OrderStatus
from safety.intents import OrderType, Quote, Side
from tests.bots.builders import Floor, ScriptedFeed, floor, make_bot

__all__ = ["floor"]
pytestmark = pytest.mark.usefixtures("committed_db")
NOON = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
#: How old an order may be when it is judged, by default.
AGE_MAX_S = 30
BUY = HandOrder(Side.BUY, OrderType.MARKET, Decimal("0.5"))


class SlowFeed(ScriptedFeed):
    """A market that takes so long to load: then its quote is as new as can be."""

    def __init__(self, clock: time_machine.Traveller, load_s: float) -> None:
        super().__init__()
        self.clock, self.load_s = clock, load_s

    def quote(self, symbol: str, now: datetime) -> Quote:
        self.clock.shift(self.load_s)
        return super().quote(symbol, timezone.now())


@pytest.mark.parametrize("load_s", [0, 3, AGE_MAX_S])
def test_order_whose_market_was_slow_to_load_is_placed_and_is_as_old_as_the_asking(
    floor: Floor, monkeypatch: pytest.MonkeyPatch, load_s: float
) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        bot = make_bot()
        monkeypatch.setattr(feeds, "_REPLAY", SlowFeed(clock, load_s))
        found = place_order(bot.pk, BUY, actor="ann")
        assert (found.order.status, found.denials) == (OrderStatus.FILLED, ())
        assert found.order.created_at == NOON


def test_order_whose_market_was_slower_than_it_may_be_old_is_denied_by_its_true_age(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        bot = make_bot()
        monkeypatch.setattr(feeds, "_REPLAY", SlowFeed(clock, AGE_MAX_S + 1))
        [denial] = place_order(bot.pk, BUY, actor="ann").denials
        assert (denial.code, denial.limit, denial.actual) == ("INTENT_EXPIRED", "30 s", "31 s")


def test_order_that_is_asked_for_again_is_as_old_as_it_was(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        bot = make_bot()
        monkeypatch.setattr(feeds, "_REPLAY", SlowFeed(clock, 3))
        first = Once(new_order_id(), NOON)
        clock.shift(AGE_MAX_S - 2)
        [denial] = place_order(bot.pk, BUY, actor="ann", once=first).denials
        assert (denial.code, denial.actual) == ("INTENT_EXPIRED", "31 s")
