"""What is urgent and nobody has seen yet: the count on every page, the panel on the Safety page, and the mark "seen".

It reads the outbox itself, so that it is there with every channel off.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.db import Error
from django.http import HttpRequest
from django.urls import reverse

from safety.notification_models import Notification
from safety.notifications import reading
from safety.notifications.messages import Severity
from safety.notifications.wording import heading
from safety.permissions import CHANGE_NOTIFICATIONS

#: So many are read for the panel; what is older comes up as these are marked.
READ_MAX = 200
#: So many different ones are shown at once.
MATTERS_MAX = 12
COUNT_MAX = 99
#: So many earlier titles of one thing are named.
TITLES_MAX = 3
CACHE = "_console_unseen"


@dataclass(frozen=True, slots=True)
class Place:
    """Where to look: an address of the console and the words of its link."""

    url: str
    words: str


@dataclass(frozen=True, slots=True)
class Matter:
    """Notifications of one event about one subject, as one thing to look at; the words are the latest one's.

    ``numbers`` are all of them, which one press marks as seen; ``titles`` are their different ones, the latest first.
    """

    latest: Notification
    first_at: datetime
    numbers: tuple[int, ...]
    titles: tuple[str, ...]
    place: Place

    @property
    def count(self) -> int:
        """Return how many notifications it stands for."""
        return len(self.numbers)

    @property
    def often(self) -> str:
        """Return how often it came: so many times the same, or as the latest of several that differ."""
        return f"the latest of {self.count}" if len(self.titles) > 1 else f"{self.count} times"

    @property
    def before(self) -> str:
        """Return what was told of it earlier in other words."""
        earlier = self.titles[1 : TITLES_MAX + 1]
        return "; ".join(earlier) + (" and others" if len(self.titles) > TITLES_MAX + 1 else "")

    @property
    def event(self) -> str:
        """Return the event in words."""
        return heading(self.latest.event)

    @property
    def facts(self) -> str:
        """Return what is known of it, on one line."""
        return " · ".join(f"{name}: {value}" for name, value in self.latest.facts)


@dataclass(frozen=True, slots=True)
class Urgent:
    """What the panel shows. ``left_out`` says that there is more than is shown."""

    matters: tuple[Matter, ...]
    left_out: bool

    @property
    def numbers(self) -> tuple[int, ...]:
        """Return every notification that is shown, for one press that marks all of them as seen."""
        return tuple(number for matter in self.matters for number in matter.numbers)


@dataclass(frozen=True, slots=True)
class UnseenCount:
    """How many urgent notifications nobody has seen; more than COUNT_MAX are not counted."""

    count: int

    def __bool__(self) -> bool:
        return self.count > 0

    @property
    def text(self) -> str:
        """Return it as a line of the banner."""
        if self.count > COUNT_MAX:
            return f"More than {COUNT_MAX} urgent messages that nobody has seen."
        return f"{self.count} urgent message{'' if self.count == 1 else 's'} that nobody has seen."


def unseen_of(request: HttpRequest) -> UnseenCount:
    """Return how many wait, read once for a request."""
    if not hasattr(request, CACHE):
        setattr(request, CACHE, unseen_count())
    found: UnseenCount = getattr(request, CACHE)
    return found


def unseen_count() -> UnseenCount:
    """Return how many wait, by one small look at an index. A database that does not answer has its own banner."""
    try:
        waiting = Notification.objects.filter(severity=Severity.URGENT, seen_at=None).order_by()
        return UnseenCount(waiting[: COUNT_MAX + 1].count())
    except Error:
        return UnseenCount(0)


def panel(request: HttpRequest) -> dict[str, Any]:
    """Return what the panel shows, and whether this person may mark it as seen."""
    return {"urgent": urgent(), "may_mark": request.user.has_perm(CHANGE_NOTIFICATIONS)}


def urgent() -> Urgent:
    """Return what nobody has seen, the latest first, with what is about one thing together."""
    found = reading.urgent_unseen(READ_MAX)
    matters = together(found)
    return Urgent(tuple(matters[:MATTERS_MAX]), len(matters) > MATTERS_MAX or len(found) == READ_MAX)


def together(found: Iterable[Notification]) -> list[Matter]:
    """Return notifications by event and subject, in the order of the latest of each; ``found`` is the newest first."""
    gathered: dict[tuple[str, str], list[Notification]] = {}
    for one in found:
        gathered.setdefault((one.event, one.subject), []).append(one)
    return [_matter(ones) for ones in gathered.values()]


def _matter(ones: list[Notification]) -> Matter:
    titles = tuple(dict.fromkeys(one.title for one in ones))
    first_at = min(one.created_at for one in ones)
    return Matter(ones[0], first_at, tuple(one.pk for one in ones), titles, place_of(ones[0]))


def place_of(notification: Notification) -> Place:
    """Return where to look at what a notification is about."""
    event = notification.event
    if event == "reconciliation_mismatch":
        return Place(reverse("admin:console_reconciliation"), "Reconciliation")
    if event == "kill_switch_engaged":
        return Place(reverse("admin:console_halt"), "What came of the halt")
    kind, _, rest = notification.subject.partition(":")
    number = rest.split(" ", 1)[0]
    if kind == "bot" and number.isdecimal() and len(number) < len(str(2**63)):
        return Place(reverse("admin:bots_bot_change", args=[int(number)]), "The bot")
    if kind == "order" and number:
        return Place(f"{reverse('admin:bots_order_changelist')}?{urlencode({'q': number})}", "The order")
    if event == "worker_down":
        return Place(reverse("admin:index"), "Workers on the dashboard")
    return Place(f"{reverse('admin:console_safety')}#checklist", "The checklist")
