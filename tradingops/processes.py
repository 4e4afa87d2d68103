"""``python -m tradingops.processes``: start what the Procfile names and stop all of it together.

honcho's own command would read .env by rules of its own, let it win over real variables, and hand every process another
PORT. So only its process manager is used here; the environment goes on as it came.
"""

import os
import signal
import sys
from pathlib import Path

from honcho import manager as honcho_manager
from honcho.environ import parse_procfile

PROCFILE = Path(__file__).resolve().parent.parent / "Procfile"
#: After the first process has ended, the others get this long before they are killed. The workers drain within it.
STOP_S = 8
STOPPED_BY_SIGNAL = {128 + signal.SIGINT, 128 + signal.SIGTERM}


def child_environ() -> dict[str, str]:
    """Return the environment for the processes: ours, with this interpreter's programs first on the PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    # Unbuffered, or the last lines of a process that dies are lost.
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"}


def run(procfile: Path) -> int:
    """Run all processes until a signal comes or one of them ends; then stop the rest. Return the exit code."""
    honcho_manager.KILL_WAIT = STOP_S
    manager = honcho_manager.Manager()
    for name, command in parse_procfile(procfile.read_text(encoding="utf-8")).processes.items():
        # exec: a shell between us and the process would swallow its signals.
        manager.add_process(name, f"exec {command}", env=child_environ(), cwd=str(procfile.parent))
    # A closed terminal stops the console as Ctrl-C does; honcho knows only SIGINT and SIGTERM.
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    manager.loop()
    return 0 if manager.returncode in STOPPED_BY_SIGNAL else int(manager.returncode or 0)


if __name__ == "__main__":
    sys.exit(run(PROCFILE))
