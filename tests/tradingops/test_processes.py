"""The process manager: everything starts together, and nothing outlives it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tradingops.processes import PROCFILE, STOP_S

PROJECT = Path(__file__).resolve().parents[2]
SLEEPER = 'python -c \'import os, time; open("{name}.pid", "w").write(str(os.getpid())); time.sleep(60)\''
STUBBORN = (
    "python -c 'import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    ' open("{name}.pid", "w").write(str(os.getpid())); time.sleep(60)\''
)


def start(directory: Path, **commands: str) -> "subprocess.Popen[str]":
    lines = [f"{name}: {command.format(name=name)}" for name, command in commands.items()]
    (directory / "Procfile").write_text("\n".join(lines) + "\n")
    code = (
        "import sys; from pathlib import Path; from tradingops.processes import run; sys.exit(run(Path(sys.argv[1])))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(directory / "Procfile")],
        cwd=PROJECT,
        env={**os.environ, "PORT": "4321"},
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.05)


def finish(manager: "subprocess.Popen[str]", timeout_s: float) -> int:
    """Wait for the manager, read what it printed to the end, and return its exit code."""
    manager.communicate(timeout=timeout_s)
    return int(manager.returncode)


def pid_of(directory: Path, name: str) -> int:
    file = directory / f"{name}.pid"
    wait_for(lambda: file.exists() and bool(file.read_text()))
    return int(file.read_text())


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_all_within_seconds_and_is_no_failure(tmp_path: Path, stop: signal.Signals) -> None:
    manager = start(tmp_path, web=SLEEPER, workers=SLEEPER)
    pids = [pid_of(tmp_path, name) for name in ("web", "workers")]
    began_s = time.monotonic()
    manager.send_signal(stop)
    assert finish(manager, 10) == 0
    assert time.monotonic() - began_s < 5
    assert not any(is_running(pid) for pid in pids)


def test_process_that_ends_ends_the_others_and_hands_on_its_exit_code(tmp_path: Path) -> None:
    manager = start(tmp_path, web=SLEEPER, workers="python -c 'import time; time.sleep(1.5); raise SystemExit(7)'")
    pid = pid_of(tmp_path, "web")
    assert finish(manager, 15) == 7
    assert not is_running(pid)


@pytest.mark.slow
def test_process_that_ignores_the_stop_is_killed(tmp_path: Path) -> None:
    manager = start(tmp_path, web=SLEEPER, workers=STUBBORN)
    pids = [pid_of(tmp_path, name) for name in ("web", "workers")]
    began_s = time.monotonic()
    manager.send_signal(signal.SIGTERM)
    finish(manager, STOP_S + 5)
    assert time.monotonic() - began_s < 10
    assert not any(is_running(pid) for pid in pids)


def test_environment_goes_on_as_it_came(tmp_path: Path) -> None:
    # honcho's own command would count PORT up and let a .env beside the Procfile win.
    (tmp_path / ".env").write_text("PORT=1\nHONCHO_SAW_IT=1\n")
    show = (
        "python -c 'import os, time;"
        ' print("PORT", os.environ["PORT"], os.environ.get("HONCHO_SAW_IT")); time.sleep(2)\''
    )
    manager = start(tmp_path, one=show, two=show)
    printed = manager.communicate(timeout=15)[0]
    assert printed.count("PORT 4321 None") == 2


def test_procfile_names_web_workers_and_slow_work() -> None:
    lines = PROCFILE.read_text().splitlines()
    assert [line.split(":")[0] for line in lines] == ["web", "workers", "slow"]
