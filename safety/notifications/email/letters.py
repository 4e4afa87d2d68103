"""A message as a plain letter: a subject of one line, a text, and an id by which a mail program tells a repeat."""

from datetime import UTC

from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from safety.notifications.messages import Message, Severity

SUBJECT_MAX = 150
_MARKS = {Severity.URGENT: "URGENT: ", Severity.WARNING: "", Severity.INFO: ""}


def letter(message: Message, sender: str, to: str, connection: BaseEmailBackend) -> EmailMessage:
    """Return the letter to one address. Nothing of the message can add a header or another recipient."""
    headers = {"X-Tradingops-Event": message.event}
    if message.event_id:
        # The same at every try: a mail program shows a repeat once, or not at all.
        headers["Message-ID"] = f"<{one_line(message.event_id)}@tradingops>"
    return EmailMessage(subject(message), text(message), sender, [to], connection=connection, headers=headers)


def subject(message: Message) -> str:
    """Return one line, marked when it is urgent, and cut where mail programs would cut it."""
    found = f"[tradingops] {_MARKS[message.severity]}{one_line(message.title)}"
    return found if len(found) <= SUBJECT_MAX else f"{found[: SUBJECT_MAX - 1]}…"


def text(message: Message) -> str:
    """Return the letter's text: what happened, then the facts, then when and under which id."""
    parts = [message.title, message.text.strip()]
    parts.append("\n".join(f"{one_line(name)}: {one_line(value)}" for name, value in message.facts))
    parts.append(f"Happened at {message.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC.")
    if message.event_id:
        parts.append(f"Event {message.event_id}. The same event twice is the same message sent twice.")
    return "\n\n".join(part for part in parts if part)


def one_line(words: str) -> str:
    """Return a text without line breaks and other control characters."""
    return " ".join("".join(one if one.isprintable() else " " for one in words).split())
