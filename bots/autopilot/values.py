"""What a plan is made from and of: candidates, its own bots and how each stands, the rules, and decisions. Values only."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from bots.intelligence.values import Action

Key = tuple[str, str]


class Kind(StrEnum):
    """What a decision is: as the decision log shows it. FAILED is one that could not be carried out for a fault."""

    CREATED = "created"
    STARTED = "started"
    CLOSED = "closed"
    DEMOTED = "demoted"
    PROMOTED = "promoted"
    KEPT = "kept"
    WATCHED = "watched"
    SKIPPED = "skipped"
    FAILED = "failed"


class Stand(StrEnum):
    """How one of its bots stands, from how it left it and what became of it since.

    HANDS_OFF: a person paused or stopped it. PAUSED: a control or an error did. KEPT: a person let it go on although it was to
    leave.
    """

    STARTING = "starting"
    WAITING = "waiting"
    TRADING = "trading"
    LEAVING = "leaving"
    LOSS_HOLD = "loss_hold"
    KEPT = "kept"
    PAUSED = "paused"
    HANDS_OFF = "hands_off"


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a scan knows of a symbol. ``problem`` says why nothing is known of it, ``barred`` why no bot may be made for it now.

    ``strategy`` is None where its regime gets none. ``why_not`` are the reasons of an action below TRADE_ALLOWED.
    """

    venue: str
    symbol: str
    asset_type: str
    sector: str
    score: int | None = None
    regime: str = ""
    strategy: str | None = None
    action: str = Action.NO_TRADE
    why_not: str = ""
    problem: str = ""
    problem_code: str = "no_data"
    barred: str = ""
    barred_code: str = "not_tradeable"

    @property
    def key(self) -> Key:
        """Return venue and symbol."""
        return self.venue, self.symbol


@dataclass(frozen=True, slots=True)
class OwnBot:
    """One of the autopilot's bots that is not archived.

    ``said`` is who or what paused it, where somebody did; ``held`` is why it may not buy again now although the autopilot itself
    paused it, with its code. ``is_kept``: a person let it go on although it was to leave, and its score has not recovered since,
    whatever has held it in between.
    """

    bot_id: int
    name: str
    venue: str
    symbol: str
    sector: str
    capital_usd: Decimal
    stand: Stand
    is_flat: bool
    said: str = ""
    held: str = ""
    held_code: str = "loss_limit"
    is_kept: bool = False

    @property
    def key(self) -> Key:
        """Return venue and symbol."""
        return self.venue, self.symbol


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that a plan follows: see AutopilotConfig. Empty ``asset_types``: all."""

    slots: int
    sector_slots: int
    score_min: int
    score_demote: int
    total_capital_usd: Decimal
    is_by_conviction: bool = False
    asset_types: frozenset[str] = frozenset()
    cooldown: timedelta = timedelta(0)
    is_flatten: bool = False


def _no_objection(candidate: Candidate, capital_usd: Decimal) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a plan is made from.

    ``taken`` names for each symbol the bot that somebody else has there; ``closed_at`` is when a symbol's last own bot was
    closed. ``halted`` is why a venue makes no new bots, ``stopped`` which loss limit was reached, and ``unknown_losses`` why
    nobody knows what was lost. ``objection`` says why a bot with this capital could not trade there, ``locked`` why a live bot
    may not be made at a venue.
    """

    now: datetime
    rules: Rules
    candidates: tuple[Candidate, ...] = ()
    own: tuple[OwnBot, ...] = ()
    taken: Mapping[Key, str] = field(default_factory=dict)
    closed_at: Mapping[Key, datetime] = field(default_factory=dict)
    halted: Mapping[str, str] = field(default_factory=dict)
    stopped: str = ""
    unknown_losses: str = ""
    locked: Mapping[str, str] = field(default_factory=dict)
    objection: Callable[[Candidate, Decimal], str] = _no_objection


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision with its reason: a code, and a sentence. ``capital_usd`` and ``strategy`` of a bot that is to be made.

    ``stand`` is how a bot of its own stood: it is acted upon only while it stands so.
    """

    kind: Kind
    code: str
    reason: str
    venue: str = ""
    symbol: str = ""
    bot_id: int | None = None
    score: int | None = None
    capital_usd: Decimal | None = None
    strategy: str | None = None
    regime: str = ""
    stand: Stand | None = None

    @property
    def key(self) -> Key:
        """Return venue and symbol."""
        return self.venue, self.symbol
