"""RSI reversion with an RSI of 2 bars. After a steady fall by 1 a bar its averages are: gain 0, loss 1.

A rise by r then gives gain r / 2, loss 1 / 2, and so an RSI of 100 r / (r + 1).
"""

from decimal import Decimal
from typing import Any

import pytest

from bots.strategies.rsi_reversion import RsiReversion
from bots.strategies.schema import ParamError
from safety.intents import OrderType, Side
from tests.bots.strategies.builders import at, flat, held, only_order, resting, series, view

RSI = RsiReversion()
SMALL: dict[str, Any] = {"rsi_bars": 2, "stop_loss_pct": 0, "position_pct": 20}
FALL = [200.0 - n for n in range(30)]
BOTTOM = FALL[-1]


def after_rise(*rises: float) -> list[float]:
    """Return the fall, and then closes that rise by so much each."""
    closes = list(FALL)
    for rise in rises:
        closes.append(closes[-1] + rise)
    return closes


def test_entry_when_the_rsi_rises_back_through_the_oversold_level() -> None:
    order = only_order(RSI.propose(view(RSI, series(after_rise(0.5)), params=SMALL, bid="171", ask="172")))
    assert (order.side, order.type, order.leg) == (Side.BUY, OrderType.MARKET, "entry")
    assert order.quantity == Decimal("1.1627")  # 200 USD / 172
    assert order.reason == "The RSI rose back through 30 on the last candle and is 33.3"


def test_no_entry_while_it_falls() -> None:
    assert RSI.propose(view(RSI, series(FALL), params=SMALL)) == []


@pytest.mark.parametrize(("rise", "enters"), [(0.42, False), (0.43, True)])
def test_entry_needs_the_level_itself(rise: float, enters: bool) -> None:
    """A rise by 3/7 gives an RSI of exactly 30."""
    assert bool(RSI.propose(view(RSI, series(after_rise(rise)), params=SMALL))) is enters


def test_no_entry_when_it_jumped_past_the_exit_level() -> None:
    """A rise by 2 gives an RSI of 66.7, at which a position would be sold again at once."""
    assert RSI.propose(view(RSI, series(after_rise(2)), params=SMALL)) == []
    assert RSI.propose(view(RSI, series(after_rise(2)), params={**SMALL, "exit_level": 67})) != []


@pytest.mark.parametrize(("later", "enters"), [(0, True), (1, True), (2, True), (3, False)])
def test_a_turn_counts_for_three_candles(later: int, enters: bool) -> None:
    """After the turn the price stands still: gain and loss fade alike and the RSI stays where it is."""
    assert bool(RSI.propose(view(RSI, series(after_rise(0.5, *[0.0] * later)), params=SMALL))) is enters


def test_a_turn_leads_to_one_entry_only() -> None:
    candles = series(after_rise(0.5))
    turn = len(candles) - 1
    assert RSI.propose(view(RSI, candles, params=SMALL, position=flat(left=at(turn - 0.1)))) != []
    for position in (flat(left=at(turn)), flat(entered=at(turn + 1.5)), flat(left=at(turn + 1.1))):
        assert RSI.propose(view(RSI, candles, params=SMALL, position=position)) == []


def test_no_entry_while_a_buy_is_open_or_a_position_is_held() -> None:
    candles = series(after_rise(0.5))
    open_buy = (resting(Side.BUY, "entry", None),)
    assert RSI.propose(view(RSI, candles, params=SMALL, open_orders=open_buy)) == []
    assert RSI.propose(view(RSI, candles, params=SMALL, position=held("1", "170"))) == []


def test_no_entry_before_the_rsi_has_settled() -> None:
    needed = RSI.warmup_bars(RSI.schema.clean(SMALL))
    closes = after_rise(0.5)
    assert needed == 23
    assert RSI.propose(view(RSI, series(closes[-needed:]), params=SMALL)) != []
    assert RSI.propose(view(RSI, series(closes[-needed + 1 :]), params=SMALL)) == []


@pytest.mark.parametrize(("rise", "sells"), [(1.2, False), (1.23, True), (3, True)])
def test_exit_at_the_exit_level(rise: float, sells: bool) -> None:
    """A rise by 11/9 gives an RSI of exactly 55."""
    answer = RSI.propose(view(RSI, series(after_rise(rise)), params=SMALL, position=held("1.23456", "170")))
    assert bool(answer) is sells
    if sells:
        order = only_order(answer)
        assert (order.side, order.quantity, order.reduce_only) == (Side.SELL, Decimal("1.2345"), True)
        assert order.reason.endswith("has reached the exit level 55")


@pytest.mark.parametrize(("bid", "sells"), [("90.01", False), ("90", True)])
def test_stop_loss_ends_a_long_fall(bid: str, sells: bool) -> None:
    params = {**SMALL, "stop_loss_pct": 10}
    answer = RSI.propose(view(RSI, series(FALL), params=params, bid=bid, position=held("1", "100")))
    assert bool(answer) is sells


def test_take_profit_closes_when_it_is_on() -> None:
    params = {**SMALL, "take_profit_pct": 10}
    for bid, sells in (("109.99", False), ("110", True)):
        answer = RSI.propose(view(RSI, series(FALL), params=params, bid=bid, position=held("1", "100")))
        assert bool(answer) is sells


def test_a_market_that_stands_still_gives_no_signal() -> None:
    """Without any move the RSI reads 0 and the first small rise reads 100: past the exit level, so nothing is bought."""
    assert RSI.propose(view(RSI, series([100.0] * 60), params=SMALL)) == []
    assert RSI.propose(view(RSI, series([100.0] * 60 + [100.01]), params=SMALL)) == []


@pytest.mark.parametrize(("oversold", "leave", "is_good"), [(29, 30, True), (30, 30, False), (31, 30, False)])
def test_oversold_must_lie_below_the_exit_level(oversold: int, leave: int, is_good: bool) -> None:
    if is_good:
        RSI.schema.clean({"oversold_level": oversold, "exit_level": leave})
        return
    with pytest.raises(ParamError, match="must be below the exit level"):
        RSI.schema.clean({"oversold_level": oversold, "exit_level": leave})
