"""``make rehearse``: start the venues, the page to play them on, and the console against them. Ctrl-C ends all of it."""

import argparse
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from tests.loopback.rehearsal.desk import Desk
from tests.loopback.rehearsal.drift import Drift
from tests.loopback.rehearsal.places import (
    FIRST_PORT,
    PROJECT,
    Places,
    Ports,
    console_variables,
    process_environ,
    write_env_file,
)
from tests.loopback.rehearsal.saved import Keeper
from tests.loopback.rehearsal.venues import Venues, start_venues

SEED = 20260105
#: The console's own stop takes up to eight; what is left after that is killed.
STOP_S = 9.5
LOOKS_EVERY_S = 0.2
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Run until a signal comes or the console ends; return the exit code."""
    options = _options()
    places, ports = Places(options.var.resolve()), Ports.from_first(options.port)
    places.var.mkdir(parents=True, exist_ok=True)
    if options.fresh:
        places.forget()
    if problem := places.problem():
        sys.stderr.write(f"{problem}\n")
        return 2
    stop = threading.Event()
    for one in ENDS:
        signal.signal(one, lambda *_: stop.set())
    try:
        venues = start_venues(ports)
    except OSError as error:
        sys.stderr.write(f"A port from {ports.console} to {ports.discord} is in use ({error.strerror}). {_CHOOSE}\n")
        return 2
    try:
        return _run(places, ports, venues, options.seed, stop)
    finally:
        venues.close()


_CHOOSE = "Is a rehearsal running already? Else choose others: make rehearse PORT=9000"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make rehearse", description=__doc__)
    port = os.environ.get("PORT", "")
    default = int(port) if port.isdecimal() else FIRST_PORT
    parser.add_argument("--port", type=int, default=default, help="the console's port; the next six are the venues'")
    parser.add_argument("--seed", type=int, default=SEED, help="the same seed moves prices the same way")
    parser.add_argument("--fresh", action="store_true", help="forget the last rehearsal's books")
    parser.add_argument("--var", type=Path, default=PROJECT / "var", help="the folder for the rehearsal's files")
    return parser.parse_args()


def _run(places: Places, ports: Ports, venues: Venues, seed: int, stop: threading.Event) -> int:
    keeper = Keeper(venues, places.venues)
    try:
        keeper.start()
    except ValueError as error:
        sys.stderr.write(f"{places.venues}: {error}. Begin anew with: make rehearse FRESH=1\n")
        return 2
    variables = console_variables(places, ports, venues.environ(), os.environ)
    write_env_file(places, variables)
    environ, host = process_environ(places, os.environ), variables["HOST"]
    drift = Drift(venues, seed)
    desk = Desk(venues, drift, (host, ports.page), f"http://{host}:{ports.console}/")
    drift.start()
    desk.start()
    try:
        if code := _prepare(environ, stop):
            return code
        sys.stdout.write(f"The venues, to play on: http://{host}:{ports.page}/\nExercises: docs/rehearsal.md\n")
        sys.stdout.flush()
        return _console(environ, stop)
    finally:
        desk.close()
        drift.end()
        keeper.end()


def _prepare(environ: dict[str, str], stop: threading.Event) -> int:
    """Make the database and the first bots; return an exit code other than zero if that failed."""
    for command in (["-m", "tests.loopback.rehearsal.seed"], ["manage.py", "prepare"]):
        if stop.is_set():
            return 0
        done = subprocess.run([sys.executable, *command], env=environ, cwd=PROJECT, check=False)
        if done.returncode:
            return done.returncode
    return 0


def _console(environ: dict[str, str], stop: threading.Event) -> int:
    """Run the console until a signal comes or it ends by itself; return its exit code."""
    # In a session of its own: a Ctrl-C reaches it once, from here.
    command = [sys.executable, "-m", "tradingops.processes"]
    with subprocess.Popen(command, env=environ, cwd=PROJECT, start_new_session=True) as console:
        try:
            while not stop.wait(LOOKS_EVERY_S):
                if console.poll() is not None:
                    return console.returncode
            console.terminate()
            console.wait(STOP_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if console.poll() is None:
                console.kill()
        return 0


if __name__ == "__main__":
    sys.exit(main())
