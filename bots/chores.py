"""The periodic work of the bots app, done in the slow cluster so that it never delays a tick."""

from datetime import datetime

from audit.log import unit
from bots import equity, executor
from bots.apart import apart
from bots.market_data.base import MarketDataError
from bots.market_data.candle_store import store_closed
from bots.markets import Moment
from bots.models import Bot, BotStatus, Order
from bots.order_states import RESTING_STATES
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
def expire_paper_orders(now: datetime) -> None:
    """End the console's own paper orders whose day is over, of bots that don't tick, too."""
    rows = Order.objects.filter(is_live=False, deadline_at=None, bot__isnull=False, status__in=sorted(RESTING_STATES))
    for order_id, bot_id in [(one.pk, one.bot_id or 0) for one in rows.order_by("bot_id", "pk") if _is_over(one, now)]:
        with apart(f"paper order {order_id} could not be ended"), unit():
            list(Bot.objects.select_for_update(no_key=True).filter(pk=bot_id).values_list("pk"))
            # One that filled or was cancelled meanwhile is not there any more.
            for order in rows.filter(pk=order_id).select_for_update(of=("self",)):
                executor.expire(order, now)


def _is_over(order: Order, now: datetime) -> bool:
    try:
        return executor.is_over(order, now)
    except MarketDataError:
        # While nobody knows the hours it stands; nothing fills it without a market either.
        return False


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
