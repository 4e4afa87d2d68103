"""A holding without any market counts for nothing, said aloud; one whose market merely fails keeps all from being measured."""

from decimal import Decimal

import pytest

from bots.account_chores import measure_at_venue
from bots.market_data.base import MarketDataError
from bots.market_data.feeds import forget_feeds
from bots.models import Account, Bot
from bots.reconciliation.queries import view
from tests.bots.alpaca_desk import measured, paper_desk
from tests.conftest import CommittedDatabase
from tests.loopback import faults
from tests.loopback.client import AlpacaLoopback

pytestmark = pytest.mark.usefixtures("committed_db")


@pytest.fixture
def bot(committed_db: CommittedDatabase, alpaca: AlpacaLoopback) -> Bot:
    """Return a running stock bot on Alpaca's paper account, whose owner holds something that was delisted."""
    made = paper_desk(alpaca)
    alpaca.paper.set_position("GONE", "7")
    return made


def test_delisted_holding_with_a_price_counts_at_it(bot: Bot) -> None:
    account = measured(is_live=False)
    assert account.equity_usd is not None
    assert account.equity_usd > 100_010
    assert account.worthless == []


def test_delisted_holding_without_a_price_counts_for_nothing_and_is_named(bot: Bot, alpaca: AlpacaLoopback) -> None:
    alpaca.set_asset("GONE", has_bars=False)
    forget_feeds()
    account = measured(is_live=False)
    assert account.equity_usd == Decimal(100_000)
    assert view("alpaca", is_live=False).worthless == ("GONE",)
    alpaca.paper.set_position("GONE", "0")
    measured(is_live=False)
    assert Account.objects.get(pk="alpaca-paper").worthless == []


def test_holding_that_is_listed_and_has_no_price_now_keeps_all_from_being_measured(
    bot: Bot, alpaca: AlpacaLoopback
) -> None:
    alpaca.set_asset("GONE", has_bars=False, status="active", tradable=False)
    forget_feeds()
    with pytest.raises(MarketDataError, match="GONE"):
        measured(is_live=False)


def test_delisted_holding_of_which_alpaca_gives_no_answer_keeps_all_from_being_measured(
    bot: Bot, alpaca: AlpacaLoopback
) -> None:
    alpaca.set_asset("GONE", has_bars=False)
    forget_feeds()
    alpaca.data.fault(faults.http_status("GET /v2/stocks/bars", 503, count=50))
    with pytest.raises(MarketDataError):
        measure_at_venue("alpaca", is_live=False)
