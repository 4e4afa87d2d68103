"""A page that listens to the stream with the browser's own EventSource, and hears of a paper fill."""

import threading
from decimal import Decimal

import pytest
from django.utils import timezone

from bots import bot_params, manager
from bots.hand_orders import HandOrder, place_order
from bots.market_data.feeds import feed_for
from bots.models import Bot
from safety.intents import OrderType, Side
from tests.browser.conftest import Console
from tests.workers.conftest import wait_until
from tradingops.api import stream
from tradingops.api.stream_hub import hub

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

#: What is told comes within a second or so; a busy machine needs longer.
SOON_MS = 30_000
LISTEN = """() => {
    window.told = [];
    window.stream = new EventSource("/api/stream");
    for (const kind of ["order", "bot", "safety"]) {
        window.stream.addEventListener(kind, (one) => window.told.push({kind, id: one.lastEventId, ...JSON.parse(one.data)}));
    }
}"""
SAFETY_IS_TOLD = "() => window.told.some((one) => one.kind === 'safety')"
FILL_IS_TOLD = "() => window.told.some((one) => one.event === 'filled')"


def make_bot() -> Bot:
    new = manager.NewBot("by hand", "replay", "BTC-PERP", "smart_dca", Decimal(1000), {})
    return manager.create(new, actor="operator")


def nobody_listens() -> bool:
    return not hub.count and all(thread.name != "event streams" for thread in threading.enumerate())


def test_event_source_of_a_signed_in_page_hears_of_a_paper_fill(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The end of a client is noticed with the next heartbeats; nobody may look at this test's database after it.
    monkeypatch.setattr(stream, "HEARTBEAT_EVERY_S", 0.5)
    bot_params.forget()
    bot = make_bot()
    # Once before: to load the recorded market takes a slow machine longer than an order by hand may be under way.
    feed_for(bot.venue).quote(bot.symbol, timezone.now())
    console.sign_in()
    page = console.page
    page.evaluate(LISTEN)
    page.wait_for_function(SAFETY_IS_TOLD, timeout=SOON_MS)
    wanted = HandOrder(Side.BUY, OrderType.MARKET, Decimal("0.001"))
    submission = place_order(bot.pk, wanted, actor="operator")
    assert not submission.is_denied, submission.denials
    page.wait_for_function(FILL_IS_TOLD, timeout=SOON_MS)
    told = page.evaluate("() => window.told")
    mine = [one for one in told if one.get("client_order_id") == submission.order.client_order_id]
    assert [one["event"] for one in mine] == ["intent", "submitting", "filled"]
    assert [one["seq"] for one in mine] == [1, 2, 3]
    assert mine[-1]["is_live"] is False
    assert any(one["kind"] == "bot" and one["name"] == "by hand" for one in told)
    page.evaluate("() => window.stream.close()")
    wait_until(nobody_listens, SOON_MS / 1000, "the stream to end")
