"""Setup with a stock at Alpaca, as a browser sees it: the loopback's list, the ladder's verdict, and a bot on paper."""

import pytest
from django.utils import timezone

from bots.market_data.base import MarketDataError
from bots.market_data.feeds import feed_for
from bots.markets import market_for
from bots.models import Bot
from tests.bots.admin.conftest import Desk
from tests.bots.admin.test_setup import FIRST, REVIEW, through
from tests.loopback.client import AAPL, AlpacaLoopback


def is_known(symbol: str) -> bool:
    """Return whether the feed has what Setup asks of it; a busy machine may let it wait."""
    try:
        return symbol in feed_for("alpaca").symbols() and bool(market_for("alpaca", symbol, timezone.now()))
    except MarketDataError:
        return False


@pytest.mark.parametrize(
    ("symbol", "verdict"),
    [(AAPL, "PASS"), ("BRK.B", "INSTRUMENT_RULES")],
)
def test_stock_bot_is_set_up_on_paper(alpaca: AlpacaLoopback, desk: Desk, symbol: str, verdict: str) -> None:
    # Of a share of 470 USD that is traded whole, 500 USD buy no leg of the ladder.
    alpaca.set_asset("BRK.B", fractionable=False)
    alpaca.data.wait_until(lambda: is_known(symbol), bool, 30)
    assert f'value="alpaca:{symbol}"' in desk.get(FIRST)
    through(desk, market=f"alpaca:{symbol}", name="shares", capital_usd="500")
    shown = desk.get(REVIEW)
    for text in ("shares", f"{symbol} at alpaca", "PAPER", verdict):
        assert text in shown, text
    desk.told(REVIEW, {"make": ""})
    bot = Bot.objects.get()
    assert (bot.venue, bot.symbol, bot.dry_run, bot.paper_broker) == ("alpaca", symbol, True, "built_in")
