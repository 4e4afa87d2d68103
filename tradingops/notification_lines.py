"""The outbox in plain words: how each channel does, and what became of each message."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from audit import figures
from safety.notification_models import Delivery, DeliveryStatus
from safety.notifications import heartbeat, reading
from safety.notifications.reading import ChannelView
from safety.notifications.wording import heading, message_of

CHANNEL_NAMES = {"discord": "Discord", "email": "Email"}
VARIABLES = {"discord": "DISCORD_WEBHOOK_URL", "email": "EMAIL_URL and ALERT_EMAIL_TO"}
#: It is called each minute; two calls may have been slow.
PING_OLD_AFTER = timedelta(minutes=3)


class Sign(StrEnum):
    """The word before a line, and the colour that it has."""

    WORKS = "ok"
    FAILS = "shut"
    LOOK = "look"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class ChannelLine:
    """One channel: a word with a colour, and what is so and what to do in sentences."""

    view: ChannelView
    sign: Sign
    word: str
    text: str

    @property
    def name(self) -> str:
        """Return the channel's name for people."""
        return name_of(self.view.name)


@dataclass(frozen=True, slots=True)
class PingLine:
    """The sign of life to another machine, as a line beside the channels."""

    sign: Sign
    word: str
    text: str
    name: str = "Heartbeat"


@dataclass(frozen=True, slots=True)
class MessageLine:
    """One message for one channel, and what became of it."""

    delivery: Delivery
    channel: str
    event: str
    title: str
    sign: Sign
    word: str
    text: str


def name_of(channel: str) -> str:
    """Return a channel's name for people."""
    return CHANNEL_NAMES.get(channel, channel.capitalize())


def channel_lines(now: datetime) -> list[ChannelLine]:
    """Return every channel with how it does, as of ``now``."""
    return [channel_line(view, now) for view in reading.channel_views(now)]


def channel_line(view: ChannelView, now: datetime) -> ChannelLine:
    """Return one channel in words, which go on after its name. What stops messages comes before what is worth knowing."""
    waiting = _waiting(view, now)
    if not view.is_configured:
        text = f"is not configured: set {VARIABLES.get(view.name, 'its variables')} in .env, and restart.{waiting}"
        return ChannelLine(view, Sign.OFF, "not configured", text)
    if not view.is_on:
        return ChannelLine(view, Sign.OFF, "off", "is switched off in the preferences. Nothing is sent to it.")
    if view.failing_since is not None:
        return ChannelLine(view, Sign.FAILS, "fails", f"{failure(view, now)}{waiting}")
    if view.delivered_at is None:
        text = f"is configured, and no alarm has gone out yet. Send a test message to see whether it works.{waiting}"
        return ChannelLine(view, Sign.LOOK, "not tried", text)
    text = f"works; the last message went out {figures.age(view.delivered_at, now)}.{waiting}"
    return ChannelLine(view, Sign.WORKS, "works", text)


def heartbeat_line(now: datetime) -> PingLine:
    """Return what became of the last call of HEARTBEAT_URL. A good one that is old is no sign of life any more."""
    ping = heartbeat.last()
    if not heartbeat.is_configured():
        text = "is not set. With HEARTBEAT_URL in .env another machine learns it when this one is dead."
        return PingLine(Sign.OFF, "not configured", text)
    if ping is None:
        text = "is set, and was not called yet. The workers call it each minute while all is well."
        return PingLine(Sign.LOOK, "not tried", text)
    called = figures.age(ping.at, now)
    if now - ping.at > PING_OLD_AFTER:
        text = f"was last called {called}; it ought to be called each minute. Look at the workers on the dashboard."
        return PingLine(Sign.FAILS, "silent", text)
    if ping.is_ok:
        return PingLine(Sign.WORKS, "works", f"was called {called}, and it answered.")
    return PingLine(
        Sign.FAILS, "silent", f"failed {called}: {ping.detail} The last good call: {figures.age(ping.ok_at, now)}."
    )


def failing(lines: list[ChannelLine], now: datetime) -> list[str]:
    """Return a line for each channel that takes no messages: since when, how many wait, and what to do."""
    return [_stuck(one, now) for one in lines if one.sign == Sign.FAILS]


def _stuck(line: ChannelLine, now: datetime) -> str:
    waiting = f"{line.view.waiting} waiting" if line.view.waiting else "none is waiting just now"
    return f"Messages to {line.name} wait since {_when(line.view.failing_since, now)}: {waiting}. {line.view.detail}".strip()


def failure(view: ChannelView, now: datetime) -> str:
    """Return since when a channel takes nothing, what it answered, and when it is tried again."""
    since = f"has not taken messages since {_when(view.failing_since, now)}"
    again = "" if view.next_try_at is None else f" It is tried again at {_clock(view.next_try_at)}."
    return f"{since}: {view.detail or 'it gave no reason.'}{again}"


def message_line(delivery: Delivery, now: datetime) -> MessageLine:
    """Return one message with what became of it."""
    sign, word, text = _became(delivery, now)
    title = message_of(delivery).title
    return MessageLine(delivery, name_of(delivery.channel), heading(delivery.event), title, sign, word, text)


def _became(delivery: Delivery, now: datetime) -> tuple[Sign, str, str]:
    tries = f"{delivery.attempts} tries" if delivery.attempts > 1 else ""
    if delivery.status == DeliveryStatus.DELIVERED:
        at = figures.age(delivery.delivered_at, now) if delivery.delivered_at else ""
        return Sign.WORKS, "delivered", ", after ".join(text for text in (at, tries) if text)
    if delivery.status == DeliveryStatus.DEAD:
        return (
            Sign.FAILS,
            "given up",
            " ".join(text for text in (f"After {tries}:" if tries else "", delivery.detail) if text),
        )
    if delivery.status == DeliveryStatus.DROPPED:
        return Sign.OFF, "not sent", delivery.detail
    return Sign.LOOK, "waiting", _waits_for(delivery, now)


def _waits_for(delivery: Delivery, now: datetime) -> str:
    if delivery.claimed_until is not None and delivery.claimed_until > now:
        return "It is being sent."
    if delivery.attempts:
        times = "once" if delivery.attempts == 1 else f"{delivery.attempts} times"
        return f"Tried {times}, the last {figures.age(delivery.tried_at, now)}: {delivery.detail}"
    if delivery.not_before is not None and delivery.not_before > now:
        return f"Held until {_clock(delivery.not_before)}: quiet hours, or it gathers what else comes."
    return "It goes as soon as its channel takes it."


def _waiting(view: ChannelView, now: datetime) -> str:
    if not view.waiting:
        return ""
    since = "" if view.oldest_at is None else f", the oldest from {_when(view.oldest_at, now)}"
    return f" {view.waiting} message{' waits' if view.waiting == 1 else 's wait'}{since}."


def _when(moment: datetime | None, now: datetime) -> str:
    """Return a moment as people say it: the time alone for today's, the day too for others, and how long ago."""
    if moment is None:
        return "an unknown time"
    at = moment.astimezone(UTC)
    day = "" if at.date() == now.astimezone(UTC).date() else f"{at:%Y-%m-%d} "
    return f"{day}{at:%H:%M} UTC ({figures.age(moment, now)})"


def _clock(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%H:%M:%S} UTC"
