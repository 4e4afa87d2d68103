"""A readiness run on demand: made in a thread of the web process, so that the page can tell how far it is."""

import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from safety import readiness
from safety.models import ReadinessRun
from tradingops.background import in_background

#: A run that has not ended by then died with its process.
GIVEN_UP_AFTER = timedelta(minutes=2)
SEEN_WITHIN_S = 1.0


@dataclass(frozen=True, slots=True)
class RunUnderWay:
    """A run that has not ended: since when, who asked, and how long the last one took (None: not known)."""

    started_at: datetime
    actor: str
    elapsed_s: int
    usual_s: int | None
    is_lost: bool


def under_way(now: datetime) -> RunUnderWay | None:
    """Return the newest run if it has not ended, or None."""
    newest = ReadinessRun.objects.order_by("-id").defer("results").first()
    if newest is None or newest.finished_at is not None:
        return None
    last = ReadinessRun.objects.filter(finished_at__isnull=False).order_by("-id").defer("results").first()
    usual = None
    if last is not None and last.finished_at is not None:
        usual = max(1, round((last.finished_at - last.started_at).total_seconds()))
    elapsed = now - newest.started_at
    return RunUnderWay(
        newest.started_at, newest.actor, max(0, int(elapsed.total_seconds())), usual, elapsed > GIVEN_UP_AFTER
    )


def start(actor: str) -> threading.Thread | None:
    """Start a run in the background and return its thread, or None when one is under way."""
    going = under_way(timezone.now())
    if going is not None and not going.is_lost:
        return None
    thread = in_background("readiness run", lambda: readiness.run("demand", actor=actor))
    until_s = time.monotonic() + SEEN_WITHIN_S
    # So that the page that follows shows it already, and a second click finds it.
    while thread.is_alive() and time.monotonic() < until_s:
        newest = under_way(timezone.now())
        if newest is not None and newest != going and not newest.is_lost:
            break
        time.sleep(0.02)
    return thread
