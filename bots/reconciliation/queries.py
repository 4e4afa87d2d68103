"""What a page or a command shows of the reconciliation. Read from the database alone; no venue is asked."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from bots.account_chores import accounts_in_use
from bots.accounts import account_name
from bots.models import Account, AccountMovement, AccountSync, Difference, Order, ReconciliationRun, RunState
from bots.reconciliation import passes
from bots.reconciliation.balances import ZERO
from bots.reconciliation.compare import assets_of
from bots.reconciliation.differences import ACCEPTED, open_ones
from bots.reconciliation.facts import externals_of, read_books

SETTLED = "settled"


@dataclass(frozen=True, slots=True)
class AssetLine:
    """Both sides of one asset, as the last sound run found them. ``is_ours``: a bot trades in it or with it.

    ``pending`` of the owner's part are shares that a split or the like brought or took, and that wait for a person.
    The verdict is SETTLED when a person has accepted the venue's figure since then: the next run looks at it anew.
    """

    asset: str
    venue: Decimal
    baseline: Decimal
    held: Decimal
    flows: Decimal
    expected: Decimal
    delta: Decimal
    verdict: str
    is_ours: bool
    pending: Decimal = ZERO

    @property
    def owner_s(self) -> Decimal:
        """Return the owner's part without what is not known to be the owner's."""
        return self.baseline - self.pending


@dataclass(frozen=True, slots=True)
class AccountView:
    """One account: how far its reconciliation has come, both sides, and what is open. ``sound_at`` None: never yet.

    ``worthless`` are the assets that count for nothing, since they have no market there.
    ``failure`` is why the last round failed, since ``failing_since``; both are empty when it did not. ``reading`` says how far
    the reading of a long history has come, and is empty while none is read.
    """

    name: str
    venue: str
    is_live: bool
    sound_at: datetime | None
    baseline_at: datetime | None
    failing_since: datetime | None
    failure: str
    last_run: ReconciliationRun | None
    lines: tuple[AssetLine, ...]
    differences: tuple[Difference, ...]
    own_open: int
    external_open: tuple[Order, ...]
    movements: tuple[AccountMovement, ...]
    worthless: tuple[str, ...] = ()
    reading: str = ""

    @property
    def agrees(self) -> bool:
        """Return whether nothing is open, a baseline was taken to judge by, and no long history is being read."""
        return self.baseline_at is not None and not self.differences and not self.reading


def overview() -> list[AccountView]:
    """Return every account that is in use now, or has something open."""
    wanted = {account_name(venue, is_live=is_live): (venue, is_live) for venue, is_live in accounts_in_use()}
    for one in Account.objects.filter(pk__in=open_ones().values("account_id")):
        wanted.setdefault(one.name, (one.venue, one.is_live))
    return [view(venue, is_live=is_live) for _, (venue, is_live) in sorted(wanted.items())]


def view(venue: str, *, is_live: bool) -> AccountView:
    """Return one account, also when nothing is known of it yet."""
    name = account_name(venue, is_live=is_live)
    account = Account.objects.filter(pk=name).first() or Account(name=name, venue=venue, is_live=is_live)
    sync = AccountSync.objects.filter(pk=name).first()
    runs = ReconciliationRun.objects.filter(account_id=name)
    sound = runs.exclude(state=RunState.FAILED).exclude(figures="{}").first()
    return AccountView(
        name=name,
        venue=venue,
        is_live=is_live,
        sound_at=None if sync is None else sync.sound_at,
        baseline_at=None if sync is None else sync.baseline_at,
        failing_since=None if sync is None else sync.failing_since,
        failure="" if sync is None else sync.failure,
        last_run=runs.first(),
        lines=() if sound is None else tuple(_lines(sound.figures, _settled_since(sound))),
        differences=tuple(Difference.objects.filter(account_id=name, closed_at__isnull=True).order_by("id")),
        own_open=Order.objects.filter(
            venue=venue, is_live=is_live, status__in=["accepted", "partially_filled"]
        ).count(),
        external_open=tuple(externals_of(account).filter(external_ended_at__isnull=True)[:100]),
        movements=tuple(AccountMovement.objects.filter(account_id=name, counts=True)[:50]),
        worthless=tuple(account.worthless),
        reading=passes.told(sync),
    )


def open_about(venue: str, symbol: str, *, is_live: bool) -> tuple[Difference, ...]:
    """Return the open differences that keep entries in this symbol waiting."""
    rows = Difference.objects.filter(account_id=account_name(venue, is_live=is_live), closed_at__isnull=True)
    assets = assets_of(symbol)
    return tuple(one for one in rows.order_by("id") if one.symbol == symbol or (one.asset and one.asset in assets))


def last_sound_age(venue: str, *, is_live: bool, now: datetime) -> timedelta | None:
    """Return how long ago an account was last compared soundly; None when it never was since it is in use.

    Until its baseline is taken there is nothing to compare with: a round that only waits for a still moment compares nothing.
    """
    sync = AccountSync.objects.filter(pk=account_name(venue, is_live=is_live), baseline_at__isnull=False).first()
    return None if sync is None or sync.sound_at is None else now - sync.sound_at


def held_by_bots(account: Account, asset: str) -> Decimal:
    """Return what the books of the account's bots hold of an asset now."""
    return read_books(account).held.get(asset, ZERO)


def _settled_since(run: ReconciliationRun) -> frozenset[str]:
    """Return the assets whose figure a person has accepted since this run: what it shows of them is over."""
    rows = Difference.objects.filter(account=run.account_id, outcome=ACCEPTED, closed_at__gte=run.finished_at)
    return frozenset(rows.exclude(asset="").values_list("asset", flat=True))


def _lines(figures: Mapping[str, Mapping[str, object]], settled: Collection[str]) -> Iterable[AssetLine]:
    for asset, one in sorted(figures.items()):
        numbers = {
            name: Decimal(str(one[name])) for name in ("venue", "baseline", "held", "flows", "expected", "delta")
        }
        numbers["pending"] = Decimal(str(one.get("pending", ZERO)))
        verdict = SETTLED if asset in settled else str(one["verdict"])
        yield AssetLine(asset=asset, verdict=verdict, is_ours=bool(one["ours"]), **numbers)
