"""One after another: what fails for one of many is logged, and the others get their turn."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import InterfaceError, OperationalError

log = logging.getLogger(__name__)


@contextmanager
def apart(what: str) -> Iterator[None]:
    """Log whatever goes wrong inside, named ``what``, and go on after it. A database that is away concerns all: it is raised."""
    try:
        yield
    except (OperationalError, InterfaceError):
        raise
    except Exception:  # whatever is wrong with one, it must not stand in the way of the others
        log.exception("%s", what)
