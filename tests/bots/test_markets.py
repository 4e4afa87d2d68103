"""How old candles are called."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from bots.market_data.feeds import replay_feed
from bots.markets import Moment, candle_basis


@pytest.mark.django_db
@pytest.mark.parametrize("speed", [Decimal("0.1"), Decimal(1), Decimal(10), Decimal(60)])
def test_last_candle_of_a_replay_is_fresh_at_every_speed(speed: Decimal) -> None:
    """Its opening times are whole seconds, and at ten times its speed five bars of Bitcoin pass in one."""
    begun = timezone.now()
    replay_feed().set_speed(speed, begun)
    for number in range(40):
        now = begun + timedelta(seconds=3 + 0.173 * number)
        basis = candle_basis(Moment(now).candles("replay", "BTC-PERP", "1m", 1), now)
        assert basis is not None
        assert 0 <= basis.age_s <= 2 * basis.bar_s
