"""What is used of the limits: of each venue's account, and of the bots whose limits are the fullest."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from bots.accounts import AccountBooks, account_name, load_account_books
from bots.admin.limit_bars import LimitBar, bars_of
from bots.batch import RECENT, BotBooks, load_books
from bots.exposure import gather, gather_live
from bots.market_data.base import MarketDataError
from bots.markets import Moment
from bots.models import Account, Bot, BotStatus
from safety.intents import Exposure, OrderIntent, OrderType, Side
from safety.limit_usage import Usage, usage
from safety.limits import LimitBook

BOTS_MAX = 200
FULLEST_SHOWN = 10
#: What all bots of an account fill up together.
SHARED = ("Rate, the account", "Resting orders, account", "All positions together", "Loss today", "Loss from the peak")


@dataclass(frozen=True, slots=True)
class LimitsInUse:
    """What is used of the limits. ``unknown`` are sentences on figures that nobody knows: their controls deny entries."""

    accounts: dict[str, list[LimitBar]] = field(default_factory=dict)
    fullest: list[LimitBar] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    bots_read: int = 0
    left_out: int = 0


def limits_in_use(now: datetime) -> LimitsInUse:
    """Return what is used of the limits as of now, read without locks."""
    current = Bot.objects.exclude(status=BotStatus.ARCHIVED)
    numbers = list(current.order_by("dry_run", "status", "pk").values_list("pk", flat=True)[: BOTS_MAX + 1])
    left_out = current.count() - BOTS_MAX if len(numbers) > BOTS_MAX else 0
    books = load_books(numbers[:BOTS_MAX], now - RECENT)
    limits, moment, shared = LimitBook.read(list(books)), Moment(now), _Accounts(now)
    found = LimitsInUse(bots_read=len(books), left_out=left_out)
    bars: list[LimitBar] = []
    for one in books.values():
        exposure = _exposure(one, moment, shared, now)
        if isinstance(exposure, str):
            found.unknown.append(f"{one.bot.name}: {exposure}")
            continue
        is_live = one.bot.is_live
        limit_set = limits.for_bot(one.bot.pk, is_live=is_live)
        used = usage(exposure, limit_set, is_live=is_live)
        own = bars_of(used, limit_set, who=one.bot.name)
        if one.bot.trades_at_venue:
            _note_account(found, account_name(one.bot.venue, is_live=is_live), own)
            own = [bar for bar in own if bar.usage.title not in SHARED]
        bars += own
        found.unknown.extend(_unknown(one.bot.name, used))
    found.fullest.extend(_fullest(bars))
    return found


def _fullest(bars: Iterable[LimitBar]) -> list[LimitBar]:
    known = [bar for bar in bars if bar.usage.share]
    return sorted(known, key=lambda bar: (-(bar.usage.share or 0), bar.who, bar.usage.title))[:FULLEST_SHOWN]


def _unknown(name: str, used: Iterable[Usage]) -> list[str]:
    """Return in one sentence which of a bot's figures nobody knows; what is switched off is nobody's matter."""
    titles = [row.title.lower() for row in used if row.used is None]
    return [f"{name}: {', '.join(titles)}"] if titles else []


def _note_account(found: LimitsInUse, name: str, bars: Iterable[LimitBar]) -> None:
    """Note an account's own bars once, by the first bot that trades on it."""
    title = f"{name.removesuffix('-paper')} ({'paper account' if name.endswith('-paper') else 'live'})"
    found.accounts.setdefault(title, [bar for bar in bars if bar.usage.title in SHARED])


class _Accounts:
    """The venues' accounts, each read once for a page."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._known: dict[str, AccountBooks | None] = {}

    def of(self, bot: Bot) -> AccountBooks | None:
        """Return the account that a bot shares, or None while it was never measured."""
        name = account_name(bot.venue, is_live=bot.is_live)
        if name not in self._known:
            try:
                self._known[name] = load_account_books(name, self._now - RECENT)
            except Account.DoesNotExist:
                self._known[name] = None
        return self._known[name]


def _exposure(books: BotBooks, moment: Moment, shared: _Accounts, now: datetime) -> Exposure | str:
    """Return what the gate would know of a bot now, or why nothing is known."""
    bot = books.bot
    try:
        market = moment.market(bot.venue, bot.symbol)
    except MarketDataError as error:
        return str(error)
    if not bot.trades_at_venue:
        return gather(books, _probe(bot, now), market, now=now)
    account = shared.of(bot)
    if account is None:
        return f"the account at {bot.venue} was never measured"
    return gather_live(books, account, _probe(bot, now), market, now=now)


def _probe(bot: Bot, now: datetime) -> OrderIntent:
    """Return an order that nobody sends: the exposure is read as for an entry."""
    return OrderIntent(
        client_order_id="",
        bot_id=bot.pk,
        venue=bot.venue,
        symbol=bot.symbol,
        side=Side.BUY,
        type=OrderType.MARKET,
        quantity=Decimal(1),
        limit_price=None,
        reduce_only=False,
        is_live=bot.is_live,
        created_at=now,
        leg="page",
        reason="",
        actor="",
    )
