"""A live order in a real browser, at a loopback Kraken: it rests, fills in part, is lost, is found again and is cancelled.

With SHOTS set to a directory, what was seen is kept there as pictures.
"""

import re
from decimal import Decimal

import pytest
from django.utils import timezone
from playwright.sync_api import Locator, Page, expect
from pytest_django import Settings

from bots import bot_params, sweep
from bots.hand_orders import HandOrder, place_order
from bots.market_data.feeds import feed_for
from bots.models import Bot, Order
from bots.order_states import OrderStatus
from safety import stamp
from safety.intents import OrderType, Side
from tests.bots.builders import make_bot
from tests.bots.live import measured, open_gates, ready
from tests.browser.conftest import Console
from tests.browser.test_going_live import look_at, seen
from tests.loopback import faults
from tests.loopback.client import BTC, KrakenLoopback

__all__ = ["seen"]

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

#: The page refreshes each two seconds; a busy machine needs longer.
SOON_MS = 30_000
#: The steps of an order that rests, fills in part, and is cancelled; and of one whose answer was lost.
CANCELLED = [
    "Wanted", "Judged: allowed", "Being sent to kraken", "Taken by kraken", "Filled in part", "Cancel asked for", "Cancelled",
]  # fmt: skip
LOST = [
    "Wanted",
    "Judged: allowed",
    "Being sent to kraken",
    "Outcome not known",
    "Found at the venue",
    "Taken by kraken",
]


@pytest.fixture
def bot(server: str, kraken: KrakenLoopback, settings: Settings) -> Bot:
    """Return a bot on paper, at a venue where nothing but that keeps it from being live."""
    bot_params.forget()
    kraken.set_price("99.9", "100.1")
    stamp.apply()
    open_gates(settings)
    measured()
    feed_for("kraken").quote(BTC, timezone.now())
    return make_bot("Bitcoin DCA", venue="kraken", symbol=BTC)


def set_live(page: Page, bot: Bot) -> None:
    """Set the bot live as a person does."""
    page.get_by_role("link", name="Go live").click()
    page.fill(f"#id_confirm_{bot.pk}", bot.name)
    page.fill("#id_reason", "a rehearsal")
    page.get_by_role("button", name="Set live").click()
    expect(page.locator(".tc-live-bar")).to_contain_text("LIVE")
    # No workers run in this test, and so the check that going live asked for finds that they are missing.
    ready()


def order_of(bot: Bot, limit: str) -> Order:
    """Place an order by hand, and return it."""
    wanted = HandOrder(Side.BUY, OrderType.LIMIT, Decimal("0.3"), Decimal(limit))
    submission = place_order(bot.pk, wanted, actor="operator", is_live=True)
    assert not submission.is_denied, submission.denials
    return submission.order


def steps(page: Page) -> Locator:
    """Return the titles of the steps that the page shows."""
    return page.locator("[data-step] strong")


def test_live_order_rests_fills_in_part_and_is_cancelled_before_ones_eyes(
    seen: Console, bot: Bot, kraken: KrakenLoopback, request: pytest.FixtureRequest
) -> None:
    page = seen.open(f"/admin/bots/bot/{bot.pk}/change/")
    set_live(page, bot)
    order = order_of(bot, "98")
    page.reload()
    page.get_by_role("link", name=re.compile("ago")).first.click()
    expect(page.locator("[data-status]")).to_have_text("Accepted")
    expect(page.locator("[data-now]")).to_contain_text("rests at kraken with 0.3 left")
    look_at(page, "order-rests", request)
    kraken.fill(order.venue_order_id, "0.1", "98")
    sweep.look_up(order, timezone.now())
    expect(page.locator("[data-status]")).to_have_text("Partially Filled", timeout=SOON_MS)
    expect(page.locator("#tc-live")).to_contain_text("0.1 at 98.00")
    expect(page.locator("[data-now]")).to_contain_text("with 0.2 left")
    look_at(page, "order-in-part", request)
    page.get_by_role("link", name="Cancel this order").click()
    page.get_by_role("button", name="Yes, cancel").click()
    expect(steps(page)).to_have_text(CANCELLED[:-1])
    # Its turn: nobody is asked twice within seconds.
    sweep.carry_out_cancels(timezone.now() + 2 * sweep.CANCEL_EVERY)
    expect(steps(page)).to_have_text(CANCELLED, timeout=SOON_MS)
    expect(page.locator("#tc-live")).to_contain_text("0.2 of 0.3 was not filled")
    expect(page.get_by_role("link", name="Cancel this order")).to_have_count(0)
    look_at(page, "order-cancelled", request)


def test_order_of_unknown_outcome_is_seen_to_be_found(
    seen: Console, bot: Bot, kraken: KrakenLoopback, request: pytest.FixtureRequest
) -> None:
    page = seen.open(f"/admin/bots/bot/{bot.pk}/change/")
    set_live(page, bot)
    kraken.fault(faults.reset("AddOrder"))
    order = order_of(bot, "97")
    assert order.status == OrderStatus.UNKNOWN
    page = seen.open(f"/admin/bots/order/{order.pk}/change/")
    expect(page.get_by_role("alert").first).to_contain_text("We do not know what became of this order")
    expect(page.locator("[data-now]")).to_contain_text("The venue is asked within seconds")
    expect(steps(page)).to_have_text(LOST[:4])
    look_at(page, "order-unknown", request)
    sweep.look_up(order, timezone.now())
    expect(steps(page)).to_have_text(LOST, timeout=SOON_MS)
    expect(page.locator("[data-status]")).to_have_text("Accepted")
    assert len(kraken.orders_with(order.client_order_id)) == 1
    look_at(page, "order-found", request)
