"""What an issuer does to shares that a book holds: a split, a merger, a change of symbol. A person carries it into the books.

The venue's part of it is counted as a movement at once, so that both sides add up and the account is worth what it is worth. The
shares that came or went lie in the owner's part until somebody says what they are; meanwhile no bot sells them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_DOWN, Decimal, localcontext
from fractions import Fraction

from django.db.models import QuerySet
from django.utils import timezone

from audit.decimals import decimal_text
from audit.log import OperatorEventRecord, record, unit
from bots import ledger
from bots.books import EXACT
from bots.executor.steps import request_cancel
from bots.models import (
    Account,
    AccountMovement,
    Bot,
    Deal,
    Difference,
    DifferenceKind,
    Fill,
    MovementKind,
    Order,
    Position,
)
from bots.order_states import OPEN_STATES, RESTING_STATES
from bots.reconciliation import differences, movements
from bots.reconciliation.alarms import ACTOR, MISMATCH, alarm
from bots.reconciliation.balances import MONEY, ZERO, Standing
from bots.reconciliation.compare import assets_of
from bots.reconciliation.differences import open_ones
from bots.reconciliation.facts import baselines_of, positions_of
from bots.telling import about_account
from safety.intents import Side

#: What a share is divided into at most; what is left over goes to whom the last part belongs.
SHARE_STEP = Decimal("1e-9")
#: What the venue calls such a change, in words.
NAMES = {
    "SPLIT": "split",
    "SSP": "split",
    "MA": "merger",
    "NC": "change of name or symbol",
    "REORG": "reorganisation",
    "SC": "change of symbol",
    "SPIN": "spin-off",
    "SSO": "spin-off",
    "VOF": "offer to holders",
}
#: Those that give each share another number of shares of the same name. What others add is no part of what a book bought.
SPLITS = frozenset({"SPLIT", "SSP"})


@dataclass(frozen=True, slots=True)
class Part:
    """One book: what it holds now, and what it would hold when the change is carried into it."""

    bot_id: int
    bot: str
    before: Decimal
    after: Decimal


@dataclass(frozen=True, slots=True)
class Offer:
    """What accepting the venue's figure comes to. ``change`` is by how much the venue's count rose, or below zero fell."""

    change: Decimal
    parts: tuple[Part, ...]
    owner_before: Decimal
    owner_after: Decimal

    @property
    def to_books(self) -> Decimal:
        """Return how many shares the books get, or below zero give up, together."""
        with localcontext(EXACT):
            return sum((one.after - one.before for one in self.parts), ZERO)


def note(account: Account, rows: Iterable[AccountMovement]) -> frozenset[str]:
    """Open a difference about each asset in these movements that a book holds, and return them. The account is locked."""
    changed = [one for one in rows if one.kind == MovementKind.SHARE_CHANGE and one.counts and one.asset not in MONEY]
    noted = set()
    for asset in sorted({one.asset for one in changed}):
        here = [one for one in changed if one.asset == asset]
        found = open_ones(account).filter(key=_key(asset)).first()
        # Also of what was bought since: the venue names only the day, and a person knows better.
        if found is None and not _holdings(account, asset, here[0].happened_at):
            continue
        _keep(account, asset, found, here)
        noted.add(asset)
    return frozenset(noted)


def bring_up_to_date(account: Account, asset: str, standing: Standing, now: datetime) -> None:
    """Put this round's figures into the open difference about an asset's shares, if there is one. The account is locked."""
    for found in open_ones(account).filter(key=_key(asset)):
        found.venue, found.expected, found.held, found.flows = (
            standing.venue, standing.expected, standing.held, standing.flows,
        )  # fmt: skip
        found.seen_at, found.text = now, _told(account, found, standing.venue, standing.held)
        found.save(update_fields=["venue", "expected", "held", "flows", "seen_at", "text"])


def end_all(account: Account, now: datetime) -> None:
    """Close what is open about shares, since the baseline is taken anew and no book holds any. The account is locked."""
    for found in open_ones(account).filter(kind=DifferenceKind.SHARES):
        differences.close(found, differences.NOTED, ACTOR, "the owner's part was taken anew", now)


def offer(difference: Difference) -> Offer | None:
    """Return what accepting it would do to the books; None when the figures make no sense of the change."""
    account, asset = difference.account, difference.asset
    rows = list(AccountMovement.objects.filter(share_difference=difference).order_by("happened_at", "id"))
    if not rows:
        return None
    with localcontext(EXACT):
        change, since = sum((one.quantity for one in rows), ZERO), rows[0].happened_at
        baseline = baselines_of(account).get(asset)
        owner = ZERO if baseline is None else baseline.quantity
        later = AccountMovement.objects.filter(
            account=account, asset=asset, counts=True, undone_at__isnull=True, happened_at__gte=since
        )
        # What an earlier change of that day brought the books they held already when this one came.
        others = later.exclude(kind=MovementKind.SHARE_CHANGE).exclude(reference__in=_carried(account, asset))
        moved = sum(others.values_list("quantity", flat=True), ZERO)
        holdings = _holdings(account, asset, since)
        owned = owner - change - moved
        if owned < 0 or owned + sum((then for _, then in holdings), ZERO) <= 0:
            # The venue names but the day, and by that nobody held anything: what is held now is what it was about.
            owned, holdings = owner - change, [(one, one.quantity) for one, _ in holdings]
        after = shared_out(owned, [then for _, then in holdings], change, _is_by_ratio(rows))
        if after is None:
            return None
        parts = tuple(
            Part(one.bot_id, one.bot.name, one.quantity, max(new + one.quantity - then, ZERO))
            for (one, then), new in zip(holdings, after, strict=True)
        )
        given = sum((one.after - one.before for one in parts), ZERO)
        return Offer(change, parts, owner, owner - given)


def carry_out(difference: Difference, actor: str, reason: str, now: datetime) -> None:
    """Carry the change into the books: other quantities at the cost that they had. The account is locked, in an audit unit.

    Raises ValueError, saying why, when the figures make no sense or an order of those bots is open.
    """
    account, asset = difference.account, difference.asset
    books = positions_of(account).values_list("bot_id", "bot__symbol")
    bot_ids = sorted(bot_id for bot_id, symbol in books if assets_of(symbol)[0] == asset)
    bots = {one.pk: one for one in Bot.objects.select_for_update(no_key=True).filter(pk__in=bot_ids).order_by("pk")}
    found = offer(difference)
    if found is None:
        raise ValueError(
            "The venue's figures make no sense of it: leave the books as they are, and correct them by hand."
        )
    if _orders(account, asset).filter(status__in=sorted(OPEN_STATES)).exists():
        raise ValueError(
            "An order in it is open, at a price from before. It is being cancelled: accept again in a minute."
        )
    paid = ZERO
    for part in found.parts:
        if part.after != part.before:
            paid += _rescale(account, bots[part.bot_id], part, actor, reason, now)
    reference = f"settled:{difference.pk}"
    moved = {asset: -found.to_books, assets_of(asset)[1]: -paid}
    for name in sorted(moved):
        if moved[name]:
            movements.settle(account, name, moved[name], reference)


def cancel_resting(account: Account, assets: Iterable[str], *, actor: str = ACTOR) -> int:
    """Ask for the cancel of the bots' orders that rest in these assets, at prices from before; return how many rest."""
    count = 0
    for asset in sorted(assets):
        with unit():
            ids = _orders(account, asset).values_list("bot_id", flat=True)
            list(Bot.objects.select_for_update(no_key=True).filter(pk__in=ids).order_by("pk").values_list("pk"))
            rows = _orders(account, asset).filter(status__in=sorted(RESTING_STATES)).select_for_update(of=("self",))
            for order in rows.order_by("pk"):
                reason = f"the number of {asset} shares changed: its price is from before"
                request_cancel(order, timezone.now(), actor=actor, reason=reason)
                count += 1
    return count


def book_after(bot: Bot, account_name: str) -> Decimal | None:
    """Return what a bot's book would hold once the open change of its shares is carried into it; None without one."""
    rows = Difference.objects.filter(account_id=account_name, kind=DifferenceKind.SHARES, asset=bot.symbol)
    found = rows.filter(closed_at__isnull=True).select_related("account").first()
    offered = None if found is None else offer(found)
    return None if offered is None else next((one.after for one in offered.parts if one.bot_id == bot.pk), None)


def _carried(account: Account, asset: str) -> list[str]:
    """Return the references of what persons carried into the books of an asset."""
    rows = Difference.objects.filter(account=account, kind=DifferenceKind.SHARES, asset=asset)
    return [f"settled:{one}" for one in rows.values_list("pk", flat=True)]


def _key(asset: str) -> str:
    return f"shares:{asset}"


def _orders(account: Account, asset: str) -> QuerySet[Order]:
    return Order.objects.filter(venue=account.venue, is_live=account.is_live, symbol=asset, bot__isnull=False)


def _keep(account: Account, asset: str, found: Difference | None, rows: list[AccountMovement]) -> None:
    is_new, now = found is None, timezone.now()
    with localcontext(EXACT):
        held = sum((one.quantity for one, _ in _holdings(account, asset, now)), ZERO)
        expected = held + baselines_of(account)[asset].quantity
    if found is None:
        found = Difference.objects.create(
            account=account, kind=DifferenceKind.SHARES, key=_key(asset), asset=asset, text="", venue=expected,
            expected=expected, held=held, flows=ZERO, opened_at=now, seen_at=now,
        )  # fmt: skip
    AccountMovement.objects.filter(pk__in=[one.pk for one in rows]).update(share_difference=found)
    found.venue, found.expected, found.held, found.seen_at = expected, expected, held, now
    found.text = _told(account, found, expected, held)
    found.save(update_fields=["venue", "expected", "held", "seen_at", "text"])
    if is_new:
        alarm(
            MISMATCH,
            f"account:{account.name} {asset}",
            f"{found.text} Entries wait until a person has looked at it.",
            title=f"{account.venue.capitalize()}: a change of the shares {asset}",
            facts=about_account(account, asset),
        )


def _holdings(account: Account, asset: str, since: datetime) -> list[tuple[Position, Decimal]]:
    """Return the books in an asset that hold something, or held it at that moment, with what each held then."""
    found = []
    for position in positions_of(account).select_related("bot").order_by("bot_id"):
        if assets_of(position.bot.symbol)[0] != asset:
            continue
        fills = Fill.objects.filter(order__bot_id=position.bot_id, is_live=position.is_live, filled_at__gte=since)
        with localcontext(EXACT):
            then = position.quantity
            for side, quantity in fills.filter(venue=account.venue).values_list("order__side", "quantity"):
                then += -quantity if side == Side.BUY else quantity
        if position.quantity or then > 0:
            found.append((position, max(then, ZERO)))
    return found


def _is_by_ratio(rows: Iterable[AccountMovement]) -> bool:
    """Return whether each share became another number of shares. Where shares are gone they are gone for each holder alike."""
    together = list(rows)
    return all(one.what in SPLITS for one in together) or sum((one.quantity for one in together), ZERO) < 0


def shared_out(owner: Decimal, held: list[Decimal], change: Decimal, is_by_ratio: bool) -> list[Decimal] | None:
    """Return what each of these would have after the change, the owner getting what is left; None when that is impossible."""
    if not is_by_ratio:
        return held
    total = owner + sum(held, ZERO)
    if owner < 0 or total <= 0 or total + change < 0:
        return None
    after = [(one * (total + change) / total).quantize(SHARE_STEP, rounding=ROUND_DOWN) for one in held]
    if not owner and any(held):
        last = max(index for index, one in enumerate(held) if one)
        after[last] += total + change - sum(after, ZERO)
    return after


def _rescale(account: Account, bot: Bot, part: Part, actor: str, reason: str, now: datetime) -> Decimal:
    position = Position.objects.select_for_update(no_key=True).get(bot=bot, is_live=account.is_live)
    deal = Deal.objects.filter(bot=bot, is_live=account.is_live, closed_at__isnull=True).first()
    before, cost = position.quantity, position.cost
    paid = ledger.rescale(position, deal, part.after, now)
    kept = f"cost unchanged: {decimal_text(cost)}" if part.after else f"handed over at cost: {decimal_text(paid)}"
    record(
        OperatorEventRecord(
            actor=actor,
            action="book_rescaled",
            object=f"bot:{bot.pk} {bot.name}",
            old=f"{decimal_text(before)} {bot.symbol}",
            new=f"{decimal_text(part.after)} {bot.symbol}; {kept}",
            reason=reason,
        )
    )
    return paid


def _told(account: Account, difference: Difference, there: Decimal, held: Decimal) -> str:
    """Return what the venue did, in a sentence, and both sides."""
    rows = list(AccountMovement.objects.filter(share_difference=difference).order_by("happened_at", "id"))
    names = dict.fromkeys(NAMES.get(one.what, "change of shares") for one in rows)
    with localcontext(EXACT):
        change = sum((one.quantity for one in rows), ZERO)
        before = there - change
    ratio = _ratio(there, before) if all(one.what in SPLITS for one in rows) else ""
    days = " and ".join(dict.fromkeys(f"{one.happened_at:%Y-%m-%d}" for one in rows))
    sign = "+" if change >= 0 else ""
    what = f"{difference.asset} {ratio}{' and '.join(names)} on {days} ({sign}{decimal_text(change)} shares)"
    sides = f"{account.venue.capitalize()} holds {decimal_text(there)}, the books of its bots {decimal_text(held)}"
    return f"{what}: {sides}."[:500]


def _ratio(after: Decimal, before: Decimal) -> str:
    if before <= 0 or after <= 0:
        return ""
    found = (Fraction(after) / Fraction(before)).limit_denominator(1000)
    return f"{found.numerator}:{found.denominator} "
