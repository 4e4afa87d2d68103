"""A bot on Kraken's public data trades on paper: through the real tick, with no key, against the loopback."""

from decimal import Decimal

import pytest
from django.utils import timezone

from bots.markets import Moment
from bots.models import Order
from bots.order_states import OrderStatus
from tests.bots.builders import Floor, Worker, buy, floor, make_bot
from tests.loopback.client import KrakenLoopback

__all__ = ["floor"]

pytestmark = pytest.mark.usefixtures("committed_db")


def test_tick_of_a_paper_bot_fills_at_krakens_quote_and_sends_nothing(kraken: KrakenLoopback, floor: Floor) -> None:
    floor.strategy("buys", lambda view: [buy("0.001")])
    bot = make_bot(strategy="buys", venue="kraken", symbol="BTC/USD", capital_usd=Decimal(1_000))
    Worker().tick(bot)
    (order,) = Order.objects.all()
    assert order.status == OrderStatus.FILLED, order.reason
    assert not order.is_live
    # 60006, and 2 basis points of slippage.
    assert order.average_price == Decimal("60018.1")
    assert order.fees == Decimal("0.24007240")
    assert [entry.path for entry in kraken.log() if entry.nonce] == []


def test_moment_has_all_that_the_gate_asks_of_a_market(kraken: KrakenLoopback) -> None:
    moment = Moment(timezone.now())
    market = moment.market_on_candles("kraken", "BTC/USD", "auto", 50)
    assert market.status == "open"
    assert market.candles is not None
    assert market.candles.bar_s == 60
    assert 0 <= market.candles.age_s < 62
