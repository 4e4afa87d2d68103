"""``manage.py kill_switch``: the state, halting, releasing and flattening from a terminal, with the database down too."""

import getpass
import socket
import sys
import threading
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import Error, connection, connections
from django.utils import timezone

from safety import kill_runs, kill_switch
from safety.intents import Level
from safety.kill_file import kill_file, write_kill_file
from safety.kill_runs import Progress
from safety.models import KillRun, TradingState
from safety.scopes import GLOBAL, UnknownScopeError, check_scope
from safety.states import read_rows

DONE, REFUSED, COULD_NOT = 0, 2, 3
#: How long the database has to take a halt before the file latch is set as well. SQLite has no network to wait for, only writers.
DATABASE_S = {"postgresql": 1.0, "sqlite": 6.0}
CONFIRMATION = "FLATTEN"
IDS_SHOWN = 20


class Command(BaseCommand):
    """Exit 0 when it was done, 2 when it was refused, 3 when it could not be done."""

    help = "Show, engage or release the kill switch, or sell everything. Exit code 0: done, 2: refused, 3: could not."
    # Nothing may stand between a person and a halt: no system check, no look at the migrations.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", choices=["status", "engage", "release", "flatten"])
        parser.add_argument(
            "--level", choices=[Level.REDUCING.value, Level.HALTED.value], default=Level.HALTED.value,
            help="engage: halted (nothing but cancels, the default) or reducing (only what shrinks a position)",
        )  # fmt: skip
        parser.add_argument("--reason", default="", help="why, in a few words: it is kept in the audit")
        parser.add_argument("--user", default="", help="release: who releases; the password is asked for")
        parser.add_argument("--scope", default=GLOBAL, help="global (the default), venue:NAME or bot:ID")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        try:
            check_scope(options["scope"])
            code = {
                "status": self._status, "engage": self._engage, "release": self._release, "flatten": self._flatten,
            }[action](options)  # fmt: skip
        except UnknownScopeError as unknown:
            code = self._refused(str(unknown))
        if code != DONE:
            sys.exit(code)

    # Status.

    def _status(self, options: dict[str, Any]) -> int:
        latches = kill_switch.local_latches()
        for latch in latches:
            self._say(f"{latch.level.value.upper()} on this host: {latch.reason}")
        try:
            state = kill_switch.read_state()
            rows, _ = read_rows()
            scopes = list(TradingState.objects.order_by("scope"))
            runs = kill_runs.unfinished()
        except Error as error:
            self._could_not(f"the database cannot be read, which counts as halted: {_first_line(error)}")
            return COULD_NOT
        self._say(f"Everything: {state.level.value.upper()}{_because(state.reasons)}")
        for name, latch in sorted(rows.items()):
            row = next((one for one in scopes if one.scope == name), None)
            by = f", since {row.changed_at:%Y-%m-%d %H:%M:%S} UTC by {row.actor or 'nobody'}" if row else ""
            self._say(f"  {name}: {latch.level.value}{by}{_because([latch.reason] if latch.level.rank else [])}")
        for run in runs:
            self._say(
                f"Not finished: {run.scope} {run.level}, asked for by {run.actor} at {run.engaged_at:%H:%M:%S} UTC"
            )
            self._tell(kill_runs.progress(run))
        return DONE

    # Engage.

    def _engage(self, options: dict[str, Any]) -> int:
        level, scope = Level(options["level"]), options["scope"]
        actor, reason = _who(), options["reason"] or "engaged at the terminal"
        found: list[KillRun | Exception] = []
        thread = threading.Thread(target=_engage_in_database, args=(found, level, reason, actor, scope), daemon=True)
        thread.start()
        thread.join(DATABASE_S[connection.vendor])
        answer = found[0] if found else None
        if isinstance(answer, UnknownScopeError):
            return self._refused(str(answer))
        if isinstance(answer, KillRun):
            kill_switch.tell_engaged(answer)
            return self._engaged(answer, level)
        return self._engage_file(level, scope, reason, actor, answer)

    def _engaged(self, run: KillRun, level: Level) -> int:
        self._say(f"{_name(run.scope)}: {level.value} or stricter. No new order is sent (after {run.blocked_ms} ms).")
        self._tell(kill_runs.wait_for_drain(run))
        return DONE

    def _engage_file(self, level: Level, scope: str, reason: str, actor: str, error: Exception | None) -> int:
        why = "it does not answer" if error is None else _first_line(error)
        try:
            write_kill_file(f"{reason} (asked for: {scope} {level.value})", actor=actor, now=timezone.now())
        except OSError as failed:
            self._could_not(
                f"neither the database ({why}) nor {kill_file()} could be written ({failed}). Stop the workers."
            )
            return COULD_NOT
        self._say(f"THIS HOST ONLY: halted by the file {kill_file()}, since the database did not take it: {why}.")
        self._say(
            "Nothing is sent from this host. The other hosts follow as soon as one process here reaches the database;"
        )
        self._say("until then repeat this on each of them. To release later, remove the file first.")
        return DONE

    # Release.

    def _release(self, options: dict[str, Any]) -> int:
        if not options["reason"].strip():
            return self._refused("A release needs a reason: --reason TEXT")
        if not options["user"]:
            return self._refused("A release needs a person: --user NAME")
        try:
            actor = _signed_in(options["user"])
            if actor is None:
                return self._refused("The name or the password is wrong, or this person may not release.")
            left = kill_switch.release(options["reason"], actor=actor, scope=options["scope"])
        except kill_switch.ReleaseRefusedError as refused:
            return self._refused(str(refused))
        except Error as error:
            self._could_not(f"the database did not take the release, so nothing changed: {_first_line(error)}")
            return COULD_NOT
        self._say(
            f"{_name(options['scope'])}: released by {actor}. Entries of live bots are held until a person clears them."
        )
        for latch in left:
            self._say(f"STILL HOLDS: {latch.source} is {latch.level.value}: {latch.reason}")
        return DONE

    # Flatten.

    def _flatten(self, options: dict[str, Any]) -> int:
        from bots import flatten  # not at the top: a halt needs none of it

        if not options["reason"].strip():
            return self._refused("A flatten needs a reason: --reason TEXT")
        self._say(f"This sells what every bot holds in this scope: {options['scope']}. Then trading there is halted.")
        if _typed(f"Type {CONFIRMATION} to go on: ") != CONFIRMATION:
            return self._refused("Nothing was sold.")
        try:
            run = flatten.start(options["scope"], actor=_who(), reason=options["reason"])
        except kill_switch.FlattenRefusedError as refused:
            return self._refused(str(refused))
        except Error as error:
            self._could_not(f"the database cannot be used, so nothing was sold: {_first_line(error)}")
            return COULD_NOT
        self._say(
            f"{_name(run.scope)}: selling. The workers carry it on for 2 minutes at most; see: kill_switch status"
        )
        self._tell(kill_runs.wait_for_drain(run))
        return DONE

    # What is told.

    def _tell(self, progress: Progress | None) -> None:
        if progress is None:
            return
        drained = "drained: no further order reaches any venue" if progress.is_drained else "NOT DRAINED YET"
        self._say(f"  {drained}; cancelled: {len(progress.canceled)}")
        for title, ids in (
            ("may still trade", progress.in_flight),
            ("cancel failed, tried again", progress.cancel_failed),
        ):
            if ids:
                more = f" and {len(ids) - IDS_SHOWN} more" if len(ids) > IDS_SHOWN else ""
                self._say(f"  {title}: {', '.join(ids[:IDS_SHOWN])}{more}")

    def _say(self, text: str) -> None:
        self.stdout.write(text)

    def _refused(self, why: str) -> int:
        self.stderr.write(f"refused: {why}")
        return REFUSED

    def _could_not(self, why: str) -> None:
        self.stderr.write(f"could not: {why}")


def _engage_in_database(found: list[KillRun | Exception], level: Level, reason: str, actor: str, scope: str) -> None:
    """Engage in a thread of its own, which may hang where the server does. Others are told by whoever waits for it."""
    try:
        _check_exists(scope)
        found.append(kill_switch.engage_rows(level, reason, actor=actor, scope=scope))
    except (Error, UnknownScopeError) as error:
        found.append(error)
    finally:
        connections.close_all()


def _check_exists(scope: str) -> None:
    if scope == GLOBAL:
        return
    from bots.clean_up import check_scope_exists  # not at the top: halting everything needs none of it

    check_scope_exists(scope)


def _signed_in(username: str) -> str | None:
    """Ask for the user's password; return the name when it is right and this person may release, else None."""
    from django.contrib.auth import get_user_model

    from safety.permissions import RELEASE

    password = getpass.getpass(f"Password of {username}: ")
    user = get_user_model().objects.filter(username=username).first()
    if user is None or not user.check_password(password) or not user.is_active or not user.has_perm(RELEASE):
        return None
    return str(user.get_username())


def _typed(prompt: str) -> str:
    try:
        return input(prompt).strip()
    except EOFError:
        return ""


def _who() -> str:
    """Return who sits at this terminal, as the audit names it."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = "somebody"
    return f"{name} at the terminal of {socket.gethostname()}"


def _name(scope: str) -> str:
    return "Everything" if scope == GLOBAL else scope


def _because(reasons: Any) -> str:
    return f" ({'; '.join(reasons)})" if reasons else ""


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
