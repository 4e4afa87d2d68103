"""The Live trading checklist: what stands between now and a live order, line by line, and what of it is not known."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from django.conf import settings

from audit import figures
from bots.blocks import state_blocks
from bots.models import Account, Bot, BotStatus, Order, WorkerHeartbeat
from bots.models.worker import WorkerKind
from bots.order_states import OrderStatus
from bots.workers.heartbeats import live
from safety import live_gate
from safety.intents import Level, Lock
from safety.kill_switch import read_state
from safety.readiness_values import VENUES, Finding, LiveReady, State
from tradingops.environment import TOKEN_CHARS_MIN
from tradingops.mode import ConsoleStatus

VENUE_NAMES = {"kraken": "Kraken (crypto)", "alpaca": "Alpaca (stocks)"}
MEASURED_WITHIN = timedelta(minutes=5)
SENT_LONG_AGO = timedelta(minutes=5)
SEE_ABOVE = "When its cause is dealt with, release it above."


class Sign(StrEnum):
    """How a line of the checklist stands. The word is shown beside the colour."""

    OK = "ok"
    SHUT = "shut"
    WARNING = "look"
    UNKNOWN = "not known"
    UNUSED = "not used"


@dataclass(frozen=True, slots=True)
class Line:
    """One line: how it stands, what was found, and what to do about it (empty: nothing)."""

    title: str
    sign: Sign
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class VenueLocks:
    """The locks of one venue, all at once and never only the first that is shut."""

    venue: str
    title: str
    locks: tuple[Lock, ...]

    @property
    def shut(self) -> int:
        """Return how many are shut."""
        return sum(not lock.is_open for lock in self.locks)


def venue_locks() -> list[VenueLocks]:
    """Return each venue's locks, as they are for a bot that is set live."""
    return [VenueLocks(venue, VENUE_NAMES[venue], live_gate.read_locks(venue, dry_run=False)) for venue in VENUES]


def checklist(status: ConsoleStatus, ready: LiveReady, locks: list[VenueLocks], findings: list[Finding]) -> list[Line]:
    """Return the checklist."""
    return [
        _token_line(),
        _allow_line(),
        _switch_line(status),
        *(_held_line(one, status) or _venue_line(one, findings) for one in locks),
        _ready_line(ready),
    ]


def _token_line() -> Line:
    token = settings.ENVIRONMENT.worker_api_token
    if not token:
        found = "WORKER_API_TOKEN is not set. The API's live-sensitive endpoints then accept a signed-in session."
        remedy = f"Write WORKER_API_TOKEN=, with at least {TOKEN_CHARS_MIN} random characters, into .env and restart."
        return Line("API token", _exposed(Sign.WARNING), found, remedy)
    if len(token) < TOKEN_CHARS_MIN:
        found = f"WORKER_API_TOKEN is set, but shorter than {TOKEN_CHARS_MIN} characters."
        return Line("API token", _exposed(Sign.WARNING), found, "Use a longer, random one and restart.")
    return Line("API token", Sign.OK, "WORKER_API_TOKEN is set and long enough.")


def _exposed(sign: Sign) -> Sign:
    """Return the sign, or shut where the console answers beyond this machine."""
    return Sign.SHUT if settings.ENVIRONMENT.is_exposed else sign


def _allow_line() -> Line:
    gate = settings.ENVIRONMENT.allow_live_trading
    if gate.is_open:
        return Line("Allow live", Sign.OK, f"ALLOW_LIVE_TRADING is 1 ({gate.source}).")
    found = f"ALLOW_LIVE_TRADING is not 1 ({gate.source}). No live order goes out."
    return Line("Allow live", Sign.SHUT, found, gate.hint or "To trade live, write ALLOW_LIVE_TRADING=1 and restart.")


def _switch_line(status: ConsoleStatus) -> Line:
    if status.level == Level.ACTIVE:
        count = len(status.held_scopes)
        held = f" But {count} bot(s) or venue(s) are held back by themselves: see above." if count else ""
        return Line("Kill switch", Sign.WARNING if count else Sign.OK, f"Not engaged.{held}")
    found = f"Trading is {status.level.value} {status.since}".strip() + f": {'; '.join(status.reasons)}."
    return Line("Kill switch", Sign.SHUT, found, "Find out why, then release it below.")


def _held_line(one: VenueLocks, status: ConsoleStatus) -> Line | None:
    """Return that a venue is held back by itself, while everything else is not; None when it is not."""
    if status.level != Level.ACTIVE or not status.held_scopes:
        return None
    blocks = state_blocks(read_state(one.venue))
    return Line(one.title, Sign.SHUT, blocks[0].message, SEE_ABOVE) if blocks else None


def _venue_line(one: VenueLocks, findings: list[Finding]) -> Line:
    """Return how a venue stands: its own locks, and what the last readiness run found there."""
    blockers = [finding for finding in findings if finding.venue == one.venue and finding.blocks]
    unknown = any(finding.state is State.NOT_KNOWN for finding in blockers)
    if one.shut:
        names = ", ".join(lock.id for lock in one.locks if not lock.is_open)
        return Line(
            one.title, Sign.SHUT, f"{one.shut} of {len(one.locks)} locks shut: {names}.", "See the locks below."
        )
    if blockers:
        sign = Sign.UNKNOWN if unknown else Sign.SHUT
        return Line(one.title, sign, " ".join(finding.found for finding in blockers), blockers[0].remedy)
    return Line(one.title, Sign.OK, "Every lock is open, and the last readiness run found nothing against it.")


def _ready_line(ready: LiveReady) -> Line:
    if ready.is_ready:
        return Line("Live ready", Sign.OK, "Nothing stands in the way of live trading.")
    count = len(ready.blockers)
    return Line("Live ready", Sign.SHUT, f"No: {count} thing{'' if count == 1 else 's'} in the way, each listed below.")


def not_known(ready: LiveReady, findings: list[Finding], now: datetime) -> list[str]:
    """Return what nobody knows at this moment, as sentences. An empty list says that everything asked for is known."""
    return [
        *_run_unknown(ready, findings),
        *_workers_unknown(now),
        *_orders_unknown(now),
        *_accounts_unknown(now),
    ]


def _run_unknown(ready: LiveReady, findings: list[Finding]) -> list[str]:
    if ready.run_finished_at is None:
        return ["Whether this console is fit for live trading: no readiness run has been made yet."]
    titles = [
        f"{one.title}{f' ({one.venue})' if one.venue else ''}" for one in findings if one.state is State.NOT_KNOWN
    ]
    return (
        [f"What {len(titles)} checks of the last readiness run could not see: {'; '.join(titles)}."] if titles else []
    )


def _workers_unknown(now: datetime) -> list[str]:
    if live(WorkerKind.RUNNER).exists():
        return []
    seen = WorkerHeartbeat.objects.filter(kind=WorkerKind.RUNNER).order_by("-seen_at").first()
    when = f"one was last seen {figures.age(seen.seen_at, now)}" if seen else "none was ever seen"
    return [f"What the workers do: no worker is alive ({when}). No bot ticks, and exits are not managed."]


def _orders_unknown(now: datetime) -> list[str]:
    unknown = Order.objects.filter(status=OrderStatus.UNKNOWN).count()
    late = Order.objects.filter(status=OrderStatus.SUBMITTING, submitting_at__lt=now - SENT_LONG_AGO).count()
    texts = []
    if unknown:
        texts.append(
            f"What became of {unknown} order(s) that were sent: their outcome is UNKNOWN and is being looked up."
        )
    if late:
        texts.append(f"Whether {late} order(s) were sent: they have been on their way for more than five minutes.")
    return texts


def _accounts_unknown(now: datetime) -> list[str]:
    bots = Bot.objects.filter(dry_run=False).exclude(status=BotStatus.ARCHIVED)
    venues = sorted(set(bots.values_list("venue", flat=True)))
    measured = dict(Account.objects.filter(is_live=True).values_list("venue", "measured_at"))
    return [
        f"What the live account at {venue} is worth: it was measured {figures.age(measured.get(venue), now)}."
        for venue in venues
        if measured.get(venue) is None or now - measured[venue] > MEASURED_WITHIN  # type: ignore[operator]
    ]


@dataclass(frozen=True, slots=True)
class Group:
    """The checks of a run that came out alike."""

    title: str
    sign: str
    findings: list[Finding]


def grouped(findings: list[Finding]) -> list[Group]:
    """Return a run's checks by how they came out, the worst first; groups without any are left out."""
    unknown = [one for one in findings if one.state is State.NOT_KNOWN]
    groups = [
        Group("blocks", "shut", [one for one in findings if one.blocks and one not in unknown]),
        Group("not known", "not-known", unknown),
        Group("look", "look", [one for one in findings if one.warns and one not in unknown]),
        Group("fine", "ok", [one for one in findings if one.state is State.OK]),
        Group("not used", "not-used", [one for one in findings if one.state is State.NOT_USED]),
    ]
    return [group for group in groups if group.findings]
