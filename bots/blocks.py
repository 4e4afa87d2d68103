"""What holds a bot back now, in one list: the trading state, its gate, held entries, its account, its market, its last tick.

The pages, the API and the ticks read the same lines. A paper bot's gate is never asked: it costs nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.utils import timezone

from audit import figures
from bots.accounts import account_name, is_fresh
from bots.brokers.access import Lockout, lockout_of
from bots.brokers.factory import BrokerUnavailable, broker_for
from bots.exposure import Market, held_reason
from bots.intelligence.reasons import REMEDIES as THOUGHT_REMEDIES
from bots.markets import Moment
from bots.marks import market_of
from bots.models import Account, Bot, BotStatus, Difference, DifferenceKind, Position
from safety import live_gate, readiness
from safety.controls.base import Situation, StateReading
from safety.controls.live import readiness as readiness_control
from safety.intents import Denial, Exposure, Level, LimitSet, Lock, OrderIntent, OrderType, ReadinessVerdict, Side
from safety.kill_switch import StateBook
from safety.remedies import REMEDIES

#: Venues where shares are held, which their companies may split.
KEEPS_SHARES = frozenset({"alpaca"})
TICKING = (BotStatus.RUNNING, BotStatus.PAUSED)
STATE_TEXTS = {
    Level.ACTIVE: "Trading is active",
    Level.REDUCING: "Only orders that shrink a position are allowed",
    Level.HALTED: "Trading is halted",
}
# Of an order the control looks at these two only: that it is live, and that it is no exit.
_ANY_ENTRY = OrderIntent(
    "", 0, "", "", Side.BUY, OrderType.MARKET, Decimal(1), None, False, True, datetime(1970, 1, 1, tzinfo=UTC), "", "", ""
)  # fmt: skip
# Read anew whenever they are asked for: what a tick said of them is older.
READ_NOW = frozenset(
    {"KILL_SWITCH", "LIVE_GATE_CLOSED", "READINESS", "ENTRIES_HELD", "MARKET_DATA", "ACCOUNT_UNKNOWN", "VENUE_LOCKOUT"}
)  # fmt: skip
#: The codes of what the intelligence layer takes away begin so: no control's does.
INTELLIGENCE = "INTELLIGENCE_"
_THOUGHT_REMEDIES = {f"{INTELLIGENCE}{code.value}": text for code, text in THOUGHT_REMEDIES.items()}
#: What a control writes for a figure that it did not have.
NOT_KNOWN = "not known"
#: The controls that need to know what the account holds.
OF_ACCOUNT = frozenset(
    {
        "NOTIONAL_ABOVE_MAX",
        "POSITION_MAX",
        "GROSS_EXPOSURE_MAX",
        "DAILY_LOSS",
        "DRAWDOWN",
        "INSUFFICIENT_FUNDS",
        "ACCOUNT_BLOCKED",
    }
)


@dataclass(frozen=True, slots=True)
class Block:
    """One thing that holds a bot back, as its page and the API show it. ``limit`` and ``actual`` are empty where not known."""

    code: str
    message: str
    limit: str = ""
    actual: str = ""

    @classmethod
    def of(cls, denial: Denial) -> "Block":
        """Return the block that a control's "no" makes."""
        return cls(denial.code, denial.message, denial.limit, denial.actual)

    @property
    def is_for_want_of_figures(self) -> bool:
        """Return whether it is no verdict on what was wanted: a figure was missing, and what is not known counts as no."""
        return NOT_KNOWN in (self.limit, self.actual)

    @property
    def remedy(self) -> str:
        """Return what a person can do about it; an empty text when nothing is known."""
        if self.is_for_want_of_figures:
            return REMEDIES["ACCOUNT_UNKNOWN" if self.code in OF_ACCOUNT else "NOT_KNOWN"]
        return REMEDIES.get(self.code) or _THOUGHT_REMEDIES.get(self.code, "")

    @property
    def stops_exits(self) -> bool:
        """Return whether not even a sale can go out while this holds."""
        return self.code in ("LIVE_GATE_CLOSED", "ACCOUNT_BLOCKED", "MARKET_DATA")

    def as_dict(self) -> dict[str, str]:
        """Return it as plain text; limit and actual only where they say something."""
        figures = {"limit": self.limit, "actual": self.actual}
        return {"code": self.code, "message": self.message, **{name: text for name, text in figures.items() if text}}


class Sight:
    """What bots are judged by at one moment. Each thing is read once, when the first bot needs it, and kept no longer than that.

    ``moment`` holds the markets. The trading states, the locks of a venue, its readiness and its accounts' ages are read as often
    as there are venues, however many bots there are.
    """

    def __init__(self, moment: Moment, states: StateBook) -> None:
        self.moment = moment
        self._states = states
        self._locks: dict[tuple[str, bool], tuple[Lock, ...]] = {}
        self._verdicts: dict[str, ReadinessVerdict] = {}
        self._measured: dict[str, datetime | None] | None = None
        self._lockouts: dict[str, Lockout | None] = {}

    @classmethod
    def at(cls, now: datetime) -> "Sight":
        """Return a sight as of ``now``, with the trading states as they stand."""
        return cls(Moment(now), StateBook.read())

    @property
    def now(self) -> datetime:
        """Return the moment that this is a sight of."""
        return self.moment.now

    def state(self, bot: Bot) -> StateReading:
        """Return the trading state that binds a bot."""
        return self._states.reading(bot.venue, bot.pk)

    def locks(self, bot: Bot) -> tuple[Lock, ...]:
        """Return the locks of a live bot's gate."""
        key = (bot.venue, bot.dry_run)
        if key not in self._locks:
            self._locks[key] = live_gate.read_locks(bot.venue, dry_run=bot.dry_run)
        return self._locks[key]

    def verdict(self, venue: str) -> ReadinessVerdict:
        """Return what the last readiness run said of a venue."""
        if venue not in self._verdicts:
            self._verdicts[venue] = readiness.verdict(venue)
        return self._verdicts[venue]

    def measured_at(self, account: str) -> datetime | None:
        """Return when an account at a venue was last measured, or None."""
        if self._measured is None:
            at_venues = Account.objects.filter(bot=None)
            self._measured = dict(at_venues.values_list("name", "measured_at"))
        return self._measured.get(account)

    def lockout(self, account: str) -> Lockout | None:
        """Return the lockout of an account's key that lasts, or None."""
        if account not in self._lockouts:
            self._lockouts[account] = lockout_of(account)
        return self._lockouts[account]


def state_blocks(state: StateReading) -> list[Block]:
    """Return what the trading state holds back."""
    if state.level == Level.ACTIVE:
        return []
    return [Block("KILL_SWITCH", f"{STATE_TEXTS[state.level]}: {'; '.join(state.reasons).rstrip('.')}.")]


def gate_blocks(bot: Bot, sight: Sight | None = None) -> list[Block]:
    """Return every lock of a live bot's gate that is shut, and what readiness has against its entries. Nothing for paper.

    Read now, or as a page's ``sight`` has it.
    """
    if not bot.is_live:
        return []
    if sight is None:
        locks, verdict = live_gate.read_locks(bot.venue, dry_run=bot.dry_run), readiness.verdict(bot.venue)
    else:
        locks, verdict = sight.locks(bot), sight.verdict(bot.venue)
    return [*lock_blocks(locks), *readiness_blocks(verdict, timezone.now())]


def venue_blocks(bot: Bot) -> list[Block]:
    """Return that no order of a bot on its venue's paper account can go there from here; its gate says so for a live one."""
    if bot.is_live or not bot.trades_at_venue:
        return []
    try:
        broker_for(bot.venue, is_live=False)
    except BrokerUnavailable as unavailable:
        return [Block("ACCOUNT_BLOCKED", str(unavailable), "an account that can be asked", "not available")]
    return []


def share_blocks(bot: Bot, position: Position) -> list[Block]:
    """Return that the shares in a bot's book were split or the like: what it decides by, its average price, is not right now.

    A stop loss would see a split as a fall in price, and sell. Orders of a person and of a flatten are not held back.
    """
    if bot.venue not in KEEPS_SHARES or not bot.trades_at_venue or not position.quantity:
        return []
    name = account_name(bot.venue, is_live=bot.is_live)
    rows = Difference.objects.filter(account_id=name, kind=DifferenceKind.SHARES, asset=bot.symbol, closed_at=None)
    what = "The bot decides nothing until a person has carried it into its book, on the Reconciliation page."
    return [Block("RECONCILIATION_OPEN", f"{one.text} {what}") for one in rows]


def lock_blocks(locks: Iterable[Lock]) -> list[Block]:
    """Return a block for each lock that is shut, with what opens it."""
    # Most reasons name their lock by themselves.
    shut = [(lock.id, lock.reason) for lock in locks if not lock.is_open]
    return [
        Block("LIVE_GATE_CLOSED", why if name in why else f"{name}: {why}", "open", f"{name} shut")
        for name, why in shut
    ]


def readiness_blocks(verdict: ReadinessVerdict, now: datetime) -> list[Block]:
    """Return what the last readiness run has against live entries at a venue: what the gate's own control says of one."""
    entry = Situation(_ANY_ENTRY, Exposure(readiness=verdict), LimitSet(None), StateReading(Level.ACTIVE), now)
    denial = readiness_control(entry)
    return [] if denial is None else [Block.of(denial)]


def lockout_blocks(bot: Bot, sight: Sight) -> list[Block]:
    """Return that the venue has locked out the key of a live bot: nothing is asked of it, and next to nothing leaves."""
    lockout = sight.lockout(account_name(bot.venue, is_live=True)) if bot.is_live else None
    if lockout is None:
        return []
    venue, until = bot.venue.capitalize(), f"{lockout.until.astimezone(UTC):%H:%M} UTC"
    said = f"{venue} locked the API key out at {lockout.since.astimezone(UTC):%H:%M} UTC: it is left alone until about {until}."
    return [
        Block("VENUE_LOCKOUT", f"{said} No entry leaves until then; an exit or a cancel is tried every two minutes.")
    ]


def account_blocks(bot: Bot, now: datetime, sight: Sight | None = None) -> list[Block]:
    """Return that what the bot's account at a venue holds is not known now: every entry would be denied for that."""
    if not bot.trades_at_venue:
        return []
    name = account_name(bot.venue, is_live=bot.is_live)
    if sight is None:
        measured_at = Account.objects.filter(pk=name).values_list("measured_at", flat=True).first()
    else:
        measured_at = sight.measured_at(name)
    if is_fresh(measured_at, now):
        return []
    last = "was not told yet" if measured_at is None else f"was last told {figures.age(measured_at, now)}"
    said = f"What its account at {bot.venue.capitalize()} holds {last}: new entries wait until the venue says it again."
    return [Block("ACCOUNT_UNKNOWN", said)]


def in_short(blocks: Iterable[Block]) -> str:
    """Return one sentence for a denial with many reasons that all come from one thing; an empty text where it has none."""
    reasons = list(blocks)
    missing = [one for one in reasons if one.is_for_want_of_figures]
    if len(missing) < 2:
        return ""
    what = "what the account holds" if any(one.code in OF_ACCOUNT for one in missing) else "what it is judged by"
    others = len(reasons) - len(missing)
    rest = f" {others} other{'' if others == 1 else 's'} had something against it, too." if others else ""
    return f"In short: {what} was not known just then, and {len(missing)} controls need it to say yes.{rest}"


def market_blocks(market: Market, now: datetime) -> list[Block]:
    """Return that nothing can be bought at this market now: it is closed, or its price is too old."""
    if not market.view.is_open:
        return [Block("MARKET_CLOSED", "The market is closed.")]
    quote = market.view.quote
    if (now - quote.seen_at).total_seconds() <= market.quote_age_max_s:
        return []
    text = f"The price is {figures.age(quote.seen_at, now).removesuffix(' ago')} old: too old to buy on."
    return [Block("STALE_MARKET_DATA", text, f"{figures.duration(int(market.quote_age_max_s))}")]


def held_blocks(bot: Bot) -> list[Block]:
    """Return why the bot's entries wait for a person."""
    held = held_reason(bot)
    return [Block("ENTRIES_HELD", f"New entries wait: {held}.")] if held else []


def blocks_now(bot: Bot, sight: Sight, market: Market | None, market_problem: str = "") -> list[Block]:
    """Return all that holds a bot back now, with what its last tick met. ``market_problem``: why there is no ``market``.

    A stopped bot does nothing anyway: of it only that is told which will still be there when it is started. So is a halt: it
    ends by a person only.
    """
    is_archived = bot.status == BotStatus.ARCHIVED
    blocks = gate_blocks(bot, sight)
    if bot.status in TICKING or (bot.is_live and not is_archived):
        blocks = [*state_blocks(sight.state(bot)), *blocks]
    if not is_archived:
        blocks += venue_blocks(bot)
    if market_problem and not is_archived:
        blocks.append(Block("MARKET_DATA", market_problem))
    told = _of_tick(bot) if bot.status in TICKING else []
    if bot.status in TICKING and market is not None:
        codes = {one.code for one in told}
        blocks += [one for one in market_blocks(market, sight.now) if one.code not in codes]
    blocks += held_blocks(bot)
    if bot.status in TICKING:
        blocks += [*lockout_blocks(bot, sight), *account_blocks(bot, sight.now, sight)]
    # What the tick met as well is said once.
    return [*blocks, *(one for one in told if one not in blocks)]


def blocked_by(bot: Bot) -> list[Block]:
    """Return all that holds a bot back now, asking its market, for whoever has not done so already."""
    sight = Sight.at(timezone.now())
    return blocks_now(bot, sight, *market_of(bot, sight.moment))


def from_tick(found: object) -> list[Block]:
    """Return the blocks that a tick or a denial left, as they are stored. What cannot be read is said, not left out."""
    if found is None:
        return []
    if not isinstance(found, list):
        return [Block("", "what the tick said cannot be read")]
    return [_stored(one) for one in found]


def _stored(one: Any) -> Block:
    if not isinstance(one, dict) or not one.get("message"):
        return Block("", str(one))
    texts = (str(one.get(name, "")) for name in ("code", "message", "limit", "actual"))
    return Block(*texts)


def _of_tick(bot: Bot) -> list[Block]:
    tick = getattr(bot, "tick", None)
    return [one for one in from_tick(None if tick is None else tick.blocked_by) if one.code not in READ_NOW]
