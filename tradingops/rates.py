"""How often one caller may ask: a bucket each, shared by all threads and processes that gunicorn forks from this one.

The buckets are in memory that the forked processes share, made when this module is loaded. Consoles on several hosts count
each for itself. Callers are people and tokens that were let in, so there are few of them.
"""

import fcntl
import hashlib
import mmap
import os
import struct
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

#: A digest of whose bucket it is, what is left in it, and when that was (seconds on the monotonic clock, one for the host).
SLOT = struct.Struct("=16sdd")
SLOTS, PROBES = 4_096, 32
EMPTY = bytes(16)
LOCK_TRIES, LOCK_PAUSE_S = 100, 0.001


class SharedBuckets:
    """Token buckets: each holds a minute's worth and refills evenly. When all slots are taken the oldest is used again."""

    def __init__(self, slots: int = SLOTS) -> None:
        self._slots = slots
        # A file for its lock alone, which ends with the process that holds it. It loses its name, so that nothing is left behind.
        self._file, name = tempfile.mkstemp()
        os.unlink(name)
        self._memory = mmap.mmap(-1, slots * SLOT.size)
        self._thread = threading.Lock()

    def take(self, name: str, per_minute: int, *, now_s: float | None = None) -> float:
        """Take one out of the bucket ``name``. Return 0.0, or the seconds until there is one to take."""
        now_s = time.monotonic() if now_s is None else now_s
        key = hashlib.sha256(name.encode()).digest()[:16]
        with self._locked():
            place = self._place(key)
            found, left, at_s = SLOT.unpack_from(self._memory, place)
            left = min(per_minute, left + max(0.0, now_s - at_s) * per_minute / 60) if found == key else per_minute
            is_enough = left >= 1
            SLOT.pack_into(self._memory, place, key, left - is_enough, now_s)
        return 0.0 if is_enough else (1 - left) * 60 / per_minute

    def forget(self) -> None:
        """Fill every bucket. For tests and for nothing else."""
        with self._locked():
            self._memory[:] = bytes(len(self._memory))

    def _place(self, key: bytes) -> int:
        """Return where a key's slot is: its own, else an empty one, else the one that was used longest ago."""
        start = int.from_bytes(key[:8], "big")
        oldest, oldest_s = 0, float("inf")
        for step in range(min(PROBES, self._slots)):
            place = (start + step) % self._slots * SLOT.size
            found, _, at_s = SLOT.unpack_from(self._memory, place)
            if found in (key, EMPTY):
                return place
            if at_s < oldest_s:
                oldest, oldest_s = place, at_s
        return oldest

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other threads and processes out, but go on after a tenth of a second: a frozen process must not stop the API."""
        with self._thread:
            has_lock = any(self._try_lock() for _ in range(LOCK_TRIES))
            try:
                yield
            finally:
                if has_lock:
                    fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _try_lock(self) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(LOCK_PAUSE_S)
            return False
        return True


#: All of this console's processes share these.
buckets = SharedBuckets()
