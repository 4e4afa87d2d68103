"""``manage.py qcluster``: the workers. Takes the place of django-q2's command of that name."""

import os
from importlib import import_module
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from bots.workers.chores import load_chores
from bots.workers.cluster import Cluster, SentinelsKeepDying
from bots.workers.q2 import cluster_names
from bots.workers.shift import tick_path
from safety import stamp


class Command(BaseCommand):
    """Starts the workers and keeps them running until SIGTERM or Ctrl-C."""

    help = "Run the workers: all clusters, or the one named. Stops within seconds on SIGTERM or Ctrl-C."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("-n", "--name", choices=cluster_names(), help="run only this cluster")

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["name"] or os.environ.get("Q_CLUSTER_NAME")
        names = [name] if name else list(cluster_names())
        try:
            stamp.check_at_start()
        except stamp.StampError as error:
            raise CommandError(str(error)) from error
        # Loaded before the fork, shared by all workers: half the memory, and no import when the first bot ticks.
        import_module(tick_path().rpartition(".")[0])
        load_chores()
        self.stdout.write(f"workers: {', '.join(names)}")
        try:
            Cluster(names).run()
        except SentinelsKeepDying as error:
            raise CommandError(str(error)) from error
