"""What Alpaca's list of stocks becomes: rules, and nothing that cannot be read."""

from decimal import Decimal
from typing import Any

import pytest

from bots.brokers.outcomes import CallFailed
from bots.market_data.alpaca_assets import read_asset, read_assets
from tests.bots.market_data.alpaca_data import recorded


def asset(**changes: Any) -> dict[str, Any]:
    raw: dict[str, Any] = recorded("assets")[0] | changes
    return {name: value for name, value in raw.items() if value != "leave out"}


def test_recorded_assets() -> None:
    whole, fractional = (read_assets(recorded("assets"))[symbol] for symbol in ("OCGN", "KO"))
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


def test_figures_that_the_venue_gives_are_taken() -> None:
    rules = read_asset(asset(min_order_size="0.5", min_trade_increment="0.25", price_increment="0.05"))
    assert rules is not None
    assert (rules.quantity_min, rules.lot_size, rules.tick_size) == (Decimal("0.5"), Decimal("0.25"), Decimal("0.05"))


@pytest.mark.parametrize(
    "change", [{"status": "inactive"}, {"tradable": False}, {"tradable": "yes"}, {"tradable": None}]
)
def test_stock_that_is_not_surely_traded_is_inactive(change: dict[str, Any]) -> None:
    rules = read_asset(asset(**change))
    assert rules is not None
    assert not rules.is_active


@pytest.mark.parametrize("said", [False, None, "true", 1])
def test_stock_that_is_not_surely_fractionable_is_traded_whole(said: Any) -> None:
    rules = read_asset(asset(fractionable=said))
    assert rules is not None
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
