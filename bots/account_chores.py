"""Measuring every account, and what follows from it. Paper and live are two chores, which fail apart."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from audit.log import unit
from bots import loss_triggers
from bots.accounts import FRESH_FOR, account_name, load_account_books, paper_account_name, reserved_on_account_usd
from bots.baselines import measured, move_baselines, paper_equity_usd
from bots.brokers.base import AccountReport, VenueError
from bots.brokers.factory import BrokerUnavailable, broker_for
from bots.market_data.base import Feed, MarketDataError, NoMarketError, UnknownSymbolError
from bots.market_data.feeds import feed_for
from bots.markets import Moment
from bots.models import Account, Bot, BotStatus, PaperBroker, Position
from bots.reconciliation import worth
from bots.workers.chores import chore
from safety.intents import InstrumentRules

log = logging.getLogger(__name__)
#: Reconciliation measures each account every 30 s; one that it did not reach for so long is measured by itself.
RECONCILED_WITHIN = timedelta(seconds=45)
DOLLARS = ("USD", "USDT", "USDC")
MEASURED_FIELDS = [
    "cash_usd", "equity_usd", "measured_at", "day", "day_start_equity_usd", "peak_equity_usd",
]  # fmt: skip


@chore(every_s=10)
def measure_paper_accounts(now: datetime) -> None:
    """Measure the account of every built-in paper bot, and pause those that have lost too much."""
    loss_triggers.pause_paper_losers(measure_paper(Moment(now)))
    loss_triggers.pause_the_rejected()
    loss_triggers.tell_of_losing_streaks(now)


@chore(every_s=10)
def measure_unreconciled(now: datetime) -> None:
    """Measure the accounts whose figures grow old. Usually none does: reconciliation measures with the balances that it reads."""
    measure_venue_accounts(now, older_than=RECONCILED_WITHIN)


def measure_venue_accounts(now: datetime, *, older_than: timedelta = timedelta(0)) -> None:
    """Measure every account at a venue that a bot trades on. One that does not answer keeps its old figures, and their age."""
    for venue, is_live in accounts_in_use():
        known = Account.objects.filter(pk=account_name(venue, is_live=is_live)).first()
        measured_at = None if known is None else known.measured_at
        if measured_at is not None and timedelta(0) <= now - measured_at < older_than:
            continue
        try:
            act_on_losses(measure_at_venue(venue, is_live=is_live))
        except (BrokerUnavailable, VenueError, MarketDataError) as error:
            log.warning("the account at %s could not be measured: %s", venue, error)


def act_on_losses(account: Account) -> None:
    """Do what a measured account at a venue asks for: live, its venue becomes reduce-only; on paper, its bots pause."""
    if account.is_live:
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


@dataclass(frozen=True, slots=True)
class Answer:
    """What a venue said of an account, and when it was asked."""

    report: AccountReport
    asked_at: datetime


def ask_account(venue: str, *, is_live: bool) -> Answer:
    """Ask a venue for its account. Must run outside any transaction. Raises BrokerUnavailable and VenueError."""
    # From before the question: an order that was filled meanwhile counts as not in the answer, which is the careful side.
    asked_at = timezone.now()
    return Answer(broker_for(venue, is_live=is_live).account(), asked_at)


def measure_at_venue(venue: str, *, is_live: bool, answer: Answer | None = None) -> Account:
    """Keep what a venue answered about its account, or ask it first. Must run outside any transaction.

    What our books and the venue differ about counts as it ought to be until it is explained: see bots/reconciliation. Raises
    BrokerUnavailable, VenueError, and MarketDataError when something that it holds can't be valued now.
    """
    answer = answer or ask_account(venue, is_live=is_live)
    report, name = answer.report, account_name(venue, is_live=is_live)
    known = Account.objects.filter(pk=name).first()
    figures = figures_of(report)
    # Prices are asked for before anything is locked, since a feed may go over the network.
    wanted = [figures, {} if known is None else worth.counted(known, figures)]
    prices = _prices_usd(venue, {asset for some in wanted for asset, one in some.items() if one}, answer.asked_at)
    cash_usd = sum((report.cash_usd.get(name, Decimal(0)) for name in DOLLARS), Decimal(0))
    with unit():
        books = load_account_books(name, answer.asked_at, lock=True)
        if _is_overtaken(books.account, answer.asked_at):
            return books.account
        # Only now, since a withdrawal that was counted meanwhile has moved what losses are judged by, too.
        counted = worth.counted(books.account, figures)
        equity_usd = _worth_usd(counted, prices)
        on_hold = sum((report.on_hold.get(name, Decimal(0)) for name in DOLLARS), Decimal(0))
        # Our own orders' share is counted at each claim; what the orders of others hold back can't be spent.
        others = max(on_hold - reserved_on_account_usd(books), Decimal(0))
        account = books.account
        if account.equity_usd is not None and not books.positions and worth.is_armed_anew(account):
            # What came or went while it was not in use is no gain or loss of ours. Deposits of that time are not looked through:
            # they would hide a loss, and withdrawals would look like one.
            move_baselines(account, equity_usd - account.equity_usd)
            account.equity_usd = equity_usd
        measured(account, equity_usd, cash_usd - others, answer.asked_at)
        account.flags = list(report.flags)
        account.worthless = sorted(asset for asset, one in counted.items() if one and prices[asset] is None)
        account.save(update_fields=[*MEASURED_FIELDS, "flags", "worthless"])
    return account


def figures_of(report: AccountReport) -> dict[str, Decimal]:
    """Return everything that an account holds, by asset, money too."""
    return {**report.holdings, **report.cash_usd}


def price_usd(venue: str, asset: str, now: datetime) -> Decimal | None:
    """Return what a unit of an asset is worth at the bid; None without a market in dollars. Raises MarketDataError."""
    if asset in DOLLARS:
        return Decimal(1)
    feed = feed_for(venue)
    names = [asset, *(f"{asset}/{name}" for name in DOLLARS)]
    listed = [rules for rules in (_rules(feed, one) for one in names) if rules is not None]
    if not listed:
        return None
    # One that may not be traded now still has a price: to leave it out would look like a loss.
    chosen = next((rules for rules in listed if rules.is_active), listed[0])
    try:
        return feed.mark(chosen.symbol, now)
    except NoMarketError:
        return None


def accounts_in_use() -> list[tuple[str, bool]]:
    """Return the accounts at venues that a bot trades on or holds something on: venue, and whether it is the live one."""
    holders = Position.objects.exclude(quantity=Decimal(0))
    holds_live = Q(pk__in=holders.filter(is_live=True).values("bot_id"))
    bots = Bot.objects.exclude(status=BotStatus.ARCHIVED)
    live = bots.filter(Q(dry_run=False) | holds_live).values_list("venue", flat=True).distinct()
    paper = bots.filter(dry_run=True, paper_broker=PaperBroker.VENUE).values_list("venue", flat=True).distinct()
    return [*((venue, True) for venue in sorted(set(live))), *((venue, False) for venue in sorted(set(paper)))]


def _is_overtaken(account: Account, asked_at: datetime) -> bool:
    """Return whether an account was measured with a younger answer already. One from the future was made by another clock."""
    return account.measured_at is not None and asked_at < account.measured_at <= timezone.now()


def _prices_usd(venue: str, assets: Iterable[str], now: datetime) -> dict[str, Decimal | None]:
    """Return what a unit of each of these is worth at the bid, None where it has no market. Raises MarketDataError."""
    return {asset: price_usd(venue, asset, now) for asset in assets}


def _worth_usd(figures: Mapping[str, Decimal], prices: Mapping[str, Decimal | None]) -> Decimal:
    """Return what these assets are worth. Raises MarketDataError for one whose price was not asked for."""
    total = Decimal(0)
    for asset, quantity in figures.items():
        if quantity and asset not in prices:
            raise MarketDataError(f"{asset} came to the account while it was valued: the next look values it.")
        total += quantity * (prices.get(asset) or Decimal(0))
    return total


def _rules(feed: Feed, symbol: str) -> InstrumentRules | None:
    """Return a symbol's rules, None where the venue surely has no such symbol. Raises MarketDataError while that is not known."""
    try:
        return feed.rules(symbol)
    except UnknownSymbolError:
        return None


def _bid(moment: Moment, bot: Bot) -> Decimal | None:
    try:
        return moment.mark(bot.venue, bot.symbol)
    except MarketDataError:
        return None


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
