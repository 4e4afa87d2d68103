"""What the metrics tell of trading: state, orders, halts, bots, venues, audit. Each reader costs a few queries, by an index."""

from datetime import datetime

from django.db.models import Count, Max, Min

from audit import order_tally
from audit.models import Anchor, ChainHead, OperatorEvent
from bots.account_chores import accounts_in_use
from bots.accounts import account_name
from bots.models import AccountSync, Bot, BotStatus, Difference, Order
from bots.order_states import OPEN_STATES, OrderStatus
from safety import kill_tally
from safety.intents import Level
from safety.kill_switch import GLOBAL, read_state
from safety.models import KillRun, ReadinessRun, TradingState
from tradingops.health import Mode, current_mode
from tradingops.metrics_sheet import Sheet
from tradingops.safety_rates import HOUR, rates

#: Events that a scrape counts by itself; a chore keeps the totals so near to the end that there are hardly any.
EVENTS_PER_SCRAPE_MAX = 2_000


def write_state(sheet: Sheet, now: datetime) -> None:
    """Write the trading state and the mode."""
    state = read_state()
    for level in Level:
        sheet.set("trading_state", level == state.level, level.value)
    mode = current_mode()
    for one in Mode:
        sheet.set("mode", one == mode, one.value)
    held: dict[tuple[str, str], int] = {}
    for scope, held_at in TradingState.objects.exclude(level=Level.ACTIVE).values_list("scope", "level"):
        if scope != GLOBAL:
            labels = (scope.partition(":")[0], str(held_at))
            held[labels] = held.get(labels, 0) + 1
    for labels, count in sorted(held.items()):
        sheet.set("scopes_held", count, *labels)


def write_orders(sheet: Sheet, now: datetime) -> None:
    """Write the totals of the order events, and the orders that are open."""
    tally, behind = order_tally.read(EVENTS_PER_SCRAPE_MAX)
    sheet.set("tally_behind_events", behind)
    for labels, count in sorted(tally.events.items()):
        sheet.set("order_events", count, *labels.split(" "))
    for labels, count in sorted(tally.denials.items()):
        sheet.set("denials", count, *labels.split(" "))
    for labels, answers in sorted(tally.answers.items()):
        sheet.observe("submit_seconds", answers, *labels.split(" "))
    open_orders = Order.objects.filter(status__in=sorted(OPEN_STATES)).order_by()
    states = open_orders.values_list("is_live", "venue", "status").annotate(Count("pk"), Min("submitting_at"))
    for is_live, venue, status, count, since in sorted(states, key=lambda row: row[:3]):
        sheet.set("orders_open", count, flag(is_live), venue, status)
        if status == OrderStatus.UNKNOWN and since is not None:
            sheet.set("unknown_order_age_seconds", age_s(since, now), flag(is_live), venue)


def write_halts(sheet: Sheet, now: datetime) -> None:
    """Write how fast the kill switch was."""
    tally = kill_tally.read()
    sheet.observe("kill_blocked_seconds", tally.blocked)
    sheet.observe("kill_drained_seconds", tally.drained)
    sheet.set("kill_runs_unfinished", KillRun.objects.filter(ended_at__isnull=True).count())


def write_bots(sheet: Sheet, now: datetime) -> None:
    """Write how many bots are in which status."""
    rows = Bot.objects.order_by().values_list("dry_run", "status").annotate(Count("pk"))
    for dry_run, status, count in sorted(rows):
        sheet.set("bots", count, flag(not dry_run), status)
    held = Bot.objects.exclude(status=BotStatus.ARCHIVED).exclude(entries_held="")
    sheet.set("bots_held", held.count())


def write_venues(sheet: Sheet, now: datetime) -> None:
    """Write how the accounts that bots trade on are reconciled, and what is used of the venues' limits."""
    in_use = {account_name(venue, is_live=is_live) for venue, is_live in accounts_in_use()}
    rows = Difference.objects.filter(closed_at__isnull=True).order_by().values_list("account_id").annotate(Count("pk"))
    differing = dict(rows)
    for sync in AccountSync.objects.filter(pk__in=in_use).order_by("pk"):
        if sync.sound_at is not None:
            sheet.set("reconciliation_age_seconds", age_s(sync.sound_at, now), sync.account_id)
        if sync.failing_since is not None:
            sheet.set("reconciliation_failing_seconds", age_s(sync.failing_since, now), sync.account_id)
    for account in sorted(in_use | set(differing)):
        sheet.set("differences_open", differing.get(account, 0), account)
    for rate in rates(now):
        if rate.bars:
            used = rate.bars[0].used
            sheet.set("venue_rate_used_ratio", min(1.0, float(used.used) / float(used.limit.size)), rate.account)
            # A counter of an hour that is over tells nothing of this one.
            sheet.set("venue_rate_held_back", rate.held_back if now - used.hour < HOUR else 0, rate.account)


def write_audit(sheet: Sheet, now: datetime) -> None:
    """Write how high the chains are and when they were anchored, and what the watch found broken."""
    for chain, seq in sorted(ChainHead.objects.values_list("chain", "seq")):
        sheet.set("chain_height", seq, chain)
        # By the index of (chain, seq), whose last row is the newest anchor.
        anchor = Anchor.objects.filter(chain=chain).order_by("-seq").first()
        if anchor is not None:
            sheet.set("anchor_height", anchor.seq, chain)
            sheet.set("anchor_age_seconds", age_s(anchor.ts, now), chain)
    sheet.set("audit_findings", OperatorEvent.objects.filter(action="audit_tampered").count())
    checked = ReadinessRun.objects.filter(finished_at__isnull=False).aggregate(at=Max("finished_at"))["at"]
    if checked is not None:
        sheet.set("readiness_age_seconds", age_s(checked, now))


def flag(value: bool) -> str:
    """Return a truth as a label's value, as the tables have it."""
    return "1" if value else "0"


def age_s(then: datetime, now: datetime) -> float:
    """Return the seconds since then; a time that is ahead, by another host's clock, counts as now."""
    return max(0.0, (now - then).total_seconds())
