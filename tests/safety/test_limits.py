"""Which limits hold: defaults, the global row, the bot's row, and what the database refuses to keep."""

from dataclasses import fields
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from hypothesis import given
from hypothesis import strategies as st

from safety.controls import CONTROLS
from safety.intents import LimitSet
from safety.limit_fields import FIELDS, SWITCHABLE
from safety.limits import DEFAULTS, LimitBook, merge, switched_off, unknown_codes
from safety.models import RiskLimits
from tests.safety.builders import LIVE, ago, codes

D = Decimal
FIGURES = tuple(one.name for one in FIELDS if isinstance(one.default, Decimal))
COUNTS = tuple(one.name for one in FIELDS if isinstance(one.default, int))
#: The rows as CONTROLS.md has them.
SHIPPED: dict[str, Any] = {
    "notional_usd_max_paper": D(5_000),
    "notional_usd_max_live": D(250),
    "notional_equity_pct": D(2),
    "notional_floor_usd": D(125),
    "ramp_usd_max": D(50),
    "size_outlier_multiple": D(5),
    "collar_pct_major": D(2),
    "collar_pct_other": D(5),
    "collar_passive_pct": D(30),
    "quote_age_s_max": D(10),
    "candle_periods_max": D(2),
    "rate_per_minute_bot": 20,
    "rate_per_minute_account": 60,
    "repeat_per_day": 60,
    "open_orders_bot_max": 10,
    "open_orders_account_max": 50,
    "position_equity_pct": D(10),
    "position_floor_usd": D(300),
    "gross_equity_pct": D(50),
    "gross_floor_usd": D(500),
    "daily_loss_pct": D(3),
    "drawdown_pct": D(10),
    "losing_streak_max": 5,
    "losing_pause_h": D(4),
    "reject_streak_max": 5,
    "intent_age_s_max": D(30),
}
#: The controls whose default is a figure, and the figures by which each is switched off.
OFF: dict[str, set[str]] = {
    "NOTIONAL_ABOVE_MAX": {"notional_usd_max", "notional_equity_pct"},
    "SIZE_OUTLIER": {"size_outlier_multiple"},
    "STALE_MARKET_DATA": {"quote_age_s_max", "candle_periods_max"},
    "RATE_LIMIT": {"rate_per_minute_bot", "rate_per_minute_account"},
    "REPEAT_THROTTLE": {"repeat_per_day"},
    "OPEN_ORDERS_MAX": {"open_orders_bot_max", "open_orders_account_max"},
    "POSITION_MAX": {"position_equity_pct"},
    "GROSS_EXPOSURE_MAX": {"gross_equity_pct"},
    "DAILY_LOSS": {"daily_loss_pct"},
    "DRAWDOWN": {"drawdown_pct"},
    "LOSING_STREAK": {"losing_streak_max"},
    "ERROR_STREAK": {"reject_streak_max"},
    "INTENT_EXPIRED": {"intent_age_s_max"},
    "LIVE_RAMP": {"ramp_usd_max"},
}
#: The names of columns that hold for one book only, by their field in a LimitSet.
BY_BOOK = {"notional_usd_max_paper": False, "notional_usd_max_live": True, "notional_equity_pct": True}
maybe = st.none() | st.integers(1, 100)


def row(**figures: Any) -> RiskLimits:
    return RiskLimits(scope="global", **figures)


def held(limits: LimitSet, name: str) -> Any:
    return getattr(limits, "notional_usd_max" if name.startswith("notional_usd_max") else name)


def test_defaults_hold_where_nothing_is_set() -> None:
    assert DEFAULTS == SHIPPED
    for rows in ((None, None), (row(), None), (None, row()), (row(), row())):
        for is_live in (False, True):
            limits = merge(*rows, is_live=is_live)
            names = [name for name in SHIPPED if BY_BOOK.get(name, is_live) == is_live]
            assert {name: held(limits, name) for name in names} == {name: SHIPPED[name] for name in names}
        assert merge(*rows, is_live=False).notional_equity_pct is None, "a share of the account bounds live orders only"


@pytest.mark.parametrize("name", sorted(SHIPPED))
@given(global_figure=maybe, bot_figure=maybe)
def test_global_figure_replaces_the_default_and_the_bots_own_only_tightens(
    name: str, global_figure: int | None, bot_figure: int | None
) -> None:
    rows = row(**{name: global_figure}), row(**{name: bot_figure})
    limits = merge(*rows, is_live=BY_BOOK.get(name, True))
    base = SHIPPED[name] if global_figure is None else global_figure
    stricter = max if name == "losing_pause_h" else min
    assert held(limits, name) == (base if bot_figure is None else stricter(base, bot_figure))


@pytest.mark.parametrize("code", list(OFF))
def test_control_that_is_switched_off_for_all_bots_has_no_limit(code: str) -> None:
    everything, without = merge(row(), None, is_live=True), merge(row(switched_off=[code]), None, is_live=True)
    changed = {one.name for one in fields(LimitSet) if getattr(everything, one.name) != getattr(without, one.name)}
    assert changed == OFF[code]
    assert all(getattr(without, name) is None for name in changed)


def test_only_controls_whose_default_is_a_figure_can_be_switched_off() -> None:
    assert set(SWITCHABLE) == set(OFF)
    always = sorted(set(CONTROLS) - set(OFF))
    assert "READINESS" in always
    listed = row(switched_off=[*always, "NO_SUCH_CODE", 7, None])
    assert merge(listed, None, is_live=True) == merge(None, None, is_live=True)
    assert unknown_codes(listed) == sorted([*always, "NO_SUCH_CODE"])
    assert switched_off(listed) == frozenset()


@pytest.mark.parametrize("listed", ["DAILY_LOSS", {"DAILY_LOSS": True}, None, 1, True])
def test_what_is_no_list_switches_nothing_off(listed: Any) -> None:
    assert merge(row(switched_off=listed), None, is_live=True) == merge(None, None, is_live=True)


@pytest.mark.parametrize("name", sorted(name for names in OFF.values() for name in names if name != "notional_usd_max"))
def test_bots_own_figure_binds_though_the_control_is_switched_off(name: str) -> None:
    own = merge(row(switched_off=list(OFF), **{name: 3}), row(**{name: 7}), is_live=True)
    assert getattr(own, name) == 7
    assert sum(getattr(own, other) is not None for names in OFF.values() for other in names) == 1


def test_bots_own_floor_or_pause_brings_back_the_figure_beside_it() -> None:
    off = row(switched_off=list(OFF), position_equity_pct=D(8))
    limits = merge(off, row(position_floor_usd=D(90), losing_pause_h=D(1)), is_live=False)
    assert (limits.position_equity_pct, limits.position_floor_usd) == (D(8), D(90))
    assert (limits.losing_streak_max, limits.losing_pause_h) == (5, D(1))
    assert limits.gross_equity_pct is None


def test_a_bots_own_row_switches_nothing_off() -> None:
    assert merge(row(), row(switched_off=list(OFF)), is_live=True) == merge(None, None, is_live=True)


def test_with_everything_off_that_can_be_the_other_controls_still_deny() -> None:
    limits = merge(row(switched_off=list(OFF)), None, is_live=True)
    bare = {one.name: getattr(limits, one.name) for one in fields(LimitSet) if one.name != "notional_usd_min"}
    assert codes(**LIVE | {"readiness": None, "created_at": ago(99)} | bare) == ("READINESS",)
    huge = {"quantity": D(4_000), "cash_free_usd": D(10**9), "capital_usd": D(10**9)}
    assert codes(**LIVE | huge | {"equity_usd": D(1), "live_fills": 0} | bare) == ()


@given(global_figure=maybe, bot_figure=maybe, is_live=st.booleans())
def test_order_value_has_a_limit_of_its_own_on_paper_and_live(
    global_figure: int | None, bot_figure: int | None, is_live: bool
) -> None:
    own, others = ("live", "paper") if is_live else ("paper", "live")
    rows = [
        row(**{f"notional_usd_max_{own}": one, f"notional_usd_max_{others}": D(1)})
        for one in (global_figure, bot_figure)
    ]
    default = 250 if is_live else 5_000
    base = default if global_figure is None else global_figure
    assert merge(*rows, is_live=is_live).notional_usd_max == min(base, bot_figure or base)


def test_limit_of_zero_is_kept_and_is_not_taken_for_unset() -> None:
    assert merge(row(rate_per_minute_bot=0), None, is_live=False).rate_per_minute_bot == 0
    assert merge(None, row(rate_per_minute_bot=0), is_live=False).rate_per_minute_bot == 0


def test_floors_come_from_the_environment() -> None:
    assert merge(None, None, is_live=False).notional_usd_min == {"replay": D(1), "kraken": D(5), "alpaca": D(1)}


@pytest.mark.django_db
def test_a_bot_is_bound_by_the_global_row_and_its_own_and_by_no_other_bots() -> None:
    RiskLimits.objects.filter(scope="global").update(open_orders_bot_max=8)
    RiskLimits.objects.create(scope="bot:1", rate_per_minute_bot=3, open_orders_bot_max=9)
    RiskLimits.objects.create(scope="bot:11", rate_per_minute_bot=1)
    book = LimitBook.read([1, 2])
    assert (book.for_bot(1, is_live=False).rate_per_minute_bot, book.for_bot(1, is_live=False).open_orders_bot_max) == (
        3,
        8,
    )
    assert book.for_bot(2, is_live=False).rate_per_minute_bot == 20
    assert book.for_bot(2, is_live=False).open_orders_bot_max == 8


@pytest.mark.django_db
def test_without_any_row_the_defaults_hold() -> None:
    RiskLimits.objects.all().delete()
    assert LimitBook.read([1]).for_bot(1, is_live=True) == merge(None, None, is_live=True)


@pytest.mark.django_db
@pytest.mark.parametrize("figure", [D(0), D(-1), D("-0.00000001")], ids=str)
@pytest.mark.parametrize("name", FIGURES)
def test_database_refuses_a_figure_that_is_not_above_zero(name: str, figure: Decimal) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        RiskLimits.objects.create(scope="bot:1", **{name: figure})


@pytest.mark.django_db
@pytest.mark.parametrize("name", FIGURES)
def test_database_keeps_a_small_figure_exactly(name: str) -> None:
    RiskLimits.objects.create(scope="bot:1", **{name: D("0.0000000000000000000000000001")})
    assert getattr(RiskLimits.objects.get(scope="bot:1"), name) == D("1e-28")


@pytest.mark.django_db
@pytest.mark.parametrize("figure", ["NaN", "sNaN", "Infinity", "-Infinity", "five", 0.5])
@pytest.mark.parametrize("name", FIGURES)
def test_figure_that_is_not_a_finite_decimal_is_refused(name: str, figure: object) -> None:
    with pytest.raises(ValidationError):
        RiskLimits.objects.create(scope="bot:1", **{name: figure})


@pytest.mark.django_db
@pytest.mark.parametrize("name", COUNTS)
def test_database_refuses_a_negative_count(name: str) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        RiskLimits.objects.create(scope="bot:1", **{name: -1})


@pytest.mark.django_db
def test_not_a_number_that_got_into_the_database_stops_the_order_and_lifts_no_limit() -> None:
    """On PostgreSQL NaN is above zero, so a hand-written statement gets it past the constraint."""
    if connection.vendor != "postgresql":
        with pytest.raises(IntegrityError), connection.cursor() as cursor:
            cursor.execute("UPDATE risk_limits SET intent_age_s_max = 'NaN' WHERE scope = 'global'")
        return
    with connection.cursor() as cursor:
        cursor.execute("UPDATE risk_limits SET intent_age_s_max = 'NaN' WHERE scope = 'global'")
    with pytest.raises(ValueError, match="not a finite number"):
        LimitBook.read([1])
