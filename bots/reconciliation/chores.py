"""When each account is reconciled: at start, every 30 s, and when something asks for it; while orders rest, they are watched."""

import logging
from datetime import datetime, timedelta

from bots.account_chores import accounts_in_use, act_on_losses
from bots.accounts import account_name
from bots.apart import apart
from bots.brokers.base import VenueError
from bots.brokers.factory import BrokerUnavailable
from bots.models import Account, AccountSync, ReconciliationRun, RunState
from bots.order_states import RESTING_STATES
from bots.reconciliation import facts
from bots.reconciliation.engine import reconcile, watch_orders
from bots.reconciliation.turns import TurnTaken
from bots.workers.chores import chore

log = logging.getLogger(__name__)

EVERY = timedelta(seconds=30)
#: While our orders rest, so often the open orders are read: a smaller account may not ask more often, see
#: docs/adr/0010-rate-budget.md.
WATCH_EVERY = timedelta(seconds=15)
#: So soon what one round found is looked at again.
CONFIRM_EVERY = timedelta(seconds=10)
#: So soon a history that did not fit into one round is read on: by then the venue's smallest limit has room for the next part.
READ_ON_EVERY = timedelta(seconds=20)
#: Rounds are never closer together than this, whatever asks for them; after one that failed, than that.
GAP, GAP_AFTER_FAILURE = timedelta(seconds=3), timedelta(seconds=10)
KEEP_RUNS = timedelta(days=2)


@chore(every_s=2)
def reconcile_accounts(now: datetime) -> None:
    """Do what is due for every account that a bot trades or holds something on."""
    for venue, is_live in accounts_in_use():
        with apart(f"the account at {venue} could not be reconciled"):
            reconcile_when_due(venue, is_live=is_live, now=now)


@chore(every_s=3600)
def forget_old_runs(now: datetime) -> None:
    """Delete the runs that nobody looks at any more. Differences and movements are kept for good."""
    ReconciliationRun.objects.filter(finished_at__lt=now - KEEP_RUNS).delete()


def reconcile_when_due(venue: str, *, is_live: bool, now: datetime) -> ReconciliationRun | None:
    """Reconcile an account if it is due, or watch its open orders; return the run, if there was one."""
    sync = AccountSync.objects.filter(pk=account_name(venue, is_live=is_live)).first()
    trigger = due(sync, now)
    try:
        if trigger:
            run = reconcile(venue, is_live=is_live, trigger=trigger)
            _act_on_losses(run)
            return run
        if sync is not None and is_watch_due(sync, now):
            watch_orders(venue, is_live=is_live)
    except TurnTaken:
        # Another process does it just now.
        return None
    except (BrokerUnavailable, VenueError) as error:
        log.warning("the open orders at %s could not be read: %s", venue, error)
    return None


def _act_on_losses(run: ReconciliationRun) -> None:
    """Do what a loss asks for, if this run has measured the account.

    One that could not value it may have counted a deposit all the same: to judge the older worth by the moved baseline would
    call the deposit a loss.
    """
    account = Account.objects.get(pk=run.account_id)
    if run.state != RunState.FAILED and account.measured_at is not None and account.measured_at >= run.started_at:
        act_on_losses(account)


def due(sync: AccountSync | None, now: datetime) -> str:
    """Return why a whole round is due, in a word, or an empty text. A clock that was set back makes everything due."""
    if sync is None or sync.started_at is None:
        return "start"
    if _since(sync.started_at, now) < (GAP if sync.failing_since is None else GAP_AFTER_FAILURE):
        return ""
    if sync.wanted_at is not None:
        return sync.wanted_by or "wanted"
    if sync.reading_since is not None:
        return "history" if _since(sync.started_at, now) >= READ_ON_EVERY else ""
    if sync.sound_at is None:
        return "start"
    waited = _since(sync.sound_at, now)
    if waited >= EVERY:
        return "schedule"
    return "confirm" if sync.doubts and waited >= CONFIRM_EVERY else ""


def is_watch_due(sync: AccountSync, now: datetime) -> bool:
    """Return whether the open orders are to be read between two rounds: orders of ours rest there."""
    last = max((one for one in (sync.listed_at, sync.started_at) if one is not None), default=None)
    if last is not None and _since(last, now) < WATCH_EVERY:
        return False
    return facts.orders_of(sync.account).filter(status__in=sorted(RESTING_STATES)).exists()


def _since(moment: datetime, now: datetime) -> timedelta:
    return now - moment if moment <= now else timedelta.max
