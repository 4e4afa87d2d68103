"""What the autopilot's own bots made and lost, and its own limits on that: a day (UTC) and a week (from Monday).

A day begins with what they had made when that was last known before it, so that a night without workers forgives no loss, and
none counts on two days. A clock that was set back changes nothing. What is not known makes no new bots.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from audit.decimals import decimal_text
from audit.log import OperatorEventRecord, joined_unit, record
from bots import manager
from bots.accounts import utc_day
from bots.books import EXACT
from bots.market_data.base import MarketDataError
from bots.markets import Moment
from bots.models import AutopilotBot, AutopilotConfig, AutopilotLosses, Bot, BotStatus, Phase, Position
from safety import outage
from safety.notifications.beside import tell_beside

ACTOR = "autopilot"
HUNDRED = Decimal(100)
#: A bot that runs in one of these was let go on by a person: the autopilot itself starts none without leaving it TRADING or KEPT.
LET_GO_ON = frozenset({Phase.LEAVING, Phase.LOSS_HOLD, Phase.KEPT})
#: To what a sum is rounded before it is kept: far below a cent.
STEP_USD = Decimal("1e-8")


@dataclass(frozen=True, slots=True)
class Standing:
    """What its bots of one kind made, as of now. ``stopped`` is which limit was reached; ``unknown`` why nothing is known."""

    losses: AutopilotLosses
    stopped: str = ""
    unknown: str = ""


def peek(config: AutopilotConfig, moment: Moment, *, is_live: bool) -> Standing:
    """Return how its losses stand, and write nothing."""
    row = AutopilotLosses.objects.get(is_live=is_live)
    return judged(row, config, moment, own_pnl_usd(moment, is_live=is_live))


def measure(config: AutopilotConfig, moment: Moment, *, is_live: bool) -> Standing:
    """Keep what its bots made by now; where a limit is reached, stop it until the next day or week, with audit and alarm."""
    # Before anything is locked: a feed may go over the network.
    pnl_usd = own_pnl_usd(moment, is_live=is_live)
    with joined_unit():
        row = AutopilotLosses.objects.select_for_update(no_key=True).get(is_live=is_live)
        before = row.stopped_until
        found = judged(row, config, moment, pnl_usd)
        row.save()
        if row.stopped_until != before:
            _announce(row)
    return found


def stop_text(row: AutopilotLosses, now: datetime) -> str:
    """Return which limit keeps it from making bots now; an empty text where none does."""
    return row.stopped_by if row.stopped_until is not None and now < row.stopped_until else ""


def hold_bots(row: AutopilotLosses, now: datetime) -> list[int]:
    """Pause the entries of its running bots after a limit was reached, and return those that were. Each is a change of its own.

    One that a person let go on since then is left alone. Raises ExceptionGroup once all others are held.
    """
    if row.stopped_at is None or not stop_text(row, now):
        return []
    # By who started it, not by what was noted of it: a person's start may not have been noted yet, or only after the losses.
    running = AutopilotBot.objects.filter(bot__status=BotStatus.RUNNING, bot__dry_run=not row.is_live)
    running = running.exclude(bot__attended_at__gt=row.stopped_at)
    held, faults = [], []
    for bot_id in running.order_by("pk").values_list("pk", flat=True):
        try:
            if _hold(bot_id, row, now):
                held.append(bot_id)
        except Exception as fault:  # one bot's fault must not let all others buy on
            if outage.is_outage(fault):
                raise
            faults.append(fault)
    if faults:
        raise ExceptionGroup(f"{len(faults)} bots could not be held", faults)
    return held


def own_pnl_usd(moment: Moment, *, is_live: bool) -> Decimal | str:
    """Return what all its bots made, archived ones too, realised and unrealised; or why that is not known."""
    books = Position.objects.filter(bot__by_autopilot=True, is_live=is_live)
    # Those of archived bots grow in number for ever, so of what holds nothing only the figures are read.
    total = sum(books.filter(quantity=0).values_list("realised_pnl", flat=True), Decimal(0))
    for book in books.exclude(quantity=0).select_related("bot"):
        price = _price(book, book.bot, moment)
        if price is None:
            return f"What {book.bot.name} holds can't be valued now, so nobody knows what was lost."
        total += book.realised_pnl + EXACT.subtract(EXACT.multiply(book.quantity, price), book.cost)
    return total.quantize(STEP_USD)


def _price(book: Position, bot: Bot, moment: Moment) -> Decimal | None:
    try:
        price = moment.mark(bot.venue, bot.symbol)
        if price.is_finite():
            return price
    except MarketDataError:
        pass
    # What an archived bot left is dust: without a price it is as good as nothing, and must not stop everything for ever.
    return Decimal(0) if bot.status == BotStatus.ARCHIVED else None


def judged(row: AutopilotLosses, config: AutopilotConfig, moment: Moment, pnl_usd: Decimal | str) -> Standing:
    """Bring a row up to this moment, and return how it stands. ``pnl_usd`` is what its bots made, or why nobody knows."""
    now = moment.now
    if isinstance(pnl_usd, str):
        return Standing(row, stop_text(row, now), pnl_usd)
    _roll(row, pnl_usd, now)
    row.pnl_usd, row.measured_at = pnl_usd, now
    reached = _reached(row, config, now)
    if reached is not None and not stop_text(row, now):
        row.stopped_by, row.stopped_until = reached
        row.stopped_at = now
    return Standing(row, stop_text(row, now))


def _roll(row: AutopilotLosses, pnl_usd: Decimal, now: datetime) -> None:
    """Begin a new day and a new week with what was last known before it."""
    last = pnl_usd if row.pnl_usd is None else row.pnl_usd
    today = utc_day(now)
    monday = monday_of(today)
    if row.day is None or row.day < today:
        row.day, row.day_start_pnl_usd = today, last
    if row.week is None or row.week < monday:
        row.week, row.week_start_pnl_usd = monday, last


def _reached(row: AutopilotLosses, config: AutopilotConfig, now: datetime) -> tuple[str, datetime] | None:
    """Return which limit is reached, in words, and until when that stops it; the week's before the day's."""
    today = utc_day(now)
    judged = (
        ("week", row.week_start_pnl_usd, config.weekly_loss_pct, monday_of(today) + timedelta(days=7)),
        ("day", row.day_start_pnl_usd, config.daily_loss_pct, today + timedelta(days=1)),
    )
    for span, start_usd, limit_pct, over in judged:
        limit_usd = config.total_capital_usd * limit_pct / HUNDRED
        if start_usd is None or row.pnl_usd is None or start_usd - row.pnl_usd < limit_usd:
            continue
        until = datetime.combine(over, time(0), UTC)
        text = (
            f"The autopilot's bots lost {start_usd - row.pnl_usd:.2f} USD this {span}; its limit is "
            f"{decimal_text(limit_pct)} % of {decimal_text(config.total_capital_usd)} USD. "
            f"It makes no bots until {until:%Y-%m-%d %H:%M} UTC."
        )
        return text, until
    return None


def monday_of(day: date) -> date:
    """Return the Monday of a day's week."""
    return day - timedelta(days=day.weekday())


def _announce(row: AutopilotLosses) -> None:
    """Tell the audit and people, in the unit that stopped it."""
    mode = "live" if row.is_live else "paper"
    what = f"autopilot:{mode}"
    until = "" if row.stopped_until is None else f"{row.stopped_until:%Y-%m-%dT%H:%MZ}"
    record(OperatorEventRecord(ACTOR, "autopilot_stopped_for_losses", what, "", until, row.stopped_by))
    text = f"{row.stopped_by} New entries of its running bots wait until then; they sell as before."
    facts = (("Mode", mode.upper()), ("Made so far", f"{row.pnl_usd:.2f} USD"), ("Until", until))
    # Beside: nothing about telling may keep it from stopping.
    tell_beside("risk_alert", what, "The autopilot reached its loss limit", text, facts=facts)


def _hold(bot_id: int, row: AutopilotLosses, now: datetime) -> bool:
    # Asked again under its lock: a person may have stopped it, or let it go on, meanwhile.
    with manager.locked(bot_id) as bot:
        own = AutopilotBot.objects.select_for_update().get(pk=bot_id)
        if bot.status != BotStatus.RUNNING or bot.is_live != row.is_live or row.stopped_at is None:
            return False
        if bot.attended_at is not None and bot.attended_at > row.stopped_at:
            return False
        reason = f"held by the autopilot: {row.stopped_by}"
        bot = manager.pause(bot_id, actor=ACTOR, reason=reason)
        # A person's word holds across this: what was let go on has still to recover before it may be closed.
        own.phase = Phase.KEPT if own.phase in LET_GO_ON else Phase.LOSS_HOLD
        own.phase_at, own.reason = now, bot.status_reason
        own.save()
    return True
