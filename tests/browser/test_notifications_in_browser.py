"""Being told and telling the console so, in a real browser: wide and on a phone, in both themes."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, expect

from safety.models import NotificationPrefs
from safety.notification_models import Delivery, Notification
from safety.notifications import delivery, outbox, planning, prefs
from tests.bots.builders import make_bot
from tests.browser.conftest import Console
from tests.browser.test_safety_in_browser import PHONE, TAP_PX_MIN, WIDE, _opened
from tests.loopback.client import DISCORD_POST, DiscordLoopback
from tests.loopback.faults import FOR_EVER, Fault, Reply

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

PAGE = "/admin/safety/notifications/"
#: What a person may call a bot: a script, everybody on Discord, and a word that is too long for any column.
NAMES = ("<script>alert(1)</script>", "@everyone <@42> **bold**", "w" * 200)


@pytest.fixture(params=[(PHONE, "light"), (WIDE, "dark")], ids=str)
def screen(request: pytest.FixtureRequest, server: str, browser: Browser) -> Iterator[Console]:
    """Return the console on a phone, light, and on a wide screen, dark: the theme and the width have no part in each other."""
    size, theme = request.param
    yield from _opened(server, browser, viewport=size, color_scheme=theme)


@pytest.fixture
def phone(server: str, browser: Browser) -> Iterator[Console]:
    """Return the console on a phone."""
    yield from _opened(server, browser, viewport=PHONE)


@pytest.fixture
def abroad(server: str, browser: Browser) -> Iterator[Console]:
    """Return the console in a browser whose clock is in India."""
    yield from _opened(server, browser, viewport=WIDE, timezone_id="Asia/Kolkata")


@pytest.fixture
def bare(server: str, browser: Browser) -> Iterator[Console]:
    """Return the console in a browser that runs no scripts."""
    yield from _opened(server, browser, viewport=PHONE, java_script_enabled=False)


def carry() -> int:
    """Plan and send, as the workers do each second."""
    now = timezone.now()
    planning.plan(now)
    return delivery.deliver_due(now, "test")


def fill_up(discord: DiscordLoopback) -> None:
    """Have one message delivered, one refused for itself, and some that wait since Discord is down; with every odd name."""
    outbox.tell("bot_error", "bot:1 scout", "scout failed and was paused")
    carry()
    discord.fault(Fault(DISCORD_POST, Reply.STATUS, status=400, is_carried_out=False))
    outbox.tell("live_enabled", f"bot:1 {NAMES[0]}", f"A bot was set live: {NAMES[0]}")
    carry()
    discord.fault(Fault(DISCORD_POST, Reply.STATUS, status=503, count=FOR_EVER, is_carried_out=False))
    for name in NAMES:
        outbox.tell(
            "order_unknown", f"order:{name}", f"Order of {name}", f"What became of {name}?", facts=(("Bot", name),)
        )
    carry()


def test_pages_fit_and_are_whole_whatever_is_told(screen: Console, discord: DiscordLoopback) -> None:
    make_bot("scout")
    fill_up(discord)
    assert set(Delivery.objects.values_list("status", flat=True)) == {"delivered", "dead", "waiting"}
    screen.sign_in()
    given_up, last = Delivery.objects.get(status="dead"), Notification.objects.latest("pk")
    lists = ("/admin/safety/notification/", "/admin/safety/delivery/")
    ones = (f"{lists[0]}{last.pk}/change/", f"{lists[1]}{given_up.pk}/change/")
    paths = (PAGE, "/admin/safety/", "/admin/", *lists, *ones)
    for path in paths:
        page = screen.open(path)
        expect(page.locator(".tc-banner-urgent")).to_contain_text("3 urgent messages that nobody has seen.")
        over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert over <= 0, path
    screen.open(PAGE)
    expect(screen.page.locator("#given-up")).to_contain_text("<script>alert(1)</script>")


def test_urgent_is_found_from_any_page_and_marked_as_seen(screen: Console) -> None:
    bot = make_bot("scout")
    outbox.tell(
        "order_unknown", f"bot:{bot.pk} scout", "Nobody knows what became of an order", "Kraken is asked again."
    )
    outbox.tell("audit_tampered", "chain:live", "The audit chain is broken")
    screen.sign_in()
    page = screen.page
    page.locator(".tc-banner-urgent").click()
    panel = page.locator("#needs-you")
    expect(panel).to_contain_text("Nobody knows what became of an order")
    panel.locator("li", has_text="Nobody knows").get_by_role("button", name="Seen").click()
    expect(page.locator("#main")).to_contain_text("Marked as seen: 1.")
    expect(page.locator("#needs-you")).not_to_contain_text("Nobody knows")
    expect(page.locator(".tc-banner-urgent")).to_contain_text("1 urgent message that")
    page.locator("#needs-you").get_by_role("button", name="Seen").click()
    expect(page.locator("#needs-you")).to_have_count(0)
    expect(page.locator(".tc-banner-urgent")).to_have_count(0)
    assert set(Notification.objects.values_list("seen_by", flat=True)) == {"operator"}


def test_urgent_comes_up_by_itself(phone: Console) -> None:
    phone.sign_in()
    page = phone.open("/admin/safety/")
    expect(page.locator("#needs-you")).to_have_count(0)
    outbox.tell("worker_down", "workers", "No worker is alive")
    expect(page.locator("#needs-you")).to_contain_text("No worker is alive", timeout=10_000)
    expect(page.locator(".tc-banner-urgent")).to_contain_text("1 urgent", timeout=15_000)


def test_failing_discord_is_told_and_the_retry_brings_the_message(phone: Console, discord: DiscordLoopback) -> None:
    fill_up(discord)
    phone.sign_in()
    page = phone.open("/admin/safety/")
    expect(page.locator("#tc-safety-top")).to_contain_text("Messages to Discord wait since")
    page = phone.open(PAGE)
    expect(page.locator("#channels")).to_contain_text("Discord has not taken messages since")
    discord.clear_faults()
    before = len(discord.messages())
    page.get_by_role("button", name="Try again", exact=True).click()
    expect(page.locator("#main")).to_contain_text("It is tried again within seconds.")
    expect(page.locator("#given-up")).to_have_count(0)
    assert carry() >= 1
    assert len(discord.messages()) > before
    assert not Delivery.objects.filter(status="dead").exists()


def test_test_button_tells_the_real_outcome(phone: Console, discord: DiscordLoopback) -> None:
    phone.sign_in()
    page = phone.open(PAGE)
    page.get_by_role("button", name="Send a test message").click()
    expect(page.locator("#main")).to_contain_text("Discord: Discord has the message.")
    assert len(discord.messages()) == 1
    discord.fault(Fault(DISCORD_POST, Reply.STATUS, status=404, is_carried_out=False))
    page.get_by_role("button", name="Send a test message").click()
    expect(page.locator("#main")).to_contain_text("DISCORD_WEBHOOK_URL")
    assert len(discord.messages()) == 1


def test_preferences_are_saved_and_a_bad_form_keeps_what_was_typed(screen: Console) -> None:
    screen.sign_in()
    page = screen.open(PAGE)
    page.get_by_label("The day's summary").click()
    page.get_by_label("Quiet from (UTC)").fill("22:00")
    # The browser's console notes every 422.
    screen.is_forgiving = True
    page.get_by_role("button", name="Save the preferences").click()
    form = page.locator("#preferences")
    expect(form).to_contain_text("Nothing was saved.")
    expect(form).to_contain_text("Give both ends of the quiet hours")
    expect(page.get_by_label("Quiet from (UTC)")).to_have_value("22:00")
    expect(page.get_by_label("The day's summary")).not_to_be_checked()
    screen.is_forgiving = False
    page.get_by_label("Quiet until (UTC)").fill("06:30")
    page.get_by_label("Reason").fill("we sleep")
    page.get_by_role("button", name="Save the preferences").click()
    expect(page.locator("#main")).to_contain_text("The preferences are saved.")
    kept = NotificationPrefs.objects.get()
    assert (f"{kept.quiet_from:%H:%M}", f"{kept.quiet_until:%H:%M}") == ("22:00", "06:30")
    assert [name for name, is_on in prefs.events_of(kept).items() if not is_on] == ["daily_summary"]
    expect(page.get_by_label("The day's summary")).not_to_be_checked()


def test_half_typed_preferences_stay_while_the_page_moves(phone: Console) -> None:
    phone.sign_in()
    page = phone.open(PAGE)
    page.get_by_label("Reason").fill("half a sentence")
    with page.expect_response("**/admin/part/notifications/", timeout=15_000):
        pass
    expect(page.get_by_label("Reason")).to_have_value("half a sentence")


def test_utc_is_told_on_the_clock_of_whoever_looks(abroad: Console) -> None:
    abroad.sign_in()
    page = abroad.open(PAGE)
    shown = page.locator("[data-own-clock]")
    expect(shown).to_be_visible()
    india = timedelta(hours=5, minutes=30)
    now = timezone.now()
    clocks = {f"{moment + india:%H:%M}" for moment in (now, now - timedelta(minutes=1))}
    assert shown.locator("strong").inner_text() in clocks


def test_page_works_without_scripts(bare: Console, discord: DiscordLoopback) -> None:
    outbox.tell("order_unknown", "order:t-1", "Nobody knows what became of an order")
    bare.sign_in()
    page = bare.open(PAGE)
    page.get_by_role("button", name="Send a test message").click()
    expect(page.locator("#main")).to_contain_text("Discord: Discord has the message.")
    page = bare.open("/admin/safety/")
    page.locator("#needs-you").get_by_role("button", name="Seen").click()
    expect(page.locator("#needs-you")).to_have_count(0)


def test_buttons_are_big_enough_for_a_thumb(phone: Console, discord: DiscordLoopback) -> None:
    fill_up(discord)
    phone.sign_in()
    for path, names in ((PAGE, ("Send a test message", "Try all again", "Try again")), ("/admin/safety/", ("Seen",))):
        page = phone.open(path)
        for name in names:
            box = page.get_by_role("button", name=name, exact=True).first.bounding_box()
            assert box is not None, name
            assert box["height"] >= TAP_PX_MIN - 8, (name, box)
