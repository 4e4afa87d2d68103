"""docs/controls.md says of every code that can stop an order what it checks, its default, what it blocks and what to do."""

import ast
import re
from pathlib import Path

import pytest

from safety.controls import CONTROLS
from safety.intents import Level
from safety.limits import LIVE_NOTIONAL_USD_MAX, PAPER_NOTIONAL_USD_MAX, merge
from tests.architecture.sources import name_of, shipped, texts
from tests.safety.builders import EXIT, codes
from tests.safety.test_controls import BOUNDARIES

DOCUMENT = Path(__file__).parents[2] / "docs" / "controls.md"
CELLS = {"Checks": 1, "Default": 2, "Blocks": 3, "What to do": 4}


def documented(columns: int) -> dict[str, list[str]]:
    """Return the table rows of so many columns that begin with a code, by their code."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in DOCUMENT.read_text("utf-8").splitlines()]
    return {row[0].strip("`"): row for row in rows if len(row) == columns and re.fullmatch("`[A-Z_]+`", row[0])}


def codes_in_source(kind: str) -> set[str]:
    """Return every code that the shipped source gives to a Denial or a Block."""
    calls = (node for module in shipped() for node in module.nodes() if isinstance(node, ast.Call))
    return {code for call in calls if name_of(call.func) == kind for code in texts(call.args[:1])}


def test_every_denial_is_documented_and_no_other() -> None:
    assert set(documented(5)) == set(CONTROLS) == codes_in_source("Denial")


def test_every_block_that_is_no_denial_is_documented() -> None:
    assert set(documented(3)) == codes_in_source("Block") - set(CONTROLS)


def test_codes_are_in_the_order_in_which_reasons_are_shown() -> None:
    assert list(documented(5)) == list(CONTROLS)


@pytest.mark.parametrize("code", list(CONTROLS))
@pytest.mark.parametrize("column", list(CELLS))
def test_no_cell_is_empty(code: str, column: str) -> None:
    assert len(documented(5)[code][CELLS[column]]) >= 4


@pytest.mark.parametrize(
    ("code", "figures"),
    [
        ("NOTIONAL_ABOVE_MAX", [PAPER_NOTIONAL_USD_MAX, LIVE_NOTIONAL_USD_MAX]),
        ("NOTIONAL_BELOW_MIN", sorted(set(merge(None, None, is_live=False).notional_usd_min.values()))),
        ("STALE_MARKET_DATA", [merge(None, None, is_live=False).quote_age_s_max]),
        (
            "RATE_LIMIT",
            [
                merge(None, None, is_live=False).rate_per_minute_bot,
                merge(None, None, is_live=False).rate_per_minute_account,
            ],
        ),
        (
            "OPEN_ORDERS_MAX",
            [
                merge(None, None, is_live=False).open_orders_bot_max,
                merge(None, None, is_live=False).open_orders_account_max,
            ],
        ),
        ("INTENT_EXPIRED", [merge(None, None, is_live=False).intent_age_s_max]),
    ],
)
def test_documented_default_is_the_one_that_holds(code: str, figures: list[object]) -> None:
    default = documented(5)[code][CELLS["Default"]]
    assert {str(figure) for figure in figures} <= set(re.findall(r"\d+", default))


@pytest.mark.parametrize("code", sorted(set(CONTROLS) - {"KILL_SWITCH", "LIVE_GATE_CLOSED", "INSUFFICIENT_FUNDS"}))
def test_what_is_documented_as_blocking_entries_only_lets_exits_pass(code: str) -> None:
    """Each change that makes the control deny the purchase is tried on the exit."""
    changes = [one for name, one, is_denied in BOUNDARIES if name == code and is_denied and "side" not in one]
    stops_exits = any(code in codes(**EXIT | one) for one in changes)
    blocks = documented(5)[code][CELLS["Blocks"]]
    assert blocks == ("every order" if stops_exits else "entries")


def test_levels_of_the_kill_switch_are_documented() -> None:
    row = " ".join(documented(5)["KILL_SWITCH"])
    assert all(level.value in row for level in Level)
