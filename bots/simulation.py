"""Replays of history through the real path, in memory: candles, strategy, gate, paper broker, book.

Nothing is stored and nothing is sent: the only broker here is the paper broker, which cannot reach a venue. The strategy is
asked at the close of each bar, and what it wants is traded there, at the close with half the spread, slippage and fees. The
strategy sees every candle since the first one, where a running bot sees the last ``warmup_bars``; smoothed indicators then
differ in the fifth digit. What the intelligence layer takes away from a running bot it takes away here. Same input, same result.
"""

from collections import Counter, deque
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bots.books import Book, apply_fill
from bots.brokers.base import Execution, MarketView, RestingOrder
from bots.brokers.paper import PaperBroker
from bots.instruments import is_major
from bots.ledger import is_dust
from bots.market_data.base import CandleSeries, Floats, Traded
from bots.market_data.datasets import TIMEFRAME_S
from bots.order_states import OrderStatus
from bots.simulation_record import Record
from bots.simulation_values import (
    Conditions,
    OpenDeal,
    OpenSimulated,
    Scanning,
    SimulationResult,
    Trade,
    entries_open,
    quote_ticks,
)
from bots.strategies.base import (
    CancelProposal,
    PositionView,
    Proposal,
    Strategy,
    StrategyView,
)
from bots.strategies.common import FLOAT_SLACK, Scan
from bots.strategies.indicators import prefix
from safety.controls.base import StateReading
from safety.gate import evaluate
from safety.intents import Decision, Exposure, Level, MarketStatus, OrderIntent, Quote, ReadinessVerdict, Side

BOT_ID = 1
RATE_WINDOW = timedelta(minutes=1)
_ACTIVE = StateReading(Level.ACTIVE)
_DONE = frozenset({OrderStatus.FILLED, OrderStatus.REJECTED, OrderStatus.CANCELED})


def simulate(
    strategy: Strategy, params: dict[str, Any], candles: CandleSeries, conditions: Conditions, *, is_fast: bool = True
) -> SimulationResult:
    """Replay ``candles`` and return what the strategy would have done. ``params`` must be clean.

    ``is_fast`` lets a strategy that can do so skip the bars at which it has nothing to do; the result is the same.
    """
    scanner = strategy if is_fast and isinstance(strategy, Scanning) else None
    run = _Run(strategy, params, candles, conditions, scanner)
    run.play()
    return run.result()


@dataclass(slots=True)
class _Run:
    """One replay as it goes."""

    strategy: Strategy
    params: dict[str, Any]
    candles: CandleSeries
    conditions: Conditions
    scanner: Scanning | None
    book: Book = field(default_factory=Book)
    deal: OpenDeal | None = None
    open_orders: list[OpenSimulated] = field(default_factory=list)
    trades: list[Trade] = field(default_factory=list)
    denials: Counter[str] = field(default_factory=Counter)
    last_entry_at: datetime | None = None
    last_exit_at: datetime | None = None
    deals_closed: int = 0
    deals_won: int = 0
    orders_made: int = 0
    valued_until: int = 0
    held_back: int = 0
    sent_at: deque[datetime] = field(default_factory=deque)
    sent_keys: set[tuple[object, ...]] = field(default_factory=set)
    bid_ticks: NDArray[np.int64] = field(init=False)
    ask_ticks: NDArray[np.int64] = field(init=False)
    bid: Floats = field(init=False)
    ask: Floats = field(init=False)
    equity: Floats = field(init=False)
    broker: PaperBroker = field(init=False)
    bar_s: int = field(init=False)
    allowed: NDArray[np.bool_] | None = field(init=False)
    record: Record = field(init=False)

    def __post_init__(self) -> None:
        rules = self.conditions.rules
        self.bid_ticks, self.ask_ticks = quote_ticks(self.candles, rules, self.conditions.half_spread_bps)
        self.bid = self.bid_ticks.astype(np.float64) * np.float64(rules.tick_size)
        self.ask = self.ask_ticks.astype(np.float64) * np.float64(rules.tick_size)
        self.equity = np.empty(len(self.candles))
        self.broker = PaperBroker(self.conditions.fees)
        self.bar_s = TIMEFRAME_S[self.candles.timeframe]
        self.allowed = entries_open(self.candles, self.conditions)
        self.record = Record(self.conditions.equity_usd, self.conditions.equity_usd)

    def play(self) -> None:
        """Go through every bar at which something may happen."""
        bar, count = self._next(0), len(self.candles)
        while bar < count:
            self._see_until(bar)
            self._at_close(bar)
            bar = self._next(bar + 1)
        self._see_until(count)

    def result(self) -> SimulationResult:
        """Return the figures of the finished replay."""
        final = self.bid_ticks[-1] * self.conditions.rules.tick_size if len(self.candles) else Decimal(0)
        return SimulationResult(
            bars=len(self.candles),
            trades=tuple(self.trades),
            denials=dict(self.denials),
            equity_usd=self.equity,
            book=self.book,
            deals_closed=self.deals_closed,
            deals_won=self.deals_won,
            final_price=Decimal(final),
            held_back=self.held_back,
        )

    def _next(self, start: int) -> int:
        """Return the next bar to look at: every one, or where the strategy or a resting order may have something to do."""
        count = len(self.candles)
        if self.scanner is None or start >= count:
            return start
        holds = bool(start) and bool(self._position_view(start - 1).quantity)
        if self.book.quantity and not holds:
            # Dust: whether it counts as a position changes with the price, so look at every bar.
            return start
        scan = self._scan(start)
        return min([self.scanner.next_bar(scan), *(self._next_match(order, scan) for order in self.open_orders)])

    def _scan(self, start: int) -> Scan:
        deal, tick = self.deal, float(self.conditions.rules.tick_size)
        return Scan(
            candles=self.candles,
            bid=self.bid,
            ask=self.ask,
            start=start,
            params=self.params,
            average_price=float(self.book.cost / self.book.quantity) if self.book.quantity else None,
            peak_price=max(deal.peak_ticks, int(self.bid_ticks[start - 1])) * tick if deal else 0.0,
            legs=deal.legs if deal else 0,
            has_open_orders=bool(self.open_orders),
        )

    def _next_match(self, order: OpenSimulated, scan: Scan) -> int:
        limit = order.intent.limit_price
        if limit is None:
            return scan.start
        if order.intent.side == Side.BUY:
            reach = float(limit) * (1 + FLOAT_SLACK)
            return scan.first(lambda window: self.candles.low[window] <= reach)
        reach = float(limit) * (1 - FLOAT_SLACK)
        return scan.first(lambda window: self.candles.high[window] >= reach)

    def _see_until(self, bar: int) -> None:
        """Value the bars before ``bar``, in which nothing was traded, and remember the best bid of the open deal."""
        span = slice(self.valued_until, bar)
        if span.start >= bar:
            return
        cash = float(self.conditions.equity_usd + self.book.cash_flow)
        self.equity[span] = cash + float(self.book.quantity) * self.candles.close[span]
        self.record.note_equity(self.equity[span])
        if self.deal is not None:
            self.deal.peak_ticks = max(self.deal.peak_ticks, int(self.bid_ticks[span].max()))
        self.valued_until = bar

    def _at_close(self, bar: int) -> None:
        now = datetime.fromtimestamp(int(self.candles.opened_at[bar]) + self.bar_s, UTC)
        self.sent_keys.clear()
        while self.sent_at and self.sent_at[0] < now - RATE_WINDOW:
            self.sent_at.popleft()
        market = MarketView(now, self._quote(bar, now), self.conditions.rules)
        for order in tuple(self.open_orders):
            self._match(order, bar, market)
        for proposal in self.strategy.propose(self._view(bar, market)):
            if isinstance(proposal, CancelProposal):
                self._cancel(proposal, now)
            elif proposal.side == Side.BUY and self.allowed is not None and not self.allowed[bar]:
                self.held_back += 1
            else:
                self._submit(proposal, bar, market)

    def _quote(self, bar: int, now: datetime) -> Quote:
        rules = self.conditions.rules
        bid, ask = int(self.bid_ticks[bar]) * rules.tick_size, int(self.ask_ticks[bar]) * rules.tick_size
        return Quote(rules.venue, rules.symbol, bid, ask, now, "simulation")

    def _view(self, bar: int, market: MarketView) -> StrategyView:
        return StrategyView(
            now=market.now,
            quote=market.quote,
            candles=prefix(self.candles, bar + 1),
            rules=market.rules,
            capital_usd=self.conditions.capital_usd,
            params=self.params,
            position=self._position_view(bar),
            deal=None if self.deal is None else self.deal.view(market.rules.tick_size),
            open_orders=tuple(order.view() for order in self.open_orders),
        )

    def _position_view(self, bar: int) -> PositionView:
        """Return the position as a strategy sees it: what is too small to sell is left out."""
        rules, times = self.conditions.rules, (self.last_entry_at, self.last_exit_at)
        bid = int(self.bid_ticks[bar]) * rules.tick_size
        if is_dust(self.book.quantity, bid, rules):
            return PositionView(Decimal(0), Decimal(0), *times)
        return PositionView(self.book.quantity, self.book.cost, *times)

    def _match(self, order: OpenSimulated, bar: int, market: MarketView) -> None:
        """Let a resting order meet what was traded in this bar; it was placed at the close of an earlier one."""
        volume = Decimal(str(self.candles.volume[bar]))
        low, high = Decimal(str(self.candles.low[bar])), Decimal(str(self.candles.high[bar]))
        traded = Traded(low, high, volume or None)
        view = MarketView(market.now, market.quote, market.rules, traded)
        report = self.broker.match(RestingOrder(order.intent, order.remaining, order.fills), view)
        self._book(order, report.executions, bar)
        self._note_filled(order, report.status, market.now)
        if report.status in _DONE:
            self.open_orders.remove(order)

    def _cancel(self, proposal: CancelProposal, now: datetime) -> None:
        self.open_orders = [one for one in self.open_orders if one.intent.client_order_id != proposal.client_order_id]
        self.sent_at.append(now)

    def _submit(self, proposal: Proposal, bar: int, market: MarketView) -> None:
        intent = self._intent(proposal, market.now)
        decision = self._decide(intent, market)
        if decision.permit is None:
            self.denials.update(decision.codes)
            return
        self.sent_at.append(market.now)
        self.sent_keys.add(_same_order_key(intent))
        order = OpenSimulated(intent, intent.quantity)
        report = self.broker.submit(intent, decision.permit, market)
        self._book(order, report.executions, bar)
        self._note_filled(order, report.status, market.now)
        if report.status not in _DONE:
            self.open_orders.append(order)

    def _decide(self, intent: OrderIntent, market: MarketView) -> Decision:
        exposure, limits, locks = self._exposure(intent, market), self.conditions.limits, self.conditions.live_locks
        if locks is not None:
            as_live = replace(
                exposure,
                locks=locks,
                readiness=ReadinessVerdict(market.now),
                live_fills=self.record.filled_orders,
                executions_today=self.record.filled_on[market.now.date()],
            )
            decision = evaluate(replace(intent, is_live=True), as_live, limits, _ACTIVE, now=market.now)
            if decision.permit is None:
                return decision
        # The permit for the order as it is: one for a live order would not do for the paper broker.
        return evaluate(intent, exposure, limits, _ACTIVE, now=market.now)

    def _intent(self, proposal: Proposal, now: datetime) -> OrderIntent:
        self.orders_made += 1
        rules = self.conditions.rules
        return OrderIntent(
            client_order_id=f"s{self.orders_made}",
            bot_id=BOT_ID,
            venue=rules.venue,
            symbol=rules.symbol,
            side=proposal.side,
            type=proposal.type,
            quantity=proposal.quantity,
            limit_price=proposal.limit_price,
            reduce_only=proposal.reduce_only,
            is_live=False,
            created_at=now,
            leg=proposal.leg,
            reason=proposal.reason,
            actor="simulation",
        )

    def _exposure(self, intent: OrderIntent, market: MarketView) -> Exposure:
        """Return what the gate judges by: the account is the bot's own, as for every built-in paper bot."""
        conditions, record, open_count = self.conditions, self.record, len(self.open_orders)
        reserved = sum((_reserved(order, market) for order in self.open_orders), Decimal(0))
        on_offer = (order.remaining for order in self.open_orders if order.intent.side == Side.SELL)
        held_usd, cash_usd = self.book.quantity * market.quote.bid, conditions.equity_usd + self.book.cash_flow
        equity_usd = cash_usd + held_usd
        day_start_usd = record.day_start_usd(self.candles, self.bar_s, self.equity[: self.valued_until], market.now)
        return Exposure(
            quote=market.quote,
            rules=market.rules,
            quote_age_max_s=conditions.limits.quote_age_s_max,
            allowed_symbols=frozenset({(market.rules.venue, market.rules.symbol)}),
            capital_usd=conditions.capital_usd,
            bot_committed_usd=self.book.cost + reserved,
            cash_free_usd=cash_usd - reserved * (1 + conditions.fees.taker),
            fee_rate=conditions.fees.taker,
            position_quantity=self.book.quantity,
            pending_exit_quantity=sum(on_offer, Decimal(0)),
            open_orders_bot=open_count,
            open_orders_account=open_count,
            sent_last_minute_bot=len(self.sent_at),
            sent_last_minute_account=len(self.sent_at),
            is_duplicate=_same_order_key(intent) in self.sent_keys,
            entries_held="",
            market_status=MarketStatus.OPEN,
            # It is looked at the very moment at which the last candle closes.
            candle_age_s=Decimal(0),
            candle_bar_s=Decimal(self.bar_s),
            is_major=is_major(market.rules.venue, market.rules.symbol),
            opposite_prices=tuple(
                order.intent.limit_price for order in self.open_orders if order.intent.side != intent.side
            ),
            unknown_on_symbol=0,
            reconciliation_open=(),
            recent_notionals_usd=tuple(record.notionals_usd),
            planned_leg_usd=self.strategy.largest_leg_usd(self.params, conditions.capital_usd),
            losing_streak=record.losing_streak,
            last_loss_at=record.last_loss_at,
            reject_streak=0,
            equity_usd=equity_usd,
            symbol_exposure_usd=held_usd + reserved,
            gross_exposure_usd=held_usd + reserved,
            day_start_equity_usd=equity_usd if day_start_usd is None else day_start_usd,
            peak_equity_usd=record.peak_usd,
            account_flags=(),
        )

    def _note_filled(self, order: OpenSimulated, status: OrderStatus, now: datetime) -> None:
        if status == OrderStatus.FILLED:
            self.record.note_filled(order.filled_notional, now)

    def _book(self, order: OpenSimulated, executions: tuple[Execution, ...], bar: int) -> None:
        intent = order.intent
        for execution in executions:
            if intent.side == Side.BUY:
                self._note_entry(order, execution)
            self.book = apply_fill(self.book, intent.side, execution.quantity, execution.price, execution.fee)
            order.remaining -= execution.quantity
            order.fills += 1
            order.filled_notional += execution.quantity * execution.price
            self.trades.append(
                Trade(bar, intent.side, intent.leg, intent.reason, execution, self._cost(intent, execution, bar))
            )
            if intent.side == Side.SELL:
                self._note_exit(execution)

    def _note_entry(self, order: OpenSimulated, execution: Execution) -> None:
        if self.deal is None:
            self.deal = OpenDeal(execution.filled_at, pnl_before=self.book.realised_pnl)
        self.deal.legs += order.fills == 0
        self.deal.bought_quantity += execution.quantity
        self.deal.bought_notional += execution.quantity * execution.price
        self.last_entry_at = execution.filled_at

    def _note_exit(self, execution: Execution) -> None:
        self.last_exit_at = execution.filled_at
        if self.deal is None or not is_dust(self.book.quantity, execution.price, self.conditions.rules):
            return
        self.deals_closed += 1
        self.deals_won += self.book.realised_pnl > self.deal.pnl_before
        self.record.note_deal(self.book.realised_pnl - self.deal.pnl_before, execution.filled_at)
        self.deal = None

    def _cost(self, intent: OrderIntent, execution: Execution, bar: int) -> Decimal:
        """Return how much worse than the middle a taker fared, in USD; 0 for a maker."""
        if execution.is_maker:
            return Decimal(0)
        ticks = int(self.bid_ticks[bar]) + int(self.ask_ticks[bar])
        gap = execution.price - ticks * self.conditions.rules.tick_size / 2
        return execution.quantity * (gap if intent.side == Side.BUY else -gap)


def _same_order_key(intent: OrderIntent) -> tuple[object, ...]:
    return intent.side, intent.type, intent.quantity, intent.limit_price


def _reserved(order: OpenSimulated, market: MarketView) -> Decimal:
    """Return what an open purchase may still cost, at its limit or at the offer."""
    if order.intent.side != Side.BUY:
        return Decimal(0)
    price = order.intent.limit_price
    return order.remaining * (market.quote.ask if price is None else price)
