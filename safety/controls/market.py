"""Controls on the market that an order goes to: its data, its hours, and what the venue's rules say of the order."""

from decimal import Decimal

from safety.controls.base import CLOCK_SKEW_S_MAX, Situation, text, usd
from safety.intents import Denial, InstrumentRules, MarketStatus, OrderType

QUOTE_CURRENCIES = frozenset({"USD", "USDT", "USDC"})
# What the feeds' own bounds grant a quote for being late; the limit that is set for it takes this part's place.
LATENESS_S_USUAL = Decimal(10)


def invalid_market_data(s: Situation) -> Denial | None:
    """Deny on a quote that is missing, not a number, zero, negative, crossed, or of another symbol."""
    quote = s.exposure.quote
    if quote is None:
        return Denial("INVALID_MARKET_DATA", "There is no quote to judge the order by.", "a quote", "not known")
    if s.sound_quote is not None:
        return None
    is_number = quote.bid.is_finite() and quote.ask.is_finite()
    return Denial(
        "INVALID_MARKET_DATA",
        # The source says why there is no price: the venue is away, the symbol is not known.
        "The quote is not a sound one for this symbol."
        if is_number
        else f"There is no price of {quote.symbol} to judge the order by; its source: {quote.source}.",
        "0 < bid <= ask",
        f"{quote.symbol} on {quote.venue}: bid {quote.bid}, ask {quote.ask}",
    )


def stale_market_data(s: Situation) -> Denial | None:
    """Deny entries on a quote or a candle that is older than its limit, or on a quote from the future.

    The feed says how old its quotes may be, 10 s for being late included; ``limits.quote_age_s_max`` replaces those 10 s.
    """
    if s.is_exit:
        return None
    return _stale_quote(s) or _stale_candle(s)


def _stale_quote(s: Situation) -> Denial | None:
    feed_limit_s, late_s, age_s = s.exposure.quote_age_max_s, s.limits.quote_age_s_max, s.quote_age_s
    if late_s is None:
        return None
    if age_s is None or feed_limit_s is None:
        return Denial("STALE_MARKET_DATA", "The age of the quote is not known.", text(feed_limit_s), "not known")
    limit_s = feed_limit_s - LATENESS_S_USUAL + late_s
    if -CLOCK_SKEW_S_MAX <= age_s <= limit_s:
        return None
    return Denial(
        "STALE_MARKET_DATA", "The quote is too old, or a clock is wrong.", f"{text(limit_s)} s", f"{text(age_s)} s"
    )


def _stale_candle(s: Situation) -> Denial | None:
    age_s, bar_s, periods = s.exposure.candle_age_s, s.exposure.candle_bar_s, s.limits.candle_periods_max
    if periods is None:
        return None
    if age_s is None or bar_s is None:
        return Denial("STALE_MARKET_DATA", "The age of the last candle is not known.", "a candle", "not known")
    if age_s <= bar_s * periods:
        return None
    return Denial(
        "STALE_MARKET_DATA",
        f"The last candle is too old: new ones come every {text(bar_s)} s.",
        f"{text(bar_s * periods)} s",
        f"{text(age_s)} s",
    )


def market_closed(s: Situation) -> Denial | None:
    """Deny entries while the market is anything but open. Exits go to the venue, whose answer then is the true one."""
    status = s.exposure.market_status
    if s.is_exit or status == MarketStatus.OPEN:
        return None
    meaning: dict[str | None, str] = {
        MarketStatus.CLOSED: "The market is closed.",
        MarketStatus.CANCEL_ONLY: "The venue takes cancels only.",
        MarketStatus.POST_ONLY: "The venue takes only orders that rest.",
    }
    message = meaning.get(status, "It is not known whether the market is open.")
    return Denial("MARKET_CLOSED", message, MarketStatus.OPEN.value, str(status or "not known"))


def symbol_not_allowed(s: Situation) -> Denial | None:
    """Deny every symbol that is not on the allow-list."""
    allowed = s.exposure.allowed_symbols
    if allowed is not None and (s.intent.venue, s.intent.symbol) in allowed:
        return None
    names = "not known" if allowed is None else ", ".join(sorted(f"{symbol} on {venue}" for venue, symbol in allowed))
    return Denial(
        "SYMBOL_NOT_ALLOWED",
        "This bot may not trade this symbol.",
        names or "none",
        f"{s.intent.symbol} on {s.intent.venue}",
    )


def instrument_rules(s: Situation) -> Denial | None:
    """Deny what the venue's rules for the symbol forbid: inactive, off the lot or tick, too small, or a foreign currency."""
    problem = _rule_broken(s)
    return None if problem is None else Denial("INSTRUMENT_RULES", *problem)


def _rule_broken(s: Situation) -> tuple[str, str, str] | None:
    """Return message, limit and actual of the first rule that is broken."""
    rules, intent = s.exposure.rules, s.intent
    if rules is None:
        return "The venue's rules for this symbol are not known.", "rules", "not known"
    if (rules.venue, rules.symbol) != (intent.venue, intent.symbol) or not _is_sound(rules):
        return (
            "The venue's rules are not sound ones for this symbol.",
            "sound rules",
            f"{rules.symbol} on {rules.venue}",
        )
    if not rules.is_active:
        return "The venue does not trade this symbol now.", "active", "inactive"
    if rules.quote_currency not in QUOTE_CURRENCIES:
        return "The symbol is not priced in dollars.", ", ".join(sorted(QUOTE_CURRENCIES)), rules.quote_currency
    if not intent.quantity.is_finite() or intent.quantity <= 0 or intent.quantity % rules.lot_size != 0:
        return "The quantity is not a whole number of lots.", text(rules.lot_size), str(intent.quantity)
    if intent.quantity < rules.quantity_min:
        return "The quantity is below the venue's minimum.", text(rules.quantity_min), text(intent.quantity)
    if intent.type == OrderType.LIMIT:
        price = intent.limit_price
        if price is None or not price.is_finite() or price <= 0:
            return "The limit price is no price.", "above zero", str(price)
        if price % rules.tick_at(price) != 0:
            return "The limit price is not a whole number of ticks.", text(rules.tick_at(price)), str(price)
    elif intent.limit_price is not None:
        return "A market order has no limit price.", "no price", str(intent.limit_price)
    return None


def _is_sound(rules: InstrumentRules) -> bool:
    """Return whether steps are above zero and minimums not below it. A wrong sign would let every quantity pass."""
    steps = (rules.tick_size, rules.lot_size, rules.tick_size if rules.fine_tick_size is None else rules.fine_tick_size)
    minimums = (rules.quantity_min, rules.notional_min)
    return all(figure.is_finite() for figure in (*steps, *minimums)) and min(steps) > 0 and min(minimums) >= 0


def notional_below_min(s: Situation) -> Denial | None:
    """Deny what is worth less than the venue's minimum; entries also what is below the floor that was set for the venue."""
    rules, value = s.exposure.rules, s.notional_usd
    if rules is None or value is None or not value.is_finite():
        return Denial("NOTIONAL_BELOW_MIN", "The order's value cannot be judged.", "a minimum", usd(None))
    floor = rules.notional_min
    if not s.is_exit:
        if s.intent.venue not in s.limits.notional_usd_min:
            return Denial("NOTIONAL_BELOW_MIN", "There is no floor for this venue.", "not known", usd(value))
        floor = max(floor, s.limits.notional_usd_min[s.intent.venue])
    if value >= floor:
        return None
    return Denial("NOTIONAL_BELOW_MIN", "The order is worth less than the minimum.", usd(floor), usd(value))
