"""The preview and what pages read: they show what a cycle would do and has done, and write nothing."""

from datetime import timedelta
from typing import Any

from django.apps import apps
from django.utils import timezone

from bots.autopilot import preview, reading
from bots.autopilot.values import Kind, Stand
from bots.models import AutopilotLosses, Recommendation
from safety.intents import Side
from tests.bots.autopilot.conftest import switch_on
from tests.bots.autopilot.market import FALLING, RISING, MarketFeed
from tests.bots.autopilot.test_cycle import change, decided, go, made, own
from tests.bots.builders import trade


def everything() -> dict[str, list[Any]]:
    """Return every row of every table."""
    models = [one for app in ("audit", "safety", "bots") for one in apps.get_app_config(app).get_models()]
    return {one.__name__: sorted(map(repr, one._base_manager.values_list())) for one in models}


def test_preview_says_what_a_cycle_then_does_and_writes_nothing(market: MarketFeed) -> None:
    bot = made(market)
    trade(bot, Side.BUY, "0.5")
    market.courses |= {"AAPL": FALLING, "SPY": RISING}
    change(universe={"replay": ["AAPL", "SPY", "SPX"]})
    # A new day begins: not even that is written down.
    AutopilotLosses.objects.update(day=timezone.now() - timedelta(days=1))
    before = everything()
    found = preview.preview(timezone.now())
    assert everything() == before
    assert [one.symbol for one in found.created] == ["SPY"]
    assert {one.symbol: (one.kind.value, one.code) for one in found.decisions} == decided(go())
    assert {one.symbol for one in found.seen} == {"AAPL", "SPY", "SPX"}


def test_preview_works_while_it_is_off(market: MarketFeed) -> None:
    market.courses["AAPL"] = RISING
    switch_on("AAPL")
    change(enabled=False)
    (decision,) = preview.preview(timezone.now()).decisions
    assert (decision.kind, decision.symbol) == (Kind.CREATED, "AAPL")


def test_overview_shows_slots_capital_sectors_and_how_each_bot_stands(market: MarketFeed) -> None:
    market.courses = {"AAPL": RISING, "SPY": RISING}
    switch_on("AAPL", "SPY", "SPX")
    go()
    market.courses["SPY"] = FALLING
    go()
    found = reading.overview(timezone.now())
    assert (found.slots, found.slots_used, found.capital_used_usd) == (4, 1, own().capital_usd)
    assert found.by_sector == {"technology": 1}
    assert [(one.own.bot.symbol, one.stand) for one in found.bots] == [("AAPL", Stand.TRADING), ("SPY", None)]
    assert (found.paper.day_lost_usd, found.paper.held_bots, found.live.bots) == (0, 2, 0)


def test_latest_scores_are_those_of_the_universe_and_the_watch_list_lies_between(market: MarketFeed) -> None:
    market.courses = {"AAPL": RISING, "SPY": FALLING}
    switch_on("AAPL", "SPY", "SPX")
    go()
    go()
    change(universe={"replay": ["AAPL", "SPX", "BTC-PERP"]})
    latest = reading.latest()
    assert [one.symbol for one in latest] == ["AAPL", "SPX"]
    assert {one.pk for one in latest} <= set(Recommendation.objects.order_by("-pk").values_list("pk", flat=True)[:3])
    assert [one.symbol for one in reading.watch_list()] == ["SPX"]


def test_histories_are_the_scores_over_time_oldest_first(market: MarketFeed) -> None:
    switch_on("AAPL")
    go()
    market.courses["AAPL"] = RISING
    go()
    (first, second) = reading.histories(timezone.now())["replay", "AAPL"]
    assert first[0] < second[0]
    assert first[1] < second[1]
    assert reading.histories(timezone.now() + timedelta(days=2)) == {}
