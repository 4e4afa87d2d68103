"""Orders over the API: thin over the executor and orders by hand."""

from decimal import Decimal
from http import HTTPStatus

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Router, Status
from pydantic import Field, ValidationInfo, field_validator

from bots import executor, hand_orders
from bots.hand_orders import HandOrder, Once
from bots.models import Bot, Order
from bots.order_states import OrderStatus
from safety.intents import OrderType, Side
from safety.models import ApiRequest
from safety.permissions import OPERATE_BOT
from tradingops.api.auth import Caller, caller_of
from tradingops.api.errors import REFUSALS, Refused
from tradingops.api.idempotency import IdempotencyKey, Making, asked_by, once
from tradingops.api.order_shapes import OrderOut, shown
from tradingops.api.values import Figure, Flag, Input, WholeNumber

router = Router(tags=["orders"])


class OrderIn(Input):
    """An order of a bot. ``limit_price`` is needed for a limit order, and for no other."""

    bot_id: WholeNumber = Field(ge=1, le=2**63 - 1, examples=[1])
    side: Side
    type: OrderType
    quantity: Figure = Field(description="In base units: coins or shares.")
    limit_price: Figure | None = Field(
        None, validate_default=True, description="In the quote currency, for a limit order and for no other."
    )
    reduce_only: Flag = Field(False, description="It may only shrink the position.")

    @field_validator("limit_price")
    @classmethod
    def _fits_type(cls, price: Decimal | None, info: ValidationInfo) -> Decimal | None:
        """Refuse a limit order without its price, and a market order with one."""
        order_type = info.data.get("type")
        if order_type == OrderType.LIMIT and price is None:
            raise ValueError("a limit order needs its limit_price")
        if order_type == OrderType.MARKET and price is not None:
            raise ValueError("a market order has no limit_price: leave it out")
        return price


@router.post("/orders", response={201: OrderOut, **REFUSALS}, summary="Place an order of a bot")
def place_order(request: HttpRequest, payload: OrderIn, idempotency_key: IdempotencyKey = None) -> Status[OrderOut]:
    """Place one order through the gate and the executor. 409 names every control that denied it.

    With an Idempotency-Key the same request, asked again, gives the same order as it now stands, or the same denial.
    """
    asker, bot = caller_of(request), get_object_or_404(Bot, pk=payload.bot_id)
    _may_order(asker, bot)
    wanted = HandOrder(payload.side, payload.type, payload.quantity, payload.limit_price, payload.reduce_only, "API")

    def ordered(claim: ApiRequest | None = None) -> Order:
        known = None if claim is None else Once(claim.made, claim.claimed_at)
        return hand_orders.place_order(bot.pk, wanted, actor=asker.actor, is_live=bot.is_live, once=known).order

    if idempotency_key is None:
        order = ordered()
    else:
        making = Making(hand_orders.new_order_id, _order_of, _is_under_way, ordered)
        order = once(asked_by(asker, idempotency_key, "POST /orders", payload), making)
    if order.status == OrderStatus.DENIED:
        raise Refused(HTTPStatus.CONFLICT, "The order was denied. Nothing was sent.", executor.denials_of(order))
    return Status(HTTPStatus.CREATED, shown(order))


def _order_of(claim: ApiRequest) -> Order | None:
    return Order.objects.filter(client_order_id=claim.made).first()


def _is_under_way(order: Order) -> bool:
    return order.status in (OrderStatus.PENDING, OrderStatus.SUBMITTING)


def _may_order(asker: Caller, bot: Bot) -> None:
    if bot.is_live:
        asker.require_on_live(raises_risk=True)
    else:
        asker.require(OPERATE_BOT)
