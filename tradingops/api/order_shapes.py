"""An order as the API shows it."""

from pydantic import Field

from audit.decimals import decimal_text
from bots.models import Order, Venue
from bots.order_states import OrderStatus
from safety.intents import OrderType, Side
from tradingops.api.values import DecimalText, Output, RowId, Time, text_of


class OrderOut(Output):
    """An order as it stands. A status of ``unknown`` means that it was sent and nobody knows yet what the venue did."""

    client_order_id: str = Field(description="Ours, drawn before the order is sent.", examples=["m-4kq2x7h9d3wz"])
    bot_id: RowId | None = Field(description="Null for an order that somebody else placed at the venue.")
    venue: Venue
    symbol: str = Field(examples=["BTC/USD"])
    side: Side
    type: OrderType
    status: OrderStatus
    quantity: DecimalText = Field(description="Base units.")
    filled_quantity: DecimalText = Field(description="Base units that were filled so far.")
    limit_price: DecimalText | None = Field(description="In the quote currency; null for a market order.")
    average_price: DecimalText | None = Field(description="Mean price of the fills; null while there are none.")
    fees: DecimalText = Field(description="Of the fills so far, in the quote currency.")
    reduce_only: bool = Field(description="Whether it may only shrink the position.")
    is_live: bool = Field(description="True for real money.")
    venue_order_id: str = Field(description="The venue's own id; empty while it is not known, and on paper.")
    cancel_requested_at: Time | None = Field(
        description="When somebody asked for its cancel. While the status is not ``canceled``, the venue has not confirmed it:"
        " the order may still fill, and the venue is asked again until it is known."
    )
    actor: str = Field(description="Who wanted it.", examples=["bot:7"])
    reason: str = Field(description="Why, as the strategy or the person said.")
    created_at: Time
    updated_at: Time


class OrderPage(Output):
    """One page of orders, newest first."""

    items: list[OrderOut]
    next: str | None = Field(description="The cursor of the next page; null on the last.")


def shown(order: Order) -> OrderOut:
    """Return an order as the API shows it."""
    return OrderOut(
        client_order_id=order.client_order_id,
        bot_id=order.bot_id,
        venue=Venue(order.venue),
        symbol=order.symbol,
        side=Side(order.side),
        type=OrderType(order.type),
        status=OrderStatus(order.status),
        quantity=decimal_text(order.quantity),
        filled_quantity=decimal_text(order.filled_quantity),
        limit_price=text_of(order.limit_price),
        average_price=text_of(order.average_price),
        fees=decimal_text(order.fees),
        reduce_only=order.reduce_only,
        is_live=order.is_live,
        venue_order_id=order.venue_order_id,
        cancel_requested_at=order.cancel_requested_at,
        actor=order.actor,
        reason=order.reason,
        created_at=order.created_at,
        updated_at=order.updated_at,
    )
