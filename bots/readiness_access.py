"""Readiness checks on what the venues said of our keys lately, as every process kept it. Nothing is asked for them."""

from datetime import timedelta

from bots.accounts import account_name
from bots.brokers.access import NONCE_REFUSALS_MIN, NONCE_STREAK_FOR
from bots.models import VenueAccess
from bots.readiness_venues import why_unused
from safety.readiness import register
from safety.readiness_values import Context, Outcome, Severity, failed, not_used, ok

RATE_LATELY = timedelta(hours=1)


@register("venue_key_alone", "Nothing else uses the key", Severity.BLOCKER, per_venue=True)
def venue_key_alone(context: Context) -> Outcome:
    """See whether the venue goes on refusing our requests' numbers, as it does when two consoles share a key."""
    if unused := context.once(why_unused):
        return not_used(unused)
    access = _access(context)
    if access is None or access.nonce_refused_at is None or access.nonce_refused_since is None:
        return ok("The venue has refused no request's number.")
    shown = f"It refused {access.nonce_refusals} in a row from {access.nonce_refused_since:%Y-%m-%d %H:%M:%S} UTC on"
    is_lately = context.now - access.nonce_refused_at < NONCE_STREAK_FOR
    if is_lately and access.nonce_refusals >= NONCE_REFUSALS_MIN:
        return failed(
            f"Something else uses this key: the venue refuses our requests' numbers. {shown}.",
            "Stop whatever else uses the key (another console, a script), or make a key for this console alone.",
        )
    return ok(f"{shown}, the last {'within' if is_lately else 'more than'} 10 minutes ago: nothing that lasts.")


@register("venue_rate", "The venue does not call us too busy", Severity.WARNING, per_venue=True)
def venue_rate(context: Context) -> Outcome:
    """Warn when the venue said within the last hour that it was asked too much."""
    if unused := context.once(why_unused):
        return not_used(unused)
    access = _access(context)
    if access is None or access.rate_refused_at is None or context.now - access.rate_refused_at > RATE_LATELY:
        return ok("The venue has not complained within the last hour.")
    return failed(
        f"At {access.rate_refused_at:%H:%M:%S} UTC the venue wanted fewer requests: {access.rate_refused_reason}.",
        "See under Rate limits on the Safety page who asks, that the tier is right, and that nothing else uses the account.",
    )


def _access(context: Context) -> VenueAccess | None:
    return VenueAccess.objects.filter(account=account_name(context.venue or "", is_live=True)).first()
