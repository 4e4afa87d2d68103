"""The gate: all reasons at once, permits that cover one order, the locks on live orders, and an oracle that agrees."""

import itertools
import logging
from dataclasses import fields, replace
from datetime import timedelta
from decimal import Context, Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from safety import gate
from safety.controls import CONTROLS
from safety.controls.base import Situation
from safety.controls.live import live_gate_closed, locks_required
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
from safety.limits import merge
from tests.safety.builders import (
    EXIT,
    EXPOSURE,
    INTENT,
    LIVE,
    LOCK_IDS,
    NOW,
    QUOTE,
    RULES,
    SYMBOL,
    ago,
    codes,
    decide,
    locks,
    situation,
)

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
    "is_flatten": True,
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
        executions_today=60,
        equity_usd=D(9_000),
        losing_streak=5,
        reject_streak=5,
        opposite_prices=(D(1),),
        market_status="closed",
        account_flags=("blocked",),
        reconciliation_open=("a difference",),
        readiness=None,
        live_fills=0,
        locks=(),
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
        assert codes(**LIVE | {"losing_streak": 5, "last_loss_at": ago(99_999)} | {name: object()}), name


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


OPENABLE = ("ALLOW_LIVE_TRADING", "LIVE_TRADING_ENABLED", "DRY_RUN", "KEYS", "DATABASE_STAMP")


@pytest.mark.parametrize("order", [{}, EXIT, EXIT | {"reduce_only": True}], ids=["entry", "exit", "reduce_only"])
@pytest.mark.parametrize("venue", ["kraken", "alpaca"])
def test_only_with_every_lock_open_a_live_order_is_permitted(venue: str, order: dict[str, Any]) -> None:
    """All combinations of the venue's locks: exactly one lets the order through, and all that are shut are named."""
    ids = tuple(one for one in OPENABLE if venue == "alpaca" or one != "LIVE_TRADING_ENABLED")
    placed = {
        "venue": venue,
        "quote": replace(QUOTE, venue=venue),
        "rules": replace(RULES, venue=venue),
        "allowed_symbols": frozenset({(venue, SYMBOL)}),
        "notional_usd_min": {venue: D(5)},
    }
    permitted = 0
    for are_open in itertools.product([False, True], repeat=len(ids)):
        shut = [name for name, is_open in zip(ids, are_open, strict=True) if not is_open]
        decision = decide(situation(**LIVE | order | placed, locks=locks(*shut, ids=ids)))
        permitted += decision.permit is not None
        assert decision.codes == (("LIVE_GATE_CLOSED",) if shut else ())
        assert all(f"{name}: {name} is as it is." in decision.denials[0].message for name in shut)
    assert permitted == 1


@pytest.mark.parametrize("venue", ["kraken", "alpaca", "replay", "elsewhere"])
def test_lock_that_was_not_read_is_a_shut_one(venue: str) -> None:
    for missing in locks_required(venue):
        ids = tuple(one for one in locks_required(venue) if one != missing)
        denial = live_gate_closed(situation(**LIVE, venue=venue, locks=locks(ids=ids)))
        assert denial is not None
        assert denial.actual == f"shut: {missing}"
        assert live_gate_closed(situation(**LIVE, venue=venue, locks=locks(ids=locks_required(venue)))) is None


@given(
    level=st.sampled_from(Level), side=st.sampled_from(Side), reduce_only=st.booleans(), shut=st.sampled_from(LOCK_IDS)
)
@hypothesis_settings(max_examples=50, deadline=None)
def test_live_order_with_a_lock_shut_is_never_permitted(level: Level, side: Side, reduce_only: bool, shut: str) -> None:
    found = codes(**LIVE, level=level, side=side, reduce_only=reduce_only, locks=locks(shut), is_flattening=True)
    assert "LIVE_GATE_CLOSED" in found


def test_verdicts_are_what_each_control_says_in_their_order() -> None:
    for s in (situation(), situation(**EXIT), situation(**LIVE, level=Level.HALTED, locks=(), created_at=ago(99))):
        found = gate.verdicts(s.intent, s.exposure, s.limits, s.state, now=s.now)
        assert [one.code for one in found] == list(CONTROLS)
        assert tuple(one.denial for one in found if one.denial) == decide(s).denials


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
    live = merge(None, None, is_live=True)
    assert (live.notional_usd_max, live.notional_equity_pct) == (LIVE["notional_usd_max"], LIVE["notional_equity_pct"])


def test_symbol_of_the_order_is_compared_with_the_venue_it_belongs_to() -> None:
    assert codes(venue="replay") == (
        "INVALID_MARKET_DATA",
        "SYMBOL_NOT_ALLOWED",
        "NOTIONAL_BELOW_MIN",
        "PRICE_COLLAR",
        "INSTRUMENT_RULES",
    )
