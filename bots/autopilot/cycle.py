"""One cycle: scan, close or demote, make bots up to the free slots, and write down every decision with its reason.

Never two at once, on any number of hosts: a lease says whose turn it is, each write asks its fence, and the table refuses a
second row that runs. A cycle that is killed anywhere leaves whole acts behind and nothing half; the next one plans anew from
what it finds.
"""

import logging
import socket
from datetime import datetime
from uuid import uuid4

from django.db import DatabaseError, InterfaceError, transaction

from audit.records import bounded
from bots.autopilot import config as settings_of
from bots.autopilot.acts import RECOVERED, Acts
from bots.autopilot.planning import plan
from bots.autopilot.rows import row
from bots.autopilot.scan import Seen, Watch, scan
from bots.autopilot.silence import tell_if_repeated
from bots.autopilot.situation import gather, own_bots, stand_of
from bots.autopilot.values import Decision, Kind, Stand
from bots.models import (
    AutopilotBot,
    AutopilotCycle,
    AutopilotDecision,
    AutopilotState,
    Bot,
    BotStatus,
    CycleStatus,
    Phase,
    Recommendation,
)
from bots.workers.leases import LeaseHolder, LeaseLost
from bots.workers.shift import Every

log = logging.getLogger(__name__)
LEASE = "autopilot"
#: How long a cycle that died keeps others out.
LEASE_TTL_S = 30.0
RENEW_EVERY_S = 3.0
#: No act begins later than this after the cycle began: one at a venue may take its time, and the task must end in good order.
ACTS_UNTIL_S = 40.0
ERROR_TEXT_MAX = 500
CUT_OFF = "It was cut off before it ended."
#: The kinds of decisions that something is done for; the others are only written down.
DOING = frozenset({Kind.CREATED, Kind.STARTED, Kind.CLOSED, Kind.DEMOTED, Kind.PROMOTED})


class CycleTaken(Exception):
    """Another cycle is under way, here or on another host."""

    def __init__(self) -> None:
        super().__init__("A cycle of the autopilot is under way already. Look again in a moment.")


class AutopilotOff(Exception):
    """The autopilot is switched off, so it runs no cycle."""

    def __init__(self) -> None:
        super().__init__("The autopilot is switched off. Switch it on first, or look at the preview.")


def run(trigger: str, now: datetime) -> AutopilotCycle:
    """Run one cycle and return it. ``trigger`` is ``schedule`` or who asked for it. Not to be called in a transaction.

    Raises CycleTaken, AutopilotOff, and whatever went wrong on the way after it was written to the cycle's row.
    """
    if not settings_of.read().enabled:
        raise AutopilotOff
    holder = LeaseHolder(f"autopilot-{uuid4().hex}", LEASE_TTL_S)
    if not holder.claim([LEASE], 1):
        raise CycleTaken
    try:
        return _Cycle(holder, trigger, now).run()
    except LeaseLost as lost:
        # It was frozen and another one has taken over, which has called this one lost.
        raise CycleTaken from lost
    finally:
        _give_back(holder)


def _give_back(holder: LeaseHolder) -> None:
    try:
        holder.release()
    except (DatabaseError, InterfaceError) as error:
        log.warning("the autopilot's lease is not given back, it runs out: %s", error)


class _Cycle:
    """One cycle that holds the lease."""

    def __init__(self, holder: LeaseHolder, trigger: str, now: datetime) -> None:
        self._holder, self._watch = holder, Watch(now)
        self._renew = Every(RENEW_EVERY_S)
        self._cycle = AutopilotCycle(
            trigger=trigger[:150], holder=f"{socket.gethostname()}:{holder.holder}"[:100], started_at=now
        )

    def run(self) -> AutopilotCycle:
        """Do all of it."""
        self._begin()
        try:
            self._work()
        except LeaseLost:
            raise
        except Exception as error:
            self._fail(error)
            raise
        return self._cycle

    def _begin(self) -> None:
        """Write the cycle's row, and call the one lost that never ended: its lease is ours."""
        now = self._watch.now()
        with transaction.atomic():
            unended = AutopilotCycle.objects.filter(status=CycleStatus.RUNNING)
            lost = unended.order_by("-id").first()
            unended.update(status=CycleStatus.LOST, finished_at=now, error=CUT_OFF)
            if lost is not None:
                lost.error = CUT_OFF
                tell_if_repeated(lost, now)
            self._cycle.save(force_insert=True)
            self._holder.fence().check()

    def _work(self) -> None:
        config = settings_of.read()
        acts = Acts(self._cycle, config, self._holder.fence())
        by_hand = self._settle(acts)
        own = [bot.key for bot in own_bots(config)]
        seen = scan(config, self._watch, own, self._keep_lease)
        self._keep_lease()
        situation = gather(config, seen, self._watch.now())
        decisions = plan(situation)
        self._keep(acts, seen, [one for one in decisions if one.kind not in DOING])
        for one in decisions:
            if one.kind in DOING:
                self._act(acts, one)
        if acts.made_live:
            acts.check_readiness()
        self._end(acts, by_hand)

    def _keep_lease(self) -> None:
        """Prolong the lease when it is time. Raises LeaseLost."""
        if self._renew.due() and self._holder.renew():
            raise LeaseLost(f"{self._holder.holder} lost {LEASE}")

    def _settle(self, acts: Acts) -> int:
        """Take note of what people did to its bots since the last cycle; return how many they archived."""
        now, archived = self._watch.now(), 0
        rows = AutopilotBot.objects.select_related("bot").filter(closed_at__isnull=True).order_by("pk")
        for one in rows:
            if one.bot.status == BotStatus.ARCHIVED:
                self._note_archived(acts, one, now)
                archived += 1
                continue
            stand, _ = stand_of(one, is_live=not acts.config.dry_run)
            phase = {Stand.KEPT: Phase.KEPT, Stand.TRADING: Phase.TRADING}.get(stand)
            if phase is not None and one.phase != phase:
                self._move(acts, one, phase, now)
        return archived

    def _note_archived(self, acts: Acts, one: AutopilotBot, now: datetime) -> None:
        bot = one.bot
        text = "A person archived it: the slot is free, and the cooldown of its symbol begins."
        decision = Decision(Kind.CLOSED, "by_hand", text, bot.venue, bot.symbol, bot.pk)
        with acts.writing():
            if AutopilotBot.objects.filter(pk=one.pk, closed_at__isnull=True).update(closed_at=now):
                acts.keep(decision, now)

    def _move(self, acts: Acts, one: AutopilotBot, phase: Phase, now: datetime) -> None:
        with acts.writing():
            AutopilotBot.objects.filter(pk=one.pk, phase=one.phase).update(phase=phase, phase_at=now)

    def _keep(self, acts: Acts, seen: list[Seen], decisions: list[Decision]) -> None:
        """Write what was seen, and the decisions that nothing is done for."""
        now = self._watch.now()
        rows = [one.row for one in seen if one.row is not None]
        for one in rows:
            one.cycle = self._cycle
        with acts.writing():
            Recommendation.objects.bulk_create(rows, batch_size=200)
            AutopilotDecision.objects.bulk_create([row(self._cycle, one, now) for one in decisions], batch_size=200)
        limit = acts.config.score_demote
        good = [
            one.bot_id for one in decisions if one.stand in RECOVERED and one.score is not None and one.score >= limit
        ]
        for own in AutopilotBot.objects.filter(pk__in=good, phase=Phase.KEPT).order_by("pk"):
            acts.note_recovered(own.pk, now)

    def _act(self, acts: Acts, decision: Decision) -> None:
        self._keep_lease()
        now = self._watch.now()
        if self._watch.elapsed_s > ACTS_UNTIL_S:
            text = "The time of this cycle was over before it could be done: the next one decides anew."
            acts.log(Decision(Kind.SKIPPED, "out_of_time", text, *decision.key, decision.bot_id, decision.score), now)
            return
        acts.do(decision, now)

    def _end(self, acts: Acts, archived_by_hand: int) -> None:
        """Write that the cycle ended, and what it came to. Only one in which no act failed is whole, and moves the heartbeat."""
        now = self._watch.now()
        kinds = AutopilotDecision.objects.filter(cycle=self._cycle).values_list("kind", flat=True)
        counted = list(kinds)
        summary = {kind.value: counted.count(kind.value) for kind in Kind if kind.value in counted}
        own = Bot.objects.filter(by_autopilot=True).exclude(status=BotStatus.ARCHIVED).count()
        seen = Recommendation.objects.filter(cycle=self._cycle).count()
        cycle = self._cycle
        cycle.summary = {**summary, "scanned": seen, "bots": own}
        with acts.writing():
            if acts.faults:
                cycle.status, cycle.finished_at = CycleStatus.FAILED, now
                count = len(acts.faults)
                text = f"{count} act{'' if count == 1 else 's'} failed, what else was decided was done: {'; '.join(acts.faults)}"
                cycle.error = bounded(text, ERROR_TEXT_MAX)
                cycle.save()
                tell_if_repeated(cycle, now)
            else:
                cycle.status, cycle.finished_at = CycleStatus.DONE, now
                cycle.save()
                AutopilotState.objects.filter(pk=1).update(heartbeat_at=now)

    def _fail(self, error: Exception) -> None:
        """Write what went wrong, as far as the database lets us. The heartbeat stays as it is."""
        cycle, now = self._cycle, self._watch.now()
        cycle.status, cycle.finished_at = CycleStatus.FAILED, now
        cycle.error = bounded(f"{type(error).__name__}: {error}", ERROR_TEXT_MAX)
        try:
            with transaction.atomic():
                cycle.save()
                tell_if_repeated(cycle, now)
                self._holder.fence().check()
        except (DatabaseError, InterfaceError, LeaseLost) as lost:
            log.warning("the autopilot's cycle %s could not be called failed: %s", cycle.pk, lost)
