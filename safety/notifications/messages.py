"""What is told to people, whatever carries it."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

#: The events of CONTROLS section 5 with their words on the pages, in the order in which they are shown.
EVENTS = {
    "autopilot_bot_created": "The autopilot made a bot",
    "autopilot_bot_closed": "The autopilot closed a bot",
    "risk_alert": "A risk limit was reached",
    "kill_switch_engaged": "Trading was halted (urgent)",
    "kill_switch_released": "Trading was released",
    "live_enabled": "A bot was set live",
    "live_disabled": "A bot was set to paper",
    "order_unknown": "An order's outcome is unknown (urgent)",
    "order_rejected": "A venue refused an order",
    "reconciliation_mismatch": "Our books and the venue's differ (urgent)",
    "bot_error": "A bot failed and was paused",
    "worker_down": "Workers are silent, or back again (urgent)",
    "audit_tampered": "The audit chain is broken (urgent)",
    "daily_summary": "The day's summary",
    "test": "Test messages",
}


class Severity(StrEnum):
    """How much a message matters, which channels show by a colour."""

    INFO = "info"
    WARNING = "warning"
    URGENT = "urgent"


#: They ignore quiet hours and are shown on the Safety page even with every channel off.
URGENT = frozenset({"kill_switch_engaged", "order_unknown", "reconciliation_mismatch", "worker_down", "audit_tampered"})
#: How much each of the other events matters, unless its cause says otherwise.
SEVERITIES = dict.fromkeys(EVENTS, Severity.INFO) | {
    "risk_alert": Severity.WARNING,
    "order_rejected": Severity.WARNING,
    "bot_error": Severity.WARNING,
    "live_enabled": Severity.WARNING,
}


@dataclass(frozen=True, slots=True)
class Message:
    """One message. ``facts`` are pairs of a name and a value, shown beside each other; ``at`` is when the cause happened.

    ``event_id`` is the same whenever the message is sent again, so that a repeat can be told.
    """

    event: str
    title: str
    text: str
    severity: Severity
    at: datetime
    facts: tuple[tuple[str, str], ...] = field(default=())
    event_id: str = ""
