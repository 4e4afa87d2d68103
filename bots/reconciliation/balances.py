"""Balances: what ought to be at the venue against what is there, in plain values. Nothing is read or written here.

Of each asset: expected = baseline + held + flows, where ``held`` is what our positions hold of it, ``flows`` what our trades were
paid and paid in it, and the baseline is the owner's part, moved by what happened without us.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal, localcontext
from enum import StrEnum
from types import MappingProxyType

from bots.books import EXACT
from bots.brokers.base import ListedFill, Transfer
from safety.intents import Side

ZERO = Decimal(0)
#: Two rounds that are at least so far apart have to find the same before it is called a difference.
CONFIRM_AFTER = timedelta(seconds=8)
#: What a venue rounds the money of each trade to; a stock's cash is kept in cents.
MONEY_STEP = {"kraken": Decimal("0.0001"), "alpaca": Decimal("0.01")}
MONEY = frozenset({"USD", "USDT", "USDC"})


class Verdict(StrEnum):
    """What one round says of one asset. FOLLOWS: no bot here trades it, so the baseline simply follows the venue."""

    AGREES = "agrees"
    FOLLOWS = "follows"
    MOVES = "moves"
    SHORTAGE = "shortage"
    SURPLUS = "surplus"


@dataclass(frozen=True, slots=True)
class Standing:
    """Both sides of one asset, exact.

    ``pending`` are the shares in the baseline that a split or the like brought or took, until a person carries it into the books.
    """

    asset: str
    venue: Decimal
    baseline: Decimal = ZERO
    held: Decimal = ZERO
    flows: Decimal = ZERO
    pending: Decimal = ZERO

    @property
    def books(self) -> Decimal:
        """Return what our books account for."""
        return _sum(self.held, self.flows)

    @property
    def expected(self) -> Decimal:
        """Return what ought to be at the venue."""
        return _sum(self.baseline, self.held, self.flows)

    @property
    def delta(self) -> Decimal:
        """Return by how much the venue has more than expected; below zero: less."""
        return _sum(self.venue, -self.baseline, -self.held, -self.flows)

    @property
    def missing(self) -> Decimal:
        """Return how much less is there than our positions alone hold, explained or not, but by a change of shares."""
        return max(_sum(self.held, min(self.pending, ZERO), -self.venue), ZERO) if self.held else ZERO


@dataclass(frozen=True, slots=True)
class Movement:
    """One movement of one asset without us. ``price`` is what a unit of it was traded at, for an external fill's base.

    ``what`` is the venue's name of a change of shares.
    """

    reference: str
    asset: str
    kind: str
    quantity: Decimal
    happened_at: datetime
    price: Decimal | None = None
    what: str = ""


@dataclass(frozen=True, slots=True)
class Doubt:
    """What one round found and a later one has to confirm."""

    delta: Decimal
    missing: Decimal
    since: datetime


def standings(
    venue: Mapping[str, Decimal],
    baselines: Mapping[str, Decimal],
    held: Mapping[str, Decimal],
    flows: Mapping[str, Decimal],
    pending: Mapping[str, Decimal] = MappingProxyType({}),
) -> dict[str, Standing]:
    """Return both sides of every asset that either side knows of."""
    sides = (venue, baselines, held, flows, pending)
    assets = sorted({*venue, *baselines, *held, *flows})
    return {name: Standing(name, *(side.get(name, ZERO) for side in sides)) for name in assets}


def tolerance(venue: str, asset: str, trades: int) -> Decimal:
    """Return by how much money may be off after so many trades: the venue rounds each. Nothing else may be off at all."""
    if asset not in MONEY or not trades:
        return ZERO
    return MONEY_STEP.get(venue, ZERO) * (trades + 1)


def judge(standing: Standing, *, tolerated: Decimal, is_moving: bool, is_ours: bool) -> Verdict:
    """Judge one asset. ``is_moving``: something of it is under way; ``is_ours``: a bot trades in it or with it."""
    is_off = abs(standing.delta) > tolerated
    if not is_off and not standing.missing:
        return Verdict.AGREES
    if is_moving:
        return Verdict.MOVES
    if not is_ours:
        return Verdict.FOLLOWS
    return Verdict.SHORTAGE if standing.missing or standing.delta < 0 else Verdict.SURPLUS


def confirm(
    doubts: Mapping[str, Doubt],
    found: Iterable[Standing],
    now: datetime,
    tolerated: Mapping[str, Decimal] = MappingProxyType({}),
) -> tuple[dict[str, Doubt], tuple[str, ...]]:
    """Return the doubts that go on, and the assets of which the same was found before, long enough ago to be no race.

    The same but for what is ``tolerated`` of an asset: each trade between two rounds moves money by the venue's rounding, and
    must not put the question off for ever. Anything that was doubted and is not in ``found`` is doubted no more.
    """
    kept: dict[str, Doubt] = {}
    confirmed = []
    for one in found:
        fresh, known = Doubt(one.delta, one.missing, now), doubts.get(one.asset)
        is_same = known is not None and _is_same(known, fresh, tolerated.get(one.asset, ZERO))
        # A clock that was set back must not confirm for ever later.
        if known is not None and is_same and known.since <= now:
            kept[one.asset] = known
            if now - known.since >= CONFIRM_AFTER:
                confirmed.append(one.asset)
        else:
            kept[one.asset] = fresh
    return kept, tuple(confirmed)


def movements_of_fill(fill: ListedFill) -> tuple[Movement, Movement]:
    """Return what an external fill moved: the base one way, and the money, with the fee, the other."""
    one, sign = fill.execution, 1 if fill.side == Side.BUY else -1
    reference, kind = f"fill:{one.trade_id}", "external_fill"
    with localcontext(EXACT):
        money = -sign * one.quantity * one.price - one.fee
        base = Movement(reference, fill.base, kind, sign * one.quantity, one.filled_at, one.price)
    return base, Movement(reference, fill.quote, kind, money, one.filled_at)


def movement_of_transfer(transfer: Transfer) -> Movement:
    """Return what a deposit, a withdrawal, a reward or the like moved."""
    reference = f"transfer:{transfer.reference}"
    return Movement(
        reference, transfer.asset, transfer.kind, transfer.quantity, transfer.happened_at, what=transfer.what
    )


def moved(
    baselines: Mapping[str, Decimal], movements: Iterable[Movement], counted: Collection[tuple[str, str]]
) -> tuple[dict[str, Decimal], frozenset[tuple[str, str]]]:
    """Return the baselines after these movements, each counted once by reference and asset, and all that are counted now."""
    after, seen = dict(baselines), set(counted)
    for one in movements:
        if (one.reference, one.asset) in seen:
            continue
        seen.add((one.reference, one.asset))
        after[one.asset] = _sum(after.get(one.asset, ZERO), one.quantity)
    return after, frozenset(seen)


def counted_for_equity(standing: Standing, tolerated: Decimal, *, is_known_short: bool) -> Decimal:
    """Return how much of an asset a measurement of the account's worth counts.

    What is there without an explanation may be a deposit that the venue has not listed yet, and would look like a gain; what is
    missing for a moment may be a withdrawal, and would look like a loss. So until it is explained what ought to be there counts.
    A shortage that was confirmed counts as lost.
    """
    if is_known_short or abs(standing.delta) <= tolerated:
        return standing.venue
    return standing.expected


def settled(standing: Standing) -> Standing:
    """Return both sides once the venue's figure is accepted: the owner's part gives way first, then what our books hold."""
    with localcontext(EXACT):
        baseline = standing.venue - standing.flows - standing.held
        if not standing.missing:
            return replace(standing, baseline=baseline)
        held = standing.venue
        return replace(standing, held=held, baseline=standing.venue - standing.flows - held)


def _is_same(known: Doubt, fresh: Doubt, tolerated: Decimal) -> bool:
    with localcontext(EXACT):
        return abs(known.delta - fresh.delta) <= tolerated and abs(known.missing - fresh.missing) <= tolerated


def _sum(*figures: Decimal) -> Decimal:
    with localcontext(EXACT):
        return sum(figures, ZERO)
