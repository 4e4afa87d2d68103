"""Readiness checks that ask a venue: its keys, their rights, the account, the clock. Made for venues that are used only."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from bots.brokers.base import AccountReport, KeyRights, VenueBroker, VenueError, VenueStatus
from bots.brokers.budget import Purpose, spending
from bots.brokers.factory import BrokerUnavailable, broker_for
from bots.models import Bot, BotStatus, Order
from bots.order_states import OPEN_STATES
from safety.facts import own_facts
from safety.intents import MarketStatus
from safety.readiness import register
from safety.readiness_values import Context, Outcome, Severity, failed, not_known, not_used, ok

CLOCK_SKEW_S_MAX = Decimal(2)
KEY_AGE_MAX = timedelta(days=90)
#: What a key must be allowed beside trading: to see the balance, what is open, what was filled, and what moved otherwise.
RIGHTS_NEEDED = {"kraken": frozenset({"query-funds", "query-open-trades", "query-closed-trades", "query-ledger"})}
#: Venues that do not tell whether a key may withdraw.
WITHDRAWAL_UNKNOWN = frozenset({"alpaca"})
#: Venues whose market opens and closes by the day; of maintenance they say nothing.
WITH_HOURS = frozenset({"alpaca"})
ENDPOINTS = {"kraken": "KRAKEN_BASE_URL", "alpaca": "ALPACA_BASE_URL_LIVE"}
KEYS = {
    "kraken": "KRAKEN_API_KEY and KRAKEN_API_SECRET",
    "alpaca": "ALPACA_API_KEY_LIVE and ALPACA_API_SECRET_LIVE",
}
ASK_AGAIN = "See whether the venue answers (its status page), then run manage.py verify_live_ready again."
NEW_KEY = "At the venue, make a key {rights}, put it into {names} in .env, and start the console again."


@dataclass(frozen=True, slots=True)
class Answers:
    """What a venue answered in this run. With ``trouble`` it could not be asked, for that reason, and the rest is None.

    ``account_trouble`` is why the account alone could not be read.
    """

    trouble: str = ""
    remedy: str = ""
    status: VenueStatus | None = None
    rights: KeyRights | None = None
    account: AccountReport | None = None
    account_trouble: str = ""


def why_unused(context: Context) -> str:
    """Return why nothing depends on this venue, or an empty text when something does: live keys, a live bot or order."""
    venue = context.venue
    bots = Bot.objects.filter(venue=venue, dry_run=False).exclude(status=BotStatus.ARCHIVED)
    if bots.exists() or Order.objects.filter(venue=venue, is_live=True, status__in=OPEN_STATES).exists():
        return ""
    told = [one.facts for one in context.processes if one.facts]
    if not told:
        # Nobody says whether there are keys: then there may be some.
        return ""
    if all(one["keys"][venue] == "unset" for one in told):
        return "No live keys, and no bot is set live there."
    if venue == "alpaca" and not any(one["gates"]["LIVE_TRADING_ENABLED"]["open"] for one in told):
        return "LIVE_TRADING_ENABLED is shut, so that nothing is asked there; no bot is set live there."
    if any(one["is_rehearsal"] for one in told) and not any(
        ENDPOINTS[venue] in one["loopback_endpoints"] for one in told
    ):
        return "This is a rehearsal, and the venue has no loopback address: it is off."
    return ""


def ask(context: Context) -> Answers:
    """Ask the venue everything that the checks need, the cheapest first; after the first silence nothing more is asked."""
    venue = context.venue
    told = [one.facts for one in context.processes if one.facts]
    if not told:
        return Answers("No running process tells whether there are live keys.", "Start the console with make run.")
    if any(one["config_hash"] != own_facts()["config_hash"] for one in told):
        return Answers(
            "This run was made by a command whose settings are not those of the running console.",
            "Run manage.py verify_live_ready with the variables that the console was started with, or wait for the next run.",
        )
    if any(one["keys"][venue] != "set" for one in told):
        return Answers(f"{KEYS[venue]}: not both are set in every process.", f"Set {KEYS[venue]} in .env.")
    try:
        return _ask(broker_for(venue, is_live=True))
    except BrokerUnavailable as unavailable:
        return Answers(str(unavailable), "Set the bots of this venue to dry run, or remove its live keys from .env.")
    except VenueError as error:
        return Answers(f"The venue could not be asked: {error}", ASK_AGAIN)


@spending(Purpose.LOOK_UPS)
def _ask(broker: VenueBroker) -> Answers:
    # A run that the background left no room for would shut live entries until the next one.
    try:
        status = broker.status()
    except VenueError:
        # Alpaca does not even tell the time to a key that it refuses: that is said rather than "it did not answer".
        rights = broker.key_rights()
        if rights.is_refused:
            return Answers(rights=rights)
        raise
    rights = broker.key_rights()
    if not rights.is_known:
        return Answers(status=status, rights=rights)
    try:
        return Answers(status=status, rights=rights, account=broker.account())
    except VenueError as error:
        # A key that lacks a right is told its rights, and not the account: the checks tell the two apart.
        return Answers(status=status, rights=rights, account_trouble=str(error))


def _judge(context: Context, judge: Callable[[Answers], Outcome]) -> Outcome:
    """Return what ``judge`` says of the venue's answers; where there are none, venue_keys says so and alone blocks."""
    if unused := context.once(why_unused):
        return not_used(unused)
    answers = context.once(ask)
    if answers.trouble or answers.rights is None or not answers.rights.is_known:
        return not_used("Not asked, since the venue did not answer for its key: see the check of the keys.")
    return judge(answers)


@register("venue_keys", "The venue accepts the live keys", Severity.BLOCKER, per_venue=True)
def venue_keys(context: Context) -> Outcome:
    """See that the venue knows the key, by asking the live endpoint for its rights; any trouble of the venue shows here."""
    if unused := context.once(why_unused):
        return not_used(unused)
    answers = context.once(ask)
    if answers.trouble or answers.rights is None:
        return not_known(answers.trouble, answers.remedy)
    if answers.rights.is_refused:
        return failed(
            f"The venue refuses the key: {answers.rights.reason}",
            NEW_KEY.format(rights="for this account", names=KEYS[context.venue]),
        )
    if not answers.rights.is_known:
        return not_known(f"The venue does not say what the key may do: {answers.rights.reason}", ASK_AGAIN)
    return ok("The venue knows the key.")


@register("venue_rights", "The key may do what trading needs", Severity.BLOCKER, per_venue=True)
def venue_rights(context: Context) -> Outcome:
    """Compare the key's rights with those that trading needs."""
    needed = RIGHTS_NEEDED.get(context.venue, frozenset())

    def judge(answers: Answers) -> Outcome:
        rights = _rights(answers)
        lacking = sorted(needed - rights.names) + ([] if rights.can_trade else ["create and cancel orders"])
        if lacking:
            with_rights = f"with the rights {', '.join(sorted(needed))} and to create and cancel orders, and no other"
            return failed(
                f"The key lacks: {', '.join(lacking)}.", NEW_KEY.format(rights=with_rights, names=KEYS[context.venue])
            )
        return ok("The key may query funds and orders, and trade.")

    return _judge(context, judge)


@register("venue_no_withdrawal", "The key may not withdraw", Severity.BLOCKER, per_venue=True)
def venue_no_withdrawal(context: Context) -> Outcome:
    """Refuse a key that may withdraw: whoever steals it takes the money."""

    def judge(answers: Answers) -> Outcome:
        if _rights(answers).can_withdraw:
            return failed(
                "The key may withdraw funds.",
                NEW_KEY.format(rights="without the right to withdraw, delete this one", names=KEYS[context.venue]),
            )
        return ok("The key may not withdraw.")

    if context.venue in WITHDRAWAL_UNKNOWN:
        return not_used("The venue does not tell: see the warning about it.")
    return _judge(context, judge)


@register("venue_withdrawal_unknown", "It is known whether the key may withdraw", Severity.WARNING, per_venue=True)
def venue_withdrawal_unknown(context: Context) -> Outcome:
    """Warn where the venue does not tell whether a key may withdraw."""
    if unused := context.once(why_unused):
        return not_used(unused)
    if context.venue in WITHDRAWAL_UNKNOWN:
        return not_known(
            "The venue does not tell whether the key may withdraw.",
            "See at the venue that transfers need your own sign-in; nothing can be done about it here.",
        )
    return ok("The venue tells, and another check looks.")


@register("venue_account", "The account is not blocked", Severity.BLOCKER, per_venue=True)
def venue_account(context: Context) -> Outcome:
    """Look at the flags that the venue set against the account, and whether it is a live one, as its keys are taken for."""

    def judge(answers: Answers) -> Outcome:
        if answers.account is None:
            return not_known(f"The account could not be read: {answers.account_trouble}", ASK_AGAIN)
        if answers.account.flags:
            return failed(
                f"These flags are set against the account: {', '.join(answers.account.flags)}.",
                "Sign in at the venue and settle what it asks for. "
                f"See that {KEYS[context.venue]} are those of the live account.",
            )
        return ok("The account can be read, and the venue has set no flag against it.")

    return _judge(context, judge)


@register("venue_clock", "Our clock and the venue's agree within 2 s", Severity.BLOCKER, per_venue=True)
def venue_clock(context: Context) -> Outcome:
    """Compare this host's clock with the venue's, and the clocks of all processes with each other."""

    def judge(answers: Answers) -> Outcome:
        status = _status(answers)
        ahead_s = [Decimal(str(one.clock_ahead_s)) for one in context.processes]
        spread_s = max(ahead_s) - min(ahead_s)
        shown = f"The venue's clock is {status.clock_skew_s:+.1f} s off ours; our processes differ by {spread_s:.1f} s"
        remedy = "Set the clock of each host by NTP (timedatectl set-ntp true), then run the checks again."
        if abs(status.clock_skew_s) > CLOCK_SKEW_S_MAX or spread_s > CLOCK_SKEW_S_MAX:
            return failed(f"{shown}.", remedy)
        if status.uncertain_s > CLOCK_SKEW_S_MAX:
            return not_known(f"{shown}, but the venue took too long to answer to be sure.", ASK_AGAIN)
        return ok(f"{shown}.")

    return _judge(context, judge)


@register("venue_ip_allow_list", "The key works from known addresses only", Severity.WARNING, per_venue=True)
def venue_ip_allow_list(context: Context) -> Outcome:
    """Warn of a key without an IP allow-list, where the venue tells."""

    def judge(answers: Answers) -> Outcome:
        allowed = _rights(answers).ip_allowlist
        if allowed is None:
            return not_known("The venue does not tell.", "See at the venue whether the key is bound to your addresses.")
        if not allowed:
            return failed(
                "The key works from any address.", "At the venue, bind the key to the addresses of your hosts."
            )
        return ok("The key is bound to addresses.")

    return _judge(context, judge)


@register("venue_key_age", "The key is younger than 90 days", Severity.WARNING, per_venue=True)
def venue_key_age(context: Context) -> Outcome:
    """Warn of a key older than 90 days, where the venue tells when it was made."""

    def judge(answers: Answers) -> Outcome:
        created_at = _rights(answers).created_at
        if created_at is None:
            return not_used("The venue does not tell when the key was made.")
        shown = f"The key was made on {created_at:%Y-%m-%d}"
        if context.now - created_at > KEY_AGE_MAX:
            fresh = "like this one and delete this one"
            return failed(f"{shown}, more than 90 days ago.", NEW_KEY.format(rights=fresh, names=KEYS[context.venue]))
        return ok(f"{shown}.")

    return _judge(context, judge)


@register("venue_maintenance", "The venue works as usual", Severity.WARNING, per_venue=True)
def venue_maintenance(context: Context) -> Outcome:
    """Warn while the venue itself says that it is under maintenance or takes only some orders. A closed market is none."""

    def judge(answers: Answers) -> Outcome:
        status = _status(answers)
        if context.venue in WITH_HOURS:
            return ok(f"The venue answers; the market is {status.name}.")
        if status.market != MarketStatus.OPEN:
            return failed(
                f"The venue says of itself: {status.name}.", "Wait until the venue is back; exits may not work."
            )
        return ok(f"The venue says of itself: {status.name}.")

    return _judge(context, judge)


def _rights(answers: Answers) -> KeyRights:
    if answers.rights is None:
        raise VenueError("the venue did not tell the key's rights")
    return answers.rights


def _status(answers: Answers) -> VenueStatus:
    if answers.status is None:
        raise VenueError("the venue did not tell its status")
    return answers.status
