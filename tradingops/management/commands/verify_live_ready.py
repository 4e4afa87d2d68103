"""``manage.py verify_live_ready``: may real orders go out, and if not, what is to be done?"""

import json
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from bots.models import Bot
from bots.models.worker import WorkerKind
from bots.readiness_chores import queue_run
from bots.workers.heartbeats import live
from safety import readiness
from safety.models import ReadinessRun
from safety.notifications.outcomes import Outcome
from safety.notifications.trial import send_test
from safety.readiness_values import Blocker, Finding, LiveReady, State

READY, WARNINGS, NOT_READY, NO_RUN = 0, 1, 2, 3
ACTOR = "command:verify_live_ready"
#: How long the workers have to make the run that this command asks for, in seconds; then it makes one itself.
WAIT_S = 60.0
LOOK_EVERY_S = 0.3
MARKS = {State.OK: "ok", State.NOT_USED: "not used", State.FAILED: "BLOCKS", State.NOT_KNOWN: "NOT KNOWN"}


def _mark(finding: Finding) -> str:
    """Return the word before a finding: a check that only warns must not look as if it blocked."""
    return "warning" if finding.warns else MARKS[finding.state]


class Command(BaseCommand):
    """Exit 0 when live trading may begin, 1 for warnings with --strict, 2 when it may not, 3 when no run was possible."""

    help = (
        "Make a readiness run and say whether live trading may begin."
        " Exit code 0: ready, 1: ready with warnings and --strict, 2: not ready, 3: no run was possible."
    )
    # The checks of Django import every page; the web process runs them anyway.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument("--strict", action="store_true", help="exit 1 when there are warnings")
        parser.add_argument("--bot", metavar="NAME", help="print only what holds for this bot's venue")
        parser.add_argument("--send-test", action="store_true", help="send a test notification through every channel")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            venue = _venue_of(options["bot"]) if options["bot"] else None
            # First, so that the run sees what became of it.
            sent = send_test(actor=ACTOR) if options["send_test"] else None
            run = make_run()
            ready = readiness.live_ready()
        except Error as error:
            # The class only: a driver's message may quote the connection's text, and with it a password.
            self._no_run(f"The database cannot be used ({type(error).__name__}).", options["json"])
            sys.exit(NO_RUN)
        findings = [one for one in readiness.findings_of(run) if venue is None or one.venue in {None, venue}]
        blockers = [one for one in ready.blockers if venue is None or one.venue in {None, venue}]
        if options["json"]:
            self.stdout.write(json.dumps(as_json(run, ready, findings, blockers, sent)))
        else:
            self._print(run, ready, findings, blockers)
            for one in sent or []:
                self.stdout.write(f"Test message by {one.channel}: {one.state.value.replace('_', ' ')}. {one.detail}")
        sys.exit(exit_code(ready, strict=options["strict"]))

    def _no_run(self, why: str, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps({"live_ready": False, "error": why, "findings": [], "blockers": []}))
        self.stderr.write(self.style.ERROR(f"No run was possible. {why}"))

    def _print(self, run: ReadinessRun, ready: LiveReady, findings: list[Finding], blockers: list[Blocker]) -> None:
        width = max(len(_name(one)) for one in findings)
        for one in findings:
            self.stdout.write(f"{self._paint(one)(f'{_mark(one):<9}')}  {_name(one):<{width}}  {one.found}")
        when = f"{run.finished_at:%Y-%m-%d %H:%M:%S}" if run.finished_at else "?"
        self.stdout.write(
            f"\nRun {run.pk} of {when} UTC, version {run.version}, settings and limits {run.config_hash[:12]}"
        )
        warnings = [one for one in findings if one.warns]
        for what, paint, some in (("Warning", self.style.WARNING, warnings), ("Blocker", self.style.ERROR, blockers)):
            for each in some:
                self.stdout.write(
                    f"\n{paint(what)} {each.id}{_at(each)}: {each.title}\n  Found: {each.found}\n  Do:    {each.remedy}"
                )
        if ready.is_ready:
            self.stdout.write(self.style.SUCCESS("\nREADY: live trading may begin."))
        else:
            self.stdout.write(self.style.ERROR(f"\nNOT READY: {len(ready.blockers)} blockers. No live entry goes out."))

    def _paint(self, finding: Finding) -> Callable[[str], str]:
        if finding.blocks:
            return self.style.ERROR
        return self.style.WARNING if finding.warns else self.style.SUCCESS


def make_run() -> ReadinessRun:
    """Have the running console make a run, with what it was started with; without workers make it here."""
    newest = ReadinessRun.objects.order_by("-id").values_list("pk", flat=True).first() or 0
    if live(WorkerKind.CHORES).exists():
        queue_run("command", ACTOR)
        mine = ReadinessRun.objects.filter(pk__gt=newest, trigger="command", finished_at__isnull=False)
        give_up_s = time.monotonic() + WAIT_S
        while time.monotonic() < give_up_s:
            if (run := mine.order_by("-id").first()) is not None:
                return run
            time.sleep(LOOK_EVERY_S)
    return readiness.run("command", actor=ACTOR)


def exit_code(ready: LiveReady, *, strict: bool) -> int:
    """Return the exit code for a verdict."""
    if not ready.is_ready:
        return NOT_READY
    return WARNINGS if strict and ready.warnings else READY


def as_json(
    run: ReadinessRun, ready: LiveReady, findings: list[Finding], blockers: list[Blocker], sent: list[Outcome] | None
) -> dict[str, Any]:
    """Return what --json prints."""
    return {
        "live_ready": ready.is_ready,
        "run": {
            "id": run.pk,
            "finished_at": run.finished_at and run.finished_at.isoformat().replace("+00:00", "Z"),
            "version": run.version,
            "config_hash": run.config_hash,
        },
        "blockers": [_plain(one) for one in blockers],
        "warnings": [one.as_dict() for one in findings if one.warns],
        "findings": [one.as_dict() for one in findings],
        **({} if sent is None else _told(sent)),
    }


def _told(sent: list[Outcome]) -> dict[str, Any]:
    shown = [{"channel": one.channel, "state": one.state.value, "detail": one.detail} for one in sent]
    return {"test_sent": any(one.is_delivered for one in sent), "test_channels": shown}


def _plain(one: Blocker) -> dict[str, str | None]:
    return {"id": one.id, "title": one.title, "found": one.found, "remedy": one.remedy, "venue": one.venue}


def _venue_of(name: str) -> str:
    venue = Bot.objects.filter(name=name).values_list("venue", flat=True).first()
    if venue is None:
        raise CommandError(f"There is no bot called {name!r}.", returncode=NO_RUN)
    return str(venue)


def _name(finding: Finding) -> str:
    return f"{finding.title}{_at(finding)}"


def _at(one: Finding | Blocker) -> str:
    return f" ({one.venue})" if one.venue else ""
