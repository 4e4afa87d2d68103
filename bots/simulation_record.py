"""What a replay remembers for the gate: orders that filled, deals that lost, and what the equity was before."""

from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from bots.ledger import NOTIONALS_KEPT
from bots.market_data.base import CandleSeries, Floats


@dataclass(slots=True)
class Record:
    """The past of one replay, counted as bots/ledger.py and bots/account_chores.py count it. Money in USD."""

    starting_usd: Decimal
    peak_usd: Decimal
    notionals_usd: deque[Decimal] = field(default_factory=lambda: deque(maxlen=NOTIONALS_KEPT))
    filled_orders: int = 0
    filled_on: Counter[date] = field(default_factory=Counter)
    losing_streak: int = 0
    last_loss_at: datetime | None = None

    def note_filled(self, notional_usd: Decimal, at: datetime) -> None:
        """Remember an order that filled."""
        self.filled_orders += 1
        self.filled_on[at.date()] += 1
        self.notionals_usd.append(notional_usd)

    def note_deal(self, pnl_usd: Decimal, at: datetime) -> None:
        """Remember what a deal that closed came to."""
        if pnl_usd < 0:
            self.losing_streak, self.last_loss_at = self.losing_streak + 1, at
        else:
            self.losing_streak = 0

    def note_equity(self, equity_usd: Floats) -> None:
        """Remember the highest equity of these bars."""
        self.peak_usd = max(self.peak_usd, Decimal(str(equity_usd.max())))

    def day_start_usd(self, candles: CandleSeries, bar_s: int, valued: Floats, now: datetime) -> Decimal | None:
        """Return the equity at the last close until the UTC day of ``now`` began, among the bars that are ``valued``.

        None when that close is not valued yet: it is the one that is looked at now.
        """
        # A whole number, as the times are: for a float the whole array would be turned into floats, order by order.
        midnight_s = int(now.replace(hour=0, minute=0, second=0, microsecond=0).timestamp())
        last = int(candles.opened_at.searchsorted(midnight_s - bar_s, side="right")) - 1
        if last < 0:
            return self.starting_usd
        return Decimal(str(valued[last])) if last < len(valued) else None
