"""Accounts: what the bots that share a venue's key have and owe together, and the baselines that losses are judged by.

A built-in paper bot is an account of its own. Whoever claims an order on a venue's account holds its row's lock, which comes
before the bots' locks; a paper bot's own account is guarded by its bot's lock.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from django.db.models import Q

from bots.batch import AccountFigures, RecentOrder, load_orders, open_among
from bots.models import Account, AccountSync, AssetBaseline, Bot, Difference, Fill, Order, PaperBroker, Position
from bots.order_states import OPEN_STATES
from bots.reconciliation.compare import assets_of
from bots.reconciliation.facts import externals_of
from safety.intents import Quote, Side

#: A measurement that is older says nothing of what the account is worth now.
FRESH_FOR = timedelta(seconds=60)
#: Venues that set no flags against an account: there is nothing that could be unknown, and no exit has to wait for it.
WITHOUT_FLAGS = frozenset({"kraken"})
#: The venue's clock and ours may differ: what it says happened so long before a measurement may have come after it.
CLOCK_MARGIN = timedelta(seconds=5)


def account_name(venue: str, *, is_live: bool) -> str:
    """Return the name of the account that a venue's key stands for; the key of a venue's paper account is another one."""
    return venue if is_live else f"{venue}-paper"


def paper_account_name(bot_id: int) -> str:
    """Return the name of the account that a built-in paper bot is by itself."""
    return f"paper:{bot_id}"


@dataclass(frozen=True, slots=True)
class Baselines:
    """What losses are judged by, in USD; None: not known."""

    day_start_usd: Decimal | None = None
    peak_usd: Decimal | None = None


def baselines(account: Account | AccountFigures | None, today: date) -> Baselines:
    """Return the baselines that hold on the UTC day ``today``.

    On a day that has not been measured yet the last known equity is what the day began with. A clock that was set back
    changes nothing: the later day's figures go on.
    """
    if account is None:
        return Baselines()
    is_new_day = account.day is not None and account.day < today
    return Baselines(account.equity_usd if is_new_day else account.day_start_equity_usd, account.peak_equity_usd)


def utc_day(now: datetime) -> date:
    """Return the UTC day of a moment."""
    return now.astimezone(UTC).date()


def is_fresh(measured_at: datetime | None, now: datetime) -> bool:
    """Return whether a figure of that moment may still be relied on. One from further in the future than a second may not."""
    return measured_at is not None and -timedelta(seconds=1) <= now - measured_at <= FRESH_FOR


@dataclass(slots=True)
class AccountBooks:
    """One account with everything that its bots hold and have on order.

    ``bots`` are those that trade it or hold something on it, by id; ``positions`` those of its book that hold something;
    ``orders`` its orders that are open or recent, oldest first. ``externals`` are open orders of others, ``bought`` what others
    bought there since it was armed, by asset, with the last price; ``differences`` what is not settled about it; ``sync`` says
    how far its reconciliation has come, None before the first round.
    """

    account: Account
    bots: dict[int, Bot] = field(default_factory=dict)
    positions: list[Position] = field(default_factory=list)
    orders: list[Order | RecentOrder] = field(default_factory=list)
    externals: list[Order] = field(default_factory=list)
    bought: dict[str, tuple[Decimal, Decimal | None]] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    sync: AccountSync | None = None

    @property
    def open_orders(self) -> list[Order]:
        """Return the orders that have not ended."""
        return open_among(self.orders)

    def positions_in(self, symbol: str) -> list[Position]:
        """Return what the account's bots hold in one symbol."""
        return [one for one in self.positions if self.bots[one.bot_id].symbol == symbol]

    def executions(self, symbol: str, since: datetime) -> int:
        """Return how many orders in ``symbol`` that were sent since then executed, or may yet."""
        account = self.account
        sent = Order.objects.filter(
            venue=account.venue, symbol=symbol, is_live=account.is_live, submitting_at__gte=since
        )
        return sent.filter(Q(status__in=sorted(OPEN_STATES)) | ~Q(filled_quantity=Decimal(0))).count()

    def cash_free_usd(self, quote: Quote, fee_rate: Decimal, now: datetime) -> Decimal | None:
        """Return the cash that no purchase has used or is waiting for, fees included; None when that is not known."""
        account, reserved = self.account, self._reserved_usd(quote, now)
        if account.cash_usd is None or reserved is None or not self.is_measured(now):
            return None
        return account.cash_usd - self._spent_since_measured() - reserved * (1 + fee_rate)

    def equity_usd(self, quote: Quote, now: datetime) -> Decimal | None:
        """Return the account's worth: as measured, with what the quote's symbol moved since its positions were marked."""
        if self.account.equity_usd is None or not self.is_measured(now):
            return None
        bid, total = price_or_none(quote.bid), self.account.equity_usd
        for position in self.positions_in(quote.symbol):
            if bid is None or position.mark_price is None:
                return None
            total += position.quantity * (bid - position.mark_price)
        return total

    def gross_exposure_usd(self, quote: Quote, now: datetime) -> Decimal | None:
        """Return what all bots hold at the market, and may still buy; other symbols than the quote's at their last mark."""
        total = self._reserved_usd(quote, now)
        for position in self.positions:
            price = self._price_of(self.bots[position.bot_id].symbol, quote, now)
            if price is None or total is None:
                return None
            total += position.quantity * price
        others = self._others_exposure_usd(quote)
        return None if total is None or others is None else total + others

    def bought_by_others(self, symbol: str) -> Decimal:
        """Return what others bought of a symbol's asset since the account was armed, less what they sold; never below zero."""
        quantity, _ = self.bought.get(assets_of(symbol)[0], (Decimal(0), None))
        return max(quantity, Decimal(0))

    def _others_exposure_usd(self, quote: Quote) -> Decimal | None:
        """Return what others bought since the account was armed, and may still buy; None when a price is not known."""
        total, base = Decimal(0), assets_of(quote.symbol)[0]
        for asset, (quantity, last_price) in self.bought.items():
            price = price_or_none(quote.bid) if asset == base else last_price
            if quantity > 0 and price is None:
                return None
            total += max(quantity, Decimal(0)) * (price or Decimal(0))
        for order in self.externals:
            if order.side != Side.BUY:
                continue
            _, last_price = self.bought.get(assets_of(order.symbol)[0], (Decimal(0), None))
            price = order.limit_price or (price_or_none(quote.ask) if order.symbol == quote.symbol else last_price)
            if price is None:
                return None
            total += order.remaining_quantity * price
        return total

    def is_measured(self, now: datetime) -> bool:
        """Return whether the account's figures are young enough to be relied on."""
        return is_fresh(self.account.measured_at, now)

    def flags(self, now: datetime) -> tuple[str, ...] | None:
        """Return what the venue has set against the account, or None when that is not known."""
        if self.account.venue in WITHOUT_FLAGS:
            return ()
        flags = self.account.flags
        return tuple(flags) if flags is not None and self.is_measured(now) else None

    def _price_of(self, symbol: str, quote: Quote, now: datetime) -> Decimal | None:
        if symbol == quote.symbol:
            return price_or_none(quote.bid)
        marks = (one for one in self.positions_in(symbol) if is_fresh(one.marked_at, now))
        return next((one.mark_price for one in marks), None)

    def _reserved_usd(self, quote: Quote, now: datetime) -> Decimal | None:
        """Return what every open purchase of the account may still cost without fees."""
        here = [order for order in self.open_orders if order.symbol == quote.symbol]
        total = reserved_usd(here, quote)
        for order in self.open_orders:
            if total is None or order.side != Side.BUY or order.symbol == quote.symbol:
                continue
            price = order.limit_price or self._price_of(order.symbol, quote, now)
            # No bot can buy for more than its capital, whatever the price is.
            total += self.bots[order.bot_id or 0].capital_usd if price is None else order.remaining_quantity * price
        return total

    def _spent_since_measured(self) -> Decimal:
        """Return what the bots bought since the measurement, with fees: cash that it still counts. Sales do not add to it."""
        if self.account.measured_at is None:
            return Decimal(0)
        since = self.account.measured_at - CLOCK_MARGIN
        buyers = [one.bot_id for one in self.positions if one.last_entry_at is not None and one.last_entry_at >= since]
        fills = Fill.objects.filter(
            order__bot_id__in=buyers, is_live=self.account.is_live, order__side=Side.BUY, filled_at__gte=since
        )
        return sum((fill.quantity * fill.price + fill.fee for fill in fills), Decimal(0)) if buyers else Decimal(0)


def price_or_none(price: Decimal) -> Decimal | None:
    """Return a price, or None for one that is not a finite number above zero."""
    return price if price.is_finite() and price > 0 else None


def value_usd(quantity: Decimal, quote: Quote) -> Decimal | None:
    """Return what a quantity is worth at the bid, or None when the bid is no price."""
    if not quantity:
        return Decimal(0)
    bid = price_or_none(quote.bid)
    return None if bid is None else quantity * bid


def reserved_usd(open_orders: Iterable[Order], quote: Quote) -> Decimal | None:
    """Return what these open purchases of the quote's symbol may still cost without fees, at their limit or at the offer.

    None: not known.
    """
    total = Decimal(0)
    for order in open_orders:
        if order.side != Side.BUY:
            continue
        price = price_or_none(quote.ask) if order.limit_price is None else order.limit_price
        if price is None:
            return None
        total += order.remaining_quantity * price
    return total


def reserved_on_account_usd(books: AccountBooks) -> Decimal:
    """Return what the account's resting purchases hold back at the venue: those with a limit, without fees."""
    resting = (one for one in books.open_orders if one.side == Side.BUY and one.limit_price is not None)
    return sum((one.remaining_quantity * (one.limit_price or 0) for one in resting), Decimal(0))


def load_account_books(name: str, since: datetime, *, lock: bool = False) -> AccountBooks:
    """Return a venue's account with the orders that are open, or were made or cancelled since ``since``.

    With ``lock`` its row is locked, and made when there is none: what is then read holds until the transaction ends, since every
    claim on the account takes this lock first. Raises Account.DoesNotExist without ``lock`` for an account that nobody traded.
    """
    account = _account(name, lock=lock)
    trades_here = Q(venue=account.venue, dry_run=False)
    if not account.is_live:
        trades_here = Q(venue=account.venue, dry_run=True, paper_broker=PaperBroker.VENUE)
    holders = Position.objects.filter(bot__venue=account.venue, is_live=account.is_live).exclude(quantity=Decimal(0))
    if not account.is_live:
        holders = holders.filter(bot__paper_broker=PaperBroker.VENUE)
    bots = {bot.pk: bot for bot in Bot.objects.filter(trades_here | Q(pk__in=holders.values("bot_id")))}
    orders = [one for one in load_orders(list(bots), since) if one.is_live == account.is_live]
    # After the orders, since a fill is booked without the account's lock: one that comes in between then counts twice, as an
    # open order and as held. The other way round it would not count at all, and a limit would let the next order pass.
    positions = list(holders)
    bots |= {bot.pk: bot for bot in Bot.objects.filter(pk__in={one.bot_id for one in positions} - bots.keys())}
    moved = AssetBaseline.objects.filter(account=account).exclude(external_quantity=Decimal(0))
    return AccountBooks(
        account,
        bots,
        positions,
        orders,
        externals=list(externals_of(account).filter(external_ended_at__isnull=True)),
        bought={one.asset: (one.external_quantity, one.external_price) for one in moved},
        differences=list(Difference.objects.filter(account=account, closed_at__isnull=True).order_by("id")),
        sync=getattr(account, "sync", None),
    )


def _account(name: str, *, lock: bool) -> Account:
    if not lock:
        return Account.objects.select_related("sync").get(name=name)
    venue, _, kind = name.partition("-")
    Account.objects.get_or_create(name=name, defaults={"venue": venue, "is_live": not kind})
    return Account.objects.select_for_update(no_key=True, of=("self",)).select_related("sync").get(name=name)
