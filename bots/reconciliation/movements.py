"""What moves the owner's part of an account: each movement counts once, with a row that says what it was.

Whoever writes here has the account's row locked; but for ``lend``, which a fill's own transaction calls, with its bot locked. The
baselines' own rows come last of all, and those of several assets by name, so that two transactions never wait for each other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, localcontext

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Substr
from django.utils import timezone

from audit.fields import canonical_json
from audit.log import OperatorEventRecord, record
from bots.accounts import account_name
from bots.baselines import move_baselines
from bots.books import EXACT
from bots.brokers.base import Execution
from bots.models import (
    Account,
    AccountMovement,
    AccountSync,
    AssetBaseline,
    Bot,
    BotStatus,
    Fill,
    MovementKind,
    Order,
    PaperBroker,
)
from bots.order_states import OPEN_STATES
from bots.reconciliation.alarms import ACTOR
from bots.reconciliation.balances import MONEY, Movement
from bots.reconciliation.compare import CLOCK_SKEW, assets_of
from bots.reconciliation.facts import orders_of, positions_of

#: Venues that name only the day of most movements without a trade, and how far back they are listed for that.
LISTED_BY_DAY = {"alpaca": timedelta(days=3)}
#: A baseline that is younger was taken for the bot that is going live now.
JUST_TAKEN = timedelta(seconds=60)
#: Movements that are neither gain nor loss: they move what losses are judged by. Trades of others do not, see the ADR.
NEUTRAL = frozenset({"deposit", "withdrawal", "reward", "other"})
#: Venues where what is called OTHER of an asset is made of what was held before, as in a split or a merger: it brings no worth.
MADE_OF_HELD = frozenset({"alpaca"})


@dataclass(frozen=True, slots=True)
class Valued:
    """A movement with what it is worth in USD; None for one that moves no loss baseline."""

    movement: Movement
    value_usd: Decimal | None


def count(account: Account, valued: Iterable[Valued], *, baseline_at: datetime) -> list[AccountMovement]:
    """Count these movements, each once, and return those that were new. The account is locked, in an audit unit.

    What happened before the baseline was taken is in it already: it is kept, so that it is known, and moves nothing. Where a
    venue names only the day of a movement, those that it had not listed by then came later.
    """
    found = []
    valued = list(valued)
    lock(account, (one.movement.asset for one in valued))
    for one in valued:
        row = _row(account, one, counts=one.movement.happened_at >= baseline_at - _grain(account, one.movement))
        if row is None:
            continue
        found.append(row)
        if row.counts:
            _carry_out(account, row, one.movement.price)
    return found


def note_before(account: Account, movements: Iterable[Movement]) -> None:
    """Keep movements that the baseline holds already, however late they are listed again."""
    for one in movements:
        _row(account, Valued(one, None), counts=False)


def undo_ours(account: Account, since: datetime) -> list[AccountMovement]:
    """Take back what was counted as others' trades and is in our own books by now; return it. The account is locked.

    ``since`` is when the baseline was taken: what moved an earlier one is in this one, whoever traded it.
    """
    rows = AccountMovement.objects.filter(
        account=account, kind=MovementKind.EXTERNAL_FILL, undone_at__isnull=True, happened_at__gte=since
    )
    # Asked of the database as a whole: there may be as many as others traded in months.
    booked = Fill.objects.filter(venue=account.venue, is_live=account.is_live, trade_id=OuterRef("trade"))
    undone: list[AccountMovement] = list(
        rows.annotate(trade=Substr("reference", len("fill:") + 1)).filter(Exists(booked))
    )
    lock(account, (one.asset for one in undone))
    for row in undone:
        row.undone_at = timezone.now()
        row.save(update_fields=["undone_at"])
        if row.counts:
            _shift(account, row.asset, -row.quantity, is_external=True)
        _audit(account, "account_movement_undone", _shown(row), "it was a trade of our own")
    return undone


def lend(order: Order, execution: Execution, quantity: Decimal, money: Decimal) -> None:
    """Let the owner's part sell ``quantity`` to our books for ``money``. The order's bot is locked, in an audit unit.

    Before a baseline was taken nothing is moved: it will be taken from what the books then say.
    """
    name = account_name(order.venue, is_live=order.is_live)
    account = Account.objects.filter(pk=name).first()
    if account is None or not AccountSync.objects.filter(account=account, baseline_at__isnull=False).exists():
        return
    base, quote = assets_of(order.symbol)
    reference, kind = f"oversold:{execution.trade_id}", MovementKind.OVERSOLD
    lock(account, (base, quote))
    for asset, moved in ((base, -quantity), (quote, money)):
        _note(account, Movement(reference, asset, kind, moved, execution.filled_at))


def set_baselines(account: Account, figures: Mapping[str, Decimal], *, at: datetime) -> None:
    """Take the baseline: what the account holds that no book accounts for. The account is locked, in an audit unit."""
    rows_before = AssetBaseline.objects.select_for_update(no_key=True).filter(account=account).order_by("asset")
    before = {one.asset: one.quantity for one in rows_before}
    AssetBaseline.objects.filter(account=account).delete()
    agreed_at = at - CLOCK_SKEW
    rows = [
        AssetBaseline(account=account, asset=name, quantity=one, agreed_at=agreed_at) for name, one in figures.items()
    ]
    AssetBaseline.objects.bulk_create(rows)
    record(
        OperatorEventRecord(
            actor=ACTOR,
            action="baseline_taken",
            object=f"account:{account.name}",
            old=canonical_json(before),
            new=canonical_json(dict(figures)),
            reason="what the account held besides our books when bots were armed on it",
        )
    )


def settle(account: Account, asset: str, quantity: Decimal, reference: str) -> None:
    """Move one baseline since a person accepted the venue's figure. The account is locked, in an audit unit."""
    _note(account, Movement(reference, asset, MovementKind.SETTLED, quantity, timezone.now()))


def follow(account: Account, deltas: Mapping[str, Decimal], at: datetime) -> None:
    """Let baselines take on what the venue shows: its rounding, and assets that no bot here trades. The account is locked."""
    for asset, delta in sorted(deltas.items()):
        row = _locked(account, asset)
        with localcontext(EXACT):
            row.quantity += delta
        row.agreed_at = at
        row.save()


def arm(bot: Bot) -> None:
    """Have the baseline of a live bot's account taken anew, unless another bot is live there, or something is held there.

    Called in the audit unit that sets the bot live. What was there between two times of trading is not looked through again. One
    that was taken a moment ago, since somebody wants to go live, is good as it is.
    """
    _take_anew(_to_be_armed(bot.venue, Bot.objects.exclude(pk=bot.pk)))


def would_arm(venue: str) -> bool:
    """Return whether the live account's baseline is taken anew when a bot that is on paper now goes live at this venue."""
    return _to_be_armed(venue, Bot.objects.all()).exists()


def _to_be_armed(venue: str, others: QuerySet[Bot]) -> QuerySet[AccountSync]:
    account = Account.objects.filter(pk=account_name(venue, is_live=True)).first()
    are_live = others.filter(venue=venue, dry_run=False).exclude(status=BotStatus.ARCHIVED).exists()
    if are_live or account is None or any(one.quantity for one in positions_of(account)):
        return AccountSync.objects.none()
    return AccountSync.objects.filter(_is_old(), account=account)


def arm_started(bot: Bot) -> None:
    """Arm a bot's paper account at its venue, unless it trades there already: see ``arm_paper``."""
    if bot.status not in (BotStatus.RUNNING, BotStatus.PAUSED):
        arm_paper(bot)


def arm_paper(bot: Bot) -> None:
    """Have the baseline of the venue's paper account taken anew, unless another bot trades there or something is held or open.

    Called in the audit unit that starts a bot there, or lets it trade there from now on: its owner may have reset the account at
    the venue, and nobody looked at it while no bot traded.
    """
    account = Account.objects.filter(pk=account_name(bot.venue, is_live=False)).first()
    if account is None or bot.is_live or bot.paper_broker != PaperBroker.VENUE:
        return
    others = Bot.objects.filter(venue=bot.venue, dry_run=True, paper_broker=PaperBroker.VENUE).exclude(pk=bot.pk)
    is_used = others.filter(status__in=[BotStatus.RUNNING, BotStatus.PAUSED]).exists()
    if is_used or any(one.quantity for one in positions_of(account)):
        return
    if orders_of(account).filter(status__in=sorted(OPEN_STATES)).exists():
        return
    _take_anew(AccountSync.objects.filter(_is_old(), account=account))


def _take_anew(syncs: QuerySet[AccountSync]) -> None:
    syncs.update(baseline_at=None, doubts={}, history_since=None, reading={}, reading_since=None)


def _is_old() -> Q:
    """Return what holds of a baseline that was not taken a moment ago; one from the future is from another clock."""
    return Q(baseline_at__lt=timezone.now() - JUST_TAKEN) | Q(baseline_at__gt=timezone.now())


def carry(bot: Bot, *, symbol_before: str, paper_broker_before: str) -> None:
    """Keep the accounts right when a bot's symbol or paper broker changes: what its trades brought counts elsewhere from now on.

    The bot holds nothing. It is locked, in an audit unit.
    """
    if bot.paper_broker != paper_broker_before:
        arm_paper(bot)
    for position in bot.positions.all():
        account = Account.objects.filter(pk=account_name(bot.venue, is_live=position.is_live)).first()
        is_armed = AccountSync.objects.filter(account=account, baseline_at__isnull=False).exists()
        if account is None or not is_armed or not position.cash_flow:
            continue
        moved: dict[str, Decimal] = {}
        if position.is_live or paper_broker_before == PaperBroker.VENUE:
            moved[assets_of(symbol_before)[1]] = position.cash_flow
        if position.is_live or bot.paper_broker == PaperBroker.VENUE:
            quote = assets_of(bot.symbol)[1]
            moved[quote] = moved.get(quote, Decimal(0)) - position.cash_flow
        reference = f"carried:{bot.pk}:{bot.revision}:{position.is_live}"
        for asset, quantity in sorted(moved.items()):
            if quantity:
                _note(account, Movement(reference, asset, MovementKind.CARRIED, quantity, timezone.now()))


def _note(account: Account, movement: Movement) -> None:
    row = _row(account, Valued(movement, None), counts=True)
    if row is not None:
        _carry_out(account, row)


def _row(account: Account, one: Valued, *, counts: bool) -> AccountMovement | None:
    """Keep a movement; None when it is kept already."""
    movement = one.movement
    known = AccountMovement.objects.filter(account=account, reference=movement.reference, asset=movement.asset)
    if known.exists():
        return None
    return AccountMovement.objects.create(
        account=account,
        reference=movement.reference,
        asset=movement.asset,
        kind=movement.kind,
        quantity=movement.quantity,
        value_usd=one.value_usd if counts else None,
        counts=counts,
        happened_at=movement.happened_at,
        noted_at=timezone.now(),
        what=movement.what,
    )


def _grain(account: Account, movement: Movement) -> timedelta:
    if movement.kind == MovementKind.EXTERNAL_FILL:
        return timedelta(0)
    return LISTED_BY_DAY.get(account.venue, timedelta(0))


def _carry_out(account: Account, row: AccountMovement, price: Decimal | None = None) -> None:
    is_external = row.kind == MovementKind.EXTERNAL_FILL
    _shift(account, row.asset, row.quantity, is_external=is_external, price=price)
    if row.value_usd:
        move_baselines(account, row.value_usd)
    _audit(account, "account_moved", _shown(row), "")


def _shift(
    account: Account, asset: str, quantity: Decimal, *, is_external: bool = False, price: Decimal | None = None
) -> None:
    row = _locked(account, asset)
    with localcontext(EXACT):
        row.quantity += quantity
        if is_external and asset not in MONEY:
            row.external_quantity += quantity
            row.external_price = price or row.external_price
    row.save()


def lock(account: Account, assets: Iterable[str]) -> None:
    """Lock the baselines of these assets, by name: whoever needs several locks them so, and never two of them crosswise."""
    for asset in sorted(set(assets)):
        _locked(account, asset)


def _locked(account: Account, asset: str) -> AssetBaseline:
    AssetBaseline.objects.get_or_create(account=account, asset=asset)
    return AssetBaseline.objects.select_for_update(no_key=True).get(account=account, asset=asset)


def _shown(row: AccountMovement) -> str:
    return canonical_json(
        {
            "reference": row.reference,
            "kind": row.kind,
            "asset": row.asset,
            "quantity": row.quantity,
            "value_usd": row.value_usd,
            "happened_at": row.happened_at.isoformat(),
        }
    )


def _audit(account: Account, action: str, new: str, reason: str) -> None:
    what = f"account:{account.name}"
    record(OperatorEventRecord(actor=ACTOR, action=action, object=what, old="", new=new, reason=reason))
