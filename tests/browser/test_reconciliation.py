"""A difference with the venue in a real browser: seen on Safety, looked at from both sides, and settled with a reason.

With SHOTS set to a directory, what was seen is kept there as pictures.
"""

import re
from decimal import Decimal

import pytest
from django.utils import timezone
from playwright.sync_api import expect
from pytest_django import Settings

from bots import shadows
from bots.executor import shadow as twins
from bots.models import Bot
from tests.bots.builders import position_of
from tests.bots.live import live_desk, live_intent, send
from tests.bots.reconciliation.desk import open_differences, round_at
from tests.browser.conftest import Console
from tests.browser.test_going_live import look_at, seen
from tests.loopback.client import KrakenLoopback

__all__ = ["seen"]

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


@pytest.fixture
def bot(server: str, kraken: KrakenLoopback, settings: Settings) -> Bot:
    """Return a live bot that holds 0.3 BTC, on an account that agrees; the owner has 0.5 BTC beside it."""
    made = live_desk(kraken, settings, name="Bitcoin DCA")
    round_at()
    send(live_intent(made))
    assert round_at().state == "agrees"
    return made


def test_shortage_is_seen_and_settled(
    seen: Console, bot: Bot, kraken: KrakenLoopback, request: pytest.FixtureRequest
) -> None:
    kraken.place("buy", "0.1", price="50")
    kraken.set_balance("XXBT", "0.2")
    round_at()
    round_at(12)
    page = seen.open(f"/admin/bots/bot/{bot.pk}/change/")
    expect(page.locator("#why-blocked")).to_contain_text("RECONCILIATION_OPEN")
    page = seen.open("/admin/safety/")
    expect(page.locator("#reconciliation")).to_contain_text("0.1 BTC are missing")
    page.get_by_role("link", name="Both sides").click()
    expect(page.locator("#account-kraken")).to_contain_text("SHORTAGE")
    expect(page.locator("#account-kraken")).to_contain_text("1 placed by others")
    look_at(page, "reconciliation", request)
    page.get_by_role("link", name="Accept the venue's figure").click()
    expect(page.locator("#main")).to_contain_text("lose 0.1 BTC")
    page.get_by_role("button", name="Yes, accept it").click()
    expect(page.locator("#id_reason_error")).to_be_visible()
    look_at(page, "reconciliation-settle", request)
    page.fill("#id_reason", "sold by hand last night")
    page.get_by_role("button", name="Yes, accept it").click()
    expect(page.locator("#main")).to_contain_text(re.compile("The difference about BTC is accepted"))
    assert open_differences() == []
    assert position_of(bot, is_live=True).quantity == Decimal("0.2")


def test_paper_twin_is_held_against_the_live_order(
    seen: Console, bot: Bot, kraken: KrakenLoopback, request: pytest.FixtureRequest
) -> None:
    page = seen.open(f"/admin/bots/bot/{bot.pk}/change/")
    page.get_by_role("button", name="Run a paper twin").click()
    expect(page.locator("#main")).to_contain_text("each live order has a paper twin")
    assert shadows.is_shadowed(bot)
    for limit in (None, "98"):
        order = send(live_intent(bot, quantity="0.2", limit=limit)).order
    twins.shadow(timezone.now())
    page.get_by_role("link", name="How its live orders did").click()
    expect(page.locator("#main")).to_contain_text("9.98 bps better")
    look_at(page, "shadow", request)
    page = seen.open(f"/admin/bots/order/{order.pk}/change/")
    expect(page.locator("#twin")).to_contain_text("nothing yet")
    look_at(page, "shadow-order", request)
