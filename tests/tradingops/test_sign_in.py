"""Signing in: with a password, with a code, and what is written down of it."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django_otp.oath import totp
from django_otp.plugins.otp_static.models import StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice
from pytest_django import Settings

from audit.models import OperatorEvent
from safety import second_factor, sign_in_audit
from tests.conftest import CommittedDatabase

PASSWORD = "correct horse battery staple"
LOGIN, CODE, PAGE = "/admin/login/", "/admin/login/code/", "/admin/second-factor/"
pytestmark = pytest.mark.usefixtures("committed_db")


def events() -> list[tuple[str, str, str, str]]:
    return list(OperatorEvent.objects.order_by("id").values_list("actor", "action", "object", "new"))


def actions() -> list[str]:
    return [event[1] for event in events()]


@pytest.fixture
def operator(committed_db: CommittedDatabase) -> User:
    return User.objects.create_superuser("operator", password=PASSWORD)


@pytest.fixture
def codes(operator: User) -> list[str]:
    """Turn the second factor on; return the recovery codes."""
    device = second_factor.start(operator)
    made = second_factor.confirm(operator, code_of(device), actor="operator")
    assert made is not None
    allow_next_code(operator)
    return made


def code_of(device: TOTPDevice, steps: int = 0) -> str:
    return f"{totp(device.bin_key, step=device.step, t0=device.t0 - steps * device.step):06d}"


def code(user: User) -> str:
    return code_of(TOTPDevice.objects.get(user=user))


def allow_next_code(user: User) -> None:
    """Let the code of this half minute be used again, and no wrong one delay the next."""
    TOTPDevice.objects.filter(user=user).update(
        last_t=-1, throttling_failure_timestamp=None, throttling_failure_count=0
    )


def send(client: Client, url: str, **form: str) -> Any:
    return client.post(url, form)


def sign_in(client: Client, password: str = PASSWORD, username: str = "operator", **more: str) -> Any:
    return send(client, LOGIN, username=username, password=password, **more)


def is_in(client: Client) -> bool:
    return client.get("/admin/").status_code == 200


class TestWithAPassword:
    def test_signs_in_and_is_written_down(self, client: Client, operator: User) -> None:
        response = sign_in(client, next="/admin/bots/bot/")
        assert (response.status_code, response.headers["Location"]) == (302, "/admin/bots/bot/")
        assert events() == [("operator", "signed_in", "address:127.0.0.1", "with the password")]
        assert is_in(client)

    def test_signing_out_is_written_down(self, client: Client, operator: User) -> None:
        sign_in(client)
        client.post("/admin/logout/")
        assert actions() == ["signed_in", "signed_out"]
        assert not is_in(client)

    def test_wrong_password_is_written_down_once_a_minute(self, client: Client, operator: User) -> None:
        for _ in range(4):
            assert sign_in(client, "wrong").status_code == 200
        assert events() == [("stranger", "sign_in_failed", "address:127.0.0.1", "as operator")]

    def test_name_that_nobody_has_is_not_kept(self, client: Client, operator: User) -> None:
        sign_in(client, "x", username="my-secret-password-1")
        assert events() == [("stranger", "sign_in_failed", "address:127.0.0.1", "with a name that nobody has")]

    def test_failures_from_everywhere_are_bounded(self, client: Client, operator: User) -> None:
        for number in range(20):
            client.post(LOGIN, {"username": "operator", "password": "x"}, REMOTE_ADDR=f"203.0.113.{number}")
        assert actions() == ["sign_in_failed"] * sign_in_audit.FAILED_ROWS_MAX

    @pytest.mark.parametrize("length", [150, 151, 255, 256, 10_000])
    def test_long_name_is_only_a_wrong_one(self, client: Client, settings: Settings, length: int) -> None:
        settings.AXES_ENABLED = True
        assert sign_in(client, "x", username="a" * length).status_code == 200

    def test_someone_without_access_is_not_let_in(self, client: Client, operator: User) -> None:
        User.objects.create_user("guest", password=PASSWORD)
        assert sign_in(client, username="guest").status_code == 200
        assert not is_in(client)


class TestWithACode:
    def test_password_alone_signs_nobody_in(self, client: Client, operator: User, codes: list[str]) -> None:
        response = sign_in(client)
        assert response.headers["Location"] == CODE
        assert not is_in(client)
        assert "signed_in" not in actions()

    def test_code_signs_in_and_leads_on(self, client: Client, operator: User, codes: list[str]) -> None:
        sign_in(client, next="/admin/bots/bot/")
        response = send(client, CODE, again_code=code(operator))
        assert (response.status_code, response.headers["Location"]) == (302, "/admin/bots/bot/")
        assert events()[-1] == ("operator", "signed_in", "address:127.0.0.1", "with the password and a code")
        assert is_in(client)

    def test_code_works_once(self, client: Client, operator: User, codes: list[str]) -> None:
        used = code(operator)
        sign_in(client)
        send(client, CODE, again_code=used)
        other = Client()
        sign_in(other)
        assert send(other, CODE, again_code=used).status_code == 200
        assert not is_in(other)

    @pytest.mark.parametrize("wrong", ["", "000000", "12345", "1234567", "abcdef", "١٢٣٤٥٦", "-12345", "9" * 500])
    def test_wrong_code_is_told_and_signs_nobody_in(
        self, client: Client, operator: User, codes: list[str], wrong: str
    ) -> None:
        sign_in(client)
        response = send(client, CODE, again_code=wrong)
        assert response.status_code == 200
        assert b"tc-error" in response.content
        assert not is_in(client)

    def test_wrong_code_delays_the_next(self, client: Client, operator: User, codes: list[str]) -> None:
        sign_in(client)
        send(client, CODE, again_code="000000")
        send(client, CODE, again_code=code(operator))
        assert not is_in(client)
        allow_next_code(operator)
        send(client, CODE, again_code=code(operator))
        assert is_in(client)

    def test_recovery_code_signs_in_once(self, client: Client, operator: User, codes: list[str]) -> None:
        assert len(set(codes)) == second_factor.RECOVERY_CODES
        sign_in(client)
        send(client, CODE, again_code=codes[3].upper().replace("-", " "))
        assert is_in(client)
        assert events()[-1][3] == "with the password and a recovery code"
        other = Client()
        sign_in(other)
        send(other, CODE, again_code=codes[3])
        assert not is_in(other)
        assert second_factor.recovery_codes_left(operator) == second_factor.RECOVERY_CODES - 1

    def test_recovery_codes_are_not_in_the_database(self, operator: User, codes: list[str]) -> None:
        kept = set(StaticToken.objects.values_list("token", flat=True))
        assert kept.isdisjoint({text.replace("-", "") for text in codes})

    def test_tenth_wrong_code_locks_as_the_tenth_wrong_password_does(
        self, client: Client, operator: User, codes: list[str], settings: Settings
    ) -> None:
        settings.AXES_ENABLED = True
        sign_in(client)
        found = [send(client, CODE, again_code="000000").status_code for _ in range(10)]
        assert found == [200] * 9 + [429]
        allow_next_code(operator)
        assert send(client, CODE, again_code=code(operator)).status_code == 429
        assert not is_in(client)

    def test_without_a_password_first_there_is_nothing_to_enter(
        self, client: Client, operator: User, codes: list[str]
    ) -> None:
        assert client.get(CODE).headers["Location"] == LOGIN
        send(client, CODE, again_code=code(operator))
        assert not is_in(client)

    @pytest.mark.parametrize("change", ["late", "password", "inactive", "not staff"])
    def test_second_step_does_not_outlive_the_first(
        self, client: Client, operator: User, codes: list[str], change: str
    ) -> None:
        sign_in(client)
        if change == "late":
            session = client.session
            session["console_waits_for_code"] = session["console_waits_for_code"] | {"since": 1}
            session.save()
        if change == "password":
            operator.set_password("another long password 2")
        operator.is_active = change != "inactive"
        operator.is_staff = change != "not staff"
        operator.save()
        assert send(client, CODE, again_code=code(operator)).headers["Location"] == LOGIN
        assert not is_in(client)


class TestOwnPage:
    @pytest.fixture(autouse=True)
    def _signed_in(self, client: Client, operator: User) -> None:
        sign_in(client)

    def test_is_turned_on_with_a_code(self, client: Client, operator: User) -> None:
        send(client, PAGE, do="start")
        page = client.get(PAGE).content.decode()
        device = TOTPDevice.objects.get(user=operator)
        assert not device.confirmed
        assert "data:image/svg+xml" in page
        assert second_factor.key_shown(device) in page
        assert "http" not in re.findall(r'<img src="([^"]{4})', page)
        shown = send(client, PAGE, do="confirm", again_code=code_of(device)).content.decode()
        assert second_factor.is_on(operator)
        assert len(re.findall(r"^(?:<pre[^>]*>)?\s*[a-z2-7]{4}(?:-[a-z2-7]{4}){3}$", shown, re.MULTILINE)) >= 9
        assert events()[-1] == ("operator", "second_factor_turned_on", f"user:{operator.pk} operator", "on")
        assert device.key not in client.get(PAGE).content.decode()

    def test_wrong_code_turns_nothing_on(self, client: Client, operator: User) -> None:
        send(client, PAGE, do="start")
        assert "That was not right" in send(client, PAGE, do="confirm", again_code="000000").content.decode()
        assert not second_factor.is_on(operator)
        other = Client()
        assert sign_in(other).headers["Location"] == "/admin/"

    def test_looking_changes_nothing(self, client: Client, operator: User) -> None:
        client.get(PAGE)
        assert not TOTPDevice.objects.exists()

    def test_starting_again_takes_nothing_away_while_it_is_on(
        self, client: Client, operator: User, codes: list[str]
    ) -> None:
        send(client, PAGE, do="start")
        assert TOTPDevice.objects.get(user=operator).confirmed

    @pytest.mark.parametrize("do", ["off", "codes"])
    def test_off_and_new_codes_take_the_password_and_a_code(
        self, client: Client, operator: User, codes: list[str], do: str
    ) -> None:
        before = set(StaticToken.objects.values_list("token", flat=True))
        assert "Your password" in send(client, PAGE, do=do).content.decode()
        again = {"do": do, "again_answered": "POST"}
        assert "not right" in send(client, PAGE, **again, again_password=PASSWORD).content.decode()
        assert (
            "not right" in send(client, PAGE, **again, again_password="x", again_code=code(operator)).content.decode()
        )
        assert second_factor.is_on(operator)
        assert set(StaticToken.objects.values_list("token", flat=True)) == before
        allow_next_code(operator)
        send(client, PAGE, **again, again_password=PASSWORD, again_code=code(operator))
        assert second_factor.is_on(operator) == (do == "codes")
        assert set(StaticToken.objects.values_list("token", flat=True)).isdisjoint(before)


class TestResetForSomeoneElse:
    @pytest.fixture
    def ann(self, operator: User) -> User:
        ann = User.objects.create_user("ann", password=PASSWORD, is_staff=True)
        assert second_factor.confirm(ann, code_of(second_factor.start(ann)), actor="ann")
        return ann

    def test_superuser_resets_it_with_his_password(self, client: Client, ann: User) -> None:
        sign_in(client)
        url = f"/admin/auth/user/{ann.pk}/second-factor/"
        assert f'href="{url}"' in client.get(f"/admin/auth/user/{ann.pk}/change/").content.decode()
        assert "Make sure that it is really ann" in client.get(url).content.decode()
        assert "Your password" in send(client, url, reason="phone lost").content.decode()
        assert second_factor.is_on(ann)
        send(client, url, reason="phone lost", again_answered="POST", again_password=PASSWORD)
        assert not second_factor.is_on(ann)
        row = OperatorEvent.objects.get(action="second_factor_turned_off", object=f"user:{ann.pk} ann")
        assert (row.actor, row.old, row.new, row.reason) == ("operator", "on", "off", "phone lost")

    def test_nobody_else_does(self, client: Client, ann: User) -> None:
        User.objects.create_user("bob", password=PASSWORD, is_staff=True)
        sign_in(client, username="bob")
        url = f"/admin/auth/user/{ann.pk}/second-factor/"
        for response in (client.get(url), send(client, url, again_answered="POST", again_password=PASSWORD)):
            assert response.status_code == 403
        assert second_factor.is_on(ann)

    @pytest.mark.parametrize("page", ["otp_totp/totpdevice", "otp_static/staticdevice"])
    def test_secrets_have_no_page(self, client: Client, ann: User, page: str) -> None:
        sign_in(client)
        assert client.get(f"/admin/{page}/").status_code == 404
