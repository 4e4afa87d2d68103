"""What readiness speaks in: what a check finds, what a run found, and the list of the checks that must be in every run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from safety.facts import ProcessFacts
from safety.models import ReadinessRun

T = TypeVar("T")

#: The venues that take real orders. A check ``per_venue`` is made once for each.
VENUES = ("kraken", "alpaca")

#: Every check built so far. One that is missing from a run blocks, and so does one that a stored run doesn't know yet.
EXPECTED_EVERYWHERE = (
    "workers_alive",
    "one_version",
    "gates_agree",
    "token_where_exposed",
    "endpoints",
    "debug_off",
    "secret_key",
    "allowed_hosts",
    "secure_cookies",
    "default_passwords",
    "migrations",
    "database_durable",
    "audit_triggers",
    "audit_chain",
    "disk_space",
    "queue_settings",
    "queue_moves",
    "kill_switch_readable",
    "kill_switch_self_test",
    "limits_set",
    "alert_delivered",
    "token_on_loopback",
    "alert_channels",
    "kill_drill",
    "paper_run",
    "operator_accounts",
    "second_factor",
    "disk_share",
)
EXPECTED_PER_VENUE = (
    "venue_keys",
    "venue_rights",
    "venue_no_withdrawal",
    "venue_account",
    "venue_clock",
    "venue_key_alone",
    "orders_settled",
    "reconciliation_fresh",
    "reconciliation_agrees",
    "venue_withdrawal_unknown",
    "venue_ip_allow_list",
    "venue_key_age",
    "venue_maintenance",
    "venue_rate",
    "dead_man_switch",
    "venue_validate",
)
EXPECTED = (*EXPECTED_EVERYWHERE, *EXPECTED_PER_VENUE)


class Severity(StrEnum):
    """What a check that isn't passed means: no live entries, or a word to the wise."""

    BLOCKER = "blocker"
    WARNING = "warning"


class State(StrEnum):
    """How a check came out. What is not known counts as failed; ``not_used`` passes, since nothing depends on it."""

    OK = "ok"
    FAILED = "failed"
    NOT_USED = "not_used"
    NOT_KNOWN = "not_known"

    @property
    def passes(self) -> bool:
        """Return whether nothing has to be done about it."""
        return self in {State.OK, State.NOT_USED}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a check says: its state, what it found in plain words (never a secret), and the one thing to do about it."""

    state: State
    found: str
    remedy: str = ""


def ok(found: str) -> Outcome:
    """Return that a check is passed."""
    return Outcome(State.OK, found)


def not_used(found: str) -> Outcome:
    """Return that nothing depends on what the check looks at."""
    return Outcome(State.NOT_USED, found)


def failed(found: str, remedy: str) -> Outcome:
    """Return that a check is not passed, and what to do."""
    return Outcome(State.FAILED, found, remedy)


def not_known(found: str, remedy: str) -> Outcome:
    """Return that it can't be told whether the check is passed, which counts as not passed."""
    return Outcome(State.NOT_KNOWN, found, remedy)


@dataclass(frozen=True, slots=True)
class Finding:
    """One check in one run, of one venue where it is made for each."""

    id: str
    title: str
    severity: Severity
    state: State
    found: str
    remedy: str = ""
    venue: str | None = None

    @property
    def blocks(self) -> bool:
        """Return whether live entries wait for it: everywhere, or at its venue only."""
        return self.severity is Severity.BLOCKER and not self.state.passes

    @property
    def warns(self) -> bool:
        """Return whether a person should look at it, though nothing waits for it."""
        return self.severity is Severity.WARNING and not self.state.passes

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as it is kept in ReadinessRun.results."""
        return {
            "id": self.id,
            "title": self.title,
            "severity": self.severity.value,
            "state": self.state.value,
            "found": self.found,
            "remedy": self.remedy,
            "venue": self.venue,
        }

    @classmethod
    def parse(cls, kept: Mapping[str, Any]) -> "Finding":
        """Return a finding as it was kept. Raises KeyError, TypeError or ValueError for anything else."""
        texts = {name: kept[name] for name in ("id", "title", "found", "remedy")}
        if not all(isinstance(text, str) for text in texts.values()):
            raise TypeError("a finding's texts must be texts")
        return cls(severity=Severity(kept["severity"]), state=State(kept["state"]), venue=kept["venue"], **texts)


@dataclass(frozen=True, slots=True)
class Context:
    """What a check may look at beside the database: when the run began, what the running processes tell, and its venue."""

    now: datetime
    processes: Sequence[ProcessFacts]
    venue: str = ""
    _answers: dict[Any, Any] = field(default_factory=dict)

    def once(self, ask: Callable[["Context"], T]) -> T:
        """Return what ``ask`` answers for this venue, asked only once in a run. An exception is not kept."""
        key = (ask, self.venue)
        if key not in self._answers:
            self._answers[key] = ask(self)
        answer: T = self._answers[key]
        return answer


@dataclass(frozen=True, slots=True)
class Blocker:
    """One thing between now and live trading: its id, what it is, what was found and the one thing to do."""

    id: str
    title: str
    found: str
    remedy: str
    venue: str | None = None


@dataclass(frozen=True, slots=True)
class LiveReady:
    """Whether live trading may begin, and what stands in its way. ``run`` is the run judged by, None when there is none."""

    is_ready: bool
    blockers: tuple[Blocker, ...]
    warnings: tuple[Blocker, ...]
    run: ReadinessRun | None

    @property
    def run_finished_at(self) -> datetime | None:
        """Return when the run ended, or None when there was none."""
        return None if self.run is None else self.run.finished_at
