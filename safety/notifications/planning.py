"""What is to be told becomes messages: one transaction a batch puts notifications into deliveries, gathered by event.

A delivery that waits and was never tried takes in what else comes of its event, so that a hundred equal alerts become one with a
count. The first of an event goes at once; what follows gathers for longer and longer, until the event has been quiet for a while.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from safety.notification_models import ChannelState, Delivery, DeliveryStatus, Notification
from safety.notifications import prefs
from safety.notifications.channels import channels
from safety.notifications.messages import Severity

#: Notifications in one transaction.
BATCH_MAX = 500
#: Different lines that one message keeps; the rest is counted.
LINES_MAX = 15
#: How long what follows gathers: from one second, doubling, up to these.
GATHER_S_MIN, GATHER_S_MAX, URGENT_GATHER_S_MAX = 1, 60, 10
#: An event of which nothing was sent for so long starts anew: its next message goes at once.
QUIET_AFTER = timedelta(minutes=5)
#: A message that could not be delivered for so long is given up.
GIVE_UP_AFTER = timedelta(hours=24)
_RANK = {Severity.INFO: 0, Severity.WARNING: 1, Severity.URGENT: 2}


@dataclass(slots=True)
class _Group:
    """The notifications of one batch that go into one message."""

    channel: str
    event: str
    is_urgent: bool
    found: list[Notification] = field(default_factory=list)


def plan(now: datetime, batch_max: int = BATCH_MAX) -> int:
    """Put the oldest notifications that nobody has planned into messages of every channel that wants them.

    Return how many there were; as many as ``batch_max`` means that there may be more. Not inside a transaction.
    """
    if not Notification.objects.filter(planned_at=None).exists():
        return 0
    with transaction.atomic(durable=True):
        _lock_channels()
        batch = list(Notification.objects.filter(planned_at=None).order_by("id")[:batch_max])
        for group in _grouped(batch, _wanting()):
            _add(group, now)
        Notification.objects.filter(pk__in=[one.pk for one in batch]).update(planned_at=now)
    return len(batch)


def _lock_channels() -> None:
    """Let one plan at a time, in all processes: what is planned twice would be told twice."""
    names = sorted(one.name for one in channels())
    ChannelState.objects.bulk_create([ChannelState(name=name) for name in names], ignore_conflicts=True)
    list(ChannelState.objects.select_for_update().filter(name__in=names).order_by("name"))


def _wanting() -> dict[str, frozenset[str]]:
    """Return for each channel that is configured and on the events that it is to carry."""
    wanted = prefs.read()
    events = frozenset(name for name, is_wanted in prefs.events_of(wanted).items() if is_wanted)
    return {one.name: events for one in channels() if one.is_configured() and prefs.is_on(wanted, one.name)}


def _grouped(batch: Iterable[Notification], wanting: dict[str, frozenset[str]]) -> list[_Group]:
    groups: dict[tuple[str, str, bool], _Group] = {}
    for one in batch:
        is_urgent = one.severity == Severity.URGENT
        for channel, events in wanting.items():
            if one.event in events:
                key = (channel, one.event, is_urgent)
                groups.setdefault(key, _Group(*key)).found.append(one)
    return list(groups.values())


def _add(group: _Group, now: datetime) -> None:
    """Add what was found to the message of this event that waits, or begin one."""
    same = Delivery.objects.filter(channel=group.channel, event=group.event)
    same = same.filter(severity=Severity.URGENT) if group.is_urgent else same.exclude(severity=Severity.URGENT)
    # Locked: who claims it to send it comes before this or after it, and then sends what stands in it.
    waiting = same.filter(status=DeliveryStatus.WAITING, attempts=0).select_for_update().order_by("-id").first()
    delivery = waiting or _begun(group, same.order_by("-id").first(), now)
    for one in group.found:
        delivery.severity = max(delivery.severity, one.severity, key=_rank)
        delivery.first_at = min(delivery.first_at, one.created_at)
        delivery.last_at = max(delivery.last_at, one.created_at)
    delivery.count += len(group.found)
    delivery.lines = kept_lines(delivery.lines, group.found)
    delivery.save()


def _begun(group: _Group, last: Delivery | None, now: datetime) -> Delivery:
    """Return a new message of an event, held back if one of it was sent a short while ago."""
    first = group.found[0]
    gather_s, not_before = _gathering(last, now, URGENT_GATHER_S_MAX if group.is_urgent else GATHER_S_MAX)
    # What is kept longer than its cause may hold the id already: a plan that failed for that would silence everything after it.
    is_taken = Delivery.objects.filter(channel=group.channel, event_id=first.event_id).exists()
    return Delivery(
        channel=group.channel,
        event_id=secrets.token_hex(16) if is_taken else first.event_id,
        event=group.event,
        severity=first.severity,
        count=0,
        first_at=first.created_at,
        last_at=first.created_at,
        gather_s=gather_s,
        not_before=not_before,
        give_up_at=now + GIVE_UP_AFTER,
        created_at=now,
    )


def _gathering(last: Delivery | None, now: datetime, longest_s: int) -> tuple[int, datetime | None]:
    """Return for how many seconds the next message gathers after the last one was sent, and until when."""
    sent_at = None if last is None else last.tried_at
    # A moment in the future was written by a clock that was wrong.
    if last is None or sent_at is None or not now - QUIET_AFTER < sent_at <= now + timedelta(seconds=longest_s):
        return 0, None
    gather_s = min(max(GATHER_S_MIN, 2 * last.gather_s), longest_s)
    return gather_s, sent_at + timedelta(seconds=gather_s)


def kept_lines(lines: list[dict[str, Any]], found: Iterable[Notification]) -> list[dict[str, Any]]:
    """Return the lines of a message with more taken in: equal ones counted, the gravest and earliest kept."""
    kept = {(one["title"], one["subject"], one["text"]): dict(one) for one in lines}
    for one in found:
        line = kept.setdefault((one.title, one.subject, one.text), _line(one))
        line["count"] += 1
        line["facts"], line["last_at"] = one.facts, one.created_at.isoformat()
        line["severity"] = max(line["severity"], one.severity, key=_rank)
    # Sorting keeps the order of what is equal, which is that of arrival.
    return sorted(kept.values(), key=lambda line: -_rank(line["severity"]))[:LINES_MAX]


def _line(one: Notification) -> dict[str, Any]:
    at = one.created_at.isoformat()
    names = {"title": one.title, "subject": one.subject, "text": one.text, "facts": one.facts}
    return {**names, "severity": one.severity, "count": 0, "first_at": at, "last_at": at}


def _rank(severity: str) -> int:
    return _RANK[Severity(severity)]
