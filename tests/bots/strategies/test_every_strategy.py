"""What holds for each strategy, on any market that hypothesis can think of."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bots.market_data.base import CandleSeries
from bots.strategies import registry
from bots.strategies.base import DealView, PositionView, Proposal, Strategy, StrategyView
from safety.intents import OrderType, Quote, Side
from tests.bots.strategies.builders import RULES, at, cancels, deal_of, held, orders, quote, resting, series, view

#: Params under which something happens within a few dozen bars.
QUICK: dict[str, list[dict[str, Any]]] = {
    "smart_dca": [
        {"step_pct": "0.5", "take_profit_pct": 1, "cooldown_bars": 1},
        {"take_profit_pct": 1, "trailing_pct": "0.4", "trend_bars": 5},
        {"step_pct": "0.5", "resting_orders": True, "stop_loss_pct": 4},
    ],
    "sma_cross": [
        {"fast_bars": 2, "slow_bars": 5},
        {"fast_bars": 2, "slow_bars": 4, "average": "exponential", "take_profit_pct": 1},
    ],
    "rsi_reversion": [{"rsi_bars": 2, "stop_loss_pct": 2}, {"rsi_bars": 3, "oversold_level": 45, "exit_level": 60}],
    "breakout": [
        {"entry_bars": 4, "exit_bars": 3, "atr_bars": 2, "atr_multiple": 2},
        {"entry_bars": 3, "exit_bars": 2, "atr_bars": 3, "atr_multiple": 0, "take_profit_pct": 1},
    ],
}
CASES = [
    pytest.param(strategy, params, id=f"{strategy.key}-{number}")
    for strategy in registry.all()
    for number, params in enumerate(QUICK[strategy.key])
]
STEPS = st.lists(st.integers(-300, 300), min_size=0, max_size=80)


def walk(steps: list[int], start: float = 100.0) -> CandleSeries:
    """Return candles whose closes change by so many basis points; highs and lows reach a little further."""
    closes, price = [], start
    for step in steps:
        price = round(price * (1 + step / 10_000), 2)
        closes.append(price)
    opens = [start, *closes][: len(closes)]
    highs = [round(max(o, c) * 1.001, 2) for o, c in zip(opens, closes, strict=True)]
    lows = [round(min(o, c) * 0.999, 2) for o, c in zip(opens, closes, strict=True)]
    return series(closes, highs=highs, lows=lows)


@st.composite
def situations(draw: st.DrawFn) -> tuple[CandleSeries, PositionView, DealView | None]:
    """Draw a market with a bot that is flat, or that bought some time ago near the last price."""
    candles = walk(draw(STEPS))
    traded_at = at(len(candles)) - timedelta(seconds=draw(st.integers(0, 600)))
    if draw(st.booleans()):
        return candles, PositionView(last_exit_at=traded_at if draw(st.booleans()) else None), None
    last = Decimal(str(candles.close[-1])) if len(candles) else Decimal(100)
    average = last * draw(st.integers(900, 1100)) / 1000
    position = held(draw(st.sampled_from(["0.5", "1.23456", "3"])), str(average), entered=traded_at)
    peak = average * draw(st.integers(1000, 1050)) / 1000
    return candles, position, deal_of(position, legs=draw(st.integers(1, 6)), peak=str(peak))


@pytest.mark.parametrize(("strategy", "params"), CASES)
@settings(max_examples=25, deadline=None)
@given(situation=situations())
def test_every_proposal_is_one_that_a_venue_could_take(
    strategy: Strategy, params: dict[str, Any], situation: tuple[CandleSeries, PositionView, DealView | None]
) -> None:
    candles, position, deal = situation
    answer = strategy.propose(view(strategy, candles, params=params, position=position, deal=deal))
    assert len(answer) <= 1
    for order in orders(answer):
        assert order.quantity.is_finite()
        assert order.quantity > 0
        assert order.quantity % RULES.lot_size == 0
        assert (order.type == OrderType.LIMIT) == (order.limit_price is not None)
        assert order.limit_price is None or order.limit_price % RULES.tick_size == 0
        assert 0 < len(order.reason) <= 300
        assert "nan" not in order.reason
        assert 0 < len(order.leg) <= 30
        if order.side == Side.SELL:
            assert order.reduce_only
            assert position.quantity - RULES.lot_size < order.quantity <= position.quantity


@pytest.mark.parametrize(("strategy", "params"), CASES)
@settings(max_examples=25, deadline=None)
@given(situation=situations(), future=STEPS)
def test_no_strategy_looks_ahead(
    strategy: Strategy,
    params: dict[str, Any],
    situation: tuple[CandleSeries, PositionView, DealView | None],
    future: list[int],
) -> None:
    """The same candles, cut from a longer series that goes on in any way, lead to the same answer."""
    candles, position, deal = situation
    seen = view(strategy, candles, params=params, position=position, deal=deal)
    longer = replace(seen, candles=cut(joined(candles, walk(future, start=50.0)), len(candles)))
    assert strategy.propose(longer) == strategy.propose(seen)


@pytest.mark.parametrize(("strategy", "params"), CASES)
@settings(max_examples=25, deadline=None)
@given(situation=situations())
def test_a_strategy_asked_twice_answers_the_same(
    strategy: Strategy, params: dict[str, Any], situation: tuple[CandleSeries, PositionView, DealView | None]
) -> None:
    candles, position, deal = situation
    seen = view(strategy, candles, params=params, position=position, deal=deal)
    assert strategy.propose(seen) == strategy.propose(seen)
    assert type(strategy)().propose(seen) == strategy.propose(seen)


@pytest.mark.parametrize(("strategy", "params"), CASES)
@settings(max_examples=25, deadline=None)
@given(situation=situations(), factor=st.sampled_from([2, 8, 1024]))
def test_prices_in_another_unit_lead_to_the_same_trades(
    strategy: Strategy,
    params: dict[str, Any],
    situation: tuple[CandleSeries, PositionView, DealView | None],
    factor: int,
) -> None:
    """All prices and the capital times a power of two (exact in floats too): the same orders for the same quantities."""
    candles, position, deal = situation
    seen = view(strategy, candles, params=params, position=position, deal=deal)
    plain = [(order.side, order.leg, order.quantity) for order in orders(strategy.propose(seen))]
    dear = [(order.side, order.leg, order.quantity) for order in orders(strategy.propose(dearer(seen, factor)))]
    assert dear == plain


@pytest.mark.parametrize(("strategy", "params"), CASES)
@settings(max_examples=25, deadline=None)
@given(steps=STEPS)
def test_ten_times_the_capital_buys_ten_times_as_much(
    strategy: Strategy, params: dict[str, Any], steps: list[int]
) -> None:
    candles = walk(steps)
    small = orders(strategy.propose(view(strategy, candles, params=params, capital="1000")))
    large = orders(strategy.propose(view(strategy, candles, params=params, capital="10000")))
    assert [order.leg for order in small] == [order.leg for order in large]
    for one, ten in zip(small, large, strict=True):
        assert 0 <= ten.quantity - 10 * one.quantity < 10 * RULES.lot_size


@pytest.mark.parametrize(("strategy", "params"), CASES)
@settings(max_examples=25, deadline=None)
@given(steps=STEPS)
def test_an_entry_never_costs_more_than_the_largest_leg(
    strategy: Strategy, params: dict[str, Any], steps: list[int]
) -> None:
    seen = view(strategy, walk(steps), params=params, bid="99.97", ask="100.03")
    limit = strategy.largest_leg_usd(seen.params, seen.capital_usd)
    for order in orders(strategy.propose(seen)):
        assert order.quantity * seen.quote.ask <= limit
        assert order.quantity * seen.quote.ask > limit / 4


@pytest.mark.parametrize(("strategy", "params"), CASES)
@settings(max_examples=25, deadline=None)
@given(steps=st.lists(st.integers(-300, 300), min_size=30, max_size=80))
def test_candles_never_lead_to_two_entries_on_one_of_them(
    strategy: Strategy, params: dict[str, Any], steps: list[int]
) -> None:
    """A bot that is asked several times a candle, and whose buys are sold again by someone else at once."""
    if strategy.key == "smart_dca":
        params = {**params, "cooldown_bars": 1}
    candles, entries, position = walk(steps), [], PositionView()
    for count in range(1, len(candles) + 1):
        seen = view(strategy, cut(candles, count), params=params, position=position)
        for moment in (at(count), at(count + 0.3), at(count + 0.9)):
            again = replace(seen, now=moment, position=position)
            if orders(strategy.propose(again)):
                entries.append(count)
                position = PositionView(last_entry_at=moment, last_exit_at=moment)
    assert len(entries) == len(set(entries))


@pytest.mark.parametrize("strategy", registry.all(), ids=lambda s: s.key)
@pytest.mark.parametrize("price", [None, "95"])
def test_a_stop_loss_ends_what_is_still_being_bought_before_it_sells(strategy: Strategy, price: str | None) -> None:
    """The rest of a purchase, of a market order too, would fill after the sale and open a position that nobody wants."""
    position = held("1", "100")
    stopped = view(
        strategy, series([50.0] * 5), params={"stop_loss_pct": 40}, position=position, deal=deal_of(position)
    )
    bought = resting(Side.BUY, "base", price, order_id="o7")
    answer = strategy.propose(replace(stopped, open_orders=(bought,)))
    assert (cancels(answer[:1]), [order.side for order in orders(answer[1:])]) == (["o7"], [Side.SELL])
    # While the sale is on its way the purchase goes all the same.
    assert cancels(strategy.propose(replace(stopped, open_orders=(bought, resting(Side.SELL, "exit", None))))) == ["o7"]


@pytest.mark.parametrize("strategy", registry.all(), ids=lambda s: s.key)
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_with_hardly_any_candles_nothing_breaks(strategy: Strategy, count: int) -> None:
    candles = series([100.0] * count)
    for position in (PositionView(), held("1", "100")):
        answer = strategy.propose(view(strategy, candles, position=position))
        assert all(order.leg == "base" for order in orders(answer))


@pytest.mark.parametrize("strategy", registry.all(), ids=lambda s: s.key)
def test_with_a_candle_less_than_the_warm_up_there_is_no_entry(strategy: Strategy) -> None:
    rng = np.random.default_rng(7)
    steps = rng.integers(-300, 300, size=400).tolist()
    needed = strategy.warmup_bars(strategy.schema.defaults())
    for start in range(0, 400 - needed, 7):
        short = walk(steps[start : start + needed - 1])
        assert strategy.propose(view(strategy, short)) == []


@pytest.mark.parametrize("strategy", registry.all(), ids=lambda s: s.key)
def test_defaults_give_entries_from_5_to_50_usd_for_a_small_account(strategy: Strategy) -> None:
    """LIVE_RAMP lets 50 USD pass; Kraken's floor is 5 USD."""
    for capital in (Decimal(100), Decimal(250)):
        assert 5 <= strategy.largest_leg_usd(strategy.schema.defaults(), capital) <= 50


def joined(first: CandleSeries, second: CandleSeries) -> CandleSeries:
    """Return the candles of both, one after the other."""
    names = ("open", "high", "low", "close", "volume")
    columns = {name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in names}
    return CandleSeries("replay", "TEST", "1m", series([1.0] * (len(first) + len(second))).opened_at, **columns)


def cut(candles: CandleSeries, count: int) -> CandleSeries:
    """Return the first candles as a series of their own."""
    names = ("opened_at", "open", "high", "low", "close", "volume")
    columns = {name: np.array(getattr(candles, name)[:count]) for name in names}
    return CandleSeries("replay", "TEST", "1m", **columns)


def dearer(seen: StrategyView, factor: int) -> StrategyView:
    """Return the same situation with every price and the capital times ``factor``."""
    candles = seen.candles
    columns = {name: getattr(candles, name) * factor for name in ("open", "high", "low", "close")}
    deal, best = seen.deal, None
    if deal is not None:
        best = None if deal.peak_price is None else deal.peak_price * factor
        deal = replace(deal, bought_notional=deal.bought_notional * factor, peak_price=best)
    bid, ask = seen.quote.bid * factor, seen.quote.ask * factor
    dear: Quote = quote(str(bid), str(ask), now=seen.now)
    return replace(
        seen,
        candles=CandleSeries("replay", "TEST", "1m", candles.opened_at, volume=candles.volume, **columns),
        quote=dear,
        capital_usd=seen.capital_usd * factor,
        position=replace(seen.position, cost=seen.position.cost * factor),
        deal=deal,
        rules=replace(seen.rules, tick_size=seen.rules.tick_size * factor),
    )


def test_quick_params_make_each_strategy_trade_on_a_random_walk() -> None:
    """Guards the tests above: none of them may pass because nothing ever happened."""
    rng = np.random.default_rng(11)
    candles = walk(rng.integers(-300, 300, size=300).tolist())
    for strategy in registry.all():
        for params in QUICK[strategy.key]:
            found: list[Proposal] = []
            for count in range(1, len(candles)):
                found += orders(strategy.propose(view(strategy, cut(candles, count), params=params)))
            assert found, (strategy.key, params)
