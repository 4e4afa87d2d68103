"""What the bots hold, gained and are worth, over the API: by book, and together. Paper and live are never added together."""

from collections.abc import Callable, Iterable
from decimal import Decimal
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Query, Router
from pydantic import Field

from audit.decimals import decimal_text
from bots import equity_series
from bots.books import EXACT
from bots.markets import Moment
from bots.marks import Valuation, valued
from bots.models import Bot, EquitySnapshot, Position, Venue
from tradingops.api.auth import caller_of
from tradingops.api.bot_shapes import PnlOut, PositionOut, pnl_values, position_values
from tradingops.api.errors import REFUSALS, Refused
from tradingops.api.paging import Listing, Mark, PageIn, WindowIn, answer, cut, page_of, start_of, within
from tradingops.api.values import DecimalText, Output, RowId, Text, Time, text_of

router = Router(tags=["figures"])
VIEW_POSITION, VIEW_EQUITY = "bots.view_position", "bots.view_equitysnapshot"


class BookIn(PageIn):
    """Which books, and which page of them. What is left out is not asked for."""

    bot_id: RowId | None = None
    is_live: bool | None = Field(None, description="True: real money. False: paper.")
    venue: Venue | None = None
    symbol: Text | None = Field(None, max_length=30, description="In full, such as BTC/USD.")


class BookPositionOut(PositionOut):
    """What one bot holds in one book."""

    bot_id: RowId
    bot: str = Field(description="The bot's name.")
    venue: Venue
    symbol: str


class BookPnlOut(PnlOut):
    """What one bot gained in one book."""

    bot_id: RowId
    bot: str = Field(description="The bot's name.")
    venue: Venue
    symbol: str
    is_live: bool


class PositionTotal(Output):
    """All books of one kind together, in US dollars; USDT and USDC count as dollars."""

    books: int = Field(description="How many books are in it.")
    cost: DecimalText
    value: DecimalText | None = Field(description="Null while one of them can't be valued.")
    reason: str | None = Field(description="Why the value is null; null when it is not.")


class PnlTotal(Output):
    """What all books of one kind gained together, net of fees, in US dollars; USDT and USDC count as dollars."""

    books: int = Field(description="How many books are in it.")
    realised: DecimalText
    unrealised: DecimalText | None = Field(description="Null while one of them can't be valued.")
    total: DecimalText | None = Field(description="Null while one of them can't be valued.")
    fees: DecimalText
    reason: str | None = Field(description="Why a figure is null; null when none is.")


class PositionTotals(Output):
    """The two sums over every book that was asked for, whatever the page."""

    paper: PositionTotal
    live: PositionTotal


class PnlTotals(Output):
    """The two sums over every book that was asked for, whatever the page."""

    paper: PnlTotal
    live: PnlTotal


class PositionPage(Output):
    """One page of positions, newest book first, and both sums."""

    items: list[BookPositionOut]
    totals: PositionTotals
    next: str | None = Field(description="The cursor of the next page; null on the last.")


class PnlPage(Output):
    """One page of P&L by book, newest book first, and both sums."""

    items: list[BookPnlOut]
    totals: PnlTotals
    next: str | None = Field(description="The cursor of the next page; null on the last.")


class By(StrEnum):
    """What one point of equity tells of."""

    BOT = "bot"
    TOTAL = "total"


class EquityIn(WindowIn):
    """Which points of equity, and which page of them. The stretch of time is by ``taken_at``."""

    by: By = Field(By.BOT, description="bot: a point for each book. total: all books together; needs is_live.")
    bot_id: RowId | None = Field(None, description="Not together with by=total.")
    is_live: bool | None = Field(None, description="True: real money. False: paper.")


class EquityOut(Output):
    """What a book, or all of a kind together, was worth at a moment, in US dollars.

    A built-in paper book begins with its ``paper_equity_usd``, one at a venue with the capital that its bot was given.
    """

    taken_at: Time
    is_live: bool
    bot_id: RowId | None = Field(description="Null for all together.")
    books: int = Field(description="How many books are in it.")
    carried: int = Field(description="Of these, how many count with an older worth: there was no price at that moment.")
    equity: DecimalText
    position_value: DecimalText
    realised_pnl: DecimalText = Field(description="Since the book began, net of fees.")
    unrealised_pnl: DecimalText
    pnl: DecimalText = Field(description="Both together.")


class EquityTotal(Output):
    """What all books of one kind are worth by their last points, archived bots left out."""

    taken_at: Time | None = Field(description="When the newest of them was taken; null while there is none.")
    books: int = Field(description="How many books are in it.")
    equity: DecimalText | None = Field(description="Null while there is none, or a book was not valued yet.")
    pnl: DecimalText | None = Field(description="Null while there is none, or a book was not valued yet.")
    reason: str | None = Field(description="Why a figure is null; null when none is.")


class EquityTotals(Output):
    """The two sums as of now, whatever was asked for."""

    paper: EquityTotal
    live: EquityTotal


class EquityPage(Output):
    """One page of equity, newest first, and both sums as of now."""

    items: list[EquityOut]
    totals: EquityTotals
    next: str | None = Field(description="The cursor of the next page; null on the last.")


@router.get("/positions", response={200: PositionPage, **REFUSALS}, summary="What the bots hold")
def list_positions(request: HttpRequest, asked: Annotated[BookIn, Query()]) -> HttpResponse:
    """Return what each bot holds in each of its books, at the market's price now, and what all hold together."""
    caller_of(request).require(VIEW_POSITION)
    books = _books(asked)
    page, after = _page(books, Listing("positions"), asked)
    items = [position_values(book) | _of(book.position.bot) for book in page]
    totals = PositionTotals(paper=_position_total(_kind(books, False)), live=_position_total(_kind(books, True)))
    return answer({"items": items, "totals": totals, "next": after})


@router.get("/pnl", response={200: PnlPage, **REFUSALS}, summary="What the bots gained")
def list_pnl(request: HttpRequest, asked: Annotated[BookIn, Query()]) -> HttpResponse:
    """Return what each bot gained in each of its books since it began, at the market's price now, and what all gained."""
    caller_of(request).require(VIEW_POSITION)
    books = _books(asked)
    page, after = _page(books, Listing("pnl"), asked)
    items = [pnl_values(book) | _of(book.position.bot) | {"is_live": book.position.is_live} for book in page]
    totals = PnlTotals(paper=_pnl_total(_kind(books, False)), live=_pnl_total(_kind(books, True)))
    return answer({"items": items, "totals": totals, "next": after})


@router.get("/equity", response={200: EquityPage, **REFUSALS}, summary="What the bots were worth over time")
def list_equity(request: HttpRequest, asked: Annotated[EquityIn, Query()]) -> HttpResponse:
    """Return points of equity, newest first: every ten seconds for two days, the first of each hour before that."""
    caller_of(request).require(VIEW_EQUITY)
    items, after = _total_points(asked) if asked.by == By.TOTAL else _book_points(asked)
    totals = EquityTotals(paper=_equity_total(is_live=False), live=_equity_total(is_live=True))
    return answer(EquityPage(items=items, totals=totals, next=after))


def _books(asked: BookIn) -> list[Valuation]:
    """Return every book that is asked for, newest first, valued at one moment. There are two a bot at most."""
    filters = {"bot_id": asked.bot_id, "is_live": asked.is_live, "bot__venue": asked.venue, "bot__symbol": asked.symbol}
    rows = Position.objects.filter(**{name: value for name, value in filters.items() if value is not None})
    moment = Moment(timezone.now())
    return [valued(row, row.bot, moment) for row in rows.select_related("bot").order_by("-id")]


def _page(books: list[Valuation], listing: Listing, asked: BookIn) -> tuple[list[Valuation], str | None]:
    start = start_of(listing, asked)
    rest = books if start is None else [book for book in books if book.position.pk < start.id]
    return cut(rest, listing, asked, lambda book: Mark(book.position.pk))


def _kind(books: Iterable[Valuation], is_live: bool) -> list[Valuation]:
    return [book for book in books if book.position.is_live == is_live]


def _of(bot: Bot) -> dict[str, Any]:
    return {"bot_id": bot.pk, "bot": bot.name, "venue": bot.venue, "symbol": bot.symbol}


def _position_total(books: list[Valuation]) -> PositionTotal:
    return PositionTotal(
        books=len(books),
        cost=decimal_text(_added(books, lambda book: book.position.cost) or Decimal(0)),
        value=text_of(_added(books, lambda book: book.value)),
        reason=_unvalued(books),
    )


def _pnl_total(books: list[Valuation]) -> PnlTotal:
    return PnlTotal(
        books=len(books),
        realised=decimal_text(_added(books, lambda book: book.position.realised_pnl) or Decimal(0)),
        unrealised=text_of(_added(books, lambda book: book.unrealised_pnl)),
        total=text_of(_added(books, lambda book: book.pnl)),
        fees=decimal_text(_added(books, lambda book: book.position.fees) or Decimal(0)),
        reason=_unvalued(books),
    )


def _added(books: Iterable[Valuation], figure: Callable[[Valuation], Decimal | None]) -> Decimal | None:
    """Return the exact sum, or None when one of the figures is not known: a sum without it would be another sum."""
    total = Decimal(0)
    for book in books:
        found = figure(book)
        if found is None:
            return None
        total = EXACT.add(total, found)
    return total


def _unvalued(books: list[Valuation]) -> str | None:
    names = sorted(book.position.bot.name for book in books if book.value is None)
    if not names:
        return None
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{len(names)} of {len(books)} books can't be valued, for want of a price: {', '.join(names[:3])}{more}."


def _book_points(asked: EquityIn) -> tuple[list[EquityOut], str | None]:
    filters = {"bot_id": asked.bot_id, "is_live": asked.is_live}
    rows = EquitySnapshot.objects.filter(
        within(asked, "taken_at"), **{name: value for name, value in filters.items() if value is not None}
    )
    page, after = page_of(rows, Listing("equity", "taken_at"), asked)
    return [_book_point(row) for row in page], after


def _book_point(row: EquitySnapshot) -> EquityOut:
    return EquityOut(
        taken_at=row.taken_at,
        is_live=row.is_live,
        bot_id=row.bot_id,
        books=1,
        carried=0,
        equity=decimal_text(row.equity),
        position_value=decimal_text(row.position_value),
        realised_pnl=decimal_text(row.realised_pnl),
        unrealised_pnl=decimal_text(row.unrealised_pnl),
        pnl=decimal_text(EXACT.add(row.realised_pnl, row.unrealised_pnl)),
    )


def _total_points(asked: EquityIn) -> tuple[list[EquityOut], str | None]:
    """Return the points of all books of one kind together. Raises Refused (422) unless it is said which kind."""
    if asked.is_live is None:
        message = "Say is_live=true or is_live=false: paper and live are never added together."
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, message)
    if asked.bot_id is not None:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "by=total is of all books: leave bot_id out, or ask by=bot.")
    listing = Listing("equity-total", "taken_at")
    rows, start = (
        equity_series.snapshots(is_live=asked.is_live).filter(within(asked, "taken_at")),
        start_of(listing, asked),
    )
    if start is not None:
        rows = rows.filter(taken_at__lt=start.at)
    moments = list(rows.order_by("-taken_at").values_list("taken_at", flat=True).distinct()[: asked.limit + 1])
    page, after = cut(moments, listing, asked, lambda at: Mark(0, at))
    return [_total_point(one, asked.is_live) for one in equity_series.sums_at(page, is_live=asked.is_live)], after


def _total_point(found: equity_series.Sum, is_live: bool) -> EquityOut:
    return EquityOut(
        taken_at=found.at,
        is_live=is_live,
        bot_id=None,
        books=found.books,
        carried=found.carried,
        equity=decimal_text(found.equity),
        position_value=decimal_text(found.position_value),
        realised_pnl=decimal_text(found.realised_pnl),
        unrealised_pnl=decimal_text(found.unrealised_pnl),
        pnl=decimal_text(EXACT.add(found.realised_pnl, found.unrealised_pnl)),
    )


def _equity_total(*, is_live: bool) -> EquityTotal:
    found = equity_series.latest(is_live=is_live)
    if found.sum is None or found.unvalued:
        books = found.unvalued + (0 if found.sum is None else found.sum.books)
        were = "was" if found.unvalued == 1 else "were"
        said = (
            f"{found.unvalued} of {books} books {were} not valued yet."
            if books
            else "No book of this kind was valued yet."
        )
        return EquityTotal(taken_at=None, books=books, equity=None, pnl=None, reason=said)
    gained = EXACT.add(found.sum.realised_pnl, found.sum.unrealised_pnl)
    return EquityTotal(
        taken_at=found.sum.at,
        books=found.sum.books,
        equity=decimal_text(found.sum.equity),
        pnl=decimal_text(gained),
        reason=None,
    )
