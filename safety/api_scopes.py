"""What a token of the API may do: four scopes, each with all that the one before it may.

A token never releases the kill switch, lets held entries go on, changes limits, or makes another token: that takes a person.
"""

from enum import StrEnum

from safety.permissions import CHANGE_NOTIFICATIONS, ENGAGE, OPERATE_BOT, TRADE_LIVE


class Scope(StrEnum):
    """How much a token may do, from the least on. ``docs/api.md`` has the table."""

    READ = "read"
    ENGAGE = "engage"
    OPERATE = "operate"
    TRADE = "trade"


_ADDED: dict[Scope, frozenset[str]] = {
    Scope.READ: frozenset(),
    Scope.ENGAGE: frozenset({ENGAGE}),
    Scope.OPERATE: frozenset({OPERATE_BOT, "bots.add_bot", "bots.change_bot", CHANGE_NOTIFICATIONS}),
    Scope.TRADE: frozenset({TRADE_LIVE}),
}


def rights_of(scope: Scope) -> frozenset[str]:
    """Return the rights that a token of this scope holds besides looking."""
    order = list(Scope)
    return frozenset[str]().union(*(_ADDED[one] for one in order[: order.index(scope) + 1]))


def may(scope: Scope, permission: str) -> bool:
    """Return whether a token of this scope holds a right, by the name that users hold it by. Unknown rights are not held."""
    app, _, codename = permission.partition(".")
    if codename.startswith("view_"):
        return app in ("audit", "safety", "bots")
    return permission in rights_of(scope)
