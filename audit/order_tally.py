"""What the order events add up to: how many of each kind, which denials, and how long a send took to be answered.

Counted along the chains' seqs, which have no gaps and become visible in order: each event counts once. A chore keeps it up;
whoever reads it counts what came since then, up to a bound, and keeps nothing.
"""

import json
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic
from typing import Any

from django.db.models import Case, TextField, Value, When

from audit import tallies
from audit.chain import Chain
from audit.models import ChainHead, EventKind, OrderEvent
from audit.tallies import Histogram

NAME = "order_events"
BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ROWS_PER_QUERY = 2_000
#: Of labels of one kind; whatever comes after that is counted as "other".
LABELS_MAX = 200
#: Sends whose answer is awaited. More are never under way: the oldest was lost sight of.
SENDS_MAX = 2_000
OTHER = "other"
#: What ends the wait for an answer. A denial before the send does too, and counts as no answer.
ANSWERS = frozenset(
    {
        EventKind.ACCEPTED,
        EventKind.REJECTED,
        EventKind.PARTIALLY_FILLED,
        EventKind.FILLED,
        EventKind.CANCELED,
        EventKind.EXPIRED,
        EventKind.UNKNOWN,
    }
)
_COLUMNS = ("seq", "venue", "event", "client_order_id", "ts", "venue_order_id", "said")
#: The details of a denial hold its reasons; nobody needs those of the others here.
_SAID = Case(When(event=EventKind.DENIED, then="details"), default=Value("{}"), output_field=TextField())
#: Whoever sent it: the venue over the network, or the built-in paper broker.
VENUE, BUILT_IN = "venue", "built_in"


@dataclass
class OrderTally:
    """The totals. Keys are texts of their labels, joined by blanks: ``"0 kraken filled"``, ``"1 KILL_SWITCH"``.

    ``sends`` are the times at which orders began to be sent that have no answer yet, by client order id.
    """

    at: dict[str, int] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    denials: dict[str, int] = field(default_factory=dict)
    answers: dict[str, Histogram] = field(default_factory=dict)
    sends: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, kept: dict[str, Any]) -> "OrderTally":
        """Return what ``as_dict`` kept."""
        answers = {labels: Histogram(BOUNDS_S, one) for labels, one in kept.get("answers", {}).items()}
        plain = {name: dict(kept.get(name, {})) for name in ("at", "events", "denials", "sends")}
        return cls(answers=answers, **plain)

    def as_dict(self) -> dict[str, Any]:
        """Return what is to be kept."""
        return {
            "at": self.at,
            "events": self.events,
            "denials": self.denials,
            "answers": {labels: one.as_dict() for labels, one in self.answers.items()},
            "sends": self.sends,
        }

    def count(self, rows_max: int, within_s: float = 60.0) -> int:
        """Count events that were not counted yet; return how many are left. Raises django.db.Error."""
        until_s, left = monotonic() + within_s, 0
        for chain, head in ChainHead.objects.filter(chain__in=(Chain.LIVE, Chain.PAPER)).values_list("chain", "seq"):
            while self.at.get(chain, 0) < head and rows_max > 0 and monotonic() < until_s:
                rows_max -= self._count_some(chain, head, min(rows_max, ROWS_PER_QUERY))
            left += head - self.at.get(chain, 0)
        return left

    def _count_some(self, chain: str, head: int, rows_max: int) -> int:
        first = self.at.get(chain, 0) + 1
        last = min(first + rows_max - 1, head)
        is_live = int(chain == Chain.LIVE)
        rows = OrderEvent.objects.filter(is_live=is_live, seq__gte=first, seq__lte=last).order_by("seq")
        for _, *row in rows.annotate(said=_SAID).values_list(*_COLUMNS):
            self._add(is_live, *row)
        # A row that somebody took away is not waited for.
        self.at[chain] = last
        return last - first + 1

    def _add(self, is_live: int, venue: str, event: str, order: str, ts: datetime, ref: str, said: str) -> None:
        venue = venue.replace(" ", "_")
        _bump(self.events, f"{is_live} {venue} {event}")
        if event == EventKind.SUBMITTING:
            self.sends[order] = ts.isoformat()
            if len(self.sends) > SENDS_MAX:
                del self.sends[min(self.sends, key=lambda one: self.sends[one])]
        elif event in ANSWERS and (began := self.sends.pop(order, None)) is not None:
            by = VENUE if is_live or ref or event == EventKind.UNKNOWN else BUILT_IN
            labels = f"{is_live} {venue} {by}"
            labels = labels if labels in self.answers or len(self.answers) < LABELS_MAX else f"{is_live} {OTHER} {by}"
            histogram = self.answers.setdefault(labels, Histogram(BOUNDS_S))
            histogram.add((ts - datetime.fromisoformat(began)).total_seconds())
        elif event == EventKind.DENIED:
            self.sends.pop(order, None)
            for code in _codes(json.loads(said)):
                _bump(self.denials, f"{is_live} {code}")


def _codes(details: Any) -> list[str]:
    """Return the codes of a denial's reasons; one that says none was cut, or is older than reasons."""
    reasons = details.get("reasons", []) if isinstance(details, dict) else []
    return [str(reason["code"]) for reason in reasons if isinstance(reason, dict) and reason.get("code")] or [OTHER]


def _bump(totals: dict[str, int], labels: str) -> None:
    if labels not in totals and len(totals) >= LABELS_MAX:
        labels = " ".join([*labels.split(" ")[:-1], OTHER])
    totals[labels] = totals.get(labels, 0) + 1


def read(rows_max: int) -> tuple[OrderTally, int]:
    """Return the totals, brought up to date with at most ``rows_max`` events, and how many are not in them yet."""
    tally = OrderTally.of(tallies.read(NAME))
    return tally, tally.count(rows_max)


def keep(rows_max: int, within_s: float) -> None:
    """Count at most so many events for at most so long, and keep the totals. Raises django.db.Error."""

    def work(kept: dict[str, Any]) -> dict[str, Any]:
        tally = OrderTally.of(kept)
        tally.count(rows_max, within_s)
        return tally.as_dict()

    if tallies.read(NAME).get("at") != {chain: seq for chain, seq in _heads().items() if seq}:
        tallies.change(NAME, work)


def _heads() -> dict[str, int]:
    return dict(ChainHead.objects.filter(chain__in=(Chain.LIVE, Chain.PAPER)).values_list("chain", "seq"))
