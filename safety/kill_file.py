"""The file latch: whatever is called ``var/KILL`` halts its host, and needs no database."""

import contextlib
import os
import secrets
from datetime import datetime
from pathlib import Path

from django.conf import settings


def kill_file() -> Path:
    """Return where the file latch is looked for."""
    return Path(settings.KILL_FILE)


def file_reason(path: Path) -> str:
    """Return why the file latch halts, or an empty text. Whatever has its name counts, a broken link too.

    Not Path.exists(): it answers False to several errors, and from Python 3.14 on to all of them.
    """
    try:
        os.lstat(path)
    except FileNotFoundError:
        # In a directory that is gone nobody can set the latch, and one that was set is lost.
        return "" if path.parent.is_dir() else f"the directory {path.parent.name}/ of the file {path.name} is missing"
    except OSError:
        return f"the file {path.name} cannot be looked for"
    return f"the file {path.name} exists in {path.parent.name}/"


def write_kill_file(reason: str, *, actor: str, now: datetime) -> bool:
    """Set the file latch of this host with who, when and why inside; return False when it was set before.

    It is there whole or not at all, and on the disk when this returns. Raises OSError when it could not be set.
    """
    path = kill_file()
    text = f"Halted at {now:%Y-%m-%d %H:%M:%S} UTC by {actor}.\nReason: {reason}\n"
    try:
        return _link(path, text.encode("utf-8", "replace"))
    except FileExistsError:
        return False
    except OSError:
        # A full disk, or a file system without links: an empty file halts as well.
        return _touch(path)


def _link(path: Path, text: bytes) -> bool:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(draft)
    _sync(path.parent)
    return True


def _touch(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
    except FileExistsError:
        return False
    _sync(path.parent)
    return True


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
