"""Wrong tokens: counted by address, told to the audit, bounded in rows."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from pytest_django import Settings

from audit.models import OperatorEvent
from safety import api_failures
from safety.models import ApiFailure
from tests.tradingops.test_api import database_down

pytestmark = pytest.mark.usefixtures("committed_db")
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOME, ELSEWHERE = "203.0.113.9", "198.51.100.7"


def tried(times: int, address: str = HOME, at_s: float = 0) -> list[int]:
    return [api_failures.note(address, now=NOW + timedelta(seconds=at_s)) for _ in range(times)]


def told() -> list[tuple[str, str]]:
    rows = OperatorEvent.objects.filter(action=api_failures.REFUSED).order_by("id")
    return list(rows.values_list("object", "new"))


class TestWaiting:
    def test_begins_after_twenty_and_lasts_until_the_window_is_over(self) -> None:
        assert tried(20) == [0] * 20
        assert tried(2) == [300, 300]
        assert tried(1, at_s=299.5) == [1]
        assert tried(1, at_s=300) == [0]

    def test_is_known_to_a_process_that_saw_nothing_of_it(self) -> None:
        tried(21)
        api_failures.forget()
        assert tried(1, at_s=10) == [290]

    def test_is_answered_without_the_database_once_it_is_known(self) -> None:
        tried(21)
        with database_down():
            assert tried(3) == [300] * 3

    def test_knocking_makes_it_no_longer(self) -> None:
        tried(21)
        assert tried(50, at_s=100) == [200] * 50
        assert tried(1, at_s=301) == [0]

    def test_is_of_one_address(self) -> None:
        tried(21)
        assert tried(1, ELSEWHERE) == [0]

    def test_of_all_addresses_begins_when_all_together_tried_too_often(self, settings: Settings) -> None:
        settings.API_WRONG_TOKENS_ALL_MAX = 5
        assert [api_failures.note(f"198.51.100.{n}", now=NOW) for n in range(5)] == [0] * 5
        assert tried(1) == [300]
        with database_down():
            assert tried(1, ELSEWHERE) == [300]

    def test_clock_that_was_set_back_locks_nobody_for_long(self) -> None:
        tried(21, at_s=86_400)
        assert tried(1) == [0]

    def test_many_at_once_are_all_counted(self, settings: Settings) -> None:
        settings.API_WRONG_TOKENS_MAX = 1_000

        def attempt(number: int) -> None:
            api_failures.note(HOME if number % 2 else ELSEWHERE, now=NOW)
            connection.close()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(attempt, range(40)))
        counts = dict(ApiFailure.objects.values_list("address", "failures"))
        assert counts == {HOME: 20, ELSEWHERE: 20, api_failures.ALL: 40}


class TestRows:
    def test_addresses_beyond_the_most_are_counted_together(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(api_failures, "ADDRESSES_MAX", 3)
        for number in range(10):
            api_failures.note(f"198.51.100.{number}", now=NOW)
        found = dict(ApiFailure.objects.values_list("address", "failures"))
        # The row of all is one of the three.
        assert found == {
            api_failures.ALL: 10, "198.51.100.0": 1, "198.51.100.1": 1, api_failures.OTHERS: 8,
        }  # fmt: skip

    def test_old_ones_make_room(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(api_failures, "ADDRESSES_MAX", 3)
        tried(1)
        tried(1, ELSEWHERE)
        tried(1, "192.0.2.1", at_s=301)
        assert set(ApiFailure.objects.values_list("address", flat=True)) == {api_failures.ALL, "192.0.2.1"}

    def test_old_ones_are_forgotten_once_they_are_told(self) -> None:
        tried(3)
        api_failures.tell_rest(now=NOW + timedelta(seconds=301))
        assert not ApiFailure.objects.exists()
        assert told() == [
            (f"address:{HOME}", "1 wrong token"),
            (f"address:{HOME}", "at least 2 wrong tokens since 2026-03-01 12:00:00 UTC"),
        ]


class TestAudit:
    def test_gets_one_row_a_minute_for_an_address_with_the_count(self, settings: Settings) -> None:
        settings.API_WRONG_TOKENS_MAX = 1_000
        tried(5)
        tried(5, at_s=59)
        assert told() == [(f"address:{HOME}", "1 wrong token")]
        tried(1, at_s=60)
        assert told()[1:] == [(f"address:{HOME}", "at least 10 wrong tokens since 2026-03-01 12:00:00 UTC")]

    def test_gets_ten_rows_a_minute_for_all_and_loses_no_count(self) -> None:
        for number in range(30):
            api_failures.note(f"198.51.100.{number}", now=NOW)
        assert len(told()) == api_failures.TOLD_ROWS_MAX
        assert ApiFailure.objects.filter(untold=1).count() == 20

    def test_rest_is_told_by_the_workers_and_only_once(self) -> None:
        tried(4)
        api_failures.tell_rest(now=NOW + timedelta(seconds=30))
        assert len(told()) == 1
        api_failures.tell_rest(now=NOW + timedelta(seconds=61))
        api_failures.tell_rest(now=NOW + timedelta(seconds=200))
        assert [new for _, new in told()] == ["1 wrong token", "at least 3 wrong tokens since 2026-03-01 12:00:00 UTC"]
