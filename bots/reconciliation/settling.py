"""A person accepts the venue's figure: the owner's part of the account gives way first, and then what our books hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal, localcontext

from django.utils import timezone

from audit.decimals import decimal_text
from audit.log import OperatorEventRecord, record, unit
from bots import ledger
from bots.account_chores import price_usd
from bots.baselines import move_baselines
from bots.books import EXACT
from bots.market_data.base import MarketDataError
from bots.models import Account, AccountSync, Bot, Deal, Difference, DifferenceKind
from bots.reconciliation import differences, movements, share_changes, vanished
from bots.reconciliation.balances import ZERO, Standing, settled
from bots.reconciliation.compare import assets_of
from bots.reconciliation.differences import ACCEPTED, FIGURES, NOTED, asset_key, open_ones
from bots.reconciliation.facts import baselines_of, pending_shares, positions_of, read_books

#: A figure that is accepted has to be so young: the account may have moved since.
SEEN_WITHIN = timedelta(minutes=5)
#: What books are shortened by is shared out in steps of this size; what is left over goes to the last that has it.
CUT_STEP = Decimal("1e-8")


class SettleError(Exception):
    """The difference can't be settled as things stand; the message says why and what to do. Nothing has changed."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Both sides as a person saw them: what the venue has, what ought to be there, and what our positions hold of it."""

    venue: Decimal
    expected: Decimal
    held: Decimal

    @classmethod
    def of(cls, difference: Difference) -> "Seen | None":
        """Return what a page shows of a difference now; None for one that is about no figure."""
        venue, expected, held = difference.venue, difference.expected, difference.held
        return None if venue is None or expected is None or held is None else cls(venue, expected, held)


def settle(
    difference_id: int, *, actor: str, reason: str, seen: Seen | None = None, leaves_books: bool = False
) -> Difference:
    """Accept the venue's figure of a difference, or take note of one that is about an order, and return it closed.

    Of an order that the venue does not have its word is taken: it is asked once more, and the order is CANCELED in our books.

    ``seen`` is what the person saw of both sides: if either is another by now, nothing is done. What is missing is taken
    from the owner's part first, then from the books of the bots that hold it, each by its share: their positions shrink at
    cost, which counts as a loss. What is there without an explanation becomes the owner's, and is no gain. A split, or the like,
    is carried into the books at unchanged cost; ``leaves_books`` leaves them as they are. The caller has checked that the
    person may (``CLEAR_HOLDS``). The same settlement again returns what was done. Not inside a transaction: a price may be
    asked for. Raises SettleError, and Difference.DoesNotExist.
    """
    if not reason.strip():
        raise SettleError("Say why: settling a difference needs a reason. It is kept in the operator events.")
    asked = Difference.objects.select_related("account").get(pk=difference_id)
    price = _asked(asked)
    if asked.kind == DifferenceKind.SHARES and asked.closed_at is None and not leaves_books:
        # An order that still rests would meet the book at a price from before; until it is gone nothing is carried.
        share_changes.cancel_resting(asked.account, [asked.asset], actor=actor)
    with unit():
        account = Account.objects.select_for_update(no_key=True).get(differences=difference_id)
        found = Difference.objects.select_for_update().get(pk=difference_id)
        if found.closed_at is not None:
            if found.closed_by == actor and found.outcome in (ACCEPTED, NOTED):
                return found
            raise SettleError("It was closed meanwhile. Nothing more has to be done about it.")
        now, outcome = timezone.now(), NOTED
        if found.kind in FIGURES:
            _accept(account, found, seen, price, actor, reason, now)
            outcome = ACCEPTED
        elif found.kind == DifferenceKind.SHARES and not leaves_books:
            _carry_shares(account, found, seen, actor, reason, now)
            outcome = ACCEPTED
        elif vanished.is_about(found):
            vanished.end(found, actor, reason)
            outcome = ACCEPTED
        differences.close(found, outcome, actor, reason, now)
        return found


def _carry_shares(
    account: Account, found: Difference, seen: Seen | None, actor: str, reason: str, now: datetime
) -> None:
    """Carry a split or the like into the books, as the person saw it. Raises SettleError."""
    before = _still_so(account, found, seen, now)
    if before.delta or open_ones(account).filter(key=asset_key(found.asset)).exists():
        raise SettleError(
            f"The venue's figure of {found.asset} is off beyond that, too. Settle that first; or leave the books as they are."
        )
    try:
        share_changes.carry_out(found, actor, reason, now)
    except ValueError as error:
        raise SettleError(str(error)) from error
    AccountSync.objects.filter(account=account).update(wanted_at=now, wanted_by="settled")


def _accept(
    account: Account,
    found: Difference,
    seen: Seen | None,
    price: Decimal | None,
    actor: str,
    reason: str,
    now: datetime,
) -> None:
    before = _still_so(account, found, seen, now)
    after = settled(before)
    if after.held != before.held and before.pending:
        raise SettleError("A change of its shares is open, too: settle that first, or it would be written off as lost.")
    if after.held != before.held:
        try:
            _shorten_books(account, found.asset, before.held - after.held, actor, reason)
        except ValueError as error:
            # A fill was booked between the look at the books and their locks.
            raise SettleError("Our own figures are changing just now. Look at it again.") from error
    moved = after.baseline - before.baseline
    if moved:
        movements.settle(account, found.asset, moved, f"settled:{found.pk}")
    if moved > 0 and price is not None:
        # What nothing explained was left out of the measured equity: now it comes in, and is no gain.
        with localcontext(EXACT):
            move_baselines(account, before.delta * price)
    AccountSync.objects.filter(account=account).update(wanted_at=now, wanted_by="settled")


def _still_so(account: Account, found: Difference, seen: Seen | None, now: datetime) -> Standing:
    """Return both sides as the person saw them. Raises SettleError when either has moved since."""
    shown = Seen.of(found)
    if found.venue is None or seen is None or shown is None or shown != seen:
        raise SettleError("The figures moved since the page was loaded. Look at them again: they are the new ones now.")
    sync = AccountSync.objects.filter(account=account).first()
    if sync is not None and sync.reading_since is not None:
        # What is not read yet may explain a part of it, and would then be counted on top of what was accepted.
        raise SettleError(
            "The account's history is being read, and may explain it. Look at it again when that is done."
        )
    if sync is None or sync.baseline_at is None or now - found.seen_at > SEEN_WITHIN:
        raise SettleError("The venue's figure is older than 5 minutes. Reconcile first, then look at it again.")
    books, asset = read_books(account), found.asset
    if any(asset in assets_of(symbol) for symbol in books.in_flight):
        raise SettleError("An order in it is under way, and its outcome is not known. Try again in a minute.")
    held, flows = books.held.get(asset, ZERO), books.flows.get(asset, ZERO)
    baseline = baselines_of(account).get(asset)
    owned, pending = ZERO if baseline is None else baseline.quantity, pending_shares(account).get(asset, ZERO)
    standing = Standing(asset, found.venue, owned, held, flows, pending)
    if (held, flows, standing.expected) != (found.held, found.flows, found.expected):
        raise SettleError("Our own figures have changed since the page was loaded. Reconcile, then look at it again.")
    return standing


def _shorten_books(account: Account, asset: str, cut: Decimal, actor: str, reason: str) -> None:
    """Take ``cut`` from the positions in an asset, each by its share. Locks their bots, after the account."""
    rows = positions_of(account).exclude(quantity=ZERO).order_by("bot_id")
    bot_ids = [one.bot_id for one in rows.select_related("bot") if assets_of(one.bot.symbol)[0] == asset]
    bots = {one.pk: one for one in Bot.objects.select_for_update(no_key=True).filter(pk__in=bot_ids).order_by("pk")}
    positions = list(rows.filter(bot_id__in=bot_ids).select_for_update(of=("self",)))
    for position, share in zip(positions, shares([one.quantity for one in positions], cut), strict=True):
        if not share:
            continue
        deal = Deal.objects.filter(bot_id=position.bot_id, is_live=position.is_live, closed_at__isnull=True).first()
        before = position.quantity
        lost = ledger.write_off(position, deal, share, timezone.now())
        bot = bots[position.bot_id]
        record(
            OperatorEventRecord(
                actor=actor,
                action="book_corrected",
                object=f"bot:{bot.pk} {bot.name}",
                old=f"{decimal_text(before)} {asset}",
                new=f"{decimal_text(position.quantity)} {asset}; written off at cost: {decimal_text(lost)}",
                reason=reason,
            )
        )


def shares(quantities: Sequence[Decimal], cut: Decimal) -> list[Decimal]:
    """Return how ``cut`` is shared out over these quantities, by size and exactly. Raises ValueError when it is more than all."""
    with localcontext(EXACT):
        total, left = sum(quantities, ZERO), cut
        if cut > total:
            raise ValueError("more is to be cut than there is")
        found = [min((cut * one / total).quantize(CUT_STEP, rounding=ROUND_DOWN), one) for one in quantities]
        left -= sum(found, ZERO)
        for index in reversed(range(len(found))):
            more = min(left, quantities[index] - found[index])
            found[index] += more
            left -= more
        return found


def _asked(difference: Difference) -> Decimal | None:
    """Ask the venue what has to be known before anything is locked, and return what a unit is worth. Raises SettleError."""
    if difference.closed_at is None and vanished.is_about(difference):
        try:
            vanished.check_still_gone(difference)
        except vanished.NotGone as error:
            raise SettleError(str(error)) from error
    return _price(difference)


def _price(difference: Difference) -> Decimal | None:
    """Return what a unit of the asset is worth in USD now; None where it counts for nothing. Raises SettleError."""
    if difference.kind not in FIGURES:
        return None
    try:
        return price_usd(difference.account.venue, difference.asset, timezone.now())
    except MarketDataError as error:
        raise SettleError(f"What it is worth can't be told now: {error}. Try again in a minute.") from error
