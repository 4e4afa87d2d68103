"""Moments in requests: a day, which begins in New York, or RFC 3339 down to the nanosecond."""

from datetime import UTC, date, datetime, timedelta

from tests.loopback.alpaca.hours import midnight
from tests.loopback.alpaca.ledger import NANO, Refused

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(text: str | None) -> datetime | None:
    """Return the moment that a request names, None if it names none. Raises Refused."""
    if not text:
        return None
    try:
        if len(text) == 10:
            return midnight(date.fromisoformat(text))
        # A plus sign that nobody escaped arrives as a space.
        found = datetime.fromisoformat(_to_microseconds(text.replace(" ", "+")))
    except ValueError:
        raise Refused(422, 40010001, "invalid time") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def moment_ns(text: str | None) -> int | None:
    """Return the moment in nanoseconds since 1970, every digit counted: a page begins after the last order's own time."""
    found = moment(text)
    if found is None:
        return None
    whole_s = (found.replace(microsecond=0) - EPOCH) // timedelta(seconds=1)
    return whole_s * NANO + int(_digits(text or "").ljust(9, "0")[:9])


def _digits(text: str) -> str:
    """Return the digits of a second's fraction."""
    rest = text.partition(".")[2]
    return rest[: len(rest) - len(rest.lstrip("0123456789"))]


def _to_microseconds(text: str) -> str:
    """Return a moment's text with no more digits than Python reads."""
    digits = _digits(text)
    return text.replace(f".{digits}", f".{digits[:6]}") if digits else text
