"""What every page says first: the mode, the trading state and why. What cannot be read is never called paper or active."""

from dataclasses import dataclass
from typing import Any

from django.db import DatabaseError
from django.http import HttpRequest

from bots.models import Bot, BotStatus, Venue
from safety.intents import Level
from safety.kill_switch import GLOBAL, read_state
from safety.models import TradingState
from tradingops.health import Mode, current_mode

MODE_TEXTS = {
    Mode.PAPER: "No real money: orders fill in the built-in paper broker.",
    Mode.LIVE: "Real money. Bots that are set live trade on a real account.",
    Mode.REHEARSAL: "Loopback venues on this machine. No real venue is reached.",
    None: "The database does not answer, so the mode is not known.",
}
LEVEL_TEXTS = {
    Level.ACTIVE: "Orders may go out.",
    Level.REDUCING: "Only orders that shrink a position go out.",
    Level.HALTED: "No order goes out; cancels still do.",
}
MODE_COLOURS = {Mode.PAPER: "info", Mode.LIVE: "danger", Mode.REHEARSAL: "warning", None: "danger"}
CACHE = "_console_status"


@dataclass(frozen=True, slots=True)
class ConsoleStatus:
    """The mode (None: not known), the global trading state with its reasons, and the scopes that are held back by themselves."""

    mode: Mode | None
    level: Level
    reasons: tuple[str, ...]
    has_replay: bool
    held_scopes: tuple[str, ...]

    @property
    def mode_name(self) -> str:
        """Return the mode in capitals."""
        return "MODE NOT KNOWN" if self.mode is None else self.mode.value.upper()

    @property
    def mode_text(self) -> str:
        """Return what the mode means, in a sentence."""
        return MODE_TEXTS[self.mode]

    @property
    def level_text(self) -> str:
        """Return what the trading state means, in a sentence."""
        return LEVEL_TEXTS[self.level]


def read_status() -> ConsoleStatus:
    """Return the console's status. Without a database the mode is not known and the state is halted."""
    state = read_state()
    try:
        mode: Mode | None = current_mode()
        replay = Bot.objects.filter(venue=Venue.REPLAY).exclude(status=BotStatus.ARCHIVED).exists()
        held = TradingState.objects.exclude(scope=GLOBAL).exclude(level=Level.ACTIVE).order_by("scope")[:20]
        scopes = tuple(f"{row.scope} is {row.level}{f': {row.reason}' if row.reason else ''}" for row in held)
    except DatabaseError:
        mode, replay, scopes = None, False, ()
    return ConsoleStatus(mode, state.level, state.reasons, replay, scopes)


def status_of(request: HttpRequest) -> ConsoleStatus:
    """Return the status, read once for a request."""
    if not hasattr(request, CACHE):
        setattr(request, CACHE, read_status())
    status: ConsoleStatus = getattr(request, CACHE)
    return status


def page_context(request: HttpRequest) -> dict[str, Any]:
    """Return what every page of the admin shows, the sign-in page too. Strangers see the state, not the reasons."""
    return {"console": status_of(request), "console_private": bool(getattr(request.user, "is_staff", False))}


def environment(request: HttpRequest) -> list[str]:
    """Return the badge in the header: the mode and its colour."""
    status = status_of(request)
    return [status.mode_name, MODE_COLOURS[status.mode]]


def title_prefix(request: HttpRequest) -> str:
    """Return what the browser's tab begins with: the mode, and the state when it is not active."""
    status = status_of(request)
    return (
        f"[{status.mode_name}]"
        if status.level == Level.ACTIVE
        else f"[{status.mode_name} · {status.level.value.upper()}]"
    )
