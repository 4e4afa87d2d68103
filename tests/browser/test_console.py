"""The console in a real browser: what a person does in the first hour, with no script error and no other host."""

import re
from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from bots import manager
from bots.market_data.feeds import feed_for
from bots.models import Bot, BotStatus, EquitySnapshot, Order
from bots.order_states import OrderStatus
from safety import kill_switch
from safety.intents import Level, Side
from tests.bots.builders import make_bot, position_of, trade
from tests.browser.conftest import Console

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

PAGES = (
    "/admin/", "/admin/bots/bot/", "/admin/bots/bot/add/", "/admin/bots/bot/add/?strategy=smart_dca", "/admin/bots/order/",
    "/admin/safety/reconciliation/", "/admin/safety/notifications/",
    "/admin/bots/fill/", "/admin/bots/position/", "/admin/bots/deal/", "/admin/audit/orderevent/",
    "/admin/audit/operatorevent/", "/admin/safety/setting/", "/admin/safety/setting/kill_switch/change/",
    "/admin/safety/", "/admin/safety/halt/", "/admin/safety/what-if/", "/admin/safety/dead-man/?account=kraken",
    "/admin/replay/", "/admin/safety/tradingstate/", "/admin/safety/risklimits/global/change/",
    "/admin/safety/notificationprefs/1/change/", "/admin/auth/user/", "/admin/auth/group/add/", "/admin/password_change/",
)  # fmt: skip


def status_of(bot: Bot) -> str:
    return Bot.objects.values_list("status", flat=True).get(pk=bot.pk)


def expect_banner(page: Page) -> None:
    banner = page.locator("#tc-banner")
    expect(banner).to_be_visible()
    expect(banner).to_contain_text("PAPER")
    expect(banner).to_contain_text("Trading ACTIVE")


def test_every_page_has_the_banner_and_works_without_errors_or_other_hosts(console: Console) -> None:
    bot = make_bot()
    order = trade(bot, Side.BUY, "0.01").order
    page = console.open("/admin/login/")
    expect_banner(page)
    console.sign_in_by_form()
    for path in (*PAGES, f"/admin/bots/bot/{bot.pk}/change/", f"/admin/bots/order/{order.pk}/change/"):
        expect_banner(console.open(path))
        expect(page.locator("#tc-banner .tc-chip-replay")).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_is_wider_than_a_phone(server: str, browser: Browser, theme: str) -> None:
    bot = make_bot()
    order = trade(bot, Side.BUY, "0.01").order
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=theme)  # type: ignore[arg-type]
    phone = Console(server, context.new_page())
    phone.watch()
    phone.sign_in()
    too_wide = {}
    for path in (*PAGES, f"/admin/bots/bot/{bot.pk}/change/", f"/admin/bots/order/{order.pk}/change/"):
        page = phone.open(path)
        over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        too_wide.update({path: over} if over > 0 else {})
    context.close()
    assert too_wide == {}
    assert phone.complaints == []


def test_wrong_password_is_told(console: Console) -> None:
    page = console.open("/admin/")
    page.fill("#id_username", "operator")
    page.fill("#id_password", "wrong")
    page.click("#login-form button[type=submit]")
    expect(page.locator("body")).to_contain_text("Please enter the correct username and password")


def test_dashboard_moves_by_itself(console: Console) -> None:
    console.sign_in()
    page = console.page
    expect(page.locator("#tc-live")).to_contain_text("There are no bots yet")
    bot = make_bot("newcomer")
    trade(bot, Side.BUY, "0.01")
    expect(page.locator("#tc-live")).to_contain_text("newcomer", timeout=15_000)
    expect(page.locator("#tc-live")).to_contain_text("filled")
    expect(page.locator("#tc-cards")).to_contain_text("1 position open")


def test_dashboard_draws_the_equity_curve(console: Console) -> None:
    bot = make_bot()
    for number in range(30):
        EquitySnapshot.objects.create(
            bot=bot, is_live=False, taken_at=timezone.now() - timedelta(seconds=300 - 10 * number),
            equity=Decimal(10_000 + number % 7), position_value=Decimal(0),
            realised_pnl=Decimal(number % 7), unrealised_pnl=Decimal(0),
        )  # fmt: skip
    console.sign_in()
    page = console.page
    expect(page.locator("[data-equity-summary]")).to_contain_text("$10,001.00")
    expect(page.locator("canvas")).to_be_visible()
    drawn = page.evaluate(
        """() => { const c = document.querySelector('canvas');
        return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(byte => byte > 0); }"""
    )
    assert drawn


def test_dashboard_says_when_the_console_stops_answering(console: Console) -> None:
    console.sign_in()
    page = console.page
    page.clock.install()
    page.reload()
    # The answers fail because this test makes them fail.
    console.is_forgiving = True
    page.route(re.compile(r".*/part/.*"), lambda route: route.fulfill(status=502, body="no"))
    page.clock.run_for(40_000)
    expect(page.locator("[data-lost]")).to_be_visible()


def test_bot_is_started_paused_and_stopped_from_its_page(console: Console) -> None:
    bot = make_bot(running=False)
    console.sign_in()
    page = console.open(f"/admin/bots/bot/{bot.pk}/change/")
    for button, status in (("Start", "running"), ("Pause", "paused"), ("Stop", "stopped")):
        page.get_by_role("button", name=button).click()
        expect(page.locator("#main")).to_contain_text(f"{bot.name} is {status}")
        assert status_of(bot) == status


def test_position_is_closed_after_a_confirmation_that_names_it(console: Console) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "0.01")
    console.sign_in()
    page = console.open(f"/admin/bots/bot/{bot.pk}/change/")
    page.get_by_role("link", name="Close position now").click()
    expect(page.locator(".tc-confirm")).to_contain_text("Sell 0.01 BTC-PERP at the market")
    assert position_of(bot).quantity == Decimal("0.01")
    page.get_by_role("button", name="Yes, sell now").click()
    expect(page.locator("#main")).to_contain_text("Sold 0.01 BTC-PERP")
    assert position_of(bot).quantity == 0
    assert status_of(bot) == BotStatus.PAUSED


def test_resting_order_is_cancelled_from_its_page(console: Console) -> None:
    bid = feed_for("replay").quote("BTC-PERP", timezone.now()).bid
    order = trade(make_bot(), Side.BUY, "0.01", limit=str(int(bid * Decimal("0.9")))).order
    assert order.status == OrderStatus.ACCEPTED
    console.sign_in()
    page = console.open(f"/admin/bots/order/{order.pk}/change/")
    page.get_by_role("link", name="Cancel this order").click()
    page.get_by_role("button", name="Yes, cancel").click()
    expect(page.locator("#main")).to_contain_text(f"Order {order.client_order_id} is canceled")
    assert Order.objects.get(pk=order.pk).status == OrderStatus.CANCELED


def test_bulk_pause_from_the_list(console: Console) -> None:
    bots = [make_bot("a"), make_bot("b")]
    console.sign_in()
    page = console.open("/admin/bots/bot/")
    for bot in bots:
        page.locator(f"input.action-select[value='{bot.pk}']").check()
    page.locator("select[name=action]").select_option("pause_bots")
    page.locator("#changelist-actions-wrapper button[type=submit]").click()
    expect(page.locator("#main")).to_contain_text("b is paused")
    assert [status_of(bot) for bot in bots] == ["paused", "paused"]


def test_bad_param_is_told_at_its_field_and_everything_typed_stays(console: Console) -> None:
    bot = make_bot()
    console.sign_in()
    page = console.open(f"/admin/bots/bot/{bot.pk}/change/")
    page.fill("#id_name", "renamed")
    page.fill("#id_param_take_profit_pct", "abc")
    page.get_by_role("button", name="Save settings").click()
    expect(page.locator("#id_param_take_profit_pct_error")).to_be_visible()
    expect(page.locator("#id_param_take_profit_pct")).to_have_value("abc")
    expect(page.locator("#id_name")).to_have_value("renamed")
    page.fill("#id_param_take_profit_pct", "2.5")
    page.get_by_role("button", name="Save settings").click()
    expect(page.locator("#main")).to_contain_text("Saved.")
    bot.refresh_from_db()
    assert (bot.name, bot.params["take_profit_pct"]) == ("renamed", "2.5")


def test_bot_is_added_in_two_steps(console: Console) -> None:
    console.sign_in()
    page = console.open("/admin/bots/bot/add/")
    page.get_by_role("link", name=re.compile("Choose Breakout")).click()
    page.fill("#id_name", "my breakout")
    page.get_by_role("button", name="Add bot").click()
    expect(page.locator("#main")).to_contain_text("on paper and stopped")
    bot = Bot.objects.get(name="my breakout")
    assert (bot.strategy, bot.status, bot.dry_run) == ("breakout", "stopped", True)


def test_halt_by_the_setting_turns_the_banner_red_everywhere(console: Console) -> None:
    console.sign_in()
    page = console.open("/admin/safety/setting/kill_switch/change/")
    page.fill("#id_reason", "prices look wrong")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#main")).to_contain_text("Trading is halted")
    assert kill_switch.read_state().level == Level.HALTED
    page = console.open("/admin/")
    expect(page.locator(".tc-state-halted")).to_contain_text("prices look wrong")
    assert page.title().startswith("[PAPER · HALTED]")


def test_open_page_learns_of_a_halt_by_itself(console: Console) -> None:
    console.sign_in()
    page = console.open("/admin/audit/operatorevent/")
    kill_switch.engage(Level.HALTED, "a drill", actor="test")
    expect(page.locator(".tc-state-halted")).to_contain_text("a drill", timeout=15_000)


def test_archived_bot_page_opens_without_actions(console: Console) -> None:
    bot = make_bot()
    manager.archive(bot.pk, actor="test")
    console.sign_in()
    page = console.open(f"/admin/bots/bot/{bot.pk}/change/")
    expect(page.locator("#tc-live")).to_contain_text("ARCHIVED")
    expect(page.get_by_role("button", name="Start")).to_have_count(0)
