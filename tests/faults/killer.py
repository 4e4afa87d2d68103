"""Processes that tick bots and kill or freeze themselves at a named point. Run as a script: ``python -m tests.faults.killer``.

It reads one JSON command a line, forks a child that does it, and answers with how the child ended; with ``spawn`` it answers at
once, and ``kill`` or ``wait`` with the child's id later say how it ended. Forked before any connection is open, a child is an
ordinary worker process; starting one anew for each kill would take a second each.

A point is the name of a function of the shipped code, wrapped from outside: ``+`` before it means when it is entered, ``-``
when it returns, ``!`` that it lives on and finds the database gone there, ``:2`` after it means the second time.
"""

import functools
import importlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, NoReturn

STOPPED = "stopped"
RUNS = "runs"
DATABASE_GONE = 5
LEASE_TAKEN = 4


def main() -> None:
    """Serve commands until the input ends."""
    import django

    django.setup()
    import bots.tick  # noqa: F401 - loaded once, here, and not in each child
    import tradingops.urls  # noqa: F401
    from bots.brokers.kraken_client import load_exchange_class
    from bots.market_data.datasets import dataset
    from bots.strategies import registry
    from bots.workers.chores import load_chores
    from tests.faults.churn import Churn, VenueChurn

    registry.register(Churn())
    registry.register(VenueChurn())
    dataset("BTC-PERP")
    load_exchange_class()
    load_chores()
    _answer("ready")
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] in _SIGNALS:
            child = command["pid"]
            if _SIGNALS[command["do"]] is not None:
                os.kill(child, _SIGNALS[command["do"]])
        else:
            child = os.fork()
        if child == 0:
            _run(command)
        _answer({"pid": child, "status": RUNS if command.get("spawn") else _wait(child)})


_SIGNALS: dict[str, Any] = {"thaw": signal.SIGCONT, "kill": signal.SIGKILL, "wait": None}


def _wait(child: int) -> Any:
    _, status = os.waitpid(child, os.WUNTRACED)
    return STOPPED if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)


def _answer(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _run(command: dict[str, Any]) -> NoReturn:
    """Do one command and exit: 0 for done, 3 for a lost lease, 4 for a taken one, 5 for the database, 1 for anything else."""
    code = 1
    try:
        from django.db import connections

        connections.settings["default"]["NAME"] = command["database"]
        if "environ" in command:
            _move_to(command)
        if "point" in command:
            arm(command["point"], getattr(signal, command.get("signal", "SIGKILL")))
        if "kill_after_s" in command:
            threading.Thread(target=_kill_soon, args=[command["kill_after_s"]], daemon=True).start()
        with _clock(command.get("shift_s", 0)):
            code = _WORK[command["do"]](command)
    except BaseException:  # noqa: BLE001 - a forked child must never return into its parent's loop
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _move_to(command: dict[str, Any]) -> None:
    """Give this process the environment and the var directory of its command, as if it had been started with them."""
    from pathlib import Path

    from django.conf import settings

    from tradingops.environment import load_environment

    os.environ.update(command["environ"])
    var_dir = Path(command["var_dir"])
    settings.ENVIRONMENT = load_environment(settings.BASE_DIR, var_dir)
    settings.VAR_DIR, settings.KILL_FILE, settings.ANCHORS_FILE = var_dir, var_dir / "KILL", var_dir / "anchors.jsonl"


@contextmanager
def _clock(shift_s: float) -> Iterator[None]:
    """Let this process's clock be wrong by so much."""
    if not shift_s:
        yield
        return
    import time_machine

    with time_machine.travel(time.time() + shift_s, tick=True):
        yield


def _tick(command: dict[str, Any]) -> int:
    from django.utils import timezone

    from bots.dispatch import lines
    from bots.tick import tick_batch
    from bots.workers.leases import SHARD_COUNT, LeaseHolder, LeaseLost, shard_lease, shard_of
    from bots.workers.schedule import DueTick

    due_at = datetime.fromisoformat(command["due_at"])
    leases = LeaseHolder(command["holder"], command.get("ttl_s", 5.0))
    leases.claim([shard_lease(shard) for shard in range(SHARD_COUNT)], SHARD_COUNT)
    try:
        fence = leases.fence().narrowed({shard_lease(shard_of(bot_id)) for bot_id in command["bots"]})
        tick_batch([DueTick(bot_id, due_at) for bot_id in command["bots"]], fence, timezone.now())
        lines.settle(60)
    except LeaseLost:
        return 3
    return 0


def _close(command: dict[str, Any]) -> int:
    from bots import manager

    manager.close_position(command["bots"][0], actor="anna")
    return 0


def _engage(command: dict[str, Any]) -> int:
    from safety import kill_runs
    from safety.intents import Level
    from safety.kill_switch import engage

    kill_runs.wait_for_drain(engage(Level.HALTED, "a drill", actor="anna"))
    return 0


def _flatten(command: dict[str, Any]) -> int:
    from bots import flatten

    flatten.start("global", actor="anna", reason="enough")
    return 0


def _go_on(command: dict[str, Any]) -> int:
    """Do one round of what is left of the kill switch's runs, as the chore does."""
    from django.utils import timezone

    from bots.safety_chores import go_on_with_kill_runs

    go_on_with_kill_runs(timezone.now())
    return 0


def _send(command: dict[str, Any]) -> int:
    """Send intents to their venue, as the tick of a bot, or a person, does; ``dawdle_s`` pass between market and order."""
    from django.db import OperationalError
    from django.utils import timezone

    from bots import executor
    from tests.faults.wire import intent_of

    for raw in [command["intent"], *command.get("then", ())]:
        # Made by this process, and so by its clock.
        intent = replace(intent_of(raw), created_at=timezone.now())
        market = _market(intent.venue, intent.symbol, command.get("patience", 300))
        try:
            with _clock(command.get("dawdle_s", 0)):
                executor.submit_to_venue(intent, market)
        except OperationalError:
            # As the line to a venue does (bots/dispatch.py): the sweep finds out what became of it.
            return DATABASE_GONE
    return 0


def _market(venue: str, symbol: str, patience: int) -> Any:
    """Return a symbol's market. A feed fetches in the background: what it has not got yet is there a moment later."""
    from django.utils import timezone

    from bots.market_data.base import MarketDataError
    from bots.markets import market_for

    for _ in range(patience):
        try:
            return market_for(venue, symbol, timezone.now())
        except MarketDataError:
            time.sleep(0.1)
    return market_for(venue, symbol, timezone.now())


def _cancel(command: dict[str, Any]) -> int:
    from bots import executor

    executor.cancel_at_venue(command["order"], actor="anna", reason="no longer wanted")
    return 0


def _readiness(command: dict[str, Any]) -> int:
    from bots.readiness_chores import make_run

    make_run("test")
    return 0


def _chores(command: dict[str, Any]) -> int:
    """Do some rounds of the chores that are named, as a worker does them."""
    from django.utils import timezone

    from bots.workers.chores import load_chores

    known = {one.name: one.work for one in load_chores()}
    for number in range(command.get("rounds", 1)):
        if number:
            time.sleep(command["every_s"])
        for name in command["names"]:
            known[name](timezone.now())
    return 0


def _tell(command: dict[str, Any]) -> int:
    """Do ``count`` audited things that people are told of, ``at_once`` in a transaction with what is told, ``every_s`` apart."""
    from audit.log import OperatorEventRecord, record, unit
    from safety.notifications import outbox

    started_s, at_once = time.monotonic(), command.get("at_once", 1)
    for first in range(0, command.get("count", 1), at_once):
        time.sleep(max(0.0, started_s + first * command.get("every_s", 0) - time.monotonic()))
        with unit():
            for number in range(first, min(first + at_once, command.get("count", 1))):
                subject = f"{command.get('subject', 'thing')}:{number % command.get('different', 1)}"
                record(OperatorEventRecord(actor="anna", action="told", object=subject, old="", new=""))
                outbox.tell(command["event"], subject, "It happened", "Look at it.")
    return 0


def _carry(command: dict[str, Any]) -> int:
    """Plan and send what is to be told, once or for ``for_s`` seconds, as the chore's thread does."""
    from bots import notification_chores

    notification_chores.carry(command.get("for_s", 0))
    return 0


def _post(command: dict[str, Any]) -> int:
    """Serve one request of the API as the web process does, and write its answer to the file ``answer_to``."""
    from pathlib import Path

    from django.test import Client

    for venue, symbol in command.get("prices_of", ()):
        _market(venue, symbol, 300)
    client = Client(raise_request_exception=False, SERVER_NAME="127.0.0.1")
    answer = client.post(
        command["path"], json.dumps(command["body"]), content_type="application/json", headers=command["headers"]
    )
    Path(command["answer_to"]).write_text(json.dumps([answer.status_code, answer.json()]))
    return 0


def _autopilot(command: dict[str, Any]) -> int:
    """Run one cycle of the autopilot, as its task does."""
    from django.utils import timezone

    from bots.autopilot.cycle import CycleTaken, run

    try:
        run("schedule", timezone.now())
    except CycleTaken:
        return LEASE_TAKEN
    return 0


_WORK = {
    "post": _post,
    "tick": _tick, "close": _close, "engage": _engage, "flatten": _flatten, "go_on": _go_on,
    "tell": _tell, "carry": _carry, "autopilot": _autopilot,
    "send": _send, "cancel": _cancel, "chores": _chores, "readiness": _readiness,
}  # fmt: skip


def _kill_soon(after_s: float) -> None:
    time.sleep(after_s)
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point: str, signum: signal.Signals) -> None:
    """Wrap the function that ``point`` names so that this process signals itself there."""
    from django.db import OperationalError

    at, dotted = point[0], point[1:]
    dotted, _, count = dotted.partition(":")
    owner, name = _owner(dotted)
    original = getattr(owner, name)
    calls = [0]

    def reached() -> None:
        calls[0] += 1
        if calls[0] != int(count or 1):
            return
        if at == "!":
            raise OperationalError("the acknowledgement of the commit was lost")
        os.kill(os.getpid(), signum)

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if at == "+":
            reached()
        result = original(*args, **kwargs)
        if at != "+":
            reached()
        return result

    setattr(owner, name, wrapped)


def _owner(dotted: str) -> tuple[Any, str]:
    """Return the module or class that holds the function, and the function's name in it."""
    path, _, name = dotted.rpartition(".")
    try:
        return importlib.import_module(path), name
    except ModuleNotFoundError:
        module, _, class_name = path.rpartition(".")
        return getattr(importlib.import_module(module), class_name), name


if __name__ == "__main__":
    main()
