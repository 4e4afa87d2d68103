"""`evaluate_intelligence`: what the scores and regimes of the intelligence layer were worth on the recorded candles."""

from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from bots.evaluation.check import check_all, recorded
from bots.evaluation.report import report, summary
from safety.limits import merge

BARS_LEAST = 500


class Command(BaseCommand):
    """Exit codes: 0 done, 1 the request cannot be run."""

    help = "Replay the recorded candles and report what followed the intelligence layer's scores and regimes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--output", default=None, help="file to write the report to, as Markdown (default: print it)"
        )
        parser.add_argument("--symbol", default=None, help="look at this recording only")
        parser.add_argument("--bars", type=int, default=None, help="look at the last so many bars of each series only")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run every check and write what was found."""
        which = [one for one in recorded() if options["symbol"] in (None, one[0])]
        if not which:
            known = ", ".join(sorted({symbol for symbol, _ in recorded()}))
            raise CommandError(f"there is no recording of {options['symbol']!r} with enough bars: choose {known}")
        if options["bars"] is not None and options["bars"] < BARS_LEAST:
            raise CommandError(f"--bars has to be {BARS_LEAST} or more: fewer say nothing")
        # A person would look, and start it again; here nobody can.
        limits = replace(
            merge(None, None, is_live=False), daily_loss_pct=None, drawdown_pct=None, losing_streak_max=None
        )
        checks = check_all(which, limits, bars_max=options["bars"])
        if options["output"] is None:
            self.stdout.write(report(checks))
            return
        Path(options["output"]).write_text(report(checks), encoding="utf-8")
        self.stdout.write(summary(checks))
