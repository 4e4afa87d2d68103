"""What the gate must know of a bot and its account, read at the moment an intent is claimed, under their rows' locks.

Whatever is not known stays None, and every control that needs it then denies. Orders that were sent or may have been sent
(SUBMITTING, UNKNOWN, resting) count as if they filled: so a hundred intents at one moment can't pass a limit together.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation, localcontext

from bots.accounts import AccountBooks, baselines, reserved_usd, utc_day, value_usd
from bots.batch import RECENT, BotBooks, RecentOrder
from bots.books import EXACT
from bots.bot_params import planned_leg_usd
from bots.brokers.base import FeeSchedule, MarketView
from bots.instruments import is_major
from bots.models import Bot, BotStatus, Difference, Order, Position
from bots.order_states import OrderStatus
from bots.reconciliation import passes
from bots.reconciliation.compare import about
from safety import live_gate, readiness
from safety.intents import Exposure, OrderIntent, Side

DUPLICATE_WINDOW = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class CandleBasis:
    """How old the candles are that an order rests on: seconds since the last one closed, and a candle's length in seconds."""

    age_s: Decimal
    bar_s: Decimal


#: Of an order that rests on no candles, as a person's does not.
NO_CANDLES = CandleBasis(Decimal(0), Decimal(0))


@dataclass(frozen=True, slots=True)
class Market:
    """One symbol's market as an order meets it: view, fees, how old a quote may be, the venue's status, the candles' age.

    None: not known.
    """

    view: MarketView
    fees: FeeSchedule
    quote_age_max_s: Decimal
    status: str | None = None
    candles: CandleBasis | None = None


def gather(books: BotBooks, intent: OrderIntent, market: Market, *, now: datetime) -> Exposure:
    """Return the exposure that the gate judges a built-in paper order by. The bot's row must be locked by the caller.

    Such a bot is an account of its own: its account's counts are its own.
    """
    with localcontext(EXACT):
        own = _of_bot(books, intent, market, now)
        reserved = reserved_usd(books.open_orders, market.view.quote)
        held = value_usd(books.position.quantity, market.view.quote)
        cash = books.bot.paper_equity_usd + books.position.cash_flow
        known = baselines(books.account, utc_day(now))
        exposed = _sum(held, reserved)
        return replace(
            own,
            # What rests will cost its fee, too.
            cash_free_usd=None if reserved is None else cash - reserved * (1 + market.fees.taker),
            open_orders_account=own.open_orders_bot,
            sent_last_minute_account=own.sent_last_minute_bot,
            opposite_prices=_opposite_prices(books.open_orders, intent),
            reconciliation_open=(),
            equity_usd=_sum(cash, held),
            symbol_exposure_usd=exposed,
            gross_exposure_usd=exposed,
            day_start_equity_usd=known.day_start_usd,
            peak_equity_usd=known.peak_usd,
            account_flags=(),
        )


def gather_live(
    books: BotBooks, shared: AccountBooks, intent: OrderIntent, market: Market, *, now: datetime
) -> Exposure:
    """Return the exposure that the gate judges an order for a venue by: live, or for the venue's paper account.

    The rows of the account and the bot must be locked by the caller, in this order, and both books be read after that. Money
    is as of the account's last measurement, less what was bought since, with this symbol's positions at the current quote.
    """
    with localcontext(EXACT):
        quote, account = market.view.quote, shared.account
        in_symbol = [order for order in shared.open_orders if order.symbol == intent.symbol]
        unknown = _unknown(in_symbol, intent.symbol)
        others = [order for order in shared.externals if order.symbol == intent.symbol]
        quantities = [one.quantity for one in shared.positions_in(intent.symbol)]
        held = value_usd(sum(quantities, shared.bought_by_others(intent.symbol)), quote)
        known = baselines(account, utc_day(now))
        return replace(
            _of_bot(books, intent, market, now),
            cash_free_usd=shared.cash_free_usd(quote, market.fees.taker, now),
            open_orders_account=len(shared.open_orders) + len(shared.externals),
            sent_last_minute_account=_sent_since(shared.orders, now - RECENT),
            opposite_prices=_opposite_prices(in_symbol, intent),
            unknown_on_symbol=len(unknown),
            reconciliation_open=reconciliation_open(
                intent.symbol, shared.differences, unknown, reading=passes.holds_entries(shared.sync, now)
            ),
            live_fills=books.position.filled_orders if intent.is_live else None,
            equity_usd=shared.equity_usd(quote, now),
            symbol_exposure_usd=_sum(held, reserved_usd([*in_symbol, *others], quote)),
            gross_exposure_usd=shared.gross_exposure_usd(quote, now),
            day_start_equity_usd=known.day_start_usd,
            peak_equity_usd=known.peak_usd,
            executions_today=_executions_today(books.bot, shared, intent, now),
            account_flags=shared.flags(now),
            locks=live_gate.read_locks(intent.venue, dry_run=books.bot.dry_run) if intent.is_live else None,
            readiness=readiness.verdict(intent.venue) if intent.is_live else None,
        )


def reconciliation_open(
    symbol: str, differences: Iterable[Difference], unknown: Iterable[Order] = (), *, reading: str = ""
) -> tuple[str, ...]:
    """Return what is not settled about a symbol between our books and the venue, for people; empty when nothing is.

    ``reading`` says how far a long history has come: until it is read nobody can tell.
    """
    outcomes = (f"the outcome of order {one.client_order_id} is not known" for one in unknown)
    return (*about(symbol, differences), *outcomes, *([reading] if reading else []))


def held_reason(bot: Bot) -> str:
    """Return why the bot may make no entries now, or an empty text."""
    if bot.entries_held:
        return bot.entries_held
    if bot.turning_to_paper:
        return "the bot is turning to paper, and only sells until it holds nothing"
    return "the bot is paused" if bot.status == BotStatus.PAUSED else ""


def _of_bot(books: BotBooks, intent: OrderIntent, market: Market, now: datetime) -> Exposure:
    """Return what is known of the bot, its book and the symbol; the account's part is left open."""
    bot, position, open_orders = books.bot, books.position, books.open_orders
    reserved = reserved_usd(open_orders, market.view.quote)
    candles = market.candles
    return Exposure(
        quote=market.view.quote,
        rules=market.view.rules,
        quote_age_max_s=market.quote_age_max_s,
        allowed_symbols=frozenset({(bot.venue, bot.symbol)}),
        capital_usd=bot.capital_usd,
        bot_committed_usd=_sum(position.cost, reserved),
        fee_rate=market.fees.taker,
        position_quantity=position.quantity,
        pending_exit_quantity=sum(
            (order.remaining_quantity for order in open_orders if order.side == Side.SELL), Decimal(0)
        ),
        open_orders_bot=len(open_orders),
        sent_last_minute_bot=_sent_since(books.orders, now - RECENT),
        is_duplicate=_is_duplicate(books.orders, intent, now),
        entries_held=held_reason(bot),
        market_status=market.status,
        candle_age_s=None if candles is None else candles.age_s,
        candle_bar_s=None if candles is None else candles.bar_s,
        is_major=is_major(intent.venue, intent.symbol),
        unknown_on_symbol=len(_unknown(open_orders, intent.symbol)),
        recent_notionals_usd=_notionals(position),
        planned_leg_usd=planned_leg_usd(bot),
        losing_streak=position.losing_streak,
        last_loss_at=position.last_loss_at,
        reject_streak=position.reject_streak,
    )


def _sent_since(recent: Sequence[Order | RecentOrder], since: datetime) -> int:
    submits = sum(1 for order in recent if order.submitting_at is not None and order.submitting_at >= since)
    cancels = sum(1 for order in recent if order.cancel_requested_at is not None and order.cancel_requested_at >= since)
    return submits + cancels


def _is_duplicate(recent: Iterable[Order | RecentOrder], intent: OrderIntent, now: datetime) -> bool:
    same = (intent.side, intent.type, intent.limit_price, intent.quantity)
    return any(
        (order.side, order.type, order.limit_price, order.quantity) == same
        and order.submitting_at is not None
        # One that seems to come from the future was sent before the clock was set right: it must not hold up an exit till then.
        and abs(now - order.submitting_at) < DUPLICATE_WINDOW
        for order in recent
    )


def _opposite_prices(open_orders: Iterable[Order], intent: OrderIntent) -> tuple[Decimal | None, ...]:
    """Return the limits of the open orders on the other side of the intent's symbol; None for a market order."""
    return tuple(one.limit_price for one in open_orders if one.side != intent.side and one.symbol == intent.symbol)


def _unknown(open_orders: Iterable[Order], symbol: str) -> list[Order]:
    return [one for one in open_orders if one.status == OrderStatus.UNKNOWN and one.symbol == symbol]


def _notionals(position: Position) -> tuple[Decimal, ...] | None:
    """Return the values of the book's last filled orders, or None when what is stored is no list of figures."""
    try:
        return tuple(Decimal(one) for one in position.recent_notionals)
    except (InvalidOperation, TypeError, ValueError):
        return None


def _executions_today(bot: Bot, shared: AccountBooks, intent: OrderIntent, now: datetime) -> int:
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    since = midnight if bot.attended_at is None else max(midnight, bot.attended_at)
    return shared.executions(intent.symbol, since)


def _sum(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    return None if one is None or other is None else one + other
