"""What the order path speaks in: frozen values that pass between strategy, gate, executor and broker."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from django.db.models import TextChoices


class Side(TextChoices):
    """Which way an order trades."""

    BUY = "buy"
    SELL = "sell"


class OrderType(TextChoices):
    """How an order is priced."""

    MARKET = "market"
    LIMIT = "limit"


class Level(TextChoices):
    """The trading states, least strict first."""

    ACTIVE = "active"
    REDUCING = "reducing"
    HALTED = "halted"

    @property
    def rank(self) -> int:
        """Return how strict the level is: 0 for active, 2 for halted."""
        return _RANKS[self.value]


#: Asked for with every latch of every bot: walking through the levels each time is what it would cost most by.
_RANKS = {level.value: rank for rank, level in enumerate(Level)}


class MarketStatus(TextChoices):
    """What the venue does with orders in a symbol now."""

    OPEN = "open"
    CLOSED = "closed"
    CANCEL_ONLY = "cancel_only"
    POST_ONLY = "post_only"


@dataclass(frozen=True, slots=True)
class OrderIntent:
    """An order that somebody wants, before anything has been decided about it.

    ``quantity`` is in units of the base asset, ``limit_price`` in the quote currency (None for a market order).
    ``leg`` names the order's part in its tick (``base``, ``so1``, ``exit``); ``reason`` is for people. ``is_flatten`` marks an
    order of a flatten that a person confirmed: only bots/flatten.py sets it.
    """

    client_order_id: str
    bot_id: int
    venue: str
    symbol: str
    side: Side
    type: OrderType
    quantity: Decimal
    limit_price: Decimal | None
    reduce_only: bool
    is_live: bool
    created_at: datetime
    leg: str
    reason: str
    actor: str
    is_flatten: bool = False


@dataclass(frozen=True, slots=True)
class Quote:
    """Best bid and offer in the quote currency, when they were seen (UTC) and where they came from."""

    venue: str
    symbol: str
    bid: Decimal
    ask: Decimal
    seen_at: datetime
    source: str

    @property
    def mid(self) -> Decimal:
        """Return the price half-way between bid and ask."""
        return (self.bid + self.ask) / 2

    def far_side(self, side: Side) -> Decimal:
        """Return the price that a market order of ``side`` has to cross to: the ask for a buy, the bid for a sell."""
        return self.ask if side == Side.BUY else self.bid


@dataclass(frozen=True, slots=True)
class InstrumentRules:
    """What the venue demands of an order in one symbol. Money figures are in the quote currency.

    ``fine_tick_size`` is the step of prices below 1, where the venue has a finer one there, as exchanges have for penny stocks.
    """

    venue: str
    symbol: str
    quote_currency: str
    tick_size: Decimal
    lot_size: Decimal
    quantity_min: Decimal
    notional_min: Decimal
    is_active: bool = True
    fine_tick_size: Decimal | None = None

    def tick_at(self, price: Decimal) -> Decimal:
        """Return the step that a price of this height has to be a multiple of."""
        return self.tick_size if self.fine_tick_size is None or price >= 1 else self.fine_tick_size


@dataclass(frozen=True, slots=True)
class Lock:
    """One lock on live trading: whether it is open, where that was read, and why.

    ``source`` is ``environment``, ``.env``, ``default`` or ``database``; ``reason`` is for people, says what to do when the
    lock is shut, and never holds a secret's value.
    """

    id: str
    is_open: bool
    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReadinessVerdict:
    """What the last readiness run said of a venue: when it finished, and the ids of its blockers. None: there was no run."""

    finished_at: datetime | None = None
    blockers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Exposure:
    """What the gate must know of a bot and its account at the moment an intent is claimed.

    None means *not known*, and every control that needs the figure then denies. Money is in USD, quantities in base units.
    ``bot_committed_usd`` is the position's cost with the notional of resting and unsent entries; ``quote_age_max_s`` is how
    old a quote may be. ``entries_held`` is why entries wait, or an empty text.

    Of the order's symbol: ``market_status``; ``candle_age_s``, since the last closed candle closed, and ``candle_bar_s``, its
    length (both 0 where the order does not rest on candles, as a person's does not); ``is_major`` (majors and stocks);
    ``opposite_prices``, the limits of the account's resting orders on the other side (None among them: a market order);
    ``unknown_on_symbol``, orders whose outcome is not known; ``reconciliation_open``, what of the symbol is not settled.
    Of the bot: ``recent_notionals_usd`` of its last filled orders, at most 30; ``planned_leg_usd``, the largest entry that its
    params lead to; ``live_fills``; ``losing_streak`` and ``last_loss_at``; ``reject_streak``. Of the account: ``equity_usd``;
    ``symbol_exposure_usd`` and ``gross_exposure_usd``, positions at the market and open purchases, without the order itself;
    ``day_start_equity_usd`` and ``peak_equity_usd``, net of deposits and withdrawals since the last reset;
    ``executions_today``, of live orders in the symbol since a person acted; ``account_flags`` that the venue set against it.
    ``locks`` and ``readiness`` are asked for live orders alone.
    """

    quote: Quote | None = None
    rules: InstrumentRules | None = None
    quote_age_max_s: Decimal | None = None
    allowed_symbols: frozenset[tuple[str, str]] | None = None
    capital_usd: Decimal | None = None
    bot_committed_usd: Decimal | None = None
    cash_free_usd: Decimal | None = None
    fee_rate: Decimal | None = None
    position_quantity: Decimal | None = None
    pending_exit_quantity: Decimal | None = None
    open_orders_bot: int | None = None
    open_orders_account: int | None = None
    sent_last_minute_bot: int | None = None
    sent_last_minute_account: int | None = None
    is_duplicate: bool | None = None
    entries_held: str | None = None
    market_status: str | None = None
    candle_age_s: Decimal | None = None
    candle_bar_s: Decimal | None = None
    is_major: bool | None = None
    opposite_prices: tuple[Decimal | None, ...] | None = None
    unknown_on_symbol: int | None = None
    reconciliation_open: tuple[str, ...] | None = None
    recent_notionals_usd: tuple[Decimal, ...] | None = None
    planned_leg_usd: Decimal | None = None
    live_fills: int | None = None
    losing_streak: int | None = None
    last_loss_at: datetime | None = None
    reject_streak: int | None = None
    equity_usd: Decimal | None = None
    symbol_exposure_usd: Decimal | None = None
    gross_exposure_usd: Decimal | None = None
    day_start_equity_usd: Decimal | None = None
    peak_equity_usd: Decimal | None = None
    executions_today: int | None = None
    account_flags: tuple[str, ...] | None = None
    locks: tuple[Lock, ...] | None = None
    readiness: ReadinessVerdict | None = None


@dataclass(frozen=True, slots=True)
class Denial:
    """One control's "no": a stable code, a sentence for people, the limit and the actual figure as text."""

    code: str
    message: str
    limit: str = ""
    actual: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return the denial as plain text fields, for audit rows and API answers."""
        return {"code": self.code, "message": self.message, "limit": self.limit, "actual": self.actual}


@dataclass(frozen=True, slots=True)
class Permit:
    """The gate's leave to send one order, bound to every field that matters. Only safety/gate.py constructs it."""

    client_order_id: str
    bot_id: int
    venue: str
    symbol: str
    side: str
    type: str
    quantity: Decimal
    limit_price: Decimal | None
    is_live: bool
    issued_at: datetime
    reduce_only: bool = False
    is_flatten: bool = False

    def covers(self, order: "OrderIntent") -> bool:
        """Return whether this permit was given for exactly this order."""
        return all(
            getattr(self, name) == getattr(order, name)
            for name in (
                "client_order_id",
                "bot_id",
                "venue",
                "symbol",
                "side",
                "type",
                "quantity",
                "limit_price",
                "is_live",
                "reduce_only",
                "is_flatten",
            )
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """What the gate decided: a permit, or every reason against the order."""

    denials: tuple[Denial, ...] = ()
    permit: Permit | None = None

    @property
    def is_allowed(self) -> bool:
        """Return whether the order may be sent."""
        return self.permit is not None and not self.denials

    @property
    def codes(self) -> tuple[str, ...]:
        """Return the codes of every denial, in the order of the controls."""
        return tuple(denial.code for denial in self.denials)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one control says of an order: its code, and its denial or None where it lets the order pass."""

    code: str
    denial: Denial | None = None


@dataclass(frozen=True, slots=True)
class LimitSet:
    """The limits that hold for one order: global and per-bot ones already merged, the stricter of the two.

    None switches a limit off where the control allows that. Percentages are of the account's equity; with each comes a floor in
    USD, and the larger of the two holds. ``notional_equity_pct`` is None on paper, where only ``notional_usd_max`` binds.
    """

    notional_usd_max: Decimal | None
    notional_usd_min: dict[str, Decimal] = field(default_factory=dict)
    notional_equity_pct: Decimal | None = None
    notional_floor_usd: Decimal = Decimal(125)
    size_outlier_multiple: Decimal | None = Decimal(5)
    collar_pct_major: Decimal | None = Decimal(2)
    collar_pct_other: Decimal | None = Decimal(5)
    collar_passive_pct: Decimal | None = Decimal(30)
    candle_periods_max: Decimal | None = Decimal(2)
    repeat_per_day: int | None = 60
    position_equity_pct: Decimal | None = Decimal(10)
    position_floor_usd: Decimal = Decimal(300)
    gross_equity_pct: Decimal | None = Decimal(50)
    gross_floor_usd: Decimal = Decimal(500)
    daily_loss_pct: Decimal | None = Decimal(3)
    drawdown_pct: Decimal | None = Decimal(10)
    losing_streak_max: int | None = 5
    losing_pause_h: Decimal = Decimal(4)
    reject_streak_max: int | None = 5
    readiness_age_h_max: Decimal = Decimal(24)
    ramp_usd_max: Decimal | None = Decimal(50)
    ramp_fills: int = 10
    rate_per_minute_bot: int | None = 20
    rate_per_minute_account: int | None = 60
    open_orders_bot_max: int | None = 10
    open_orders_account_max: int | None = 50
    quote_age_s_max: Decimal | None = Decimal(10)
    intent_age_s_max: Decimal | None = Decimal(30)
