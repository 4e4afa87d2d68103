"""Who holds a turn, and whether that process is gone: then nobody has to wait until its turn ends by itself."""

import hashlib
import os
from functools import cache
from pathlib import Path
from uuid import uuid4

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PID_SPACE = Path("/proc/self/ns/pid")


def new_holder() -> str:
    """Return a name for one turn of this process, which no other turn has."""
    return f"{uuid4().hex} {_place()} {os.getpid()}"


def is_gone(holder: str) -> bool:
    """Return whether the process that took this name runs no more. One of another host may always be running."""
    parts = holder.split(" ")
    if len(parts) != 3 or not parts[1] or parts[1] != _place() or not parts[2].isdigit():
        return False
    try:
        os.kill(int(parts[2]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


@cache
def _place() -> str:
    """Return a name for where process ids mean the same: this boot of this host, this container. Empty when nothing tells."""
    try:
        seen = f"{_BOOT_ID.read_text()} {_PID_SPACE.readlink()}"
    except OSError:
        return ""
    return hashlib.sha256(seen.encode()).hexdigest()[:16]
