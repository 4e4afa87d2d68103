"""SMA cross with averages of 2 and 4 bars, small enough to check by hand."""

from decimal import Decimal
from typing import Any

import pytest

from bots.strategies.schema import ParamError
from bots.strategies.sma_cross import SmaCross
from safety.intents import OrderType, Side
from tests.bots.strategies.builders import (
    at,
    deal_of,
    flat,
    held,
    only_order,
    resting,
    series,
    view,
    with_lot,
)

SMA = SmaCross()
SMALL: dict[str, Any] = {"fast_bars": 2, "slow_bars": 4, "stop_loss_pct": 0, "position_pct": 20}
# The last close lifts the fast average from 9.5 (below the slow one's 9.75) to 10.5 (above 10.25).
CROSSED = [10.0, 10.0, 10.0, 10.0, 10.0, 9.0, 12.0]
RISING = [10.0, 10.0, 10.0, 10.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0]
FALLING = [15.0, 15.0, 15.0, 15.0, 15.0, 14.0, 13.0, 12.0]


def test_entry_when_the_fast_average_crosses_above() -> None:
    order = only_order(SMA.propose(view(SMA, series(CROSSED), params=SMALL, ask="12.5", bid="12.4")))
    assert (order.side, order.type, order.leg, order.reduce_only) == (Side.BUY, OrderType.MARKET, "entry", False)
    assert order.quantity == Decimal(16)  # 20 % of 1000 USD at 12.50
    assert order.reason == "The 2-bar average 10.5 crossed above the 4-bar average 10.25 on the last candle"


def test_no_entry_while_the_fast_average_stays_above() -> None:
    assert SMA.propose(view(SMA, series(RISING), params=SMALL)) == []


def test_no_entry_when_the_fast_average_crosses_below() -> None:
    assert SMA.propose(view(SMA, series(FALLING), params=SMALL)) == []


@pytest.mark.parametrize(("later", "enters"), [(0, True), (1, True), (2, True), (3, False), (10, False)])
def test_a_cross_counts_for_three_candles(later: int, enters: bool) -> None:
    answer = SMA.propose(view(SMA, series(CROSSED + [12.0] * later), params=SMALL))
    assert bool(answer) is enters


def test_an_older_cross_says_so() -> None:
    order = only_order(SMA.propose(view(SMA, series([*CROSSED, 12.0, 12.0]), params=SMALL)))
    assert order.reason.endswith("2 candles before the last")


def test_a_cross_that_was_undone_is_no_signal() -> None:
    assert SMA.propose(view(SMA, series([*CROSSED, 5.0]), params=SMALL)) == []


@pytest.mark.parametrize("traded", ["entered", "left"])
def test_a_cross_leads_to_one_entry_only(traded: str) -> None:
    """The crossing candle is number 6: traded before it opened leaves the signal, traded since uses it up."""
    candles = series([*CROSSED, 12.0])
    before, since = flat(**{traded: at(5.9)}), flat(**{traded: at(7.01)})
    assert SMA.propose(view(SMA, candles, params=SMALL, position=before)) != []
    assert SMA.propose(view(SMA, candles, params=SMALL, position=since)) == []
    assert SMA.propose(view(SMA, candles, params=SMALL, position=flat(**{traded: at(6)}))) == []


def test_no_entry_while_a_buy_is_open() -> None:
    answer = SMA.propose(view(SMA, series(CROSSED), params=SMALL, open_orders=(resting(Side.BUY, "entry", None),)))
    assert answer == []


def test_no_entry_while_a_position_is_held() -> None:
    assert SMA.propose(view(SMA, series(CROSSED), params=SMALL, position=held("1", "12"))) == []


def test_no_entry_before_the_averages_are_known() -> None:
    assert SMA.propose(view(SMA, series(CROSSED[1:]), params=SMALL)) == []
    assert SMA.propose(view(SMA, series([]), params=SMALL)) == []


def test_no_entry_for_less_than_a_lot() -> None:
    assert SMA.propose(view(SMA, series(CROSSED), params=SMALL, rules=with_lot("100"))) == []


@pytest.mark.parametrize("price", [0.1, 0.3, 1 / 3, 106038.2])
def test_a_market_that_stands_still_gives_no_signal(price: float) -> None:
    """Sums of equal prices differ in the last digits; that is noise and no cross."""
    closes = [price * 1.5] * 5 + [price] * 200
    for count in range(8, len(closes)):
        assert SMA.propose(view(SMA, series(closes[:count]), params=SMALL, bid="1")) == [], count


def test_exit_when_the_fast_average_is_below() -> None:
    position = held("1.00005", "14")
    order = only_order(SMA.propose(view(SMA, series(FALLING), params=SMALL, position=position)))
    assert (order.side, order.type, order.leg, order.reduce_only) == (Side.SELL, OrderType.MARKET, "exit", True)
    assert order.quantity == Decimal("1.0000")
    assert order.reason == "The 2-bar average 12.5 is below the 4-bar average 13.5"


def test_exit_does_not_depend_on_having_seen_the_cross() -> None:
    """A worker that was away while the averages crossed still leaves."""
    long_below = [*FALLING, *[11.0 - n / 10 for n in range(20)]]
    assert only_order(SMA.propose(view(SMA, series(long_below), params=SMALL, position=held("1", "14")))).leg == "exit"


def test_no_exit_while_the_fast_average_is_above_or_equal() -> None:
    for closes in (RISING, [10.0] * 20):
        assert SMA.propose(view(SMA, series(closes), params=SMALL, position=held("1", "10"))) == []


def test_no_second_exit_while_a_sale_is_open() -> None:
    answer = SMA.propose(
        view(
            SMA,
            series(FALLING),
            params=SMALL,
            position=held("1", "14"),
            open_orders=(resting(Side.SELL, "exit", None),),
        )
    )
    assert answer == []


@pytest.mark.parametrize(("bid", "sells"), [("13.51", False), ("13.50", True)])
def test_stop_loss_closes_even_in_a_rising_market(bid: str, sells: bool) -> None:
    position = held("1", "15")
    params = {**SMALL, "stop_loss_pct": 10}
    answer = SMA.propose(view(SMA, series(RISING), params=params, bid=bid, position=position, deal=deal_of(position)))
    assert bool(answer) is sells


@pytest.mark.parametrize(("bid", "sells"), [("16.49", False), ("16.50", True)])
def test_take_profit_closes_when_it_is_on(bid: str, sells: bool) -> None:
    params = {**SMALL, "take_profit_pct": 10}
    answer = SMA.propose(view(SMA, series(RISING), params=params, bid=bid, position=held("1", "15")))
    assert bool(answer) is sells


def test_guards_hold_even_without_candles() -> None:
    """A feed that has just started must not keep a position from its stop."""
    params = {**SMALL, "stop_loss_pct": 10}
    assert (
        only_order(SMA.propose(view(SMA, series([]), params=params, bid="80", position=held("1", "100")))).leg == "exit"
    )


def test_exponential_averages_turn_before_simple_ones() -> None:
    """Smoothed by 1/2 and 2/5: 9.5 and 9.6 after 9.0, 9.55 and 9.6 after 9.6, 9.725 and 9.72 after 9.9: a cross.

    The simple averages are at 9.5 and 9.625 then.
    """
    closes = [10.0] * 22 + [9.0, 9.6, 9.9]
    simple = {**SMALL, "fast_bars": 3}
    exponential = {**simple, "average": "exponential"}
    assert SMA.propose(view(SMA, series(closes), params=simple)) == []
    assert SMA.propose(view(SMA, series(closes[:-1]), params=exponential)) == []
    order = only_order(SMA.propose(view(SMA, series(closes), params=exponential)))
    assert order.reason == "The 3-bar average 9.725 crossed above the 4-bar average 9.72 on the last candle"


def test_exponential_averages_need_time_to_settle() -> None:
    schema = SMA.schema
    assert SMA.warmup_bars(schema.clean(SMALL)) == 7
    assert SMA.warmup_bars(schema.clean({**SMALL, "average": "exponential"})) == 23


@pytest.mark.parametrize(("fast", "slow", "is_good"), [(3, 4, True), (4, 4, False), (5, 4, False)])
def test_fast_must_be_shorter_than_slow(fast: int, slow: int, is_good: bool) -> None:
    if is_good:
        SMA.schema.clean({"fast_bars": fast, "slow_bars": slow})
        return
    with pytest.raises(ParamError, match="must be shorter than the slow one"):
        SMA.schema.clean({"fast_bars": fast, "slow_bars": slow})
