"""Controls on an order's price: how far it is from the market, and whether it would meet an order of our own."""

from safety.controls.base import CLOCK_SKEW_S_MAX, Situation, share_of, text
from safety.controls.market import LATENESS_S_USUAL
from safety.intents import Denial, Side


def price_collar(s: Situation) -> Denial | None:
    """Deny a price too far from the mid: too dear or too cheap, or so far on the passive side that it looks like a slip.

    A market order is judged at the quote's far side. Exits take the last sound mid, however old; entries need a fresh one.
    """
    quote, price, is_major = s.sound_quote, s.price, s.exposure.is_major
    if quote is None or price is None or not price.is_finite() or not isinstance(is_major, bool):
        return Denial("PRICE_COLLAR", "The price cannot be judged against the market's.", "a known market", "not known")
    if not s.is_exit and not _is_fresh(s):
        return Denial("PRICE_COLLAR", "There is no fresh price to judge the order by.", "a fresh quote", "an old one")
    mid = quote.mid
    crossing_pct = s.limits.collar_pct_major if is_major else s.limits.collar_pct_other
    pcts = (crossing_pct, s.limits.collar_passive_pct)
    above_pct, below_pct = pcts if s.intent.side == Side.BUY else reversed(pcts)
    if above_pct is not None and price > (highest := mid + share_of(mid, above_pct)):
        message = f"The price is more than {text(above_pct)} % above the market's {text(mid)}."
        return Denial("PRICE_COLLAR", message, f"at most {text(highest)}", text(price))
    if below_pct is not None and price < (lowest := mid - share_of(mid, below_pct)):
        message = f"The price is more than {text(below_pct)} % below the market's {text(mid)}."
        return Denial("PRICE_COLLAR", message, f"at least {text(lowest)}", text(price))
    return None


def _is_fresh(s: Situation) -> bool:
    age_s, feed_limit_s = s.quote_age_s, s.exposure.quote_age_max_s
    if age_s is None or feed_limit_s is None:
        return False
    # With the limit on the age switched off, the feed's own bound is what remains of "fresh".
    late_s = LATENESS_S_USUAL if s.limits.quote_age_s_max is None else s.limits.quote_age_s_max
    return -CLOCK_SKEW_S_MAX <= age_s <= feed_limit_s - LATENESS_S_USUAL + late_s


def self_match(s: Situation) -> Denial | None:
    """Deny an order that could meet a resting order of the same account on the other side: it would trade with itself."""
    resting, price, is_buy = s.exposure.opposite_prices, s.price, s.intent.side == Side.BUY
    if resting is None or (price is None and resting):
        return Denial("SELF_MATCH", "Whether the order would meet an own one is not known.", "known", "not known")
    if price is None or not resting:
        return None
    message = "The order could trade with a resting order of this account. Cancel that one first."
    limits = [one for one in resting if one is not None]
    if len(limits) < len(resting):
        return Denial("SELF_MATCH", message, "no market order waiting", "one that waits")
    nearest = min(limits) if is_buy else max(limits)
    if price < nearest if is_buy else price > nearest:
        return None
    return Denial("SELF_MATCH", message, f"{'below' if is_buy else 'above'} {text(nearest)}", text(price))
