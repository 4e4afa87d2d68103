"""What a record becomes before it is written: cleaned, bounded, exact, or refused."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.chain import OPERATOR_COLUMNS, ORDER_COLUMNS, Chain
from audit.records import (
    DETAILS_CHARS_MAX,
    bounded,
    database_time,
    prepare_operator_event,
    prepare_order_event,
    utc_text,
)
from tests.audit.factories import NOON, operator_event, order_event


def prepared(column: str, **changes: Any) -> Any:
    """Return one column of an order event made ready."""
    return prepare_order_event(order_event(**changes)).values[ORDER_COLUMNS.index(column)]


@given(st.text(), st.integers(2, 80))
def test_bounded_text_can_always_be_stored(text: str, chars_max: int) -> None:
    kept = bounded(text, chars_max)
    assert len(kept) <= chars_max
    assert "\0" not in kept
    kept.encode()  # raises on half of a surrogate pair


def test_text_that_fits_is_kept_as_it_is() -> None:
    assert bounded("ordre refusé \n\t", 15) == "ordre refusé \n\t"


def test_text_that_is_too_long_is_cut_with_a_mark_that_tells_its_length() -> None:
    kept = bounded("x" * 3_000, 2_000)
    assert len(kept) == 2_000
    assert kept.endswith("x…[cut, 3000 characters]")


def test_text_too_long_for_the_mark_itself_is_still_marked() -> None:
    assert bounded("x" * 50, 8) == "xxxxxxx…"


def test_what_is_not_text_is_refused() -> None:
    with pytest.raises(TypeError, match="text is due"):
        prepare_order_event(order_event(reason=None))


def test_a_venues_endless_reason_and_id_are_cut_to_their_columns() -> None:
    assert len(prepared("reason", reason="r" * 9_999)) == 2_000
    assert len(prepared("venue_order_id", venue_order_id="v" * 9_999)) == 128
    assert len(prepared("actor", actor="a" * 9_999)) == 200


def test_nul_and_half_characters_are_replaced() -> None:
    assert prepared("reason", reason="a\0b\ud800c") == "a\ufffdb?c"
    assert prepared("details", details={"note": "\ud800"}) == '{"note":"?"}'


def test_details_are_canonical_json_text() -> None:
    assert prepared("details", details={"b": Decimal("1.50"), "a": [1, None, True]}) == '{"a":[1,null,true],"b":"1.5"}'


def test_details_that_are_too_long_keep_their_start_and_their_length() -> None:
    text = prepared("details", details={"raw": "y" * DETAILS_CHARS_MAX})
    assert len(text) < DETAILS_CHARS_MAX
    assert text.startswith('{"cut_from_chars":20010,"start":"{\\"raw\\":\\"yyyy')


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"details": {"price": 1.5}}, TypeError),
        ({"event": "bought"}, ValueError),
        ({"event": ""}, ValueError),
        ({"is_live": 0}, TypeError),
        ({"is_live": None}, TypeError),
        ({"bot_id": "7"}, TypeError),
        ({"bot_id": True}, TypeError),
        ({"price": 1.5}, TypeError),
        ({"amount": "1.5"}, TypeError),
        ({"price": Decimal("NaN")}, ValueError),
        ({"price": Decimal("Infinity")}, ValueError),
        ({"amount": Decimal("1E+28")}, ValueError),
        ({"amount": Decimal("1E-29")}, ValueError),
        ({"ts": NOON.replace(tzinfo=None)}, ValueError),
    ],
)
def test_what_cannot_be_kept_exactly_is_refused(changes: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        prepare_order_event(order_event(**changes))


@pytest.mark.parametrize(
    ("price", "text"),
    [
        ("64123.50", "64123.5"),
        ("1E+3", "1000"),
        ("-0.0", "0"),
        ("1E-28", "0." + "0" * 27 + "1"),
        ("9" * 28, "9" * 28),
        ("-12.3400", "-12.34"),
    ],
)
def test_decimals_have_one_text(price: str, text: str) -> None:
    assert prepared("price", price=Decimal(price)) == text


def test_missing_price_stays_missing() -> None:
    assert prepared("price", price=None) is None


def test_times_are_utc_with_six_decimals() -> None:
    plus_two = timezone(timedelta(hours=2))
    assert utc_text(datetime(2026, 1, 31, 14, 0, 0, 5, plus_two)) == "2026-01-31T12:00:00.000005Z"
    assert utc_text(NOON) == "2026-01-31T12:00:00.000000Z"


def test_database_time_is_written_as_django_does() -> None:
    assert database_time("2026-01-31T12:00:00.000000Z", "sqlite") == "2026-01-31 12:00:00"
    assert database_time("2026-01-31T12:00:00.500000Z", "sqlite") == "2026-01-31 12:00:00.500000"
    assert database_time("2026-01-31T12:00:00.500000Z", "postgresql") == "2026-01-31T12:00:00.500000Z"


def test_a_record_without_time_gets_the_present_one() -> None:
    before = utc_text(datetime.now(UTC))
    assert before <= prepared("ts", ts=None) <= utc_text(datetime.now(UTC))


@pytest.mark.parametrize(("is_live", "chain"), [(True, Chain.LIVE), (False, Chain.PAPER)])
def test_is_live_chooses_the_chain(is_live: bool, chain: Chain) -> None:
    ready = prepare_order_event(order_event(is_live=is_live))
    assert (ready.chain, ready.values[ORDER_COLUMNS.index("is_live")]) == (chain, int(is_live))


def test_operator_event_is_bounded_and_in_its_own_chain() -> None:
    ready = prepare_operator_event(operator_event(old="o" * 5_000, reason="r" * 5_000))
    assert ready.chain is Chain.OPERATOR
    assert len(ready.values[OPERATOR_COLUMNS.index("old")]) == 4_000
    assert len(ready.values[OPERATOR_COLUMNS.index("reason")]) == 2_000
