"""What a session keeps of its sign-in: when it began, when its person last did something, when the password was last given."""

from typing import Any

from django.contrib.auth.signals import user_logged_in
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils import timezone

SIGNED_IN_AT, ACTIVE_AT = "console_signed_in_at", "console_active_at"
CONFIRMED_AT = "console_confirmed_at"
WITHIN_S = 300


@receiver(user_logged_in, dispatch_uid="safety.sign_in_marks")
def begin(sender: Any, request: HttpRequest, **kwargs: Any) -> None:
    """Note when the session began."""
    request.session[SIGNED_IN_AT] = request.session[ACTIVE_AT] = now_s()
    note_sign_in(request)


def note_sign_in(request: HttpRequest) -> None:
    """Remember that the password was right just now."""
    request.session[CONFIRMED_AT] = now_s()


def signed_in_recently(request: HttpRequest, within_s: int = WITHIN_S) -> bool:
    """Return whether this session gave the password in the last ``within_s`` seconds. What can't be read is no."""
    confirmed_at = request.session.get(CONFIRMED_AT)
    if not request.user.is_authenticated or not isinstance(confirmed_at, int):
        return False
    return 0 <= now_s() - confirmed_at <= within_s


def now_s() -> int:
    """Return the time as sessions keep it: whole seconds since 1970."""
    return int(timezone.now().timestamp())
