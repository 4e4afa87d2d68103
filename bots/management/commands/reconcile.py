"""``manage.py reconcile``: compare the accounts at the venues with our books now."""

import json
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand
from django.db import Error

from audit.decimals import decimal_text
from bots.account_chores import accounts_in_use
from bots.models import ReconciliationRun, RunState
from bots.reconciliation.engine import reconcile
from bots.reconciliation.queries import AccountView, view
from bots.reconciliation.turns import TurnTaken
from safety.readiness_values import VENUES

AGREES, DIFFERS, COULD_NOT = 0, 2, 3
TRIGGER = "command"
#: What moved, or was found for the first time, has to be seen twice: so often and so far apart an account is asked, in seconds.
ROUNDS_MAX = 6
AGAIN_S = 10.0
#: How long the round of somebody else is waited for, in seconds; and how often it is asked for.
TURN_WITHIN_S, TURN_EVERY_S = 60.0, 1.0


class Command(BaseCommand):
    """Exit 0 when all agrees, 2 when something differs, 3 when that could not be told."""

    help = (
        "Compare orders, fills and balances at the venues with our books, now."
        " Exit code 0: they agree, 2: they differ, 3: it could not be told."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--venue", choices=VENUES, help="only the accounts at this venue")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """Reconcile each account in use, print both sides, and exit with what came of it."""
        try:
            used = [one for one in accounts_in_use() if options["venue"] in (None, one[0])]
            found = [(run_settled(venue, is_live=is_live), view(venue, is_live=is_live)) for venue, is_live in used]
        except Error as error:
            # The class only: a driver's message may quote the connection's text, and with it a password.
            self._could_not(f"The database cannot be used ({type(error).__name__}).", as_json=options["json"])
            sys.exit(COULD_NOT)
        code = exit_code(found)
        if options["json"]:
            self.stdout.write(json.dumps({"exit_code": code, "accounts": [_plain(*one) for one in found]}, indent=2))
        else:
            self.stdout.write("\n".join(_text(found)))
        sys.exit(code)

    def _could_not(self, why: str, *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps({"exit_code": COULD_NOT, "error": why, "accounts": []}))
        self.stderr.write(self.style.ERROR(why))


Found = tuple[ReconciliationRun | None, AccountView]


def run_settled(venue: str, *, is_live: bool) -> ReconciliationRun | None:
    """Reconcile an account, again while something moves or has to be confirmed; None when it never was our turn."""
    run = None
    for round_number in range(ROUNDS_MAX):
        if round_number:
            time.sleep(AGAIN_S)
        run = _run(venue, is_live=is_live)
        if run is None or run.state != RunState.WAITS:
            break
    return run


def _run(venue: str, *, is_live: bool) -> ReconciliationRun | None:
    until_s = time.monotonic() + TURN_WITHIN_S
    while True:
        try:
            return reconcile(venue, is_live=is_live, trigger=TRIGGER)
        except TurnTaken:
            if time.monotonic() > until_s:
                return None
            time.sleep(TURN_EVERY_S)


def exit_code(found: Iterable[Found]) -> int:
    """Return 2 when any account differs, else 3 when one could not be told, else 0: nothing to compare agrees."""
    told = {_verdict(run, seen) for run, seen in found}
    return DIFFERS if DIFFERS in told else max(told, default=AGREES)


def _verdict(run: ReconciliationRun | None, seen: AccountView) -> int:
    if seen.differences:
        return DIFFERS
    return AGREES if run is not None and run.state == RunState.AGREES else COULD_NOT


WORDS = {AGREES: "agrees", DIFFERS: "DIFFERS", COULD_NOT: "COULD NOT BE TOLD"}


def _why(run: ReconciliationRun | None, seen: AccountView) -> str:
    """Return why it could not be told; where something differs, how much of the history is still to be read."""
    verdict = _verdict(run, seen)
    if verdict != COULD_NOT:
        return seen.reading if verdict == DIFFERS else ""
    if run is None:
        return "another round of this account is under way, and does not end"
    if run.state == RunState.WAITS:
        return run.reason or "something is under way; try again in a minute"
    return run.reason


def _text(found: Iterable[Found]) -> list[str]:
    lines = []
    for run, seen in found:
        verdict = _verdict(run, seen)
        why = _why(run, seen)
        lines.append(
            f"{seen.venue} ({'live' if seen.is_live else 'paper'}): {WORDS[verdict]}{f': {why}' if why else ''}"
        )
        lines += [f"  open since {one.opened_at:%Y-%m-%d %H:%M:%S} UTC: {one.text}" for one in seen.differences]
        lines += [
            f"  {line.asset:8} {line.verdict:9} venue {decimal_text(line.venue)}, ought to be {decimal_text(line.expected)}"
            f" (owner {decimal_text(line.baseline)}, bots {decimal_text(line.held)}, trades {decimal_text(line.flows)})"
            for line in seen.lines
        ]
    return lines or ["No bot trades on an account at a venue: there is nothing to compare."]


def _plain(run: ReconciliationRun | None, seen: AccountView) -> dict[str, Any]:
    verdict = _verdict(run, seen)
    return {
        "account": seen.name,
        "venue": seen.venue,
        "is_live": seen.is_live,
        "result": {AGREES: "agrees", DIFFERS: "differs", COULD_NOT: "unknown"}[verdict],
        "reason": _why(run, seen),
        "compared_at": _stamp(seen.sound_at),
        "differences": [
            {"id": one.pk, "kind": one.kind, "asset": one.asset, "symbol": one.symbol, "text": one.text,
             "opened_at": _stamp(one.opened_at)}
            for one in seen.differences
        ],
        "assets": [
            {"asset": line.asset, "verdict": line.verdict} | {
                name: decimal_text(getattr(line, name))
                for name in ("venue", "expected", "baseline", "held", "flows", "delta")
            }
            for line in seen.lines
        ],
    }  # fmt: skip


def _stamp(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
