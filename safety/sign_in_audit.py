"""Sign-ins as operator events. Failed ones are bounded, so that whoever guesses can't flood the audit."""

from datetime import timedelta

from django.contrib.auth import get_user_model
from django.http import HttpRequest
from django.utils import timezone

from audit.log import OperatorEventRecord, joined_unit, record
from audit.models import OperatorEvent
from safety.client_address import client_address

FAILED, SIGNED_IN, SIGNED_IN_AGAIN, SIGNED_OUT = "sign_in_failed", "signed_in", "signed_in_again", "signed_out"
FAILED_EVERY = timedelta(minutes=1)
#: In one FAILED_EVERY, from all addresses together.
FAILED_ROWS_MAX = 10
STRANGER = "stranger"


def record_signed_in(request: HttpRequest, username: str, how: str, *, is_again: bool = False) -> None:
    """Record that someone proved who he is; ``how`` says with what."""
    action = SIGNED_IN_AGAIN if is_again else SIGNED_IN
    with joined_unit():
        record(OperatorEventRecord(username, action, _where(request), "", f"with {how}"))


def record_signed_out(request: HttpRequest, username: str) -> None:
    """Record that someone ended his session."""
    with joined_unit():
        record(OperatorEventRecord(username, SIGNED_OUT, _where(request), "", ""))


def record_failed(request: HttpRequest, username: str) -> None:
    """Record a failed sign-in: at most one row a minute for one address, and ten for all.

    A name that nobody has is not kept: people type passwords into the wrong field.
    """
    where = _where(request)
    lately = OperatorEvent.objects.filter(action=FAILED, ts__gte=timezone.now() - FAILED_EVERY).order_by("-id")
    seen = list(lately.values_list("object", flat=True)[:FAILED_ROWS_MAX])
    if where in seen or len(seen) >= FAILED_ROWS_MAX:
        return
    # Compared without a query for a name that no column holds.
    is_known = "\0" not in username and get_user_model().objects.filter(username=username).exists()
    tried = f"as {username}" if is_known else "with a name that nobody has"
    with joined_unit():
        record(OperatorEventRecord(STRANGER, FAILED, where, "", tried))


def _where(request: HttpRequest) -> str:
    return f"address:{client_address(request) or 'unknown'}"
