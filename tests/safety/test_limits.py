"""Which limits hold: defaults, the global row, the bot's row, and what the database refuses to keep."""

from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from hypothesis import given
from hypothesis import strategies as st

from safety.limits import DEFAULTS, LimitBook, merge
from safety.models import RiskLimits

D = Decimal
FIGURES = ("notional_usd_max_paper", "notional_usd_max_live", "quote_age_s_max", "intent_age_s_max")
COUNTS = ("rate_per_minute_bot", "rate_per_minute_account", "open_orders_bot_max", "open_orders_account_max")
#: The rows as CONTROLS.md has them.
SHIPPED: dict[str, Any] = {
    "rate_per_minute_bot": 20,
    "rate_per_minute_account": 60,
    "open_orders_bot_max": 10,
    "open_orders_account_max": 50,
    "quote_age_s_max": D(10),
    "intent_age_s_max": D(30),
}
maybe = st.none() | st.integers(1, 100)


def row(**figures: Any) -> RiskLimits:
    return RiskLimits(scope="global", **figures)


def test_defaults_hold_where_nothing_is_set() -> None:
    assert DEFAULTS == SHIPPED
    for rows in ((None, None), (row(), None), (None, row()), (row(), row())):
        for is_live, notional in ((False, D(5_000)), (True, D(250))):
            limits = merge(*rows, is_live=is_live)
            assert limits.notional_usd_max == notional
            assert {name: getattr(limits, name) for name in SHIPPED} == SHIPPED


@pytest.mark.parametrize("name", sorted(SHIPPED))
@given(global_figure=maybe, bot_figure=maybe)
def test_global_figure_replaces_the_default_and_the_bots_own_only_tightens(
    name: str, global_figure: int | None, bot_figure: int | None
) -> None:
    limits = merge(row(**{name: global_figure}), row(**{name: bot_figure}), is_live=False)
    base = SHIPPED[name] if global_figure is None else global_figure
    expected = base if bot_figure is None or bot_figure > base else bot_figure
    assert getattr(limits, name) == expected


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
