"""The clock that every process shares."""

import json
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.market_data.base import MarketDataError
from bots.market_data.replay import ReplayFeed
from bots.market_data.replay_clock import (
    EFFECT_DELAY_S,
    KEY,
    READ_AGAIN_S,
    SEGMENTS_MAX,
    FixedClock,
    StoredClock,
    clock_text,
    epoch_us,
    parse_clock,
    start_clock,
)
from safety.models import Setting
from tests.bots.market_data.builders import T0, after

changes = st.lists(st.tuples(st.decimals("0", "100", places=6), st.decimals("0.1", "60", places=3)), max_size=12)


@given(changes)
def test_position_never_jumps_and_survives_its_text(steps: list[tuple[Decimal, Decimal]]) -> None:
    clock, now = start_clock(T0), T0
    for pause, speed in steps:
        now += timedelta(microseconds=int(pause * 1_000_000))
        try:
            before, clock = clock, clock.with_speed(speed, now)
        except ValueError:
            # Only a burst of changes is refused.
            assert sum(segment.base_us > epoch_us(now) for segment in clock.segments) == SEGMENTS_MAX - 1
            continue
        begins = clock.segments[-1].base_us
        assert begins >= epoch_us(now) + EFFECT_DELAY_S * 1_000_000
        # One microsecond at the fastest speed is 60,000 ns: more than that would be a jump.
        assert 0 <= clock.played(begins) - clock.played(begins - 1) <= 60_000
        assert clock.played(epoch_us(now)) == before.played(epoch_us(now))
    assert len(clock.segments) <= SEGMENTS_MAX
    assert parse_clock(clock_text(clock)) == clock


def test_speed_counts_from_its_beginning() -> None:
    clock = start_clock(T0).with_speed(Decimal("2.5"), after(8))
    assert [clock.played(epoch_us(after(s))) / 1e9 for s in (0, 9, 10, 12)] == [0, 9, 10, 15]


def test_two_changes_at_once_take_effect_together_and_the_last_one_holds() -> None:
    clock = start_clock(T0).with_speed(Decimal(5), after(10)).with_speed(Decimal(2), after(10))
    assert clock.played(epoch_us(after(13))) == 14 * 10**9


def test_burst_of_changes_is_refused_until_they_have_taken_effect() -> None:
    clock = start_clock(T0)
    for step in range(SEGMENTS_MAX - 1):
        clock = clock.with_speed(Decimal(2), after(Decimal(step) / 100))
    with pytest.raises(ValueError, match="too often: try again in 2 seconds"):
        clock.with_speed(Decimal(2), after("0.1"))
    assert clock.with_speed(Decimal(3), after("2.2")).segments[-1].speed == 3


@pytest.mark.parametrize("speed", ["0", "-1", "0.099", "60.001", "NaN", "Infinity"])
def test_speed_out_of_bounds_is_refused(speed: str) -> None:
    clock = FixedClock(start_clock(T0))
    with pytest.raises(ValueError, match="speed has to be"):
        clock.set_speed(Decimal(speed), T0)
    assert clock.at(T0) == start_clock(T0)


GOOD = {"from": "2026-03-01T12:00:00+00:00", "played_s": "0", "speed": "1"}


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [GOOD] * (SEGMENTS_MAX + 1),
        [{**GOOD, "speed": "0"}],
        [{**GOOD, "speed": "NaN"}],
        [{**GOOD, "speed": 1.5, "played_s": "-1"}],
        [{**GOOD, "played_s": "1e11"}],
        [{**GOOD, "from": "2026-03-01T12:00:00"}],
        [{**GOOD, "from": "noon"}],
        [{"from": GOOD["from"]}],
        [GOOD, {**GOOD, "from": "2025-03-01T12:00:00+00:00"}],
        {"speed": "1"},
        3,
    ],
)
def test_unreadable_clock_is_refused_with_what_to_do(entries: object) -> None:
    with pytest.raises(MarketDataError, match="delete it, and the replay starts anew"):
        parse_clock(json.dumps(entries))


@pytest.mark.parametrize("text", ["", "{", "null"])
def test_clock_that_is_no_json_list_is_refused(text: str) -> None:
    with pytest.raises(MarketDataError, match="replay_clock cannot be read"):
        parse_clock(text)


@pytest.mark.django_db
def test_first_to_ask_starts_the_clock_and_the_others_follow() -> None:
    assert StoredClock().at(T0) == start_clock(T0)
    assert StoredClock().at(after(500)) == start_clock(T0)
    assert parse_clock(Setting.objects.get(key=KEY).value) == start_clock(T0)


@pytest.mark.django_db
def test_change_of_speed_reaches_every_process_before_it_takes_effect() -> None:
    web, worker = StoredClock(), StoredClock()
    worker.at(after(10))
    web.set_speed(Decimal(4), after(10))
    # The worker may still go by what it read; by the time of the change it has read again.
    for moment in (10, 11, 12, 13):
        now = after(moment)
        assert worker.at(now).played(epoch_us(now)) == web.at(now).played(epoch_us(now))
    assert worker.at(after(13)).played(epoch_us(after(13))) == 6 * 10**9
    assert EFFECT_DELAY_S > READ_AGAIN_S


@pytest.mark.django_db
def test_row_is_read_again_only_after_a_while(django_assert_num_queries: pytest.FixtureRequest) -> None:
    clock = StoredClock()
    clock.at(after(0))
    with django_assert_num_queries(0):  # type: ignore[operator]
        clock.at(after("0.9"))
    with django_assert_num_queries(1):  # type: ignore[operator]
        clock.at(after(1))
    with django_assert_num_queries(1):  # type: ignore[operator]
        clock.at(after(0))
    clock.forget()
    with django_assert_num_queries(1):  # type: ignore[operator]
        clock.at(after(0))


@pytest.mark.django_db
def test_damaged_setting_stops_the_feed_and_deleting_it_starts_anew() -> None:
    Setting.objects.create(key=KEY, value="fast")
    feed = ReplayFeed(StoredClock())
    with pytest.raises(MarketDataError, match="replay_clock"):
        feed.quote("SPY", T0)
    with pytest.raises(MarketDataError, match="replay_clock"):
        feed.set_speed(Decimal(2), T0)
    Setting.objects.filter(key=KEY).delete()
    assert feed.quote("SPY", after(1)) == ReplayFeed(FixedClock(start_clock(after(1)))).quote("SPY", after(1))


@pytest.mark.django_db
def test_speed_out_of_bounds_changes_no_setting() -> None:
    clock = StoredClock()
    clock.at(T0)
    with pytest.raises(ValueError, match="speed has to be"):
        clock.set_speed(Decimal(61), T0)
    assert parse_clock(Setting.objects.get(key=KEY).value) == start_clock(T0)
