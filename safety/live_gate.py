"""The locks on live trading, read now: environment, keys, the bot's dry run and the database's stamp. None is ever skipped."""

from typing import Any

from django.conf import settings
from django.db import DatabaseError

from safety import stamp
from safety.controls.live import locks_required
from safety.intents import Lock

#: The venues that can be live, the variables of their live keys, and the one of the endpoint that live orders go to.
KEYS = {
    "kraken": ("KRAKEN_API_KEY", "KRAKEN_API_SECRET"),
    "alpaca": ("ALPACA_API_KEY_LIVE", "ALPACA_API_SECRET_LIVE"),
}
ENDPOINTS = {"kraken": "KRAKEN_BASE_URL", "alpaca": "ALPACA_BASE_URL_LIVE"}
DATABASE = "database"
_GATES = ("ALLOW_LIVE_TRADING", "LIVE_TRADING_ENABLED")


def read_locks(venue: str, *, dry_run: bool) -> tuple[Lock, ...]:
    """Return every lock that a live order at ``venue`` needs open, with where it was read and what to do about it.

    ``dry_run`` is the bot's. No lock holds a secret's value. What cannot be read is shut.
    """
    return tuple(_lock(one, venue, dry_run) for one in locks_required(venue))


def venue_locks() -> dict[str, tuple[Lock, ...]]:
    """Return each live venue's locks but the one that each bot has for itself, for pages."""
    return {
        venue: tuple(_lock(one, venue, True) for one in locks_required(venue) if one != "DRY_RUN") for venue in KEYS
    }


def _lock(name: str, venue: str, dry_run: bool) -> Lock:
    if name in _GATES:
        return _gate(name)
    if name == "DRY_RUN":
        # Anything but a plain False is a bot on paper.
        is_live = dry_run is False
        reason = "The bot is set live." if is_live else "The bot is on paper (dry run). Set it live on its page."
        return Lock(name, is_live, DATABASE, reason)
    return _keys(venue) if name == "KEYS" else _stamp(venue)


def _gate(name: str) -> Lock:
    gate: Any = getattr(settings.ENVIRONMENT, name.lower())
    if gate.is_open is True:
        return Lock(name, True, gate.source, f"{name} is 1.")
    return Lock(name, False, gate.source, gate.hint or f"{name} is not 1. To open it, write {name}=1 and restart.")


def _keys(venue: str) -> Lock:
    if venue not in KEYS:
        return Lock("KEYS", False, "default", f"{venue} can never be live.")
    environment = settings.ENVIRONMENT
    missing = [name for name in KEYS[venue] if not getattr(environment, name.lower())]
    if missing:
        reason = f"The live keys of {venue} are missing: set {' and '.join(missing)} and restart."
        return Lock("KEYS", False, environment.sources[missing[0]], reason)
    return Lock("KEYS", True, environment.sources[KEYS[venue][0]], f"The live keys of {venue} are there.")


def _stamp(venue: str) -> Lock:
    """Open where database and endpoint are both a rehearsal's, or neither is."""
    name = "DATABASE_STAMP"
    if venue not in ENDPOINTS:
        return Lock(name, False, "default", f"{venue} can never be live.")
    variable = ENDPOINTS[venue]
    is_loopback = settings.ENVIRONMENT.endpoints[variable].is_loopback is True
    try:
        text = stamp.read()
        found = stamp.problem(text)
    except DatabaseError:
        return Lock(name, False, DATABASE, "The database's stamp cannot be read.")
    if found:
        return Lock(name, False, DATABASE, found)
    is_stamped = text == stamp.REHEARSAL
    if is_loopback and not is_stamped:
        return Lock(
            name, False, DATABASE, f"{variable} is a loopback one, but the database has no rehearsal's stamp yet."
        )
    if is_stamped and not is_loopback:
        return Lock(name, False, DATABASE, f"In a rehearsal {venue} is off: {variable} is not a loopback one.")
    kind = (
        "a rehearsal's, and the venue is a loopback one"
        if is_stamped
        else "no rehearsal's, and the venue is the real one"
    )
    return Lock(name, True, DATABASE, f"The database is {kind}.")
