"""What follows from what a venue said of an order: a person is told of what nobody here asked for, and entries are held.

Everything here runs in the audit unit that writes the news, with the bot's row locked.
"""

from collections.abc import Sequence
from decimal import Decimal, localcontext

from django.utils import timezone

from audit.decimals import decimal_text
from audit.log import OperatorEventRecord, record
from bots import ledger
from bots.batch import BotBooks
from bots.books import EXACT
from bots.brokers.base import Execution
from bots.executor import paper
from bots.models import Bot, Order
from bots.order_states import RESTING_STATES, OrderStatus
from bots.reconciliation import differences, movements
from bots.reconciliation.alarms import RISK, UNKNOWN, alarm
from bots.telling import about_order
from safety.intents import InstrumentRules, Side

AUTOMATIC = "automatic"
ENDED = (OrderStatus.CANCELED, OrderStatus.EXPIRED)


def cover_oversale(order: Order, executions: Sequence[Execution], books: BotBooks) -> None:
    """Let a book that holds too little for these sales take what is missing from the owner's part of the account, at the price.

    The venue did sell it, so it was there: a fill is never refused. The owner is credited with what it was sold for, so that the
    account adds up exactly, and a person is told, since a bot may not sell what is not its own.
    """
    missing = _oversold(order, executions, books.position.quantity)
    if not missing:
        return
    last = executions[-1]
    with localcontext(EXACT):
        money = missing * last.price
    ledger.take_in(books.position, missing, last.price)
    movements.lend(order, last, missing, money)
    what = f"{decimal_text(missing)} {order.symbol} more than the books of {books.bot.name} hold"
    text = f"order {order.client_order_id} sold {what}; it was taken from what the account held besides"
    record(
        OperatorEventRecord(
            actor=AUTOMATIC,
            action="book_corrected",
            object=f"bot:{books.bot.pk} {books.bot.name}",
            old="",
            new=f"{decimal_text(missing)} taken in at {decimal_text(last.price)}",
            reason=text,
        )
    )
    hold_entries(books.bot, "it sold more than its books hold: see the reconciliation page")
    differences.open_oversold(order, text)


def follow_up(
    before: str, order: Order, books: BotBooks, rules: InstrumentRules, *, had_fills: bool, adopt: bool
) -> None:
    """Tell people of what nobody here asked for, and hold the entries of a bot whose figures were wrong."""
    bot = books.bot
    if adopt and before == OrderStatus.NOT_SENT:
        text = f"order {order.client_order_id} was called not sent, and is at the venue"
        hold_entries(bot, f"{text}: look at the position, then let entries go on")
        alarm(
            UNKNOWN,
            _subject(order),
            f"{text}. It was adopted, and the entries of {bot.name} are held.",
            title=f"An order of {bot.name} that was given up is at the venue",
            facts=about_order(order),
        )
    if before in RESTING_STATES and order.status in ENDED and order.cancel_requested_at is None:
        alarm(
            RISK,
            _subject(order),
            f"The venue ended order {order.client_order_id} of {bot.name} by itself.",
            title=f"{order.venue.capitalize()} ended an order of {bot.name} by itself",
            facts=about_order(order),
        )
    if before in ENDED and had_fills:
        alarm(
            RISK,
            _subject(order),
            f"Order {order.client_order_id} of {bot.name} filled after it had ended.",
            title=f"An order of {bot.name} filled after it had ended",
            facts=about_order(order),
        )
    if had_fills:
        _reduce_what_came_late(order, books, rules)


def hold_entries(bot: Bot, why: str) -> None:
    """Hold a bot's entries until a person lets them go on. What holds them already stays. The bot must be locked."""
    if bot.entries_held:
        return
    bot.entries_held = why[:200]
    bot.revision += 1
    record(
        OperatorEventRecord(
            actor=AUTOMATIC,
            action="entries_held",
            object=f"bot:{bot.pk} {bot.name}",
            old="",
            new=bot.entries_held,
            reason=why,
        )
    )
    Bot.objects.filter(pk=bot.pk).update(entries_held=bot.entries_held, revision=bot.revision)


def _reduce_what_came_late(order: Order, books: BotBooks, rules: InstrumentRules) -> None:
    """Let a bot that turned to paper sell what a late live fill left it with: reduce-only, and then it is on paper again.

    Its live book can't be left alone with real money in it. Nothing but sales can come of it, and each still needs the live gate.
    """
    bot, position = books.bot, books.position
    if not order.is_live or bot.is_live or ledger.is_dust(position.quantity, position.mark_price or Decimal(0), rules):
        return
    why = f"order {order.client_order_id} filled after the bot had turned to paper"
    for resting in Order.objects.filter(bot=bot, is_live=False, status__in=RESTING_STATES).order_by("id"):
        # Nothing would match them while the bot is live, and what was traded meanwhile must not fill them afterwards.
        paper.cancel(resting, timezone.now(), actor=AUTOMATIC, reason=why)
    bot.dry_run, bot.turning_to_paper = False, True
    bot.revision += 1
    Bot.objects.filter(pk=bot.pk).update(dry_run=False, turning_to_paper=True, revision=bot.revision)
    record(
        OperatorEventRecord(
            actor=AUTOMATIC,
            action="bot_turning_to_paper",
            object=f"bot:{bot.pk} {bot.name}",
            old="dry_run=1",
            new="dry_run=0, reduce-only until flat",
            reason=why,
        )
    )
    hold_entries(bot, f"{why}: it only sells until it holds nothing")
    alarm(
        RISK,
        f"bot:{bot.pk} {bot.name}",
        f"{why}. It holds something live, and only sells until it holds nothing.",
        title=f"{bot.name} holds something live after it had turned to paper",
        facts=about_order(order),
    )


def _oversold(order: Order, executions: Sequence[Execution], held: Decimal) -> Decimal:
    if order.side != Side.SELL:
        return Decimal(0)
    each = {one.trade_id: one.quantity for one in executions}
    with localcontext(EXACT):
        return max(sum(each.values(), Decimal(0)) - held, Decimal(0))


def _subject(order: Order) -> str:
    return f"order:{order.client_order_id}"
