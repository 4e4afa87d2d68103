"""The audit of orders over the API: every row of ``order_events`` as it is kept, with its place in the chain."""

from typing import Annotated, Any

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router
from pydantic import Field

from audit.models import EventKind, OrderEvent
from tradingops.api.auth import caller_of
from tradingops.api.errors import REFUSALS
from tradingops.api.paging import Listing, WindowIn, answer, page_of, within
from tradingops.api.values import DecimalText, Output, RowId, Text, Time, instant_text, text_of

router = Router(tags=["order events"])
VIEW = "audit.view_orderevent"


class EventOut(Output):
    """One step in the life of an order, as it is kept for ever: docs/audit-chain.md says how to verify it."""

    id: RowId
    seq: RowId = Field(description="Its place in its chain, from 1, without gaps; live and paper are two chains.")
    ts: Time
    bot_id: int | None = Field(description="Null for an order that somebody else placed at the venue.")
    client_order_id: str
    venue: str
    symbol: str
    side: str
    ord_type: str
    price: DecimalText | None = Field(description="The limit, or a fill's price, in the quote currency; else null.")
    amount: DecimalText | None = Field(description="Base units: the order's quantity, or a fill's.")
    venue_order_id: str = Field(description="Empty while it is not known, and on paper.")
    event: EventKind
    status: str = Field(description="The order's status after it.")
    reason: str
    is_live: bool = Field(description="True for real orders (1 in the table), false for paper and dry run (0).")
    actor: str
    details: Any = Field(description="What else is kept, such as every reason of a denial; figures are decimal texts.")
    prev_hash: str
    hash: str


class EventPage(Output):
    """One page of order events, newest first."""

    items: list[EventOut]
    next: str | None = Field(description="The cursor of the next page; null on the last.")


class EventsIn(WindowIn):
    """Which events, and which page of them. What is left out is not asked for; the stretch of time is by ``ts``."""

    bot_id: RowId | None = None
    is_live: bool | None = Field(None, description="True: real orders. False: paper and dry run.")
    event: EventKind | None = None
    symbol: Text | None = Field(None, max_length=64, description="In full, such as BTC/USD.")


FILTERS = set(EventsIn.model_fields) - set(WindowIn.model_fields)


@router.get("/order-events", response={200: EventPage, **REFUSALS}, summary="List order events, newest first")
def list_events(request: HttpRequest, asked: Annotated[EventsIn, Query()]) -> HttpResponse:
    """Return one page of the audit of orders. To follow what happens without a gap, use /api/stream."""
    caller_of(request).require(VIEW)
    wanted = asked.model_dump(exclude_none=True, include=FILTERS)
    if asked.is_live is not None:
        wanted["is_live"] = int(asked.is_live)
    listing = Listing("order-events", "ts" if asked.is_window else "")
    rows = OrderEvent.objects.filter(within(asked, "ts"), **wanted)
    events, after = page_of(rows.values_list(*EventOut.model_fields, named=True), listing, asked)
    return answer({"items": [values_of(event) for event in events], "next": after})


def values_of(event: OrderEvent) -> dict[str, Any]:
    """Return what EventOut shows of a row, as JSON has it."""
    return {
        "id": event.id,
        "seq": event.seq,
        "ts": instant_text(event.ts),
        "bot_id": event.bot_id,
        "client_order_id": event.client_order_id,
        "venue": event.venue,
        "symbol": event.symbol,
        "side": event.side,
        "ord_type": event.ord_type,
        "price": text_of(event.price),
        "amount": text_of(event.amount),
        "venue_order_id": event.venue_order_id,
        "event": event.event,
        "status": event.status,
        "reason": event.reason,
        "is_live": bool(event.is_live),
        "actor": event.actor,
        "details": event.details,
        "prev_hash": event.prev_hash,
        "hash": event.hash,
    }
