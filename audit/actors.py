"""Who acts, where nobody is signed in."""

import getpass
import os


def terminal_actor() -> str:
    """Return the person at this terminal, as audit rows name them: ``terminal:`` and the system's user name."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        # A container may run as a user that nobody named.
        name = f"uid {os.getuid()}"
    return f"terminal:{name}"
