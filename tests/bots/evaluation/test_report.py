"""The report and its command: whole, honest about what was not found, and the same every time."""

from dataclasses import replace
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from bots.evaluation.check import SeriesCheck, check_all, recorded
from bots.evaluation.report import report, summary
from safety.intents import LimitSet

LIMITS = LimitSet(
    notional_usd_max=Decimal(5000), notional_usd_min={"replay": Decimal(1)}, daily_loss_pct=None, drawdown_pct=None,
    losing_streak_max=None,
)  # fmt: skip
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def check() -> SeriesCheck:
    [found] = check_all([("SPX", "1m")], LIMITS, bars_max=1200)
    return found


def with_z(check: SeriesCheck, z: float) -> SeriesCheck:
    return replace(check, scores=tuple(replace(one, rank_z=z) for one in check.scores))


def test_every_recording_with_enough_bars_is_looked_at() -> None:
    assert recorded() == [
        ("BTC-PERP", "1m"), ("BTC-PERP", "5m"), ("BTC-PERP", "15m"), ("SPY", "1d"), ("AAPL", "1d"), ("SPX", "1m"),
    ]  # fmt: skip


def test_report_has_every_check(check: SeriesCheck) -> None:
    text = report([check])
    for part in (
        "SPX 1m",
        "lowest tenth",
        "bars held back",
        "changes in 100 bars",
        "P&L always-on",
        "240 bars on, by score",
    ):
        assert part in text
    for strategy in ("smart_dca", "sma_cross", "rsi_reversion", "breakout"):
        assert f"| SPX 1m | {strategy} |" in text
    for line in text.splitlines():
        assert not line.startswith("|") or line.endswith("|")
    assert "nan" not in text


def test_always_on_is_the_same_replay_without_the_layer(check: SeriesCheck) -> None:
    for one in check.trades:
        assert one.always.held_back == 0
        if not one.layer.held_back:
            assert one.layer == one.always
        assert one.picky.held_back >= one.layer.held_back or one.picky.executions <= one.layer.executions


@pytest.mark.parametrize(
    ("z", "said"),
    [
        (0.0, "did not foretell"),
        (1.99, "did not foretell"),
        (-5.0, "did not foretell"),
        (2.0, "mostly followed by a higher return"),
    ],
)
def test_first_sentence_says_what_was_found(check: SeriesCheck, z: float, said: str) -> None:
    assert said in summary([with_z(check, z)])


def test_half_of_the_comparisons_are_not_most(check: SeriesCheck) -> None:
    assert "did not foretell" in summary([with_z(check, 3.0), check, with_z(check, -3.0)])


def test_command_writes_the_same_report_every_time(tmp_path: Path) -> None:
    texts = []
    for name in ("one.md", "two.md"):
        out = StringIO()
        call_command(
            "evaluate_intelligence", "--symbol", "SPX", "--bars", "600", "--output", str(tmp_path / name), stdout=out
        )
        texts.append((tmp_path / name).read_text())
        assert out.getvalue().strip() in texts[-1]
    assert texts[0] == texts[1]


def test_command_refuses_what_says_nothing() -> None:
    with pytest.raises(CommandError, match="choose AAPL"):
        call_command("evaluate_intelligence", "--symbol", "NOPE")
    with pytest.raises(CommandError, match="500 or more"):
        call_command("evaluate_intelligence", "--bars", "499")


def test_report_in_the_docs_is_of_the_formulas_as_they_are() -> None:
    from bots.intelligence.values import VERSION

    text = (ROOT / "docs/intelligence-report.md").read_text()
    assert f"formulas of version {VERSION}" in text
