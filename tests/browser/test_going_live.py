"""Setup, going live and what a live bot's page says, in a real browser: on a phone and on a wide screen, light and dark.

With SHOTS set to a directory, what was seen is kept there as pictures.
"""

import os
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from audit.models import OperatorEvent
from bots import going_live
from bots.models import Bot
from safety import kill_switch
from safety.intents import Level, Side
from tests.bots.builders import forget_process_memory, trade
from tests.bots.kraken import KrakenFeed, hold_live, install_kraken, kraken_bot
from tests.browser.conftest import Console

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

PHONE, WIDE = {"width": 390, "height": 844}, {"width": 1400, "height": 900}
LOOKS = [(size, theme) for size in ("phone", "wide") for theme in ("light", "dark")]
#: The theme changes colours only, and the width none of them: two looks have each width and each theme. Pictures are kept of all.
BOTH = LOOKS if "SHOTS" in os.environ else [("phone", "light"), ("wide", "dark")]


@pytest.fixture
def feed(server: str, monkeypatch: pytest.MonkeyPatch) -> KrakenFeed:
    forget_process_memory()
    return install_kraken(monkeypatch)


@pytest.fixture(params=BOTH, ids=lambda look: "-".join(look))
def seen(request: pytest.FixtureRequest, server: str, browser: Browser) -> Iterator[Console]:
    """Return a signed-in console in one of the looks; afterwards there must be no complaint."""
    size, theme = request.param
    viewport = PHONE if size == "phone" else WIDE
    context = browser.new_context(viewport=viewport, color_scheme=theme)  # type: ignore[arg-type]
    opened = Console(server, context.new_page())
    opened.watch()
    opened.sign_in()
    yield opened
    context.close()
    assert opened.complaints == []


def look_at(page: Page, name: str, request: pytest.FixtureRequest) -> None:
    """Expect the page to be no wider than the screen, and keep a picture where that is asked for."""
    page.wait_for_load_state("load")
    over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert over <= 0, name
    if "SHOTS" in os.environ:
        where = Path(os.environ["SHOTS"]) / f"{name}-{request.node.callspec.id}.png"
        page.screenshot(path=where, full_page=True)


def is_live(bot: Bot) -> bool:
    return Bot.objects.get(pk=bot.pk).is_live


def test_a_bot_is_set_up_in_four_steps_and_nothing_is_lost_on_the_way_back(
    seen: Console, feed: KrakenFeed, request: pytest.FixtureRequest
) -> None:
    page = seen.open("/admin/setup/")
    look_at(page, "setup-1", request)
    page.locator("select[name=market]").select_option("kraken:BTC/USD")
    page.get_by_role("button", name="Next").click()
    look_at(page, "setup-2", request)
    page.get_by_text("Smart DCA", exact=True).click()
    page.get_by_role("button", name="Next").click()
    page.fill("#id_name", "my first bot")
    page.fill("#id_capital_usd", "none")
    page.get_by_role("button", name="Next").click()
    expect(page.locator("#id_capital_usd_error")).to_be_visible()
    look_at(page, "setup-3", request)
    page.get_by_role("button", name="Back").click()
    expect(page.locator("input[value=smart_dca]")).to_be_checked()
    page.get_by_role("button", name="Next").click()
    expect(page.locator("#id_name")).to_have_value("my first bot")
    page.fill("#id_capital_usd", "500")
    page.get_by_role("button", name="Next").click()
    expect(page.locator("#main")).to_contain_text("Step 4 of 4")
    look_at(page, "setup-4", request)
    page.get_by_role("button", name="Make it, stopped").click()
    expect(page.locator("#main")).to_contain_text("my first bot was made, on paper")
    assert Bot.objects.get().dry_run


def test_setup_and_going_live_work_without_scripts(server: str, browser: Browser, feed: KrakenFeed) -> None:
    context = browser.new_context(viewport=PHONE, java_script_enabled=False)  # type: ignore[arg-type]
    plain = Console(server, context.new_page())
    plain.sign_in()
    page = plain.open("/admin/setup/")
    page.locator("select[name=market]").select_option("kraken:BTC/USD")
    page.get_by_role("button", name="Next").click()
    page.locator("input[value=breakout]").check()
    page.get_by_role("button", name="Next").click()
    page.fill("#id_name", "plain")
    page.get_by_role("button", name="Next").click()
    page.get_by_role("button", name="Make it, stopped").click()
    bot = Bot.objects.get()
    page = plain.open(f"/admin/bots/bot/{bot.pk}/go-live/")
    page.fill("#id_reason", "it did well on paper")
    page.fill(f"#id_confirm_{bot.pk}", "plain")
    page.get_by_role("button", name="Set live").click()
    assert is_live(bot)
    context.close()


def test_going_live_names_what_stands_in_the_way_and_then_says_blocked(
    seen: Console, feed: KrakenFeed, request: pytest.FixtureRequest
) -> None:
    bot = kraken_bot("Bitcoin DCA")
    trade(bot, Side.BUY, "0.5")
    page = seen.open(f"/admin/bots/bot/{bot.pk}/change/")
    page.get_by_role("link", name="Go live").click()
    expect(page.locator("#main")).to_contain_text("it stays BLOCKED")
    look_at(page, "go-live", request)
    page.get_by_role("button", name="Set live").click()
    expect(page.locator("#main")).to_contain_text("Nothing was changed")
    page.fill(f"#id_confirm_{bot.pk}", "bitcoin dca")
    page.fill("#id_reason", "four weeks on paper went well")
    page.get_by_role("button", name="Set live").click()
    expect(page.locator(f"#id_confirm_{bot.pk}_error")).to_be_visible()
    look_at(page, "go-live-wrong", request)
    assert not is_live(bot)
    page.fill(f"#id_confirm_{bot.pk}", "Bitcoin DCA")
    page.get_by_role("button", name="Set live").click()
    expect(page.locator(".tc-live-bar")).to_contain_text("LIVE")
    expect(page.locator(".tc-live-bar")).to_contain_text("BLOCKED")
    expect(page.locator("#why-blocked")).to_contain_text("ALLOW_LIVE_TRADING")
    assert is_live(bot)
    look_at(page, "live-blocked", request)
    page.get_by_role("button", name="Set to paper").click()
    expect(page.locator("#main")).to_contain_text("is on paper")
    assert not is_live(bot)


def test_page_says_why_with_figures_and_what_to_do(
    seen: Console, feed: KrakenFeed, request: pytest.FixtureRequest
) -> None:
    bot = kraken_bot("Bitcoin DCA", capital_usd=Decimal(100))
    trade(bot, Side.BUY, "0.5")
    trade(bot, Side.BUY, "20")
    kill_switch.engage(Level.REDUCING, "prices look odd", actor="test", scope=f"bot:{bot.pk}")
    page = seen.open(f"/admin/bots/bot/{bot.pk}/change/")
    why = page.locator("#why-blocked")
    expect(why).to_contain_text("prices look odd")
    expect(why).to_contain_text("BOT_CAPITAL_EXCEEDED")
    expect(why).to_contain_text("What to do")
    expect(page.locator("#usage")).to_contain_text("The bot's capital")
    look_at(page, "why-blocked", request)


def test_bot_is_halted_in_two_taps(seen: Console, feed: KrakenFeed, request: pytest.FixtureRequest) -> None:
    bot = kraken_bot("Bitcoin DCA")
    trade(bot, Side.BUY, "0.5")
    page = seen.open(f"/admin/bots/bot/{bot.pk}/change/")
    page.get_by_role("link", name="Halt this bot").click()
    look_at(page, "halt", request)
    page.get_by_role("button", name="CONFIRM: halt").click()
    expect(page.locator("#main")).to_contain_text("is halted")
    assert kill_switch.read_state(bot.venue, bot.pk).level == Level.HALTED
    assert OperatorEvent.objects.filter(action="kill_switch_engaged", object=f"bot:{bot.pk}").exists()


def test_bot_on_its_way_back_says_so_and_can_be_kept_live(
    seen: Console, feed: KrakenFeed, request: pytest.FixtureRequest
) -> None:
    bot = kraken_bot("Bitcoin DCA")
    going_live.set_live(bot.pk, actor="test", confirm=bot.name, reason="a test")
    hold_live(bot, "0.5")
    Bot.objects.filter(pk=bot.pk).update(entries_held="the kill switch was released")
    page = seen.open(f"/admin/bots/bot/{bot.pk}/change/")
    page.get_by_role("button", name="Set to paper").click()
    expect(page.locator("#tc-live")).to_contain_text("turning to paper")
    expect(page.get_by_role("link", name="Stay live")).to_be_visible()
    look_at(page, "turning", request)
    page.get_by_role("link", name="Let it buy again").click()
    look_at(page, "clear-held", request)
    page.fill("#id_reason", "looked at it")
    page.get_by_role("button", name=re.compile("Yes, let it buy again")).click()
    expect(page.locator("#main")).to_contain_text("May buy again: Bitcoin DCA.")
