"""``manage.py export_order_events``: the order events as CSV or JSON lines, on standard output."""

import csv
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand

from audit.export import COLUMNS, export_order_events, json_line

PROGRESS_EVERY_ROWS = 10_000


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is not a date or time such as 2026-01-31 or 2026-01-31T12:00:00Z") from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


class Command(BaseCommand):
    """Streams every order event, oldest first; docs/audit-chain.md says how to verify what comes out."""

    help = "Export the order events, oldest first, to standard output. Times without a zone are UTC."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--format", choices=["csv", "jsonl"], required=True, dest="form")
        parser.add_argument("--live-only", action="store_true", help="real orders only")
        parser.add_argument("--since", type=_moment, metavar="TIME", help="from this time on")
        parser.add_argument("--until", type=_moment, metavar="TIME", help="before this time")

    def handle(
        self, *args: Any, form: str, live_only: bool, since: datetime | None, until: datetime | None, **options: Any
    ) -> None:
        write = self._csv_writer() if form == "csv" else self._write_json_line
        shows_progress, count = sys.stderr.isatty(), 0
        for count, row in enumerate(export_order_events(live_only=live_only, since=since, until=until), start=1):
            write(row)
            if shows_progress and count % PROGRESS_EVERY_ROWS == 0:
                self.stderr.write(f"\r{count:,} rows", ending="")
        if shows_progress:
            self.stderr.write(f"\r{count:,} rows")

    def _write_json_line(self, row: Sequence[Any]) -> None:
        self.stdout.write(json_line(row))

    def _csv_writer(self) -> Callable[[Sequence[Any]], Any]:
        writer = csv.writer(self.stdout, lineterminator="\n")
        writer.writerow(COLUMNS)
        return writer.writerow
