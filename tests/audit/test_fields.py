"""Figures come back from the database exactly as they went in, and so does everything that is hashed."""

import json
from datetime import UTC
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.chain import ORDER_COLUMNS, Chain, row_hash
from audit.decimals import decimal_text, storable
from audit.fields import CanonicalJSONField, ExactDecimalField, canonical_json
from audit.log import record, unit
from audit.models import ChainHead, OperatorEvent, OrderEvent
from audit.reading import read_rows
from audit.records import prepare_order_event
from audit.verify import verify_chains
from tests.audit.factories import operator_event, order_event, write, write_fills

# 28 digits on either side of the point, and 38 in all.
DECIMALS = st.builds(
    lambda digits, places, sign: Decimal((sign, tuple(map(int, str(digits))), -places)),
    st.integers(0, 10**28 - 1),
    st.integers(0, 28),
    st.integers(0, 1),
) | st.builds(
    lambda digits, places: Decimal(f"{digits}E-{places}"), st.integers(10**37, 10**38 - 1), st.integers(10, 28)
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcdefü\0", max_size=5), inner, max_size=3),
    max_leaves=8,
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)


@given(DECIMALS)
def test_decimal_text_has_one_form_per_value(value: Decimal) -> None:
    text = decimal_text(value)
    assert Decimal(text) == value
    assert decimal_text(storable(value)) == text
    assert "E" not in text
    assert not text.endswith(".")
    assert text != "-0"
    assert "." not in text or not text.endswith("0")


@pytest.mark.parametrize("value", ["1E+28", "1E-29", "NaN", "sNaN", "Infinity", "-Infinity", "1" * 39, "1E+999999999"])
def test_what_cannot_be_kept_exactly_is_not_storable(value: str) -> None:
    with pytest.raises(ValueError, match=r"not a finite|range|digits"):
        storable(Decimal(value))


@pytest.mark.django_db
@settings(max_examples=40, deadline=None)
@given(st.lists(DECIMALS, min_size=1, max_size=20))
def test_decimals_come_back_exactly(prices: list[Decimal]) -> None:
    start = ChainHead.objects.get(chain="paper").seq
    write(*(order_event(price=price, amount=price.copy_negate()) for price in prices))
    rows = list(OrderEvent.objects.filter(is_live=0, seq__gt=start).order_by("seq"))
    assert [(row.price, row.amount) for row in rows] == [(price, price.copy_negate()) for price in prices]
    assert [str(row.price) for row in rows] == [str(storable(price)) for price in prices]


@pytest.mark.django_db
@settings(max_examples=60, deadline=None)
@given(DECIMALS, TEXTS, st.dictionaries(st.text("abcü", max_size=4), JSON, max_size=3), st.datetimes())
def test_what_is_hashed_is_the_same_before_the_write_and_after_the_read(
    price: Decimal, reason: str, details: dict[str, Any], ts: Any
) -> None:
    event = order_event(price=price, reason=reason, details=details, ts=ts.replace(tzinfo=UTC))
    write(event)
    seq = ChainHead.objects.get(chain="paper").seq
    ((_, (row,)),) = read_rows(connection, Chain.PAPER, seq, seq)
    values = list(row[2:])
    assert row_hash(Chain.PAPER, values) == row[1]
    for column in ("seq", "prev_hash"):
        values[ORDER_COLUMNS.index(column)] = None
    assert values == prepare_order_event(event).values


@pytest.mark.django_db
@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=5))
def test_operator_events_of_any_text_verify(texts: list[tuple[str, str, str]]) -> None:
    with unit():
        for object_, old, new in texts:
            record(operator_event(object=object_, old=old, new=new))
    assert all(report.intact for report in verify_chains())
    last = OperatorEvent.objects.order_by("-seq").values_list("object", "old", "new")[: len(texts)]
    assert list(reversed(last)) == texts


@pytest.mark.django_db
def test_a_time_on_the_full_second_is_found_by_filters_and_verifies() -> None:
    write_fills(1)
    row = OrderEvent.objects.get()
    assert OrderEvent.objects.filter(ts__gte=row.ts, ts__lte=row.ts, ts=row.ts).exists()
    assert all(report.intact for report in verify_chains())


@pytest.mark.django_db
def test_decimals_are_compared_as_numbers_not_as_text() -> None:
    write(*(order_event(price=Decimal(price)) for price in ("9.5", "10", "100", "-3")))

    def prices(**condition: Any) -> list[str]:
        return [str(row.price) for row in OrderEvent.objects.filter(**condition).order_by("seq")]

    assert prices(price__gt=Decimal("9.5")) == ["10", "100"]
    assert prices(price__gte=Decimal("9.50")) == ["9.5", "10", "100"]
    assert prices(price__lt=Decimal(10)) == ["9.5", "-3"]
    assert prices(price__lte=Decimal(10)) == ["9.5", "10", "-3"]
    assert prices(price=Decimal("10.0")) == ["10"]


@pytest.mark.parametrize("value", [1.5, "abc", "1E+40", "NaN"])
def test_exact_decimal_field_refuses_what_is_not_exact(value: Any) -> None:
    with pytest.raises(ValidationError):
        ExactDecimalField().to_python(value)


def test_exact_decimal_field_takes_text_and_decimals() -> None:
    field = ExactDecimalField()
    assert (field.to_python(" 1.50 "), field.to_python(Decimal("2")), field.to_python(None)) == (
        Decimal("1.5"),
        Decimal(2),
        None,
    )


@given(JSON)
def test_canonical_json_is_stable_and_reads_back(value: Any) -> None:
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text


def test_canonical_json_has_no_floats_and_no_other_types() -> None:
    for value in (1.5, {"a": [1.5]}, object(), {1, 2}, b"x"):
        with pytest.raises(TypeError):
            canonical_json(value)
    assert canonical_json({"b": Decimal("1.50"), "a": (1, True)}) == '{"a":[1,true],"b":"1.5"}'


def test_canonical_json_field_refuses_what_is_not_json() -> None:
    with pytest.raises(ValidationError):
        CanonicalJSONField().to_python("{")
    assert CanonicalJSONField().to_python('{"a":1}') == {"a": 1}
