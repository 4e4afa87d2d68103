"""What people are told when the autopilot's work is not done: it is silent, or its cycles keep failing."""

from datetime import datetime

from bots.autopilot import config as settings_of
from bots.autopilot import state
from bots.models import AutopilotConfig, AutopilotCycle, AutopilotState, CycleStatus
from safety.notifications.messages import Severity
from safety.notifications.outbox import tell

#: So many of so many last cycles have to have failed before that is told, whatever came in between.
REPEATED, OF_LAST = 3, 10


def tell_late(config: AutopilotConfig, known: AutopilotState, last: datetime, now: datetime) -> None:
    """Tell that its heartbeat is too old: it does not run, or each of its cycles fails."""
    since = "its last whole cycle ended" if known.heartbeat_at == last else "it was switched on"
    newest = AutopilotCycle.objects.first()
    runs = newest is not None and newest.status == CycleStatus.FAILED and newest.started_at > last
    title = "The autopilot's cycles fail" if runs else "The autopilot does not run"
    what = "what failed was not made or closed" if runs else "none is made or closed"
    why = f" The last one that began: {newest.status}. {newest.error}".rstrip() if newest is not None else ""
    text = (
        f"It is due every {config.scan_interval_s} s, and {since} at {last:%Y-%m-%d %H:%M:%S} UTC. Its bots trade on by "
        f"themselves; {what}. See that the slow cluster runs, and look at its last cycles.{why}"
    )
    event_id = f"autopilot-late-{int(last.timestamp() * 1000)}"
    tell("worker_down", "autopilot", title, text, at=now, event_id=event_id)


def tell_if_repeated(cycle: AutopilotCycle, now: datetime) -> None:
    """Tell, once an hour, that cycles keep failing, also where whole ones come in between and the heartbeat is never late."""
    if state.late_since(settings_of.read(), state.read(), now) is not None:
        # That is told already, with what became of the last one.
        return
    newest = list(AutopilotCycle.objects.order_by("-id").values_list("status", flat=True)[:OF_LAST])
    failed = sum(one in (CycleStatus.FAILED, CycleStatus.LOST) for one in newest)
    if failed < REPEATED:
        return
    text = (
        f"{failed} of its last {len(newest)} cycles did not end well. What failed was not made or closed, and is tried again by "
        f"each cycle. The last one: {cycle.error} Look at its last cycles and decisions."
    )
    title, event_id = "The autopilot's cycles keep failing", f"autopilot-failing-{now:%Y%m%d%H}"
    tell("worker_down", "autopilot", title, text, severity=Severity.WARNING, at=now, event_id=event_id)
