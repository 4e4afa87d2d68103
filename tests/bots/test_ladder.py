"""A bot's whole ladder beforehand: which leg would be denied, by which control, and which limit to raise."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from bots.ladder import Funds, LegCheck, check_ladder
from bots.manager import NewBot
from bots.markets import market_for
from bots.strategies import registry
from safety.intents import LimitSet
from safety.limits import merge
from tests.bots.builders import Floor

pytestmark = pytest.mark.django_db
ALL = [pytest.param(strategy.key, id=strategy.key) for strategy in registry.all()]


def a_plan(strategy: str = "smart_dca", capital: str = "250", **params: Any) -> NewBot:
    return NewBot("plan", "replay", "BTC-PERP", strategy, Decimal(capital), params)


def check(
    plan: NewBot, limits: LimitSet, *, equity: str = "500", is_live: bool = False, **funds: Any
) -> list[LegCheck]:
    now = timezone.now()
    market = market_for(plan.venue, plan.symbol, now)
    return [*check_ladder(plan, market, limits, Funds(Decimal(equity), **funds), is_live=is_live, now=now)]


def codes(checks: list[LegCheck]) -> dict[str, list[str]]:
    return {one.leg.name: [denial.code for denial in one.denials] for one in checks if not one.passes}


@pytest.mark.parametrize("is_live", [False, True])
@pytest.mark.parametrize("capital", ["100", "250"])
@pytest.mark.parametrize("strategy", ALL)
def test_defaults_of_a_small_account_pass_whole(floor: Floor, strategy: str, capital: str, is_live: bool) -> None:
    limits = merge(None, None, is_live=is_live)
    checks = check(a_plan(strategy, capital), limits, is_live=is_live)
    assert codes(checks) == {}
    assert len(checks) == (6 if strategy == "smart_dca" else 1)


@pytest.mark.parametrize(
    ("name", "change", "denied", "to_raise"),
    [
        ("notional_usd_max", "30", ["so4", "so5"], ["notional_usd_max_paper"]),
        ("position_floor_usd", "120", ["so4", "so5"], ["position_equity_pct", "position_floor_usd"]),
        ("gross_floor_usd", "120", ["so4", "so5"], ["gross_equity_pct", "gross_floor_usd"]),
    ],
)
def test_limit_that_is_too_low_is_named(
    floor: Floor, name: str, change: str, denied: list[str], to_raise: list[str]
) -> None:
    # Legs of 20, 20, 24, 28.8, 34.56 and 41.47 USD; 10 % and 50 % of the equity are below the floors.
    changed: dict[str, Any] = {name: Decimal(change)}
    limits = replace(merge(None, None, is_live=False), gross_equity_pct=Decimal(1), **changed)
    checks = check(a_plan(), limits)
    bad = [one for one in checks if not one.passes]
    assert [one.leg.name for one in bad] == denied
    assert {field.name for field in bad[0].to_raise} == set(to_raise)


def test_limit_at_the_leg_lets_it_pass_and_just_under_does_not(floor: Floor) -> None:
    floor.feed.lot = Decimal("0.00001")
    plan = a_plan("breakout", "1000", position_pct="10")
    # 100 USD at an ask of 100.01, in lots, is worth 99.999999.
    for limit, passes in (("100", True), ("99.9", False)):
        limits = replace(merge(None, None, is_live=False), notional_usd_max=Decimal(limit))
        (leg,) = check(plan, limits, equity="100000")
        assert leg.passes is passes


def test_first_live_orders_are_bound_by_the_ramp(floor: Floor) -> None:
    live = merge(None, None, is_live=True)
    plan = a_plan("breakout", "500")
    assert codes(check(plan, live, equity="5000", is_live=True)) == {"entry": ["LIVE_RAMP"]}
    (leg,) = check(plan, live, equity="5000", is_live=True)
    assert [field.name for field in leg.to_raise] == ["ramp_usd_max"]
    assert codes(check(plan, live, equity="5000", is_live=True, live_fills=10)) == {}


def test_other_bots_of_the_account_count(floor: Floor) -> None:
    limits = merge(None, None, is_live=True)
    assert "GROSS_EXPOSURE_MAX" in codes(check(a_plan(), limits, is_live=True, committed_usd=Decimal(485)))["base"]


def test_ladder_whose_own_fall_reaches_the_daily_loss_says_so(floor: Floor) -> None:
    plan = a_plan(capital="500", step_pct="20", step_multiplier="1", stop_loss_pct="0")
    assert "DAILY_LOSS" in codes(check(plan, merge(None, None, is_live=False)))["so5"]


def test_leg_below_the_venues_minimum_is_denied(floor: Floor) -> None:
    floor.feed.notional_min = Decimal(5)
    assert codes(check(a_plan(capital="50"), merge(None, None, is_live=False))) == {
        "base": ["NOTIONAL_BELOW_MIN"], "so1": ["NOTIONAL_BELOW_MIN"], "so2": ["NOTIONAL_BELOW_MIN"],
    }  # fmt: skip


# What a deal can lose.


@pytest.mark.parametrize("strategy", ALL)
def test_ladder_is_what_the_params_plan(strategy: str) -> None:
    found = registry.get(strategy)
    params = found.schema.defaults()
    legs = found.ladder(params, Decimal(250))
    assert max(leg.notional_usd for leg in legs) == found.largest_leg_usd(params, Decimal(250))
    assert [leg.below_pct for leg in legs] == sorted(leg.below_pct for leg in legs)
    assert found.worst_case_usd(params, Decimal(250)) == sum(leg.notional_usd for leg in legs)


def test_ladders_depth_is_below_the_first_entry_not_below_the_average() -> None:
    dca = registry.get("smart_dca")
    params = dca.schema.clean({"step_pct": "10", "step_multiplier": "1", "size_multiplier": "1", "safety_orders_max": "2",
                               "stop_loss_pct": "0"})  # fmt: skip
    legs = dca.ladder(params, Decimal(100))
    # Equal amounts at 1 and 0.9 average 2 / (1 + 1/0.9); 10 % below that is the third.
    assert [leg.below_pct for leg in legs[:2]] == [0, 10]
    assert legs[2].below_pct.quantize(Decimal("0.0001")) == Decimal("14.7368")


def test_worst_case_says_what_a_deal_can_lose() -> None:
    dca = registry.get("smart_dca")
    case = dca.worst_case(dca.schema.defaults(), Decimal(250))
    assert case.sentence == (
        "One deal can lose up to 168.84 USD, if the price goes to zero; about 10.13 USD if its stop loss of 6 % sells it all, "
        "and more if the price jumps past that."
    )
    bare = dca.worst_case({**dca.schema.defaults(), "stop_loss_pct": Decimal(0)}, Decimal(250))
    assert (bare.at_stop_usd, bare.loss_usd) == (None, case.loss_usd)
    assert bare.sentence.endswith("if the price goes to zero; it has no stop loss.")
