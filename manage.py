#!/usr/bin/env python
"""Run a management command of the console: ``python manage.py help`` lists them."""

import os
import sys

#: The exit code of every command that could not run at all.
COULD_NOT_RUN = 3


def main() -> None:
    """Hand the command line to Django. An environment that can't be used ends it with one plain message."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tradingops.settings")
    from django.conf import settings
    from django.core.management import execute_from_command_line

    from tradingops.environment import EnvironmentProblem

    try:
        # Asked for here because Django's own command line would go on without settings and call the command unknown.
        _ = settings.INSTALLED_APPS
    except EnvironmentProblem as problem:
        sys.stderr.write(f"{problem}\n")
        sys.exit(COULD_NOT_RUN)
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
