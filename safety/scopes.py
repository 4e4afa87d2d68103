"""Scopes: whom a trading state binds. Each is spelt in one way, so that a state that was written is a state that is read."""

import re

GLOBAL = "global"
KILL_SETTING = "kill_switch"
# As scopes_of() writes them: a scope that is spelt otherwise would bind nothing.
SCOPE_PATTERN = re.compile(r"global|venue:[a-z0-9_-]+|bot:[1-9][0-9]{0,17}", re.ASCII)
SCOPE_CHARS_MAX = 80


class UnknownScopeError(ValueError):
    """There is no such scope, so engaging it would stop nothing."""


def check_scope(scope: str) -> None:
    """Return quietly when ``scope`` is spelt as scopes are. Raises UnknownScopeError."""
    if len(scope) > SCOPE_CHARS_MAX or not SCOPE_PATTERN.fullmatch(scope):
        raise UnknownScopeError(f"There is no scope {scope!r}: write global, venue:NAME or bot:ID.")


def scopes_of(venue: str | None, bot_id: int | None) -> list[str]:
    """Return the scopes whose state binds an order of this bot at this venue."""
    scopes = [GLOBAL, KILL_SETTING]
    if venue is not None:
        scopes.append(f"venue:{venue}")
    if bot_id is not None:
        scopes.append(f"bot:{bot_id}")
    return scopes
