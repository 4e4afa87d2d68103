"""The ledger: what executions do to fills, positions and deals, in the caller's transaction.

Books are keyed by (bot, is_live); paper and live never meet here. The arithmetic is in bots/books.py.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal, localcontext

from audit.decimals import decimal_text
from bots.batch import BotBooks
from bots.books import EXACT, Book, apply_fill, apply_write_off
from bots.brokers.base import Execution
from bots.models import Deal, Fill, Order, Position
from bots.tables import DEALS, FILLS, ORDERS, POSITIONS
from safety.intents import InstrumentRules, Side

#: Of so many orders that filled the values are kept, for the control that looks for outliers.
NOTIONALS_KEPT = 30
# Ticks raise a deal's best price at the same moment, without the bot's lock.
RAISED_BY_TICKS = ("peak_price",)


def record_executions(
    order: Order, executions: Sequence[Execution], books: BotBooks, rules: InstrumentRules
) -> list[Execution]:
    """Write the executions that are new to order, fills, position and deal, and return them.

    A trade id counts once, in whatever order and however often it is reported. The order is saved in any case. The bot must be
    locked. Raises BookError when more would be sold than is held; nothing may be committed then.
    """
    known = set(order.fills.values_list("trade_id", flat=True)) if order.filled_quantity else set()
    fresh = list({one.trade_id: one for one in executions if one.trade_id not in known}.values())
    deal = _deal_of(order, books, fresh[0]) if fresh else None
    for execution in fresh:
        _apply(order, execution, books.position, deal)
    ORDERS.save(order)
    if fresh:
        for execution in fresh:
            FILLS.save(_fill(order, execution))
        _count_filled(order, books.position)
        _save_deal(deal, books, rules, fresh[-1])
        POSITIONS.save(books.position)
    return fresh


def note_rejection(position: Position) -> None:
    """Count an order that the venue rejected. The bot must be locked."""
    position.reject_streak += 1
    _save_reject_streak(position)


def note_acceptance(position: Position) -> None:
    """End the row of rejected orders: the venue took one. The bot must be locked."""
    if position.reject_streak:
        position.reject_streak = 0
        _save_reject_streak(position)


def _save_reject_streak(position: Position) -> None:
    # A book's first order makes its row; of a row that is there, nothing else that may have changed meanwhile is touched.
    position.save(update_fields=None if position.pk is None else ["reject_streak"])


def book_of(position: Position) -> Book:
    """Return the position's figures as a plain value."""
    return Book(position.quantity, position.cost, position.realised_pnl, position.fees, position.cash_flow)


def is_dust(quantity: Decimal, price: Decimal, rules: InstrumentRules) -> bool:
    """Return whether ``quantity`` is too small for the venue to sell."""
    if quantity < max(rules.quantity_min, rules.lot_size):
        return True
    return quantity * price < rules.notional_min


def _deal_of(order: Order, books: BotBooks, first: Execution) -> Deal | None:
    """Return the deal that these executions belong to: the open one, or a new one for an entry.

    What is sold while none is open is what the last deal left: dust, or the rest of an order whose first fill left dust.
    """
    if books.deal is None and order.side == Side.BUY:
        books.deal = Deal(bot_id=books.bot.pk, is_live=order.is_live, symbol=order.symbol, opened_at=first.filled_at)
    return books.deal or Deal.objects.filter(bot=books.bot, is_live=order.is_live).order_by("-id").first()


def _fill(order: Order, execution: Execution) -> Fill:
    return Fill(
        order=order,
        venue=order.venue,
        is_live=order.is_live,
        trade_id=execution.trade_id,
        quantity=execution.quantity,
        price=execution.price,
        fee=execution.fee,
        is_maker=execution.is_maker,
        filled_at=execution.filled_at,
    )


def _apply(order: Order, execution: Execution, position: Position, deal: Deal | None) -> None:
    """Add one execution to the order's, the position's and the deal's figures."""
    before = book_of(position)
    book = apply_fill(before, Side(order.side), execution.quantity, execution.price, execution.fee)
    with localcontext(EXACT):
        notional = execution.quantity * execution.price
        if deal is not None:
            _add_to_deal(deal, order, execution, notional)
            # The book's own gain, so that the deals add up to it: dust that an earlier deal left brings its cost along.
            deal.pnl += book.realised_pnl - before.realised_pnl
        order.filled_quantity += execution.quantity
        order.filled_notional += notional
        order.fees += execution.fee
    position.quantity, position.cost, position.realised_pnl = book.quantity, book.cost, book.realised_pnl
    position.fees, position.cash_flow = book.fees, book.cash_flow
    position.mark_price, position.marked_at = execution.price, execution.filled_at
    # Fills may be told of out of order; what counts is when the last one happened.
    if order.side == Side.BUY:
        position.last_entry_at = max(position.last_entry_at or execution.filled_at, execution.filled_at)
    else:
        position.last_exit_at = max(position.last_exit_at or execution.filled_at, execution.filled_at)


def _add_to_deal(deal: Deal, order: Order, execution: Execution, notional: Decimal) -> None:
    deal.fees += execution.fee
    if order.side == Side.BUY:
        # Its first fill in this deal: what an order bought before belonged to a deal that has ended.
        if not order.filled_quantity or not deal.bought_quantity:
            deal.legs += 1
        deal.bought_quantity += execution.quantity
        deal.bought_notional += notional
    else:
        deal.sold_quantity += execution.quantity
        deal.sold_notional += notional


def _count_filled(order: Order, position: Position) -> None:
    """Count the order once its fills make up its whole quantity. One that ended before that is not counted."""
    if order.filled_quantity < order.quantity:
        return
    position.filled_orders += 1
    kept = [*position.recent_notionals, decimal_text(order.filled_notional)]
    position.recent_notionals = kept[-NOTIONALS_KEPT:]


def _save_deal(deal: Deal | None, books: BotBooks, rules: InstrumentRules, last: Execution) -> None:
    """Save the deal, closed when nothing is left that could be sold: dust holds no deal open.

    A deal counts as lost or not when it closes; what is sold of its dust later changes nothing of that.
    """
    if deal is None:
        return
    if deal.sold_quantity and is_dust(books.position.quantity, last.price, rules):
        if deal.closed_at is None:
            _count_deal(deal, books.position)
        deal.closed_at = books.position.last_exit_at
        books.deal = None
    DEALS.save(deal, without=RAISED_BY_TICKS)


def _count_deal(deal: Deal, position: Position) -> None:
    if deal.pnl < 0:
        position.losing_streak, position.last_loss_at = position.losing_streak + 1, position.last_exit_at
    else:
        position.losing_streak = 0


def write_off(position: Position, deal: Deal | None, quantity: Decimal, at: datetime) -> Decimal:
    """Take ``quantity`` out of a book at cost, since it is not there, and return the cost, which is lost.

    Whatever order and fills say stays as it was. A deal that nothing is left of is closed. The bot must be locked, and whoever
    calls this records why. Raises BookError when the book holds less.
    """
    before = book_of(position)
    book = apply_write_off(before, quantity)
    lost = before.cost - book.cost
    position.quantity, position.cost, position.realised_pnl = book.quantity, book.cost, book.realised_pnl
    position.save(update_fields=["quantity", "cost", "realised_pnl"])
    if deal is not None:
        with localcontext(EXACT):
            deal.pnl -= lost
            deal.sold_quantity += quantity
        if not position.quantity:
            deal.closed_at = at
        deal.save(update_fields=["pnl", "sold_quantity", "closed_at"])
    return lost


def rescale(position: Position, deal: Deal | None, quantity: Decimal, at: datetime) -> Decimal:
    """Let a book hold ``quantity`` of its shares, since their issuer changed them, and return the money that it got.

    What they cost stays as it was, so that only the average price changes. A book of which nothing is left hands its shares to
    the owner at their cost: it gains and loses nothing by it. Marks and the best price are from before and are forgotten. The
    bot must be locked, and whoever calls this records why.
    """
    paid = Decimal(0) if quantity else position.cost
    before = position.quantity
    with localcontext(EXACT):
        position.quantity, position.cost = quantity, position.cost - paid
        position.cash_flow += paid
    position.mark_price = position.marked_at = None
    position.save(update_fields=["quantity", "cost", "cash_flow", "mark_price", "marked_at"])
    _rescale_deal(position, deal, quantity - before, paid, at)
    return paid


def _rescale_deal(position: Position, deal: Deal | None, change: Decimal, paid: Decimal, at: datetime) -> None:
    if deal is None:
        if not position.quantity:
            return
        # What was sold before the change was known closed the deal; what came of it is there to be sold.
        symbol = position.bot.symbol
        deal = Deal(bot_id=position.bot_id, is_live=position.is_live, symbol=symbol, opened_at=at, legs=1)
        deal.bought_notional = position.cost
    with localcontext(EXACT):
        if position.quantity:
            deal.bought_quantity += change
        else:
            deal.sold_quantity, deal.sold_notional, deal.closed_at = (
                deal.sold_quantity - change,
                deal.sold_notional + paid,
                at,
            )
    deal.peak_price = None
    deal.save()


def take_in(position: Position, quantity: Decimal, price: Decimal) -> None:
    """Let a book buy ``quantity`` at ``price`` from the owner's part of the account, before it is sold. Not saved here."""
    book = apply_fill(book_of(position), Side.BUY, quantity, price, Decimal(0))
    position.quantity, position.cost, position.cash_flow = book.quantity, book.cost, book.cash_flow
