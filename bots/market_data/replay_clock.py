"""Where the replay stands: one row in the settings says it for every process on every host."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Protocol

from django.db import transaction

from audit.decimals import decimal_text
from bots.market_data.base import MarketDataError
from safety.models import Setting

KEY = "replay_clock"
SPEED_MIN = Decimal("0.1")
SPEED_MAX = Decimal(60)
SPEED_STEP = Decimal("0.001")
#: How long a process may go on with what it read last.
READ_AGAIN_S = 1
#: A new speed begins this much later: by then every process has read it, and all give the same prices throughout.
EFFECT_DELAY_S = 2
SEGMENTS_MAX = 8

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def epoch_us(moment: datetime) -> int:
    """Return ``moment`` in microseconds since 1970, exactly."""
    return (moment - _EPOCH) // _MICROSECOND


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of wall-clock time with one speed: at ``base_us`` the replay had played ``played_ns``.

    Whole numbers throughout (``speed_milli`` is the speed × 1,000), so that every host computes the same.
    """

    base_us: int
    played_ns: int
    speed_milli: int

    def played(self, moment_us: int) -> int:
        """Return the nanoseconds played by ``moment_us``; before the replay began it stands at its beginning."""
        # Microseconds × thousandths are nanoseconds.
        return max(0, self.played_ns + (moment_us - self.base_us) * self.speed_milli)

    @property
    def speed(self) -> Decimal:
        """Return the speed: 1 plays each bar in its own playing time, 2 in half of it."""
        return Decimal(self.speed_milli).scaleb(-3)


@dataclass(frozen=True, slots=True)
class ReplayClock:
    """The replay's position through time: its stretches, oldest first. Each goes on where the one before has got to."""

    segments: tuple[Segment, ...]

    def segment(self, moment_us: int) -> Segment:
        """Return the stretch that holds at ``moment_us``."""
        for segment in reversed(self.segments):
            if segment.base_us <= moment_us:
                return segment
        return self.segments[0]

    def played(self, moment_us: int) -> int:
        """Return how many nanoseconds of the recording had been played by ``moment_us``."""
        return self.segment(moment_us).played(moment_us)

    def with_speed(self, speed: Decimal, now: datetime) -> "ReplayClock":
        """Return the clock with a new speed from shortly after ``now``; the position goes on without a jump.

        The speed is rounded to thousandths. Raises ValueError outside SPEED_MIN..SPEED_MAX, and when changes come so fast
        that the stretch which holds now would be forgotten.
        """
        if not speed.is_finite() or not SPEED_MIN <= speed <= SPEED_MAX:
            raise ValueError(f"the speed has to be from {SPEED_MIN} to {SPEED_MAX}, not {speed}")
        base_us = max(epoch_us(now) + EFFECT_DELAY_S * 1_000_000, self.segments[-1].base_us)
        earlier = tuple(segment for segment in self.segments if segment.base_us < base_us)[1 - SEGMENTS_MAX :]
        if self.segment(epoch_us(now)) not in earlier:
            raise ValueError(f"the speed was changed too often: try again in {EFFECT_DELAY_S} seconds")
        milli = int(speed.quantize(SPEED_STEP).scaleb(3))
        return ReplayClock((*earlier, Segment(base_us, self.played(base_us), milli)))


def start_clock(now: datetime) -> ReplayClock:
    """Return a clock that begins at ``now`` with speed 1."""
    return ReplayClock((Segment(epoch_us(now), 0, 1000),))


def clock_text(clock: ReplayClock) -> str:
    """Return the clock as the JSON text that is kept in the settings."""
    return json.dumps(
        [
            {
                "from": (_EPOCH + segment.base_us * _MICROSECOND).isoformat(),
                "played_s": decimal_text(Decimal(segment.played_ns).scaleb(-9)),
                "speed": decimal_text(segment.speed),
            }
            for segment in clock.segments
        ]
    )


def parse_clock(text: str) -> ReplayClock:
    """Return the clock that ``text`` describes. Raises MarketDataError when it is not one."""
    try:
        segments = tuple(_segment(entry) for entry in json.loads(text))
        if not 0 < len(segments) <= SEGMENTS_MAX:
            raise ValueError(f"{len(segments)} stretches instead of 1 to {SEGMENTS_MAX}")
        if sorted(segments, key=lambda segment: segment.base_us) != list(segments):
            raise ValueError("the stretches are not in order of time")
    except (ValueError, KeyError, TypeError, InvalidOperation) as error:
        raise MarketDataError(
            f"the setting {KEY} cannot be read ({error!r}); delete it, and the replay starts anew"
        ) from error
    return ReplayClock(segments)


def _segment(entry: dict[str, Any]) -> Segment:
    base = datetime.fromisoformat(entry["from"])
    played_s, speed = Decimal(entry["played_s"]), Decimal(entry["speed"])
    if base.tzinfo is None:
        raise ValueError("a time without a zone")
    # The comparisons are also what refuses NaN: they raise InvalidOperation.
    if not 0 <= played_s < Decimal("1e10") or not SPEED_MIN <= speed <= SPEED_MAX:
        raise ValueError(f"played_s {played_s} or speed {speed} is out of bounds")
    return Segment(epoch_us(base), int(played_s.scaleb(9)), int(speed.scaleb(3)))


class ClockSource(Protocol):
    """Where a replay feed gets its clock from."""

    def at(self, now: datetime) -> ReplayClock:
        """Return the clock as of ``now``."""
        ...

    def set_speed(self, speed: Decimal, now: datetime) -> ReplayClock:
        """Change the speed and return the new clock. Raises ValueError for a speed out of bounds."""
        ...


class FixedClock:
    """A clock that lives in this process alone, for simulations and tests."""

    def __init__(self, clock: ReplayClock) -> None:
        self._clock = clock

    def at(self, now: datetime) -> ReplayClock:
        """Return the clock."""
        return self._clock

    def set_speed(self, speed: Decimal, now: datetime) -> ReplayClock:
        """Change the speed and return the new clock. Raises ValueError for a speed out of bounds."""
        self._clock = self._clock.with_speed(speed, now)
        return self._clock


class StoredClock:
    """The clock that all processes share, in the settings under ``replay_clock``. The first to ask for it starts it."""

    def __init__(self) -> None:
        # Read and replaced as one value, so that threads need no lock: at worst two of them read the row at once.
        self._seen: tuple[int, ReplayClock] | None = None

    def at(self, now: datetime) -> ReplayClock:
        """Return the clock, read at most READ_AGAIN_S ago. Raises MarketDataError when the setting is not readable."""
        now_us = epoch_us(now)
        seen = self._seen
        if seen is not None and 0 <= now_us - seen[0] < READ_AGAIN_S * 1_000_000:
            return seen[1]
        row, _ = Setting.objects.get_or_create(key=KEY, defaults={"value": clock_text(start_clock(now))})
        clock = parse_clock(row.value)
        self._seen = (now_us, clock)
        return clock

    def set_speed(self, speed: Decimal, now: datetime) -> ReplayClock:
        """Change the speed for every process and return the new clock.

        The caller writes the audit row. Raises ValueError for a speed out of bounds.
        """
        with transaction.atomic():
            start = {"value": clock_text(start_clock(now))}
            row, _ = Setting.objects.select_for_update().get_or_create(key=KEY, defaults=start)
            clock = parse_clock(row.value).with_speed(speed, now)
            row.value = clock_text(clock)
            row.save(update_fields=["value"])
        self._seen = None
        return clock

    def forget(self) -> None:
        """Drop what was read, so that the next question reads the row."""
        self._seen = None
