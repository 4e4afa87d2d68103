"""Due times: on a grid, once each, never in a burst."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.workers.schedule import DueTick, Schedule, ScheduledBot, latest_due

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
moments = st.integers(0, 20 * 365 * 86_400 * 10**6).map(
    lambda us: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
)
bot_ids = st.integers(1, 10**9)
polls = st.integers(1, 86_400)


def seconds(amount: float) -> timedelta:
    return timedelta(seconds=amount)


def schedule_of(*bots: ScheduledBot, now: datetime = NOON) -> Schedule:
    schedule = Schedule()
    schedule.replace(bots, now)
    return schedule


@given(bot_ids, polls, moments)
def test_latest_due_is_at_most_one_period_ago_and_on_a_grid(bot_id: int, poll: int, now: datetime) -> None:
    due_at = latest_due(bot_id, poll, now)
    assert now - seconds(poll) < due_at <= now
    assert latest_due(bot_id, poll, due_at) == due_at
    assert latest_due(bot_id, poll, due_at + seconds(poll)) == due_at + seconds(poll)


@given(bot_ids, polls, moments, st.floats(0, 0.999))
def test_every_worker_computes_the_same_due_time_within_a_period(
    bot_id: int, poll: int, now: datetime, part: float
) -> None:
    due_at = latest_due(bot_id, poll, now)
    assert latest_due(bot_id, poll, due_at + seconds(poll * part)) == due_at


def test_bots_are_spread_over_the_period() -> None:
    due = sorted(latest_due(bot_id, 5, NOON) for bot_id in range(1, 51))
    gaps_s = [(later - earlier).total_seconds() for earlier, later in pairwise(due)]
    assert max(gaps_s) < 0.5


def test_new_bot_ticks_at_once_with_its_latest_due_time() -> None:
    schedule = schedule_of(ScheduledBot(7, 60, 1))
    assert schedule.pop_due(NOON, 10) == [DueTick(7, latest_due(7, 60, NOON))]
    assert schedule.pop_due(NOON, 10) == []


def test_bot_whose_latest_due_time_was_ticked_elsewhere_waits_for_the_next_one() -> None:
    last = latest_due(7, 60, NOON)
    schedule = schedule_of(ScheduledBot(7, 60, 1, last))
    assert schedule.pop_due(last + seconds(59.999), 10) == []
    assert schedule.pop_due(last + seconds(60), 10) == [DueTick(7, last + seconds(60))]


def test_bot_whose_due_time_was_missed_ticks_at_once_however_long_its_period() -> None:
    last = latest_due(7, 3600, NOON) - seconds(3600)
    schedule = schedule_of(ScheduledBot(7, 3600, 1, last))
    assert schedule.pop_due(NOON, 10) == [DueTick(7, last + seconds(3600))]


def test_two_hours_down_gives_one_tick_each_and_no_burst() -> None:
    schedule = schedule_of(*(ScheduledBot(bot_id, 5, 1) for bot_id in range(1, 21)))
    schedule.pop_due(NOON, 100)
    later = NOON + timedelta(hours=2)
    ticks = schedule.pop_due(later, 100)
    assert sorted(tick.bot_id for tick in ticks) == list(range(1, 21))
    assert all(later - tick.due_at < seconds(5) for tick in ticks)
    assert schedule.pop_due(later, 100) == []


@given(st.lists(st.floats(0.01, 30), min_size=1, max_size=60), polls.filter(lambda poll: poll <= 20))
def test_no_due_time_is_ever_given_twice_and_none_is_skipped_by_a_timely_worker(steps: list[float], poll: int) -> None:
    schedule, now, given_out = schedule_of(ScheduledBot(3, poll, 1)), NOON, []
    for step in steps:
        given_out += [tick.due_at for tick in schedule.pop_due(now, 10)]
        assert given_out[-1] == latest_due(3, poll, now)
        now += seconds(step)
    assert len(set(given_out)) == len(given_out)
    assert given_out == sorted(given_out)


def test_a_batch_takes_the_longest_waiting_first() -> None:
    schedule = schedule_of(*(ScheduledBot(bot_id, 10, 1, latest_due(bot_id, 10, NOON)) for bot_id in range(1, 9)))
    first, second = schedule.pop_due(NOON + seconds(10), 3), schedule.pop_due(NOON + seconds(10), 100)
    assert (len(first), len(second)) == (3, 5)
    assert max(tick.due_at for tick in first) < min(tick.due_at for tick in second)


def test_tick_that_did_not_happen_is_due_again_with_the_same_due_time() -> None:
    schedule = schedule_of(ScheduledBot(3, 10, 1))
    ticks = schedule.pop_due(NOON, 10)
    schedule.put_back(ticks)
    assert schedule.pop_due(NOON + seconds(0.001), 10) == ticks


def test_tick_put_back_for_a_bot_that_left_is_dropped() -> None:
    schedule = schedule_of(ScheduledBot(3, 10, 1))
    ticks = schedule.pop_due(NOON, 10)
    schedule.replace([], NOON)
    schedule.put_back(ticks)
    assert schedule.next_due() is None
    assert len(schedule) == 0


def test_known_bot_keeps_its_plan_when_the_list_is_read_again() -> None:
    schedule = schedule_of(ScheduledBot(3, 10, 1))
    schedule.pop_due(NOON, 10)
    planned = schedule.next_due()
    schedule.replace([ScheduledBot(3, 10, 2)], NOON + seconds(1))
    assert schedule.next_due() == planned


def test_bot_that_polls_faster_now_is_planned_anew() -> None:
    schedule = schedule_of(ScheduledBot(3, 3600, 1))
    schedule.pop_due(NOON, 10)
    schedule.replace([ScheduledBot(3, 1, 2, latest_due(3, 3600, NOON))], NOON)
    assert schedule.pop_due(NOON + seconds(1), 10) != []


def test_forgotten_bot_comes_back_with_what_the_database_says() -> None:
    schedule = schedule_of(ScheduledBot(3, 10, 1))
    last = schedule.pop_due(NOON, 10)[0].due_at
    schedule.forget([3, 4])
    # Another worker ticked the next two due times meanwhile.
    now = last + seconds(25)
    schedule.replace([ScheduledBot(3, 10, 1, last + seconds(20))], now)
    assert schedule.pop_due(now, 10) == []
    assert schedule.next_due() == last + seconds(30)


def test_last_tick_in_the_future_does_not_stop_a_bot_when_the_clock_was_set_back() -> None:
    schedule = schedule_of(ScheduledBot(3, 10, 1, NOON + timedelta(days=365)))
    assert schedule.pop_due(NOON + seconds(10), 10) != []


def test_clock_set_back_stops_no_bot_that_is_planned_already() -> None:
    bot = ScheduledBot(3, 10, 1)
    schedule = schedule_of(bot)
    assert schedule.pop_due(NOON, 10) != []
    back = NOON - timedelta(minutes=10)
    ticks: list[DueTick] = []
    for second in range(60):
        now = back + seconds(second)
        schedule.replace([replace(bot, last_due_at=ticks[-1].due_at if ticks else NOON)], now)
        ticks += schedule.pop_due(now, 10)
    assert len(ticks) == len({tick.due_at for tick in ticks}) == 6


def test_lag_counts_from_the_due_time_and_for_a_new_bot_from_when_it_became_known() -> None:
    schedule = schedule_of(ScheduledBot(3, 3600, 1))
    first = schedule.pop_due(NOON + seconds(0.25), 10)[0]
    schedule.pop_due(first.due_at + seconds(3600.5), 10)
    assert list(schedule.lags_s) == pytest.approx([0.25, 0.5])


def test_heap_stays_small_while_bots_come_and_go() -> None:
    schedule = Schedule()
    for round_ in range(300):
        schedule.replace([ScheduledBot(bot_id, 60, 1) for bot_id in range(round_, round_ + 10)], NOON)
    assert len(schedule) == 10
    assert len(schedule._heap) <= 4 * 10 + 64 + 10
