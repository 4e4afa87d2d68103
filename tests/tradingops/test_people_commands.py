"""What the terminal changes about people is written down, with the system's user as the actor."""

import getpass
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from audit.actors import terminal_actor
from audit.models import OperatorEvent
from safety import second_factor
from tests.conftest import CommittedDatabase
from tests.tradingops.test_sign_in import code_of

PASSWORD = "correct horse battery staple"


def rows() -> list[tuple[str, str, str, str, str]]:
    return list(OperatorEvent.objects.order_by("id").values_list("actor", "action", "old", "new", "reason"))


@pytest.fixture
def ann(committed_db: CommittedDatabase) -> User:
    return User.objects.create_user("ann", password="the old password 1")


def typing(monkeypatch: pytest.MonkeyPatch, *typed: str) -> None:
    answers = iter(typed)
    monkeypatch.setattr(getpass, "getpass", lambda *_, **__: next(answers))


class TestChangePassword:
    def test_new_password_is_set_and_written_down(self, ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
        typing(monkeypatch, PASSWORD, PASSWORD)
        call_command("changepassword", "ann")
        ann.refresh_from_db()
        assert ann.check_password(PASSWORD)
        assert rows() == [(terminal_actor(), "user_password_set", "", "a new password", "")]

    def test_what_will_not_do_is_told_and_asked_again(
        self, ann: User, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        typing(monkeypatch, "one", "another", "short", "short", PASSWORD, PASSWORD)
        call_command("changepassword", "ann")
        said = capsys.readouterr().err
        assert "not the same" in said
        assert "at least 12 characters" in said
        assert len(rows()) == 1

    def test_three_bad_tries_change_nothing(self, ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
        typing(monkeypatch, *["short"] * 6)
        with pytest.raises(CommandError, match="was not changed"):
            call_command("changepassword", "ann")
        ann.refresh_from_db()
        assert ann.check_password("the old password 1")
        assert rows() == []

    def test_nobody_of_that_name(self, committed_db: CommittedDatabase) -> None:
        with pytest.raises(CommandError, match="There is no user 'ben'"):
            call_command("changepassword", "ben")


class TestCreateSuperuser:
    def make(self, **options: Any) -> None:
        call_command("createsuperuser", interactive=False, username="boss", email="", **options)

    def test_new_superuser_is_written_down(
        self, committed_db: CommittedDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", PASSWORD)
        self.make()
        assert User.objects.get(username="boss").is_superuser
        assert rows() == [(terminal_actor(), "user_created", "", "superuser", "")]

    def test_name_that_is_taken_changes_nothing(
        self, ann: User, committed_db: CommittedDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.make()
        with pytest.raises(CommandError):
            self.make()
        assert len(rows()) == 1


class TestResetSecondFactor:
    def test_it_is_off_and_written_down_with_the_reason(self, ann: User) -> None:
        assert second_factor.confirm(ann, code_of(second_factor.start(ann)), actor="ann")
        call_command("reset_second_factor", "ann", reason="phone lost")
        assert not second_factor.is_on(ann)
        assert second_factor.recovery_codes_left(ann) == 0
        assert rows()[-1] == (terminal_actor(), "second_factor_turned_off", "on", "off", "phone lost")

    def test_one_that_is_off_is_told(self, ann: User, capsys: pytest.CaptureFixture[str]) -> None:
        call_command("reset_second_factor", "ann")
        assert "off already" in capsys.readouterr().out
        assert rows() == []

    def test_nobody_of_that_name(self, committed_db: CommittedDatabase) -> None:
        with pytest.raises(CommandError, match="There is no user 'ben'") as refused:
            call_command("reset_second_factor", "ben")
        assert refused.value.returncode == 2


def test_terminal_without_a_name_is_told_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("uid not found")

    assert terminal_actor().startswith("terminal:")
    monkeypatch.setattr(getpass, "getuser", nameless)
    assert terminal_actor().startswith("terminal:uid ")
