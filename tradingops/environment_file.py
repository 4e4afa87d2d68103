"""The .env file: strict about what django-environ would pass over in silence."""

import difflib
import io
import re
from collections.abc import Collection
from pathlib import Path

import environ

#: The lines that django-environ understands; it skips all others with no more than a log line.
ASSIGNMENT = re.compile(r"\A(?:export )?([A-Za-z_0-9]+)=")
NAME_SIMILARITY = 0.85


def read_env_file(path: Path, known: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """Return the file's variables, and what is wrong with it: a sentence each, without any value. No file: none of both.

    A skipped or misspelt ``KILL_SWITCH`` would leave trading on, so such lines are faults here.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}, []
    except (OSError, UnicodeDecodeError) as error:
        return {}, [f"{path.name}: it cannot be read ({type(error).__name__})"]
    faults = _faults(path.name, text, known)
    found: dict[str, str] = {}

    class EnvFile(environ.Env):  # type: ignore[misc]
        # django-environ writes what it reads into this mapping; the process's own would lose the source.
        ENVIRON = found

    EnvFile.read_env(io.StringIO("\n".join(line for line in text.splitlines() if ASSIGNMENT.match(line))))
    return found, faults


def _faults(file: str, text: str, known: Collection[str]) -> list[str]:
    """Return what is wrong, line by line."""
    faults: list[str] = []
    seen: set[str] = set()
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = ASSIGNMENT.match(line)
        if match is None:
            faults.append(f"{file}, line {number}: NAME=value is needed, with no space before or after NAME")
            continue
        name = match.group(1)
        if name in seen:
            faults.append(f"{file}, line {number}: {name} is set a second time")
        seen.add(name)
        if name not in known and (close := difflib.get_close_matches(name, known, n=1, cutoff=NAME_SIMILARITY)):
            faults.append(f"{file}, line {number}: {name} is not known; {close[0]} is")
    return faults
