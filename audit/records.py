"""What a caller tells the audit log, and how it is made ready: cleaned, bounded, in the canonical form but for its place."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.utils import timezone

from audit.chain import Blank, Chain
from audit.decimals import storable
from audit.fields import canonical_json
from audit.models import OrderEvent

TEXT_CHARS_MAX = 4_000
DETAILS_CHARS_MAX = 20_000
DETAILS_CHARS_KEPT = 2_000
EVENTS = frozenset(OrderEvent.Event.values)


def _lengths_max(model: type[Any], names: tuple[str, ...]) -> dict[str, int]:
    return {name: model._meta.get_field(name).max_length for name in names}


ORDER_CHARS_MAX = _lengths_max(
    OrderEvent,
    ("actor", "client_order_id", "ord_type", "reason", "side", "status", "symbol", "venue", "venue_order_id"),
)


@dataclass(frozen=True, slots=True)
class OrderEventRecord:
    """One step of an order, to be recorded. Text that is too long is cut with a mark; ``ts`` None means now."""

    bot_id: int | None
    client_order_id: str
    venue: str
    symbol: str
    side: str
    ord_type: str
    price: Decimal | None
    amount: Decimal | None
    event: str
    status: str
    is_live: bool
    actor: str
    venue_order_id: str = ""
    reason: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    ts: datetime | None = None


@dataclass(frozen=True, slots=True)
class OperatorEventRecord:
    """One act of a person, the API or the automatic safety, to be recorded. ``ts`` None means now."""

    actor: str
    action: str
    object: str
    old: str
    new: str
    reason: str = ""
    ts: datetime | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A row that lacks only its place in the chain; ``values`` are the form's columns, with None for prev_hash and seq."""

    chain: Chain
    values: list[Any]
    blank: Blank


def bounded(text: str, chars_max: int) -> str:
    """Return ``text`` as it can be kept: without what no database takes (NUL, half characters), cut with a mark when too long."""
    if not isinstance(text, str):
        raise TypeError(f"text is due, not {type(text).__name__}")
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    if len(text) <= chars_max:
        return text
    mark = f"…[cut, {len(text)} characters]"
    return (text[: chars_max - len(mark)] + mark)[:chars_max] if chars_max > len(mark) else text[: chars_max - 1] + "…"


def utc_text(moment: datetime) -> str:
    """Return ``moment`` as ``YYYY-MM-DDTHH:MM:SS.ffffffZ``. Raises ValueError when it has no time zone."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")[:26] + "Z"


def database_time(text: str, vendor: str) -> str:
    """Return the canonical time as Django writes times on ``vendor``, so that its filters compare alike."""
    return text if vendor == "postgresql" else f"{text[:10]} {text[11:26]}".removesuffix(".000000")


def _decimal(value: Decimal | None) -> str | None:
    if value is None:
        return None
    if not isinstance(value, Decimal):
        raise TypeError(f"a Decimal is due, not {type(value).__name__}")
    return format(storable(value), "f")


def _details(details: Mapping[str, Any]) -> str:
    text = canonical_json(dict(details))
    if len(text) > DETAILS_CHARS_MAX:
        text = canonical_json({"cut_from_chars": len(text), "start": text[:DETAILS_CHARS_KEPT]})
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def order_values(event: OrderEventRecord) -> list[Any]:
    """Return the column values of ``event``, in the order of ORDER_COLUMNS, with None for prev_hash and seq.

    Raises ValueError or TypeError when one can't be kept exactly.
    """
    if event.event not in EVENTS:
        raise ValueError(f"{event.event!r} is not an order event")
    if not isinstance(event.is_live, bool):
        raise TypeError("is_live is True or False")
    if event.bot_id is not None and type(event.bot_id) is not int:
        raise TypeError("bot_id is a whole number or None")
    texts = {name: bounded(getattr(event, name), chars_max) for name, chars_max in ORDER_CHARS_MAX.items()}
    return [
        texts["actor"], _decimal(event.amount), event.bot_id, texts["client_order_id"], _details(event.details),
        str(event.event), int(event.is_live), texts["ord_type"], None, _decimal(event.price), texts["reason"], None,
        texts["side"], texts["status"], texts["symbol"], utc_text(event.ts or timezone.now()), texts["venue"],
        texts["venue_order_id"],
    ]  # fmt: skip


def prepare_order_event(event: OrderEventRecord) -> Prepared:
    """Return ``event`` ready to be chained. Raises ValueError or TypeError when it can't be kept exactly."""
    values = order_values(event)
    chain = Chain.LIVE if event.is_live else Chain.PAPER
    return Prepared(chain, values, Blank(chain, values))


def prepare_operator_event(event: OperatorEventRecord) -> Prepared:
    """Return ``event`` ready to be chained. Raises ValueError or TypeError when it can't be kept exactly."""
    values = [
        bounded(event.action, 64), bounded(event.actor, 200), bounded(event.new, TEXT_CHARS_MAX), bounded(event.object, 200),
        bounded(event.old, TEXT_CHARS_MAX), None, bounded(event.reason, 2_000), None, utc_text(event.ts or timezone.now()),
    ]  # fmt: skip
    return Prepared(Chain.OPERATOR, values, Blank(Chain.OPERATOR, values))
