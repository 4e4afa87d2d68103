"""Figures as people read them: what is rounded, what never is, and what is said when nothing is known."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from audit import figures
from audit.templatetags.figures import pnl

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "text", "signed"),
    [
        ("0", "$0.00", "$0.00"),
        ("1234.5", "$1,234.50", "+$1,234.50"),
        ("-1234567.891", "-$1,234,567.89", "-$1,234,567.89"),
        ("0.005", "$0.00", "$0.00"),
        ("0.015", "$0.02", "+$0.02"),
        ("-0.004", "$0.00", "$0.00"),
        ("99999999999999999999.99", "$99,999,999,999,999,999,999.99", "+$99,999,999,999,999,999,999.99"),
    ],
)
def test_money_is_rounded_half_to_even_to_the_cent(value: str, text: str, signed: str) -> None:
    assert (figures.money(Decimal(value)), figures.money(Decimal(value), signed=True)) == (text, signed)


@pytest.mark.parametrize(
    "show",
    [
        figures.money,
        figures.fee,
        figures.percent,
        figures.quantity,
        figures.price,
        figures.worse,
        figures.cost,
        figures.later,
    ],
)
def test_unknown_figure_is_never_shown_as_zero(show: object) -> None:
    assert show(None) == "not known"  # type: ignore[operator]


@pytest.mark.parametrize(
    ("value", "text"), [("1E-8", "0.00000001"), ("1.500", "1.5"), ("0.1234567890123456789", "0.1234567890123456789")]
)
def test_quantity_is_shown_in_full(value: str, text: str) -> None:
    assert figures.quantity(Decimal(value)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("43493", "43,493.00"), ("1000.005", "1,000.00"), ("999.99995", "1,000.00"), ("187.4", "187.40"),
        ("1.23456", "1.2346"), ("0.5", "0.50"), ("0.00001234", "0.00001234"), ("0", "0.00"),
    ],
)  # fmt: skip
def test_price_shows_the_decimals_that_matter_at_its_size(value: str, text: str) -> None:
    assert figures.price(Decimal(value)) == text


@pytest.mark.parametrize(
    ("bps", "text"),
    [
        ("3.214", "3.21 bps worse"),
        ("-0.4", "0.40 bps better"),
        ("0.001", "0 bps"),
        ("-12345.6", "12,345.60 bps better"),
    ],
)
def test_slippage_says_which_way_it_went(bps: str, text: str) -> None:
    assert figures.worse(Decimal(bps)) == text


@pytest.mark.parametrize(
    ("usd", "text"), [("0.0312", "$0.0312 lost"), ("-1.5", "$1.5000 gained"), ("0", "nothing lost")]
)
def test_cost_says_which_way_it_went(usd: str, text: str) -> None:
    assert figures.cost(Decimal(usd)) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [("2.5", "2.50 s later"), ("-0.3", "0.30 s sooner"), ("0.001", "at the same time")]
)
def test_delay_says_which_way_it_went(seconds: str, text: str) -> None:
    assert figures.later(Decimal(seconds)) == text


def test_fee_keeps_parts_of_a_cent() -> None:
    assert figures.fee(Decimal("0.31836876")) == "$0.3184"


@pytest.mark.parametrize(("value", "text"), [("0.0125", "+1.25 %"), ("-0.5", "-50.00 %"), ("0", "0.00 %")])
def test_percent_has_a_sign(value: str, text: str) -> None:
    assert figures.percent(Decimal(value)) == text


@pytest.mark.parametrize(
    ("age_s", "text"),
    [(-5, "0 s ago"), (0, "0 s ago"), (119, "119 s ago"), (120, "2 min ago"), (7199, "119 min ago"), (7200, "2 h ago"),
     (172_799, "47 h ago"), (172_800, "2 d ago")],
)  # fmt: skip
def test_age_uses_the_largest_fitting_unit(age_s: int, text: str) -> None:
    assert figures.age(NOW - timedelta(seconds=age_s), NOW) == text


def test_what_never_was_has_no_age() -> None:
    assert figures.age(None, NOW) == "never"


@pytest.mark.parametrize(
    ("value", "kind", "arrow"),
    [("0.01", "gain", "▲"), ("-0.01", "loss", "▼"), ("0.001", "even", ""), (None, "unknown", "")],
)
def test_gain_and_loss_differ_by_more_than_colour(value: str | None, kind: str, arrow: str) -> None:
    shown = pnl(None if value is None else Decimal(value))
    assert f"tc-{kind}" in shown
    assert f">{arrow}<" in shown
