"""Bots and orders over the API: thin over the manager, the executor and going live."""

import re
from datetime import datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Annotated, Any

from django.db import IntegrityError
from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Router, Schema, Status
from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from audit.decimals import decimal_text, storable
from bots import going_live, hand_orders, manager
from bots.blocks import blocked_by
from bots.hand_orders import HandOrder
from bots.manager import BotActionError
from bots.models import Bot, Order, Position
from safety.intents import OrderType, Side
from safety.permissions import OPERATE_BOT, TRADE_LIVE
from tradingops.api.auth import Caller, caller_of
from tradingops.api.errors import ErrorOut, Refused

router = Router(tags=["bots and orders"])
FIGURE_DIGITS_MAX = 40
#: Decimal itself takes "1_000", blanks around, exponents and other scripts' digits: likelier a slip than meant.
PLAIN_FIGURE = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)


def _decimal(value: object) -> object:
    """Refuse what is no plain text: a JSON float has lost digits before anyone could look. Refuse what can't be kept, too."""
    if not isinstance(value, str) or len(value) > FIGURE_DIGITS_MAX or not PLAIN_FIGURE.fullmatch(value):
        raise ValueError('a decimal number as a text is needed, such as "0.015"')
    return storable(Decimal(value))


def _no_null(text: str) -> str:
    """Refuse a null character: PostgreSQL keeps none."""
    if "\0" in text:
        raise ValueError("a null character is not allowed")
    return text


Figure = Annotated[Decimal, BeforeValidator(_decimal), Field(gt=0, allow_inf_nan=False, examples=["0.015"])]
Text = Annotated[str, AfterValidator(_no_null)]


class BotIn(Schema):
    """A new bot. It is made on paper and stopped. ``params`` are the strategy's; what is left out takes its default."""

    name: Text = Field(min_length=1, max_length=60)
    venue: Text
    symbol: Text
    strategy: Text
    capital_usd: Figure
    params: dict[str, Any] = Field(default_factory=dict)
    poll_seconds: int = Field(5, ge=1, le=86_400)


class PositionOut(Schema):
    """What a bot holds in the book it trades in: base units and the quote currency."""

    quantity: str
    cost: str
    average_price: str | None
    mark_price: str | None


class PnlOut(Schema):
    """What a bot gained in the book it trades in, net of fees; null where there is no price to judge by."""

    realised: str
    unrealised: str | None
    fees: str


class BlockOut(Schema):
    """One thing that holds a bot back."""

    code: str
    message: str
    limit: str = ""
    actual: str = ""


class BotOut(Schema):
    """A bot as it stands."""

    id: int
    name: str
    venue: str
    symbol: str
    strategy: str
    params: dict[str, Any]
    capital_usd: str
    dry_run: bool
    status: str
    entries_held: str
    paper_broker: str
    poll_seconds: int
    position: PositionOut
    pnl: PnlOut
    blocked_by: list[BlockOut]


class DryRunIn(Schema):
    """From paper to live, or back. ``confirm`` is the bot's name; it and a reason are needed to go live."""

    dry_run: bool
    confirm: str = ""
    reason: str = Field("", max_length=500)


class OrderIn(Schema):
    """An order of a bot. ``limit_price`` is needed for a limit order, and for no other."""

    bot_id: int = Field(ge=1, le=2**63 - 1)
    side: Side
    type: OrderType
    quantity: Figure
    limit_price: Figure | None = Field(None, validate_default=True)
    reduce_only: bool = False

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


class OrderOut(Schema):
    """An order as it stands. A status of ``unknown`` means that it was sent and nobody knows yet what the venue did."""

    client_order_id: str
    bot_id: int | None
    venue: str
    symbol: str
    side: str
    type: str
    status: str
    quantity: str
    filled_quantity: str
    limit_price: str | None
    average_price: str | None
    is_live: bool
    created_at: datetime
    updated_at: datetime


REFUSALS = {401: ErrorOut, 403: ErrorOut, 404: ErrorOut, 409: ErrorOut, 422: ErrorOut}


@router.post("/bots", response={201: BotOut, **REFUSALS}, summary="Make a bot, on paper and stopped")
def create_bot(request: HttpRequest, payload: BotIn) -> Status[BotOut]:
    """Make a bot. It trades on paper until somebody sets it live, and only after it is started."""
    asker = caller_of(request)
    asker.require("bots.add_bot")
    new = manager.NewBot(
        name=payload.name,
        venue=payload.venue,
        symbol=payload.symbol,
        strategy=payload.strategy,
        capital_usd=payload.capital_usd,
        params=payload.params,
        poll_seconds=payload.poll_seconds,
    )
    try:
        bot = manager.create(new, actor=asker.actor)
    except BotActionError as wrong:
        is_taken = Bot.objects.filter(name=payload.name.strip()).exists()
        raise Refused(HTTPStatus.CONFLICT if is_taken else HTTPStatus.UNPROCESSABLE_ENTITY, str(wrong)) from wrong
    except IntegrityError as taken:
        raise Refused(HTTPStatus.CONFLICT, "Another bot took the name just now.") from taken
    return Status(HTTPStatus.CREATED, shown(bot))


@router.post("/bots/{int:bot_id}/dry-run", response={200: BotOut, **REFUSALS}, summary="Set a bot live, or to paper")
def set_dry_run(request: HttpRequest, bot_id: int, payload: DryRunIn) -> BotOut:
    """Set a bot live or back to paper, whatever the gates say: one behind a shut gate is blocked, and says by what."""
    asker = caller_of(request)
    asker.require_live(OPERATE_BOT if payload.dry_run else TRADE_LIVE)
    get_object_or_404(Bot, pk=bot_id)
    if payload.dry_run:
        return shown(going_live.set_paper(bot_id, actor=asker.actor, reason=payload.reason))
    asker.require_recent_sign_in()
    bot = going_live.set_live(
        bot_id, actor=asker.actor, confirm=payload.confirm, reason=payload.reason, is_person=not asker.is_token
    )
    return shown(bot)


@router.post("/orders", response={201: OrderOut, **REFUSALS}, summary="Place an order of a bot")
def place_order(request: HttpRequest, payload: OrderIn) -> Status[OrderOut]:
    """Place one order through the gate and the executor. 409 names every control that denied it."""
    asker, bot = caller_of(request), get_object_or_404(Bot, pk=payload.bot_id)
    _may_order(asker, bot)
    wanted = HandOrder(payload.side, payload.type, payload.quantity, payload.limit_price, payload.reduce_only, "API")
    submission = hand_orders.place_order(bot.pk, wanted, actor=asker.actor, is_live=bot.is_live)
    if submission.is_denied:
        raise Refused(HTTPStatus.CONFLICT, "The order was denied. Nothing was sent.", submission.denials)
    return Status(HTTPStatus.CREATED, order_shown(submission.order))


def _may_order(asker: Caller, bot: Bot) -> None:
    if bot.is_live:
        asker.require_live(OPERATE_BOT, TRADE_LIVE)
    else:
        asker.require(OPERATE_BOT)


def shown(bot: Bot) -> BotOut:
    """Return a bot as the API shows it, in the book it trades in."""
    book = Position.objects.filter(bot=bot, is_live=bot.is_live).first() or Position(bot=bot, is_live=bot.is_live)
    return BotOut(
        id=bot.pk,
        name=bot.name,
        venue=bot.venue,
        symbol=bot.symbol,
        strategy=bot.strategy,
        params=bot.params,
        capital_usd=decimal_text(bot.capital_usd),
        dry_run=bot.dry_run,
        status=bot.status,
        entries_held=bot.entries_held,
        paper_broker=bot.paper_broker,
        poll_seconds=bot.poll_seconds,
        position=PositionOut(
            quantity=decimal_text(book.quantity),
            cost=decimal_text(book.cost),
            average_price=_text(book.average_price),
            mark_price=_text(book.mark_price),
        ),
        pnl=PnlOut(
            realised=decimal_text(book.realised_pnl),
            unrealised=_text(book.unrealised_pnl),
            fees=decimal_text(book.fees),
        ),
        blocked_by=[BlockOut(**block.as_dict()) for block in blocked_by(bot)],
    )


def order_shown(order: Order) -> OrderOut:
    """Return an order as the API shows it."""
    return OrderOut(
        client_order_id=order.client_order_id,
        bot_id=order.bot_id,
        venue=order.venue,
        symbol=order.symbol,
        side=order.side,
        type=order.type,
        status=order.status,
        quantity=decimal_text(order.quantity),
        filled_quantity=decimal_text(order.filled_quantity),
        limit_price=_text(order.limit_price),
        average_price=_text(order.average_price),
        is_live=order.is_live,
        created_at=order.created_at,
        updated_at=order.updated_at,
    )


def _text(figure: Decimal | None) -> str | None:
    return None if figure is None else decimal_text(figure)
