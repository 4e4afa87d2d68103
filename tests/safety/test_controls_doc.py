"""docs/controls.md says of every code that can stop an order what it checks, its default, what it blocks and what to do."""

import ast
import re
from pathlib import Path

import pytest

from safety.controls import CONTROLS
from safety.controls.live import LOCKS
from safety.intents import Level
from safety.limit_fields import FIELDS, SWITCHABLE, LimitField
from safety.limits import merge
from tests.architecture.sources import name_of, shipped, texts
from tests.safety.builders import EXIT, LIVE, codes
from tests.safety.test_controls import BOUNDARIES

DOCUMENT = Path(__file__).parents[2] / "docs" / "controls.md"
CELLS = {"Checks": 1, "Default": 2, "Blocks": 3, "What to do": 4}


def documented(columns: int) -> dict[str, list[str]]:
    """Return the table rows of so many columns that begin with a code, by their code."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in DOCUMENT.read_text("utf-8").splitlines()]
    return {row[0].strip("`"): row for row in rows if len(row) == columns and re.fullmatch("`[A-Z_]+`", row[0])}


def codes_in_source(kind: str) -> set[str]:
    """Return every code that the shipped source gives to a Denial or a Block."""
    calls = (node for module in shipped() for node in module.nodes if isinstance(node, ast.Call))
    return {code for call in calls if name_of(call.func) == kind for code in texts(call.args[:1])}


def test_every_denial_is_documented_and_no_other() -> None:
    assert set(documented(5)) == set(CONTROLS) == codes_in_source("Denial")


def test_every_block_that_is_no_denial_is_documented() -> None:
    assert set(documented(3)) == codes_in_source("Block") - set(CONTROLS) - {""}


def test_codes_are_in_the_order_in_which_reasons_are_shown() -> None:
    assert list(documented(5)) == list(CONTROLS)


@pytest.mark.parametrize("code", list(CONTROLS))
@pytest.mark.parametrize("column", list(CELLS))
def test_no_cell_is_empty(code: str, column: str) -> None:
    assert len(documented(5)[code][CELLS[column]]) >= 4


@pytest.mark.parametrize("one", FIELDS, ids=lambda one: one.name)
def test_every_default_is_documented_at_its_control(one: LimitField) -> None:
    assert str(one.default) in numbers(one.code)


@pytest.mark.parametrize("code", list(CONTROLS))
def test_every_number_of_a_documented_default_is_one_that_holds(code: str) -> None:
    floors = {str(figure) for figure in merge(None, None, is_live=False).notional_usd_min.values()}
    others = {
        "NOTIONAL_BELOW_MIN": floors,
        "DUPLICATE_ORDER": {"10"},
        "READINESS": {str(merge(None, None, is_live=True).readiness_age_h_max)},
        "ERROR_STREAK": {"1"},
    }
    # A loss limit is named twice, as the row says what holds just there.
    known = {str(one.default) for one in FIELDS if one.code == code} | others.get(code, set())
    assert numbers(code) == known


def numbers(code: str) -> set[str]:
    """Return the numbers of a row's default."""
    return set(re.findall(r"\d+", documented(5)[code][CELLS["Default"]]))


def test_what_can_be_switched_off_is_documented() -> None:
    section = DOCUMENT.read_text("utf-8").split("## Switch a control off")[1].split("\n## ")[0]
    listed = re.findall(r"`([A-Z_]+)`", section.split("default is a figure:")[1].split("The others")[0])
    assert listed == list(SWITCHABLE)


def test_every_lock_is_documented() -> None:
    section = DOCUMENT.read_text("utf-8").split("## Locks on live trading")[1].split("\n## ")[0]
    assert re.findall(r"^\| ([A-Z_]+) \|", section, flags=re.MULTILINE) == list(LOCKS)


@pytest.mark.parametrize("code", sorted(set(CONTROLS) - {"KILL_SWITCH", "INSUFFICIENT_FUNDS"}))
def test_what_is_documented_as_blocking_entries_only_lets_exits_pass(code: str) -> None:
    """Each change that makes the control deny a purchase is tried on the exit, on paper and live."""
    denying = [one for name, one, is_denied in BOUNDARIES if name == code and is_denied and "side" not in one]
    stops_exits = any(code in codes(**LIVE | one | EXIT) for one in denying)
    stops_paper = any(code in codes(**one | {"is_live": False}) for one in denying)
    kind = "order" if stops_exits else "entries"
    expected = {("order", True): "every order", ("order", False): "every live order",
                ("entries", True): "entries", ("entries", False): "live entries"}  # fmt: skip
    assert documented(5)[code][CELLS["Blocks"]] == expected[kind, stops_paper]


def test_levels_of_the_kill_switch_are_documented() -> None:
    row = " ".join(documented(5)["KILL_SWITCH"])
    assert all(level.value in row for level in Level)
