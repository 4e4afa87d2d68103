"""An age by two clocks: one that stands still, or is set, makes nothing younger."""

import time
from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone

from bots.instant import Instant


def test_machine_that_slept_grows_older_by_its_sleep() -> None:
    began = Instant()
    with time_machine.travel(timezone.now() + timedelta(hours=9), tick=True):
        assert began.elapsed_s() == pytest.approx(9 * 3600, abs=60)


def test_clock_that_is_set_back_makes_nothing_younger() -> None:
    began = Instant()
    time.sleep(0.05)
    with time_machine.travel(timezone.now() - timedelta(hours=9), tick=True):
        assert 0.05 <= began.elapsed_s() < 60


def test_clock_that_stands_still_stops_no_age() -> None:
    with time_machine.travel(timezone.now(), tick=False):
        began = Instant()
        time.sleep(0.05)
        assert began.elapsed_s() >= 0.05
