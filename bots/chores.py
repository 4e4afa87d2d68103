"""The periodic work of the bots app, done in the slow cluster so that it never delays a tick."""

from datetime import datetime

from bots import equity
from bots.market_data.base import MarketDataError
from bots.market_data.candle_store import store_closed
from bots.markets import Moment
from bots.models import Bot, BotStatus
from bots.workers.chores import chore


@chore(every_s=10)
def take_equity_snapshots(now: datetime) -> None:
    """Keep what every book is worth now."""
    equity.take_snapshots(now)


@chore(every_s=3600)
def thin_equity_snapshots(now: datetime) -> None:
    """Thin out old snapshots to one an hour."""
    equity.thin_snapshots(now)


@chore(every_s=15)
def keep_candles(now: datetime) -> None:
    """Keep the closed candles of every symbol that a bot trades, for the pages."""
    moment = Moment(now)
    bots = Bot.objects.exclude(status=BotStatus.ARCHIVED)
    for venue, symbol in bots.values_list("venue", "symbol").distinct().order_by("venue", "symbol"):
        try:
            store_closed(moment.candles(venue, symbol, "auto", 1))
        except MarketDataError:
            # No feed, no candles: the bot's page says what is missing.
            continue
