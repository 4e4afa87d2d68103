"""An order as the API shows it."""

from typing import Any

from pydantic import Field

from audit.decimals import decimal_text
from bots.models import Order, Venue
from bots.order_states import OrderStatus
from safety.intents import OrderType, Side
from tradingops.api.values import DecimalText, Output, RowId, Time, instant_or_none, instant_text, text_of

#: What a page of orders is made from: half of what an order has.
COLUMNS = (
    "id", "client_order_id", "bot_id", "venue", "symbol", "side", "type", "status", "quantity", "filled_quantity", "limit_price",
    "filled_notional", "fees", "reduce_only", "is_live", "venue_order_id", "cancel_requested_at", "actor", "reason",
    "created_at", "updated_at",
)  # fmt: skip


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
    return OrderOut(**values_of(order))


def values_of(order: Order) -> dict[str, Any]:
    """Return what OrderOut shows of an order, or of a row with the columns in ``COLUMNS``, as JSON has it."""
    filled = order.filled_quantity
    return {
        "client_order_id": order.client_order_id,
        "bot_id": order.bot_id,
        "venue": order.venue,
        "symbol": order.symbol,
        "side": order.side,
        "type": order.type,
        "status": order.status,
        "quantity": decimal_text(order.quantity),
        "filled_quantity": decimal_text(filled),
        "limit_price": text_of(order.limit_price),
        "average_price": decimal_text(order.filled_notional / filled) if filled else None,
        "fees": decimal_text(order.fees),
        "reduce_only": order.reduce_only,
        "is_live": order.is_live,
        "venue_order_id": order.venue_order_id,
        "cancel_requested_at": instant_or_none(order.cancel_requested_at),
        "actor": order.actor,
        "reason": order.reason,
        "created_at": instant_text(order.created_at),
        "updated_at": instant_text(order.updated_at),
    }
