"""Breakout with an entry channel of 3 bars, an exit channel of 2 and an ATR of 2 bars.

The calm market closes at 100 and reaches from 99 to 101, so that its average true range is 2.
"""

from decimal import Decimal
from typing import Any

import pytest

from bots.market_data.base import CandleSeries
from bots.strategies.breakout import Breakout
from bots.strategies.schema import ParamError
from safety.intents import OrderType, Side
from tests.bots.strategies.builders import at, deal_of, flat, held, only_order, resting, series, view

OUT = Breakout()
SMALL: dict[str, Any] = {
    "entry_bars": 3,
    "exit_bars": 2,
    "atr_bars": 2,
    "atr_multiple": 0,
    "stop_loss_pct": 0,
    "position_pct": 20,
}
CALM = 30


def market(*closes: float) -> CandleSeries:
    """Return the calm market and then these closes, each bar reaching 1 above and below its close."""
    every = [100.0] * CALM + list(closes)
    return series(every, highs=[c + 1 for c in every], lows=[c - 1 for c in every])


def test_entry_on_a_close_above_the_highest_high_before() -> None:
    order = only_order(OUT.propose(view(OUT, market(101.5), params=SMALL, bid="101.4", ask="101.6")))
    assert (order.side, order.type, order.leg) == (Side.BUY, OrderType.MARKET, "entry")
    assert order.quantity == Decimal("1.9685")  # 200 USD / 101.60
    assert order.reason == "The close 101.5 on the last candle is above 101, the highest of the 3 bars before it"


@pytest.mark.parametrize(("close", "enters"), [(100.99, False), (101.0, False), (101.01, True)])
def test_entry_needs_a_close_beyond_the_channel_and_not_at_it(close: float, enters: bool) -> None:
    assert bool(OUT.propose(view(OUT, market(close), params=SMALL))) is enters


def test_a_high_beyond_the_channel_without_the_close_is_no_breakout() -> None:
    every = [100.0] * CALM + [100.5]
    candles = series(every, highs=[101.0] * CALM + [140.0], lows=[99.0] * (CALM + 1))
    assert OUT.propose(view(OUT, candles, params=SMALL)) == []


@pytest.mark.parametrize(("later", "enters"), [(0, True), (1, True), (2, True), (3, False)])
def test_a_breakout_counts_for_three_candles(later: int, enters: bool) -> None:
    assert bool(OUT.propose(view(OUT, market(101.5, *[101.4] * later), params=SMALL))) is enters


def test_a_breakout_that_fell_back_into_the_channel_is_no_signal() -> None:
    assert OUT.propose(view(OUT, market(101.5, 100.9), params=SMALL)) == []


def test_a_breakout_leads_to_one_entry_only() -> None:
    candles = market(101.5)
    assert OUT.propose(view(OUT, candles, params=SMALL, position=flat(left=at(CALM - 0.1)))) != []
    for position in (flat(left=at(CALM)), flat(entered=at(CALM + 1)), flat(left=at(CALM + 1.2))):
        assert OUT.propose(view(OUT, candles, params=SMALL, position=position)) == []


def test_no_entry_while_a_buy_is_open_or_a_position_is_held() -> None:
    open_buy = (resting(Side.BUY, "entry", None),)
    assert OUT.propose(view(OUT, market(101.5), params=SMALL, open_orders=open_buy)) == []
    assert OUT.propose(view(OUT, market(101.5), params=SMALL, position=held("1", "101"))) == []


def test_no_entry_before_channel_and_range_are_known() -> None:
    needed = OUT.warmup_bars(OUT.schema.clean(SMALL))
    closes = [100.0] * (needed - 1) + [101.5]
    whole = series(closes, highs=[c + 1 for c in closes], lows=[c - 1 for c in closes])
    short = series(closes[1:], highs=[c + 1 for c in closes[1:]], lows=[c - 1 for c in closes[1:]])
    assert needed == 23
    assert OUT.propose(view(OUT, whole, params=SMALL)) != []
    assert OUT.propose(view(OUT, short, params=SMALL)) == []


@pytest.mark.parametrize(("close", "sells"), [(99.01, False), (99.0, False), (98.99, True)])
def test_exit_on_a_close_below_the_exit_channel(close: float, sells: bool) -> None:
    answer = OUT.propose(view(OUT, market(close), params=SMALL, position=held("1.23456", "100")))
    assert bool(answer) is sells
    if sells:
        order = only_order(answer)
        assert (order.side, order.quantity, order.reduce_only) == (Side.SELL, Decimal("1.2345"), True)
        assert order.reason == "The close 98.99 is below 99, the lowest of the 2 bars before it"


@pytest.mark.parametrize(("bid", "sells"), [("104.01", False), ("104.00", True), ("103", True)])
def test_atr_stop_trails_the_best_bid(bid: str, sells: bool) -> None:
    """Three times an average true range of 2 below a best bid of 110 is 104."""
    position = held("1", "100")
    answer = OUT.propose(
        view(
            OUT,
            market(),
            params={**SMALL, "atr_multiple": 3},
            bid=bid,
            position=position,
            deal=deal_of(position, peak="110"),
        )
    )
    assert bool(answer) is sells
    if sells:
        assert only_order(answer).reason == (
            f"ATR stop: the bid {bid} is at or below 104, 3 x ATR 2 under its best since the entry"
        )


@pytest.mark.parametrize("peak", [None, "90"])
def test_atr_stop_starts_from_the_average_buy_price(peak: str | None) -> None:
    position = held("1", "100")
    for bid, sells in (("94.01", False), ("94", True)):
        answer = OUT.propose(
            view(
                OUT,
                market(),
                params={**SMALL, "atr_multiple": 3},
                bid=bid,
                position=position,
                deal=None if peak is None else deal_of(position, peak=peak),
            )
        )
        assert bool(answer) is sells


def test_atr_stop_of_zero_is_off() -> None:
    position = held("1", "100")
    answer = OUT.propose(
        view(OUT, market(), params=SMALL, bid="50", position=position, deal=deal_of(position, peak="110"))
    )
    assert answer == []


def test_atr_stop_waits_until_the_range_is_known() -> None:
    position = held("1", "100")
    answer = OUT.propose(view(OUT, series([100.0]), params={**SMALL, "atr_multiple": 3}, bid="50", position=position))
    assert answer == []


@pytest.mark.parametrize(("bid", "sells"), [("95.01", False), ("95", True)])
def test_stop_loss_holds_whatever_the_channel_says(bid: str, sells: bool) -> None:
    answer = OUT.propose(view(OUT, market(), params={**SMALL, "stop_loss_pct": 5}, bid=bid, position=held("1", "100")))
    assert bool(answer) is sells


@pytest.mark.parametrize(("leave", "is_good"), [(2, True), (3, True), (4, False)])
def test_exit_channel_must_not_be_longer_than_the_entry_channel(leave: int, is_good: bool) -> None:
    if is_good:
        OUT.schema.clean({**SMALL, "exit_bars": leave})
        return
    with pytest.raises(ParamError, match="must not be longer than the entry one"):
        OUT.schema.clean({**SMALL, "exit_bars": leave})
