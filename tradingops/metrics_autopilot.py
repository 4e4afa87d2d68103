"""What the metrics tell of the autopilot. What it costs is bounded: the last cycles and the last scan, never its history."""

from collections import Counter
from datetime import datetime, timedelta

from django.db.models import Count

from bots.models import AutopilotCycle, AutopilotLosses, CycleStatus, Recommendation
from tradingops import autopilot_status
from tradingops.metrics_sheet import Sheet
from tradingops.metrics_trading import flag

HOUR = timedelta(hours=1)
#: More cycles than this in an hour take a person who asks for them one after the other.
CYCLES_READ_MAX = 500


def write_autopilot(sheet: Sheet, now: datetime) -> None:
    """Write how the autopilot is, what it has and what it thinks."""
    status = autopilot_status.read(now)
    sheet.set("autopilot_enabled", status.enabled)
    sheet.set("autopilot_live", status.is_live)
    sheet.set("autopilot_interval_seconds", status.interval_s)
    sheet.set("autopilot_slots", status.slots)
    if status.heartbeat_age_s is not None:
        sheet.set("autopilot_heartbeat_age_seconds", status.heartbeat_age_s)
    _write_cycles(sheet, now)
    _write_bots(sheet, now)
    last = AutopilotCycle.objects.filter(status=CycleStatus.DONE).order_by("-id").first()
    if last is not None:
        actions = Recommendation.objects.filter(cycle=last).order_by().values_list("action").annotate(Count("pk"))
        for action, count in sorted(actions):
            sheet.set("autopilot_recommendations", count, action)


def _write_cycles(sheet: Sheet, now: datetime) -> None:
    rows = AutopilotCycle.objects.order_by("-id").values_list("status", "started_at")[:CYCLES_READ_MAX]
    counts = Counter(status for status, started_at in rows if started_at > now - HOUR)
    for status in CycleStatus.values:
        sheet.set("autopilot_cycles_last_hour", counts[status], status)


def _write_bots(sheet: Sheet, now: datetime) -> None:
    rows = autopilot_status.own_bots().order_by().values_list("dry_run", "status").annotate(Count("pk"))
    for dry_run, status, count in sorted(rows):
        sheet.set("autopilot_bots", count, flag(not dry_run), status)
    for losses in AutopilotLosses.objects.order_by("is_live"):
        is_stopped = losses.stopped_until is not None and now < losses.stopped_until
        sheet.set("autopilot_stopped", is_stopped, flag(losses.is_live))
