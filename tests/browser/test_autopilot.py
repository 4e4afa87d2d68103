"""The autopilot in a real browser: set up over the recorded prices, looked ahead, switched on, and a bot appears with its reason.

With SHOTS set to a directory, what was seen is kept there as pictures, in every look.
"""

import re
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from audit.models import OperatorEvent
from bots.models import AutopilotConfig, AutopilotCycle, AutopilotDecision, AutopilotState, Bot, Recommendation
from tests.bots.kraken import KrakenFeed
from tests.browser.conftest import Console
from tests.browser.test_going_live import feed, look_at, seen

__all__ = ["feed", "seen"]

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

PAGE = "/admin/autopilot/"


def test_switched_on_over_recorded_prices_a_bot_appears_with_its_reason(
    seen: Console, feed: KrakenFeed, request: pytest.FixtureRequest
) -> None:
    page = seen.open(PAGE)
    expect(page.locator("#switch")).to_contain_text("It has no symbols yet")
    look_at(page, "autopilot-empty", request)
    page.get_by_role("link", name="Choose some", exact=True).click()
    # What is wrong is said at its field, and what was typed and ticked stays.
    for symbol in ("AAPL", "BTC-PERP", "SPX", "SPY"):
        page.get_by_label(symbol, exact=True).check()
    page.fill("#id_slots", "many")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#id_slots_error")).to_be_visible()
    expect(page.get_by_label("SPX", exact=True)).to_be_checked()
    look_at(page, "autopilot-settings", request)
    page.fill("#id_slots", "4")
    page.fill("#id_score_min", "65")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#main")).to_contain_text("Saved: score min, slots, universe.")
    # What it would do: nothing of it happens.
    page.get_by_role("button", name="What would it do now?").click()
    expect(page.locator("#would")).to_contain_text(re.compile(r"It would make [1-4] bot"))
    expect(page.locator("#would")).to_contain_text("MAKE")
    look_at(page, "autopilot-preview", request)
    assert not Bot.objects.exists()
    assert not AutopilotCycle.objects.exists()
    assert not Recommendation.objects.exists()
    page.get_by_role("link", name="Back", exact=True).click()
    page.get_by_role("button", name="Switch it on, on paper").click()
    expect(page.locator("#main")).to_contain_text("The autopilot is on.")
    page.get_by_role("button", name="Run one cycle now").click()
    expect(page.locator("#main")).to_contain_text("The cycle is over")
    made = Bot.objects.filter(by_autopilot=True).order_by("pk")
    # The recordings play on meanwhile, so that it need not be what was seen ahead.
    assert made
    assert all(bot.dry_run for bot in made)
    for bot in made:
        expect(page.locator("#bots")).to_contain_text(bot.name)
        why = AutopilotDecision.objects.get(bot=bot, kind="created").reason
        expect(page.locator("#decisions")).to_contain_text(why)
    expect(page.locator("#scores svg").first).to_be_visible()
    expect(page.locator("#tc-autopilot-top")).to_contain_text(f"{len(made)} of 4")
    look_at(page, "autopilot-running", request)
    page.get_by_role("button", name="Switch it off").click()
    expect(page.locator("#main")).to_contain_text("Its bots stay as they are")
    assert AutopilotConfig.objects.get().enabled is False
    actions = OperatorEvent.objects.filter(action="autopilot_enabled_changed").order_by("id")
    assert [(one.actor, one.new) for one in actions] == [("operator", "true"), ("operator", "false")]


def test_late_and_live_are_seen_everywhere_and_paper_is_one_tap_away(
    seen: Console, feed: KrakenFeed, request: pytest.FixtureRequest
) -> None:
    hour_ago = timezone.now() - timedelta(hours=1)
    AutopilotConfig.objects.update(
        enabled=True, dry_run=False, universe={"kraken": ["BTC/USD"], "replay": ["SPX"]}, scan_interval_s=60
    )
    AutopilotState.objects.update(heartbeat_at=hour_ago, enabled_at=hour_ago)
    page = seen.open(PAGE)
    expect(page.locator("#tc-banner")).to_contain_text("The autopilot may trade live")
    expect(page.locator("#tc-autopilot-top")).to_contain_text("The autopilot is late.")
    look_at(page, "autopilot-late", request)
    page = seen.open("/admin/safety/")
    expect(page.locator("#autopilot")).to_contain_text("Autopilot LIVE, LATE")
    page = seen.open("/admin/")
    expect(page.locator("#tc-cards")).to_contain_text(re.compile(r"Autopilot\s+LIVE\s+LATE"))
    look_at(page, "autopilot-dashboard", request)
    page = seen.open(PAGE)
    page.get_by_role("button", name="Back to paper").click()
    expect(page.locator("#main")).to_contain_text("makes bots on paper from now on")
    page.get_by_role("link", name="Let it trade with real money").click()
    expect(page.locator("#main")).to_contain_text("It can't be set live now.")
    expect(page.get_by_role("button", name="Let it trade with real money")).to_have_count(0)
    look_at(page, "autopilot-go-live", request)
