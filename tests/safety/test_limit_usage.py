"""Bars of what is used: exact, bounded, and empty where something is not known."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from safety.intents import Exposure
from safety.limit_usage import Usage, limit_rows, usage
from safety.limits import merge
from tests.safety.builders import LIVE, situation

D = Decimal


def bars(**changes: Any) -> dict[str, Usage]:
    s = situation(**changes)
    return {one.title: one for one in usage(s.exposure, s.limits, is_live=bool(s.intent.is_live))}


@pytest.mark.parametrize(
    ("title", "changes", "used", "limit", "share"),
    [
        ("Position in this symbol", {}, D(500), D(1_000), D("0.5")),
        ("Position in this symbol", {"equity_usd": D(500)}, D(500), D(300), D(1)),
        ("All positions together", {}, D(1_000), D(5_000), D("0.2")),
        ("All positions together", {"equity_usd": D(400)}, D(1_000), D(400), D(1)),
        ("The bot's capital", {}, D(500), D(1_000), D("0.5")),
        ("Loss today", {"equity_usd": D("9900.00")}, D(100), D(300), D("0.3333")),
        ("Loss today", {"equity_usd": D(9_700)}, D(300), D(300), D(1)),
        ("Loss today", {"equity_usd": D(20_000)}, D(0), D(300), D(0)),
        ("Loss from the peak", {"equity_usd": D(9_500)}, D(500), D(1_000), D("0.5")),
        ("Rate, one bot", {"sent_last_minute_bot": 5}, 5, 20, D("0.25")),
        ("Rate, one bot", {"sent_last_minute_bot": 0, "rate_per_minute_bot": 0}, 0, 0, D(1)),
        ("Resting orders, account", {"open_orders_account": 49}, 49, 50, D("0.98")),
        ("Losing deals in a row", {"losing_streak": 7}, 7, 5, D(1)),
        ("Rejects in a row", {"reject_streak": 1}, 1, 5, D("0.2")),
        ("Rejects in a row", {"reject_streak": 1, "reject_streak_max": None}, 1, None, None),
        ("Loss today", {"daily_loss_pct": None}, D(0), None, None),
        ("Loss today", {"equity_usd": None}, None, D(300), None),
        ("Position in this symbol", {"symbol_exposure_usd": D("NaN")}, None, D(1_000), None),
        ("Position in this symbol", {"equity_usd": D(-1)}, D(500), None, None),
    ],
)
def test_bar_shows_what_is_used(title: str, changes: dict[str, Any], used: Any, limit: Any, share: Any) -> None:
    bar = bars(**changes)[title]
    assert (bar.used, bar.limit, bar.share) == (used, limit, share)


def test_limit_that_is_no_number_has_no_share() -> None:
    assert bars(daily_loss_pct=D("NaN"))["Loss today"].share is None


def test_executions_are_counted_live_alone() -> None:
    assert "Executions of this symbol today" not in bars()
    assert bars(**LIVE, executions_today=15)["Executions of this symbol today"].share == D("0.25")


def test_nothing_known_is_nothing_used() -> None:
    s = situation()
    assert {one.share for one in usage(Exposure(), s.limits, is_live=True)} == {None}


def test_rows_are_the_limits_of_their_book() -> None:
    paper, live = (limit_rows(merge(None, None, is_live=is_live), is_live=is_live) for is_live in (False, True))
    assert [one.value for one in paper if one.code == "NOTIONAL_ABOVE_MAX"] == [D(5_000)]
    assert {one.title: one.value for one in live}["Order value, live"] == D(250)
    assert "LIVE_RAMP" not in {one.code for one in paper}
    off = replace(merge(None, None, is_live=True), daily_loss_pct=None)
    assert {one.title: one.value for one in limit_rows(off, is_live=True)}["Loss in a day"] is None
