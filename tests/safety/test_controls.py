"""Each pre-trade control: just under its limit, at it, over it, and with each of its inputs missing or unsound."""

from dataclasses import fields, replace
from decimal import Decimal
from typing import Any

import pytest

from safety.controls import CONTROLS
from safety.intents import Exposure, Level, OrderType, Side
from safety.limit_fields import FIELDS, LimitField
from tests.safety import boundaries
from tests.safety.builders import (
    EXIT,
    EXPOSURE,
    INFINITY,
    INTENT,
    LIVE,
    LIVE_ONLY,
    NAN,
    ONLY_AT_TIMES,
    QUOTE,
    RULES,
    SYMBOL,
    UNSOUND,
    VENUE,
    ago,
    codes,
    denials,
)

D = Decimal
LIMIT_BUY: dict[str, Any] = {"type": OrderType.LIMIT, "limit_price": D("99.5")}
#: An exit of a flatten that a person confirmed and that is under way.
FLATTEN: dict[str, Any] = EXIT | {"is_flatten": True, "is_flattening": True, "reduce_only": True}
OVERSELL: dict[str, Any] = EXIT | {"quantity": D("4.001")}


def quote(**changes: Any) -> dict[str, Any]:
    return {"quote": replace(QUOTE, **changes)}


def rules(**changes: Any) -> dict[str, Any]:
    return {"rules": replace(RULES, **changes)}


# code, what is changed, whether that code denies
BOUNDARIES: list[tuple[str, dict[str, Any], bool]] = [
    *boundaries.LIVE_CASES,
    ("KILL_SWITCH", {"level": Level.ACTIVE}, False),
    ("KILL_SWITCH", {"level": Level.REDUCING}, True),
    ("KILL_SWITCH", {"level": Level.HALTED}, True),
    ("KILL_SWITCH", EXIT | {"level": Level.REDUCING}, False),
    ("KILL_SWITCH", EXIT | {"level": Level.REDUCING, "quantity": D(4)}, False),
    ("KILL_SWITCH", OVERSELL | {"level": Level.REDUCING}, True),
    ("KILL_SWITCH", EXIT | {"level": Level.HALTED, "reduce_only": True}, True),
    ("KILL_SWITCH", {"level": "sleeping"}, True),
    ("KILL_SWITCH", EXIT | {"level": None}, True),
    ("KILL_SWITCH", FLATTEN | {"level": Level.HALTED}, False),
    ("KILL_SWITCH", FLATTEN | {"level": Level.REDUCING}, False),
    ("KILL_SWITCH", FLATTEN | {"level": Level.HALTED, "is_flattening": False}, True),
    ("KILL_SWITCH", FLATTEN | {"level": Level.HALTED, "is_flatten": False}, True),
    ("KILL_SWITCH", FLATTEN | {"level": Level.HALTED, "quantity": D("4.001")}, True),
    ("KILL_SWITCH", FLATTEN | {"level": Level.HALTED, "side": Side.BUY}, True),
    ("KILL_SWITCH", FLATTEN | {"level": Level.REDUCING, "side": Side.BUY}, True),
    ("KILL_SWITCH", FLATTEN | {"level": Level.HALTED, "position_quantity": None}, True),
    ("INVALID_MARKET_DATA", quote(bid=D("99.99")), False),
    ("INVALID_MARKET_DATA", quote(bid=D(100)), False),
    ("INVALID_MARKET_DATA", quote(bid=D("100.01")), True),
    ("INVALID_MARKET_DATA", quote(bid=D(0)), True),
    ("INVALID_MARKET_DATA", quote(bid=D("-1")), True),
    ("INVALID_MARKET_DATA", quote(ask=INFINITY), True),
    ("INVALID_MARKET_DATA", quote(bid=NAN), True),
    ("INVALID_MARKET_DATA", quote(ask=NAN), True),
    ("INVALID_MARKET_DATA", quote(ask=D("sNaN")), True),
    ("INVALID_MARKET_DATA", quote(symbol="ETH/USD"), True),
    ("INVALID_MARKET_DATA", quote(venue="replay"), True),
    ("INVALID_MARKET_DATA", EXIT | quote(bid=D(0)), True),
    ("SYMBOL_NOT_ALLOWED", {"allowed_symbols": frozenset({(VENUE, SYMBOL), (VENUE, "ETH/USD")})}, False),
    ("SYMBOL_NOT_ALLOWED", {"allowed_symbols": frozenset({(VENUE, "ETH/USD")})}, True),
    ("SYMBOL_NOT_ALLOWED", {"allowed_symbols": frozenset({("replay", SYMBOL)})}, True),
    ("SYMBOL_NOT_ALLOWED", {"allowed_symbols": frozenset()}, True),
    ("SYMBOL_NOT_ALLOWED", EXIT | {"allowed_symbols": frozenset()}, True),
    ("NOTIONAL_ABOVE_MAX", {"notional_usd_max": D("200.01")}, False),
    ("NOTIONAL_ABOVE_MAX", {"notional_usd_max": D(200)}, False),
    ("NOTIONAL_ABOVE_MAX", {"notional_usd_max": D("199.99")}, True),
    ("NOTIONAL_ABOVE_MAX", LIMIT_BUY | {"notional_usd_max": D(199)}, False),
    ("NOTIONAL_ABOVE_MAX", LIMIT_BUY | {"notional_usd_max": D("198.99")}, True),
    ("NOTIONAL_ABOVE_MAX", EXIT | {"notional_usd_max": D(1)}, False),
    ("NOTIONAL_ABOVE_MAX", {"notional_usd_max": None}, False),
    # The last digit counts: 28 significant digits, Decimal's usual precision, would round it away.
    ("NOTIONAL_ABOVE_MAX", {"notional_usd_max": D("199.9999999999999999999999999999")}, True),
    ("NOTIONAL_BELOW_MIN", {"quantity": D("0.051")}, False),
    ("NOTIONAL_BELOW_MIN", {"quantity": D("0.05")}, False),
    ("NOTIONAL_BELOW_MIN", {"quantity": D("0.049")}, True),
    ("NOTIONAL_BELOW_MIN", {"quantity": D("0.05")} | rules(notional_min=D("5.01")), True),
    ("NOTIONAL_BELOW_MIN", EXIT | {"quantity": D("0.01")}, False),
    ("NOTIONAL_BELOW_MIN", EXIT | {"quantity": D("0.01")} | rules(notional_min=D("0.99")), False),
    ("NOTIONAL_BELOW_MIN", EXIT | {"quantity": D("0.01")} | rules(notional_min=D("0.991")), True),
    ("STALE_MARKET_DATA", quote(seen_at=ago("9.999")), False),
    ("STALE_MARKET_DATA", quote(seen_at=ago(10)), False),
    ("STALE_MARKET_DATA", quote(seen_at=ago("10.001")), True),
    ("STALE_MARKET_DATA", quote(seen_at=ago(-2)), False),
    ("STALE_MARKET_DATA", quote(seen_at=ago("-2.001")), True),
    ("STALE_MARKET_DATA", quote(seen_at=ago(70)) | {"quote_age_max_s": D(70)}, False),
    ("STALE_MARKET_DATA", quote(seen_at=ago("70.001")) | {"quote_age_max_s": D(70)}, True),
    ("STALE_MARKET_DATA", quote(seen_at=ago(63)) | {"quote_age_max_s": D(70), "quote_age_s_max": D(3)}, False),
    ("STALE_MARKET_DATA", quote(seen_at=ago("63.001")) | {"quote_age_max_s": D(70), "quote_age_s_max": D(3)}, True),
    ("STALE_MARKET_DATA", EXIT | quote(seen_at=ago(3600)), False),
    ("DUPLICATE_ORDER", {"is_duplicate": False}, False),
    ("DUPLICATE_ORDER", {"is_duplicate": True}, True),
    ("DUPLICATE_ORDER", EXIT | {"is_duplicate": True}, True),
    ("ENTRIES_HELD", {"entries_held": ""}, False),
    ("ENTRIES_HELD", {"entries_held": "the bot is paused"}, True),
    ("ENTRIES_HELD", EXIT | {"entries_held": "the bot is paused"}, False),
    ("ENTRIES_HELD", OVERSELL | {"entries_held": "the bot is paused"}, True),
    ("RATE_LIMIT", {"sent_last_minute_bot": 19}, False),
    ("RATE_LIMIT", {"sent_last_minute_bot": 20}, True),
    ("RATE_LIMIT", {"sent_last_minute_bot": 21}, True),
    ("RATE_LIMIT", {"sent_last_minute_account": 59}, False),
    ("RATE_LIMIT", {"sent_last_minute_account": 60}, True),
    ("RATE_LIMIT", {"rate_per_minute_bot": 0}, True),
    ("RATE_LIMIT", {"rate_per_minute_bot": None, "sent_last_minute_bot": 59}, False),
    ("RATE_LIMIT", EXIT | {"sent_last_minute_bot": 500, "sent_last_minute_account": 500}, False),
    ("OPEN_ORDERS_MAX", {"open_orders_bot": 9}, False),
    ("OPEN_ORDERS_MAX", {"open_orders_bot": 10}, True),
    ("OPEN_ORDERS_MAX", {"open_orders_bot": 11}, True),
    ("OPEN_ORDERS_MAX", {"open_orders_account": 49}, False),
    ("OPEN_ORDERS_MAX", {"open_orders_account": 50}, True),
    ("OPEN_ORDERS_MAX", {"open_orders_account_max": None, "open_orders_account": 50}, False),
    ("OPEN_ORDERS_MAX", EXIT | {"open_orders_bot": 500, "open_orders_account": 500}, False),
    ("BOT_CAPITAL_EXCEEDED", {"bot_committed_usd": D("799.99")}, False),
    ("BOT_CAPITAL_EXCEEDED", {"bot_committed_usd": D(800)}, False),
    ("BOT_CAPITAL_EXCEEDED", {"bot_committed_usd": D("800.01")}, True),
    ("BOT_CAPITAL_EXCEEDED", {"bot_committed_usd": D("800.0000000000000000000000000001")}, True),
    ("BOT_CAPITAL_EXCEEDED", EXIT | {"bot_committed_usd": D(5_000)}, False),
    # 200 USD with the fee of 0.4 % and the buffer of 1 % need 202.808 USD.
    ("INSUFFICIENT_FUNDS", {"cash_free_usd": D("202.809")}, False),
    ("INSUFFICIENT_FUNDS", {"cash_free_usd": D("202.808")}, False),
    ("INSUFFICIENT_FUNDS", {"cash_free_usd": D("202.807")}, True),
    ("INSUFFICIENT_FUNDS", {"cash_free_usd": D(-1)}, True),
    ("INSUFFICIENT_FUNDS", {"reduce_only": True}, True),
    ("INSUFFICIENT_FUNDS", EXIT | {"cash_free_usd": D(-50)}, False),
    ("INSUFFICIENT_FUNDS", EXIT | {"quantity": D("3.999")}, False),
    ("INSUFFICIENT_FUNDS", EXIT | {"quantity": D(4)}, False),
    ("INSUFFICIENT_FUNDS", OVERSELL, True),
    ("INSUFFICIENT_FUNDS", EXIT | {"position_quantity": D(0), "pending_exit_quantity": D(0)}, True),
    ("INSTRUMENT_RULES", {"quantity": D("1.001")}, False),
    ("INSTRUMENT_RULES", {"quantity": D("1.0005")}, True),
    ("INSTRUMENT_RULES", {"quantity": D("0.01")}, False),
    ("INSTRUMENT_RULES", {"quantity": D("0.009")}, True),
    ("INSTRUMENT_RULES", LIMIT_BUY, False),
    ("INSTRUMENT_RULES", LIMIT_BUY | {"limit_price": D("99.55")}, True),
    ("INSTRUMENT_RULES", LIMIT_BUY | {"limit_price": D(0)}, True),
    ("INSTRUMENT_RULES", LIMIT_BUY | {"limit_price": D("-99.5")}, True),
    ("INSTRUMENT_RULES", {"limit_price": D("99.5")}, True),
    ("INSTRUMENT_RULES", rules(is_active=False), True),
    ("INSTRUMENT_RULES", rules(quote_currency="USDT"), False),
    ("INSTRUMENT_RULES", rules(quote_currency="USDC"), False),
    ("INSTRUMENT_RULES", rules(quote_currency="EUR"), True),
    ("INSTRUMENT_RULES", rules(symbol="ETH/USD"), True),
    ("INSTRUMENT_RULES", rules(venue="replay"), True),
    ("INSTRUMENT_RULES", rules(quantity_min=D(0), notional_min=D(0)), False),
    ("INSTRUMENT_RULES", EXIT | {"quantity": D("1.0005")}, True),
    ("INTENT_EXPIRED", {"created_at": ago("29.999")}, False),
    ("INTENT_EXPIRED", {"created_at": ago(30)}, False),
    ("INTENT_EXPIRED", {"created_at": ago("30.001")}, True),
    ("INTENT_EXPIRED", {"created_at": ago(-2)}, False),
    ("INTENT_EXPIRED", {"created_at": ago("-2.001")}, True),
    ("INTENT_EXPIRED", EXIT | {"created_at": ago("30.001")}, True),
    ("INTENT_EXPIRED", {"created_at": ago(9_999), "intent_age_s_max": None}, False),
    *boundaries.SIZE,
    *boundaries.LOSSES,
    *boundaries.MARKET,
]
#: What each control has to know, so that it denies without it. Exits need less: see EXIT_INPUTS.
ENTRY_INPUTS: dict[str, tuple[str, ...]] = {
    "LIVE_GATE_CLOSED": (),
    "KILL_SWITCH": (),
    "INVALID_MARKET_DATA": ("quote",),
    "SYMBOL_NOT_ALLOWED": ("allowed_symbols",),
    "NOTIONAL_ABOVE_MAX": ("quote", "quantity"),
    "NOTIONAL_BELOW_MIN": ("quote", "rules", "quantity"),
    "STALE_MARKET_DATA": ("quote", "quote_age_max_s", "candle_age_s", "candle_bar_s"),
    "DUPLICATE_ORDER": ("is_duplicate",),
    "ENTRIES_HELD": ("entries_held",),
    "RATE_LIMIT": ("sent_last_minute_bot", "sent_last_minute_account"),
    "OPEN_ORDERS_MAX": ("open_orders_bot", "open_orders_account"),
    "BOT_CAPITAL_EXCEEDED": (
        "quote",
        "quantity",
        "capital_usd",
        "bot_committed_usd",
        "position_quantity",
        "pending_exit_quantity",
    ),
    "INSUFFICIENT_FUNDS": ("quote", "quantity", "cash_free_usd", "fee_rate"),
    "INSTRUMENT_RULES": ("rules", "quantity"),
    "INTENT_EXPIRED": ("created_at",),
    **boundaries.ENTRY_INPUTS,
    "REPEAT_THROTTLE": (),
    "ACCOUNT_BLOCKED": (),
    "READINESS": (),
    "LIVE_RAMP": (),
}
EXIT_INPUTS: dict[str, tuple[str, ...]] = {
    "INVALID_MARKET_DATA": ("quote",),
    "SYMBOL_NOT_ALLOWED": ("allowed_symbols",),
    "NOTIONAL_BELOW_MIN": ("quote", "rules", "quantity"),
    "DUPLICATE_ORDER": ("is_duplicate",),
    "INSUFFICIENT_FUNDS": ("position_quantity", "pending_exit_quantity", "quantity"),
    "INSTRUMENT_RULES": ("rules", "quantity"),
    "INTENT_EXPIRED": ("created_at",),
    **boundaries.EXIT_INPUTS,
}
SOUND_FIGURES = frozenset(
    name for name, value in {**INTENT, **EXPOSURE}.items() if isinstance(value, D) and name != "limit_price"
)


def needs(inputs: dict[str, tuple[str, ...]]) -> list[tuple[str, str]]:
    return [(code, name) for code, names in inputs.items() for name in names]


@pytest.mark.parametrize(("code", "changes", "is_denied"), BOUNDARIES)
def test_control_at_its_boundary(code: str, changes: dict[str, Any], is_denied: bool) -> None:
    assert (code in codes(**changes)) is is_denied


def test_the_sound_entry_and_the_sound_exit_are_permitted() -> None:
    assert codes() == ()
    assert codes(**EXIT) == ()
    assert codes(**LIMIT_BUY) == ()
    assert codes(**LIVE) == ()
    assert codes(**LIVE, **EXIT) == ()
    assert codes(**FLATTEN, level=Level.HALTED) == ()


def test_every_control_is_shown_to_pass_and_to_deny() -> None:
    for code in CONTROLS:
        assert {is_denied for name, _, is_denied in BOUNDARIES if name == code} == {True, False}, code
    assert ENTRY_INPUTS.keys() == CONTROLS.keys()
    asked = {name for inputs in (ENTRY_INPUTS, boundaries.LIVE_INPUTS) for names in inputs.values() for name in names}
    assert set(EXPOSURE) == {one.name for one in fields(Exposure)}
    assert set(EXPOSURE) - asked == ONLY_AT_TIMES, "every figure is shown to deny when it is missing"


@pytest.mark.parametrize(("code", "name"), needs(ENTRY_INPUTS))
def test_entry_with_an_input_missing_is_denied(code: str, name: str) -> None:
    assert code in codes(**{name: None})


@pytest.mark.parametrize(("code", "name"), needs(EXIT_INPUTS))
def test_exit_with_an_input_missing_is_denied(code: str, name: str) -> None:
    assert code in codes(**EXIT | {name: None})


@pytest.mark.parametrize(("code", "name"), needs(boundaries.LIVE_INPUTS))
def test_live_entry_with_an_input_missing_is_denied(code: str, name: str) -> None:
    assert code in codes(**LIVE | {name: None})


@pytest.mark.parametrize(("code", "name"), needs(boundaries.LIVE_EXIT_INPUTS))
def test_live_exit_with_an_input_missing_is_denied(code: str, name: str) -> None:
    assert code in codes(**LIVE | EXIT | {name: None})


@pytest.mark.parametrize("value", UNSOUND, ids=str)
@pytest.mark.parametrize(("code", "name"), [pair for pair in needs(ENTRY_INPUTS) if pair[1] in SOUND_FIGURES])
def test_entry_with_an_unsound_figure_is_denied(code: str, name: str, value: Decimal | None) -> None:
    assert codes(**{name: value}), f"{name} = {value} lets an entry pass"


@pytest.mark.parametrize("value", [*UNSOUND, D(-1), D(0)], ids=str)
@pytest.mark.parametrize("name", ["position_quantity", "quantity"])
def test_exit_with_an_unsound_figure_is_denied(name: str, value: Decimal | None) -> None:
    assert codes(**EXIT | {name: value})


@pytest.mark.parametrize("value", [*UNSOUND, D(-1), D("-0.001")], ids=str)
def test_exit_when_what_is_on_offer_is_unsound_is_denied(value: Decimal | None) -> None:
    # A negative figure would let more be sold than is held.
    assert "INSUFFICIENT_FUNDS" in codes(**EXIT | {"pending_exit_quantity": value, "quantity": D("5.001")})
    assert "INSUFFICIENT_FUNDS" in codes(**EXIT | {"pending_exit_quantity": value})


@pytest.mark.parametrize("name", sorted(EXPOSURE))
def test_entry_with_any_part_of_the_exposure_missing_is_denied(name: str) -> None:
    assert codes(**LIVE | {name: None}) or name in ONLY_AT_TIMES
    assert bool(codes(**{name: None})) is (name not in LIVE_ONLY | ONLY_AT_TIMES)


@pytest.mark.parametrize("value", [-1, D(-1), D("NaN"), 1.5, True, "1"], ids=repr)
@pytest.mark.parametrize("name", sorted(name for name, value in EXPOSURE.items() if type(value) in (int, D)))
def test_entry_with_a_figure_that_is_negative_or_no_number_is_denied(name: str, value: Any) -> None:
    assert codes(**LIVE | {name: value})


def test_an_exposure_that_knows_nothing_is_denied_by_every_control_that_looks_at_it() -> None:
    nothing = dict.fromkeys(Exposure.__dataclass_fields__)
    on_paper = {code for code, names in ENTRY_INPUTS.items() if set(names) & set(EXPOSURE)}
    assert set(codes(**nothing)) == on_paper
    assert set(codes(**LIVE | nothing)) == on_paper | set(boundaries.LIVE_INPUTS)


@pytest.mark.parametrize("value", [0.5, 1.0, 1e9, float("nan"), float("inf")], ids=str)
@pytest.mark.parametrize("name", ["capital_usd", "cash_free_usd", "bot_committed_usd", "fee_rate", "quote_age_max_s"])
def test_entry_with_a_float_for_a_figure_is_denied(name: str, value: float) -> None:
    assert codes(**{name: value})


@pytest.mark.parametrize("value", [NAN, D("sNaN"), INFINITY, -INFINITY, D(-1)], ids=str)
@pytest.mark.parametrize("one", FIELDS, ids=lambda one: one.name)
def test_entry_under_a_limit_that_bounds_nothing_is_denied(one: LimitField, value: Decimal) -> None:
    # A situation in which each limit is looked at: a streak that has lasted, a first live order, a symbol that is no major.
    changes: dict[str, Any] = LIVE | {"losing_streak": 5, "last_loss_at": ago(99_999), "live_fills": 9}
    if isinstance(one.default, int):
        return
    changes |= {"quantity": D("0.5"), "is_major": one.limit != "collar_pct_other"}
    assert codes(**changes) == ()
    found = set(codes(**changes | {one.limit: value}))
    assert found - {"PRICE_COLLAR"} == {one.code} - {"PRICE_COLLAR"}
    assert one.code in found


@pytest.mark.parametrize("floors", [{}, {"replay": D(1)}, {VENUE: NAN}, {VENUE: INFINITY}], ids=str)
def test_entry_without_a_floor_for_its_venue_is_denied(floors: dict[str, Decimal]) -> None:
    assert codes(notional_usd_min=floors) == ("NOTIONAL_BELOW_MIN",)


def test_exit_needs_no_floor_for_its_venue() -> None:
    assert codes(**EXIT, notional_usd_min={}) == ()


@pytest.mark.parametrize("value", [NAN, INFINITY, D(-1)], ids=str)
@pytest.mark.parametrize("name", ["tick_size", "lot_size", "quantity_min", "notional_min", "fine_tick_size"])
def test_order_under_unsound_rules_is_denied(name: str, value: Decimal) -> None:
    for order in (LIMIT_BUY, EXIT):
        assert "INSTRUMENT_RULES" in codes(**order, **rules(**{name: value}))


@pytest.mark.parametrize("name", ["tick_size", "lot_size"])
def test_order_under_a_step_of_zero_is_denied(name: str) -> None:
    for order in (LIMIT_BUY, EXIT):
        assert "INSTRUMENT_RULES" in codes(**order, **rules(**{name: D(0)}))


@pytest.mark.parametrize(
    ("price", "is_denied"),
    [
        ("0.9999", False),
        ("0.99995", True),
        ("0.5", False),
        ("1", False),
        ("1.0001", True),
        ("1.005", True),
        ("1.01", False),
        ("0.0001", False),
        ("0.00005", True),
    ],
)
def test_price_below_one_may_have_finer_ticks(price: str, is_denied: bool) -> None:
    steps = rules(tick_size=D("0.01"), fine_tick_size=D("0.0001"))
    found = codes(type=OrderType.LIMIT, limit_price=D(price), **steps)
    assert ("INSTRUMENT_RULES" in found) == is_denied


@pytest.mark.parametrize("price", [None, NAN, INFINITY, -INFINITY, D(0), D(-1)], ids=str)
def test_limit_order_without_a_sound_price_is_denied(price: Decimal | None) -> None:
    assert "INSTRUMENT_RULES" in codes(type=OrderType.LIMIT, limit_price=price)


def test_quantity_too_fine_to_divide_by_the_lot_is_denied() -> None:
    assert "INSTRUMENT_RULES" in codes(quantity=D("2.0000000000000000000000000001"))


@pytest.mark.parametrize(("code", "changes"), [(code, changes) for code, changes, denied in BOUNDARIES if denied])
def test_denial_tells_people_its_limit_and_the_actual_figure(code: str, changes: dict[str, Any]) -> None:
    denial = denials(**changes)[code]
    assert denial.message.endswith(".")
    assert denial.limit
    assert denial.actual
    assert denial.limit != denial.actual or "USD" in denial.limit or denial.limit.isdigit()
    assert "E+" not in denial.limit + denial.actual, "people read plain figures"
    assert denial.as_dict() == {
        "code": code,
        "message": denial.message,
        "limit": denial.limit,
        "actual": denial.actual,
    }


def test_figures_of_denials_read_as_people_write_them() -> None:
    found = denials(
        quantity=D("60.0000"),
        notional_usd_max=D(5_000),
        sent_last_minute_bot=20,
        quote_age_max_s=D("10.0"),
        **quote(seen_at=ago("12.5")),
    )
    assert (found["NOTIONAL_ABOVE_MAX"].limit, found["NOTIONAL_ABOVE_MAX"].actual) == ("5000.00 USD", "6000.00 USD")
    assert (found["BOT_CAPITAL_EXCEEDED"].limit, found["BOT_CAPITAL_EXCEEDED"].actual) == ("1000.00 USD", "6500.00 USD")
    assert (found["RATE_LIMIT"].limit, found["RATE_LIMIT"].actual) == ("20 a minute", "20")
    assert (found["STALE_MARKET_DATA"].limit, found["STALE_MARKET_DATA"].actual) == ("10 s", "12.5 s")


def test_kill_switch_denial_names_the_reasons_of_the_latches() -> None:
    denial = denials(level=Level.HALTED, state_reasons=("drill", "the file KILL exists"))["KILL_SWITCH"]
    assert "drill; the file KILL exists" in denial.message


@pytest.mark.parametrize("level", ["sleeping", "", None])
def test_unknown_level_is_told_as_halted(level: Any) -> None:
    denial = denials(level=level)["KILL_SWITCH"]
    assert (denial.limit, denial.actual) == ("active", "halted")


def test_symbol_denial_names_what_is_allowed() -> None:
    denial = denials(allowed_symbols=frozenset({("replay", "AAPL"), ("kraken", "ETH/USD")}))["SYMBOL_NOT_ALLOWED"]
    assert (denial.limit, denial.actual) == ("AAPL on replay, ETH/USD on kraken", "BTC/USD on kraken")
