"""Orders at the venue whose id only this installation can have made, though the database does not know them.

A restored backup, or a failover that lost the last seconds, forgets orders that were sent. The id of a tick's order is a hash
over installation, bot, due time and leg, so that it proves all four. The id of a person's order is random and proves nothing.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from bots.bot_params import clean_params
from bots.brokers.base import ListedOrder
from bots.models import Account, Bot, Order
from bots.order_ids import installation_id, tick_order_id
from bots.reconciliation.compare import looks_like_ours
from bots.strategies import registry
from bots.strategies.schema import ParamError
from bots.workers.schedule import latest_due

log = logging.getLogger(__name__)

#: An order leaves so soon after its tick was due: a claim lives 5 s, and a tick is at most this late.
LOOK_BACK = timedelta(seconds=90)
#: How many due times of one bot are tried.
DUES_MAX = 120


@dataclass(frozen=True, slots=True)
class Origin:
    """The tick that an order is proven to come from."""

    bot: Bot
    leg: str
    due_at: datetime


def origin_of(listed: ListedOrder, account: Account) -> Origin | None:
    """Return which bot's tick made this order, or None when that cannot be proven."""
    if not looks_like_ours(listed.client_order_id) or not listed.client_order_id.startswith("t"):
        return None
    installation = installation_id()
    for bot in Bot.objects.filter(venue=account.venue, symbol=listed.symbol).order_by("pk"):
        legs = _legs(bot)
        for due_at in _dues(bot, listed.opened_at):
            for leg in legs:
                if tick_order_id(installation, bot.pk, due_at, leg) == listed.client_order_id:
                    return Origin(bot, leg, due_at)
    return None


def _dues(bot: Bot, opened_at: datetime) -> Iterable[datetime]:
    """Yield the due times of a bot just before a moment, the latest first; a little after it too, since clocks differ."""
    due_at = latest_due(bot.pk, bot.poll_seconds, opened_at + timedelta(seconds=5))
    for _ in range(DUES_MAX):
        if due_at < opened_at - LOOK_BACK - timedelta(seconds=bot.poll_seconds):
            return
        yield due_at
        due_at -= timedelta(seconds=bot.poll_seconds)


def _legs(bot: Bot) -> tuple[str, ...]:
    """Return the names of legs that a bot's ticks order: those of its strategy's ladder, the exit, and those that it had."""
    had = Order.objects.filter(bot=bot).order_by("-id").values_list("leg", flat=True)[:200]
    try:
        planned = [one.name for one in registry.get(bot.strategy).ladder(clean_params(bot), bot.capital_usd)]
    except (ParamError, registry.UnknownStrategyError):
        # Settings from before the restore may not make a ladder any more.
        planned = []
    except Exception:
        # A strategy is anybody's code: one that fails must not keep its whole account from being compared.
        log.exception(
            "bot %s: its strategy could not name its orders; without them fewer can be proven its own", bot.pk
        )
        planned = []
    return tuple(dict.fromkeys([*planned, "exit", *had]))
