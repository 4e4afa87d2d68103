"""What may be done in a market now, and why. It can only take away: the gate judges every order afterwards all the same."""

from decimal import Decimal
from typing import Any

from bots.intelligence import costs, scoring
from bots.intelligence.candles import BARS_MIN, WARMUP_BARS, Reading, entry_allowed, reading, scores
from bots.intelligence.reasons import ORDER, Code, action_of, reason
from bots.intelligence.values import Action, Assessment, Circumstances, Reason, Regime
from bots.market_data.base import CandleSeries
from safety.controls.base import CLOCK_SKEW_S_MAX
from safety.intents import Level, Quote

__all__ = ["BARS_MIN", "WARMUP_BARS", "Reading", "assess", "entry_allowed", "failed", "reading", "scores"]


def assess(series: CandleSeries, now_: Circumstances) -> Assessment:
    """Return what is thought of the market, and what is allowed in it; the last closed candle is the newest in ``series``.

    It never raises for any figures: what is not known, or not a number, allows no entry.
    """
    read = reading(series)
    cost_bps = _cost_bps(read, now_)
    parts = read.rounded_parts | {"liquidity": _liquidity(read, cost_bps)}
    score = scoring.total(parts)
    reasons = [*_by_circumstances(now_), *read.reasons]
    if cost_bps is None:
        reasons.append(reason(Code.COST_UNKNOWN, "What a trade would cost here is not known."))
    if score < now_.score_min:
        text = f"The market's score is {score}; new entries need {now_.score_min}."
        reasons.append(reason(Code.SCORE_BELOW_MIN, text))
    if len(reasons) > 1:
        reasons.sort(key=lambda one: ORDER[one.code])
    action, inputs = action_of(reasons), read.inputs | _inputs(now_)
    return Assessment(action, read.regime, read.confidence, score, parts, tuple(reasons), cost_bps, inputs)


def failed(message: str) -> Assessment:
    """Return what holds where the market could not be judged at all: exits only."""
    parts = dict.fromkeys(scoring.PARTS, 0)
    why = (reason(Code.ASSESSMENT_FAILED, message),)
    return Assessment(Action.MANAGE_ONLY, Regime.UNKNOWN, Decimal(0), 0, parts, why)


def _by_circumstances(now_: Circumstances) -> list[Reason]:
    """Return what is taken away by anything but the candles."""
    found = []
    if now_.level == Level.REDUCING:
        found.append(reason(Code.REDUCE_ONLY, "Trading is reduce-only."))
    elif now_.level != Level.ACTIVE:
        found.append(reason(Code.TRADING_HALTED, "Trading is halted."))
    if not _is_sound(now_.quote):
        found.append(reason(Code.INVALID_QUOTE, "There is no sound quote to trade at."))
    if now_.losses:
        found.append(reason(Code.LOSS_LIMIT, f"A loss limit is reached: {now_.losses}."))
    if not _is_within(now_.quote_age_s, now_.quote_age_max_s):
        found.append(_stale(Code.STALE_QUOTE, "quote", now_.quote_age_s, now_.quote_age_max_s))
    bound_s = _product(now_.candle_bar_s, now_.candle_periods_max)
    if not _is_within(now_.candle_age_s, bound_s):
        found.append(_stale(Code.STALE_CANDLES, "last candle", now_.candle_age_s, bound_s))
    return found


def _is_sound(quote: Quote | None) -> bool:
    """Return whether there is a quote with 0 < bid <= ask."""
    if quote is None or not (quote.bid.is_finite() and quote.ask.is_finite()):
        return False
    return 0 < quote.bid <= quote.ask


def _is_within(age_s: Decimal | None, bound_s: Decimal | None) -> bool:
    """Return whether an age is known and no more than its bound; one from the future means that a clock is wrong."""
    if age_s is None or bound_s is None or not (age_s.is_finite() and bound_s.is_finite()):
        return False
    return -CLOCK_SKEW_S_MAX <= age_s <= bound_s


def _product(bar_s: Decimal | None, periods: Decimal | None) -> Decimal | None:
    """Return how old the last candle may be, None where that is not known or no figure."""
    if bar_s is None or periods is None or not (bar_s.is_finite() and periods.is_finite()):
        return None
    try:
        return bar_s * periods
    except ArithmeticError:
        return None


def _stale(code: Code, what: str, age_s: Decimal | None, bound_s: Decimal | None) -> Reason:
    if age_s is None or bound_s is None or not age_s.is_finite():
        return reason(code, f"The age of the {what} is not known.")
    if age_s < 0:
        return reason(code, f"The {what} is from the future: a clock is wrong.")
    return reason(code, f"The {what} is {age_s:.9g} s old; {bound_s:.9g} s is the most.")


def _cost_bps(read: Reading, now_: Circumstances) -> Decimal | None:
    """Return the expected cost of a round trip, None where quote or fee is not known, or no sound figure."""
    quote, fee_rate = now_.quote, now_.fee_rate
    if quote is None or not _is_sound(quote) or fee_rate is None or not fee_rate.is_finite() or not 0 <= fee_rate < 1:
        return None
    try:
        return costs.round_trip_bps(quote, fee_rate, read.volatility)
    except ArithmeticError:
        return None


def _liquidity(read: Reading, cost_bps: Decimal | None) -> int:
    """Return the liquidity part; a cost that is not known counts as one that eats everything."""
    cost = float("inf") if cost_bps is None else float(cost_bps)
    return scoring.liquidity(read.part_values["liquidity"], cost, read.way_bps)


def _inputs(now_: Circumstances) -> dict[str, Any]:
    """Return what the assessment was made of beside the candles, as texts; what is not known is left out."""
    quote = now_.quote
    figures = {
        "bid": None if quote is None else quote.bid,
        "ask": None if quote is None else quote.ask,
        "quote_age_s": now_.quote_age_s,
        "candle_age_s": now_.candle_age_s,
        "fee_rate": now_.fee_rate,
    }
    known = {name: str(figure) for name, figure in figures.items() if figure is not None}
    return known | {"level": now_.level.value, "score_min": now_.score_min}
