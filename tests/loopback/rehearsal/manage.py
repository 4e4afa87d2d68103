"""manage.py for the rehearsal's console: ``python -m tests.loopback.rehearsal.manage reconcile``."""

import os
import sys

from tests.loopback.rehearsal.places import PROJECT, Places, process_environ


def main() -> None:
    """Run one management command against the rehearsal's database and venues, in place of this process."""
    places = Places(PROJECT / "var")
    if not places.env_file.exists():
        sys.exit("There is no rehearsal here yet. Start one with: make rehearse")
    os.chdir(PROJECT)
    os.execve(sys.executable, [sys.executable, "manage.py", *sys.argv[1:]], process_environ(places, os.environ))


if __name__ == "__main__":
    main()
