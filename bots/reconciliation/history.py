"""Fills and transfers since the last look: what is ours is looked up, what is not moves the owner's part, each once."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, localcontext

from audit.log import unit
from bots.account_chores import price_usd
from bots.books import EXACT
from bots.brokers.base import ListedFill, ListedOrder, Transfer, TransferKind, VenueBroker
from bots.models import Account, AccountSync
from bots.reconciliation import facts, movements, share_changes
from bots.reconciliation.balances import MONEY, Movement, movement_of_transfer, movements_of_fill
from bots.reconciliation.compare import FillFacts, OwnOrder, sort_fills
from bots.reconciliation.movements import MADE_OF_HELD, NEUTRAL, Valued
from bots.reconciliation.turns import Turn

#: How often the history is read when nothing asks for it.
EVERY = timedelta(minutes=5)
#: A venue may list something late: so much of what was read before is read again. Everything counts once by its id.
OVERLAP = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class History:
    """What a venue lists since a moment."""

    ended: tuple[ListedOrder, ...]
    fills: tuple[ListedFill, ...]
    transfers: tuple[Transfer, ...]


@dataclass(frozen=True, slots=True)
class Sorted:
    """Whose the fills are; ``look_up`` are our orders with the venue's ids."""

    look_up: tuple[tuple[OwnOrder, str], ...]
    external: tuple[ListedFill, ...]
    unidentified: tuple[ListedFill, ...]


def is_due(sync: AccountSync, now: datetime) -> bool:
    """Return whether the history is to be read though nothing asks for it. A clock that was set back makes it due."""
    return sync.history_at is None or not timedelta(0) <= now - sync.history_at < EVERY


def since_of(sync: AccountSync, now: datetime) -> datetime:
    """Return from when on the history has to be read."""
    return min(sync.history_since or now - OVERLAP, now - OVERLAP)


def ask(broker: VenueBroker, since: datetime, in_time: Callable[[], None]) -> History:
    """Ask for all that happened since. ``in_time`` raises when no more may be asked. Raises VenueError."""
    in_time()
    # Orders first: an order that fills meanwhile is then in one of the lists that say whose it is, or its fill waits.
    ended = broker.ended_orders(since)
    in_time()
    fills = broker.fills(since)
    in_time()
    return History(ended, fills, broker.transfers(since))


def sort(account: Account, read: History, listed_open: Iterable[ListedOrder], now: datetime) -> Sorted:
    """Say whose each fill is, by what is known of its order."""
    ids = {one.venue_order_id for one in read.fills}
    own = facts.own_by_venue_id(account, ids)
    strangers = facts.stranger_ids(account, ids)
    trades = {one.execution.trade_id for one in read.fills}
    counted = facts.counted_references(account, {f"fill:{one}" for one in trades})
    found = sort_fills(
        read.fills,
        FillFacts(
            booked=facts.booked_trades(account, trades),
            own={id_: one for id_, one in own.items() if id_ not in strangers},
            strangers=strangers,
            counted={one.removeprefix("fill:") for one in counted},
            undecided=facts.undecided_symbols(account),
            now=now,
        ),
    )
    return Sorted(tuple((one, one.venue_order_id) for one in found.look_up), found.external, found.unidentified)


def valued(
    account: Account, external: Iterable[ListedFill], transfers: Iterable[Transfer], now: datetime
) -> list[Valued]:
    """Return what moved, with what it is worth where it moves the loss baselines. May ask for prices. Raises MarketDataError."""
    found = [Valued(one, None) for fill in external for one in movements_of_fill(fill)]
    moved = [movement_of_transfer(one) for one in transfers]
    known = facts.counted_references(account, {one.reference for one in moved})
    for one in moved:
        if one.reference not in known:
            found.append(Valued(one, _value_usd(account, one, now)))
    return found


def count(turn: Turn, valued: Iterable[Valued], unidentified: Iterable[ListedFill], asked_at: datetime) -> int:
    """Count what moved, and take back what turned out to be ours; return how much was new. Raises TurnLost."""
    with unit():
        sync = turn.locked_with_account()
        account = sync.account
        undone = movements.undo_ours(account, asked_at - timedelta(days=1))
        if sync.baseline_at is None:
            return len(undone)
        fresh = movements.count(account, valued, baseline_at=sync.baseline_at)
        changed = share_changes.note(account, fresh)
        sync.history_at = asked_at
        sync.history_since = min([asked_at - OVERLAP, *(_before(one) for one in unidentified)])
        sync.save(update_fields=["history_at", "history_since"])
    if changed:
        share_changes.cancel_resting(account, changed)
    return len(fresh) + len(undone)


def all_movements(external: Iterable[ListedFill], transfers: Iterable[Transfer]) -> list[Movement]:
    """Return what others traded and what was transferred as movements: a new baseline holds them already."""
    fills = [one for fill in external for one in movements_of_fill(fill)]
    return [*fills, *(movement_of_transfer(one) for one in transfers)]


def _before(fill: ListedFill) -> datetime:
    return fill.execution.filled_at - timedelta(minutes=1)


def _value_usd(account: Account, movement: Movement, now: datetime) -> Decimal | None:
    if movement.kind not in NEUTRAL:
        return None
    if movement.kind == TransferKind.OTHER and account.venue in MADE_OF_HELD and movement.asset not in MONEY:
        return None
    price = price_usd(account.venue, movement.asset, now)
    with localcontext(EXACT):
        return movement.quantity * (price or Decimal(0))
