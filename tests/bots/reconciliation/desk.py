"""An account that is reconciled: rounds as the chore does them, at a moment that the test chooses."""

from datetime import timedelta
from decimal import Decimal

import time_machine
from django.utils import timezone

from audit.models import OperatorEvent
from bots.market_data.feeds import forget_feeds
from bots.models import AssetBaseline, Bot, Difference, ReconciliationRun
from bots.reconciliation.engine import reconcile
from bots.reconciliation.queries import AccountView, view
from tests.bots.live import live_intent, measured, send, wait_for_price
from tests.loopback.client import KrakenLoopback

#: Kraken's names of what the loopback account holds, by ours.
KRAKEN_NAMES = {"USD": "ZUSD", "BTC": "XXBT", "USDT": "USDT", "ETH": "XETH"}


def round_at(seconds: float = 0, trigger: str = "test") -> ReconciliationRun:
    """Reconcile Kraken's account, so many seconds from now."""
    if not seconds:
        return reconcile("kraken", is_live=True, trigger=trigger)
    with time_machine.travel(timezone.now() + timedelta(seconds=seconds), tick=True):
        return reconcile("kraken", is_live=True, trigger=trigger)


def account() -> AccountView:
    """Return what a page shows of Kraken's account."""
    return view("kraken", is_live=True)


def baseline(asset: str) -> Decimal:
    """Return the owner's part of an asset."""
    return AssetBaseline.objects.get(account_id="kraken", asset=asset).quantity


def open_differences() -> list[Difference]:
    """Return what is open."""
    return list(account().differences)


def assert_agrees(kraken: KrakenLoopback, *bots: Bot) -> None:
    """Both sides agree to the last digit, by the venue's own ledger."""
    assert open_differences() == []
    there = kraken.balances()
    lines = {line.asset: line for line in account().lines}
    for asset, name in KRAKEN_NAMES.items():
        if name in there:
            line = lines[asset]
            assert line.venue == Decimal(there[name])
            assert (line.delta, line.verdict) == (0, "agrees")
    for bot in bots:
        bot.refresh_from_db()


def entry(bot: Bot, quantity: str = "0.2") -> list[str]:
    """Try an entry with an account that was measured just now, and return the codes that deny it."""
    measured(equity_usd="10050")
    # A round in the future left a price of then.
    forget_feeds()
    wait_for_price()
    return [denial.code for denial in send(live_intent(bot, quantity=quantity)).denials]


def alarms(event: str) -> list[str]:
    """Return what alarms of this kind were raised about, oldest first."""
    return list(OperatorEvent.objects.filter(action=event).order_by("id").values_list("object", flat=True))
