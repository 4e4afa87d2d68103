"""An order's story, step by step as it was written down: wanted, judged, sent, answered, filled, cancelled, and what is done now.

Rows in, plain values out. Nothing is asked of a venue or of the database here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation, localcontext

from audit import figures
from audit.models import EventKind, OrderEvent
from bots.books import EXACT
from bots.models import Fill, Order
from bots.order_states import OPEN_STATES, RESTING_STATES, OrderStatus
from safety.controls import CONTROLS
from safety.intents import Side

#: How many steps a page shows of an order with very many fills: so many from the beginning, and so many from the end.
STEPS_SHOWN = 60
BASIS_POINTS = Decimal(10_000)
#: An order that ended is watched a while longer on its page: a venue may tell of a fill after it told of the cancel.
WATCHED_FOR = timedelta(minutes=2)
SOON = timedelta(seconds=1)
MINUTES_FROM_S = 120


@dataclass(frozen=True, slots=True)
class Step:
    """One step: when it was written down (UTC), how long after the step before, and what it says.

    ``tone`` is empty, ``good``, ``warn`` or ``bad``. ``event_id`` is the audit row that tells of it.
    """

    at: datetime
    since: str
    title: str
    lines: tuple[str, ...]
    tone: str
    event_id: int

    @property
    def clock(self) -> str:
        """Return the time of day in UTC, to the millisecond."""
        return clock(self.at)


@dataclass(frozen=True, slots=True)
class Slippage:
    """What was paid or got against the quote when the order was wanted. Above zero is worse for us, in bps and in USD."""

    bps: Decimal
    usd: Decimal
    quoted: Decimal


@dataclass(frozen=True, slots=True)
class Story:
    """An order's steps, oldest first, with ``left_out`` in the middle; what is done about it ``now``, while that is open."""

    steps: tuple[Step, ...]
    later_steps: tuple[Step, ...]
    left_out: int
    now: tuple[str, ...]
    slippage: Slippage | None
    is_open: bool
    is_watched: bool


@dataclass(frozen=True, slots=True)
class Care:
    """How the rounds care for an order at a venue: how often they look one up, and when they give up on one that is not there."""

    unknown_every: timedelta
    cancel_every: timedelta
    grace: timedelta
    empty_look_ups_min: int
    not_sent_after: timedelta
    missed_min: int


@dataclass(slots=True)
class _Told:
    """What was told so far: the quantity filled, and what a later step refers to."""

    order: Order
    fills: Mapping[str, Fill]
    filled: Decimal = Decimal(0)
    is_decided: bool = False
    unknown_at: datetime | None = None


def story(order: Order, events: Sequence[OrderEvent], fills: Sequence[Fill], now: datetime, care: Care) -> Story:
    """Return the story of ``order`` from its audit rows (oldest first) and its fills. ``care`` is what the sweep's rounds do."""
    told = _Told(order, {fill.trade_id: fill for fill in fills})
    steps: list[Step] = []
    for event in events:
        before = steps[-1].at if steps else None
        for title, lines, tone in _told_of(event, told):
            shown = tuple(line for line in lines if line)
            steps.append(Step(event.ts, _since(before, event.ts), title, shown, tone, event.pk))
            before = event.ts
    left_out = max(0, len(steps) - 2 * STEPS_SHOWN)
    is_open = order.status in OPEN_STATES
    return Story(
        steps=tuple(steps[:STEPS_SHOWN] if left_out else steps),
        later_steps=tuple(steps[-STEPS_SHOWN:]) if left_out else (),
        left_out=left_out,
        now=tuple(_now(order, now, care)) if is_open else (),
        slippage=slippage(order, events),
        is_open=is_open,
        is_watched=is_open or now - order.updated_at < WATCHED_FOR,
    )


def slippage(order: Order, events: Sequence[OrderEvent]) -> Slippage | None:
    """Return what the fills cost against the far side of the quote at the intent, or None without fills or a sound quote."""
    wanted = next((event for event in events if event.event == EventKind.INTENT), None)
    if wanted is None or order.average_price is None or not isinstance(wanted.details, dict):
        return None
    quoted = _figure(wanted.details.get("ask" if order.side == Side.BUY else "bid"))
    return None if quoted is None else slipped(order.side, order.filled_quantity, order.filled_notional, quoted)


def slipped(side: str, quantity: Decimal, notional: Decimal, quoted: Decimal) -> Slippage:
    """Return what ``quantity`` for ``notional`` (both above zero) cost against ``quoted`` a unit."""
    with localcontext(EXACT):
        worse = notional - quantity * quoted if side == Side.BUY else quantity * quoted - notional
        return Slippage(worse / (quantity * quoted) * BASIS_POINTS, worse, quoted)


_Line = tuple[str, tuple[str, ...], str]


def _told_of(event: OrderEvent, told: _Told) -> list[_Line]:
    """Return what one audit row says: title, lines and tone; the row of a send says two things."""
    kind = event.event
    if kind == EventKind.INTENT:
        return [_wanted(event, told.order)]
    if kind == EventKind.DENIED:
        return [_denied(event, told)]
    if kind == EventKind.SUBMITTING:
        told.is_decided = True
        return _judged_and_sent(told.order)
    if kind in (EventKind.FILLED, EventKind.PARTIALLY_FILLED):
        return [_filled(event, told)]
    if kind == EventKind.UNKNOWN:
        told.unknown_at = event.ts
        return [("Outcome not known", (_sentence(event.reason), NOBODY_KNOWS), "bad")]
    if kind == EventKind.ADOPTED:
        after = "" if told.unknown_at is None else f"{_length(event.ts - told.unknown_at)} after its outcome was lost."
        return [("Found at the venue", (f"It was looked for and is adopted as ours. {after}",), "good")]
    return [_plain(event, told)]


NOBODY_KNOWS = "It may be at the venue or not. It is not sent again; the venue is asked until that is clear."


def _plain(event: OrderEvent, told: _Told) -> _Line:
    """Return what an answer of the venue, or a wish to cancel, says."""
    venue, reason = told.order.venue, _sentence(event.reason)
    left = told.order.quantity - told.filled
    rest = f"{figures.quantity(left)} of {figures.quantity(told.order.quantity)} was not filled."
    its_id = f"Its id there: {event.venue_order_id}." if event.venue_order_id else ""
    known: dict[str, _Line] = {
        EventKind.ACCEPTED: (f"Taken by {_place(told.order)}", (its_id, _waits(told.order), reason), "good"),
        EventKind.REJECTED: (f"Refused by {venue}", (reason, "Nothing of it was placed."), "bad"),
        EventKind.CANCEL_REQUESTED: ("Cancel asked for", (f"By {event.actor}. {reason}".strip(),), ""),
        EventKind.CANCELED: ("Cancelled", (reason, rest), "warn"),
        EventKind.EXPIRED: ("Expired", (reason, rest), "warn"),
        EventKind.NOT_SENT: (
            "Was never placed",
            (reason, "Should it turn up after all, it is adopted, and the bot's entries wait for a person."),
            "bad",
        ),
        EventKind.EXTERNAL: (
            "Seen at the venue",
            ("Somebody else placed it on this account; we do not touch it.", reason),
            "warn",
        ),
    }
    return known.get(event.event, (str(event.event).replace("_", " ").capitalize(), (reason,), ""))


def _wanted(event: OrderEvent, order: Order) -> _Line:
    at = "at the market" if order.limit_price is None else f"at {figures.price(order.limit_price)} or better"
    what = f"{order.side} {figures.quantity(order.quantity)} {order.symbol} {at}"
    details = event.details if isinstance(event.details, dict) else {}
    bid, ask = _figure(details.get("bid")), _figure(details.get("ask"))
    quoted = f"Quoted then: bid {_price(bid)}, ask {_price(ask)}, from {details.get('quote_source', 'nobody')}."
    by = f"By {event.actor}" + (f", leg {order.leg}" if order.leg else "")
    return "Wanted", (f"{what[0].upper()}{what[1:]}.", f"{by}. {_sentence(event.reason)}".strip(), quoted), ""


def _denied(event: OrderEvent, told: _Told) -> _Line:
    why = event.why
    if told.is_decided and event.reason == "DUPLICATE_ORDER":
        return "Asked for again, and denied", (why, "This order stands as it was."), "warn"
    if isinstance(event.details, dict) and event.details.get("what") == "cancel":
        return (
            "Cancel asked for, and denied",
            (f"By {event.actor}. {why}", "The venue was not asked: the order stands."),
            "warn",
        )
    # After the claim it was halted, or its time had run out, before anything left this house.
    title = "Held back before it was sent" if told.is_decided else "Judged: denied"
    told.is_decided = True
    return title, (why, "Nothing was sent."), "warn"


def _judged_and_sent(order: Order) -> list[_Line]:
    judged: _Line = ("Judged: allowed", (f"None of the {len(CONTROLS)} controls denied it.",), "good")
    if order.deadline_at is None:
        return [judged, ("Given to the paper broker", ("Built in; nothing leaves this console.",), "")]
    late = f"{order.venue} has until {clock(order.deadline_at)} to take it. It is sent once at most."
    return [judged, (f"Being sent to {_place(order)}", (late,), "")]


def _filled(event: OrderEvent, told: _Told) -> _Line:
    """Return what an execution says, with all that is filled by then."""
    is_last = event.event == EventKind.FILLED
    title = "Filled" if is_last else "Filled in part"
    details = event.details if isinstance(event.details, dict) else {}
    if "trade_id" not in details:
        # A venue may say that it filled before it lists what.
        return title, (_sentence(event.reason), "The venue did not say at what price yet."), "warn"
    quantity, price = event.amount or Decimal(0), event.price
    told.filled += quantity
    left = told.order.quantity - told.filled
    kind = "maker" if details.get("is_maker") else "taker"
    what = f"{figures.quantity(quantity)} at {_price(price)}, fee {figures.fee(_figure(details.get('fee')))}, {kind}."
    sum_up = f"{figures.quantity(told.filled)} of {figures.quantity(told.order.quantity)} filled"
    sum_up += "." if left <= 0 else f", {figures.quantity(left)} left."
    fill = told.fills.get(str(details["trade_id"]))
    traded = "" if fill is None or told.order.deadline_at is None else f"Traded at {clock(fill.filled_at)} there."
    return title, (what, sum_up, traded), "good"


def _now(order: Order, now: datetime, care: Care) -> list[str]:
    """Return what is done about an open order at this moment, and what comes next."""
    if order.deadline_at is None:
        return [f"It rests on paper with {figures.quantity(order.remaining_quantity)} left; the bot's ticks try it."]
    if order.status == OrderStatus.UNKNOWN:
        return _now_unknown(order, now, care)
    if order.status in RESTING_STATES:
        return _now_resting(order, now, care)
    given_up = clock(order.deadline_at + care.grace)
    return [
        (
            f"It is on its way. When nobody has said by {given_up} what became of it, its outcome counts as unknown and "
            f"{order.venue} is asked."
        )
    ]


def _now_unknown(order: Order, now: datetime, care: Care) -> list[str]:
    times = order.empty_look_ups
    found = "No look-up has ended yet." if not times else f"{times} whole look-up{'s' * (times > 1)} did not find it."
    given_up = clock((order.deadline_at or order.created_at) + care.not_sent_after)
    return [
        f"We do not know whether {order.venue} has this order. It counts in full against every limit meanwhile.",
        f"{found} {_asked(order, now, care.unknown_every)}",
        (
            f"Found, it is adopted with all its fills. After {care.empty_look_ups_min} whole look-ups without it, the last not "
            f"before {given_up}, it counts as never placed."
        ),
    ]


def _now_resting(order: Order, now: datetime, care: Care) -> list[str]:
    rests = f"It rests at {_place(order)} with {figures.quantity(order.remaining_quantity)} left."
    if order.missed_since is not None:
        return [_now_missing(order, care)]
    if order.cancel_requested_at is None:
        return [f"{rests} {order.venue} is asked for its fills every little while."]
    return [
        (
            f"{rests} Its cancel was asked for {figures.age(order.cancel_requested_at, now)} and is sent until {order.venue} "
            f"says what became of it: it may still fill. {_asked(order, now, care.cancel_every)}"
        )
    ]


def _now_missing(order: Order, care: Care) -> str:
    """Return what is done about an order that rests, as far as we know, and that its venue does not have."""
    times = order.empty_look_ups
    told = "A person settles it on the Reconciliation page."
    if times < care.missed_min:
        told = f"After {care.missed_min} of them, over a minute, it is put before a person."
    return (
        f"{order.venue.capitalize()} does not list it, and {times} whole look-up{'s' * (times != 1)} since "
        f"{clock(order.missed_since or order.updated_at)} did not find it. It may still fill, and counts in full. {told}"
    )


def _asked(order: Order, now: datetime, every: timedelta) -> str:
    if order.looked_up_at is None:
        return "The venue is asked within seconds."
    next_at = order.looked_up_at + every
    when = "is due now" if next_at <= now + SOON else f"about {clock(next_at)}"
    return f"Last asked at {clock(order.looked_up_at)}; the next time {when}."


def _place(order: Order) -> str:
    if order.deadline_at is None:
        return "the paper broker"
    return order.venue if order.is_live else f"{order.venue} (its paper account)"


def _waits(order: Order) -> str:
    return "" if order.limit_price is None else f"It waits there for {figures.price(order.limit_price)} or better."


def _sentence(text: str) -> str:
    """Return a reason as a sentence of its own."""
    text = text.strip()
    return text if not text or text[-1] in ".!?…" else f"{text[0].upper()}{text[1:]}."


def _price(value: Decimal | None) -> str:
    return figures.price(value)


def _figure(text: object) -> Decimal | None:
    """Return the figure that an audit row keeps as text, or None when it is no number above or at zero."""
    try:
        value = Decimal(str(text))
    except InvalidOperation:
        return None
    return value if value.is_finite() else None


def clock(moment: datetime) -> str:
    """Return the time of day of a UTC moment, to the millisecond."""
    return f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03}"


def _since(before: datetime | None, at: datetime) -> str:
    """Return how long after the step before a step was; the first one has none."""
    if before is None:
        return ""
    return f"+{_length(at - before)}" if at >= before else f"-{_length(before - at)}"


def _length(length: timedelta) -> str:
    """Return a length of time: ``0.045 s``, ``1.2 s``, ``3 min``."""
    seconds = length / timedelta(seconds=1)
    if seconds >= MINUTES_FROM_S:
        return figures.duration(int(seconds))
    return f"{seconds:.3f} s" if seconds < 1 else f"{seconds:.1f} s"
