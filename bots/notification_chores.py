"""The outbox's periodic work: making messages of what is to be told, and sending them."""

import time
from datetime import datetime

from django.utils import timezone

from bots.workers.aside import aside
from bots.workers.chores import chore
from bots.workers.process import stopping
from safety.notifications import delivery, keeping, planning

#: How long one thread goes on, and how often it looks: other chores may take their time, and an alarm must not wait for them.
CARRY_S, LOOK_EVERY_S = 15.0, 0.5
#: Batches of one look: more than that many thousands wait for the next.
BATCHES_MAX = 20
NAME = "notifications"


@chore(every_s=1)
def carry_notifications(now: datetime) -> None:
    """Have a thread of its own plan and send, so that a slow channel delays no chore, and a slow chore no alarm."""
    aside.start(NAME, carry)


@chore(every_s=3600)
def forget_old_notifications(now: datetime) -> None:
    """Delete what is older than it is kept, and give up what no channel can carry any more."""
    keeping.forget_old(now)
    keeping.give_up_unreachable(now)


def carry(for_s: float = CARRY_S) -> None:
    """Plan and send what is due, again and again, for so many seconds; 0: once. Any process may call it at any time."""
    end_s = time.monotonic() + for_s
    while True:
        carry_once(timezone.now())
        if time.monotonic() + LOOK_EVERY_S >= end_s or stopping():
            return
        time.sleep(LOOK_EVERY_S)


def carry_once(now: datetime) -> int:
    """Plan all that is to be told, send what is due, and return how many messages were delivered."""
    for _ in range(BATCHES_MAX):
        if planning.plan(now) < planning.BATCH_MAX:
            break
    return delivery.deliver_due(now, NAME) if delivery.is_due(now) else 0
