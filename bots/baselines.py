"""The baselines that losses are judged by: a UTC day's first equity and the highest one since the last reset.

A day begins with the last equity that was known before it, so that a night without measurements, or a restart, forgives no loss:
what was lost in a gap counts on the day on which it is seen. A clock that was set back changes no baseline.
"""

from collections.abc import Collection
from datetime import datetime
from decimal import Decimal
from typing import Any

from audit.fields import canonical_json
from audit.log import OperatorEventRecord, joined_unit, record
from bots.accounts import account_name, is_fresh, paper_account_name, utc_day
from bots.models import Account, Bot, PaperBroker, Position
from safety.scopes import GLOBAL

STREAKS = ("losing_streak", "reject_streak")


def measured(account: Account, equity_usd: Decimal, cash_usd: Decimal, now: datetime) -> None:
    """Put a measurement into an account, which the caller has locked and saves."""
    today = utc_day(now)
    if account.day is None or account.day_start_equity_usd is None:
        account.day, account.day_start_equity_usd = today, equity_usd
    elif account.day < today:
        account.day = today
        account.day_start_equity_usd = equity_usd if account.equity_usd is None else account.equity_usd
    account.peak_equity_usd = max(account.peak_equity_usd or equity_usd, equity_usd)
    account.equity_usd, account.cash_usd, account.measured_at = equity_usd, cash_usd, now


def paper_equity_usd(bot: Bot, position: Position | None, bid: Decimal | None) -> Decimal:
    """Return what a built-in paper bot is worth: its cash and its position at ``bid``, or else at its last mark."""
    if position is None:
        return bot.paper_equity_usd
    cash = bot.paper_equity_usd + position.cash_flow
    if not position.quantity:
        return cash
    price = position.mark_price if bid is None else bid
    return cash + (position.cost if price is None else position.quantity * price)


def open_paper_account(bot: Bot, now: datetime) -> Account:
    """Make the account of a new paper bot, in the caller's transaction: it has its starting cash and has lost nothing."""
    account = Account(name=paper_account_name(bot.pk), venue=bot.venue, is_live=False, bot=bot)
    measured(account, bot.paper_equity_usd, bot.paper_equity_usd, now)
    account.save(force_insert=True)
    return account


def start_afresh(bot: Bot, *, actor: str, now: datetime) -> None:
    """Forget a bot's streaks, and a paper bot's losses so far, since a person starts it. Its row is locked, in an audit unit.

    A live bot's losses are its account's: only a release forgets those. What was lost on a venue's paper account is forgotten for
    all bots on it.
    """
    position = Position.objects.filter(bot=bot, is_live=bot.is_live).first()
    _forget_streaks([bot.pk], is_live=bot.is_live, actor=actor, reason="a person started it")
    if bot.is_live:
        return
    if bot.paper_broker == PaperBroker.VENUE:
        shared = account_name(bot.venue, is_live=False)
        # Locked already by who starts the bot: accounts come before bots.
        for account in Account.objects.select_for_update(no_key=True).filter(name=shared):
            known = account.equity_usd if is_fresh(account.measured_at, now) else None
            _set_baselines(account, known, actor=actor, reason="a person started a bot on it", now=now)
        return
    account = Account.objects.select_for_update(no_key=True).filter(bot=bot).first() or open_paper_account(bot, now)
    equity_usd = account.equity_usd
    if equity_usd is None or not _is_newer(account.measured_at, position):
        equity_usd = paper_equity_usd(bot, position, None)
    _set_baselines(account, equity_usd, actor=actor, reason="a person started it", now=now)


def lock_shared_paper(bot_id: int) -> None:
    """Lock the venue's paper account that a bot trades on, if it does, before its bot is: for ``start_afresh``."""
    for bot in Bot.objects.filter(pk=bot_id, dry_run=True, paper_broker=PaperBroker.VENUE):
        list(Account.objects.select_for_update(no_key=True).filter(name=account_name(bot.venue, is_live=False)))


def _is_newer(measured_at: datetime | None, position: Position | None) -> bool:
    """Return whether an account was measured after its position was last marked or traded."""
    if measured_at is None:
        return False
    return position is None or position.marked_at is None or measured_at >= position.marked_at


def reset(account_names: Collection[str], *, actor: str, now: datetime, reason: str = "") -> None:
    """Set new baselines for these venue accounts, and forget the streaks of the bots that trade on them.

    An account whose equity is not known now gets its baselines with the next measurement; until then its entries are denied.
    """
    with joined_unit():
        accounts = Account.objects.select_for_update(no_key=True).filter(name__in=account_names, bot=None)
        for account in accounts.order_by("name"):
            equity_usd = account.equity_usd if is_fresh(account.measured_at, now) else None
            _set_baselines(account, equity_usd, actor=actor, reason=reason, now=now)
            books = Position.objects.filter(bot__venue=account.venue, is_live=account.is_live)
            _forget_streaks(list(books.values_list("bot_id", flat=True)), account.is_live, actor=actor, reason=reason)


def reset_on_release(sender: Any, *, scope: str, reason: str, actor: str, **_: Any) -> None:
    """Receive ``kill_switch_released``: a release of everything or of a venue sets new baselines for live, in its transaction."""
    from django.utils import timezone

    accounts = Account.objects.filter(is_live=True, bot=None)
    if scope.startswith("venue:"):
        accounts = accounts.filter(venue=scope.removeprefix("venue:"))
    elif scope != GLOBAL:
        return
    names = list(accounts.values_list("name", flat=True))
    reset(names, actor=actor, now=timezone.now(), reason=f"released: {reason}")


def move_baselines(account: Account, amount_usd: Decimal) -> None:
    """Let a deposit (above zero) or a withdrawal (below) be neither gain nor loss. The account is locked by the caller.

    A paper bot's account is as good as measured again: its cash is a figure of ours.
    """
    names = ["day_start_equity_usd", "peak_equity_usd"]
    if account.bot_id is not None:
        names += ["equity_usd", "cash_usd"]
    for name in names:
        value = getattr(account, name)
        setattr(account, name, None if value is None else value + amount_usd)
    account.save(update_fields=names)


def move_paper_baselines(bot: Bot, amount_usd: Decimal) -> None:
    """Let a change of a paper bot's starting cash be neither gain nor loss. The bot is locked by the caller."""
    for account in Account.objects.select_for_update(no_key=True).filter(bot=bot):
        move_baselines(account, amount_usd)


def _set_baselines(account: Account, equity_usd: Decimal | None, *, actor: str, reason: str, now: datetime) -> None:
    """Set both baselines to ``equity_usd``; None: with the next measurement. Nothing happens when they are there already."""
    before = (account.day_start_equity_usd, account.peak_equity_usd)
    if before == (equity_usd, equity_usd) and account.day == utc_day(now):
        return
    record(
        OperatorEventRecord(
            actor=actor,
            action="account_baselines_reset",
            object=f"account:{account.name}",
            old=_shown(*before),
            new=_shown(equity_usd, equity_usd),
            reason=reason,
        )
    )
    account.day = utc_day(now)
    account.day_start_equity_usd = account.peak_equity_usd = equity_usd
    account.reset_at = now
    fields = ["day", "day_start_equity_usd", "peak_equity_usd", "reset_at"]
    if account.bot_id is not None and equity_usd is not None:
        # The next day must not begin with what was measured before the reset.
        account.equity_usd = equity_usd
        fields.append("equity_usd")
    account.save(update_fields=fields)


def _shown(day_start_usd: Decimal | None, peak_usd: Decimal | None) -> str:
    return canonical_json({"day_start_equity_usd": day_start_usd, "peak_equity_usd": peak_usd})


def _forget_streaks(bot_ids: Collection[int], is_live: bool, *, actor: str, reason: str) -> None:
    """Set losses and rejections in a row back to none, with an audit row for each bot that had some. Locks the bots."""
    list(Bot.objects.select_for_update(no_key=True).filter(pk__in=bot_ids).order_by("pk").values_list("pk"))
    books = Position.objects.filter(bot_id__in=bot_ids, is_live=is_live).select_related("bot").order_by("bot_id")
    for book in books:
        before = {name: getattr(book, name) for name in STREAKS}
        if not any(before.values()):
            continue
        after = dict.fromkeys(STREAKS, 0)
        Position.objects.filter(pk=book.pk).update(**after)
        record(
            OperatorEventRecord(
                actor=actor,
                action="bot_streaks_reset",
                object=f"bot:{book.bot_id} {book.bot.name}",
                old=canonical_json(before),
                new=canonical_json(after),
                reason=reason,
            )
        )
