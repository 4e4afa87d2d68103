"""A message as Discord takes it: within its bounds, with nothing in it that formats, links or calls people.

Source of the bounds: Discord's documentation of webhooks and embeds, read 2026-11 (docs/venues.md names them). What counts as a
character is not said; UTF-16 units are the most that it can be, so those are counted.
"""

from typing import Any

from safety.notifications.messages import Message, Severity

TITLE_MAX, DESCRIPTION_MAX, FIELDS_MAX, NAME_MAX, VALUE_MAX, ALL_MAX = 256, 4_096, 25, 256, 1_024, 6_000
FOOTER_MAX = 80
COLOURS = {Severity.INFO: 0x3B82F6, Severity.WARNING: 0xF59E0B, Severity.URGENT: 0xDC2626}
#: What Discord reads as formatting, links or mentions; a backslash before it makes it plain.
_FORMATTING = frozenset("\\*_~`|>#[]()<@-+:")
_CUT = "…"
#: Discord refuses a field without a text.
_NOTHING = "–"


def payload(message: Message) -> dict[str, Any]:
    """Return the body of a webhook's POST. No mention in it calls anybody, whatever its texts hold."""
    left = ALL_MAX
    if message.event_id:
        # First: it tells a repeat, whatever else is cut. A footer is not formatted, so nothing in it needs a backslash.
        footer = {"text": f"event {message.event_id}"[:FOOTER_MAX]}
        left -= _length(footer["text"])
    title, left = _fit(message.title, TITLE_MAX, left)
    description, left = _fit(message.text, DESCRIPTION_MAX, left)
    fields = []
    for name, value in message.facts[:FIELDS_MAX]:
        if left < NAME_MAX:
            break
        shown_name, left = _fit(name, NAME_MAX, left)
        shown_value, left = _fit(value, VALUE_MAX, left)
        fields.append({"name": shown_name, "value": shown_value, "inline": True})
    embed = {
        "title": title,
        "description": description,
        "color": COLOURS[message.severity],
        "timestamp": message.at.isoformat(),
        "fields": fields,
    }
    if message.event_id:
        embed["footer"] = footer
    return {"embeds": [embed], "allowed_mentions": {"parse": []}}


def escaped(text: str) -> str:
    """Return a text with every character of Discord's formatting made plain."""
    return "".join(f"\\{one}" if one in _FORMATTING else one for one in text)


def _fit(text: str, bound: int, left: int) -> tuple[str, int]:
    """Return a text, escaped and cut to a bound, and how many characters are left for the rest of the message."""
    bound = max(min(bound, left), 1)
    found = escaped(text.strip() or _NOTHING)
    if _length(found) > bound:
        kept, length = [], len(_CUT)
        for one in text.strip():
            piece = escaped(one)
            length += _length(piece)
            if length > bound:
                break
            kept.append(piece)
        found = "".join(kept) + _CUT
    return found, left - _length(found)


def _length(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
