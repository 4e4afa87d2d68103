"""Processes that tick bots and kill or freeze themselves at a named point. Run as a script: ``python -m tests.faults.killer``.

It reads one JSON command a line, forks a child that does it, and answers with how the child ended. Forked before any
connection is open, a child is an ordinary worker process; starting one anew for each kill would take a second each.

A point is the name of a function of the shipped code, wrapped from outside: ``+`` before it means when it is entered, ``-``
when it returns, ``:2`` after it means the second time.
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
from datetime import datetime
from typing import Any, NoReturn

STOPPED = "stopped"


def main() -> None:
    """Serve commands until the input ends."""
    import django

    django.setup()
    import bots.tick  # noqa: F401 - loaded once, here, and not in each child
    from bots.market_data.datasets import dataset
    from bots.strategies import registry
    from tests.faults.churn import Churn

    registry.register(Churn())
    dataset("BTC-PERP")
    _answer("ready")
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "thaw":
            os.kill(command["pid"], signal.SIGCONT)
            child = command["pid"]
        else:
            child = os.fork()
        if child == 0:
            _run(command)
        _, status = os.waitpid(child, os.WUNTRACED)
        stopped = os.WIFSTOPPED(status)
        _answer({"pid": child, "status": STOPPED if stopped else os.waitstatus_to_exitcode(status)})


def _answer(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _run(command: dict[str, Any]) -> NoReturn:
    """Do one command and exit: 0 when it was done, 3 when its lease was lost, 1 for anything else."""
    code = 1
    try:
        from django.db import connections

        connections.settings["default"]["NAME"] = command["database"]
        if "point" in command:
            arm(command["point"], getattr(signal, command.get("signal", "SIGKILL")))
        if "kill_after_s" in command:
            threading.Thread(target=_kill_soon, args=[command["kill_after_s"]], daemon=True).start()
        code = _WORK[command["do"]](command)
    except BaseException:  # noqa: BLE001 - a forked child must never return into its parent's loop
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _tick(command: dict[str, Any]) -> int:
    from django.utils import timezone

    from bots.tick import tick_batch
    from bots.workers.leases import SHARD_COUNT, LeaseHolder, LeaseLost, shard_lease, shard_of
    from bots.workers.schedule import DueTick

    due_at = datetime.fromisoformat(command["due_at"])
    leases = LeaseHolder(command["holder"], command.get("ttl_s", 5.0))
    leases.claim([shard_lease(shard) for shard in range(SHARD_COUNT)], SHARD_COUNT)
    try:
        fence = leases.fence().narrowed({shard_lease(shard_of(bot_id)) for bot_id in command["bots"]})
        tick_batch([DueTick(bot_id, due_at) for bot_id in command["bots"]], fence, timezone.now())
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


_WORK = {"tick": _tick, "close": _close, "engage": _engage, "flatten": _flatten, "go_on": _go_on}


def _kill_soon(after_s: float) -> None:
    time.sleep(after_s)
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point: str, signum: signal.Signals) -> None:
    """Wrap the function that ``point`` names so that this process signals itself there."""
    at, dotted = point[0], point[1:]
    dotted, _, count = dotted.partition(":")
    owner, name = _owner(dotted)
    original = getattr(owner, name)
    calls = [0]

    def reached() -> None:
        calls[0] += 1
        if calls[0] == int(count or 1):
            os.kill(os.getpid(), signum)

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if at == "+":
            reached()
        result = original(*args, **kwargs)
        if at == "-":
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
