"""Readiness checks of the way that orders take: the venue would take one, and it cancels them when nobody is there any more."""

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from bots import dead_man
from bots.brokers.base import AccountReport, VenueBroker, VenueError
from bots.brokers.factory import BrokerUnavailable, broker_for
from bots.market_data.base import MarketDataError
from bots.market_data.feeds import feed_for
from bots.models import Bot, BotStatus
from bots.order_ids import random_order_id
from bots.readiness_venues import ASK_AGAIN, ask, why_unused
from safety.intents import InstrumentRules, MarketStatus, OrderIntent, OrderType, Side
from safety.readiness import register
from safety.readiness_values import Context, Outcome, Severity, failed, not_known, not_used, ok

#: The venues that check an order without placing it.
CHECK_ORDERS = frozenset({"kraken"})
#: What is checked where no bot is set live; and how far below the market, so that it would only rest.
USUAL_SYMBOL = "BTC/USD"
FAR_BELOW = Decimal("0.5")
#: The least order twice, for fees and for a balance that moves meanwhile.
CASH_FACTOR = 2


@register("venue_validate", "The venue would take an order", Severity.BLOCKER, per_venue=True)
def venue_validate(context: Context) -> Outcome:
    """Have the venue check the least order of a live bot's symbol, far below the market. Nothing is placed.

    Made last, and only where the other checks of the venue found nothing: they say better what is wrong.
    """
    if unused := context.once(why_unused):
        return not_used(unused)
    if context.venue not in CHECK_ORDERS:
        return not_used("The venue offers no check of an order.")
    answers = context.once(ask)
    if answers.trouble or answers.rights is None or not answers.rights.is_known or answers.account is None:
        return not_used("Not asked, since the venue did not answer for its key or its account: see those checks.")
    if not answers.rights.can_trade:
        return not_used("Not asked, since the key may not trade: see the check of its rights.")
    if answers.status is not None and answers.status.market != MarketStatus.OPEN:
        return not_used(f"Not asked while the venue says of itself: {answers.status.name}.")
    try:
        return _judge(context, broker_for(context.venue, is_live=True), answers.account)
    except (BrokerUnavailable, VenueError, MarketDataError) as error:
        return not_known(f"The venue could not be asked to check an order: {error}", ASK_AGAIN)


def _judge(context: Context, broker: VenueBroker, account: AccountReport) -> Outcome:
    order, rules = _least_order(context, _symbol(context.venue))
    price = order.limit_price or Decimal(0)
    cost = order.quantity * price
    # A quote currency that is no dollar is among the holdings.
    has = {**account.holdings, **account.cash_usd}.get(rules.quote_currency, Decimal(0))
    has -= account.on_hold.get(rules.quote_currency, Decimal(0))
    shown = f"a buy of {order.quantity:f} {order.symbol} at {price:f}"
    if has < cost * CASH_FACTOR:
        return not_used(f"The account has too little {rules.quote_currency} free for {shown}: nothing could be bought.")
    refusal = broker.validate(order)
    if refusal is None:
        return not_used("The venue offers no check of an order.")
    if refusal:
        return failed(
            f"The venue would not take {shown}: {refusal}.",
            "Do not trade live. Settle what the venue says, at the venue, then run manage.py verify_live_ready again.",
        )
    return ok(f"The venue would take {shown}. It was checked there, and not placed.")


def _symbol(venue: str) -> str:
    live = Bot.objects.filter(venue=venue, dry_run=False).exclude(status=BotStatus.ARCHIVED).order_by("pk")
    return live.values_list("symbol", flat=True).first() or USUAL_SYMBOL


def _least_order(context: Context, symbol: str) -> tuple[OrderIntent, InstrumentRules]:
    """Return the least order that the rules allow, and the rules. Raises MarketDataError."""
    feed = feed_for(context.venue)
    rules, quote = feed.rules(symbol), feed.quote(symbol, context.now)
    price = quote.bid * FAR_BELOW
    price = _to_step(price, rules.tick_at(price), ROUND_FLOOR)
    if price <= 0:
        raise MarketDataError(f"the price of {symbol} is too small to check an order far below it")
    quantity = _to_step(max(rules.quantity_min, rules.notional_min / price), rules.lot_size, ROUND_CEILING)
    order = OrderIntent(
        client_order_id=random_order_id("v"),
        bot_id=0,
        venue=context.venue,
        symbol=symbol,
        side=Side.BUY,
        type=OrderType.LIMIT,
        quantity=quantity,
        limit_price=price,
        reduce_only=False,
        is_live=True,
        created_at=context.now,
        leg="validate",
        reason="readiness: the venue checks it, nothing is placed",
        actor="readiness",
    )
    return order, rules


def _to_step(figure: Decimal, step: Decimal, rounding: str) -> Decimal:
    return (figure / step).to_integral_value(rounding) * step


@register("dead_man_switch", "The dead-man switch is on while orders rest", Severity.WARNING, per_venue=True)
def dead_man_switch(context: Context) -> Outcome:
    """Warn of live orders that rest at a venue which would not cancel them if the console died."""
    if context.venue not in dead_man.VENUES:
        return not_used("The venue has no such switch: what rests there stays if the console dies.")
    switch = next((one for one in dead_man.views(context.now) if one.account == context.venue), None)
    if switch is None:
        return not_known("The row of the switch is gone.", "Run manage.py prepare, which makes it anew.")
    if not switch.rests:
        return not_used("No live order of ours rests there.")
    if switch.failure:
        return failed(
            f"Live orders rest there, and the switch could not be refreshed: {switch.failure}.",
            "See whether the venue answers, and that the slow cluster runs; it tries again every 5 s.",
        )
    if not switch.is_bare:
        return ok(f"It fires in {switch.left_s} s unless a worker refreshes it.")
    remedy = "See that the slow cluster runs: it winds the switch up within seconds."
    if not switch.is_wanted:
        remedy = "Switch it on, on the Safety page, if the venue shall cancel what rests when the console dies."
    return failed("Live orders rest there, and stay there if the console dies.", remedy)
