"""How gunicorn serves the console; HOST and PORT come from the environment like everything else."""

import gc
import os
import sys
from pathlib import Path
from typing import Any

from tradingops.environment import load_environment

_base_dir = Path(__file__).resolve().parent
_environment = load_environment(_base_dir, _base_dir / "var")
_host = f"[{_environment.host}]" if ":" in _environment.host else _environment.host

bind = f"{_host}:{_environment.port}"
wsgi_app = "tradingops.wsgi:application"
# Threads, since requests wait for the database and event streams hold one each; two processes, so that one may die. Streams
# take six threads of a process at most (tradingops/api/stream_hub.py), so that the kill switch finds one.
# With threads, and a bound on how slowly a request may come in.
worker_class = "tradingops.web_worker.BoundedWorker"
workers = 2
threads = 12
# Loaded once and shared: half the memory and half the time to the first answer.
preload_app = True
control_socket_disable = True
timeout = 60
# Ctrl-C ends all of the console within ten seconds; a request that takes longer is cut.
graceful_timeout = 3
keepalive = 5
errorlog = "-"
loglevel = "warning"


def when_ready(server: Any) -> None:
    """Set what is loaded by now apart from the garbage collector, which would copy the shared pages into each worker."""
    gc.collect()
    gc.freeze()


def post_fork(server: Any, worker: Any) -> None:
    """Give each worker connections of its own, which no fork may share; it tells that it lives, and its streams that it ends."""
    from django.db import connections

    from tradingops import web_heartbeat
    from tradingops.api.stream_hub import hub

    connections.close_all()
    web_heartbeat.start()
    hub.stop_when(lambda: not worker.alive)


def worker_exit(server: Any, worker: Any) -> None:
    """End at once. Taking the interpreter apart takes seconds on a busy machine, and nothing is left to be written."""
    pending = sys.exc_info()[1]
    if isinstance(pending, SystemExit) and not pending.code:
        os._exit(0)
