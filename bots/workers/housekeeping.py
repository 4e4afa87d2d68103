"""The chores that keep the workers' own house: anchors, old heartbeats, old results."""

from datetime import datetime, timedelta

from django_q.models import Failure

from audit.anchors import write_anchors
from bots.workers.chores import chore
from bots.workers.heartbeats import forget_old
from safety import api_failures, api_requests

#: How long failed tasks stay to be looked at. (django-q2 bounds the successful ones itself, by save_limit.)
KEEP_FAILURES = timedelta(days=14)


@chore(every_s=300)
def anchor_chains(now: datetime) -> None:
    """Note outside the database where each audit chain stands."""
    write_anchors(now=now)


@chore(every_s=300)
def forget_old_heartbeats(now: datetime) -> None:
    """Delete the heartbeats of workers that are long gone."""
    forget_old()


@chore(every_s=3600)
def prune_failures(now: datetime) -> None:
    """Delete old failed tasks."""
    Failure.objects.filter(stopped__lt=now - KEEP_FAILURES).delete()


@chore(every_s=3600)
def forget_old_api_requests(now: datetime) -> None:
    """Delete Idempotency-Keys that are older than they are kept."""
    api_requests.forget_old(now)


@chore(every_s=60)
def tell_of_wrong_tokens(now: datetime) -> None:
    """Tell the audit of wrong API tokens that it has not heard of, and forget addresses that tried long ago."""
    api_failures.tell_rest(now=now)
