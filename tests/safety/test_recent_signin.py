"""The password that is asked for again: when, what is kept meanwhile, and that it is throttled and written down."""

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, QueryDict
from django.test import Client, RequestFactory
from pytest_django import Settings

from audit.models import OperatorEvent
from safety import recent_signin, second_factor
from safety.sign_in_marks import CONFIRMED_AT, WITHIN_S, now_s, signed_in_recently
from tests.conftest import CommittedDatabase
from tests.tradingops.test_sign_in import allow_next_code, code, code_of

PASSWORD = "correct horse battery staple"
LIMITS = "/admin/safety/risklimits/global/change/"


@pytest.fixture
def operator(committed_db: CommittedDatabase) -> User:
    return User.objects.create_superuser("operator", password=PASSWORD)


def confirmed(client: Client, seconds_ago: int | None) -> None:
    session = client.session
    session[CONFIRMED_AT] = None if seconds_ago is None else now_s() - seconds_ago
    session.save()


@pytest.fixture
def browser(operator: User) -> Client:
    """A browser whose person signed in some time ago."""
    client = Client()
    client.force_login(operator)
    confirmed(client, 3_000)
    return client


def rows() -> list[tuple[str, str, str]]:
    return list(OperatorEvent.objects.order_by("id").values_list("actor", "action", "new"))


def again(password: str = PASSWORD, **sent: str) -> dict[str, str]:
    return {"again_answered": "POST", "again_password": password, **sent}


def asks(response: Any) -> bool:
    return b'id="again-form"' in response.content


@recent_signin.recent_sign_in_required
def guarded(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{request.method} {sorted(request.POST.lists())}")


def request_of(user: Any, at: Any, **sent: Any) -> HttpRequest:
    factory = RequestFactory()
    request = factory.post("/admin/x/?a=1", sent) if sent else factory.get("/admin/x/?a=1")
    request.user = user
    request.session = {CONFIRMED_AT: at}  # type: ignore[assignment]
    return request


class TestSignedInRecently:
    @pytest.mark.parametrize(
        ("ago", "expected"), [(0, True), (WITHIN_S - 2, True), (WITHIN_S, True), (WITHIN_S + 2, False), (-60, False)]
    )
    def test_within_five_minutes(self, operator: User, ago: int, expected: bool) -> None:
        assert signed_in_recently(request_of(operator, now_s() - ago)) == expected

    @pytest.mark.parametrize("at", [None, "now", 1.5, [], "9" * 400])
    def test_what_can_not_be_read_is_no(self, operator: User, at: Any) -> None:
        assert not signed_in_recently(request_of(operator, at))

    def test_nobody_is_no(self) -> None:
        assert not signed_in_recently(request_of(AnonymousUser(), now_s()))

    def test_sign_in_is_one(self, operator: User) -> None:
        client = Client()
        client.force_login(operator)
        assert now_s() - client.session[CONFIRMED_AT] < 5


class TestDecorator:
    def test_recent_goes_straight_through(self, operator: User) -> None:
        assert guarded(request_of(operator, now_s(), reason="x")).content == b"POST [('reason', ['x'])]"

    def test_look_is_asked_for_the_password_and_goes_back_to_where_it_was(self, operator: User) -> None:
        response: Any = guarded(request_of(operator, 0))
        assert 'name="again_answered" value="GET"' in response.render().content.decode()
        assert "no-store" in response.headers["Cache-Control"]

    def test_nobody_is_refused(self) -> None:
        with pytest.raises(PermissionDenied):
            guarded(request_of(AnonymousUser(), now_s()))

    def test_own_fields_never_reach_the_view(self, operator: User) -> None:
        request = request_of(operator, now_s(), again_answered="POST", again_password="p", again_code="c", reason="x")
        assert guarded(request).content == b"POST [('reason', ['x'])]"


class TestAsking:
    def test_page_may_be_looked_at_without(self, browser: Client) -> None:
        assert not asks(browser.get(LIMITS))

    def test_form_is_kept_and_goes_on_after_the_right_password(self, browser: Client) -> None:
        sent = {"reason": "new", "name": "traders & <friends>", "permissions": ["1", "2"]}
        response = browser.post("/admin/auth/group/add/", sent)
        page = response.content.decode()
        assert asks(response)
        assert 'name="name" value="traders &amp; &lt;friends&gt;"' in page
        assert page.count('name="permissions"') == 2
        assert rows() == []
        assert browser.post("/admin/auth/group/add/", again() | sent).status_code == 302
        assert rows()[0] == ("operator", "signed_in_again", "with the password")
        assert rows()[1][1] == "group_name_changed"

    def test_is_not_asked_again_for_five_minutes(self, browser: Client) -> None:
        browser.post("/admin/auth/group/add/", again(name="a"))
        assert not asks(browser.post("/admin/auth/group/add/", {"name": "b"}))
        confirmed(browser, WITHIN_S + 2)
        assert asks(browser.post("/admin/auth/group/add/", {"name": "c"}))

    @pytest.mark.parametrize("password", ["", "wrong", PASSWORD.upper(), PASSWORD + " "])
    def test_wrong_password_changes_nothing_and_keeps_what_was_sent(self, browser: Client, password: str) -> None:
        response = browser.post("/admin/auth/group/add/", again(password, name="traders"))
        assert asks(response)
        assert 'name="name" value="traders"' in response.content.decode()
        assert "That was not right" in response.content.decode()
        assert rows() == [("stranger", "sign_in_failed", "as operator")]

    def test_passwords_in_a_form_are_not_shown_again(self, browser: Client) -> None:
        new = "another long password 2"
        form = {"username": "bob", "usable_password": "true", "password1": new, "password2": new}
        page = browser.post("/admin/auth/user/add/", form).content.decode()
        assert new not in page
        assert 'name="usable_password" value="true"' in page
        assert "you will type those once more" in page

    def test_another_persons_password_is_wrong(self, browser: Client) -> None:
        User.objects.create_superuser("other", password="quite another password")
        assert asks(browser.post("/admin/auth/group/add/", again("quite another password", name="x")))

    def test_tenth_wrong_password_locks(self, browser: Client, settings: Settings) -> None:
        settings.AXES_ENABLED = True
        found = [browser.post("/admin/auth/group/add/", again("wrong", name="x")).status_code for _ in range(10)]
        assert found == [200] * 9 + [429]
        assert browser.post("/admin/auth/group/add/", again(name="x")).status_code == 429

    def test_right_password_clears_the_count(self, browser: Client, settings: Settings) -> None:
        settings.AXES_ENABLED = True
        for _ in range(9):
            browser.post("/admin/auth/group/add/", again("wrong", name="x"))
        assert browser.post("/admin/auth/group/add/", again(name="x", reason="new")).status_code == 302
        confirmed(browser, 3_000)
        assert browser.post("/admin/auth/group/add/", again("wrong", name="y")).status_code == 200

    def test_with_a_second_factor_the_code_is_asked_for_too(self, browser: Client, operator: User) -> None:
        assert second_factor.confirm(operator, code_of(second_factor.start(operator)), actor="operator")
        allow_next_code(operator)
        assert "or a recovery code" in browser.post("/admin/auth/group/add/", {"name": "x"}).content.decode()
        assert asks(browser.post("/admin/auth/group/add/", again(name="x")))
        allow_next_code(operator)
        response = browser.post("/admin/auth/group/add/", again(name="x", reason="new", again_code=code(operator)))
        assert response.status_code == 302
        assert ("operator", "signed_in_again", "with the password and a code") in rows()

    def test_nothing_leads_to_another_host(self, operator: User) -> None:
        request = RequestFactory().post("/x", {"again_answered": "GET"})
        request.path = "//evil.example/x"
        request.user, request.session = operator, {CONFIRMED_AT: now_s()}  # type: ignore[assignment]
        response = recent_signin.ask(request)
        assert response is not None
        assert response.headers["Location"].startswith("/%2Fevil.example")


class TestWhereItIsAsked:
    """Each of what matters most, and not the one thing that may never wait."""

    @pytest.mark.parametrize(
        ("url", "sent"),
        [
            (LIMITS, {"quote_age_s_max": "7"}),
            ("/admin/safety/risklimits/add/", {"scope": "bot:1"}),
            ("/admin/safety/setting/kill_switch/change/", {"value": "0", "reason": "x"}),
            ("/admin/safety/setting/kill_switch/change/", {"reason": "x"}),
            ("/admin/auth/user/add/", {"username": "bob"}),
            ("/admin/auth/user/{user}/change/", {"is_superuser": "on"}),
            ("/admin/auth/user/{user}/password/", {"password1": "x"}),
            ("/admin/auth/user/{user}/second-factor/", {"reason": "x"}),
            ("/admin/auth/group/add/", {"name": "x"}),
            ("/admin/second-factor/", {"do": "start"}),
            ("/admin/second-factor/", {"do": "confirm"}),
        ],
    )
    def test_is_asked_for(self, browser: Client, operator: User, url: str, sent: dict[str, str]) -> None:
        assert asks(browser.post(url.format(user=operator.pk), sent))
        assert rows() == []

    def test_halting_asks_for_nothing(self, browser: Client) -> None:
        sent = {"value": "1", "reason": "prices look wrong"}
        assert browser.post("/admin/safety/setting/kill_switch/change/", sent).status_code == 302
        assert rows()[0][1] == "kill_switch_engaged"


def test_posted_data_stays_what_django_expects(operator: User) -> None:
    request = request_of(operator, now_s(), again_answered="POST", reason="x")
    assert recent_signin.ask(request) is None
    assert isinstance(request.POST, QueryDict)
