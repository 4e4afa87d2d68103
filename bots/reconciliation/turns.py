"""One reconciliation of an account at a time, across threads, processes and hosts: a row per account says whose turn it is.

No transaction is open while a turn lasts. A process that froze beyond its turn finds, before it writes a figure, that it is over.
"""

import time
from dataclasses import dataclass, field
from datetime import datetime
from uuid import uuid4

from django.db.models import F, Q
from django.utils import timezone

from bots.accounts import account_name
from bots.models import Account, AccountSync
from bots.workers.database_time import database_time

#: A turn ends by itself after so long: a process that was killed holds nobody up for longer.
TURN_S = 25.0
#: Nothing more is asked this long after the turn began: its last answer comes within it, and other chores wait meanwhile.
ASK_FOR_S = 9.0


class TurnLost(Exception):
    """The turn ended before its figures were written, since the process froze: nothing is written."""


class TurnTaken(Exception):
    """Somebody else is reconciling this account just now."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The right to reconcile one account for a while."""

    name: str
    holder: str
    started_at: datetime
    began_s: float = field(default_factory=time.monotonic)

    @property
    def has_time(self) -> bool:
        """Return whether one more question may be asked."""
        return time.monotonic() - self.began_s < ASK_FOR_S

    def locked_with_account(self) -> AccountSync:
        """Return the row, locked after its account's. Raises TurnLost when the turn is somebody else's, or nobody's, by now."""
        account = Account.objects.select_for_update(no_key=True).get(pk=self.name)
        rows = AccountSync.objects.select_for_update(no_key=True, of=("self",))
        found = rows.filter(account_id=self.name, holder=self.holder, expires_at__gt=database_time()).first()
        if found is None:
            raise TurnLost(f"the reconciliation of {self.name} took too long: nothing of it was kept")
        found.account = account
        return found

    def give_back(self) -> None:
        """End the turn. Does nothing when it has ended."""
        AccountSync.objects.filter(account_id=self.name, holder=self.holder).update(
            holder="", expires_at=database_time()
        )


def sync_of(venue: str, *, is_live: bool) -> AccountSync:
    """Return the row of an account, made when there is none."""
    name = account_name(venue, is_live=is_live)
    found = AccountSync.objects.filter(account_id=name).first()
    if found is not None:
        return found
    Account.objects.get_or_create(name=name, defaults={"venue": venue, "is_live": is_live})
    return AccountSync.objects.get_or_create(account_id=name, defaults={"expires_at": timezone.now()})[0]


def take(venue: str, *, is_live: bool) -> Turn:
    """Return a turn for this account. Raises TurnTaken."""
    sync = sync_of(venue, is_live=is_live)
    turn = Turn(sync.account_id, uuid4().hex, timezone.now())
    # An expiry far ahead was written before the clock was set back: nobody would hold a turn for so long.
    is_over = Q(holder="") | Q(expires_at__lte=database_time()) | Q(expires_at__gt=database_time(2 * TURN_S))
    taken = AccountSync.objects.filter(is_over, pk=sync.pk).update(
        holder=turn.holder,
        epoch=F("epoch") + 1,
        expires_at=database_time(TURN_S),
        started_at=turn.started_at,
    )
    if taken:
        return turn
    raise TurnTaken(f"{turn.name} is being reconciled just now")


def want(venue: str, *, is_live: bool, by: str) -> None:
    """Ask for a round before the next is due: something happened that the figures should be looked at for."""
    sync = sync_of(venue, is_live=is_live)
    AccountSync.objects.filter(pk=sync.pk, wanted_at__isnull=True).update(wanted_at=timezone.now(), wanted_by=by[:20])
