"""What if: each control's verdict on an order that nobody sends. Nothing is placed and nothing is written.

It reads the same books, limits, states and market as the order itself would, without their locks: a moment later they may differ.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.utils import timezone

from bots.accounts import AccountBooks, account_name, load_account_books
from bots.batch import RECENT, BotBooks, load_books
from bots.exposure import Market, gather, gather_live
from bots.markets import market_for
from bots.models import Account, Bot
from safety import gate
from safety.intents import Exposure, LimitSet, OrderIntent, OrderType, Quote, Side, Verdict
from safety.kill_switch import read_state
from safety.limits import LimitBook


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What the controls say of an order, and what they judged it by. Money in USD."""

    intent: OrderIntent
    quote: Quote
    exposure: Exposure
    limits: LimitSet
    verdicts: tuple[Verdict, ...]

    @property
    def denied(self) -> tuple[Verdict, ...]:
        """Return the verdicts against the order."""
        return tuple(one for one in self.verdicts if one.denial is not None)

    @property
    def notional_usd(self) -> Decimal:
        """Return the order's value at its limit, or at the quote's far side."""
        price = self.intent.limit_price
        return self.intent.quantity * (self.quote.far_side(self.intent.side) if price is None else price)

    def __iter__(self) -> Iterator[Verdict]:
        """Go through the verdicts, in the order of the controls."""
        return iter(self.verdicts)


def judge(
    bot: Bot,
    side: Side,
    order_type: OrderType,
    quantity: Decimal,
    limit_price: Decimal | None,
    *,
    now: datetime | None = None,
) -> WhatIf:
    """Return what every control says of this order, as if a person placed it now. Raises MarketDataError and Bot.DoesNotExist."""
    now = now or timezone.now()
    books = load_books([bot.pk], now - RECENT).get(bot.pk)
    if books is None:
        raise Bot.DoesNotExist(f"there is no bot {bot.pk}")
    bot = books.bot
    market = market_for(bot.venue, bot.symbol, now)
    intent = OrderIntent(
        client_order_id="what-if",
        bot_id=bot.pk,
        venue=bot.venue,
        symbol=bot.symbol,
        side=side,
        type=order_type,
        quantity=quantity,
        limit_price=limit_price,
        reduce_only=False,
        is_live=bot.is_live,
        created_at=now,
        leg="what-if",
        reason="what if",
        actor="what-if",
    )
    exposure = _at_venue(books, intent, market, now) if bot.trades_at_venue else gather(books, intent, market, now=now)
    limits = LimitBook.read([bot.pk]).for_bot(bot.pk, is_live=bot.is_live)
    found = gate.verdicts(intent, exposure, limits, read_state(bot.venue, bot.pk), now=now)
    return WhatIf(intent, market.view.quote, exposure, limits, found)


def _at_venue(books: BotBooks, intent: OrderIntent, market: Market, now: datetime) -> Exposure:
    name = account_name(intent.venue, is_live=intent.is_live)
    try:
        shared = load_account_books(name, now - RECENT)
    except Account.DoesNotExist:
        # Nobody traded on it yet: the order itself would make it, and be denied for what is not known of it.
        shared = AccountBooks(Account(name=name, venue=intent.venue, is_live=intent.is_live), {books.bot.pk: books.bot})
    return gather_live(books, shared, intent, market, now=now)
