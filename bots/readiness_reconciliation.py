"""Readiness of the reconciliation: that our books were compared with the venue lately, and that both agree."""

from datetime import timedelta

from audit import figures
from bots.account_chores import accounts_in_use
from bots.reconciliation import queries
from safety.readiness import register
from safety.readiness_values import Context, Outcome, Severity, failed, not_used, ok

AGE_MAX = timedelta(minutes=5)
#: A run waits for slow venues, and rounds go on meanwhile: one may have ended so long after the run began.
WHILE_IT_RAN = timedelta(seconds=50)
NAMED_MAX = 3
UNUSED = "No bot is set live there or holds anything there: there is nothing to compare."


def _is_used(context: Context) -> bool:
    return (context.venue, True) in accounts_in_use()


@register(
    "reconciliation_fresh", "Our books were compared with the venue within 5 minutes", Severity.BLOCKER, per_venue=True
)
def reconciliation_fresh(context: Context) -> Outcome:
    """Look at when the live account was last compared soundly. A round that failed compares nothing."""
    venue = str(context.venue)
    if not _is_used(context):
        return not_used(UNUSED)
    seen = queries.view(venue, is_live=True)
    age = queries.last_sound_age(venue, is_live=True, now=context.now)
    why = f" The last round failed: {seen.failure}" if seen.failing_since is not None else ""
    if not why and seen.reading:
        why = f" It is {seen.reading}; that ends by itself."
    if age is None:
        if not why and seen.last_run is not None and seen.last_run.reason:
            why = f" The last round waits: {seen.last_run.reason}."
        return failed(
            f"Our books were never compared with {venue} since it is in use.{why}",
            "Wait for a minute, with the workers running. If it stays, run manage.py reconcile and do what it says.",
        )
    shown = figures.duration(max(0, int(age.total_seconds())))
    if not -WHILE_IT_RAN <= age <= AGE_MAX:
        return failed(
            f"Our books were last compared with {venue} {shown} ago.{why}"
            if age > AGE_MAX
            else f"Our books were last compared with {venue} in the future: the clock was set back.{why}",
            "Wait for a minute, with the workers running. If it stays, run manage.py reconcile and do what it says.",
        )
    return ok(f"Our books were compared with {venue} {shown} before this run.")


@register("reconciliation_agrees", "Our books and the venue agree", Severity.WARNING, per_venue=True)
def reconciliation_agrees(context: Context) -> Outcome:
    """Look for open differences. The control RECONCILIATION_OPEN shuts the symbols that they are about, and no others."""
    venue = str(context.venue)
    found = queries.view(venue, is_live=True).differences
    if found:
        texts = " ".join(one.text for one in found[:NAMED_MAX])
        more = f" And {len(found) - NAMED_MAX} more." if len(found) > NAMED_MAX else ""
        return failed(
            f"{texts}{more} Entries in what this is about wait.",
            "Find out why, at the venue; it closes by itself when both agree. Otherwise settle it on the page Reconciliation.",
        )
    return ok("Nothing is open between our books and the venue.") if _is_used(context) else not_used(UNUSED)
