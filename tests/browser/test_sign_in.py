"""Signing in with a code, and the password that is asked for again, in a real browser."""

import re

import pytest
from django.contrib.auth.models import Group, User
from django.contrib.sessions.models import Session
from django_otp.plugins.otp_totp.models import TOTPDevice
from playwright.sync_api import Browser, expect

from audit.models import OperatorEvent
from safety import second_factor
from safety.sign_in_marks import ACTIVE_AT, CONFIRMED_AT
from tests.browser.conftest import PASSWORD, Console
from tests.tradingops.test_sign_in import allow_next_code, code, code_of

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


def put(name: str, value: int) -> None:
    """Write into the one session what time would have left there."""
    session = Session.objects.get()
    data = session.get_decoded() | {name: value}
    session.session_data = Session.objects.encode(data)
    session.save()


def test_second_factor_is_turned_on_and_then_asked_for(console: Console) -> None:
    console.sign_in_by_form()
    page = console.open("/admin/second-factor/")
    page.get_by_role("button", name="Turn it on…").click()
    expect(page.get_by_alt_text("The key as a picture")).to_be_visible()
    user = User.objects.get(username="operator")
    page.fill("#id_again_code", code_of(TOTPDevice.objects.get(user=user)))
    page.get_by_role("button", name="Turn it on").click()
    expect(page.locator("#recovery-codes")).to_contain_text(re.compile(r"([a-z2-7]{4}-){3}[a-z2-7]{4}"))
    allow_next_code(user)
    page.context.clear_cookies()
    console.open("/admin/login/?next=/admin/bots/order/")
    page.fill("#id_username", "operator")
    page.fill("#id_password", PASSWORD)
    page.click("#login-form button[type=submit]")
    expect(page.locator("#tc-banner")).to_be_visible()
    page.fill("#id_again_code", "000000")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("body")).to_contain_text("That was not right")
    allow_next_code(user)
    page.fill("#id_again_code", code(user))
    page.get_by_role("button", name="Go on").click()
    page.wait_for_url(re.compile(r"/admin/bots/order/"))


def test_password_is_asked_for_again_and_what_was_typed_goes_on(console: Console) -> None:
    console.sign_in_by_form()
    put(CONFIRMED_AT, 1)
    page = console.open("/admin/auth/group/add/")
    page.fill("#id_name", "night shift")
    page.fill("#id_reason", "somebody has to watch")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#again-form")).to_be_visible()
    page.fill("#id_again_password", "wrong")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator(".tc-note-bad")).to_contain_text("That was not right")
    assert not Group.objects.filter(name="night shift").exists()
    page.fill("#id_again_password", PASSWORD)
    page.get_by_role("button", name="Go on").click()
    page.wait_for_url(re.compile(r"/admin/auth/group/$"))
    assert Group.objects.filter(name="night shift").exists()


def test_open_page_goes_to_the_sign_in_when_the_session_ends_and_then_back(console: Console) -> None:
    console.sign_in_by_form()
    page = console.open("/admin/audit/operatorevent/")
    put(ACTIVE_AT, 1)
    page.wait_for_url(re.compile(r"/admin/login/"), timeout=20_000)
    expect(page.locator("body")).to_contain_text("You were signed out after 60 minutes without a click")
    page.fill("#id_username", "operator")
    page.fill("#id_password", PASSWORD)
    page.click("#login-form button[type=submit]")
    page.wait_for_url(re.compile(r"/admin/audit/operatorevent/"))
    assert OperatorEvent.objects.filter(action="signed_in").count() == 2


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_fit_a_phone(server: str, browser: Browser, theme: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=theme)  # type: ignore[arg-type]
    phone = Console(server, context.new_page())
    phone.watch()
    phone.sign_in_by_form()
    user = User.objects.get(username="operator")
    second_factor.start(user)
    put(CONFIRMED_AT, 1)
    for path in ("/admin/second-factor/", "/admin/safety/release/"):
        page = phone.open(path)
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0, path
    context.close()
    assert phone.complaints == []
