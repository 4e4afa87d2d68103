"""How much of its limits a bot has used, as bars with their figures in words."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from audit import figures
from audit.decimals import decimal_text
from bots.market_data.base import MarketDataError
from bots.models import Bot
from bots.what_if import judge
from safety.intents import LimitSet, OrderType, Side
from safety.limit_fields import GAUGES
from safety.limit_usage import Usage, usage

NEAR = Decimal("0.8")
FULL = Decimal(1)


@dataclass(frozen=True, slots=True)
class LimitBar:
    """One limit as a bar: what is used of it in words, and in per cent (None: not known). ``who`` has it, where it is said."""

    usage: Usage
    is_off: bool = False
    who: str = ""

    @property
    def percent(self) -> int | None:
        """Return how full it is, from 0 to 100."""
        return None if self.usage.share is None else int(self.usage.share * 100)

    @property
    def is_full(self) -> bool:
        """Return whether nothing is left of it, so that entries are denied."""
        return self.usage.share is not None and self.usage.share >= FULL

    @property
    def is_near(self) -> bool:
        """Return whether little is left of it."""
        return self.usage.share is not None and NEAR <= self.usage.share < FULL

    @property
    def text(self) -> str:
        """Return what is used and what is allowed."""
        used, limit = self._text(self.usage.used), self._text(self.usage.limit)
        if self.is_off:
            return f"{used}, the limit is switched off"
        unit = "" if self.usage.unit == "USD" else f" {self.usage.unit}"
        return figures.NOT_KNOWN if self.usage.used is None else f"{used} of {limit}{unit}"

    def _text(self, figure: Decimal | int | None) -> str:
        if figure is None:
            return figures.NOT_KNOWN
        return figures.money(Decimal(figure)) if self.usage.unit == "USD" else decimal_text(Decimal(figure))


def limit_bars(bot: Bot, now: datetime) -> list[LimitBar]:
    """Return what the bot has used of each limit that fills up, read without locks; nothing without a market to judge by."""
    try:
        # Of a purchase that nobody makes: what it is judged by is what is used already.
        seen = judge(bot, Side.BUY, OrderType.MARKET, Decimal(1), None, now=now)
    except MarketDataError:
        return []
    return bars_of(usage(seen.exposure, seen.limits, is_live=bot.is_live), seen.limits)


def bars_of(used: Iterable[Usage], limits: LimitSet, *, who: str = "") -> list[LimitBar]:
    """Return the bars of what is used of these limits."""
    off = switched_off(limits)
    return [LimitBar(one, one.code in off, who) for one in used]


def switched_off(limits: LimitSet) -> frozenset[str]:
    """Return the codes of the controls that bound nothing, as against those whose limit follows from what is not known."""
    bounds = {code for code, names in GAUGES if getattr(limits, names[0]) is not None}
    return frozenset(code for code, _ in GAUGES) - bounds
