"""The watch over the audit chains: a little of each at a time, over and over, and a halt when one is broken.

Automatic never lowers, and halts once for each finding: whoever releases over a broken chain has been told, and READINESS keeps
live trading shut as long as it stays broken.
"""

import json
import logging
from typing import Any

from django.db import Error, transaction

from audit.chain import BadRow, Chain
from audit.fields import canonical_json
from audit.log import OperatorEventRecord, record, unit
from audit.verify import head_seq, verify_part
from safety import kill_switch
from safety.intents import Level
from safety.models import Setting
from safety.notifications.beside import once, tell_beside

log = logging.getLogger(__name__)

ACTOR = "automatic"
POSITION_KEY = "chain_watch"
#: Rows of one chain in one round, from where the last one ended, and as many of the newest.
ROWS_MAX = 5_000
REPORTED_MAX = 100
TITLE = "The audit record was changed or cut off: all trading is halted"
REMEDY = (
    "Somebody changed the record behind the console's back, or an old backup was restored. Leave it halted. Keep a copy of the"
    " database and of var/anchors.jsonl before anything else, run manage.py verify_audit, and compare the positions with the"
    " venue's own page. Release only when you can explain it."
)


def check_some(rows_max: int = ROWS_MAX) -> list[BadRow]:
    """Check some rows of each chain and halt everything over what is newly found broken; return what was found.

    Raises as ``audit.verify.verify_part`` does: what can't be checked is neither intact nor broken.
    """
    memory = _read()
    found = [bad for chain in Chain if (bad := _check_chain(chain, memory, rows_max)) is not None]
    for bad in found:
        _report(bad, memory)
    _write(memory)
    return found


def _check_chain(chain: Chain, memory: dict[str, Any], rows_max: int) -> BadRow | None:
    """Check the newest rows of a chain, and the next ones of the round over all of it."""
    at = memory["at"].setdefault(chain.value, {"newest": 0, "next": 1})
    newest = head_seq(chain)
    # From the row that was the head: when it is gone, or no longer fits, that is found at once.
    tail_from = max(at["newest"], newest - rows_max, 2)
    _, bad = verify_part(chain, tail_from, rows_max + 1) if newest >= tail_from else (1, None)
    at["newest"] = newest
    if bad is None:
        at["next"], bad = verify_part(chain, at["next"], rows_max)
    return bad


def _report(bad: BadRow, memory: dict[str, Any]) -> None:
    """Halt and say so, once for each finding."""
    name = f"{bad.chain.value} {bad.table} {bad.seq}"
    if name in memory["reported"]:
        return
    log.critical("the audit chain is broken: %s", bad)
    kill_switch.engage(Level.HALTED, f"the audit chain is broken: {bad}", actor=ACTOR)
    memory["reported"] = [*memory["reported"], name][-REPORTED_MAX:]
    try:
        with unit():
            record(OperatorEventRecord(ACTOR, "audit_tampered", name, "intact", "broken", str(bad)))
            _tell(bad, name)
            _save(memory)
    except Error:
        # The operators' own chain may be the one that takes no rows any more; trading is halted in any case.
        log.exception("the finding could not be recorded: %s", bad)
        _tell(bad, name)


def _tell(bad: BadRow, name: str) -> None:
    facts = (("Chain", bad.chain.value), ("Table", bad.table), ("Row", f"seq {bad.seq}"), ("What is wrong", bad.why))
    # The same finding is told once, also when it could not be recorded and is found again.
    tell_beside(
        "audit_tampered", f"chain:{name}", TITLE, f"{bad}.\n{REMEDY}", facts=facts, event_id=once(name, bad.why)
    )


def _read() -> dict[str, Any]:
    """Return where the last round ended and what was reported; anew when that is not known."""
    memory: dict[str, Any] = {"at": {}, "reported": []}
    text = Setting.objects.filter(key=POSITION_KEY).values_list("value", flat=True).first()
    try:
        kept = json.loads(text or "{}")
        memory["reported"] = [str(one) for one in kept["reported"]]
        memory["at"] = {
            Chain(chain).value: {"newest": int(at["newest"]), "next": int(at["next"])}
            for chain, at in kept["at"].items()
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        # It is a note to ourselves: without it the chains are checked from their beginnings.
        return memory
    return memory


def _write(memory: dict[str, Any]) -> None:
    with transaction.atomic():
        _save(memory)


def _save(memory: dict[str, Any]) -> None:
    Setting.objects.update_or_create(key=POSITION_KEY, defaults={"value": canonical_json(memory)})
