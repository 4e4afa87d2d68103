"""Ended orders, fills and transfers since the last look: what is ours is looked up, what is not moves the owner's part, once.

What was read is counted a part at a time; how far that has come is in the database, see ``passes``.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal, localcontext

from audit.log import unit
from bots.account_chores import price_usd
from bots.books import EXACT
from bots.brokers.base import ListedFill, ListedOrder, Transfer, TransferKind, VenueBroker
from bots.brokers.parts import Stretch
from bots.models import Account, AccountSync
from bots.order_states import OrderStatus
from bots.reconciliation import facts, movements, share_changes
from bots.reconciliation.balances import MONEY, Movement, movement_of_transfer, movements_of_fill
from bots.reconciliation.compare import FillFacts, OwnOrder, sort_fills
from bots.reconciliation.movements import MADE_OF_HELD, NEUTRAL, Valued
from bots.reconciliation.passes import OVERLAP, Pass, Step, plain
from bots.reconciliation.turns import Turn

#: How often the history is read when nothing asks for it.
EVERY = timedelta(minutes=5)
#: So many movements are counted in one go: whoever places an order waits for the account meanwhile.
COUNTED_AT_ONCE = 25
#: A fill of an order of ours that our books can't take is asked for again for so long. After that only the balances tell of it.
OURS_AGAIN = timedelta(days=1)


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


def ask(broker: VenueBroker, since: datetime, now: datetime, has_time: Callable[[], bool]) -> History | None:
    """Ask for all that happened since; None when it is too long for one round. Raises VenueError."""
    stretch = Stretch(since, now, has_time=has_time)
    # Orders first: an order that fills meanwhile is then in one of the lists that say whose it is, or its fill waits.
    ended, fills, transfers = broker.ended_orders(stretch), broker.fills(stretch), broker.transfers(stretch)
    if not (ended.is_last and fills.is_last and transfers.is_last):
        return None
    return History(ended.rows, fills.rows, transfers.rows)


def sort(account: Account, fills: Sequence[ListedFill], now: datetime) -> Sorted:
    """Say whose each fill is, by what is known of its order."""
    ids = {one.venue_order_id for one in fills}
    own = facts.own_by_venue_id(account, ids)
    strangers = facts.stranger_ids(account, ids)
    trades = {one.execution.trade_id for one in fills}
    counted = facts.counted_references(account, {f"fill:{one}" for one in trades})
    found = sort_fills(
        fills,
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


def waits_for_orders(account: Account, listed: Sequence[ListedOrder], since: datetime) -> bool:
    """Return whether one of these orders is ours, is not known to be there, and was not asked for by itself since then."""
    own = facts.own_orders(account, listed) if listed else []
    ids = {one.client_order_id for one in listed if one.client_order_id}
    lost = (OrderStatus.UNKNOWN, OrderStatus.NOT_SENT)
    return any(one.client_order_id in ids and one.status in lost and not _was_asked(one, since) for one in own)


def waits_for_fills(account: Account, fills: Sequence[ListedFill], now: datetime, since: datetime) -> bool:
    """Return whether our books lack one of these fills, and its order was not asked for by itself since then."""
    return any(not _was_asked(one, since) for one, _ in sort(account, fills, now).look_up)


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


def count(turn: Turn, valued: Sequence[Valued]) -> int:
    """Count what moved, and return how much was new. Raises TurnLost.

    A few at a time. What was counted by a process that then died is known by its references and counts no more; the two sides of
    a trade have one reference, and go together.
    """
    fresh, changed = 0, frozenset[str]()
    references = list(dict.fromkeys(one.movement.reference for one in valued))
    for start in range(0, len(references), COUNTED_AT_ONCE):
        some = set(references[start : start + COUNTED_AT_ONCE])
        with unit():
            sync = turn.locked_with_account()
            if sync.baseline_at is None:
                return fresh
            rows = [one for one in valued if one.movement.reference in some]
            new = movements.count(sync.account, rows, baseline_at=sync.baseline_at)
            changed |= share_changes.note(sync.account, new)
            fresh += len(new)
    if changed:
        share_changes.cancel_resting(Account.objects.get(pk=turn.name), changed)
    return fresh


def keep(turn: Turn, read: Pass) -> int:
    """Keep how far a pass has come. At its end, take back what turned out to be ours; return how much. Raises TurnLost."""
    with unit():
        sync = turn.locked_with_account()
        if sync.baseline_at is None:
            sync.reading = {}
            sync.save(update_fields=["reading"])
            return 0
        if read.step != Step.DONE:
            sync.reading = plain(read)
            sync.save(update_fields=["reading"])
            return 0
        undone = movements.undo_ours(sync.account, sync.baseline_at)
        sync.reading, sync.history_at = {}, read.until
        since = min(read.until - OVERLAP, read.again or read.until)
        # Of what a sequel did not read again, something may still be listed late.
        sync.history_since = min(since, sync.history_since or since) if read.is_sequel else since
        sync.save(update_fields=["reading", "history_at", "history_since"])
        return len(undone)


def left_open(account: Account, read: Pass, fills: Sequence[ListedFill], now: datetime) -> Pass:
    """Return the pass with those of these fills left to the next one of which nobody can tell yet whose they are.

    So are fills of our own orders that our books did not take yet.
    """
    found = sort(account, fills, now)
    ours = {venue_order_id for _, venue_order_id in found.look_up}
    lacking = [one for one in fills if one.venue_order_id in ours and one.execution.filled_at > read.until - OURS_AGAIN]
    moments = [one.execution.filled_at - timedelta(minutes=1) for one in (*found.unidentified, *lacking)]
    return replace(read, again=min([*moments, *([read.again] if read.again else [])], default=None))


def all_movements(external: Iterable[ListedFill], transfers: Iterable[Transfer]) -> list[Movement]:
    """Return what others traded and what was transferred as movements: a new baseline holds them already."""
    fills = [one for fill in external for one in movements_of_fill(fill)]
    return [*fills, *(movement_of_transfer(one) for one in transfers)]


def _was_asked(own: OwnOrder, since: datetime) -> bool:
    return own.looked_up_at is not None and own.looked_up_at >= since


def _value_usd(account: Account, movement: Movement, now: datetime) -> Decimal | None:
    if movement.kind not in NEUTRAL:
        return None
    if movement.kind == TransferKind.OTHER and account.venue in MADE_OF_HELD and movement.asset not in MONEY:
        return None
    price = price_usd(account.venue, movement.asset, now)
    with localcontext(EXACT):
        return movement.quantity * (price or Decimal(0))
