"""Readiness: one registry of checks, one run kept, and one answer for the gate, the pages, the API and the command.

    @register("debug_off", "DEBUG is off", Severity.BLOCKER)
    def debug_off(context: Context) -> Outcome: ...

Checks live in the modules that settings.READINESS_MODULES names. A check may ask a venue, so a run is made outside any
transaction.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from importlib import import_module
from typing import Any, TypeVar

from django.conf import settings
from django.utils import timezone
from django.utils.module_loading import import_string

from audit.fields import canonical_json
from safety.facts import ProcessFacts
from safety.intents import LimitSet, ReadinessVerdict
from safety.models import ReadinessRun, RiskLimits
from safety.readiness_values import (
    EXPECTED,
    EXPECTED_PER_VENUE,
    VENUES,
    Blocker,
    Context,
    Finding,
    LiveReady,
    Outcome,
    Severity,
    State,
    not_known,
)

log = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[Context], Outcome]
Judge = Callable[[Sequence[ProcessFacts]], Outcome]

TEXT_CHARS_MAX = 1000
#: Every run of this time is kept; of older ones the last of each day, for a year and a bit.
KEEP_ALL = timedelta(days=7)
KEEP_DAYS = timedelta(days=400)
NO_RUN = "readiness_run"
RUN_AGAIN = "See that the slow cluster runs, or run: manage.py verify_live_ready"
AFTER_AN_ERROR = "Look for this check's name in the log of the workers, and remove the cause."


@dataclass(frozen=True, slots=True)
class Check:
    """One registered check."""

    id: str
    title: str
    severity: Severity
    per_venue: bool
    work: Work


_checks: dict[str, Check] = {}
_judges: dict[str, tuple[str, Judge]] = {}


def register(id: str, title: str, severity: Severity, *, per_venue: bool = False) -> Callable[[Work], Work]:
    """Register a check, made for each venue (``context.venue``) when ``per_venue``. Raises ValueError on a taken id."""

    def take(work: Work) -> Work:
        if id in _checks:
            raise ValueError(f"there is a readiness check {id} already")
        _checks[id] = Check(id, title, severity, per_venue, work)
        return work

    return take


def judged_when_asked(id: str, title: str) -> Callable[[Judge], Judge]:
    """Register what live_ready() judges at the moment it is asked, and no run ever keeps. Raises ValueError on a taken id."""

    def take(judge: Judge) -> Judge:
        if id in _judges or id in _checks:
            raise ValueError(f"there is a readiness check {id} already")
        _judges[id] = (title, judge)
        return judge

    return take


def load_checks() -> list[Check]:
    """Import the modules that settings.READINESS_MODULES names and return every registered check.

    A module that can't be imported is logged: its checks are missing then, which blocks.
    """
    for name in settings.READINESS_MODULES:
        _guarded(f"the readiness checks of {name}", lambda name=name: import_module(name))  # type: ignore[misc]
    return list(_checks.values())


def running_processes() -> Sequence[ProcessFacts]:
    """Return what the running processes tell of themselves, as the function named by settings.READINESS_PROCESSES reads it."""
    read: Callable[[], Sequence[ProcessFacts]] = import_string(settings.READINESS_PROCESSES)
    return read()


def run(trigger: str, *, actor: str = "", checks: Iterable[Check] | None = None) -> ReadinessRun:
    """Make every check, keep what was found and return the run. ``trigger``: start, schedule, set_live, command or demand.

    Not inside a transaction: checks may ask a venue. Raises django.db.Error when the run can't be kept.
    """
    row = ReadinessRun.objects.create(
        trigger=trigger, actor=actor, started_at=timezone.now(), version=settings.VERSION, config_hash=""
    )
    made = load_checks() if checks is None else list(checks)
    processes = running_processes()
    context = Context(row.started_at, processes)
    found = [finding for one in made for finding in _make(one, context)]
    row.results = [one.as_dict() for one in (*found, *missing(found))]
    row.config_hash = _config_hash(processes)
    row.finished_at = timezone.now()
    row.save(update_fields=["results", "config_hash", "finished_at"])
    return row


def _make(check: Check, context: Context) -> list[Finding]:
    """Return what a check found: one finding, or one for each venue."""
    if not check.per_venue:
        return [_finding(check, context, None)]
    return [_finding(check, replace(context, venue=venue), venue) for venue in VENUES]


def _finding(check: Check, context: Context, venue: str | None) -> Finding:
    outcome = _guarded(f"readiness check {check.id}", lambda: check.work(context))
    severity = check.severity
    if isinstance(outcome, str):
        # Whatever its severity: a check that can't be made tells nothing, and nothing must not look like "well".
        severity, outcome = Severity.BLOCKER, not_known(f"The check failed: {outcome}.", AFTER_AN_ERROR)
    found, remedy = outcome.found[:TEXT_CHARS_MAX], outcome.remedy[:TEXT_CHARS_MAX]
    return Finding(check.id, check.title, severity, outcome.state, found, remedy, venue)


def _guarded(what: str, work: Callable[[], T]) -> T | str:
    """Return what ``work`` returns, or the name of the exception's class: its text may hold a secret."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - any fault of a check blocks, and keeps no other check from being made
        log.warning("%s failed: %s", what, type(error).__name__)
        return type(error).__name__


def missing(found: Collection[Finding]) -> list[Finding]:
    """Return a blocker for each expected check that is not among the findings, for the venue where it is missing."""
    there = {(one.id, one.venue) for one in found}
    wanted = [(id, venue) for id in EXPECTED for venue in (VENUES if id in EXPECTED_PER_VENUE else (None,))]
    return [
        Finding(
            id,
            _checks[id].title if id in _checks else id,
            Severity.BLOCKER,
            State.NOT_KNOWN,
            "This check was not made in the last run.",
            RUN_AGAIN,
            venue,
        )
        for id, venue in wanted
        if (id, venue) not in there
    ]


def _config_hash(processes: Sequence[ProcessFacts]) -> str:
    """Return a digest of what the running processes are set to (no secret among it) and of every limit."""
    limits = list(RiskLimits.objects.order_by("scope").values())
    told = sorted({str(one.facts.get("config_hash", "")) for one in processes})
    text = canonical_json({"processes": told, "limits": [{k: str(v) for k, v in row.items()} for row in limits]})
    return sha256(text.encode()).hexdigest()


def last_run() -> ReadinessRun | None:
    """Return the finished run that began last, or None if there was none."""
    return ReadinessRun.objects.filter(finished_at__isnull=False).order_by("-id").first()


def findings_of(row: ReadinessRun) -> list[Finding]:
    """Return a run's findings; a check that this version expects and the run does not hold is among them, as a blocker."""
    try:
        found = [Finding.parse(kept) for kept in row.results]
    except (KeyError, TypeError, ValueError):
        found = []
    return [*found, *missing(found)]


def verdict(venue: str) -> ReadinessVerdict:
    """Return what the last run said of a venue: the blockers that hold everywhere and those of this venue. One statement.

    Its age is judged by the gate's READINESS control. Raises django.db.Error.
    """
    row = last_run()
    if row is None:
        return ReadinessVerdict()
    ids = (one.id for one in findings_of(row) if one.blocks and one.venue in {None, venue})
    return ReadinessVerdict(row.finished_at, tuple(dict.fromkeys(ids)))


def live_ready() -> LiveReady:
    """Return whether live trading may begin: no blocker in the last run, and the gate, the state and the health as of now.

    Raises django.db.Error when the last run can't be read.
    """
    load_checks()
    row = last_run()
    found = [] if row is None else findings_of(row)
    blockers = [*_of_run(row), *(_blocker(one) for one in found if one.blocks), *_judged_now()]
    warnings = tuple(_blocker(one) for one in found if one.warns)
    return LiveReady(not blockers, tuple(blockers), warnings, row)


def _of_run(row: ReadinessRun | None) -> list[Blocker]:
    """Return what is wrong with the run itself: there is none, or it is too old to be trusted."""
    hours = LimitSet(None).readiness_age_h_max
    if row is None or row.finished_at is None:
        found = "There was no readiness run yet."
    elif timezone.now() - row.finished_at > timedelta(hours=float(hours)):
        found = f"The last run ended at {row.finished_at:%Y-%m-%d %H:%M} UTC, more than {hours} hours ago."
    else:
        return []
    return [Blocker(NO_RUN, "A readiness run of the last day", found, RUN_AGAIN)]


def _judged_now() -> list[Blocker]:
    processes = _guarded("reading the processes", running_processes)
    blockers = []
    for id, (title, judge) in _judges.items():
        known: Sequence[ProcessFacts] = () if isinstance(processes, str) else processes
        outcome = _guarded(f"readiness judge {id}", lambda judge=judge, known=known: judge(known))  # type: ignore[misc]
        if isinstance(outcome, str):
            outcome = not_known(f"The check failed: {outcome}.", AFTER_AN_ERROR)
        if not outcome.state.passes:
            blockers.append(Blocker(id, title, outcome.found, outcome.remedy))
    return blockers


def _blocker(finding: Finding) -> Blocker:
    title = finding.title if finding.venue is None else f"{finding.title} ({finding.venue})"
    return Blocker(finding.id, title, finding.found, finding.remedy, finding.venue)


def forget_old_runs(now: datetime) -> int:
    """Delete what nobody needs: after a week all but the last run of a day, after KEEP_DAYS those too. Return how many."""
    old = ReadinessRun.objects.filter(started_at__lt=now - KEEP_ALL)
    last_of_day: dict[Any, int] = {}
    for id, started_at in old.order_by("id").values_list("id", "started_at").iterator():
        last_of_day[started_at.date()] = id
    ancient = ReadinessRun.objects.filter(started_at__lt=now - KEEP_DAYS).delete()[0]
    return ancient + old.exclude(pk__in=last_of_day.values()).delete()[0]
