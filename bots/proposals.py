"""From books and market to proposals: what the strategy sees, what it may do now, and why the rest has to wait."""

from collections.abc import Sequence
from datetime import datetime

from bots import ledger
from bots.batch import BotBooks
from bots.blocks import Block, account_blocks, gate_blocks, held_blocks, share_blocks, state_blocks, venue_blocks
from bots.bot_params import clean_params
from bots.executor import is_stranded
from bots.exposure import Market
from bots.market_data.market_hours import until_text
from bots.markets import Moment
from bots.models import Order
from bots.order_states import RESTING_STATES
from bots.strategies import registry
from bots.strategies.base import (
    CancelProposal,
    DealView,
    OpenOrder,
    PositionView,
    Proposal,
    StrategyView,
)
from safety.controls.base import StateReading
from safety.intents import Level, OrderType, Side


def propose(books: BotBooks, market: Market, moment: Moment) -> list[Proposal | CancelProposal]:
    """Return what the bot's strategy proposes. Raises MarketDataError, and whatever a faulty strategy raises."""
    bot = books.bot
    strategy = registry.get(bot.strategy)
    params = clean_params(bot)
    candles = moment.candles(bot.venue, bot.symbol, params["timeframe"], strategy.warmup_bars(params))
    view = StrategyView(
        now=moment.now,
        quote=market.view.quote,
        candles=candles,
        rules=market.view.rules,
        capital_usd=bot.capital_usd,
        params=params,
        position=_position_view(books, market),
        deal=_deal_view(books),
        open_orders=tuple(_open_order(order) for order in books.open_orders),
    )
    return strategy.propose(view)


def waits_for(books: BotBooks, moment: Moment) -> Block | None:
    """Return why the bot's strategy is not even asked now: the market is closed, or has no price. Raises MarketDataError.

    The gate would deny what it wants anyway, at every tick anew. What a person or a flatten sells is not held back by this.
    """
    venue, symbol = books.bot.venue, books.bot.symbol
    opens = moment.closed_until(venue, symbol)
    if opens is not None:
        return Block("MARKET_CLOSED", f"The market is closed until {until_text(opens)}.")
    quote = moment.market(venue, symbol).view.quote
    if any(not price.is_finite() or price <= 0 for price in (quote.bid, quote.ask)):
        return Block("INVALID_MARKET_DATA", f"Nobody quotes a price on both sides: bid {quote.bid}, ask {quote.ask}.")
    return None


def order_market(books: BotBooks, moment: Moment) -> Market:
    """Return the market as an order of this bot's tick meets it: with how old the candles are that it rests on."""
    bot = books.bot
    params = clean_params(bot)
    bars = registry.get(bot.strategy).warmup_bars(params)
    return moment.market_on_candles(bot.venue, bot.symbol, params["timeframe"], bars)


def filtered(
    proposals: Sequence[Proposal | CancelProposal], books: BotBooks, state: StateReading, now: datetime
) -> tuple[list[Proposal | CancelProposal], list[Block]]:
    """Return what may be tried now, and what holds the bot back.

    The gate would deny the rest anyway; not asking keeps the audit readable. Cancels always pass.
    """
    bot = books.bot
    held, shut = [*held_blocks(bot), *account_blocks(bot, now)], [*gate_blocks(bot), *venue_blocks(bot)]
    changed = share_blocks(bot, books.position)
    nothing_goes = state.level == Level.HALTED or bool(changed) or any(block.stops_exits for block in shut)
    no_entries = state.level == Level.REDUCING or bool(held or shut)
    kept = [
        proposal
        for proposal in proposals
        if isinstance(proposal, CancelProposal)
        or not (nothing_goes or (no_entries and proposal.side == Side.BUY) or books.holds_off(proposal, now))
    ]
    return kept, [*state_blocks(state), *shut, *changed, *held]


def wants_match(order: Order, books: BotBooks, moment: Moment) -> bool:
    """Return whether the market may have met a resting order since it was last tried: then it is worth a lock."""
    if order.status not in RESTING_STATES or order.matched_until is None:
        return False
    if is_stranded(order, moment.now):
        return True
    traded = moment.market_since(books.bot.venue, books.bot.symbol, order.matched_until).view.traded
    if traded is None:
        return False
    if order.type == OrderType.MARKET or order.limit_price is None:
        return True
    return traded.low < order.limit_price if order.side == Side.BUY else traded.high > order.limit_price


def _position_view(books: BotBooks, market: Market) -> PositionView:
    """Return the position as a strategy sees it: what is too small to sell is left out."""
    position = books.position
    last_entry_at, last_exit_at = position.last_entry_at, position.last_exit_at
    if ledger.is_dust(position.quantity, market.view.quote.bid, market.view.rules):
        return PositionView(last_entry_at=last_entry_at, last_exit_at=last_exit_at)
    return PositionView(position.quantity, position.cost, last_entry_at, last_exit_at)


def _deal_view(books: BotBooks) -> DealView | None:
    deal = books.deal
    if deal is None:
        return None
    return DealView(
        opened_at=deal.opened_at,
        bought_quantity=deal.bought_quantity,
        bought_notional=deal.bought_notional,
        legs=deal.legs,
        peak_price=deal.peak_price,
    )


def _open_order(order: Order) -> OpenOrder:
    return OpenOrder(
        client_order_id=order.client_order_id,
        side=Side(order.side),
        type=OrderType(order.type),
        leg=order.leg,
        remaining_quantity=order.remaining_quantity,
        limit_price=order.limit_price,
    )
