"""What every page says first: the mode, the trading state and why. What cannot be read is never called paper or active."""

from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import Error
from django.http import HttpRequest
from django.utils import timezone

from audit import bot_names, figures
from bots.models import Bot, BotStatus, Venue
from safety.intents import Level
from safety.kill_switch import GLOBAL, read_state
from safety.latches import copy_to_row
from safety.models import TradingState
from safety.permissions import ENGAGE
from tradingops import autopilot_status
from tradingops.autopilot_status import AutopilotStatus
from tradingops.health import Mode
from tradingops.live_bots import LiveBots, read_live_bots
from tradingops.urgent import unseen_of

MODE_TEXTS = {
    Mode.PAPER: "No real money: orders fill in the built-in paper broker.",
    Mode.LIVE: "Real money.",
    Mode.REHEARSAL: "Loopback venues on this machine. No real venue is reached.",
    None: "The database does not answer, so the mode is not known.",
}
NOT_YET_LIVE = "No bot trades real money now."
LEVEL_TEXTS = {
    Level.ACTIVE: "Orders may go out.",
    Level.REDUCING: "Only orders that shrink a position go out.",
    Level.HALTED: "No order goes out; cancels still do.",
}
NOT_EVERYWHERE = "Orders may go out, but not everywhere."
MODE_COLOURS = {Mode.PAPER: "info", Mode.LIVE: "danger", Mode.REHEARSAL: "warning", None: "danger"}
#: A halt of everything sets it, too: beside the halt's own reason it only makes people wonder.
SETTING_IS_ON = "the kill_switch setting is on"
NAMES_MAX = 3
SCOPES_MAX = 20
CACHE = "_console_status"


@dataclass(frozen=True, slots=True)
class ConsoleStatus:
    """The mode (None: not known), the global trading state with its reasons, and the scopes that are held back by themselves.

    ``autopilot`` says how the autopilot is; None: not known.
    ``since`` says when the global state was set and by whom; it is empty while trading is active, or where nobody knows.
    """

    mode: Mode | None
    level: Level
    reasons: tuple[str, ...]
    has_replay: bool
    held_scopes: tuple[str, ...]
    since: str = ""
    live: LiveBots = field(default_factory=LiveBots)
    autopilot: AutopilotStatus | None = None

    @property
    def mode_name(self) -> str:
        """Return the mode in capitals."""
        return "MODE NOT KNOWN" if self.mode is None else self.mode.value.upper()

    @property
    def mode_text(self) -> str:
        """Return what the mode means, in a sentence."""
        is_about_to = self.mode == Mode.PAPER and self.autopilot is not None and self.autopilot.is_live
        return NOT_YET_LIVE if is_about_to else MODE_TEXTS[self.mode]

    @property
    def level_text(self) -> str:
        """Return what the trading state means, in a sentence."""
        return NOT_EVERYWHERE if self.level != self.shown_level else LEVEL_TEXTS[self.level]

    @property
    def shown_level(self) -> Level:
        """Return whose colour the state is shown in: while a venue or a bot is held back by itself, it is not the green one."""
        return Level.REDUCING if self.level == Level.ACTIVE and self.held_scopes else self.level

    @property
    def is_halted(self) -> bool:
        """Return whether the global state is halted."""
        return self.level == Level.HALTED

    @property
    def live_text(self) -> str:
        """Return which bots touch money on the venues' live path and what they may lose, or an empty text when none does."""
        if not self.live:
            return ""
        count = len(self.live.names)
        shown = ", ".join(self.live.names[:NAMES_MAX]) + (" and others" if count > NAMES_MAX else "")
        bots = f"{count} live bot{'' if count == 1 else 's'} ({shown}) may lose up to {figures.money(self.live.at_risk_usd)}."
        loose = f"{self.live.loose_orders} open live order(s) belong to no bot." if self.live.loose_orders else ""
        return " ".join(text for text in (bots if count else "", loose) if text)


def read_status() -> ConsoleStatus:
    """Return the console's status. Without a database the mode is not known and the state is halted."""
    copy_to_row()
    state = read_state()
    try:
        live = read_live_bots()
        replay = Bot.objects.filter(venue=Venue.REPLAY).exclude(status=BotStatus.ARCHIVED).exists()
        rows = list(TradingState.objects.exclude(level=Level.ACTIVE).order_by("scope")[: SCOPES_MAX + 1])
        autopilot = autopilot_status.read(timezone.now())
        scopes = tuple(_held(row) for row in rows if row.scope != GLOBAL)
    except Error:
        return ConsoleStatus(None, state.level, state.reasons, False, ())
    since = next((_since(row) for row in rows if row.scope == GLOBAL), "") if state.level != Level.ACTIVE else ""
    reasons = tuple(reason for reason in state.reasons if reason != SETTING_IS_ON) or state.reasons
    return ConsoleStatus(_mode(live), state.level, reasons, replay, scopes, since, live, autopilot)


def _mode(live: LiveBots) -> Mode:
    if settings.ENVIRONMENT.is_rehearsal:
        return Mode.REHEARSAL
    return Mode.LIVE if live else Mode.PAPER


def _since(row: TradingState) -> str:
    """Return when a state was set and by whom."""
    age = figures.age(row.changed_at, timezone.now())
    return f"since {row.changed_at:%Y-%m-%d %H:%M:%S} UTC ({age}){f' by {row.actor}' if row.actor else ''}"


def _held(row: TradingState) -> str:
    level = row.level if row.level in Level.values else Level.HALTED.value
    # A full stop follows, and some reasons have one.
    why = row.reason.rstrip(".")
    return f"{scope_name(row.scope)} is {level} {_since(row)}{f': {why}' if why else ''}"


def scope_name(scope: str) -> str:
    """Return a scope's name for people: ``everything``, ``venue kraken``, ``bot NAME``."""
    kind, _, rest = scope.partition(":")
    if kind == "bot" and rest.isdecimal():
        known = bot_names.all_bots()
        return next((f"bot {bot.name}" for bot in known if str(bot.bot_id) == rest), f"bot {rest}")
    return "everything" if scope == GLOBAL else f"{kind} {rest}".strip()


def status_of(request: HttpRequest) -> ConsoleStatus:
    """Return the status, read once for a request."""
    if not hasattr(request, CACHE):
        setattr(request, CACHE, read_status())
    status: ConsoleStatus = getattr(request, CACHE)
    return status


def may_engage(request: HttpRequest) -> bool:
    """Return whether this person may throw the kill switch. Superusers always may."""
    return bool(request.user.has_perm(ENGAGE))


def page_context(request: HttpRequest) -> dict[str, Any]:
    """Return what every page of the admin shows, the sign-in page too. Strangers see the state, not the reasons."""
    is_staff = bool(getattr(request.user, "is_staff", False))
    status = status_of(request)
    return {
        "console": status,
        # Without a database nobody can tell; the banner says that already.
        "console_unseen": unseen_of(request) if is_staff and status.mode is not None else None,
        "console_private": is_staff,
        "console_may_engage": is_staff and may_engage(request),
    }


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
