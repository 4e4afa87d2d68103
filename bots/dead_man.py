"""The dead-man switch: a venue cancels every order of an account when it has not heard of us for a minute.

Opt-in for each account, and Kraken only. While orders of ours rest there, the switch is wound up again every 25 to 30 seconds;
when nothing rests any more, it is switched off. This is the only module that may ask a venue for it: two that did could switch
off what the other wound up. What the venue last answered is kept, so that every host can show it.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

from audit.log import OperatorEventRecord, record, unit
from bots.accounts import account_name
from bots.apart import apart
from bots.brokers.base import VenueError
from bots.brokers.budget import Purpose, spending
from bots.brokers.factory import BrokerUnavailable, broker_for
from bots.models import DeadManSwitch, Order
from bots.order_states import RESTING_STATES, OrderStatus
from bots.workers.chores import chore

log = logging.getLogger(__name__)

#: Venues that have such a switch.
VENUES = ("kraken",)
#: How long the venue waits for us, in seconds.
TIMEOUT_S = 60
#: Rarer than it could be, for a small account's rate limit (docs/adr/0010-rate-budget.md). When the worker that does it dies,
#: another one takes over within 25 s, which is still in time.
REFRESH_EVERY = timedelta(seconds=25)
#: A request that winds it up may reach the venue in the last moment: the time has run out for certain only after this.
GRACE = timedelta(seconds=5)
#: An order that may be on its way there, or of which nobody knows, may rest as well.
MAY_REST = RESTING_STATES | {OrderStatus.SUBMITTING, OrderStatus.UNKNOWN}
WORKER = "worker"
REASON_CHARS_MAX = 500


class DeadManError(Exception):
    """The switch can't be set as asked. The message is for people."""


@runtime_checkable
class CancelsAllAfter(Protocol):
    """A broker whose venue has a dead-man switch."""

    def cancel_all_after(self, timeout_s: int) -> timedelta | None:
        """Have the venue cancel every order of the account in ``timeout_s`` seconds unless it is asked again; 0 switches it off.

        Return how long it waits, by the venue's own clock, or None once it is off. Raises VenueError when that is not known, and
        ValueError for a time that can't be meant.
        """
        ...


@dataclass(frozen=True, slots=True)
class SwitchView:
    """How a switch stands, for people. ``left_s`` is None while it is off; ``rests`` says whether orders of ours rest there."""

    account: str
    is_wanted: bool
    left_s: int | None
    rests: bool
    failure: str
    failed_at: datetime | None
    fired_at: datetime | None

    @property
    def is_bare(self) -> bool:
        """Return whether orders rest without the switch being wound up, wanted or not."""
        return self.rests and (self.left_s is None or bool(self.failure))


@chore(every_s=5)
def keep_wound_up(now: datetime) -> None:
    """Wind up every switch that is wanted while orders of ours rest there, and switch off those that nothing needs."""
    for switch in DeadManSwitch.objects.filter(account__in=VENUES):
        with apart(f"the dead-man switch of {switch.account} is looked after in the next round"):
            look_after(switch, now)


def look_after(switch: DeadManSwitch, now: datetime) -> None:
    """Do what one switch needs now. Must run outside any transaction."""
    if switch.fires_at is not None and switch.fires_at + GRACE <= now:
        _note_fired(switch)
    if switch.is_wanted and may_rest(switch.account):
        if switch.tried_at is None or switch.failure or not switch.tried_at <= now < switch.tried_at + REFRESH_EVERY:
            _ask(switch, TIMEOUT_S, now)
    elif switch.fires_at is not None or switch.failure:
        # Also when nobody knows what became of the last request: it may have wound the switch up.
        _ask(switch, 0, now)


def may_rest(account: str) -> bool:
    """Return whether orders of ours may rest at this account's venue."""
    return Order.objects.filter(venue=account, is_live=True, deadline_at__isnull=False, status__in=MAY_REST).exists()


def set_wanted(account: str, wanted: bool, *, actor: str, reason: str) -> DeadManSwitch:
    """Switch an account's dead-man switch on or off for good, and return it; the workers do it within seconds.

    One that is so already is left as it is. Raises DeadManError without a reason, and for an account that has no switch.
    """
    if not reason.strip():
        raise DeadManError("Say why. The reason is kept in the operator events.")
    with unit():
        switch = DeadManSwitch.objects.select_for_update().filter(account=account, account__in=VENUES).first()
        if switch is None:
            raise DeadManError(f"There is no dead-man switch for {account!r}: Kraken's account has one, {VENUES[0]!r}.")
        if switch.is_wanted != wanted:
            _record(account, "dead_man_on" if wanted else "dead_man_off", wanted, actor, reason[:REASON_CHARS_MAX])
            switch.is_wanted = wanted
            switch.save(update_fields=["is_wanted"])
    return switch


def views(now: datetime) -> list[SwitchView]:
    """Return how every switch stands."""
    return [_view(switch, now) for switch in DeadManSwitch.objects.filter(account__in=VENUES)]


def _view(switch: DeadManSwitch, now: datetime) -> SwitchView:
    left_s = None if switch.fires_at is None else max(0, int((switch.fires_at - now).total_seconds()))
    return SwitchView(
        account=switch.account,
        is_wanted=switch.is_wanted,
        left_s=left_s,
        rests=may_rest(switch.account),
        failure=switch.failure,
        failed_at=switch.failed_at,
        fired_at=switch.fired_at,
    )


def _ask(switch: DeadManSwitch, timeout_s: int, now: datetime) -> None:
    """Ask the venue and keep what it says. Whether a person wants the switch is not written here."""
    rows = DeadManSwitch.objects.filter(pk=switch.pk)
    rows.update(tried_at=now)
    try:
        broker = broker_for(switch.account, is_live=True)
        if not isinstance(broker, CancelsAllAfter):
            raise VenueError(f"{switch.account} has no dead-man switch")
        with spending(Purpose.EXITS):
            left = broker.cancel_all_after(timeout_s)
    except (BrokerUnavailable, VenueError) as error:
        if not switch.failure:
            log.warning("the dead-man switch of %s could not be asked for: %s", switch.account, error)
        rows.update(failure=str(error)[:300] or "it could not be asked", failed_at=now)
        return
    # From before the question: the venue began to wait no earlier, so that what is shown is never too long.
    fires_at = None if left is None else now + left
    rows.update(asked_at=now, fires_at=fires_at, failure="", failed_at=None)


def _note_fired(switch: DeadManSwitch) -> None:
    """Keep that the time ran out, and have our orders looked up at once: the venue has cancelled what rested."""
    with unit():
        fired = DeadManSwitch.objects.filter(pk=switch.pk, fires_at=switch.fires_at)
        if fired.update(fired_at=switch.fires_at, fires_at=None) != 1:
            return
        why = switch.failure or "no worker was there to wind it up"
        _record(switch.account, "dead_man_fired", True, WORKER, f"its time ran out: {why}")
    log.error(
        "the dead-man switch of %s ran out: the venue cancels every order of the account (%s)", switch.account, why
    )
    resting = Order.objects.filter(venue=switch.account, is_live=True, status__in=RESTING_STATES)
    resting.update(looked_up_at=None)
    switch.fires_at = None


def _record(account: str, action: str, wanted: bool, actor: str, reason: str) -> None:
    old, new = ("off", "on") if wanted else ("on", "off")
    if action == "dead_man_fired":
        old, new = "wound up", "fired"
    name = account_name(account, is_live=True)
    record(OperatorEventRecord(actor, action, f"account:{name}", old, new, reason))
