"""The check that the database and the venues' addresses belong together: both real, or both of a rehearsal."""

from safety import stamp
from safety.checks.processes import START_AGAIN, silence
from safety.readiness import register
from safety.readiness_values import Context, Outcome, Severity, failed, ok

REMEDY = f"Change DATABASE_URL, or the venues' addresses, in .env: see docs/environment.md. {START_AGAIN}"
PREPARE = "Stop the console, run manage.py prepare, which stamps the database, and start the console again."


@register("endpoints", "Venue addresses and database belong together", Severity.BLOCKER)
def endpoints(context: Context) -> Outcome:
    """Compare the addresses with the database's stamp. An address of a stranger is refused when a process starts."""
    if (unknown := silence(context.processes)) is not None:
        return unknown
    stamped = stamp.read()
    if problem := stamp.problem(stamped):
        return failed(problem, REMEDY)
    loopback = sorted({name for one in context.processes for name in one.get("loopback_endpoints")})
    if loopback and stamped != stamp.REHEARSAL:
        return failed(f"A rehearsal ({', '.join(loopback)} on this machine) on a database without its stamp.", PREPARE)
    if stamped and not loopback:
        return failed("The database is a rehearsal's, and the venues' addresses are their own.", REMEDY)
    if loopback:
        return ok(f"A rehearsal, on a database that is stamped as one; on this machine: {', '.join(loopback)}.")
    return ok("The venues' own addresses, and a database that is no rehearsal's.")
