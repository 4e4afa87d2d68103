"""Orders over the API once they are made: looked at, one or many, and asked back."""

from http import HTTPStatus
from typing import Annotated

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from ninja import Path, Query
from pydantic import Field

from bots.hand_cancels import cancel_by_hand
from bots.models import Order, Venue
from bots.order_states import OrderStatus
from safety.intents import Side
from safety.permissions import OPERATE_BOT
from tradingops.api import orders
from tradingops.api.auth import caller_of
from tradingops.api.bot_acts import NO_REASON, ReasonIn
from tradingops.api.errors import REFUSALS, Refused
from tradingops.api.order_shapes import COLUMNS, OrderOut, OrderPage, shown, values_of
from tradingops.api.paging import Listing, WindowIn, answer, answer_written, page_of, refuse_parameters, within, written
from tradingops.api.values import RowId, Text
from tradingops.shared import SharedByQuestion

#: The same as of those that place orders: one path has one router.
router = orders.router
VIEW = "bots.view_order"
CANCEL_REASON = "cancelled over the API"
OrderId = Annotated[Text, Path(max_length=64, description="The client order id.", examples=["mx3q7k5d2hw4ytz6ab"])]


class OrdersIn(WindowIn):
    """Which orders, and which page of them. What is left out is not asked for; the stretch of time is by ``created_at``."""

    bot_id: RowId | None = None
    venue: Venue | None = None
    symbol: Text | None = Field(None, max_length=30, description="In full, such as BTC/USD.")
    status: OrderStatus | None = None
    is_live: bool | None = Field(None, description="True: real money. False: paper.")
    side: Side | None = None


FILTERS = set(OrdersIn.model_fields) - set(WindowIn.model_fields)


@router.get("/orders", response={200: OrderPage, **REFUSALS}, summary="List orders, newest first")
def list_orders(request: HttpRequest, asked: Annotated[OrdersIn, Query()]) -> HttpResponse:
    """Return one page of orders. In a stretch of time they come by ``created_at``, else by the order they were kept in."""
    caller_of(request).require(VIEW)
    return answer_written(_pages.get(asked))


def _page(asked: OrdersIn) -> bytes:
    """Return a page of orders as they stand, as JSON: the same for everyone who may see orders."""
    rows = Order.objects.filter(within(asked, "created_at"), **asked.model_dump(exclude_none=True, include=FILTERS))
    listing = Listing("orders", "created_at" if asked.is_window else "")
    found, after = page_of(rows.values_list(*COLUMNS, named=True), listing, asked)
    return written({"items": [values_of(order) for order in found], "next": after})


#: Those who ask for the same page at the same time share one reading, which began after each of them asked.
_pages: SharedByQuestion[OrdersIn, bytes] = SharedByQuestion(_page)


@router.get("/orders/{client_order_id}", response={200: OrderOut, **REFUSALS}, summary="Look at one order")
def read_order(request: HttpRequest, client_order_id: OrderId) -> HttpResponse:
    """Return one order as it stands."""
    caller_of(request).require(VIEW)
    refuse_parameters(request)
    return answer(shown(get_object_or_404(Order, client_order_id=client_order_id)))


@router.post("/orders/{client_order_id}/cancel", response={200: OrderOut, **REFUSALS}, summary="Cancel an order")
def cancel_order(request: HttpRequest, client_order_id: OrderId, payload: ReasonIn = NO_REASON) -> HttpResponse:
    """Ask an order back, and return it as it then stands.

    A status of ``canceled`` is certain. An order that still rests, with ``cancel_requested_at`` set, may fill: the venue has not
    confirmed the cancel, and is asked again until it does. 409 when it has ended already, or is still under way. A live one
    takes the gates of the environment and the keys, and never the trading state: a halt keeps no order at its venue.
    """
    asker = caller_of(request)
    asker.require(OPERATE_BOT)
    order = get_object_or_404(Order, client_order_id=client_order_id)
    if order.is_live:
        asker.require_on_live(raises_risk=False)
    done = cancel_by_hand(order, actor=asker.actor, reason=payload.reason or CANCEL_REASON)
    if done.denials:
        raise Refused(HTTPStatus.CONFLICT, "The cancel was denied. The venue was not asked.", done.denials)
    return answer(shown(done.order))
