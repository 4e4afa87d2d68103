"""Smart DCA, decision by decision. Without a spread in the quote unless a test is about the spread."""

from decimal import Decimal
from typing import Any

import pytest

from bots.strategies.base import PositionView
from bots.strategies.schema import ParamError
from bots.strategies.smart_dca import SmartDca, ladder_pct, safety_size_pct, safety_step_pct
from safety.intents import OrderType, Side
from tests.bots.strategies.builders import (
    at,
    cancels,
    deal_of,
    flat,
    held,
    only_order,
    orders,
    resting,
    series,
    view,
    with_lot,
)

DCA = SmartDca()
CALM = series([100.0] * 10)
# Round numbers: each safety order at 2 %, 4 %, 8 % below the average; sizes 10, 20 and 40 % of the capital.
PLAIN: dict[str, Any] = {
    "base_order_pct": 10,
    "safety_order_pct": 10,
    "safety_orders_max": 3,
    "size_multiplier": 2,
    "step_pct": 2,
    "step_multiplier": 2,
    "take_profit_pct": 5,
    "stop_loss_pct": 0,
    "cooldown_bars": 0,
}


def errors(raw: dict[str, Any]) -> dict[str, list[str]]:
    with pytest.raises(ParamError) as caught:
        DCA.schema.clean({**PLAIN, **raw})
    return caught.value.errors


# --- the base order


def test_base_order_when_flat_is_a_market_buy_of_its_share_at_the_ask() -> None:
    order = only_order(DCA.propose(view(DCA, CALM, params=PLAIN, bid="99.90", ask="100.10")))
    assert (order.side, order.type, order.leg, order.limit_price) == (Side.BUY, OrderType.MARKET, "base", None)
    assert order.quantity == Decimal("0.9990")  # 100 USD / 100.10 = 0.99900099…, rounded down to 0.0001
    assert not order.reduce_only
    assert order.reason == "Base order: no deal is open"


def test_base_order_is_rounded_down_to_whole_lots() -> None:
    order = only_order(DCA.propose(view(DCA, CALM, params=PLAIN, ask="100.10", bid="100", rules=with_lot("0.25"))))
    assert order.quantity == Decimal("0.75")


def test_base_order_below_one_lot_is_not_proposed() -> None:
    assert DCA.propose(view(DCA, CALM, params=PLAIN, rules=with_lot("2"))) == []


def test_no_base_order_while_a_buy_is_open() -> None:
    assert DCA.propose(view(DCA, CALM, params=PLAIN, open_orders=(resting(Side.BUY, "base", None),))) == []


def test_no_base_order_without_any_candle() -> None:
    assert DCA.propose(view(DCA, series([]), params=PLAIN)) == []


def test_one_deal_at_a_time() -> None:
    """While a position is held, no price leads to another base order."""
    position = held("1", "100")
    for bid in ("0.01", "60", "97", "99", "100", "104", "106", "900"):
        answer = DCA.propose(view(DCA, CALM, params=PLAIN, bid=bid, position=position, deal=deal_of(position)))
        assert all(order.leg != "base" for order in orders(answer)), bid


# --- the trend filter


@pytest.mark.parametrize(("last", "is_above"), [(99.0, False), (100.0, False), (101.0, True)])
def test_trend_filter_asks_for_a_close_above_the_average(last: float, is_above: bool) -> None:
    candles = series([100.0] * 9 + [last])
    answer = DCA.propose(view(DCA, candles, params={**PLAIN, "trend_bars": 5}))
    assert bool(answer) is is_above
    if is_above:
        assert "the close 101 is above its 5-bar average" in only_order(answer).reason


def test_trend_filter_waits_for_its_candles() -> None:
    params = {**PLAIN, "trend_bars": 5}
    rising = [100.0, 101.0, 102.0, 103.0, 104.0]
    assert DCA.propose(view(DCA, series(rising[:4]), params=params)) == []
    assert DCA.propose(view(DCA, series(rising), params=params)) != []


def test_trend_filter_never_holds_back_a_safety_order() -> None:
    position = held("1", "100")
    falling = series([100.0] * 9 + [97.0])
    answer = DCA.propose(
        view(DCA, falling, params={**PLAIN, "trend_bars": 5}, position=position, deal=deal_of(position))
    )
    assert only_order(answer).leg == "so1"


# --- the cooldown


@pytest.mark.parametrize(("bars_since", "is_over"), [(0, False), (1, False), (2, False), (3, True), (4, True)])
def test_cooldown_counts_candles_that_opened_and_closed_since_the_exit(bars_since: int, is_over: bool) -> None:
    left = at(len(CALM) - bars_since - 0.5)
    answer = DCA.propose(view(DCA, CALM, params={**PLAIN, "cooldown_bars": 3}, position=flat(left=left)))
    assert bool(answer) is is_over


def test_cooldown_of_zero_starts_the_next_deal_at_once() -> None:
    assert DCA.propose(view(DCA, CALM, params=PLAIN, position=flat(left=at(len(CALM))))) != []


def test_cooldown_needs_no_exit_to_begin_with() -> None:
    assert DCA.propose(view(DCA, CALM, params={**PLAIN, "cooldown_bars": 3})) != []


def test_cooldown_fits_in_the_candles_that_a_bot_asks_for() -> None:
    """A bot is given ``warmup_bars`` candles: with fewer than the cooldown it would wait for ever."""
    params = DCA.schema.clean({**PLAIN, "cooldown_bars": 7})
    candles = series([100.0] * DCA.warmup_bars(params))
    long_ago = flat(left=at(-100))
    assert DCA.propose(view(DCA, candles, params={**PLAIN, "cooldown_bars": 7}, position=long_ago)) != []


# --- safety orders


@pytest.mark.parametrize(
    ("legs", "ask", "leg", "usd"),
    [
        (1, "98.00", "so1", "100"),
        (2, "96.00", "so2", "200"),
        (3, "92.00", "so3", "400"),
    ],
)
def test_safety_order_at_its_step_below_the_average(legs: int, ask: str, leg: str, usd: str) -> None:
    position = held("1", "100")
    answer = DCA.propose(view(DCA, CALM, params=PLAIN, bid=ask, position=position, deal=deal_of(position, legs=legs)))
    order = only_order(answer)
    assert (order.side, order.type, order.leg) == (Side.BUY, OrderType.MARKET, leg)
    assert order.quantity == (Decimal(usd) / Decimal(ask)).quantize(Decimal("0.0001"), rounding="ROUND_DOWN")


@pytest.mark.parametrize(("legs", "ask"), [(1, "98.01"), (2, "96.01"), (3, "92.01")])
def test_no_safety_order_just_above_its_step(legs: int, ask: str) -> None:
    position = held("1", "100")
    deal = deal_of(position, legs=legs)
    assert DCA.propose(view(DCA, CALM, params=PLAIN, bid=ask, position=position, deal=deal)) == []


def test_safety_order_is_judged_at_the_ask_that_it_would_pay() -> None:
    position = held("1", "100")
    answer = DCA.propose(
        view(DCA, CALM, params=PLAIN, bid="97.00", ask="98.01", position=position, deal=deal_of(position))
    )
    assert answer == []


def test_safety_order_says_how_far_the_price_fell_and_which_one_it_is() -> None:
    position = held("1", "100")
    answer = DCA.propose(view(DCA, CALM, params=PLAIN, bid="95.5", position=position, deal=deal_of(position, legs=2)))
    assert only_order(answer).reason == "Price fell 4.50 % below the average buy price: safety order 2 of 3"


def test_no_safety_order_after_the_last() -> None:
    position = held("1", "100")
    answer = DCA.propose(view(DCA, CALM, params=PLAIN, bid="50", position=position, deal=deal_of(position, legs=4)))
    assert answer == []


def test_no_safety_orders_at_all_when_there_are_none() -> None:
    position = held("1", "100")
    params = {**PLAIN, "safety_orders_max": 0}
    assert DCA.propose(view(DCA, CALM, params=params, bid="50", position=position, deal=deal_of(position))) == []


@pytest.mark.parametrize("order", [resting(Side.BUY, "so1", None), resting(Side.SELL, "exit", None)])
def test_no_safety_order_while_an_order_is_open(order: Any) -> None:
    position = held("1", "100")
    answer = DCA.propose(
        view(DCA, CALM, params=PLAIN, bid="97", position=position, deal=deal_of(position), open_orders=(order,))
    )
    assert answer == []


def test_a_position_without_a_deal_counts_as_its_base_order() -> None:
    assert only_order(DCA.propose(view(DCA, CALM, params=PLAIN, bid="98", position=held("1", "100")))).leg == "so1"


def test_max_spend_cuts_the_last_leg_to_what_is_left() -> None:
    """150 of 200 USD are spent: the leg of 100 becomes one of 50."""
    params = {**PLAIN, "safety_orders_max": 1, "max_spend_pct": 20}
    position = held("1.5", "100")
    order = only_order(DCA.propose(view(DCA, CALM, params=params, bid="50", position=position, deal=deal_of(position))))
    assert order.quantity == Decimal(1)


@pytest.mark.parametrize("spent", ["2", "3"])
def test_max_spend_reached_or_passed_ends_the_ladder(spent: str) -> None:
    params = {**PLAIN, "safety_orders_max": 1, "max_spend_pct": 20}
    position = held(spent, "100")
    assert DCA.propose(view(DCA, CALM, params=params, bid="50", position=position, deal=deal_of(position))) == []


# --- take profit, trailing, stop loss


@pytest.mark.parametrize(("bid", "sells"), [("104.99", False), ("105.00", True), ("140", True)])
def test_take_profit_at_the_goal_sells_everything(bid: str, sells: bool) -> None:
    position = held("1.23456", "100")
    answer = DCA.propose(view(DCA, CALM, params=PLAIN, bid=bid, position=position, deal=deal_of(position)))
    assert bool(answer) is sells
    if sells:
        order = only_order(answer)
        assert (order.side, order.type, order.leg, order.reduce_only) == (Side.SELL, OrderType.MARKET, "exit", True)
        assert order.quantity == Decimal("1.2345")


def test_take_profit_is_judged_at_the_bid_that_it_would_get() -> None:
    position = held("1", "100")
    answer = DCA.propose(
        view(DCA, CALM, params=PLAIN, bid="104.99", ask="106", position=position, deal=deal_of(position))
    )
    assert answer == []


def test_take_profit_says_how_far_it_came() -> None:
    position = held("1", "100")
    order = only_order(DCA.propose(view(DCA, CALM, params=PLAIN, bid="105.5", position=position)))
    assert order.reason == "Take profit: the bid is 5.50 % above the average buy price; the goal is 5 %"


def test_no_second_sale_while_one_is_open() -> None:
    position = held("1", "100")
    answer = DCA.propose(
        view(DCA, CALM, params=PLAIN, bid="106", position=position, open_orders=(resting(Side.SELL, "exit", None),))
    )
    assert answer == []


@pytest.mark.parametrize(("bid", "sells"), [("80.01", False), ("80.00", True), ("10", True)])
def test_stop_loss_at_its_limit_sells_everything(bid: str, sells: bool) -> None:
    position = held("1", "100")
    deal = deal_of(position, legs=4)
    answer = DCA.propose(view(DCA, CALM, params={**PLAIN, "stop_loss_pct": 20}, bid=bid, position=position, deal=deal))
    assert bool(answer) is sells
    if sells:
        order = only_order(answer)
        assert (order.side, order.reduce_only) == (Side.SELL, True)
        assert order.reason.startswith("Stop loss: the bid is")


def test_stop_loss_goes_before_a_safety_order() -> None:
    position = held("1", "100")
    params = {**PLAIN, "stop_loss_pct": 9}
    answer = DCA.propose(view(DCA, CALM, params=params, bid="90", position=position, deal=deal_of(position)))
    assert only_order(answer).side == Side.SELL


def test_no_stop_loss_when_it_is_off() -> None:
    position = held("1", "100")
    answer = DCA.propose(view(DCA, CALM, params=PLAIN, bid="1", position=position, deal=deal_of(position, legs=4)))
    assert answer == []


TRAILING = {**PLAIN, "trailing_pct": 1}


@pytest.mark.parametrize(
    ("peak", "bid", "sells"),
    [
        ("104.99", "104.99", False),  # the goal of 105 was never reached
        ("104.99", "104.00", False),
        ("105", "105", False),  # reached, and still at its best
        ("110", "108.91", False),  # 1 % below 110 is 108.90
        ("110", "108.90", True),
        ("110", "103.95", True),  # the floor: 1 % below the goal
        ("110", "103.94", False),  # below the floor it waits again
        (None, "106", False),  # no best known yet: this bid is the best
    ],
)
def test_trailing_sells_when_the_bid_falls_back_from_its_best(peak: str | None, bid: str, sells: bool) -> None:
    position = held("1", "100")
    deal = deal_of(position, peak=peak)
    answer = DCA.propose(view(DCA, CALM, params=TRAILING, bid=bid, position=position, deal=deal))
    assert bool(answer) is sells
    if sells:
        assert only_order(answer).reason.startswith("Trailing take profit: the bid is")


def test_trailing_never_sells_at_a_loss_after_the_average_has_fallen() -> None:
    """A best bid from before a safety order may lie far above the new goal; the floor holds all the same."""
    position = held("3", "80")
    for bid in ("70", "80", "82", "83.15"):
        deal = deal_of(position, legs=4, peak="104")
        assert DCA.propose(view(DCA, CALM, params=TRAILING, bid=bid, position=position, deal=deal)) == [], bid


def test_stop_loss_holds_while_trailing_is_on() -> None:
    position = held("1", "100")
    deal = deal_of(position, legs=4, peak="110")
    answer = DCA.propose(
        view(DCA, CALM, params={**TRAILING, "stop_loss_pct": 20}, bid="79", position=position, deal=deal)
    )
    assert only_order(answer).reason.startswith("Stop loss")


def test_a_position_below_the_venues_minimum_is_not_offered() -> None:
    rules = with_lot("0.0001", quantity_min=Decimal(2))
    assert DCA.propose(view(DCA, CALM, params=PLAIN, bid="200", position=held("1", "100"), rules=rules)) == []


# --- resting safety orders

RESTING = {**PLAIN, "resting_orders": True}


def test_resting_safety_order_is_placed_ahead_at_its_price() -> None:
    position = PositionView(quantity=Decimal(1), cost=Decimal("100.123"), last_entry_at=at(0))
    order = only_order(DCA.propose(view(DCA, CALM, params=RESTING, position=position, deal=deal_of(position))))
    assert (order.side, order.type, order.leg) == (Side.BUY, OrderType.LIMIT, "so1")
    assert order.limit_price == Decimal("98.12")  # 100.123 x 0.98 = 98.12054, down to the tick
    assert order.quantity == Decimal("1.0191")  # 100 USD / 98.12, down to the lot
    assert order.reason == "Safety order 1 of 3 waits 2.00 % below the average buy price"


def test_one_safety_order_rests_at_a_time() -> None:
    position = held("1", "100")
    answer = DCA.propose(
        view(
            DCA,
            CALM,
            params=RESTING,
            position=position,
            deal=deal_of(position),
            open_orders=(resting(Side.BUY, "so1", "98"),),
        )
    )
    assert answer == []


def test_a_sale_takes_the_resting_safety_order_away_first() -> None:
    position = held("1", "100")
    answer = DCA.propose(
        view(
            DCA,
            CALM,
            params=RESTING,
            bid="106",
            position=position,
            deal=deal_of(position),
            open_orders=(resting(Side.BUY, "so1", "98", order_id="o7"),),
        )
    )
    assert cancels(answer[:1]) == ["o7"]
    assert orders(answer[1:])[0].side == Side.SELL
    assert len(answer) == 2


def test_when_the_deal_is_over_what_rests_is_cancelled_before_a_new_one_starts() -> None:
    orders_open = (resting(Side.BUY, "so2", "90", order_id="o8"),)
    answer = DCA.propose(view(DCA, CALM, params=RESTING, open_orders=orders_open))
    assert cancels(answer) == ["o8"]
    assert len(answer) == 1


def test_a_base_order_that_still_rests_is_left_alone() -> None:
    assert DCA.propose(view(DCA, CALM, params=RESTING, open_orders=(resting(Side.BUY, "base", None),))) == []


# --- the ladder's figures and its rules


def test_ladder_sizes_and_steps_grow_by_their_multipliers() -> None:
    params = DCA.schema.clean(PLAIN)
    assert [safety_size_pct(params, n) for n in (1, 2, 3)] == [10, 20, 40]
    assert [safety_step_pct(params, n) for n in (1, 2, 3)] == [2, 4, 8]
    assert ladder_pct(params) == 80


@pytest.mark.parametrize(
    ("changes", "usd"),
    [
        ({}, "400"),
        ({"size_multiplier": "0.5"}, "100"),
        ({"size_multiplier": "0.5", "base_order_pct": 30}, "300"),
        ({"safety_orders_max": 0}, "100"),
    ],
)
def test_largest_leg_is_the_largest_of_base_and_safety_orders(changes: dict[str, Any], usd: str) -> None:
    params = DCA.schema.clean({**PLAIN, **changes})
    assert DCA.largest_leg_usd(params, Decimal(1000)) == Decimal(usd)


@pytest.mark.parametrize(("spend", "is_good"), [("79.9999", False), ("80", True), ("80.0001", True)])
def test_the_whole_ladder_must_fit_in_max_spend(spend: str, is_good: bool) -> None:
    if is_good:
        assert DCA.schema.clean({**PLAIN, "max_spend_pct": spend})["max_spend_pct"] == Decimal(spend)
    else:
        assert "together cost 80.00 %" in errors({"max_spend_pct": spend})["max_spend_pct"][0]


@pytest.mark.parametrize(("stop", "is_good"), [("7.99", False), ("8", False), ("8.01", True), ("0", True)])
def test_the_stop_loss_must_lie_below_the_last_safety_order(stop: str, is_good: bool) -> None:
    if is_good:
        DCA.schema.clean({**PLAIN, "stop_loss_pct": stop})
    else:
        assert "further away than the last safety order (8.00 %)" in errors({"stop_loss_pct": stop})["stop_loss_pct"][0]


def test_any_stop_loss_will_do_without_safety_orders() -> None:
    DCA.schema.clean({**PLAIN, "safety_orders_max": 0, "stop_loss_pct": "0.5"})


@pytest.mark.parametrize(("trailing", "is_good"), [("4.99", True), ("5", False), ("5.01", False)])
def test_trailing_must_be_smaller_than_take_profit(trailing: str, is_good: bool) -> None:
    if is_good:
        DCA.schema.clean({**PLAIN, "trailing_pct": trailing})
    else:
        assert "smaller than take profit" in errors({"trailing_pct": trailing})["trailing_pct"][0]


def test_steps_must_not_reach_a_price_of_zero() -> None:
    found = errors({"step_pct": 23, "step_multiplier": 2})
    assert "92.00 % below the average; the most is 90 %" in found["step_multiplier"][0]
    DCA.schema.clean({**PLAIN, "step_pct": "22.5"})
