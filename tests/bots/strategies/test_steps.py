"""What strategies round: always down, by less than one step, to what the gate lets pass."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bots.strategies.common import entry_quantity, price_down_to_tick, whole_lots
from safety.intents import InstrumentRules

#: Bitcoin at Kraken; a stock that is traded in fractions, and one that is not.
BTC = InstrumentRules("kraken", "BTC/USD", "USD", Decimal("0.1"), Decimal("1e-8"), Decimal("0.00005"), Decimal("0.5"))
FRACTIONAL = InstrumentRules(
    "alpaca",
    "KO",
    "USD",
    Decimal("0.01"),
    Decimal("1e-9"),
    Decimal("1e-9"),
    Decimal(1),
    fine_tick_size=Decimal("0.0001"),
)
WHOLE = replace(FRACTIONAL, symbol="OCGN", lot_size=Decimal(1), quantity_min=Decimal(1), notional_min=Decimal(0))
ANY = st.sampled_from([BTC, FRACTIONAL, WHOLE])
FIGURES = st.decimals("0.00000000001", "1000000", places=11)
EASY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@EASY
@given(ANY, FIGURES)
def test_quantity_loses_less_than_a_lot(rules: InstrumentRules, wanted: Decimal) -> None:
    rounded = whole_lots(wanted, rules)
    assert rounded % rules.lot_size == 0
    assert 0 <= wanted - rounded < rules.lot_size


@EASY
@given(ANY, FIGURES)
def test_price_loses_less_than_a_tick(rules: InstrumentRules, wanted: Decimal) -> None:
    rounded = price_down_to_tick(wanted, rules)
    assert rounded % rules.tick_at(wanted) == 0
    assert 0 <= wanted - rounded < rules.tick_at(wanted)
    # And the gate, which asks for the step at the rounded price, agrees.
    assert rounded % rules.tick_at(rounded) == 0


@pytest.mark.parametrize(
    ("rules", "usd", "price", "expected"),
    [
        (WHOLE, "100", "1.20", "83"),
        (WHOLE, "1.20", "1.20", "1"),
        (WHOLE, "1.19", "1.20", "0"),
        (FRACTIONAL, "18", "86.80", "0.207373271"),
        (FRACTIONAL, "0.00000008", "86.80", "0"),
        (BTC, "18", "60000", "0.0003"),
    ],
)
def test_amount_buys_whole_lots(rules: InstrumentRules, usd: str, price: str, expected: str) -> None:
    assert entry_quantity(Decimal(usd), Decimal(price), rules) == Decimal(expected)


@pytest.mark.parametrize(
    ("price", "step"), [("0.0001", "0.0001"), ("0.9999", "0.0001"), ("1", "0.01"), ("1.0001", "0.01"), ("900", "0.01")]
)
def test_step_of_a_price_depends_on_its_height(price: str, step: str) -> None:
    assert FRACTIONAL.tick_at(Decimal(price)) == Decimal(step)
    assert BTC.tick_at(Decimal(price)) == Decimal("0.1")
