"""What Alpaca's list of stocks becomes: rules, and nothing that cannot be read."""

from decimal import Decimal
from typing import Any

import pytest

from bots.brokers.outcomes import CallFailed
from bots.market_data.alpaca_assets import Stock, read_asset, read_assets
from tests.bots.market_data.alpaca_data import recorded


def asset(**changes: Any) -> dict[str, Any]:
    raw: dict[str, Any] = recorded("assets")[0] | changes
    return {name: value for name, value in raw.items() if value != "leave out"}


def test_recorded_assets() -> None:
    whole, fractional = (read_assets(recorded("assets"))[symbol].rules for symbol in ("OCGN", "KO"))
    assert (fractional.lot_size, fractional.quantity_min, fractional.notional_min) == (
        Decimal("1e-9"),
        Decimal("1e-9"),
        1,
    )
    assert (whole.lot_size, whole.quantity_min, whole.notional_min) == (1, 1, 0)
    for rules in (whole, fractional):
        assert (rules.venue, rules.quote_currency, rules.tick_size, rules.is_active) == (
            "alpaca",
            "USD",
            Decimal("0.01"),
            True,
        )
        assert rules.fine_tick_size == Decimal("0.0001")


def read(raw: Any) -> Stock:
    found = read_asset(raw)
    if found is None:
        raise TypeError(raw)
    return found


def test_figures_that_the_venue_gives_are_taken() -> None:
    rules = read(asset(min_order_size="0.5", min_trade_increment="0.25", price_increment="0.05")).rules
    assert (rules.quantity_min, rules.lot_size, rules.tick_size) == (Decimal("0.5"), Decimal("0.25"), Decimal("0.05"))


@pytest.mark.parametrize(
    ("change", "is_active"),
    [
        ({"status": "inactive"}, False),
        ({"tradable": False}, True),
        ({"tradable": "yes"}, True),
        ({"tradable": None}, True),
    ],
)
def test_stock_that_is_not_surely_traded_cannot_be_bought(change: dict[str, Any], is_active: bool) -> None:
    stock = read(asset(**change))
    assert not stock.can_be_bought
    assert stock.rules.is_active == is_active


@pytest.mark.parametrize("said", [False, None, "true", 1])
def test_stock_that_is_not_surely_fractionable_is_traded_whole(said: Any) -> None:
    rules = read(asset(fractionable=said)).rules
    assert (rules.lot_size, rules.quantity_min) == (1, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"class": "crypto", "symbol": "BTC/USD"},
        {"class": "leave out"},
        {"exchange": "OTC"},
        {"symbol": "../orders"},
        {"symbol": None},
        {"symbol": 7},
        {"fractionable": "leave out"},
        {"status": "leave out"},
        {"price_increment": "0"},
        {"price_increment": "NaN"},
        {"min_order_size": "-1"},
        {"min_trade_increment": "much"},
    ],
)
def test_asset_that_cannot_be_read_is_left_out(change: dict[str, Any]) -> None:
    assert read_asset(asset(**change)) is None
    assert list(read_assets([asset(**change), asset(symbol="SPY")])) == ["SPY"]


@pytest.mark.parametrize("raw", [None, {}, [], "x", [None, 7, {}], [asset(status="inactive")], [asset()] * 40_001])
def test_list_without_a_stock_is_no_answer(raw: Any) -> None:
    with pytest.raises(CallFailed, match="no sound answer"):
        read_assets(raw)
