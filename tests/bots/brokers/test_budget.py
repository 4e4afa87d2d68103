"""The budget: what is counted, who may spend how much of it, what the venue's own word changes, and jumps of the clock."""

import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from bots.brokers import budget
from bots.brokers.budget import Limit, Purpose, Used, purpose_now, spending
from bots.models import RateCounter
from tests.clock import stay_within_the_hour
from tests.conftest import CommittedDatabase

#: Falls so slowly that a slow machine changes nothing.
SLOW = Limit(20, 1_000_000)


def take(cost: int = 1, purpose: Purpose = Purpose.CANCELS, limit: Limit = SLOW, **changes: Any) -> int:
    """Take from the budget of the test's account."""
    return budget.take("kraken", "", limit, cost, purpose, **changes)


def now_used(limit: Limit = SLOW) -> Used:
    """Return how the counter stands."""
    return budget.used(RateCounter.objects.get(account="kraken", scope=""), limit, timezone.now())


@pytest.mark.django_db
class TestShares:
    @pytest.mark.parametrize(
        ("purpose", "fits"),
        [
            (Purpose.BACKGROUND, 13),
            (Purpose.LOOK_UPS, 16),
            (Purpose.ORDERS, 18),
            (Purpose.EXITS, 19),
            (Purpose.CANCELS, 20),
        ],
    )
    def test_each_purpose_fills_its_share_and_no_more(self, purpose: Purpose, fits: int) -> None:
        taken = [take(purpose=purpose) for _ in range(fits)]
        assert taken == [0] * fits
        assert take(purpose=purpose) > 0
        assert float(now_used().used) == pytest.approx(fits, abs=0.1)

    def test_what_is_more_pressing_goes_on_where_the_background_has_to_wait(self) -> None:
        while not take(purpose=Purpose.BACKGROUND):
            pass
        for purpose in (Purpose.LOOK_UPS, Purpose.ORDERS, Purpose.EXITS, Purpose.CANCELS):
            assert take(purpose=purpose) == 0

    def test_shares_rise_with_the_rank(self) -> None:
        shares = [budget.SHARES_PCT[one] for one in sorted(Purpose, key=lambda one: one.rank)]
        assert shares == sorted(shares, reverse=True)
        assert shares[0] == 100

    def test_what_must_leave_is_counted_and_let_through(self) -> None:
        assert [take(8, always=True) for _ in range(5)] == [0] * 5
        # The counter does not rise above the limit, or one could never wait for it.
        assert float(now_used().used) == pytest.approx(20, abs=0.1)
        assert take() > 0

    def test_a_request_that_counts_more_needs_more_room(self) -> None:
        assert take(12, Purpose.BACKGROUND) == 0
        assert take(2, Purpose.BACKGROUND) > 0
        assert take(1, Purpose.BACKGROUND) == 0

    def test_symbols_and_accounts_are_counted_apart(self) -> None:
        assert take(20) == 0
        assert budget.take("kraken", "BTC/USD", SLOW, 20, Purpose.CANCELS) == 0
        assert budget.take("alpaca", "", SLOW, 20, Purpose.CANCELS) == 0
        assert take() > 0


@pytest.mark.django_db
class TestTime:
    def test_wait_that_is_named_is_enough(self) -> None:
        limit = Limit(1, 500)
        assert take(limit=limit) == 0
        wait_ms = take(limit=limit)
        assert 0 < wait_ms <= 500
        time.sleep(wait_ms / 1000 + 0.02)
        assert take(limit=limit) == 0

    def test_counter_falls_to_nothing_and_not_below(self) -> None:
        assert take(20) == 0
        RateCounter.objects.update(empty_at=timezone.now() - timedelta(days=3))
        assert now_used().used == 0
        assert [take(), take(19)] == [0, 0]
        assert take() > 0

    def test_clock_that_was_set_back_by_ten_minutes_holds_back_no_longer_than_a_full_counter(self) -> None:
        limit = Limit(15, 3_031)
        assert take(limit=limit) == 0
        RateCounter.objects.update(empty_at=timezone.now() + timedelta(minutes=10))
        assert take(limit=limit) <= limit.full_ms + 1_000
        assert float(now_used(limit).used) == pytest.approx(15, abs=1)
        assert RateCounter.objects.get().empty_at <= timezone.now() + timedelta(milliseconds=limit.full_ms + 1_000)

    def test_cancel_passes_all_the_same(self) -> None:
        take()
        RateCounter.objects.update(empty_at=timezone.now() + timedelta(days=10_000))
        assert take(always=True) == 0


@pytest.mark.django_db
class TestTheVenuesWord:
    def test_refusal_fills_the_counter(self) -> None:
        budget.fill("kraken", "", SLOW)
        assert float(now_used().used) == pytest.approx(20, abs=0.1)
        assert take() > 0

    def test_venue_that_has_less_left_is_believed(self) -> None:
        assert take(2) == 0
        budget.correct("kraken", "", SLOW, 5)
        assert float(now_used().used) == pytest.approx(15, abs=0.1)
        budget.correct("kraken", "", SLOW, 19)
        assert float(now_used().used) == pytest.approx(15, abs=0.1)

    @pytest.mark.parametrize(("left", "used"), [(-3, 20), (0, 20), (1000, 0)])
    def test_word_that_is_out_of_bounds_is_cut(self, left: int, used: int) -> None:
        budget.correct("kraken", "", SLOW, left)
        assert float(now_used().used) == pytest.approx(used, abs=0.1)


@pytest.mark.django_db
class TestWhoSpends:
    def test_each_purpose_is_counted_in_its_hour(self) -> None:
        stay_within_the_hour()
        take(2, Purpose.BACKGROUND)
        take(1, Purpose.BACKGROUND)
        take(1, Purpose.CANCELS)
        budget.note_held_back("kraken", "")
        shown = now_used()
        assert shown.spent[Purpose.BACKGROUND] == 3
        assert shown.spent[Purpose.CANCELS] == 1
        assert shown.spent[Purpose.ORDERS] == 0
        assert shown.held_back == 1

    def test_new_hour_begins_at_nothing(self) -> None:
        take(2, Purpose.BACKGROUND)
        budget.note_held_back("kraken", "")
        RateCounter.objects.update(hour=timezone.now() - timedelta(hours=2))
        take(1, Purpose.LOOK_UPS)
        shown = now_used()
        assert (shown.spent[Purpose.LOOK_UPS], shown.spent[Purpose.BACKGROUND], shown.held_back) == (1, 0, 0)

    def test_counting_takes_one_statement(self, django_assert_num_queries: Any) -> None:
        take()
        with django_assert_num_queries(1):
            assert take() == 0


class TestSpending:
    def test_what_nobody_named_is_background(self) -> None:
        assert purpose_now() == Purpose.BACKGROUND

    def test_more_pressing_one_holds_whichever_is_outside(self) -> None:
        with spending(Purpose.CANCELS), spending(Purpose.LOOK_UPS):
            assert purpose_now() == Purpose.CANCELS
        with spending(Purpose.LOOK_UPS), spending(Purpose.CANCELS):
            assert purpose_now() == Purpose.CANCELS
        assert purpose_now() == Purpose.BACKGROUND

    def test_decorated_function_can_be_called_again_and_fail(self) -> None:
        @spending(Purpose.EXITS)
        def told() -> Purpose:
            return purpose_now()

        @spending(Purpose.EXITS)
        def fails() -> None:
            raise ZeroDivisionError

        assert [told(), told()] == [Purpose.EXITS] * 2
        with pytest.raises(ZeroDivisionError):
            fails()
        assert purpose_now() == Purpose.BACKGROUND

    def test_threads_do_not_inherit_it(self) -> None:
        seen: list[Purpose] = []
        with spending(Purpose.CANCELS):
            thread = threading.Thread(target=lambda: seen.append(purpose_now()))
            thread.start()
            thread.join()
        assert seen == [Purpose.BACKGROUND]


def test_many_at_once_never_take_more_than_there_is(committed_db: CommittedDatabase) -> None:
    """Threads with connections of their own, as workers are."""
    taken: list[int] = []

    def spend() -> None:
        try:
            for _ in range(10):
                taken.append(take(purpose=Purpose.CANCELS))
        finally:
            connection.close()

    threads = [threading.Thread(target=spend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 40
    assert taken.count(0) == 20
