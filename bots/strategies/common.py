"""What the strategies share: sizing, exits, fresh signals, and the quick look ahead for replays."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_DOWN, Context, Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bots.market_data.base import CandleSeries, Floats
from bots.strategies.base import CancelProposal, Proposal, StrategyView
from bots.strategies.schema import DecimalParam
from safety.intents import InstrumentRules, OrderType, Side

Flags = NDArray[np.bool_]

# A signal counts for this many candles, so that a worker that was away for a moment does not miss it.
SIGNAL_BARS = 3
# Of the capital; what is above it covers the 1 % cash buffer and a fee of 0.4 %.
SPEND_PCT_MAX = Decimal(98)
# A quick look widens its thresholds by this share: it may point at a bar where nothing happens, never miss one.
FLOAT_SLACK = 1e-9
SCAN_BARS_FIRST = 64
SCAN_BARS_MAX = 8192
HUNDRED = Decimal(100)
_DOWN = Context(prec=60, rounding=ROUND_DOWN)

POSITION_PCT = DecimalParam(
    "position_pct",
    "Position size",
    Decimal(18),
    Decimal("0.1"),
    SPEND_PCT_MAX,
    "% of capital",
    "How much of the bot's capital one entry buys for.",
)


def stop_loss_param(default: str) -> DecimalParam:
    """Return the stop-loss param with this default; 0 switches it off."""
    return DecimalParam(
        "stop_loss_pct",
        "Stop loss",
        Decimal(default),
        Decimal(0),
        Decimal(90),
        "%",
        "Sell everything when the bid falls this far below the average buy price; 0 switches it off.",
    )


def take_profit_param(default: str, minimum: str = "0") -> DecimalParam:
    """Return the take-profit param with this default."""
    off = "; 0 switches it off" if minimum == "0" else ""
    return DecimalParam(
        "take_profit_pct",
        "Take profit",
        Decimal(default),
        Decimal(minimum),
        Decimal(1000),
        "%",
        f"Sell everything when the bid rises this far above the average buy price, before fees{off}.",
    )


def percent_of(amount: Decimal, percent: Decimal) -> Decimal:
    """Return ``percent`` % of ``amount``."""
    return amount * percent / HUNDRED


def whole_lots(quantity: Decimal, rules: InstrumentRules) -> Decimal:
    """Return ``quantity`` rounded down to a multiple of the lot size."""
    return _DOWN.multiply(_DOWN.divide_int(quantity, rules.lot_size), rules.lot_size)


def price_down_to_tick(price: Decimal, rules: InstrumentRules) -> Decimal:
    """Return ``price`` rounded down to a multiple of the tick size that holds at its height."""
    tick = rules.tick_at(price)
    return _DOWN.multiply(_DOWN.divide_int(price, tick), tick)


def entry_quantity(amount_usd: Decimal, price: Decimal, rules: InstrumentRules) -> Decimal:
    """Return what ``amount_usd`` buys at ``price``, rounded down to whole lots; 0 when it does not buy one lot."""
    return whole_lots(_DOWN.divide(amount_usd, price), rules)


def has_open(view: StrategyView, side: Side) -> bool:
    """Return whether one of the bot's own orders of this side has not ended."""
    return any(order.side == side for order in view.open_orders)


def market_entry(view: StrategyView, amount_usd: Decimal, leg: str, reason: str) -> list[Proposal]:
    """Return a market buy for ``amount_usd`` at the ask, or nothing when that is less than one lot."""
    quantity = entry_quantity(amount_usd, view.quote.ask, view.rules)
    return [Proposal(Side.BUY, OrderType.MARKET, quantity, leg, reason)] if quantity else []


def market_exit(view: StrategyView, reason: str) -> list[Proposal | CancelProposal]:
    """Return cancels of every open purchase, and a reduce-only market sale of the whole position.

    What is left of a purchase, of a market order too, would go on buying what is being sold. There is no sale while another is
    open, or when the position is below the venue's minimum.
    """
    cancels = [
        CancelProposal(order.client_order_id, "The position is being sold")
        for order in view.open_orders
        if order.side == Side.BUY
    ]
    quantity = whole_lots(view.position.quantity, view.rules)
    if not quantity or quantity < view.rules.quantity_min or has_open(view, Side.SELL):
        return [*cancels]
    return [*cancels, Proposal(Side.SELL, OrderType.MARKET, quantity, "exit", reason, reduce_only=True)]


def change_pct(price: Decimal, reference: Decimal) -> Decimal:
    """Return how far ``price`` is above ``reference`` in %, negative when below."""
    return (price / reference - 1) * HUNDRED


def guard_reason(view: StrategyView) -> str | None:
    """Return why stop loss or take profit closes the position now, or None. A figure of 0 is switched off."""
    average = view.position.average_price
    if average is None:
        return None
    bid, stop, take = (view.quote.bid, view.params["stop_loss_pct"], view.params["take_profit_pct"])
    change = change_pct(bid, average)
    if stop and bid <= average * (1 - stop / HUNDRED):
        return f"Stop loss: the bid is {-change:.2f} % below the average buy price; the limit is {stop} %"
    if take and bid >= average * (1 + take / HUNDRED):
        return f"Take profit: the bid is {change:.2f} % above the average buy price; the goal is {take} %"
    return None


def last_trade_s(view: StrategyView) -> float:
    """Return when the bot last entered or left, in UTC epoch seconds; minus infinity when it never did."""
    times: list[datetime | None] = [view.position.last_entry_at, view.position.last_exit_at]
    return max((at.timestamp() for at in times if at is not None), default=float("-inf"))


def fresh_signal(view: StrategyView, flags: Flags) -> int | None:
    """Return how many candles ago ``flags`` last gave a signal that has not been used, or None.

    Looks at the last SIGNAL_BARS candles. A candle that opened before the last entry or exit is used up: its signal is
    what led there, or was already overtaken. So one candle never leads to two entries.
    """
    used_until_s = last_trade_s(view)
    for ago in range(min(SIGNAL_BARS, len(flags))):
        if flags[-1 - ago]:
            return ago if view.candles.opened_at[-1 - ago] > used_until_s else None
    return None


def signal_age(ago: int) -> str:
    """Return "on the last candle" or how many candles before it, for reasons."""
    return "on the last candle" if ago == 0 else f"{ago} candle{'s' if ago > 1 else ''} before the last"


def widened(flags: Flags) -> Flags:
    """Return for each candle whether any of the last SIGNAL_BARS candles, its own included, is flagged."""
    wide = flags.copy()
    for ago in range(1, SIGNAL_BARS):
        wide[ago:] |= flags[:-ago]
    return wide


@dataclass(frozen=True, slots=True)
class Scan:
    """What a replay knows while nothing trades: all candles, the quotes at their closes, and the position as it stands.

    ``average_price`` is None when flat. Floats, with slack: ``propose`` judges exactly.
    """

    candles: CandleSeries
    bid: Floats
    ask: Floats
    start: int
    params: dict[str, Any]
    average_price: float | None = None
    peak_price: float = 0.0
    legs: int = 0
    has_open_orders: bool = False

    def first(self, flagged: Callable[[slice], Flags]) -> int:
        """Return the first bar from ``start`` that ``flagged`` points at, or the number of bars. Steps grow."""
        begin, size, count = self.start, SCAN_BARS_FIRST, len(self.candles)
        while begin < count:
            window = slice(begin, min(begin + size, count))
            flags = flagged(window)
            found = int(flags.argmax())
            if flags[found]:
                return begin + found
            begin, size = window.stop, min(size * 2, SCAN_BARS_MAX)
        return count

    def next_flag(self, flags: Flags) -> int:
        """Return the first bar from ``start`` that is flagged, or the number of bars."""
        return self.first(lambda window: flags[window])

    def guard_prices(self) -> tuple[float, float]:
        """Return the bids at or below and at or above which stop loss and take profit may act, slack included."""
        average = self.average_price or 0.0
        stop, take = (float(self.params["stop_loss_pct"]), float(self.params["take_profit_pct"]))
        low = average * (1 - stop / 100) * (1 + FLOAT_SLACK) if stop else -1.0
        high = average * (1 + take / 100) * (1 - FLOAT_SLACK) if take else float("inf")
        return low, high
