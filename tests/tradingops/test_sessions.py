"""How long a session lasts, and that a page which asks by itself keeps none alive."""

from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from safety.sign_in_marks import ACTIVE_AT, SIGNED_IN_AT, now_s
from tests.conftest import CommittedDatabase

PAGE, POLLED = "/admin/bots/bot/", "/admin/part/status/"
POLLING = [
    {"headers": {"HX-Request": "true"}},
    {"headers": {"Sec-Fetch-Mode": "cors"}},
    {"headers": {"Accept": "application/json"}},
    {"headers": {"Accept": "text/event-stream"}},
]


@pytest.fixture
def user(committed_db: CommittedDatabase) -> User:
    return User.objects.create_superuser("operator", password="x")


@pytest.fixture
def browser(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def put(client: Client, **marks: Any) -> None:
    """Write into the session what time would have left there; None takes it out."""
    session = client.session
    for name, value in marks.items():
        if value is None:
            del session[name]
        else:
            session[name] = value
    session.save()


def idle(client: Client, seconds: int) -> None:
    put(client, **{ACTIVE_AT: now_s() - seconds})


def is_in(client: Client, url: str = PAGE, **how: Any) -> bool:
    return client.get(url, **how).status_code == 200


def test_session_goes_on_just_under_an_hour_without_a_click(browser: Client) -> None:
    idle(browser, settings.SESSION_IDLE_S - 5)
    assert is_in(browser)
    assert now_s() - browser.session[ACTIVE_AT] < 5


def test_session_ends_after_an_hour_without_a_click_and_says_why(browser: Client) -> None:
    idle(browser, settings.SESSION_IDLE_S)
    page = browser.get(PAGE, follow=True)
    assert page.redirect_chain == [("/admin/login/?next=/admin/bots/bot/", 302)]
    assert "You were signed out after 60 minutes without a click" in page.content.decode()
    # Told once.
    assert "You were signed out" not in browser.get("/admin/login/").content.decode()


@pytest.mark.parametrize("how", POLLING, ids=str)
def test_polling_keeps_no_session_alive(browser: Client, how: dict[str, Any]) -> None:
    idle(browser, settings.SESSION_IDLE_S - 300)
    before = browser.session[ACTIVE_AT]
    assert is_in(browser, POLLED, **how)
    assert browser.session[ACTIVE_AT] == before


@pytest.mark.parametrize("how", POLLING[:1], ids=str)
def test_polling_page_is_sent_to_the_sign_in_when_the_session_ends(browser: Client, how: dict[str, Any]) -> None:
    idle(browser, settings.SESSION_IDLE_S)
    response = browser.get(POLLED, **how)
    assert (response.status_code, response.headers["HX-Refresh"]) == (204, "true")
    assert "without a click" in browser.get(PAGE, follow=True).content.decode()


def test_what_a_person_sends_by_script_counts(browser: Client) -> None:
    idle(browser, settings.SESSION_IDLE_S - 300)
    browser.post("/admin/replay/", {"speed": "x"}, headers={"HX-Request": "true"})
    assert now_s() - browser.session[ACTIVE_AT] < 5


def test_clicks_are_written_down_once_a_minute(browser: Client) -> None:
    idle(browser, 30)
    before = browser.session[ACTIVE_AT]
    browser.get(PAGE)
    assert browser.session[ACTIVE_AT] == before


@pytest.mark.parametrize(("age_s", "goes_on"), [(-5, True), (0, False), (60, False)])
def test_session_ends_after_twelve_hours_whatever_was_done(browser: Client, age_s: int, goes_on: bool) -> None:
    put(browser, **{SIGNED_IN_AT: now_s() - settings.SESSION_LIFE_S - age_s, ACTIVE_AT: now_s()})
    assert is_in(browser) == goes_on
    if not goes_on:
        assert "a session lasts 12 hours" in browser.get(PAGE, follow=True).content.decode()


@pytest.mark.parametrize("name", [SIGNED_IN_AT, ACTIVE_AT])
@pytest.mark.parametrize("value", [None, "soon", 1e400, True, -(10**30), 10**12])
def test_times_that_can_not_be_believed_end_the_session(browser: Client, name: str, value: Any) -> None:
    put(browser, **{name: value if value != 1e400 else "Infinity"})
    assert not is_in(browser)


def test_clock_set_back_a_little_ends_nothing(browser: Client) -> None:
    put(browser, **{SIGNED_IN_AT: now_s() + 30, ACTIVE_AT: now_s() + 30})
    assert is_in(browser)


@pytest.mark.parametrize(
    ("referer", "leads_to"),
    [
        ("http://testserver/admin/bots/bot/?status=running", "/admin/login/?next=/admin/bots/bot/%3Fstatus%3Drunning"),
        ("http://evil.example/admin/", "/admin/login/?next=/admin/"),
        ("http://testserver/elsewhere/", "/admin/login/?next=/admin/"),
        ("http://[", "/admin/login/?next=/admin/"),
        ("", "/admin/login/?next=/admin/"),
    ],
)
def test_form_of_an_ended_session_leads_back_to_the_page_it_was_on(
    browser: Client, referer: str, leads_to: str
) -> None:
    idle(browser, settings.SESSION_IDLE_S)
    response = browser.post("/admin/bots/bot/", {"action": "x"}, headers={"Referer": referer})
    assert (response.status_code, response.headers["Location"]) == (302, leads_to)


def test_ended_session_is_gone_from_the_database(browser: Client) -> None:
    key = browser.session.session_key
    idle(browser, settings.SESSION_IDLE_S)
    browser.get(PAGE)
    assert key is not None
    assert not browser.session.exists(key)


def test_stranger_without_a_cookie_costs_no_query(user: User, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert Client().get("/").status_code == 302
