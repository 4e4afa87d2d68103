"""The pages of the API's tokens: one is shown once, made with a recent sign-in, revoked with one click."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from audit.models import OperatorEvent
from safety import api_tokens
from safety.api_scopes import Scope
from safety.models import ApiToken
from safety.permissions import OPERATOR, RISK_MANAGER, VIEWER
from safety.sign_in_marks import CONFIRMED_AT
from tests.conftest import CommittedDatabase
from tests.tradingops.test_api_endpoints import Caller

LIST, ADD = "/admin/safety/apitoken/", "/admin/safety/apitoken/add/"
FORM = {"name": "grafana", "scope": "read", "life": "90", "reason": "a dashboard"}
PASSWORD = "correct horse battery staple"
TEXT = re.compile(r"top_[0-9a-f]{8}_[0-9a-f]{64}")


def signed_in(name: str, group: str) -> Client:
    user = User.objects.create_user(name, password=PASSWORD, is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def browser(committed_db: CommittedDatabase) -> Client:
    return signed_in("maker", RISK_MANAGER)


def page_of(answer: Any) -> str:
    assert answer.status_code == 200
    text: str = answer.content.decode()
    return text


def make(browser: Client, **changes: str) -> str:
    """Make a token by the form and return its text."""
    [text] = set(TEXT.findall(page_of(browser.post(ADD, {**FORM, **changes}))))
    return str(text)


def test_token_is_shown_once_on_a_page_that_nobody_keeps(browser: Client) -> None:
    answer = browser.post(ADD, FORM)
    [text] = set(TEXT.findall(page_of(answer)))
    assert "no-store" in answer["Cache-Control"]
    assert Caller(text).get("/safety")[0] == 200
    token = ApiToken.objects.get()
    for url in (LIST, f"{LIST}{token.pk}/change/", ADD, "/admin/audit/operatorevent/"):
        page = page_of(browser.get(url))
        assert text[-64:] not in page
        assert token.secret_hash not in page


def test_form_that_is_sent_again_shows_no_token(browser: Client) -> None:
    make(browser)
    page = page_of(browser.post(ADD, FORM))
    assert not TEXT.search(page)
    assert "choose another" in page
    assert ApiToken.objects.count() == 1


def test_list_says_who_what_and_when(browser: Client) -> None:
    text = make(browser, scope="engage")
    page = page_of(browser.get(LIST))
    for told in ("grafana", "engage", text[:12], "by maker", "never", "Works", "Revoke"):
        assert told in page
    Caller(text).get("/safety")
    assert "Last used" in page_of(browser.get(LIST))
    assert ApiToken.objects.get().last_used_at is not None


def test_list_of_many_costs_as_many_queries_as_a_list_of_one(browser: Client) -> None:
    make(browser)
    maker = User.objects.get(username="maker")
    counts = []
    for count in (0, 10):
        for number in range(count):
            api_tokens.make(f"token {number}", Scope.READ, None, maker=maker, reason="a test", now=timezone.now())
        browser.get(LIST)
        with CaptureQueriesContext(connection) as asked:
            browser.get(LIST)
        counts.append(len(asked))
    assert counts[0] == counts[1]


def test_made_without_a_recent_sign_in_takes_the_password_first_and_goes_on(browser: Client) -> None:
    session = browser.session
    session[CONFIRMED_AT] = 1
    session.save()
    page = page_of(browser.post(ADD, FORM))
    assert "again_password" in page
    assert not ApiToken.objects.exists()
    again = {**FORM, "again_answered": "POST", "again_password": PASSWORD}
    assert TEXT.search(page_of(browser.post(ADD, again)))


@pytest.mark.parametrize(
    "change",
    [{"name": ""}, {"name": "a:b"}, {"scope": "all"}, {"scope": ""}, {"life": "0"}, {"life": ""}, {"reason": ""}],
)
def test_bad_form_makes_none_and_says_why(browser: Client, change: dict[str, str]) -> None:
    page = page_of(browser.post(ADD, {**FORM, **change}))
    assert "tc-error" in page
    assert not ApiToken.objects.exists()


@pytest.mark.parametrize(("life", "days"), [("1", 1), ("365", 365), ("never", None)])
def test_life_is_as_chosen(browser: Client, life: str, days: int | None) -> None:
    make(browser, life=life)
    token = ApiToken.objects.get()
    assert (token.expires_at is None) == (days is None)
    if token.expires_at is not None:
        assert (token.expires_at - token.made_at).days == days


def test_default_is_to_look_for_ninety_days(browser: Client) -> None:
    page = page_of(browser.get(ADD))
    assert re.search(r'value="read"[^>]*checked', page)
    assert re.search(r'value="90"[^>]*selected', page)


def test_scope_beyond_ones_own_is_neither_offered_nor_taken(browser: Client) -> None:
    group = Group.objects.get(name=RISK_MANAGER)
    group.permissions.remove(group.permissions.get(codename="trade_live"))
    assert 'value="trade"' not in page_of(browser.get(ADD))
    page_of(browser.post(ADD, {**FORM, "scope": "trade"}))
    assert not ApiToken.objects.exists()


def test_revoked_with_one_click_it_is_dead_at_once(browser: Client) -> None:
    text = make(browser, scope="engage")
    token = ApiToken.objects.get()
    session = browser.session
    session[CONFIRMED_AT] = 1
    session.save()
    assert browser.post(f"{LIST}{token.pk}/revoke/").status_code == 302
    assert Caller(text).get("/safety")[0] == 401
    page = page_of(browser.get(LIST))
    assert "Revoked" in page
    assert f"{token.pk}/revoke/" not in page
    assert OperatorEvent.objects.get(action="api_token_revoked").actor == "maker"


def test_revoking_takes_a_csrf_token_and_a_post(browser: Client) -> None:
    make(browser)
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get(username="maker"))
    token = ApiToken.objects.get()
    assert strict.post(f"{LIST}{token.pk}/revoke/").status_code == 403
    assert strict.post(ADD, {**FORM, "name": "other"}).status_code == 403
    assert browser.get(f"{LIST}{token.pk}/revoke/").status_code == 405
    assert browser.post(f"{LIST}987654/revoke/").status_code == 404
    assert ApiToken.objects.get().revoked_at is None


@pytest.mark.parametrize("group", [VIEWER, OPERATOR])
def test_whoever_may_not_make_tokens_only_sees_them(browser: Client, group: str) -> None:
    make(browser)
    other, token = signed_in("other", group), ApiToken.objects.get()
    page = page_of(other.get(LIST))
    assert "grafana" in page
    assert "/revoke/" not in page
    assert other.get(ADD).status_code == 403
    assert other.post(ADD, {**FORM, "name": "mine"}).status_code == 403
    assert other.post(f"{LIST}{token.pk}/revoke/").status_code == 403
    assert "/revoke/" not in page_of(other.get(f"{LIST}{token.pk}/change/"))
    assert ApiToken.objects.get().revoked_at is None


def test_nothing_of_a_token_is_ever_changed_or_deleted(browser: Client) -> None:
    make(browser)
    token = ApiToken.objects.get()
    before = ApiToken.objects.values().get()
    for end in ("change/", "delete/"):
        browser.post(f"{LIST}{token.pk}/{end}", {**FORM, "scope": "trade", "post": "yes"})
    browser.post(LIST, {"action": "delete_selected", "_selected_action": [token.pk], "post": "yes"})
    assert ApiToken.objects.values().get() == before


def test_page_says_why_a_token_stopped(browser: Client) -> None:
    maker = User.objects.create_superuser("gone")
    token, _ = api_tokens.make("old", Scope.READ, None, maker=maker, reason="a test", now=timezone.now())
    User.objects.filter(pk=maker.pk).update(is_active=False)
    assert "Stopped" in page_of(browser.get(LIST))
    assert "can no longer sign in" in page_of(browser.get(f"{LIST}{token.pk}/change/"))
