"""A delivery in words: one message of what was gathered for it."""

from datetime import UTC, datetime
from typing import Any

from safety.notification_models import Delivery
from safety.notifications.messages import EVENTS, Message, Severity

#: What a line of a list quotes of its text.
QUOTED_MAX = 160
#: Up to so many different lines are told with their texts.
TOLD_IN_FULL_MAX = 6


def message_of(delivery: Delivery) -> Message:
    """Return what is sent: the same at every try."""
    lines = delivery.lines
    if len(lines) == 1 and lines[0]["count"] == delivery.count:
        title, text, facts = _single(lines[0])
    else:
        title = f"{heading(delivery.event)}: {delivery.count} messages"
        text, facts = _list(delivery), ()
    return Message(
        event=delivery.event,
        title=title,
        text=text,
        severity=Severity(delivery.severity),
        at=delivery.first_at,
        facts=facts,
        event_id=delivery.event_id,
    )


def heading(event: str) -> str:
    """Return an event in words, without what the preferences say of it."""
    return EVENTS.get(event, event).removesuffix(" (urgent)")


def _single(line: dict[str, Any]) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    facts = tuple((name, value) for name, value in line["facts"])
    if line["subject"]:
        facts = (("About", line["subject"]), *facts)
    if line["count"] == 1:
        return line["title"], line["text"], facts
    times = f"{line['count']} times, from {_clock(line['first_at'])} to {_clock(line['last_at'])}"
    return f"{line['title']} ({line['count']} times)", line["text"], (("How often", times), *facts)


def _list(delivery: Delivery) -> str:
    lines = delivery.lines
    in_full = len(lines) <= TOLD_IN_FULL_MAX
    told = [_told(line, in_full=in_full) for line in lines]
    rest = delivery.count - sum(line["count"] for line in lines)
    if rest > 0:
        told.append(f"• and {rest} more: see Safety, Notifications")
    return "\n".join(told)


def _told(line: dict[str, Any], *, in_full: bool) -> str:
    about = f" ({line['subject']})" if line["subject"] else ""
    often = f", {line['count']} times, the last at {_clock(line['last_at'])}" if line["count"] > 1 else ""
    text = " ".join(line["text"].split())
    if len(text) > QUOTED_MAX:
        text = f"{text[:QUOTED_MAX]}…"
    return f"• {_clock(line['first_at'])} {line['title']}{about}{often}" + (f": {text}" if in_full and text else "")


def _clock(moment: str) -> str:
    return f"{datetime.fromisoformat(moment).astimezone(UTC):%H:%M:%S} UTC"
