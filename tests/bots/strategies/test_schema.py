"""The schema: every bound from both sides, every problem named, nothing lost on the way to storage and back."""

import json
from decimal import Decimal
from typing import Any

import pytest
from django import forms
from hypothesis import given
from hypothesis import strategies as st

from bots.strategies import registry
from bots.strategies.base import Strategy
from bots.strategies.schema import (
    TIMEFRAME,
    BooleanParam,
    ChoiceParam,
    CrossCheck,
    DecimalParam,
    IntegerParam,
    ParamError,
    ParamSchema,
)

RATE = DecimalParam("rate", "Rate", Decimal("1.5"), Decimal("0.25"), Decimal(10), "%", "How much.")
COUNT = IntegerParam("count", "Count", 3, 1, 9, "bars", "How many.")
KIND = ChoiceParam("kind", "Kind", "slow", {"slow": "Slow", "fast": "Fast"}, "Which one.")
FLAG = BooleanParam("flag", "Flag", False, "Whether.")
SCHEMA = ParamSchema(
    (RATE, COUNT, KIND, FLAG),
    (CrossCheck("rate", lambda values: "rate must not be above count" if values["rate"] > values["count"] else None),),
)
STRATEGIES = registry.all()


def problems(raw: Any) -> dict[str, list[str]]:
    with pytest.raises(ParamError) as caught:
        SCHEMA.clean(raw)
    return caught.value.errors


def test_clean_of_nothing_is_the_defaults() -> None:
    assert SCHEMA.clean({}) == {"rate": Decimal("1.5"), "count": 3, "kind": "slow", "flag": False}
    assert SCHEMA.clean({}) == SCHEMA.defaults()


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("2.5", Decimal("2.5")),
        (" 2.5 ", Decimal("2.5")),
        ("+2", Decimal(2)),
        (2, Decimal(2)),
        (Decimal("2.50"), Decimal("2.50")),
        ("0.25", Decimal("0.25")),
        ("3.0000", Decimal("3.0000")),
    ],
)
def test_decimal_from_text_int_or_decimal_is_exact(raw: object, value: Decimal) -> None:
    cleaned = SCHEMA.clean({"rate": raw})["rate"]
    assert isinstance(cleaned, Decimal)
    assert str(cleaned) == str(value)


@pytest.mark.parametrize("raw", [2.5, 2.0, float("nan"), float("inf")])
def test_decimal_from_float_is_refused_with_the_way_out(raw: float) -> None:
    (message,) = problems({"rate": raw})["rate"]
    assert "is a float" in message
    assert "as text" in message


@pytest.mark.parametrize(
    "raw",
    [None, "", "  ", "abc", "1,5", "NaN", "Infinity", "1e0", "0x1", "1_0", "٢", True, False, [], {}, b"1", "1" * 21],
)
def test_decimal_from_anything_else_is_refused(raw: object) -> None:
    assert "must be a number" in problems({"rate": raw})["rate"][0]


@pytest.mark.parametrize("raw", [Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity")])
def test_decimal_that_is_not_finite_is_refused(raw: Decimal) -> None:
    assert "must be a number" in problems({"rate": raw})["rate"][0]


@pytest.mark.parametrize(("raw", "is_good"), [("0.2499", False), ("0.25", True), ("9", True), ("9.0001", False)])
def test_decimal_bounds_are_inclusive(raw: str, is_good: bool) -> None:
    schema = ParamSchema((DecimalParam("rate", "Rate", Decimal(1), Decimal("0.25"), Decimal(9), "%", "x"),))
    if is_good:
        assert schema.clean({"rate": raw}) == {"rate": Decimal(raw)}
        return
    with pytest.raises(ParamError) as caught:
        schema.clean({"rate": raw})
    assert caught.value.errors == {"rate": [f"must be from 0.25 to 9 %, not {raw}"]}


def test_decimal_with_more_places_than_allowed_is_refused() -> None:
    assert problems({"rate": "1.00001"}) == {"rate": ["has more than 4 decimal places"]}
    assert problems({"rate": Decimal("1E-9999")}) == {"rate": ["has more than 4 decimal places"]}


@pytest.mark.parametrize(("raw", "value"), [(5, 5), ("5", 5), ("+5", 5), (1, 1), (9, 9)])
def test_integer_from_int_or_digits(raw: object, value: int) -> None:
    cleaned = SCHEMA.clean({"count": raw, "rate": "0.5"})["count"]
    assert cleaned == value
    assert type(cleaned) is int


@pytest.mark.parametrize("raw", [None, "", "5.0", "five", True, Decimal(5), "5e0", []])
def test_integer_from_anything_else_is_refused(raw: object) -> None:
    assert "must be a whole number" in problems({"count": raw})["count"][0]


def test_integer_from_float_is_refused() -> None:
    assert "is a float (5.0)" in problems({"count": 5.0})["count"][0]


@pytest.mark.parametrize("raw", [0, 10, -1, "0", "10", 10**19])
def test_integer_out_of_bounds_is_refused(raw: object) -> None:
    assert problems({"count": raw})["count"][0].startswith("must be from 1 to 9 bars, not")


def test_choice_takes_its_words_only() -> None:
    assert SCHEMA.clean({"kind": "fast"})["kind"] == "fast"
    for raw in ("Fast", "", None, 1, ["fast"]):
        assert problems({"kind": raw})["kind"][0].startswith("must be one of slow, fast, not")


@pytest.mark.parametrize(("raw", "value"), [(True, True), (False, False), ("true", True), ("false", False)])
def test_boolean_takes_true_and_false(raw: object, value: bool) -> None:
    assert SCHEMA.clean({"flag": raw})["flag"] is value


@pytest.mark.parametrize("raw", [1, 0, "yes", "True", "on", "", None, []])
def test_boolean_takes_nothing_else(raw: object) -> None:
    assert problems({"flag": raw})["flag"][0].startswith("must be true or false")


def test_unknown_names_are_refused_and_the_known_ones_listed() -> None:
    assert problems({"speed": 1}) == {"speed": ["is not a param of this strategy; known: rate, count, kind, flag"]}


def test_every_problem_is_reported_at_once() -> None:
    found = problems({"rate": 1.5, "count": 0, "kind": "x", "flag": "maybe", "what": 1})
    assert set(found) == {"rate", "count", "kind", "flag", "what"}


def test_error_text_names_each_param_and_problem() -> None:
    with pytest.raises(ParamError, match=r"rate: .*float.*; count: must be from 1"):
        SCHEMA.clean({"rate": 1.5, "count": 0})


def test_cross_check_reports_at_its_param() -> None:
    assert problems({"rate": "4", "count": 3}) == {"rate": ["rate must not be above count"]}
    assert SCHEMA.clean({"rate": "3", "count": 3})["rate"] == 3


def test_cross_check_waits_until_each_param_is_good() -> None:
    assert set(problems({"rate": "9", "count": 99})) == {"count"}


@pytest.mark.parametrize("raw", [None, [], "rate=1", 3])
def test_params_that_are_no_object_are_refused(raw: object) -> None:
    assert "must be an object" in problems(raw)["__all__"][0]


def test_long_values_are_cut_in_messages() -> None:
    (message,) = problems({"rate": "x" * 10_000})["rate"]
    assert len(message) < 120


@given(
    rate=st.decimals(min_value="0.25", max_value="1", places=4),
    count=st.integers(1, 9),
    kind=st.sampled_from(["slow", "fast"]),
    flag=st.booleans(),
)
def test_plain_values_survive_json_and_come_back_the_same(rate: Decimal, count: int, kind: str, flag: bool) -> None:
    values = SCHEMA.clean({"rate": rate, "count": count, "kind": kind, "flag": flag})
    stored = json.loads(json.dumps(SCHEMA.plain(values)))
    assert SCHEMA.clean(stored) == values
    assert stored["rate"] == str(rate)


def test_form_fields_carry_label_unit_bounds_and_default() -> None:
    fields = SCHEMA.form_fields("p_")
    assert list(fields) == ["p_rate", "p_count", "p_kind", "p_flag"]
    rate = fields["p_rate"]
    assert isinstance(rate, forms.DecimalField)
    assert [rate.label, rate.initial] == ["Rate", Decimal("1.5")]
    assert [rate.min_value, rate.max_value] == [Decimal("0.25"), Decimal(10)]
    assert rate.help_text == "How much. Unit: %. Allowed: from 0.25 to 10 %."
    assert isinstance(fields["p_kind"], forms.ChoiceField)
    assert fields["p_kind"].choices == [("slow", "Slow"), ("fast", "Fast")]
    assert not fields["p_flag"].required


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: s.key)
def test_a_form_sent_with_its_initial_values_gives_the_defaults(strategy: Strategy) -> None:
    fields = strategy.schema.form_fields("p_")
    data = {name: field.initial for name, field in fields.items() if field.initial is not False}
    form = type("ParamsForm", (forms.Form,), dict(fields))(data)
    assert form.is_valid(), form.errors
    assert strategy.schema.clean(strategy.schema.from_form(form.cleaned_data, "p_")) == strategy.schema.defaults()


def test_from_form_leaves_out_what_the_form_left_out() -> None:
    assert SCHEMA.from_form({"rate": None, "count": 4, "other": 1}) == {"count": 4}


def test_json_schema_describes_every_param_and_refuses_others() -> None:
    schema = SCHEMA.json_schema()
    assert schema["additionalProperties"] is False
    assert schema["properties"]["rate"]["default"] == "1.5"
    assert (schema["properties"]["rate"]["x-minimum"], schema["properties"]["rate"]["x-maximum"]) == ("0.25", "10")
    assert schema["properties"]["count"]["maximum"] == 9
    assert schema["properties"]["kind"]["enum"] == ["slow", "fast"]
    assert schema["properties"]["flag"]["type"] == "boolean"
    json.dumps(schema)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: s.key)
def test_defaults_of_each_strategy_are_valid_and_explained(strategy: Strategy) -> None:
    schema = strategy.schema
    assert schema.clean(schema.plain(schema.defaults())) == schema.defaults()
    assert schema.params[0] is TIMEFRAME
    for param in schema.params:
        assert param.help.rstrip().endswith("."), param.name
        assert param.label
        if isinstance(param, DecimalParam | IntegerParam):
            assert param.unit, param.name


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: s.key)
def test_each_bound_of_each_strategy_holds_at_and_beyond(strategy: Strategy) -> None:
    for param in strategy.schema.params:
        if not isinstance(param, DecimalParam | IntegerParam):
            continue
        step = Decimal(1).scaleb(-param.places) if isinstance(param, DecimalParam) else 1
        alone = ParamSchema((param,))
        for edge, beyond in ((param.minimum, param.minimum - step), (param.maximum, param.maximum + step)):
            assert alone.clean({param.name: str(edge)}) == {param.name: edge}
            with pytest.raises(ParamError):
                alone.clean({param.name: str(beyond)})


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: s.key)
def test_candles_needed_never_pass_what_a_feed_gives(strategy: Strategy) -> None:
    integers = [param for param in strategy.schema.params if isinstance(param, IntegerParam)]
    largest = {**strategy.schema.defaults(), **{param.name: param.maximum for param in integers}}
    if "average" in largest:
        largest["average"] = "exponential"
    assert strategy.warmup_bars(largest) <= 5_000
