"""The gate: all reasons at once, permits that cover one order, live always denied, and an oracle that agrees."""

import itertools
import logging
import random
from collections import Counter
from dataclasses import fields, replace
from datetime import timedelta
from decimal import Context, Decimal, localcontext
from typing import Any

import pytest
from django.conf import settings as django_settings
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings

from safety import gate
from safety.controls import CONTROLS
from safety.controls.base import Situation
from safety.intents import (
    Decision,
    Denial,
    Exposure,
    Level,
    LimitSet,
    OrderIntent,
    OrderType,
    Permit,
    Side,
)
from safety.kill_switch import read_state
from safety.limits import merge
from tests.safety.builders import (
    EXIT,
    EXPOSURE,
    INTENT,
    NOW,
    QUOTE,
    RULES,
    UNSOUND,
    VENUE,
    ago,
    codes,
    decide,
    situation,
)
from tradingops.environment_values import Gate

D = Decimal
#: Another value for each field of an intent.
CHANGED: dict[str, Any] = {
    "client_order_id": "t-2",
    "bot_id": 8,
    "venue": "replay",
    "symbol": "ETH/USD",
    "side": Side.SELL,
    "type": OrderType.LIMIT,
    "quantity": D("2.001"),
    "limit_price": D("99.5"),
    "reduce_only": True,
    "is_live": True,
    "created_at": NOW + timedelta(seconds=1),
    "leg": "so1",
    "reason": "another",
    "actor": "somebody",
}
#: What is said about an order for people; it changes nothing of what is sent.
DESCRIPTIVE = {"created_at", "leg", "reason", "actor"}


def permit_for(intent: OrderIntent) -> Permit:
    permit = decide(replace(situation(), intent=intent)).permit
    assert permit is not None
    return permit


def test_all_reasons_come_back_at_once_in_the_order_of_the_controls() -> None:
    found = codes(
        is_live=True,
        level=Level.HALTED,
        quote=replace(QUOTE, bid=D(101), seen_at=ago(60)),
        allowed_symbols=frozenset(),
        quantity=D("60.0005"),
        is_duplicate=True,
        entries_held="the bot is paused",
        sent_last_minute_bot=20,
        open_orders_bot=10,
        cash_free_usd=D(10),
        created_at=ago(31),
    )
    assert found == tuple(code for code in CONTROLS if code != "NOTIONAL_BELOW_MIN")


def test_each_denial_carries_the_code_of_its_control() -> None:
    nothing = Exposure()
    for s in (situation(is_live=True, level=Level.HALTED, created_at=ago(31)), replace(situation(), exposure=nothing)):
        for code, control in CONTROLS.items():
            denial = control(s)
            assert denial is None or denial.code == code


def test_decision_has_a_permit_or_reasons_and_never_both() -> None:
    allowed, denied = decide(situation()), decide(situation(level=Level.HALTED))
    assert allowed.is_allowed
    assert not allowed.denials
    assert denied.permit is None
    assert denied.codes == ("KILL_SWITCH",)
    assert not denied.is_allowed
    assert not Decision().is_allowed
    assert not Decision(denials=denied.denials, permit=allowed.permit).is_allowed


@pytest.mark.parametrize(
    "error",
    [
        ArithmeticError("x"),
        TypeError("x"),
        ValueError("x"),
        KeyError("x"),
        AttributeError("x"),
        ZeroDivisionError("x"),
        RuntimeError("x"),
        RecursionError("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_control_that_raises_denies_with_its_code_and_hides_no_other_reason(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def broken(s: Situation) -> Denial | None:
        raise error

    monkeypatch.setitem(CONTROLS, "RATE_LIMIT", broken)
    with caplog.at_level(logging.WARNING):
        decision = decide(situation(level=Level.HALTED))
    assert decision.codes == ("KILL_SWITCH", "RATE_LIMIT")
    assert type(error).__name__ in decision.denials[1].message
    assert "RATE_LIMIT" in caplog.text


def test_exposure_of_a_wrong_type_denies_and_does_not_raise() -> None:
    for name in EXPOSURE:
        assert codes(**{name: object()}), name


def test_permit_covers_its_order() -> None:
    s = situation(type=OrderType.LIMIT, limit_price=D("99.5"))
    permit = permit_for(s.intent)
    assert permit.covers(s.intent)
    assert permit.issued_at == NOW
    # 2.000 is the same quantity as 2.
    assert permit.covers(replace(s.intent, quantity=D("2.000")))


@pytest.mark.parametrize("name", sorted(set(CHANGED) - DESCRIPTIVE))
def test_permit_does_not_cover_an_order_that_differs_in(name: str) -> None:
    intent = situation().intent
    assert not permit_for(intent).covers(replace(intent, **{name: CHANGED[name]}))


@pytest.mark.parametrize("name", sorted(DESCRIPTIVE))
def test_permit_covers_an_order_that_is_only_described_otherwise(name: str) -> None:
    intent = situation().intent
    assert permit_for(intent).covers(replace(intent, **{name: CHANGED[name]}))


def test_every_field_of_an_intent_is_bound_by_the_permit_or_only_descriptive() -> None:
    """A field that is added to the intent has to be decided about here."""
    assert CHANGED.keys() == {one.name for one in fields(OrderIntent)} == INTENT.keys()
    assert {one.name for one in fields(Permit)} == set(CHANGED) - DESCRIPTIVE | {"issued_at"}


def test_permit_for_no_number_covers_nothing() -> None:
    intent = replace(situation().intent, quantity=D("NaN"))
    permit = replace(permit_for(situation().intent), quantity=intent.quantity)
    assert not permit.covers(intent)


GATES = ("allow_live_trading", "live_trading_enabled")


@pytest.mark.django_db
@pytest.mark.parametrize("are_open", list(itertools.product([False, True], repeat=len(GATES))), ids=str)
@pytest.mark.parametrize("order", [{}, EXIT, EXIT | {"reduce_only": True}], ids=["entry", "exit", "reduce_only"])
def test_live_order_is_denied_whatever_the_environment_says(
    settings: Settings, are_open: tuple[bool, ...], order: dict[str, Any]
) -> None:
    opened: dict[str, Any] = {
        name: Gate(name, is_open, "environment") for name, is_open in zip(GATES, are_open, strict=True)
    }
    keys: dict[str, Any] = {
        "kraken_api_key": "k",
        "kraken_api_secret": "s",
        "alpaca_api_key_live": "k",
        "alpaca_api_secret_live": "s",
    }
    settings.ENVIRONMENT = replace(django_settings.ENVIRONMENT, **opened, **keys)
    s = situation(is_live=True, **order)
    state = read_state(VENUE, s.intent.bot_id)
    assert state.level == Level.ACTIVE
    decision = gate.evaluate(s.intent, s.exposure, merge(None, None, is_live=True), state, now=NOW)
    assert decision.permit is None
    assert decision.codes == ("LIVE_GATE_CLOSED",), "no other reason stands in the way, and this one suffices"


@given(level=st.sampled_from(Level), side=st.sampled_from(Side), reduce_only=st.booleans(), venue=st.text(max_size=8))
@hypothesis_settings(max_examples=50, deadline=None)
def test_live_order_is_never_permitted(level: Level, side: Side, reduce_only: bool, venue: str) -> None:
    found = codes(is_live=True, level=level, side=side, reduce_only=reduce_only, venue=venue)
    assert "LIVE_GATE_CLOSED" in found


def drawn_by(chance: random.Random) -> dict[str, Any]:
    """Return sound figures, drawn close to the limits so that both answers are common."""

    def figure(low: float, high: float, places: int) -> Decimal:
        return D(chance.randint(int(low * 10**places), int(high * 10**places))).scaleb(-places)

    def seldom(rare: Any, usual: Any) -> Any:
        return rare if chance.random() < 0.1 else usual

    return {
        "side": chance.choice(list(Side)),
        "quantity": figure(0.001, 5, 3),
        "reduce_only": seldom(True, False),
        "level": seldom(chance.choice([Level.REDUCING, Level.HALTED]), Level.ACTIVE),
        "capital_usd": figure(500, 2_000, 2),
        "bot_committed_usd": figure(0, 900, 2),
        "cash_free_usd": figure(-50, 3_000, 2),
        "fee_rate": figure(0, 0.01, 4),
        "position_quantity": figure(0, 8, 3),
        "pending_exit_quantity": figure(0, 3, 3),
        "open_orders_bot": chance.randint(0, 11),
        "open_orders_account": chance.randint(0, 11),
        "sent_last_minute_bot": chance.randint(0, 22),
        "sent_last_minute_account": chance.randint(0, 22),
        "is_duplicate": seldom(True, False),
        "entries_held": seldom("the bot is paused", ""),
        "notional_usd_max": figure(100, 1_000, 2),
        "age": figure(0, 11, 3),
        "intent_age": figure(0, 33, 3),
    }


def oracle(d: dict[str, Any]) -> bool:
    """Say whether the order may go out: the table of controls once more, in one expression."""
    if d["level"] == Level.HALTED or d["is_duplicate"] or d["intent_age"] > 30:
        return False
    quantity = d["quantity"]
    if quantity < D("0.01"):
        return False
    if d["side"] == Side.SELL:
        # No shorts: a sale is an exit or nothing. Bid 99, venue minimum 0.5 USD.
        return bool(quantity + d["pending_exit_quantity"] <= d["position_quantity"] and quantity * 99 >= D("0.5"))
    value = quantity * 100
    return bool(
        d["level"] == Level.ACTIVE
        and not d["reduce_only"]
        and not d["entries_held"]
        and d["age"] <= 10
        and 5 <= value <= d["notional_usd_max"]
        and value + d["bot_committed_usd"] <= d["capital_usd"]
        and value * (1 + d["fee_rate"]) * D("1.01") <= d["cash_free_usd"]
        and d["sent_last_minute_bot"] < 20
        and d["open_orders_bot"] < 10
    )


def test_gate_permits_exactly_what_an_independent_oracle_permits() -> None:
    chance = random.Random(20260302)
    answers: Counter[tuple[Side, bool]] = Counter()
    for _ in range(4_000):
        drawn = drawn_by(chance)
        changes = dict(drawn)
        changes["quote"] = replace(QUOTE, seen_at=ago(changes.pop("age")))
        changes["created_at"] = ago(changes.pop("intent_age"))
        answer = oracle(drawn)
        assert decide(situation(**changes)).is_allowed is answer, drawn
        answers[drawn["side"], answer] += 1
    assert min(answers[side, answer] for side in Side for answer in (True, False)) >= 200, answers


@given(
    name=st.sampled_from(sorted(EXPOSURE)),
    value=st.sampled_from([*UNSOUND, float("nan"), float("inf"), object()]),
    seed=st.integers(0, 1_000_000),
)
@hypothesis_settings(max_examples=400, deadline=None)
def test_no_entry_is_permitted_while_any_part_of_the_exposure_is_unsound(name: str, value: object, seed: int) -> None:
    drawn = {key: figure for key, figure in drawn_by(random.Random(seed)).items() if key in EXPOSURE}
    assume(decide(situation(**drawn)).is_allowed)
    assert decide(situation(**drawn | {name: value})).permit is None


@given(
    held=st.decimals("0", "10", places=3),
    on_offer=st.decimals("0", "10", places=3),
    quantity=st.decimals(allow_nan=True, allow_infinity=True, min_value=None, max_value=None),
    side=st.sampled_from(Side),
    reduce_only=st.booleans(),
)
@hypothesis_settings(max_examples=300, deadline=None)
def test_while_reducing_only_what_shrinks_a_position_is_permitted(
    held: Decimal, on_offer: Decimal, quantity: Decimal, side: Side, reduce_only: bool
) -> None:
    s = situation(
        level=Level.REDUCING,
        position_quantity=held,
        pending_exit_quantity=on_offer,
        quantity=quantity,
        side=side,
        reduce_only=reduce_only,
        rules=replace(RULES, lot_size=D("1e-26"), quantity_min=D(0), notional_min=D(0)),
    )
    if decide(s).is_allowed:
        assert side == Side.SELL
        with localcontext(Context(prec=200)):
            assert 0 < quantity <= held - on_offer


@given(st.lists(st.decimals("0.01", "3", places=3), max_size=8), st.lists(st.booleans(), min_size=8, max_size=8))
@hypothesis_settings(max_examples=150, deadline=None)
def test_no_sequence_of_permitted_sales_sells_more_than_was_held(quantities: list[Decimal], fills: list[bool]) -> None:
    """Each permitted sale fills at once or stays on offer; whatever the order of events, all of them can fill."""
    held, on_offer = D(5), D(0)
    for quantity, fills_now in zip(quantities, fills, strict=False):
        changes = {"quantity": quantity, "position_quantity": held, "pending_exit_quantity": on_offer}
        if decide(situation(**EXIT | changes)).is_allowed:
            held, on_offer = (held - quantity, on_offer) if fills_now else (held, on_offer + quantity)
        assert held - on_offer >= 0


def test_gate_does_not_depend_on_the_precision_of_its_caller() -> None:
    s = situation(bot_committed_usd=D("800.0000000000000000000000001"))
    for precision in (3, 28, 100):
        with localcontext(Context(prec=precision)):
            assert decide(s).codes == ("BOT_CAPITAL_EXCEEDED",)


def test_limits_of_the_situation_are_those_of_the_shipped_defaults() -> None:
    shipped = LimitSet(**{one.name: getattr(situation().limits, one.name) for one in fields(LimitSet)})
    assert replace(shipped, notional_usd_min={}) == replace(merge(None, None, is_live=False), notional_usd_min={})


def test_symbol_of_the_order_is_compared_with_the_venue_it_belongs_to() -> None:
    assert codes(venue="replay") == (
        "INVALID_MARKET_DATA",
        "SYMBOL_NOT_ALLOWED",
        "NOTIONAL_BELOW_MIN",
        "INSTRUMENT_RULES",
    )
