"""The watch over the venues' keys: a venue that does not accept the key any more is halted, until a person has settled it.

Whoever asked the venue kept its refusal (bots/brokers/access.py) and stood back. Here it becomes the kill switch of that venue,
so that no bot goes on trying, and people see why. Automatic never lowers: a person releases, and a key that is refused again
halts again.
"""

from datetime import datetime

from bots.account_chores import accounts_in_use
from bots.apart import apart
from bots.models import VenueAccess
from bots.reconciliation.alarms import RISK, alarm, was_raised
from bots.workers.chores import chore
from safety import kill_switch
from safety.intents import Level
from safety.models import TradingState

ACTOR = "automatic"


@chore(every_s=2)
def halt_where_the_key_is_refused(now: datetime) -> None:
    """Halt each venue whose live key was refused since its trading state was last set."""
    refused = list(VenueAccess.objects.filter(key_refused_at__isnull=False))
    if not refused:
        return
    used = {venue for venue, is_live in accounts_in_use() if is_live}
    for access in refused:
        # Where nothing is live the readiness checks tell of the key; paper goes on without one.
        if access.account in used and _is_news(access):
            with apart(f"{access.account}: its key is refused, and it could not be halted"):
                kill_switch.engage(Level.HALTED, _why(access), actor=ACTOR, scope=f"venue:{access.account}")


@chore(every_s=5)
def tell_of_lockouts(now: datetime) -> None:
    """Tell a person of each lockout of a key once: until it ends, hardly an exit leaves."""
    for access in VenueAccess.objects.filter(locked_out_until__gt=now, locked_out_since__isnull=False):
        subject = f"account:{access.account} locked out {access.locked_out_since:%Y-%m-%d %H:%M:%S}"
        if was_raised(RISK, subject):
            continue
        with apart(f"{access.account}: nobody could be told that its key is locked out"):
            alarm(
                RISK,
                subject,
                f"{access.account}: {access.rate_refused_reason}. Nothing is asked with this key meanwhile, but an exit or a"
                " cancel every two minutes. What must go at once goes on the venue's own page.",
                title=f"{access.account.capitalize()} has locked our key out",
                facts=(
                    ("Venue", access.account.capitalize()),
                    ("Until", f"{access.locked_out_until:%Y-%m-%d %H:%M} UTC"),
                ),
            )


def _is_news(access: VenueAccess) -> bool:
    """Return whether nobody has acted on the refusal yet: halted the venue, or released it since."""
    state = TradingState.objects.filter(scope=f"venue:{access.account}").first()
    if state is None or access.key_refused_at is None:
        return access.key_refused_at is not None
    return state.level != Level.HALTED and state.changed_at < access.key_refused_at


def _why(access: VenueAccess) -> str:
    said = access.key_refused_reason or "the venue does not accept the API key"
    return (
        f"{said}. Cancel what rests there on the venue's own site, put a key that works into .env, start the console again,"
        " then release."
    )
