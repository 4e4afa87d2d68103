"""What the intelligence layer speaks in."""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from safety.intents import Level, Quote

#: Rises whenever a formula or a threshold changes, so that a decision that was kept can be understood later.
VERSION = 1


class Regime(StrEnum):
    """What kind of market it is."""

    TREND_UP = "trend_up"
    TREND_DOWN = "trend_down"
    RANGE = "range"
    HIGH_VOLATILITY = "high_volatility"
    UNKNOWN = "unknown"


class Action(StrEnum):
    """What is allowed, most first: entries and exits; exits only; nothing that a strategy decides."""

    TRADE_ALLOWED = "trade_allowed"
    MANAGE_ONLY = "manage_only"
    NO_TRADE = "no_trade"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why less than everything is allowed: a stable code, and a sentence for people."""

    code: str
    message: str

    def as_dict(self) -> dict[str, str]:
        """Return it as plain text."""
        return {"code": self.code, "message": self.message}


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is known beside the candles, at one moment. None: not known, which allows no entry.

    ``level`` is the trading state that binds the bot. ``losses`` names the loss limit that its account has reached, or is empty.
    Ages are in seconds on the wall clock: of the quote, and of the last candle since it closed. ``fee_rate`` is the taker's,
    as a fraction.
    """

    level: Level
    quote: Quote | None = None
    quote_age_s: Decimal | None = None
    quote_age_max_s: Decimal | None = None
    candle_age_s: Decimal | None = None
    candle_bar_s: Decimal | None = None
    candle_periods_max: Decimal | None = Decimal(2)
    fee_rate: Decimal | None = None
    losses: str = ""
    score_min: int = 0


@dataclass(frozen=True, slots=True)
class Assessment:
    """What is thought of one symbol and timeframe at one moment.

    ``confidence`` is from 0 to 1, ``score`` from 0 to 100, ``parts`` are its parts by name, each from 0 to 100. ``cost_bps`` is
    what buying and selling again is expected to cost, in basis points of the value; None where it is not known. ``reasons`` are
    why less than everything is allowed, the weightiest first. ``inputs`` is what it was judged by, as texts and whole numbers.
    """

    action: Action
    regime: Regime
    confidence: Decimal
    score: int
    parts: dict[str, int]
    reasons: tuple[Reason, ...] = ()
    cost_bps: Decimal | None = None
    inputs: dict[str, Any] = field(default_factory=dict)
    version: int = VERSION
