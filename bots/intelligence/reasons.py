"""Why less than everything is allowed: the codes, and what to do about each."""

from collections.abc import Iterable
from enum import StrEnum

from bots.intelligence.values import Action, Reason


class Code(StrEnum):
    """The reasons, the weightiest first. The first two leave nothing to a strategy; with the others it still exits."""

    TRADING_HALTED = "TRADING_HALTED"
    INVALID_QUOTE = "INVALID_QUOTE"
    REDUCE_ONLY = "REDUCE_ONLY"
    LOSS_LIMIT = "LOSS_LIMIT"
    ASSESSMENT_FAILED = "ASSESSMENT_FAILED"
    STALE_QUOTE = "STALE_QUOTE"
    STALE_CANDLES = "STALE_CANDLES"
    TOO_LITTLE_HISTORY = "TOO_LITTLE_HISTORY"
    BAD_CANDLES = "BAD_CANDLES"
    MISSING_CANDLES = "MISSING_CANDLES"
    PRICE_OUTLIER = "PRICE_OUTLIER"
    POOR_DATA = "POOR_DATA"
    COST_UNKNOWN = "COST_UNKNOWN"
    HIGH_VOLATILITY = "HIGH_VOLATILITY"
    SCORE_BELOW_MIN = "SCORE_BELOW_MIN"


NO_TRADE = frozenset({Code.TRADING_HALTED, Code.INVALID_QUOTE})
ORDER = {code.value: place for place, code in enumerate(Code)}
REMEDIES = {
    Code.TRADING_HALTED: "Find out why trading was halted, then release it on the Safety page.",
    Code.INVALID_QUOTE: "Wait for a price. If none comes, look at the venue's state and at the bot's symbol.",
    Code.REDUCE_ONLY: "Find out why trading is reduce-only, then release it on the Safety page.",
    Code.LOSS_LIMIT: "Look at what was lost. Entries come back with the next day, or with a release by a person.",
    Code.ASSESSMENT_FAILED: "Read the worker's log; the market is judged again with the next tick.",
    Code.STALE_QUOTE: "Wait. If it stays, look at the venue's state and at this machine's network and clock.",
    Code.STALE_CANDLES: "Wait for the next candle. If it stays, look at the venue's state and at the bot's timeframe.",
    Code.TOO_LITTLE_HISTORY: "Wait until there are enough candles, or choose a shorter timeframe.",
    Code.BAD_CANDLES: "Wait for sound candles. If it stays, do not trade this symbol: the venue's data of it are wrong.",
    Code.MISSING_CANDLES: "Wait for more candles. If it stays, choose a longer timeframe or a symbol that is traded more.",
    Code.PRICE_OUTLIER: "Wait for the next candles: they confirm the price, or take it back.",
    Code.POOR_DATA: "Wait for better candles. If it stays, choose a longer timeframe or another symbol.",
    Code.COST_UNKNOWN: "Wait until the venue's fee is known. If it stays, look at the venue's state.",
    Code.HIGH_VOLATILITY: "Wait until the market is calmer.",
    Code.SCORE_BELOW_MIN: "Wait for a better market, or lower the bot's least score.",
}


def reason(code: Code, message: str) -> Reason:
    """Return the reason of this code."""
    return Reason(code.value, message)


def action_of(reasons: Iterable[Reason]) -> Action:
    """Return what these reasons leave allowed; without any, everything is."""
    codes = {one.code for one in reasons}
    if codes & NO_TRADE:
        return Action.NO_TRADE
    return Action.MANAGE_ONLY if codes else Action.TRADE_ALLOWED
