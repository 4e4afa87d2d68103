"""Who may do what over the API: every endpoint with what it takes, typed by hand from the contract, and every kind of caller.

What is expected of a caller is worked out here from the contract's words alone, and never from the code that decides.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any


class Need(IntEnum):
    """What an act takes; a token's scope, or a person's role, has all that is below it."""

    NOTHING = 0
    READ = 1
    ENGAGE = 2
    OPERATE = 3
    TRADE = 4
    #: Nobody over the API: a person does it on a page.
    PERSON = 9


@dataclass(frozen=True)
class Who:
    """A kind of caller. ``reach`` is the most that it may do, None for nobody who is known."""

    name: str
    reach: Need | None
    is_session: bool = False
    has_csrf: bool = True
    is_token_set: bool = True


WORKER, WRONG, SHORT = "worker's token", "wrong token", "short worker's token"
CALLERS = (
    Who("no token", None),
    Who(WRONG, None),
    Who(SHORT, Need.TRADE),
    Who(WORKER, Need.TRADE),
    Who("read token", Need.READ),
    Who("engage token", Need.ENGAGE),
    Who("operate token", Need.OPERATE),
    Who("trade token", Need.TRADE),
    Who("Viewer", Need.READ, is_session=True, is_token_set=False),
    Who("Operator", Need.OPERATE, is_session=True, is_token_set=False),
    Who("Risk manager", Need.TRADE, is_session=True, is_token_set=False),
    Who("Risk manager without CSRF", Need.TRADE, is_session=True, has_csrf=False, is_token_set=False),
    Who("Risk manager, token set", Need.TRADE, is_session=True),
)


@dataclass(frozen=True)
class Desk:
    """What an act may be tried on; each attempt has bots and orders of its own."""

    bot: int
    live_bot: int
    make_order: Callable[[int], str]


@dataclass(frozen=True)
class Act:
    """One thing that can be asked for. ``path`` may name ``{bot_id}``, which ``is_live`` chooses, and ``{client_order_id}``."""

    title: str
    method: str
    path: str
    need: Need
    is_sensitive: bool = False
    is_live: bool = False
    body: dict[str, Any] = field(default_factory=dict)
    #: What the answer is for those who may, with the live gate open and shut.
    status: int = 200
    status_shut: int = 0

    @property
    def is_read(self) -> bool:
        return self.method == "GET"

    @property
    def names_one(self) -> bool:
        """Return whether the act is on one bot or one order, of which each attempt has its own."""
        told = f"{self.path} {self.body}"
        return any(f"{{{name}}}" in told for name in ("bot_id", "name", "client_order_id"))


LIMIT = {"side": "buy", "type": "limit", "quantity": "0.3", "limit_price": "90"}
AUTOPILOT_LIVE = {"dry_run": False, "confirm": "autopilot live", "reason": "a test"}
GO_LIVE = {"dry_run": False, "confirm": "{name}", "reason": "a test"}
BOT = {"name": "{new}", "venue": "kraken", "symbol": "BTC/USD", "strategy": "smart_dca", "capital_usd": "250"}
ONE, STREAM = "/api/bots/{bot_id}", "/api/stream"


def _both(title: str, method: str, path: str, need: Need, live: Need, **more: Any) -> list[Act]:
    """Return an act on a paper bot, and the same on a live one, which is live-sensitive."""
    shut = more.pop("live_status_shut", 0)
    status = more.pop("live_status", more.get("status", 200))
    return [
        Act(f"{title} of a paper bot", method, path, need, **more),
        Act(
            f"{title} of a live bot",
            method,
            path,
            live,
            is_sensitive=True,
            is_live=True,
            **{**more, "status": status, "status_shut": shut},
        ),
    ]


ACTS = (
    Act("Health", "GET", "/api/health", Need.NOTHING),
    *(
        Act(f"Read {path.rsplit('/', 1)[-1]}", "GET", path, Need.READ)
        for path in (
            "/api/bots", "/api/orders", "/api/order-events", "/api/positions", "/api/pnl", "/api/equity", "/api/safety",
            "/api/notification/prefs", "/api/autopilot", "/api/recommendations", STREAM, "/metrics",
        )
    ),
    Act("Read one bot", "GET", ONE, Need.READ),
    Act("Read one order", "GET", "/api/orders/{client_order_id}", Need.READ),
    Act("Make a bot", "POST", "/api/bots", Need.OPERATE, body=BOT, status=201),
    *_both("Change the settings", "PATCH", ONE, Need.OPERATE, Need.TRADE, body={"poll_seconds": 30}),
    *_both("Archive", "DELETE", ONE, Need.OPERATE, Need.OPERATE),
    *_both("Start", "POST", f"{ONE}/start", Need.OPERATE, Need.TRADE),
    *_both("Stop", "POST", f"{ONE}/stop", Need.OPERATE, Need.OPERATE, body={"reason": "a test"}),
    *_both("Pause", "POST", f"{ONE}/pause", Need.OPERATE, Need.OPERATE, body={"reason": "a test"}),
    # Nothing is held: what may be asked is answered by a state that says no.
    *_both("Close the position", "POST", f"{ONE}/close-position", Need.OPERATE, Need.OPERATE, status=409),
    Act("Set a bot live", "POST", f"{ONE}/dry-run", Need.TRADE, is_sensitive=True, body=GO_LIVE),
    Act(
        "Set a live bot to paper", "POST", f"{ONE}/dry-run", Need.OPERATE, is_sensitive=True, is_live=True,
        body={"dry_run": True},
    ),
    *_both(
        "Place an order", "POST", "/api/orders", Need.OPERATE, Need.TRADE, body={"bot_id": "{bot_id}", **LIMIT},
        status=201, live_status_shut=409,
    ),
    *_both(
        "Cancel an order", "POST", "/api/orders/{client_order_id}/cancel", Need.OPERATE, Need.OPERATE,
        live_status_shut=409,
    ),
    Act(
        "Engage the kill switch", "POST", "/api/safety/kill-switch", Need.ENGAGE, is_sensitive=True,
        body={"level": "reducing", "reason": "a test", "scope": "bot:{bot_id}"},
    ),
    Act(
        "Release the kill switch", "POST", "/api/safety/kill-switch", Need.PERSON, is_sensitive=True,
        body={"level": "active", "reason": "a test", "scope": "bot:{bot_id}"},
    ),
    Act(
        "Change notification prefs", "POST", "/api/notification/prefs", Need.OPERATE, is_sensitive=True,
        body={"events": {"test": True}},
    ),
    Act("Send a test message", "POST", "/api/notification/test", Need.OPERATE, is_sensitive=True),
    Act("Change the autopilot", "PATCH", "/api/autopilot", Need.OPERATE, is_sensitive=True, body={"slots": 4}),
    Act("Run the autopilot", "POST", "/api/autopilot/run", Need.OPERATE, is_sensitive=True, status=409),
    Act(
        "Set the autopilot live", "PATCH", "/api/autopilot", Need.TRADE, is_sensitive=True, body=AUTOPILOT_LIVE,
        status_shut=409,
    ),
    Act("Change a live autopilot", "PATCH", "/api/autopilot", Need.TRADE, is_sensitive=True, body={"slots": 4}),
    Act("Run a live autopilot", "POST", "/api/autopilot/run", Need.TRADE, is_sensitive=True, status=409),
    Act(
        "Switch a live autopilot off", "PATCH", "/api/autopilot", Need.OPERATE, is_sensitive=True, is_live=True,
        body={"enabled": False},
    ),
    Act(
        "Set a live autopilot to paper", "PATCH", "/api/autopilot", Need.OPERATE, is_sensitive=True, is_live=True,
        body={"dry_run": True},
    ),
)  # fmt: skip


def expected(act: Act, who: Who, *, is_open: bool) -> int:
    """Return the status that the contract promises."""
    if act.need == Need.NOTHING:
        return act.status
    if who.reach is None:
        return 401
    if who.is_session and not act.is_read and not who.has_csrf:
        return 403
    if act.need == Need.PERSON:
        return 403
    if who.is_session and act.is_sensitive and who.is_token_set:
        return 401
    # A token below the scope trade touches nothing live; a person with the right to operate may stop and sell.
    need = Need.TRADE if act.is_live and not who.is_session else act.need
    if who.reach < need:
        return 403
    return act.status if is_open else act.status_shut or act.status
