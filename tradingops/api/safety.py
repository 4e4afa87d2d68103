"""Safety over the API: what holds trading back and why, and the kill switch. A token can engage; only a person releases."""

from contextlib import suppress
from http import HTTPStatus

from django.db import Error
from django.http import HttpRequest
from django.utils import timezone
from ninja import Router, Schema
from pydantic import Field

from bots.clean_up import check_scope_exists
from safety import api_tokens, kill_runs, kill_switch, live_gate, readiness
from safety.intents import Level
from safety.kill_switch import EngageFailedError, UnknownScopeError
from safety.permissions import ENGAGE
from tradingops import safety_checklist
from tradingops.api.auth import caller_of
from tradingops.api.errors import ErrorOut, Refused
from tradingops.api.values import Flag, Text
from tradingops.health import read_health
from tradingops.mode import status_of

router = Router(tags=["safety"])
DRAIN_WITHIN_S = 10.0


class BlockerOut(Schema):
    """One thing that keeps live trading from being ready, and what to do about it."""

    id: str
    title: str
    found: str
    remedy: str


class LockOut(Schema):
    """One lock on live trading at one venue: where it was read and why it is as it is."""

    id: str
    venue: str
    open: bool
    source: str
    reason: str


class LineOut(Schema):
    """One line of the Safety page's checklist. ``state`` is ok, shut, look, not known or not used."""

    title: str
    state: str
    found: str
    remedy: str


class StopOut(Schema):
    """What an engagement of the kill switch came to so far; the lists are of client order ids.

    ``host_only``: the database did not answer, so the file latch halts the console's own host and no other yet.
    """

    state: str
    blocked_ms: int | None
    drained: bool
    in_flight: list[str]
    canceled: list[str]
    cancel_failed: list[str]
    host_only: bool


class SafetyOut(Schema):
    """What the Safety page shows."""

    trading_state: str
    reasons: list[str]
    mode: str
    live_ready: bool
    blockers: list[BlockerOut]
    locks: list[LockOut]
    checklist: list[LineOut]
    stop: StopOut | None


class KillSwitchIn(Schema):
    """How far to stop, why, and what: everything, ``venue:NAME`` or ``bot:ID``."""

    level: Level
    reason: Text = Field(min_length=1, max_length=500)
    cancel_resting: Flag = True
    scope: Text = Field("global", max_length=80)


REFUSALS = {401: ErrorOut, 403: ErrorOut, 422: ErrorOut, 503: ErrorOut}


@router.get(
    "/safety", response={200: SafetyOut, 401: ErrorOut, 403: ErrorOut}, summary="What holds trading back, and why"
)
def read_safety(request: HttpRequest) -> SafetyOut:
    """Return the trading state, every lock, whether live trading is ready, and what the last stop came to."""
    caller_of(request).require("safety.view_tradingstate")
    state, ready, last = kill_switch.read_state(), readiness.live_ready(), kill_runs.progress()
    run = readiness.last_run()
    findings = [] if run is None else readiness.findings_of(run)
    lines = safety_checklist.checklist(status_of(request), ready, safety_checklist.venue_locks(), findings)
    locks = [
        LockOut(id=lock.id, venue=venue, open=lock.is_open, source=lock.source, reason=lock.reason)
        for venue, found in live_gate.venue_locks().items()
        for lock in found
    ]
    return SafetyOut(
        trading_state=state.level.value,
        reasons=list(state.reasons),
        mode=read_health().mode,
        live_ready=ready.is_ready,
        blockers=[BlockerOut(id=one.id, title=one.title, found=one.found, remedy=one.remedy) for one in ready.blockers],
        locks=locks,
        checklist=[LineOut(title=one.title, state=one.sign, found=one.found, remedy=one.remedy) for one in lines],
        stop=None if last is None else _stop(last),
    )


@router.post("/safety/kill-switch", response={200: StopOut, **REFUSALS}, summary="Stop trading")
def engage(request: HttpRequest, payload: KillSwitchIn) -> StopOut:
    """Stop, and answer when nothing is under way any more or after 10 s; GET /safety goes on reporting. Nothing releases here."""
    asker = caller_of(request)
    if payload.level == Level.ACTIVE:
        raise Refused(HTTPStatus.FORBIDDEN, "Only a person releases, on the Safety page.", code="person_needed")
    asker.require_live(ENGAGE)
    try:
        # Without the database nobody knows which bots there are, and a stop waits for nobody: this host is halted by its file.
        with suppress(Error):
            check_scope_exists(payload.scope)
        run = kill_switch.engage(
            payload.level,
            payload.reason,
            actor=asker.actor,
            scope=payload.scope,
            cancel_resting=payload.cancel_resting,
        )
    except UnknownScopeError as unknown:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(unknown), code="bad_input") from unknown
    except EngageFailedError as failed:
        raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, str(failed)) from failed
    if asker.token is not None and not kill_runs.is_host_only(run):
        # Not before, and not where the database does not answer: the halt would wait for it.
        api_tokens.note_use(asker.token, timezone.now())
    return _stop(kill_runs.wait_for_drain(run, DRAIN_WITHIN_S))


def _stop(found: kill_runs.Progress) -> StopOut:
    return StopOut(**found.as_dict(), host_only=found.is_host_only)
