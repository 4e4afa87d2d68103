"""What happens by itself when an account loses too much, or a bot is rejected again and again. It never lowers anything.

A live account's loss makes its venue reduce-only; a paper bot's pauses that bot and never touches the trading state. Both happen
once: what is reducing or paused already is left alone, and a person's release or start sets new baselines.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal

from bots import manager, telling
from bots.accounts import Baselines
from bots.models import Account, Bot, BotStatus, PaperBroker, Position
from safety import kill_switch
from safety.controls.base import share_of, usd
from safety.intents import Level, LimitSet
from safety.limits import LimitBook

ACTOR = "automatic"


def breach(account: Account, limits: LimitSet) -> str:
    """Return which loss limit an account has reached, for people, or an empty text: also while something is not known.

    The controls deny the same at the same figure, and deny where it is not known.
    """
    if account.equity_usd is None:
        return ""
    return losses_reached(account.equity_usd, Baselines(account.day_start_equity_usd, account.peak_equity_usd), limits)


def losses_reached(equity_usd: Decimal, known: Baselines, limits: LimitSet) -> str:
    """Return which loss limit an equity has reached against its baselines, for people, or an empty text."""
    judged = (
        ("DAILY_LOSS", "since the UTC day began", known.day_start_usd, limits.daily_loss_pct),
        ("DRAWDOWN", "below its peak", known.peak_usd, limits.drawdown_pct),
    )
    texts = [
        f"{code}: the equity is {usd(base - equity_usd)} down {since}; the limit is {limit_pct} % of {usd(base)}"
        for code, since, base, limit_pct in judged
        # An account that had nothing has nothing to lose.
        if limit_pct is not None and base and base - equity_usd >= share_of(base, limit_pct)
    ]
    return "; ".join(texts)


def stop_live_losses(account: Account) -> None:
    """Make the venue of a live account reduce-only when it has lost too much. Must run outside any transaction."""
    limits = LimitBook.read([]).for_bot(0, is_live=True)
    if not breach(account, limits) or kill_switch.read_state(account.venue).level != Level.ACTIVE:
        return
    # Again, after the state was read: a release that came since the measurement brought new baselines along, and must hold.
    account.refresh_from_db()
    why = breach(account, limits)
    if not why:
        return
    kill_switch.engage(Level.REDUCING, why, actor=ACTOR, scope=f"venue:{account.venue}")
    telling.tell_live_loss(account, why)


def pause_paper_losers(accounts: Iterable[Account]) -> None:
    """Pause the running bots of these paper accounts that have lost too much."""
    losers = [one for one in accounts if _is_down(one)]
    bots = {one.pk: one for one in Bot.objects.filter(dry_run=True, status=BotStatus.RUNNING)}
    limits = LimitBook.read([bot_id for one in losers for bot_id in _bots_of(one, bots)])
    for account in losers:
        for bot_id in _bots_of(account, bots):
            why = breach(account, limits.for_bot(bot_id, is_live=False))
            if why:
                _pause(bot_id, f"{why}. It sells as before; start it to let it buy again", account)


def pause_the_rejected() -> None:
    """Pause the running bots whose last orders were rejected, as many in a row as the limit says."""
    books = Position.objects.filter(reject_streak__gt=0, bot__status=BotStatus.RUNNING).select_related("bot")
    rejected = [one for one in books if one.is_live == one.bot.is_live]
    limits = LimitBook.read([one.bot_id for one in rejected])
    for book in rejected:
        limit = limits.for_bot(book.bot_id, is_live=book.is_live).reject_streak_max
        if limit is not None and book.reject_streak >= limit:
            why = f"ERROR_STREAK: {book.reject_streak} orders in a row were rejected; the limit is {limit}"
            _pause(book.bot_id, f"{why}. See why on its orders, then start it again")


def tell_of_losing_streaks(now: datetime) -> None:
    """Tell of each running bot whose last deals all lost, when LOSING_STREAK begins to hold its entries."""
    books = Position.objects.filter(losing_streak__gt=0, bot__status=BotStatus.RUNNING).select_related("bot")
    losing = [one for one in books if one.is_live == one.bot.is_live]
    if not losing:
        return
    limits = LimitBook.read([one.bot_id for one in losing])
    for book in losing:
        found = limits.for_bot(book.bot_id, is_live=book.is_live)
        if found.losing_streak_max is None or book.losing_streak < found.losing_streak_max or book.last_loss_at is None:
            continue
        until = book.last_loss_at + timedelta(hours=float(found.losing_pause_h))
        if now < until:
            telling.tell_losing_streak(book.bot, book.losing_streak, until)


def _is_down(account: Account) -> bool:
    bases = (account.day_start_equity_usd, account.peak_equity_usd)
    return any(base is not None and account.equity_usd is not None and account.equity_usd < base for base in bases)


def _bots_of(account: Account, bots: dict[int, Bot]) -> list[int]:
    """Return which of these bots trade on a paper account: the one that it belongs to, or those at the venue's own."""
    if account.bot_id is not None:
        return [account.bot_id] if account.bot_id in bots else []
    venue_bots = (one for one in bots.values() if one.paper_broker == PaperBroker.VENUE)
    return [one.pk for one in venue_bots if one.venue == account.venue]


def _pause(bot_id: int, reason: str, lost: Account | None = None) -> None:
    # Asked again under its lock: a person may have stopped it meanwhile, or started it with new baselines, which must stay so.
    with manager.locked(bot_id) as bot:
        is_reset = lost is not None and Account.objects.filter(pk=lost.pk).exclude(reset_at=lost.reset_at).exists()
        if bot.status == BotStatus.RUNNING and not is_reset:
            manager.pause(bot_id, actor=ACTOR, reason=reason)
            telling.tell_paused(bot, reason, is_loss=lost is not None)
