"""The web process tells of itself, as the workers do: that it lives, and what it was started with. And it looks after them.

When every worker is dead nobody else can say so: then this process tells it, and sends what the outbox holds.

On a thread of its own and not with requests: a console that nobody looks at must be heard of, too.
"""

import logging
import shutil
import threading
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections
from django.utils import timezone

from bots.apart import apart
from bots.models.worker import WorkerKind
from bots.notification_chores import NAME, carry
from bots.workers.absence import CHORES, Watch
from bots.workers.aside import aside
from bots.workers.heartbeats import Heart, bury_dead_web
from tradingops import http_counts
from tradingops.api.stream_hub import hub

log = logging.getLogger(__name__)

BEAT_EVERY_S = 5.0
#: What the process tells of itself beside its settings: the streams that it serves, and the space left for its files.
STREAMS, DISK_FREE = "streams", "disk_free_bytes"


def start() -> threading.Event:
    """Begin to beat in this process and return what ends it. Called after the fork: threads don't survive one."""
    ended = threading.Event()
    threading.Thread(target=beat_until, args=(ended,), name="heartbeat", daemon=True).start()
    return ended


def beat_until(ended: threading.Event, every_s: float = BEAT_EVERY_S) -> None:
    """Write this process's heartbeat every ``every_s`` seconds until ``ended`` is set; then take it away."""
    heart, watch = Heart(WorkerKind.WEB), Watch()
    try:
        _guarded(bury_dead_web)
        while not ended.is_set():
            _guarded(lambda: heart.beat(details=shown()))
            _guarded(http_counts.keep)
            _guarded(lambda: look_after_workers(watch))
            ended.wait(every_s)
        _guarded(heart.stop)
    finally:
        connections.close_all()


def look_after_workers(watch: Watch) -> None:
    """Tell when the workers are silent; while nobody does the chores, send what people are to be told from here."""
    # Whatever is wrong with the watch, this process must go on telling of itself.
    with apart("the watch over the workers failed"):
        if CHORES in watch.look(timezone.now()):
            aside.start(NAME, carry)


def shown() -> dict[str, Any]:
    """Return what the heartbeat's row says of this process."""
    return {STREAMS: hub.count, DISK_FREE: shutil.disk_usage(settings.VAR_DIR).free}


def _guarded(act: Callable[[], object]) -> None:
    try:
        act()
    except (DatabaseError, InterfaceError) as error:
        # Without a database there is nobody to tell. The pages say so themselves.
        log.warning("cannot write the web process's heartbeat: %s", type(error).__name__)
        connections.close_all()
