"""Measuring every account, every ten seconds, and what follows from it. Paper and live are two chores, which fail apart."""

import logging
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from audit.log import unit
from bots import loss_triggers
from bots.accounts import FRESH_FOR, account_name, load_account_books, paper_account_name, reserved_on_account_usd
from bots.baselines import measured, paper_equity_usd
from bots.brokers.base import AccountReport, VenueError
from bots.brokers.factory import BrokerUnavailable, broker_for
from bots.market_data.base import Feed, MarketDataError
from bots.market_data.feeds import feed_for
from bots.markets import Moment
from bots.models import Account, Bot, BotStatus, PaperBroker, Position
from bots.workers.chores import chore

log = logging.getLogger(__name__)
DOLLARS = ("USD", "USDT", "USDC")
MEASURED_FIELDS = [
    "cash_usd", "equity_usd", "measured_at", "day", "day_start_equity_usd", "peak_equity_usd",
]  # fmt: skip


@chore(every_s=10)
def measure_paper_accounts(now: datetime) -> None:
    """Measure the account of every built-in paper bot, and pause those that have lost too much."""
    loss_triggers.pause_paper_losers(measure_paper(Moment(now)))
    loss_triggers.pause_the_rejected()


@chore(every_s=10)
def measure_venue_accounts(now: datetime) -> None:
    """Measure every account at a venue that a bot trades on. One that does not answer keeps its old figures, and their age."""
    for venue, is_live in accounts_in_use():
        try:
            account = measure_at_venue(venue, is_live=is_live)
        except (BrokerUnavailable, VenueError, MarketDataError) as error:
            log.warning("the account at %s could not be measured: %s", venue, error)
            continue
        if is_live:
            loss_triggers.stop_live_losses(account)
        else:
            loss_triggers.pause_paper_losers([account])


def measure_paper(moment: Moment) -> list[Account]:
    """Measure the built-in paper bots' accounts at the bid, make those that are missing, and return all that were measured.

    A bot that holds something without a market to value it in is left out: an old mark would be a guess.
    """
    bots = list(Bot.objects.filter(dry_run=True, paper_broker=PaperBroker.BUILT_IN).exclude(status=BotStatus.ARCHIVED))
    held = {one.bot_id for one in Position.objects.filter(is_live=False).exclude(quantity=Decimal(0))}
    # Asked before anything is locked: a feed may go over the network.
    bids = {(bot.venue, bot.symbol): _bid(moment, bot) for bot in bots if bot.pk in held}
    with transaction.atomic():
        accounts = {one.bot_id: one for one in Account.objects.select_for_update(no_key=True).filter(bot__isnull=False)}
        positions = {one.bot_id: one for one in Position.objects.filter(is_live=False)}
        found, changed = [], []
        for bot in bots:
            position, bid = positions.get(bot.pk), bids.get((bot.venue, bot.symbol))
            if bid is None and position is not None and position.quantity:
                continue
            account = accounts.get(bot.pk) or _new_account(bot)
            before = [getattr(account, name) for name in MEASURED_FIELDS]
            cash_usd = bot.paper_equity_usd + (Decimal(0) if position is None else position.cash_flow)
            measured(account, paper_equity_usd(bot, position, bid), cash_usd, moment.now)
            found.append(account)
            if _is_worth_a_write(before, account):
                changed.append(account)
        _write(changed)
    return found


def measure_at_venue(venue: str, *, is_live: bool) -> Account:
    """Ask a venue for its account and keep the answer. Must run outside any transaction.

    Raises BrokerUnavailable, VenueError, and MarketDataError when something that it holds can't be valued now.
    """
    # From before the question: an order that was filled meanwhile counts as not in the answer, which is the careful side.
    asked_at = timezone.now()
    report = broker_for(venue, is_live=is_live).account()
    cash_usd = sum((report.cash_usd.get(name, Decimal(0)) for name in DOLLARS), Decimal(0))
    equity_usd = cash_usd + _holdings_usd(venue, report, asked_at)
    with unit():
        books = load_account_books(account_name(venue, is_live=is_live), asked_at, lock=True)
        on_hold = sum((report.on_hold.get(name, Decimal(0)) for name in DOLLARS), Decimal(0))
        # Our own orders' share is counted at each claim; what the orders of others hold back can't be spent.
        others = max(on_hold - reserved_on_account_usd(books), Decimal(0))
        account = books.account
        measured(account, equity_usd, cash_usd - others, asked_at)
        account.flags = list(report.flags)
        account.save(update_fields=[*MEASURED_FIELDS, "flags"])
    return account


def accounts_in_use() -> list[tuple[str, bool]]:
    """Return the accounts at venues that a bot trades on or holds something on: venue, and whether it is the live one."""
    holders = Position.objects.exclude(quantity=Decimal(0))
    holds_live = Q(pk__in=holders.filter(is_live=True).values("bot_id"))
    bots = Bot.objects.exclude(status=BotStatus.ARCHIVED)
    live = bots.filter(Q(dry_run=False) | holds_live).values_list("venue", flat=True).distinct()
    paper = bots.filter(dry_run=True, paper_broker=PaperBroker.VENUE).values_list("venue", flat=True).distinct()
    return [*((venue, True) for venue in sorted(set(live))), *((venue, False) for venue in sorted(set(paper)))]


def _holdings_usd(venue: str, report: AccountReport, now: datetime) -> Decimal:
    """Return what the holdings are worth at the bid. What has no market in dollars counts for nothing. Raises MarketDataError."""
    feed, total = feed_for(venue), Decimal(0)
    known = set(feed.symbols())
    for asset, quantity in report.holdings.items():
        names = [asset, *(f"{asset}/{name}" for name in DOLLARS)]
        symbol = next((one for one in names if one in known), None) or next(
            (one for one in names if _is_listed(feed, one)), None
        )
        if symbol is not None and quantity:
            total += quantity * feed.quote(symbol, now).bid
    return total


def _is_listed(feed: Feed, symbol: str) -> bool:
    """Return whether the venue lists a symbol that it may not trade now. To leave it out would look like a loss."""
    try:
        feed.rules(symbol)
    except MarketDataError:
        return False
    return True


def _bid(moment: Moment, bot: Bot) -> Decimal | None:
    try:
        bid = moment.market(bot.venue, bot.symbol).view.quote.bid
    except MarketDataError:
        return None
    return bid if bid.is_finite() and bid > 0 else None


def _new_account(bot: Bot) -> Account:
    return Account(name=paper_account_name(bot.pk), venue=bot.venue, is_live=False, bot=bot)


def _is_worth_a_write(before: list[object], account: Account) -> bool:
    """Return whether a measurement says something new. An idle bot's is written now and then, so that its age stays low."""
    after = [getattr(account, name) for name in MEASURED_FIELDS]
    when = MEASURED_FIELDS.index("measured_at")
    last_at = before[when]
    if not isinstance(last_at, datetime) or before[:when] + before[when + 1 :] != after[:when] + after[when + 1 :]:
        return True
    return account.measured_at is None or not last_at <= account.measured_at < last_at + FRESH_FOR / 2


def _write(accounts: Iterable[Account]) -> None:
    Account.objects.bulk_create(
        accounts, update_conflicts=True, unique_fields=["name"], update_fields=MEASURED_FIELDS, batch_size=500
    )
