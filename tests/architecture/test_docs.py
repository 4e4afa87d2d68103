"""The documents say what is there: every variable, and no link into the void."""

import re
from pathlib import Path

import pytest

from tradingops.environment import VARIABLE_NAMES, load_environment

PROJECT = Path(__file__).resolve().parents[2]
EXAMPLE = PROJECT / ".env.example"
ENVIRONMENT_DOC = PROJECT / "docs" / "environment.md"
SKIPPED = {".venv", "var", ".git"}
DOCUMENTS = sorted(p for p in PROJECT.rglob("*.md") if SKIPPED.isdisjoint(p.relative_to(PROJECT).parts))
LINK = re.compile(r"\]\(([^)\s]+)\)")


def documented_defaults() -> dict[str, str]:
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([^|]*) \|", ENVIRONMENT_DOC.read_text(), flags=re.MULTILINE)
    return {name: default.strip().strip("`") for name, default in rows}


def example() -> dict[str, str]:
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", EXAMPLE.read_text(), flags=re.MULTILINE))


def test_every_variable_is_in_the_example_and_no_other() -> None:
    assert set(example()) == set(VARIABLE_NAMES)


def test_every_variable_in_the_example_has_its_meaning_above_it() -> None:
    lines = EXAMPLE.read_text().splitlines()
    for number, line in enumerate(lines):
        if re.match(r"[A-Z_]+=", line):
            above = next(one for one in reversed(lines[:number]) if not re.match(r"[A-Z_]+=", one))
            assert above.startswith("# "), line


def test_example_changes_nothing_but_the_secret_key(tmp_path: Path) -> None:
    """What the example writes is what holds without it: copying it must not move a default."""
    secret = {"SECRET_KEY": "s" * 50}
    bare = load_environment(PROJECT, tmp_path, secret, tmp_path / "none")
    copied = load_environment(PROJECT, tmp_path, secret, EXAMPLE)
    for name in set(VARIABLE_NAMES) - {"ALLOW_LIVE_TRADING", "LIVE_TRADING_ENABLED", "KILL_SWITCH"}:
        assert getattr(copied, name.lower()) == getattr(bare, name.lower()), name
    assert not copied.allow_live_trading.is_open
    assert not copied.live_trading_enabled.is_open
    assert not copied.kill_switch_engaged


def test_every_variable_is_documented_with_the_default_of_the_example() -> None:
    documented = documented_defaults()
    assert set(documented) == set(VARIABLE_NAMES)
    for name, value in example().items():
        if value:
            assert documented[name] == value, name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_links_lead_somewhere(document: Path) -> None:
    broken = [
        target
        for target in LINK.findall(document.read_text())
        if not target.startswith(("http://", "https://", "#", "mailto:"))
        and not (document.parent / target.split("#")[0]).exists()
    ]
    assert broken == []


def test_documents_name_only_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {name for path in DOCUMENTS for name in re.findall(r"`(?:[A-Z_]+=\S+ )*make ([a-z-]+)", path.read_text())}
    assert named <= targets
