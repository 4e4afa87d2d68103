"""How far the reading of an account's history has come, in plain values.

One way through the three lists is a ``Pass``. It may take several rounds: each part that was read is counted, and the place where
the next one begins is kept in the database, so that any process goes on there. Only a pass that began and ended within one round
tells all that happened until then, and lets figures be judged.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from bots.brokers.base import ListedFill, ListedOrder, Transfer
from bots.brokers.parts import Part
from bots.models import AccountSync

#: A venue may list something late: so much of what was read before is read again. Everything counts once by its id.
OVERLAP = timedelta(minutes=10)
#: What follows a pass that took several rounds begins so long before its end: the venue's clock may be behind ours. What is
#: listed later than that is found by the next pass that overlaps as usual.
SEAM = timedelta(minutes=2)
#: A history that takes a round more than usual keeps nobody waiting; after so long it is a long one, and entries wait for it.
SHORT = timedelta(seconds=30)
#: How what is told of it begins.
READING = "reading the account's history"


class Step(StrEnum):
    """The list that a pass is at. Orders come first: those lists say whose a fill is."""

    ORDERS = "orders"
    FILLS = "fills"
    TRANSFERS = "transfers"
    DONE = "done"

    @property
    def next(self) -> "Step":
        """Return the list that comes after this one."""
        steps = list(Step)
        return steps[steps.index(self) + 1]


@dataclass(frozen=True, slots=True)
class Pass:
    """One way through the lists, for what happened from ``since`` to ``until``, when it began.

    ``step`` is the list that it is at, ``place`` where the next part of that begins, ``upto`` until when it was read. ``again``
    is from when on the next pass has to begin, since a fill could not be told to be ours or not. ``is_sequel``: it only goes on
    from one that took several rounds, so that an account on which much happens comes to its end.
    """

    since: datetime
    until: datetime
    step: Step = Step.ORDERS
    place: str = ""
    upto: datetime | None = None
    again: datetime | None = None
    is_sequel: bool = False

    @property
    def is_new(self) -> bool:
        """Return whether nothing was read yet."""
        return self.step == Step.ORDERS and not self.place

    def after(self, part: Part[ListedOrder] | Part[ListedFill] | Part[Transfer]) -> "Pass":
        """Return the pass once this part is read."""
        if part.is_last:
            return replace(self, step=self.step.next, place="", upto=None)
        return replace(self, place=part.place, upto=part.upto or self.upto)


def begin(sync: AccountSync, now: datetime) -> Pass:
    """Return a pass through what happened since the last one, and a little before that."""
    since = min(sync.history_since or now - OVERLAP, now - OVERLAP)
    if sync.reading_since is None or sync.history_at is None or sync.history_at < sync.reading_since - OVERLAP:
        return Pass(since, until=now)
    return Pass(max(since, min(sync.history_at, now) - SEAM), until=now, is_sequel=True)


def under_way(sync: AccountSync) -> Pass | None:
    """Return the pass that earlier rounds did not finish; None when there is none, or it can't be read: then it begins anew."""
    kept: Mapping[str, str] = sync.reading
    try:
        return Pass(
            since=datetime.fromisoformat(kept["since"]),
            until=datetime.fromisoformat(kept["until"]),
            step=Step(kept["step"]),
            place=kept["place"],
            upto=_moment(kept["upto"]),
            again=_moment(kept["again"]),
            is_sequel=bool(kept["is_sequel"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


def told(sync: AccountSync | None) -> str:
    """Return how far the reading of a long history has come, for people; an empty text while none is under way."""
    if sync is None or sync.reading_since is None:
        return ""
    if not sync.reading:
        return f"{READING}: what came in meanwhile comes next"
    found = under_way(sync)
    if found is None:
        return READING
    what = {Step.FILLS: "trades", Step.TRANSFERS: "deposits, withdrawals and the like"}.get(
        found.step, "orders that ended"
    )
    if found.upto is None:
        return f"{READING} since {_shown(found.since)}: {what} come next"
    return f"{READING}: {what} up to {_shown(found.upto)} so far"


def holds_entries(sync: AccountSync | None, now: datetime) -> str:
    """Return why entries wait for the account's history, or an empty text. A clock that was set back lets nobody through."""
    if sync is None or sync.reading_since is None or timedelta(0) <= now - sync.reading_since < SHORT:
        return ""
    return told(sync)


def plain(read: Pass) -> dict[str, str]:
    """Return a pass as it is kept."""
    moments = {name: getattr(read, name) for name in ("since", "until", "upto", "again")}
    texts = {name: "" if at is None else at.isoformat() for name, at in moments.items()}
    return {**texts, "step": read.step, "place": read.place, "is_sequel": "yes" if read.is_sequel else ""}


def _moment(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _shown(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
