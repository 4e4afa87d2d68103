"""The summary of a UTC day: what it brought, paper and live apart, and what needs a person. Told once, late if it must be."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from django.db.models import Count

from audit.models import EventKind, OrderEvent
from bots import equity, uptime
from bots.models import Bot, BotStatus, Order
from bots.order_states import OrderStatus
from bots.reconciliation import differences
from safety import readiness
from safety.intents import Level
from safety.models import TradingState
from safety.notification_models import Delivery, DeliveryStatus, Notification
from safety.notifications.beside import once
from safety.notifications.outbox import tell

EVENT = "daily_summary"
#: After midnight the last prices of the day are still being written down.
AFTER = timedelta(minutes=1)
#: Names or codes of one kind that are listed; the rest is counted.
NAMES_SHOWN = 5
Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Book:
    """What a day brought on paper, or live. ``denials`` counts each code; an order may have been denied by several."""

    pnl_usd: Decimal
    filled: int
    refused: int
    denials: Counter[str]


def is_due(now: datetime) -> bool:
    """Return whether the summary of the day before has not been told yet. Raises django.db.Error."""
    midnight = datetime.combine(now.astimezone(UTC).date(), time(), UTC)
    if now < midnight + AFTER:
        return False
    day = (midnight - timedelta(days=1)).date()
    # A console that was not there yet has nothing to tell of that day.
    return not Notification.objects.filter(event_id=_id_of(day)).exists() and uptime.of_day(day) is not None


def tell_yesterday(now: datetime) -> bool:
    """Tell of the UTC day before ``now``, unless that was done; return whether it is news. Raises django.db.Error."""
    day = now.astimezone(UTC).date() - timedelta(days=1)
    paper, live = of_day(day, is_live=False), of_day(day, is_live=True)
    up = uptime.of_day(day)
    todo = needs_attention()
    title = f"{day}: paper {_signed(paper.pnl_usd)}, live {_signed(live.pnl_usd)}"
    text = "Needs you:\n" + "\n".join(f"- {one}" for one in todo) if todo else "Nothing needs you."
    facts: Facts = (
        ("Profit and loss, paper", _signed(paper.pnl_usd)),
        ("Profit and loss, live", _signed(live.pnl_usd)),
        ("Orders filled", f"paper {paper.filled}, live {live.filled}"),
        ("Refused by a venue", f"paper {paper.refused}, live {live.refused}"),
        ("Denied, paper", _codes(paper.denials)),
        ("Denied, live", _codes(live.denials)),
        ("Workers at work", "not known" if up is None else f"{up.percent_text} of {up.minutes} minutes"),
    )
    return tell(EVENT, f"day:{day}", title, text, facts=facts, at=now, event_id=_id_of(day))


def of_day(day: date, *, is_live: bool) -> Book:
    """Return what a UTC day brought, valued at the last prices before it began and before it ended."""
    starts_at = datetime.combine(day, time(), UTC)
    ends_at = starts_at + timedelta(days=1)
    events = OrderEvent.objects.filter(ts__gte=starts_at, ts__lt=ends_at, is_live=is_live).order_by()
    counts = dict(events.values_list("event").annotate(Count("pk")))
    denials: Counter[str] = Counter()
    for codes, count in events.filter(event=EventKind.DENIED).values_list("reason").annotate(Count("pk")):
        for code in codes.split(", "):
            denials[code] += count
    pnl_usd = equity.pnl_since(starts_at, is_live=is_live) - equity.pnl_since(ends_at, is_live=is_live)
    return Book(pnl_usd, counts.get(EventKind.FILLED, 0), counts.get(EventKind.REJECTED, 0), denials)


def needs_attention() -> list[str]:
    """Return what waits for a person now, in plain words."""
    bots = Bot.objects.exclude(status=BotStatus.ARCHIVED).order_by("name")
    found = [
        f"{one.scope} is {one.level}: {one.reason}"[:300]
        for one in TradingState.objects.exclude(level=Level.ACTIVE).order_by("scope")[:NAMES_SHOWN]
    ]
    if count := Order.objects.filter(status=OrderStatus.UNKNOWN).count():
        found.append(f"orders whose outcome nobody knows: {count}")
    if count := differences.open_ones().count():
        found.append(f"differences between our books and a venue: {count} (see Reconciliation)")
    if held := list(bots.exclude(entries_held="").values_list("name", flat=True)):
        found.append(f"bots whose entries are held: {_some(held)}")
    if failed := list(bots.exclude(last_error="").values_list("name", flat=True)):
        found.append(f"bots that failed: {_some(failed)}")
    if count := Delivery.objects.filter(status=DeliveryStatus.DEAD).count():
        found.append(f"messages that could not be delivered: {count} (see Safety, Notifications)")
    if bots.filter(dry_run=False).exists() and (blockers := _blockers()):
        found.append(f"live entries are shut by readiness: {_some(blockers)}")
    return found


def _blockers() -> list[str]:
    row = readiness.last_run()
    if row is None or row.finished_at is None:
        return ["no readiness run"]
    return [
        f"{one.title} ({one.venue})" if one.venue else one.title for one in readiness.findings_of(row) if one.blocks
    ]


def _id_of(day: date) -> str:
    return once(EVENT, day.isoformat())


def _codes(denials: Counter[str]) -> str:
    top = [f"{code} {count}" for code, count in sorted(denials.items(), key=lambda one: (-one[1], one[0]))]
    return _some(top) if top else "none"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def _signed(value: Decimal) -> str:
    # Plus nothing: a figure that rounds to zero is not called minus zero.
    return f"{value.quantize(Decimal('0.01')) + 0:+,.2f} USD"
