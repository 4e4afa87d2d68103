"""Checks on what stops trading: the limits and the kill switch, whose self-test leaves no trace."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from safety import gate
from safety.controls.base import StateReading
from safety.facts import ProcessFacts
from safety.intents import Exposure, Level, LimitSet, OrderIntent, OrderType, Side
from safety.kill_switch import GLOBAL, KILL_SETTING, read_state
from safety.limit_fields import GAUGES
from safety.limits import LimitBook, switched_off, unknown_codes
from safety.models import KillRun, RiskLimits, Setting, TradingState
from safety.readiness import judged_when_asked, register
from safety.readiness_values import Context, Outcome, Severity, failed, ok

DRILL_AGE_MAX = timedelta(days=30)
KILL_SWITCH = "KILL_SWITCH"
SELF_TEST = "self-test of the kill switch, rolled back"
RELEASE = "Find out why, then let a person release it on the Safety page."
ENGAGE_REMEDY = "Do not trade. Start the console again; if it stays, see the kill switch's page in docs/runbook.md."


@register("kill_switch_readable", "The kill switch can be read and engaged", Severity.BLOCKER)
def kill_switch_readable(context: Context) -> Outcome:
    """Look for the rows and at the place of the file latch. Whether trading is halted does not matter here."""
    rows = dict(TradingState.objects.filter(scope=GLOBAL).values_list("scope", "level"))
    if rows.get(GLOBAL) not in Level.values or not Setting.objects.filter(key=KILL_SETTING).exists():
        return failed(
            "The row of the trading state or the kill_switch setting is missing or not understood, which halts.",
            "Engage the kill switch (HALT on any page), which writes both anew; then release it.",
        )
    place = Path(settings.KILL_FILE)
    try:
        os.lstat(place)
    except FileNotFoundError:
        pass
    except OSError as error:
        return failed(f"The file latch {place.name} can't be looked for: {type(error).__name__}.", ENGAGE_REMEDY)
    try:
        # Leaves no name behind: what other processes look for is never there, not even for a moment.
        with tempfile.TemporaryFile(dir=place.parent) as file:
            file.write(b"1")
    except OSError as error:
        return failed(
            f"Nothing can be written into {place.parent}: {type(error).__name__}.",
            f"Make {place.parent} a directory that the console's user may write to.",
        )
    return ok("The rows are readable, and the file latch can be set.")


@register("kill_switch_self_test", "The kill switch stops an order", Severity.BLOCKER)
def kill_switch_self_test(context: Context) -> Outcome:
    """Raise the trading state in a transaction that is rolled back, and see that the gate denies an order because of it."""
    now = timezone.now()
    calm = gate.evaluate(_sample(now), Exposure(), LimitSet(None), StateReading(Level.ACTIVE), now=now)
    with transaction.atomic():
        row = {"level": Level.HALTED, "reason": SELF_TEST, "changed_at": now}
        TradingState.objects.update_or_create(scope=GLOBAL, defaults=row)
        state = read_state("kraken")
        halted = gate.evaluate(_sample(now), Exposure(), LimitSet(None), state, now=now)
        transaction.set_rollback(True)
    if SELF_TEST not in state.reasons:
        return failed("The trading state was raised to halted, and was not read back as such.", ENGAGE_REMEDY)
    if KILL_SWITCH not in halted.codes or halted.permit is not None:
        return failed("With the state raised to halted, the gate did not deny the order because of it.", ENGAGE_REMEDY)
    if KILL_SWITCH in calm.codes:
        return failed("The kill switch denies an order while the state is active.", ENGAGE_REMEDY)
    return ok("With the state raised to halted, the gate denied an order; the test was rolled back.")


def _sample(now: datetime) -> OrderIntent:
    """Return a paper order that nobody ever sends, for the gate to judge."""
    return OrderIntent(
        client_order_id="self-test",
        bot_id=0,
        venue="kraken",
        symbol="BTC/USD",
        side=Side.BUY,
        type=OrderType.LIMIT,
        quantity=Decimal(1),
        limit_price=Decimal(1),
        reduce_only=False,
        is_live=False,
        created_at=now,
        leg="self-test",
        reason=SELF_TEST,
        actor="system:readiness",
    )


@register("limits_set", "Every limit is set and finite", Severity.BLOCKER)
def limits_set(context: Context) -> Outcome:
    """Look at the limits that hold for real orders, of all bots and of each bot that has its own."""
    rows = list(RiskLimits.objects.order_by("scope"))
    own = [int(row.scope.partition(":")[2]) for row in rows if row.scope.startswith("bot:")]
    of_all = next((row for row in rows if row.scope == GLOBAL), None)
    off = sorted(switched_off(of_all))
    may_be_none = {name for code, names in GAUGES if code in off for name in names}
    if unknown := unknown_codes(of_all):
        return failed(
            f"These are listed as switched off, and can't be: {_names(unknown)}.",
            "Take them off on the page Risk limits.",
        )
    book = LimitBook.read(own)
    for bot_id in (0, *own):
        limits = book.for_bot(bot_id, is_live=True)
        unset = [name for name, value in _figures(limits) if value is None and name not in may_be_none]
        endless = [name for name, value in _figures(limits) if isinstance(value, Decimal) and not value.is_finite()]
        if unset or endless:
            whose = f"of bot {bot_id}" if bot_id else "of all bots"
            return failed(
                f"Limits {whose} that are not set: {_names(unset)}; that are no finite figure: {_names(endless)}.",
                "Set each of them to a figure on the page Risk limits.",
            )
    if off:
        return ok(f"Every limit is set, but for those that a person has switched off: {', '.join(off)}.")
    return ok("Every limit is set and finite.")


def _figures(limits: LimitSet) -> Iterator[tuple[str, object]]:
    for one in fields(limits):
        value = getattr(limits, one.name)
        if isinstance(value, dict):
            yield from ((f"{one.name} {key}", floor) for key, floor in value.items())
        else:
            yield one.name, value


def _names(names: list[str]) -> str:
    return ", ".join(names) or "none"


@register("kill_drill", "A kill drill in the last 30 days", Severity.WARNING)
def kill_drill(context: Context) -> Outcome:
    """Look for an engagement of the kill switch that came to its end: drained, so that nothing more could be sent."""
    drained = KillRun.objects.filter(drained_at__isnull=False)
    last = drained.order_by("-engaged_at").values_list("engaged_at", flat=True).first()
    remedy = "Engage the kill switch once (HALT on any page), see that it says drained, and release it."
    if last is None:
        return failed("The kill switch was never engaged and drained.", remedy)
    shown = f"It was last engaged and drained at {last:%Y-%m-%d %H:%M} UTC"
    if context.now - last > DRILL_AGE_MAX:
        return failed(f"{shown}, more than {DRILL_AGE_MAX.days} days ago.", remedy)
    return ok(f"{shown}.")


@judged_when_asked("trading_state", "The trading state is active")
def trading_state(processes: Sequence[ProcessFacts]) -> Outcome:
    """Say whether trading is active everywhere, read now; a process elsewhere that halts its own host counts."""
    reading = read_state()
    halting = [one.name for one in processes if one.facts.get("kill_switch_engaged")]
    if reading.level != Level.ACTIVE:
        why = "; ".join(reading.reasons) or "no reason was given"
        return failed(f"Trading is {reading.level.value}: {why}.", RELEASE)
    if halting:
        return failed(
            f"KILL_SWITCH halts: {', '.join(halting)}.", "Set KILL_SWITCH=0 there and start the console again."
        )
    return ok("Trading is active.")
