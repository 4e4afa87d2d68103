"""Bookkeeping in plain values: what fills do to a position. Average cost, long only, exact decimals."""

from dataclasses import dataclass, replace
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext

from safety.intents import Side

# Wide enough that products of stored figures are exact; only the average-cost split rounds, to COST_STEP.
EXACT = Context(prec=80)
COST_STEP = Decimal("1e-18")


class BookError(Exception):
    """A fill that the book cannot take, such as a sale of more than is held."""


@dataclass(frozen=True, slots=True)
class Book:
    """One position's figures in the quote currency: see bots.models.Position for their meaning."""

    quantity: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)
    realised_pnl: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)
    cash_flow: Decimal = Decimal(0)


def apply_fill(book: Book, side: Side, quantity: Decimal, price: Decimal, fee: Decimal) -> Book:
    """Return the book after one fill.

    A sale takes its share of the cost, cost × quantity / held (average cost), rounded to 1e-18; the last sale takes all that is
    left, so that cost returns to exactly zero and ``realised_pnl == cash_flow`` when flat. Raises BookError on a sale of more
    than is held.
    """
    with localcontext(EXACT):
        notional = quantity * price
        fees = book.fees + fee
        if side == Side.BUY:
            return Book(
                book.quantity + quantity,
                book.cost + notional,
                book.realised_pnl - fee,
                fees,
                book.cash_flow - notional - fee,
            )
        if quantity > book.quantity:
            raise BookError(f"cannot sell {quantity}: only {book.quantity} is held")
        share = book.cost
        if quantity < book.quantity:
            share = (book.cost * quantity / book.quantity).quantize(COST_STEP, rounding=ROUND_HALF_EVEN)
        return replace(
            book,
            quantity=book.quantity - quantity,
            cost=book.cost - share,
            realised_pnl=book.realised_pnl + notional - share - fee,
            fees=fees,
            cash_flow=book.cash_flow + notional - fee,
        )


def apply_write_off(book: Book, quantity: Decimal) -> Book:
    """Return the book after ``quantity`` was found to be gone: its share of the cost is lost, and no money moved.

    The share is as for a sale. Raises BookError for more than is held.
    """
    with localcontext(EXACT):
        gone = apply_fill(book, Side.SELL, quantity, Decimal(0), Decimal(0))
        return replace(gone, cash_flow=book.cash_flow)


def unrealised_pnl(book: Book, mark_price: Decimal) -> Decimal:
    """Return what would be gained, before fees, if the position were sold at ``mark_price``."""
    with localcontext(EXACT):
        return book.quantity * mark_price - book.cost
