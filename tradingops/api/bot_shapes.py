"""A bot as the API shows it: the table's columns, its position and P&L in the book it trades in, and what holds it back."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.utils import timezone
from pydantic import Field

from audit.decimals import decimal_text
from bots.blocks import Block, Sight, blocks_now
from bots.marks import Valuation, market_of, valued
from bots.models import Bot, BotStatus, PaperBroker, Position, Venue
from tradingops.api.values import DecimalText, Output, RowId, Time, instant_or_none, instant_text, text_of

NO_PRICE = "There is no price of it, and none is stored."


class PositionOut(Output):
    """What a bot holds in the book it trades in now. What can't be valued is null, and ``reason`` says why."""

    is_live: bool = Field(description="Whether this is the book of real money.")
    quantity: DecimalText = Field(description="Base units.", examples=["0.015"])
    cost: DecimalText = Field(description="What it was bought for, without fees, in the quote currency.")
    average_price: DecimalText | None = Field(description="Cost of one unit in the quote currency; null when flat.")
    mark_price: DecimalText | None = Field(description="What one unit is valued at, in the quote currency: the bid.")
    mark_seen_at: Time | None = Field(description="When that price was seen.")
    mark_is_stale: bool | None = Field(description="Whether that price is too old to trade on; null without one.")
    value: DecimalText | None = Field(description="Quantity at the mark, in the quote currency. Zero when flat.")
    reason: str | None = Field(
        description="Why a figure is null, or what is odd about its price; null when nothing is."
    )


class PnlOut(Output):
    """What a bot gained in the book it trades in, net of fees, in the quote currency."""

    realised: DecimalText = Field(description="Gained or lost for good, net of all fees.", examples=["-3.25"])
    unrealised: DecimalText | None = Field(description="Value less cost, before fees; null without a price.")
    total: DecimalText | None = Field(description="Both together; null without a price.")
    fees: DecimalText = Field(description="All fees since the book began. They are in ``realised`` already.")
    reason: str | None = Field(
        description="Why a figure is null, or what is odd about its price; null when nothing is."
    )


class BlockOut(Output):
    """One thing that holds a bot back."""

    code: str = Field(description="A control's code, or empty for what a tick said.", examples=["LIVE_GATE_CLOSED"])
    message: str
    limit: str = Field("", description="What is allowed; empty where there is no figure.")
    actual: str = Field("", description="What was found; empty where there is no figure.")


class BotOut(Output):
    """A bot as it stands. Money is in US dollars where a name ends in ``_usd``, else in the symbol's quote currency."""

    id: RowId
    name: str = Field(examples=["btc-dca"])
    venue: Venue
    symbol: str = Field(examples=["BTC/USD"])
    strategy: str = Field(examples=["smart_dca"])
    params: dict[str, Any] = Field(description="The strategy's parameters; figures are decimal texts.")
    capital_usd: DecimalText = Field(description="How much it may commit.")
    dry_run: bool = Field(description="True: it trades on paper. False: with real money, if every lock is open.")
    status: BotStatus
    entries_held: str = Field(description="Why new entries wait for a person; empty when they do not.")
    paper_broker: PaperBroker = Field(description="Who fills its paper orders.")
    poll_seconds: int = Field(description="Seconds between two looks at the market.", examples=[5])
    score_min: int = Field(
        description="New entries only while its market's score is at least this; 0: any.", examples=[0]
    )
    by_autopilot: bool = Field(description="True: the autopilot made it, and may close it with all that it holds.")
    paper_equity_usd: DecimalText = Field(description="What its paper account began with.")
    status_reason: str = Field(description="Why it was paused or stopped; empty where nobody said.")
    last_error: str = Field(description="What its last failed tick said; empty when none failed since it was started.")
    last_error_at: Time | None
    revision: int = Field(description="Rises with every change of the bot.")
    turning_to_paper: bool = Field(description="Live and only selling until it is flat; then it turns to paper.")
    attended_at: Time | None = Field(description="When a person last started it or let its entries go on.")
    went_live_at: Time | None = Field(description="When it was last set live.")
    created_at: Time
    ticked_at: Time | None = Field(description="When it last looked at the market.")
    position: PositionOut
    pnl: PnlOut
    blocked_by: list[BlockOut] = Field(description="All that holds it back now; empty when nothing does.")


class BotPage(Output):
    """One page of bots, newest first."""

    items: list[BotOut]
    next: str | None = Field(description="The cursor of the next page; null on the last.")


def shown(bot: Bot) -> BotOut:
    """Return one bot as the API shows it, as of now."""
    book = Position.objects.filter(bot=bot, is_live=bot.is_live).first()
    return BotOut(**bot_values([(bot, book)], timezone.now())[0])


def bot_values(bots: Iterable[tuple[Bot, Position | None]], now: datetime) -> list[dict[str, Any]]:
    """Return what BotOut shows of these bots, as JSON has it, all as of one moment. Prices come from this process's own feeds.

    Each bot comes with its tick and with the book it trades in, None where it has none yet.
    """
    sight = Sight.at(now)
    return [_values(bot, book or Position(bot=bot, is_live=bot.is_live), sight) for bot, book in bots]


def position_values(book: Valuation) -> dict[str, Any]:
    """Return what PositionOut shows of a book, as JSON has it."""
    position, mark = book.position, book.mark
    return {
        "is_live": position.is_live,
        "quantity": decimal_text(position.quantity),
        "cost": decimal_text(position.cost),
        "average_price": text_of(book.average_price),
        "mark_price": None if mark is None else decimal_text(mark.price),
        "mark_seen_at": None if mark is None else instant_or_none(mark.seen_at),
        "mark_is_stale": None if mark is None else mark.is_stale,
        "value": text_of(book.value),
        "reason": reason_of(book),
    }


def pnl_values(book: Valuation) -> dict[str, Any]:
    """Return what PnlOut shows of a book, as JSON has it."""
    return {
        "realised": decimal_text(book.position.realised_pnl),
        "unrealised": text_of(book.unrealised_pnl),
        "total": text_of(book.pnl),
        "fees": decimal_text(book.position.fees),
        "reason": reason_of(book),
    }


def reason_of(book: Valuation) -> str | None:
    """Return why a book can't be valued, or what is odd about its price; None when nothing is."""
    if book.value is None:
        return f"{NO_PRICE} {book.problem}".strip()
    return book.problem or None


def _values(bot: Bot, position: Position, sight: Sight) -> dict[str, Any]:
    book = valued(position, bot, sight.moment)
    blocks = blocks_now(bot, sight, *market_of(bot, sight.moment))
    tick = getattr(bot, "tick", None)
    return {
        "id": bot.pk,
        "name": bot.name,
        "venue": bot.venue,
        "symbol": bot.symbol,
        "strategy": bot.strategy,
        "params": bot.params,
        "capital_usd": decimal_text(bot.capital_usd),
        "dry_run": bot.dry_run,
        "status": bot.status,
        "entries_held": bot.entries_held,
        "paper_broker": bot.paper_broker,
        "poll_seconds": bot.poll_seconds,
        "score_min": bot.score_min,
        "by_autopilot": bot.by_autopilot,
        "paper_equity_usd": decimal_text(bot.paper_equity_usd),
        "status_reason": bot.status_reason,
        "last_error": bot.last_error,
        "last_error_at": instant_or_none(bot.last_error_at),
        "revision": bot.revision,
        "turning_to_paper": bot.turning_to_paper,
        "attended_at": instant_or_none(bot.attended_at),
        "went_live_at": instant_or_none(bot.went_live_at),
        "created_at": instant_text(bot.created_at),
        "ticked_at": None if tick is None else instant_or_none(tick.ticked_at),
        "position": position_values(book),
        "pnl": pnl_values(book),
        "blocked_by": [_block_values(block) for block in blocks],
    }


def _block_values(block: Block) -> dict[str, str]:
    return {"code": block.code, "message": block.message, "limit": block.limit, "actual": block.actual}
