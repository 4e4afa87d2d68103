"""The replay of history: figures by hand, the same result fast and slow, and books that add up."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bots.books import Book, apply_fill
from bots.brokers.base import FeeSchedule
from bots.market_data.base import CandleSeries
from bots.simulation import simulate
from bots.simulation_values import Conditions, Scanning, SimulationResult, Trade, quote_ticks
from bots.strategies import registry
from bots.strategies.base import CancelProposal, PlannedLeg, Proposal, Strategy, StrategyView
from bots.strategies.common import Scan
from bots.strategies.ladder import PlansOneEntry
from bots.strategies.schema import TIMEFRAME, ParamSchema
from safety.intents import LimitSet, OrderType, Side
from tests.bots.strategies.builders import RULES, T0, at, series
from tests.bots.strategies.test_every_strategy import CASES, QUICK, cut, walk

FEES = FeeSchedule(maker=Decimal("0.0025"), taker=Decimal("0.0040"))
#: The limits on the account are off: these tests are about the bot's own.
LIMITS = LimitSet(
    notional_usd_max=Decimal(5000),
    notional_usd_min={"replay": Decimal(1)},
    position_equity_pct=None,
    gross_equity_pct=None,
    daily_loss_pct=None,
    drawdown_pct=None,
    losing_streak_max=None,
)
# A few bars are too little history for the intelligence layer: what it takes away is in test_simulation_intelligence.py.
CONDITIONS = Conditions(Decimal(1000), Decimal(2000), RULES, FEES, LIMITS, Decimal(5), with_intelligence=False)
DCA = registry.get("smart_dca")
STEPS = st.lists(st.integers(-250, 250), min_size=1, max_size=150)
Script = dict[int, list[Proposal | CancelProposal]]


class Scripted(PlansOneEntry):
    """A strategy that wants given orders at given bars, whatever it sees."""

    key = "scripted"
    title = "Scripted"
    summary = ""
    schema = ParamSchema((TIMEFRAME,))

    def __init__(self, script: Script) -> None:
        self.script = script

    def warmup_bars(self, params: dict[str, Any]) -> int:
        return 1

    def largest_leg_usd(self, params: dict[str, Any], capital_usd: Decimal) -> Decimal:
        return capital_usd

    def propose(self, view: StrategyView) -> list[Proposal | CancelProposal]:
        return self.script.get(len(view.candles) - 1, [])


class Watched(PlansOneEntry):
    """A strategy as it is, with a record of every view that it was shown."""

    def __init__(self, strategy: Strategy) -> None:
        self.inner = strategy
        self.key, self.title, self.summary = strategy.key, strategy.title, strategy.summary
        self.schema = strategy.schema
        self.views: list[StrategyView] = []

    def warmup_bars(self, params: dict[str, Any]) -> int:
        return self.inner.warmup_bars(params)

    def largest_leg_usd(self, params: dict[str, Any], capital_usd: Decimal) -> Decimal:
        return self.inner.largest_leg_usd(params, capital_usd)

    def ladder(self, params: dict[str, Any], capital_usd: Decimal) -> tuple[PlannedLeg, ...]:
        return self.inner.ladder(params, capital_usd)

    def propose(self, view: StrategyView) -> list[Proposal | CancelProposal]:
        self.views.append(view)
        return self.inner.propose(view)

    def next_bar(self, scan: Scan) -> int:
        assert isinstance(self.inner, Scanning)
        return self.inner.next_bar(scan)


def buy(quantity: str, leg: str = "entry", limit: str | None = None) -> Proposal:
    price = None if limit is None else Decimal(limit)
    return Proposal(
        Side.BUY, OrderType.MARKET if limit is None else OrderType.LIMIT, Decimal(quantity), leg, "t", price
    )


def sell(quantity: str, leg: str = "exit", limit: str | None = None) -> Proposal:
    price = None if limit is None else Decimal(limit)
    type_ = OrderType.MARKET if limit is None else OrderType.LIMIT
    return Proposal(Side.SELL, type_, Decimal(quantity), leg, "t", price, reduce_only=True)


def scripted(script: Script, candles: CandleSeries, conditions: Conditions = CONDITIONS) -> SimulationResult:
    return simulate(Scripted(script), {"timeframe": "auto"}, candles, conditions)


def same(first: SimulationResult, second: SimulationResult) -> None:
    assert first.trades == second.trades
    assert first.book == second.book
    assert first.denials == second.denials
    assert (first.deals_closed, first.deals_won) == (second.deals_closed, second.deals_won)
    np.testing.assert_array_equal(first.equity_usd, second.equity_usd)


# --- figures by hand


def test_a_round_trip_by_hand() -> None:
    """Half a spread of 5 basis points and slippage of 2 around closes of 100 and 110; a taker's fee of 0.4 %.

    Buy: ask 100.05, with slippage 100.07001, up to the tick: 100.08. Sell: bid 109.945 down to 109.94, with slippage
    109.918012, down to 109.91.
    """
    candles = series([100.0, 100.0, 110.0])
    result = scripted({0: [buy("2")], 2: [sell("2")]}, candles)
    bought, sold = (trade.execution for trade in result.trades)
    assert (bought.price, bought.fee) == (Decimal("100.08"), Decimal("0.80064"))
    assert (sold.price, sold.fee) == (Decimal("109.91"), Decimal("0.87928"))
    assert result.book.realised_pnl == Decimal("19.66") - Decimal("0.80064") - Decimal("0.87928")
    assert result.book.quantity == 0
    assert result.book.cash_flow == result.book.realised_pnl
    assert (result.deals_closed, result.deals_won) == (1, 1)
    assert result.final_price == Decimal("109.94")


def test_a_trade_happens_when_its_bar_has_closed() -> None:
    result = scripted({1: [buy("1")]}, series([100.0] * 3))
    (trade,) = result.trades
    assert (trade.bar, trade.leg, trade.reason) == (1, "entry", "t")
    assert trade.execution.filled_at == at(2)


def test_equity_is_cash_and_position_at_the_close_of_each_bar() -> None:
    result = scripted({1: [buy("2")], 3: [sell("2")]}, series([100.0, 100.0, 120.0, 110.0, 500.0]))
    paid = 2 * 100.08 + 0.80064
    held = [2000 - paid + 2 * close for close in (120.0, 110.0)]
    # A bar is valued as it closes and trades after that: the purchase shows from its own bar on, the sale too.
    np.testing.assert_allclose(result.equity_usd[0], 2000)
    np.testing.assert_allclose(result.equity_usd[1], 2000 - paid + 200)
    np.testing.assert_allclose(result.equity_usd[2], held[0])
    np.testing.assert_allclose(result.equity_usd[3:], float(2000 + result.book.cash_flow))


def test_spread_and_slippage_are_counted_apart_from_fees() -> None:
    result = scripted({0: [buy("2")], 2: [sell("2")]}, series([100.0, 100.0, 110.0]))
    costs = [trade.cost_usd for trade in result.trades]
    # The middle is half-way between the quotes as rounded: 99.95 and 100.05; 109.94 and 110.06.
    assert costs == [2 * (Decimal("100.08") - 100), 2 * (Decimal("110.00") - Decimal("109.91"))]


def test_a_resting_buy_fills_as_maker_when_the_market_trades_through_it() -> None:
    candles = series([100.0] * 5, lows=[100.0, 100.0, 98.0, 97.99, 100.0], highs=[100.0] * 5)
    result = scripted({0: [buy("1", "so1", limit="98")]}, candles)
    (trade,) = result.trades
    assert trade.bar == 3, "a low at the limit is not through it"
    assert (trade.execution.price, trade.execution.is_maker) == (Decimal(98), True)
    assert trade.execution.fee == Decimal("0.245")
    assert trade.cost_usd == 0


def test_a_resting_order_is_not_filled_by_the_bar_in_which_it_was_placed() -> None:
    candles = series([100.0] * 3, lows=[90.0, 100.0, 100.0], highs=[100.0] * 3)
    assert scripted({0: [buy("1", "so1", limit="98")]}, candles).trades == ()


def test_a_resting_order_gets_a_tenth_of_each_bars_volume() -> None:
    candles = series([100.0] * 5, lows=[97.0] * 5, highs=[100.0] * 5, volume=4.0)
    result = scripted({0: [buy("1", "so1", limit="98")]}, candles)
    fills = [(trade.bar, trade.execution.quantity) for trade in result.trades]
    assert fills == [(1, Decimal("0.4")), (2, Decimal("0.4")), (3, Decimal("0.2"))]
    assert len({trade.execution.trade_id for trade in result.trades}) == 3


def test_a_bar_without_volume_sets_no_limit() -> None:
    candles = series([100.0] * 3, lows=[97.0] * 3, highs=[100.0] * 3, volume=0.0)
    (trade,) = scripted({0: [buy("1", "so1", limit="98")]}, candles).trades
    assert trade.execution.quantity == 1


def test_a_cancelled_order_is_gone() -> None:
    candles = series([100.0] * 5, lows=[100.0, 100.0, 100.0, 90.0, 90.0], highs=[100.0] * 5)
    script: Script = {0: [buy("1", "so1", limit="98")], 2: [CancelProposal("s1", "t")]}
    assert scripted(script, candles).trades == ()


# --- the gate stands in the way


@pytest.mark.parametrize(("quantity", "codes"), [("0.49", {}), ("0.51", {"NOTIONAL_ABOVE_MAX": 1})])
def test_an_entry_above_the_limit_is_denied_and_counted(quantity: str, codes: dict[str, int]) -> None:
    conditions = replace(CONDITIONS, limits=replace(LIMITS, notional_usd_max=Decimal(50)))
    result = scripted({0: [buy(quantity)]}, series([100.0] * 3), conditions)
    assert result.denials == codes
    assert len(result.trades) == (0 if codes else 1)


def test_every_code_of_a_denial_is_counted() -> None:
    conditions = replace(CONDITIONS, capital_usd=Decimal(10), equity_usd=Decimal(10))
    result = scripted({0: [buy("60")], 1: [buy("60")]}, series([100.0] * 3), conditions)
    assert result.denials == {"NOTIONAL_ABOVE_MAX": 2, "BOT_CAPITAL_EXCEEDED": 2, "INSUFFICIENT_FUNDS": 2}
    assert result.trades == ()
    np.testing.assert_array_equal(result.equity_usd, [10.0] * 3)


def test_the_bots_capital_holds_over_several_entries() -> None:
    result = scripted({0: [buy("6", "a")], 1: [buy("6", "b")]}, series([100.0] * 3))
    assert result.denials == {"BOT_CAPITAL_EXCEEDED": 1}


def test_resting_orders_count_against_capital() -> None:
    result = scripted({0: [buy("6", "a", limit="98")], 1: [buy("6", "b")]}, series([100.0] * 3))
    assert result.denials == {"BOT_CAPITAL_EXCEEDED": 1}


def test_the_same_order_twice_at_one_close_is_a_duplicate() -> None:
    result = scripted({0: [buy("1", "a"), buy("1", "b")], 1: [buy("1", "c")]}, series([100.0] * 3))
    assert result.denials == {"DUPLICATE_ORDER": 1}
    assert len(result.trades) == 2


def test_more_orders_than_the_rate_allows_are_denied() -> None:
    """Four sizes within a minute, three allowed; a minute later the next one passes again."""
    conditions = replace(CONDITIONS, limits=replace(LIMITS, rate_per_minute_bot=3))
    many: list[Proposal | CancelProposal] = [buy(f"0.{n}", f"l{n}") for n in range(1, 5)]
    result = scripted({0: many, 2: [buy("0.5", "later")]}, series([100.0] * 4), conditions)
    assert result.denials == {"RATE_LIMIT": 1}
    assert [trade.leg for trade in result.trades] == ["l1", "l2", "l3", "later"]


def test_a_sale_of_more_than_is_held_is_denied() -> None:
    result = scripted({0: [buy("1")], 1: [sell("1.5")]}, series([100.0] * 3))
    assert result.denials == {"INSUFFICIENT_FUNDS": 1}
    assert result.book.quantity == 1


def test_what_rests_for_sale_cannot_be_sold_again() -> None:
    result = scripted({0: [buy("1")], 1: [sell("1", "a", limit="120")], 2: [sell("1", "b")]}, series([100.0] * 4))
    assert result.denials == {"INSUFFICIENT_FUNDS": 1}


# --- fast and slow


@pytest.mark.parametrize(("strategy", "params"), CASES)
@settings(max_examples=25)
@given(steps=STEPS)
def test_skipping_quiet_bars_changes_nothing(strategy: Strategy, params: dict[str, Any], steps: list[int]) -> None:
    clean, candles = strategy.schema.clean(params), walk(steps)
    fast = simulate(strategy, clean, candles, CONDITIONS)
    slow = simulate(strategy, clean, candles, CONDITIONS, is_fast=False)
    same(fast, slow)


@settings(max_examples=60)
@given(
    steps=STEPS,
    raw=st.fixed_dictionaries(
        {
            "safety_orders_max": st.integers(0, 4),
            "step_pct": st.sampled_from(["0.3", "1"]),
            "take_profit_pct": st.sampled_from(["0.8", "2"]),
            "trailing_pct": st.sampled_from([0, "0.3"]),
            "stop_loss_pct": st.sampled_from([0, 5]),
            "trend_bars": st.sampled_from([0, 4]),
            "cooldown_bars": st.integers(0, 3),
            "resting_orders": st.booleans(),
        }
    ),
    volume=st.sampled_from([0.0, 3.0, 1e9]),
)
def test_skipping_quiet_bars_changes_nothing_for_any_dca(steps: list[int], raw: dict[str, Any], volume: float) -> None:
    clean = DCA.schema.clean(raw)
    candles = replace(walk(steps), volume=np.full(len(steps), volume))
    same(
        simulate(DCA, clean, candles, CONDITIONS),
        simulate(DCA, clean, candles, CONDITIONS, is_fast=False),
    )


def test_a_coarse_tick_changes_nothing_either() -> None:
    """Quotes are rounded outward to the tick; the quick look must see the rounded ones."""
    rng = np.random.default_rng(3)
    candles = walk(rng.integers(-250, 250, size=400).tolist())
    conditions = replace(CONDITIONS, rules=replace(RULES, tick_size=Decimal(1)))
    for strategy in registry.all():
        for params in QUICK[strategy.key]:
            clean = strategy.schema.clean(params)
            fast = simulate(strategy, clean, candles, conditions)
            same(fast, simulate(strategy, clean, candles, conditions, is_fast=False))
            assert fast.trades, (strategy.key, params)


@pytest.mark.parametrize("key", ["smart_dca", "sma_cross", "rsi_reversion", "breakout"])
def test_quiet_bars_are_really_skipped(key: str) -> None:
    rng = np.random.default_rng(5)
    candles = walk(rng.integers(-30, 31, size=5_000).tolist())
    watched = Watched(registry.get(key))
    result = simulate(watched, watched.schema.defaults(), candles, CONDITIONS)
    assert result.trades
    assert len(watched.views) < len(candles) / 5
    seen = len(watched.views)
    simulate(watched, watched.schema.defaults(), candles, CONDITIONS, is_fast=False)
    assert len(watched.views) - seen == len(candles)


# --- what holds for every replay


@pytest.mark.parametrize(("strategy", "params"), CASES)
@settings(max_examples=15)
@given(steps=STEPS, count=st.integers(1, 150))
def test_a_replay_never_looks_ahead(strategy: Strategy, params: dict[str, Any], steps: list[int], count: int) -> None:
    """What was traded up to a bar is the same, whatever came after it."""
    clean, candles = strategy.schema.clean(params), walk(steps)
    whole = simulate(strategy, clean, candles, CONDITIONS)
    part = simulate(strategy, clean, cut(candles, count), CONDITIONS)
    end = min(count, len(candles))
    assert part.trades == tuple(trade for trade in whole.trades if trade.bar < end)
    np.testing.assert_array_equal(part.equity_usd, whole.equity_usd[:end])


@pytest.mark.parametrize(("strategy", "params"), CASES)
@settings(max_examples=15)
@given(steps=STEPS)
def test_the_books_add_up(strategy: Strategy, params: dict[str, Any], steps: list[int]) -> None:
    candles = walk(steps)
    result = simulate(strategy, strategy.schema.clean(params), candles, CONDITIONS)
    book = Book()
    for trade in result.trades:
        execution = trade.execution
        book = apply_fill(book, trade.side, execution.quantity, execution.price, execution.fee)
        assert 0 <= book.cost <= CONDITIONS.capital_usd
    assert book == result.book
    assert np.isfinite(result.equity_usd).all()
    expected = float(CONDITIONS.equity_usd + book.cash_flow) + float(book.quantity) * candles.close[-1]
    np.testing.assert_allclose(result.equity_usd[-1], expected)
    assert len({trade.execution.trade_id for trade in result.trades}) == len(result.trades)
    assert result.deals_won <= result.deals_closed


@pytest.mark.parametrize(("strategy", "params"), CASES)
@settings(max_examples=15)
@given(steps=STEPS)
def test_deals_never_overlap(strategy: Strategy, params: dict[str, Any], steps: list[int]) -> None:
    """From flat to flat: a first entry, safety orders in their order, one exit for all of it."""
    result = simulate(strategy, strategy.schema.clean(params), walk(steps), CONDITIONS)
    held, legs = Decimal(0), list[str]()
    for trade in result.trades:
        if trade.side == Side.SELL:
            assert trade.execution.quantity == held
            held, legs = Decimal(0), []
            continue
        assert trade.leg in ({"base", "entry"} if not legs else {f"so{len(legs)}"})
        legs.append(trade.leg)
        held += trade.execution.quantity


def test_the_strategy_sees_only_candles_that_have_closed() -> None:
    watched = Watched(DCA)
    candles = series([100.0, 99.0, 98.0, 97.0])
    simulate(watched, DCA.schema.defaults(), candles, CONDITIONS, is_fast=False)
    for bar, view in enumerate(watched.views):
        assert len(view.candles) == bar + 1
        assert view.now == at(bar + 1)
        assert view.quote.seen_at == view.now
        assert view.quote.bid < Decimal(str(candles.close[bar])) < view.quote.ask


def test_the_view_tells_of_position_deal_and_resting_orders() -> None:
    params = DCA.schema.clean({"resting_orders": True, "cooldown_bars": 0})
    watched = Watched(DCA)
    simulate(watched, params, series([100.0, 100.0, 100.5, 100.2]), CONDITIONS, is_fast=False)
    last = watched.views[-1]
    assert last.position.quantity > 0
    assert last.position.last_entry_at == at(1)
    assert last.deal is not None
    assert (last.deal.legs, last.deal.opened_at) == (1, at(1))
    assert last.deal.peak_price == Decimal("100.44")  # the bid at the close of 100.5
    (order,) = last.open_orders
    assert (order.side, order.type, order.leg) == (Side.BUY, OrderType.LIMIT, "so1")


def test_dust_is_not_shown_as_a_position_and_holds_no_deal_open() -> None:
    script: Script = {0: [buy("1")], 1: [sell("0.995")]}
    watched = Watched(Scripted(script))
    result = simulate(watched, {"timeframe": "auto"}, series([100.0] * 4), CONDITIONS, is_fast=False)
    assert result.book.quantity == Decimal("0.005")  # worth 0.50 USD, below the venue's minimum of 1
    assert watched.views[-1].position.quantity == 0
    assert watched.views[-1].deal is None
    assert result.deals_closed == 1


def test_no_candles_give_an_empty_result() -> None:
    result = simulate(DCA, DCA.schema.defaults(), series([]), CONDITIONS)
    assert (result.bars, result.trades, result.denials, result.deals_closed) == (0, (), {}, 0)
    assert result.book == Book()


@pytest.mark.parametrize(
    ("close", "bid", "ask"), [(100.0, "99.95", "100.05"), (100.01, "99.95", "100.07"), (0.001, "0.01", "0.01")]
)
def test_quotes_lie_half_a_spread_away_and_are_rounded_outward(close: float, bid: str, ask: str) -> None:
    bids, asks = quote_ticks(series([close]), RULES, Decimal(5))
    assert (int(bids[0]) * RULES.tick_size, int(asks[0]) * RULES.tick_size) == (Decimal(bid), Decimal(ask))


def test_time_is_that_of_the_candles() -> None:
    candles = replace(series([100.0] * 2), timeframe="1h", opened_at=np.array([0, 3600], dtype=np.int64))
    (trade,) = scripted({1: [buy("1")]}, candles).trades
    assert trade.execution.filled_at == datetime(1970, 1, 1, 2, tzinfo=UTC)
    assert datetime(1970, 1, 1, 2, tzinfo=UTC) < T0


def test_trades_tell_their_story() -> None:
    """Down by 3 % in steps of 0.5 %, then up: the base order, safety orders and a take profit, each with its reason."""
    falling = [100 * 0.995**n for n in range(7)]
    rising = [falling[-1] * 1.01**n for n in range(1, 6)]
    candles = series([round(price, 2) for price in (*falling, *rising)])
    trades: tuple[Trade, ...] = simulate(DCA, DCA.schema.defaults(), candles, CONDITIONS).trades
    legs = [trade.leg for trade in trades]
    assert legs[:3] == ["base", "so1", "so2"]
    assert "exit" in legs
    assert [trade.reason.split(":")[0] for trade in trades if trade.leg == "exit"] == ["Take profit"]
