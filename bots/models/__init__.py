"""The models of the bots app, one room each."""

from bots.models.account import Account, NonceKey
from bots.models.autopilot import (
    AutopilotBot,
    AutopilotConfig,
    AutopilotCycle,
    AutopilotDecision,
    AutopilotLosses,
    AutopilotProfile,
    AutopilotState,
    CloseMode,
    CycleStatus,
    Phase,
    Recommendation,
)
from bots.models.book import Deal, EquitySnapshot, Position
from bots.models.bot import Bot, BotStatus, BotTick, PaperBroker, Venue
from bots.models.candle import Candle
from bots.models.dead_man import DeadManSwitch
from bots.models.decision import BotDecision
from bots.models.order import Fill, Order
from bots.models.rate_budget import KrakenTier, RateCounter, VenueAccess
from bots.models.reconciliation import (
    AccountMovement,
    AccountSync,
    AssetBaseline,
    Difference,
    DifferenceKind,
    MovementKind,
    ReconciliationRun,
    RunState,
)
from bots.models.shadow import ShadowBot, ShadowOrder
from bots.models.worker import Lease, WorkerHeartbeat

__all__ = [
    "Account",
    "AccountMovement",
    "AccountSync",
    "AssetBaseline",
    "AutopilotBot",
    "AutopilotConfig",
    "AutopilotCycle",
    "AutopilotDecision",
    "AutopilotLosses",
    "AutopilotProfile",
    "AutopilotState",
    "Bot",
    "BotDecision",
    "BotStatus",
    "BotTick",
    "Candle",
    "CloseMode",
    "CycleStatus",
    "DeadManSwitch",
    "Deal",
    "Difference",
    "DifferenceKind",
    "EquitySnapshot",
    "Fill",
    "KrakenTier",
    "Lease",
    "MovementKind",
    "NonceKey",
    "Order",
    "PaperBroker",
    "Phase",
    "Position",
    "RateCounter",
    "Recommendation",
    "ReconciliationRun",
    "RunState",
    "ShadowBot",
    "ShadowOrder",
    "Venue",
    "VenueAccess",
    "WorkerHeartbeat",
]
