"""The check that the audit chains hold. Ten million rows can't be read every five minutes, so it goes on where it stopped.

What is checked in every run: each row since the last one that was found good, that this row is still the same one, the
head, and the newest anchors. The rows before were checked in earlier runs; a first pass over a long history takes several
runs, and blocks until it is through. Rows that are changed *afterwards* are found by the watch that goes over all of each
chain again and again (safety/chain_watch.py), and what it has reported is looked at here in every run until it is mended.
"""

import json
import time
from dataclasses import dataclass

from django.db import connection

from audit.anchors import AnchorFileError
from audit.chain import FORMS, BadRow, Chain
from audit.fields import canonical_json
from audit.reading import where
from audit.verify import head_seq, verify_part
from safety.chain_watch import POSITION_KEY as WATCH_KEY
from safety.models import Setting
from safety.readiness import register
from safety.readiness_values import Context, Outcome, Severity, failed, not_known, ok

KEPT_KEY = "readiness_chains"
#: How long one run looks at rows, in seconds, and how many at a time.
PASS_S = 10.0
ROWS_PER_PART = 20_000
#: So many rows may have been written while a run looked; the next run looks at them.
BEHIND_MAX = 5_000
BROKEN = (
    "Do not trade. Keep a copy of the database and of var/anchors.jsonl, run manage.py verify_audit, and see"
    " docs/runbook.md for what to do about a broken chain."
)


@dataclass(frozen=True, slots=True)
class Point:
    """How far a chain was found good: the seq and the hash of the last row. Seq 0: not one row yet."""

    seq: int = 0
    hash: str = ""


@register("audit_chain", "The audit chains and their anchors verify", Severity.BLOCKER)
def audit_chain(context: Context) -> Outcome:
    """Check what was added to each chain since the last run, and what the watch has reported."""
    points, until_s = read_points(), time.monotonic() + PASS_S
    behind = 0
    try:
        for chain in Chain:
            bad = _reported_bad(chain) or _gone(chain, points[chain])
            if bad is None:
                points[chain], bad = go_on(chain, points[chain], until_s=until_s)
            if bad is not None:
                return failed(f"The chain is broken at {bad}.", BROKEN)
            behind += max(0, head_seq(chain) - points[chain].seq)
    except (AnchorFileError, OSError) as error:
        return not_known(
            f"The anchors file can't be read: {type(error).__name__}.", "Mend or restore var/anchors.jsonl."
        )
    finally:
        _keep(points)
    shown = ", ".join(f"{chain.value} up to {points[chain].seq:,}" for chain in Chain)
    if behind > BEHIND_MAX:
        return not_known(
            f"The first pass is under way: {shown}; {behind:,} rows are left.",
            "Wait: each run goes on where the last stopped.",
        )
    return ok(f"The chains verify: {shown}.")


def go_on(chain: Chain, point: Point, *, until_s: float) -> tuple[Point, BadRow | None]:
    """Check rows after ``point`` until the head or until the monotonic time ``until_s``; return how far they are good."""
    while True:
        head = head_seq(chain)
        if point.seq >= head:
            # Nothing new: the last row once more, and with it the head, the anchors and what may lie beyond.
            return point, verify_part(chain, max(head, 1), 1)[1]
        last = min(point.seq + ROWS_PER_PART, head)
        _, bad = verify_part(chain, point.seq + 1, ROWS_PER_PART)
        if bad is not None:
            return point, bad
        point = Point(last, _hash_of(chain, last) or "")
        if point.seq >= head or time.monotonic() >= until_s:
            return point, None


def _gone(chain: Chain, point: Point) -> BadRow | None:
    """Return what is wrong with the row that was the last good one: it has to be there as it was."""
    if not point.seq or _hash_of(chain, point.seq) == point.hash:
        return None
    return BadRow(
        FORMS[chain].table, None, chain, point.seq, "this row was verified before, and is gone or another now"
    )


def _hash_of(chain: Chain, seq: int) -> str | None:
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT hash FROM "{FORMS[chain].table}" WHERE {where(chain)} AND seq = %s', [seq])
        row = cursor.fetchone()
    return None if row is None else str(row[0])


def _reported_bad(chain: Chain) -> BadRow | None:
    """Return the first row that the watch has reported and that is still bad."""
    text = Setting.objects.filter(key=WATCH_KEY).values_list("value", flat=True).first()
    try:
        reported = [str(one).split() for one in json.loads(text or "{}").get("reported", [])]
    except (ValueError, AttributeError):
        # The watch's own note, which it writes anew; what it would say again it finds again.
        return None
    for name, _, seq in (parts for parts in reported if len(parts) == 3):
        if name == chain.value and seq.isdigit() and (bad := verify_part(chain, max(int(seq), 2), 1)[1]) is not None:
            return bad
    return None


def read_points() -> dict[Chain, Point]:
    """Return how far each chain was found good; from the beginning when that is not known."""
    text = Setting.objects.filter(key=KEPT_KEY).values_list("value", flat=True).first()
    try:
        kept = json.loads(text or "{}")
        return {chain: Point(int(kept[chain.value]["seq"]), str(kept[chain.value]["hash"])) for chain in Chain}
    except (ValueError, TypeError, KeyError):
        return {chain: Point() for chain in Chain}


def _keep(points: dict[Chain, Point]) -> None:
    told = {chain.value: {"seq": point.seq, "hash": point.hash} for chain, point in points.items()}
    Setting.objects.update_or_create(key=KEPT_KEY, defaults={"value": canonical_json(told)})
