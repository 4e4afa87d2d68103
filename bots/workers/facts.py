"""What the running processes tell of themselves, read from their heartbeats."""

from bots.models.worker import WorkerHeartbeat
from bots.workers.database_time import database_time
from safety.facts import ProcessFacts

#: A process not heard of for this long is taken for gone, in seconds.
HEARD_WITHIN_S = 30.0
FACTS = "facts"
#: A shift that handed over says so; its process lives on and the next shift tells of it.
ENDED = "ended"


def read_processes() -> tuple[ProcessFacts, ...]:
    """Return every process heard of lately, by the database's clock. Raises django.db.Error."""
    rows = WorkerHeartbeat.objects.filter(seen_at__gt=database_time(-HEARD_WITHIN_S)).annotate(asked_at=database_time())
    return tuple(
        ProcessFacts(
            name=f"{row.kind} {row.host}:{row.pid}",
            kind=row.kind,
            host=row.host,
            version=row.version,
            seen_at=row.seen_at,
            age_s=(row.asked_at - row.seen_at).total_seconds(),
            facts=row.details.get(FACTS, {}),
        )
        for row in rows
        if not row.details.get(ENDED)
    )
