"""Guessing passwords: who has to wait, and that nobody can make the owner wait."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from axes.models import AccessAttempt
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.test import Client, RequestFactory
from pytest_django import Settings

from safety import sign_in_throttle
from safety.client_address import client_address
from tests.conftest import CommittedDatabase

PASSWORD = "correct horse battery staple"
LOCKED = 429


@pytest.fixture(autouse=True)
def operator(committed_db: CommittedDatabase, settings: Settings) -> User:
    settings.AXES_ENABLED = True
    return User.objects.create_superuser("operator", password=PASSWORD)


@pytest.fixture
def behind_a_proxy(settings: Settings) -> None:
    """Serve over https, which a trusted https origin tells."""
    settings.ENVIRONMENT = replace(django_settings.ENVIRONMENT, csrf_trusted_origins=("https://console.example.org",))


def sign_in(client: Client, password: str = PASSWORD, address: str = "127.0.0.1", name: str = "operator") -> int:
    form = {"username": name, "password": password}
    return client.post("/admin/login/", form, REMOTE_ADDR=address).status_code


def through_proxy(client: Client, password: str, forwarded: str) -> int:
    form = {"username": "operator", "password": password}
    return client.post("/admin/login/", form, headers={"X-Forwarded-For": forwarded}).status_code


def known_browser() -> Client:
    """Return a browser whose person signed in before."""
    client = Client()
    assert sign_in(client) == 302
    # Not client.logout(), which takes all cookies.
    client.post("/admin/logout/")
    return client


def wrong(times: int, address: str = "127.0.0.1", name: str = "operator") -> Iterator[int]:
    return (sign_in(Client(), "wrong", address, name) for _ in range(times))


class TestOneAccountFromOneAddress:
    @pytest.mark.parametrize(("failures", "expected"), [(9, 302), (10, LOCKED), (11, LOCKED)])
    def test_waits_after_ten_failures(self, failures: int, expected: int) -> None:
        list(wrong(failures))
        assert sign_in(Client()) == expected

    def test_waits_a_quarter_of_an_hour_and_knocking_makes_it_no_longer(self) -> None:
        list(wrong(10))
        attempt = AccessAttempt.objects.get()
        list(wrong(5))
        assert AccessAttempt.objects.get().attempt_time == attempt.attempt_time
        AccessAttempt.objects.update(attempt_time=attempt.attempt_time - django_settings.AXES_COOLOFF_TIME)
        assert sign_in(Client()) == 302

    def test_page_says_what_to_do(self) -> None:
        list(wrong(10))
        page = Client().post("/admin/login/", {"username": "operator", "password": "x"})
        assert page.status_code == LOCKED
        assert b"/KILL</code>" in page.content

    def test_another_address_does_not_wait(self) -> None:
        list(wrong(10, "203.0.113.9"))
        assert sign_in(Client()) == 302


class TestKnownBrowser:
    @pytest.mark.slow
    def test_comes_in_whatever_strangers_at_its_own_address_do(self) -> None:
        owner = known_browser()
        list(wrong(60))
        for number in range(6):
            list(wrong(10, name=f"name-{number}"))
        assert sign_in(Client()) == LOCKED
        assert sign_in(owner) == 302

    def test_is_throttled_by_its_own_failures(self) -> None:
        owner = known_browser()
        assert [sign_in(owner, "wrong") for _ in range(10)][-1] == LOCKED
        assert sign_in(owner) == LOCKED
        assert sign_in(known_browser()) == 302

    def test_is_known_for_the_one_who_signed_in_only(self) -> None:
        User.objects.create_user("guest", password=PASSWORD, is_staff=True)
        guest = Client()
        assert sign_in(guest, name="guest") == 302
        list(wrong(10))
        assert sign_in(guest) == LOCKED

    @pytest.mark.parametrize("value", ["", "x", "a:b:c", "known browser"])
    def test_cookie_that_was_made_up_is_a_strangers(self, value: str) -> None:
        stranger = Client()
        stranger.cookies[sign_in_throttle.COOKIE] = value
        list(wrong(10))
        assert sign_in(stranger) == LOCKED

    def test_name_that_pretends_to_be_a_known_browser_is_counted_as_a_strangers(self) -> None:
        owner = known_browser()
        value = owner.cookies[sign_in_throttle.COOKIE].value
        assert "operator" not in value
        forged = f"{sign_in_throttle.KNOWN_MARK}0123456789abcdef operator"
        list(wrong(3, name=forged))
        assert not AccessAttempt.objects.filter(username__startswith=sign_in_throttle.KNOWN_MARK).exists()

    def test_cookie_is_hidden_from_scripts_and_long_lived(self) -> None:
        client = Client()
        sign_in(client)
        cookie = client.cookies[sign_in_throttle.COOKIE]
        assert cookie["httponly"]
        assert cookie["samesite"] == "Lax"
        assert cookie["max-age"] == sign_in_throttle.COOKIE_AGE_S


@pytest.mark.slow
class TestManyAtOnce:
    @pytest.mark.parametrize(("failures", "expected"), [(49, 302), (50, LOCKED)])
    def test_address_that_tries_many_names_waits_for_all(self, failures: int, expected: int) -> None:
        for number in range(failures):
            list(wrong(1, name=f"name-{number}"))
        assert sign_in(Client()) == expected
        assert sign_in(Client(), address="203.0.113.7") == 302

    @pytest.mark.parametrize(("failures", "expected"), [(99, 302), (100, LOCKED)])
    def test_account_that_is_tried_from_many_addresses_takes_known_browsers_only(
        self, failures: int, expected: int
    ) -> None:
        owner = known_browser()
        attempts = [
            AccessAttempt(username="operator", ip_address=f"198.51.100.{number}", user_agent="", failures_since_start=9)
            for number in range(11)
        ]
        attempts.append(
            AccessAttempt(
                username="operator", ip_address="198.51.100.99", user_agent="", failures_since_start=failures - 99
            )
        )
        AccessAttempt.objects.bulk_create(attempts)
        assert sign_in(Client()) == expected
        assert sign_in(owner) == 302


@pytest.mark.usefixtures("behind_a_proxy")
class TestBehindAProxy:
    def test_clients_are_told_apart(self) -> None:
        assert [through_proxy(Client(), "wrong", "203.0.113.9") for _ in range(10)][-1] == LOCKED
        assert through_proxy(Client(), PASSWORD, "203.0.113.10") == 302

    def test_client_that_makes_up_addresses_is_one(self) -> None:
        found = [through_proxy(Client(), "wrong", f"198.51.100.{n}, 203.0.113.9") for n in range(10)]
        assert found[-1] == LOCKED


class TestClientAddress:
    def address(self, peer: str, forwarded: str | None = None) -> str | None:
        headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
        return client_address(RequestFactory().get("/", REMOTE_ADDR=peer, headers=headers))

    @pytest.mark.parametrize("peer", ["127.0.0.1", "203.0.113.9", "::1"])
    def test_without_https_nobody_is_believed(self, peer: str) -> None:
        assert self.address(peer, "198.51.100.1") == peer

    @pytest.mark.usefixtures("behind_a_proxy")
    @pytest.mark.parametrize(
        ("peer", "forwarded", "expected"),
        [
            ("127.0.0.1", "203.0.113.9", "203.0.113.9"),
            ("::1", "1.1.1.1, 203.0.113.9", "203.0.113.9"),
            ("127.0.0.1", " 203.0.113.9:4711 ", "203.0.113.9"),
            ("127.0.0.1", "[2001:db8::17]:443", "2001:db8::"),
            ("127.0.0.1", "2001:db8::17", "2001:db8::"),
            ("127.0.0.1", "::ffff:203.0.113.9", "203.0.113.9"),
            ("127.0.0.1", None, "127.0.0.1"),
            ("127.0.0.1", "", "127.0.0.1"),
            ("127.0.0.1", "203.0.113.9, unknown", "127.0.0.1"),
            ("127.0.0.1", "x" * 5000, "127.0.0.1"),
            # Not from this machine: no proxy of ours.
            ("198.51.100.5", "203.0.113.9", "198.51.100.5"),
            ("", "203.0.113.9", None),
        ],
    )
    def test_last_entry_counts_when_the_proxy_of_this_machine_says_it(
        self, peer: str, forwarded: str | None, expected: str | None
    ) -> None:
        assert self.address(peer, forwarded) == expected

    def test_neighbours_in_one_ipv6_network_are_one(self) -> None:
        assert self.address("2001:db8:0:1::1") == self.address("2001:db8:0:1:ffff::2") == "2001:db8:0:1::"
