"""Finding the kill switch, throwing it, seeing it work, reading why live is blocked: in a real browser, wide and on a phone."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from bots.models import Bot, BotTick, Order
from safety import kill_switch
from safety.intents import Level, Side
from safety.models import KillRun
from tests.bots.builders import Floor, Worker, buy, floor, make_bot, trade
from tests.browser.conftest import PASSWORD, Console

__all__ = ["floor"]

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

WIDE, PHONE = {"width": 1400, "height": 900}, {"width": 390, "height": 844}
#: What a thumb hits without looking twice, in CSS pixels.
TAP_PX_MIN = 44
PAGES = (
    "/admin/",
    "/admin/bots/bot/",
    "/admin/safety/",
    "/admin/safety/risklimits/global/change/",
    "/admin/audit/orderevent/",
)


@pytest.fixture(params=[(WIDE, "light"), (WIDE, "dark"), (PHONE, "light"), (PHONE, "dark")], ids=str)
def screen(request: pytest.FixtureRequest, server: str, browser: Browser) -> Iterator[Console]:
    """Return the console on a wide screen and on a phone, in both themes."""
    size, theme = request.param
    yield from _opened(server, browser, viewport=size, color_scheme=theme)


@pytest.fixture
def phone(server: str, browser: Browser) -> Iterator[Console]:
    """Return the console on a phone."""
    yield from _opened(server, browser, viewport=PHONE)


@pytest.fixture(params=[WIDE, PHONE], ids=["wide", "phone"])
def bare(request: pytest.FixtureRequest, server: str, browser: Browser) -> Iterator[Console]:
    """Return the console in a browser that runs no scripts."""
    yield from _opened(server, browser, viewport=request.param, java_script_enabled=False)


def _opened(server: str, browser: Browser, **how: object) -> Iterator[Console]:
    context = browser.new_context(**how)  # type: ignore[arg-type]
    opened = Console(server, context.new_page())
    opened.watch()
    yield opened
    context.close()
    assert opened.complaints == []


def halt(page: Page) -> None:
    """Tap HALT, then CONFIRM, which has to stand where HALT stood."""
    button = page.locator("[data-halt]")
    before = button.bounding_box()
    button.click()
    confirm = page.get_by_role("button", name="CONFIRM")
    expect(confirm).to_be_visible()
    after = confirm.bounding_box()
    assert before is not None
    assert after == before
    page.mouse.click(before["x"] + before["width"] / 2, before["y"] + before["height"] / 2)
    expect(page.locator("#tc-progress")).to_contain_text("Everything: HALTED")


def level() -> Level:
    return kill_switch.read_state().level


def test_halt_is_two_taps_in_one_place_and_takes_effect(screen: Console, floor: Floor) -> None:
    floor.strategy("buyer", lambda view: [buy("0.1")])
    bot = make_bot(strategy="buyer")
    screen.sign_in()
    page = screen.page
    assert level() == Level.ACTIVE
    halt(page)
    assert level() == Level.HALTED
    run = KillRun.objects.get()
    assert (run.scope, run.actor) == ("global", "operator")
    expect(page.locator("#tc-banner")).to_contain_text("Trading HALTED")
    expect(page.locator("#tc-banner")).to_contain_text("by operator")
    expect(page.locator("#tc-progress")).to_contain_text("Drained")
    Worker().tick(bot)
    assert not Order.objects.exists()
    assert "KILL_SWITCH" in [one["code"] for one in BotTick.objects.get(bot=bot).blocked_by]
    assert "KILL_SWITCH" in [denial.code for denial in trade(bot, Side.BUY, "0.1").denials]
    page.get_by_role("link", name="RELEASE…").click()
    expect(page.locator("#release-form")).to_be_visible()


def test_halt_works_without_scripts(bare: Console) -> None:
    bare.sign_in()
    halt(bare.page)
    assert level() == Level.HALTED
    expect(bare.page.locator("#tc-banner")).to_contain_text("Trading HALTED")


def test_safety_page_is_readable_without_scripts(bare: Console) -> None:
    bare.sign_in()
    page = bare.open("/admin/safety/")
    expect(page.locator("#checklist")).to_contain_text("ALLOW_LIVE_TRADING is not 1")
    page.locator("#id_engage_reason").fill("a drill")
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.locator("#state")).to_contain_text("a drill")
    assert level() == Level.HALTED


def test_cancel_takes_the_tap_back(phone: Console) -> None:
    phone.sign_in()
    page = phone.page
    page.locator("[data-halt]").click()
    page.get_by_text("Cancel", exact=True).click()
    expect(page.get_by_role("button", name="CONFIRM")).to_be_hidden()
    expect(page.locator("[data-halt]")).to_contain_text("HALT")
    assert level() == Level.ACTIVE


def test_button_is_big_uncovered_and_stays_in_reach_on_every_page(screen: Console) -> None:
    make_bot()
    screen.sign_in()
    page = screen.page
    for path in PAGES:
        screen.open(path)
        page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        box = page.locator("[data-halt]").bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= TAP_PX_MIN, path
        middle = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
        hit = page.evaluate("([x, y]) => !!document.elementFromPoint(x, y)?.closest('[data-halt]')", middle)
        assert hit, path
        over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert over <= 0, path


def test_open_confirmation_is_not_swept_away_by_the_moving_banner(phone: Console) -> None:
    phone.sign_in()
    page = phone.page
    page.clock.install()
    page.reload()
    page.locator("[data-halt]").click()
    with page.expect_response("**/admin/part/status/"):
        page.clock.run_for(11_000)
    expect(page.get_by_role("button", name="CONFIRM")).to_be_visible()
    page.clock.run_for(1_000)
    page.get_by_role("button", name="CONFIRM").click()
    expect(page.locator("#tc-progress")).to_contain_text("Everything: HALTED")


def test_halt_elsewhere_reaches_this_page_by_itself(phone: Console) -> None:
    phone.sign_in()
    kill_switch.engage(Level.HALTED, "prices look wrong", actor="olga")
    page = phone.page
    expect(page.locator("#tc-banner")).to_contain_text("prices look wrong", timeout=15_000)
    expect(page.get_by_role("link", name="RELEASE…")).to_be_visible()


def test_why_live_is_blocked_is_read_with_its_remedy(screen: Console) -> None:
    bot = make_bot("scout", venue="kraken", symbol="BTC/USD")
    Bot.objects.filter(pk=bot.pk).update(dry_run=False, capital_usd="250")
    screen.sign_in()
    page = screen.open("/admin/safety/")
    checklist = page.locator("#checklist")
    expect(checklist).to_contain_text("NOT LIVE READY")
    expect(checklist).to_contain_text("ALLOW_LIVE_TRADING is not 1 (default). No live order goes out.")
    expect(checklist).to_contain_text("write ALLOW_LIVE_TRADING=1 and restart")
    expect(checklist).to_contain_text("KRAKEN_API_KEY")
    expect(page.locator("#tc-banner")).to_contain_text("1 live bot (scout) may lose up to $250.00")


def test_release_asks_for_reason_and_password(phone: Console) -> None:
    kill_switch.engage(Level.HALTED, "a drill", actor="olga")
    phone.sign_in()
    page = phone.open("/admin/safety/")
    page.locator("#id_release_reason").fill("drill over")
    page.get_by_role("button", name="Release…").click()
    expect(page.locator("#tc-banner")).to_contain_text("Trading ACTIVE")
    assert level() == Level.ACTIVE


def test_typed_words_stay_while_the_page_moves(phone: Console) -> None:
    phone.sign_in()
    page = phone.open("/admin/safety/")
    page.locator("#id_flatten_reason").fill("half a sentence")
    with page.expect_response("**/admin/part/safety/", timeout=15_000):
        pass
    expect(page.locator("#id_flatten_reason")).to_have_value("half a sentence")


def test_sign_in_that_ran_out_leads_back_to_one_tap(phone: Console) -> None:
    phone.sign_in()
    page = phone.page
    page.context.clear_cookies(name="sessionid")
    page.locator("[data-halt]").click()
    page.get_by_role("button", name="CONFIRM").click()
    page.fill("#id_username", "operator")
    page.fill("#id_password", PASSWORD)
    page.click("#login-form button[type=submit]")
    page.get_by_role("button", name="HALT NOW").click()
    expect(page.locator("#tc-progress")).to_contain_text("Everything: HALTED")
    assert level() == Level.HALTED
