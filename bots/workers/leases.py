"""Leases with fencing tokens: at most one worker acts on a shard, and a frozen one can't write after it lost it.

A lease is taken by a conditional update that raises ``epoch``; the row count decides who won. Whoever writes under a
lease calls ``Fence.check()`` last in its transaction: the check locks the lease's row, so that nobody can take the
lease between the check and the commit.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from django.db import connection, transaction
from django.db.models import F, Q
from django.utils import timezone

from audit import sql
from bots.instant import Instant
from bots.models.worker import Lease
from bots.workers.database_time import database_time

#: How many shards the bots are spread over. A bot never changes its shard, so that two versions agree while both run.
SHARD_COUNT = 16
#: How long a lease lives without being renewed, in seconds.
LEASE_TTL_S = 7.0


class LeaseLost(Exception):
    """The worker no longer holds a lease it acts under: it was frozen, or another worker took over. Write nothing."""


def shard_of(bot_id: int) -> int:
    """Return the shard a bot belongs to."""
    return bot_id % SHARD_COUNT


def shard_lease(shard: int) -> str:
    """Return the name of a shard's lease."""
    return f"shard:{shard}"


@dataclass(frozen=True)
class Fence:
    """The leases that one act needs, as they were held when it began.

    ``epochs`` maps each lease's name to its fencing token; ``confirmed`` is a moment before the last renewal was sent.
    """

    holder: str
    epochs: Mapping[str, int]
    confirmed: Instant = field(default_factory=Instant)
    ttl_s: float = LEASE_TTL_S

    @property
    def token(self) -> str:
        """Return the fencing tokens as text, such as ``shard:3#17``."""
        return ",".join(f"{name}#{epoch}" for name, epoch in sorted(self.epochs.items()))

    def for_bot(self, bot_id: int) -> "Fence":
        """Return the fence of this bot's shard alone. Raises LeaseLost when the shard is not held."""
        return self.narrowed([shard_lease(shard_of(bot_id))])

    def narrowed(self, names: Collection[str]) -> "Fence":
        """Return a fence of these leases only. Raises LeaseLost when one of them is not held."""
        missing = [name for name in names if name not in self.epochs]
        if missing:
            raise LeaseLost(f"not held by {self.holder}: {', '.join(sorted(missing))}")
        epochs = MappingProxyType({name: self.epochs[name] for name in names})
        return Fence(self.holder, epochs, self.confirmed, self.ttl_s)

    def check(self) -> None:
        """Refuse to go on unless every lease is still held; nobody can take one before the transaction ends.

        Call it in the transaction, after the writes. Raises LeaseLost; TransactionManagementError outside of one.
        """
        if not connection.in_atomic_block:
            raise transaction.TransactionManagementError("a fence protects nothing outside a transaction")
        # A locking read and not an update: it leaves no dead row, and the order of the locks is fixed. SQLite has no
        # row locks; there the transaction holds the whole database from its start (transaction_mode IMMEDIATE).
        condition, names = sql.any_of("name", list(self.epochs))
        now, moment = "clock_timestamp()", []
        lock = " FOR UPDATE"
        if connection.vendor != "postgresql":
            now, moment, lock = "%s", [connection.ops.adapt_datetimefield_value(timezone.now())], ""
        held = dict(
            sql.rows(
                f"SELECT name, epoch FROM leases WHERE {condition} AND holder = %s AND expires_at > {now} ORDER BY name{lock}",
                [*names, self.holder, *moment],
            )
        )
        lost = sorted(name for name, epoch in self.epochs.items() if held.get(name) != epoch)
        if lost:
            raise LeaseLost(f"{self.holder} lost {', '.join(lost)}")

    def outlives(self, deadline: datetime) -> bool:
        """Return whether every lease surely holds until ``deadline``, by this host's clocks."""
        left_s = self.ttl_s - self.confirmed.elapsed_s()
        return (deadline - timezone.now()).total_seconds() < left_s


class LeaseHolder:
    """One worker's leases: claims, renews and gives back. ``holder`` must be unique to one run of one worker."""

    def __init__(self, holder: str, ttl_s: float = LEASE_TTL_S) -> None:
        self.holder = holder
        self._ttl_s = ttl_s
        self._epochs: dict[str, int] = {}
        self._confirmed = Instant()

    @property
    def names(self) -> frozenset[str]:
        """Return the names of the leases held, as far as this worker knows."""
        return frozenset(self._epochs)

    @property
    def epochs(self) -> Mapping[str, int]:
        """Return a copy of the leases held with their fencing tokens: a lease lost and won again has another token."""
        return MappingProxyType(dict(self._epochs))

    def fence(self) -> Fence:
        """Return a fence of everything held now."""
        return Fence(
            self.holder,
            MappingProxyType(dict(self._epochs)),
            self._confirmed,
            self._ttl_s,
        )

    def claim(self, names: Collection[str], limit: int) -> frozenset[str]:
        """Take up to ``limit`` of these leases that are free or have run out; return those that were won."""
        wanted = sorted(set(names) - set(self._epochs))
        if limit <= 0 or not wanted:
            return frozenset()
        _create_missing(wanted)
        with transaction.atomic():
            # A lease that somebody is just checking or renewing is not free: skip it rather than wait for its lock.
            skip = connection.features.has_select_for_update_skip_locked
            free = Lease.objects.select_for_update(skip_locked=skip).filter(self._free(), name__in=wanted)
            chosen = list(free.order_by("name").values_list("name", flat=True)[:limit])
            Lease.objects.filter(self._free(), name__in=chosen).update(
                holder=self.holder,
                epoch=F("epoch") + 1,
                expires_at=database_time(self._ttl_s),
            )
            won = dict(Lease.objects.filter(name__in=chosen, holder=self.holder).values_list("name", "epoch"))
        self._epochs.update(won)
        return frozenset(won)

    def renew(self) -> frozenset[str]:
        """Prolong what is held by one lifetime; return the names of what was lost meanwhile."""
        before = Instant()
        known = dict(self._epochs)
        if known:
            mine = Lease.objects.filter(holder=self.holder, expires_at__gt=database_time())
            mine.filter(name__in=list(known)).update(expires_at=database_time(self._ttl_s))
            held = dict(mine.values_list("name", "epoch"))
            self._epochs = {name: epoch for name, epoch in known.items() if held.get(name) == epoch}
        self._confirmed = before
        return frozenset(set(known) - set(self._epochs))

    def release(self, names: Iterable[str] | None = None) -> None:
        """Give these leases back, or all, so that another may take them at once."""
        leaving = sorted(self._epochs if names is None else set(names) & set(self._epochs))
        for name in leaving:
            del self._epochs[name]
        if leaving:
            free_leases_of([self.holder], leaving)

    def _free(self) -> Q:
        # An expiry far ahead was written before the clock was set back: nobody alive would leave it so.
        now = database_time()
        return Q(holder="") | Q(expires_at__lt=now) | Q(expires_at__gt=database_time(2 * self._ttl_s))


def free_leases_of(holders: Collection[str], names: Collection[str] | None = None) -> int:
    """Free the leases of workers that gave them up or are surely dead; return how many."""
    rows = Lease.objects.filter(holder__in=list(holders))
    if names is not None:
        rows = rows.filter(name__in=list(names))
    return rows.update(holder="", expires_at=database_time())


def _create_missing(names: list[str]) -> None:
    present = set(Lease.objects.filter(name__in=names).values_list("name", flat=True))
    missing = [Lease(name=name, expires_at=timezone.now()) for name in names if name not in present]
    if missing:
        Lease.objects.bulk_create(missing, ignore_conflicts=True)
