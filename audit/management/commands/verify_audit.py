"""``manage.py verify_audit``: is every audit row still what was written?"""

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand
from django.db import Error, connection

from audit.anchors import AnchorFileError
from audit.chain import Chain
from audit.triggers import missing_triggers
from audit.verify import ChainReport, VerificationError, verify_chains

INTACT, BROKEN, COULD_NOT_RUN = 0, 2, 3


class Command(BaseCommand):
    """Exit 0 when the chains are intact, 2 when one is broken, 3 when they could not be checked."""

    help = "Check the audit chains and their anchors. Exit code 0: intact, 2: broken, 3: could not run."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--from", dest="from_seq", type=int, default=0, metavar="SEQ", help="trust what is before SEQ"
        )
        parser.add_argument(
            "--anchors", type=Path, metavar="FILE", help="anchors file (default: the setting's, if there)"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, from_seq: int, anchors: Path | None, json: bool, **options: Any) -> None:
        try:
            reports = verify_chains(from_seq, anchors, self._progress if sys.stderr.isatty() else None)
            triggers = missing_triggers(connection)
        except (VerificationError, AnchorFileError, OSError, Error) as error:
            self._could_not_run(f"{type(error).__name__}: {error}".strip(), json)
            sys.exit(COULD_NOT_RUN)
        self._print_json(reports, triggers) if json else self._print(reports, triggers)
        if not all(report.intact for report in reports):
            sys.exit(BROKEN)

    def _progress(self, chain: Chain, done: int, total: int) -> None:
        self.stderr.write(f"\r{chain.value}: {done:,} of {total:,} rows", ending="\n" if done == total else "")

    def _could_not_run(self, why: str, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps({"intact": None, "error": why, "chains": []}))
        self.stderr.write(f"could not verify: {why}")

    def _print(self, reports: list[ChainReport], triggers: list[str]) -> None:
        for report in reports:
            if report.bad is not None:
                self.stdout.write(f"BROKEN {report.chain.value}: first bad row: {report.bad}")
                continue
            self.stdout.write(
                f"intact {report.chain.value}: {report.rows_checked:,} rows up to seq {report.head_seq},"
                f" {report.anchors_checked} anchors"
            )
        for trigger in triggers:
            self.stderr.write(f"warning: the append-only trigger is missing: {trigger}")

    def _print_json(self, reports: list[ChainReport], triggers: list[str]) -> None:
        found = {
            "intact": all(report.intact for report in reports),
            "missing_triggers": triggers,
            "chains": [_as_dict(report) for report in reports],
        }
        self.stdout.write(json.dumps(found))


def _as_dict(report: ChainReport) -> dict[str, Any]:
    bad = report.bad
    row = None
    if bad is not None:
        row = {"table": bad.table, "id": bad.id, "chain": bad.chain.value, "seq": bad.seq, "why": bad.why}
    return {
        "chain": report.chain.value,
        "intact": report.intact,
        "rows_checked": report.rows_checked,
        "head_seq": report.head_seq,
        "anchors_checked": report.anchors_checked,
        "first_bad_row": row,
    }
