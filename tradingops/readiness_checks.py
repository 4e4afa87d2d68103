"""Readiness checks on the people of the console, and on its health."""

import json
from collections.abc import Sequence

from django.contrib.auth.hashers import check_password
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.utils.crypto import salted_hmac

from audit.fields import canonical_json
from safety.facts import ProcessFacts
from safety.models import Setting
from safety.readiness import judged_when_asked, register
from safety.readiness_values import Context, Outcome, Severity, failed, not_known, ok
from safety.second_factor import is_on
from tradingops.health import read_health

#: What is tried for every account, beside the account's own name.
DEFAULT_PASSWORDS = ("admin", "password", "changeme", "tradingops", "admin123", "123456")
#: Accounts looked through in one run; hashing is slow on purpose, so the rest waits for the next run.
ACCOUNTS_PER_RUN = 3
ACCOUNTS_SHOWN_MAX = 5
#: The setting that keeps keyed digests of the password hashes that were tried, so that each is tried once and by one process.
TRIED_KEY = "readiness_passwords_tried"


@register("default_passwords", "No account has a default password", Severity.BLOCKER)
def default_passwords(context: Context) -> Outcome:
    """Try the default passwords on each active account, a few accounts in a run; what was tried stays tried."""
    users = [user for user in _active().order_by("-is_superuser", "-is_staff", "id") if user.has_usable_password()]
    tried = _tried()
    new = [user for user in users if _digest(user) not in tried]
    for user in new[:ACCOUNTS_PER_RUN]:
        if any(check_password(one, user.password) for one in (user.get_username(), *DEFAULT_PASSWORDS)):
            return failed(
                f"The account {user.get_username()} has a password that everybody tries first.",
                f"Set another one: manage.py changepassword {user.get_username()}",
            )
        tried.add(_digest(user))
    if new:
        kept = canonical_json(sorted(tried & {_digest(user) for user in users}))
        Setting.objects.update_or_create(key=TRIED_KEY, defaults={"value": kept})
    if (waiting := len(new) - ACCOUNTS_PER_RUN) > 0:
        return not_known(f"{waiting} accounts are still to be looked at.", "Wait: each run looks at some more of them.")
    return ok(f"None of {len(users)} accounts has a default password.")


def _tried() -> set[str]:
    """Return the digests of the password hashes that are none of the defaults; none when that can't be told."""
    text = Setting.objects.filter(key=TRIED_KEY).values_list("value", flat=True).first()
    try:
        return {str(one) for one in json.loads(text or "[]")}
    except (ValueError, TypeError):
        return set()


def _active() -> QuerySet[User]:
    return User.objects.filter(is_active=True)


def _digest(user: User) -> str:
    """Return a digest of an account's password hash and of what is tried, so that a new default is tried, too."""
    tried = " ".join((user.get_username(), *DEFAULT_PASSWORDS, user.password))
    return salted_hmac("safety.readiness.default_passwords", tried, algorithm="sha256").hexdigest()


@register("operator_accounts", "Two people can operate the console", Severity.WARNING)
def operator_accounts(context: Context) -> Outcome:
    """Warn when only one active staff account is there: one person can be ill, or locked out."""
    count = _active().filter(is_staff=True).count()
    if count < 2:
        return failed(
            f"Active staff accounts: {count}.", "Make a second account under People, and let somebody else keep it."
        )
    return ok(f"Active staff accounts: {count}.")


@register("second_factor", "Every operator signs in with a second factor", Severity.WARNING)
def second_factor(context: Context) -> Outcome:
    """Warn of active staff accounts without a second factor."""
    without = [user.get_username() for user in _active().filter(is_staff=True).order_by("username") if not is_on(user)]
    if without:
        more = f" and {len(without) - ACCOUNTS_SHOWN_MAX} more" if len(without) > ACCOUNTS_SHOWN_MAX else ""
        return failed(
            f"Without a second factor: {', '.join(without[:ACCOUNTS_SHOWN_MAX])}{more}.",
            "Each of them signs in and turns it on from the own account's page.",
        )
    return ok("Every active staff account has a second factor.")


@judged_when_asked("health", "The console is healthy")
def health(processes: Sequence[ProcessFacts]) -> Outcome:
    """Say what /api/health says now."""
    found = read_health()
    if not found.is_healthy:
        age_s = found.worker_heartbeat_age_s
        seen = "never" if age_s is None else f"{age_s:.0f} s ago"
        return failed(
            f"The database is {found.database}; a worker that trades was heard of {seen}.",
            "Start the console with make run, and read what it prints.",
        )
    return ok("The database answers, and a worker was heard of within 30 s.")
