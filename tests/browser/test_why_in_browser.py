"""Why a bot trades, or not, in a real browser: on a phone and on a wide screen, and without scripts."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, expect

from bots.models import Bot, BotDecision
from safety.intents import Side
from tests.bots.builders import make_bot, trade
from tests.browser.conftest import Console
from tests.browser.test_going_live import PHONE, WIDE, look_at

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]
LOOKS = [("phone", "light", True), ("wide", "dark", True), ("phone", "dark", False)]


@pytest.fixture(params=LOOKS, ids=["phone", "wide", "phone without scripts"])
def seen(request: pytest.FixtureRequest, server: str, browser: Browser) -> Iterator[Console]:
    """Return a signed-in console in one of the looks; afterwards there must be no complaint."""
    size, theme, has_scripts = request.param
    context = browser.new_context(
        viewport=PHONE if size == "phone" else WIDE,  # type: ignore[arg-type]
        color_scheme=theme,
        java_script_enabled=has_scripts,
    )
    opened = Console(server, context.new_page())
    opened.watch()
    opened.sign_in()
    yield opened
    context.close()
    assert opened.complaints == []


def kept(bot: Bot, minutes_ago: int, score: int, *reasons: tuple[str, str]) -> BotDecision:
    return BotDecision.objects.create(
        bot=bot,
        decided_at=timezone.now() - timedelta(minutes=minutes_ago),
        action="manage_only" if reasons else "trade_allowed",
        regime="high_volatility" if reasons else "range",
        confidence=Decimal("0.8"),
        score=score,
        parts={"trend": 50, "momentum": 62, "volatility": 100, "liquidity": 33, "drawdown": 71, "data": 100},
        reasons=[{"code": code, "message": message} for code, message in reasons],
        cost_bps=Decimal("84.12"),
        inputs={"timeframe": "1m", "bars": 512, "close": "42000.5", "volatility_ratio": "3.41"},
        version=1,
    )


def test_a_moment_is_asked_for_and_answered(seen: Console, request: pytest.FixtureRequest) -> None:
    bot = make_bot()
    Bot.objects.filter(pk=bot.pk).update(created_at=timezone.now() - timedelta(hours=3))
    trade(bot, Side.BUY, "0.01")
    held = kept(bot, 90, 22, ("HIGH_VOLATILITY", "The market moves 3.4 times as much as usual."))
    kept(bot, 30, 64)
    page = seen.open(f"/admin/bots/bot/{bot.pk}/change/")
    panel = page.locator("#why")
    expect(panel).to_contain_text("Why it trades, or not")
    expect(panel.locator("meter")).to_have_count(6)
    expect(panel).to_contain_text("The market moves 3.4 times as much as usual.")
    look_at(page, "why", request)
    page.fill("#tc-why-at", f"{held.decided_at + timedelta(minutes=1):%Y-%m-%d %H:%M:%S}")
    page.get_by_role("button", name="Show it").click()
    expect(page.locator("#main")).to_contain_text("Exits only: new entries wait")
    expect(page.locator("#main")).to_contain_text("wild, far more than usual")
    expect(page.locator("#main")).to_contain_text("volatility ratio")
    look_at(page, "why-then", request)
    page.fill("#tc-why-at", "yesterday at noon")
    page.get_by_role("button", name="Show it").click()
    expect(page.get_by_role("alert")).to_contain_text("That is not a time")
    expect(page.locator("#tc-why-at")).to_have_value("yesterday at noon")
