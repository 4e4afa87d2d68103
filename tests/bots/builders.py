"""A trading floor for tests: a market that the test moves by hand, strategies that do what the test says, and a worker."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from audit.log import unit
from audit.models import OperatorEvent, OrderEvent
from bots import batch, bot_params, decisions, executor, manager, thoughts, tick
from bots.market_data import feeds
from bots.market_data.base import CandleSeries, MarketDataError, Traded, UnknownSymbolError, price_above_zero
from bots.markets import market_for
from bots.models import Bot, Order, Position
from bots.order_ids import random_order_id
from bots.strategies import registry
from bots.strategies.base import CancelProposal, PlannedLeg, Proposal, StrategyView
from bots.strategies.ladder import PlansOneEntry
from bots.strategies.schema import TIMEFRAME, ParamSchema
from bots.tick import tick_batch
from bots.workers.leases import SHARD_COUNT, Fence, LeaseHolder, shard_lease
from bots.workers.schedule import DueTick, latest_due
from safety.controls.base import seconds_since
from safety.intents import InstrumentRules, MarketStatus, OrderIntent, OrderType, Quote, Side

VENUE = "replay"
#: Its fees are Kraken's: 0.25 % maker, 0.40 % taker. SPY's are zero.
SYMBOL = "BTC-PERP"

#: So many candles of a minute the floor gives: enough to judge a market by.
CANDLES = 300

Script = Callable[[StrategyView], list[Proposal | CancelProposal]]


@dataclass
class ScriptedFeed:
    """A feed whose market stands where the test put it. It takes the place of the replay feed at the edge of the house."""

    venue: str = VENUE
    bid: Decimal = Decimal("99.99")
    ask: Decimal = Decimal("100.01")
    quote_age_s: int = 0
    low: Decimal = Decimal("99.99")
    high: Decimal = Decimal("100.01")
    volume: Decimal | None = None
    lot: Decimal = Decimal("0.001")
    notional_min: Decimal = Decimal(1)
    status: MarketStatus = MarketStatus.OPEN
    broken: Exception | None = None
    #: When a market that keeps hours opens again; None: it is open.
    opens_at: datetime | None = None
    #: When an order for the day ends; None: orders rest on.
    ends_at: datetime | None = None
    #: What to do before a quote is given; and the kind of quote to give.
    quote_type: type[Quote] = Quote
    #: How many candles there are, how long ago the last one closed, and what is done to them before they are given.
    candle_count: int = CANDLES
    candles_age_s: int = 60
    bend: Callable[[CandleSeries], CandleSeries] | None = None
    asked_since: list[datetime] = field(default_factory=list)

    def move_to(self, bid: str, ask: str) -> None:
        """Let the market stand at these prices, and have traded at them."""
        self.bid, self.ask = Decimal(bid), Decimal(ask)
        self.low, self.high = self.bid, self.ask

    def symbols(self) -> tuple[str, ...]:
        return (SYMBOL, "SPY")

    def timeframes(self, symbol: str) -> tuple[str, ...]:
        return ("1m",)

    def rules(self, symbol: str) -> InstrumentRules:
        if symbol not in self.symbols():
            raise UnknownSymbolError(f"there is no symbol {symbol}")
        return InstrumentRules(VENUE, symbol, "USD", Decimal("0.01"), self.lot, self.lot, self.notional_min)

    def quote(self, symbol: str, now: datetime) -> Quote:
        if self.broken is not None:
            raise self.broken
        return self.quote_type(VENUE, symbol, self.bid, self.ask, now - timedelta(seconds=self.quote_age_s), VENUE)

    def mark(self, symbol: str, now: datetime) -> Decimal:
        return price_above_zero(self.quote(symbol, now).bid, symbol)

    def candles(self, symbol: str, timeframe: str, now: datetime, count_max: int) -> CandleSeries:
        # An ordinary quiet market, so that the intelligence layer has nothing against it wherever the test moves the price.
        bars = np.arange(self.candle_count)
        closed_at = int(now.timestamp()) - self.candles_age_s
        opened_at = (bars.astype(np.int64) - self.candle_count) * 60 + closed_at
        close = float(self.bid) * (1 + 0.0005 * np.sin(bars * 0.7))
        open_ = np.concatenate([close[:1], close[:-1]])
        high, low = np.maximum(open_, close) * 1.0002, np.minimum(open_, close) * 0.9998
        volume = np.full(self.candle_count, 100.0)
        series = CandleSeries(VENUE, symbol, timeframe, opened_at, open_, high, low, close, volume)
        return series if self.bend is None else self.bend(series)

    def traded(self, symbol: str, since: datetime, until: datetime) -> Traded | None:
        if self.broken is not None:
            raise self.broken
        self.asked_since.append(since)
        return None if since >= until else Traded(self.low, self.high, self.volume)

    def market_status(self, symbol: str, now: datetime) -> MarketStatus:
        return self.status

    def bar_s(self, symbol: str) -> Decimal:
        return Decimal(60)

    def quote_age_max_s(self, symbol: str) -> Decimal:
        return Decimal(12)

    def trading_s(self, symbol: str, since: datetime, until: datetime) -> Decimal:
        return seconds_since(since, until)

    def session_s(self, symbol: str) -> Decimal:
        return Decimal(86_400)

    def day_ends(self, symbol: str, made_at: datetime) -> datetime | None:
        return self.ends_at

    def closed_until(self, symbol: str, now: datetime) -> datetime | None:
        return self.opens_at


class ScriptedStrategy(PlansOneEntry):
    """A strategy that does what its script says; without one, nothing."""

    title = "Scripted"
    summary = "Does what a test says."
    schema = ParamSchema((TIMEFRAME,))

    def __init__(self, key: str, script: Script) -> None:
        self.key = key
        self.script = script
        self.views: list[StrategyView] = []

    def warmup_bars(self, params: dict[str, Any]) -> int:
        return 1

    def largest_leg_usd(self, params: dict[str, Any], capital_usd: Decimal) -> Decimal:
        return capital_usd

    def ladder(self, params: dict[str, Any], capital_usd: Decimal) -> tuple[PlannedLeg, ...]:
        return (PlannedLeg("base", capital_usd),)

    def propose(self, view: StrategyView) -> list[Proposal | CancelProposal]:
        self.views.append(view)
        return self.script(view)


class Floor:
    """The market and the strategies of one test."""

    def __init__(self, feed: ScriptedFeed, monkeypatch: pytest.MonkeyPatch) -> None:
        self.feed = feed
        self._monkeypatch = monkeypatch

    def strategy(self, key: str, script: Script = lambda view: []) -> ScriptedStrategy:
        """Register a strategy for the length of the test."""
        strategy = ScriptedStrategy(key, script)
        self._monkeypatch.setitem(registry._strategies, key, strategy)
        return strategy


@pytest.fixture
def floor(monkeypatch: pytest.MonkeyPatch) -> Floor:
    """Return a floor whose market replaces the recorded one."""
    feed = ScriptedFeed()
    monkeypatch.setattr(feeds, "_REPLAY", feed)
    forget_process_memory()
    return Floor(feed, monkeypatch)


def forget_process_memory() -> None:
    """Forget what a worker process keeps in mind between ticks, as a new process would."""
    batch._hold_offs.clear()
    bot_params.forget()
    decisions.forget()
    thoughts.forget()
    tick._logged.clear()


class Worker:
    """A worker with the leases of every shard."""

    def __init__(self, name: str = "worker", ttl_s: float = 5.0) -> None:
        self.leases = LeaseHolder(name, ttl_s)
        self.leases.claim([shard_lease(shard) for shard in range(SHARD_COUNT)], SHARD_COUNT)

    @property
    def fence(self) -> Fence:
        """Return the fence of everything held."""
        return self.leases.fence()

    def tick(self, *bots: Bot, now: datetime | None = None, due_at: datetime | None = None) -> None:
        """Tick these bots in one batch, each at its due time or at ``due_at``."""
        now = now or timezone.now()
        due = [DueTick(bot.pk, due_at or latest_due(bot.pk, bot.poll_seconds, now)) for bot in bots]
        tick_batch(due, self.fence, now)


def make_bot(name: str = "bot", *, running: bool = True, **changes: Any) -> Bot:
    """Make a bot through the manager, running unless told otherwise."""
    fields: dict[str, Any] = {
        "venue": VENUE, "symbol": SYMBOL, "strategy": "smart_dca", "capital_usd": Decimal(1000), "params": {},
        "poll_seconds": 1, "paper_equity_usd": Decimal(10_000),
    }  # fmt: skip
    bot = manager.create(manager.NewBot(name=name, **{**fields, **changes}), actor="test")
    return manager.start(bot.pk, actor="test") if running else bot


def buy(quantity: str, leg: str = "base", limit: str | None = None) -> Proposal:
    """Return a proposal to buy."""
    return _proposal(Side.BUY, quantity, leg, limit)


def sell(quantity: str, leg: str = "exit", limit: str | None = None) -> Proposal:
    """Return a proposal to sell, reduce-only."""
    return replace(_proposal(Side.SELL, quantity, leg, limit), reduce_only=True)


def _proposal(side: Side, quantity: str, leg: str, limit: str | None) -> Proposal:
    kind = OrderType.MARKET if limit is None else OrderType.LIMIT
    return Proposal(
        side, kind, Decimal(quantity), leg, f"{leg} by the script", None if limit is None else Decimal(limit)
    )


def intent_for(bot: Bot, side: Side, quantity: str, limit: str | None = None, **changes: Any) -> OrderIntent:
    """Return an intent of this bot, with changes."""
    intent = OrderIntent(
        client_order_id=random_order_id("x"),
        bot_id=bot.pk,
        venue=bot.venue,
        symbol=bot.symbol,
        side=side,
        type=OrderType.MARKET if limit is None else OrderType.LIMIT,
        quantity=Decimal(quantity),
        limit_price=None if limit is None else Decimal(limit),
        reduce_only=side == Side.SELL,
        is_live=bot.is_live,
        created_at=timezone.now(),
        leg="leg",
        reason="the test wants it",
        actor="test",
    )
    return replace(intent, **changes)


def submit(intent: OrderIntent, now: datetime | None = None) -> executor.Submission:
    """Commit one intent through the executor, as the manager does."""
    now = now or timezone.now()
    with unit():
        books = batch.locked_books(Bot(pk=intent.bot_id), now)
        market = market_for(intent.venue, intent.symbol, now)
        return executor.submit(intent, books, market, executor.Desk.read([intent.bot_id]))


def trade(bot: Bot, side: Side, quantity: str, limit: str | None = None, **changes: Any) -> executor.Submission:
    """Commit one order of this bot through the executor."""
    return submit(intent_for(bot, side, quantity, limit, **changes))


def match(order: Order, now: datetime) -> Order:
    """Let the market meet a resting order, as a tick does."""
    with unit():
        books = batch.load_books([order.bot_id or 0], now - batch.RECENT, lock=True)[order.bot_id or 0]
        stored = next(one for one in books.open_orders if one.pk == order.pk)
        since = stored.matched_until or now
        return executor.match(stored, books, market_for(order.venue, order.symbol, now, since=since))


def position_of(bot: Bot, *, is_live: bool = False) -> Position:
    """Return the bot's stored position in one book."""
    return Position.objects.get(bot=bot, is_live=is_live)


def events_of(order: Order) -> list[str]:
    """Return the names of an order's audit rows, oldest first."""
    rows = OrderEvent.objects.filter(client_order_id=order.client_order_id).order_by("id")
    return list(rows.values_list("event", flat=True))


def actions_on(bot: Bot) -> list[tuple[str, str, str, str]]:
    """Return what operators did to a bot, oldest first: action, actor, old and new."""
    rows = OperatorEvent.objects.filter(object__startswith=f"bot:{bot.pk} ").order_by("id")
    return list(rows.values_list("action", "actor", "old", "new"))


def blocks_of(bot: Bot) -> list[str]:
    """Return the codes of what the bot's page says it is blocked by."""
    bot.tick.refresh_from_db()
    return [block["code"] for block in bot.tick.blocked_by]


def no_market(message: str = "the feed is out") -> MarketDataError:
    """Return the error of a feed that cannot answer."""
    return MarketDataError(message)
