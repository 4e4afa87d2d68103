"""A scan: what the intelligence layer thinks of each symbol of the universe. One that fails stops no other.

It has a budget of time, and begins with the symbols that it has not seen for longest, so that a slow venue makes no cycle
endless and keeps no symbol from being seen. Nothing is written here.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from bots.autopilot.choices import strategy_for
from bots.autopilot.sectors import asset_type, sector
from bots.autopilot.values import Candidate, Key
from bots.intelligence.layer import WARMUP_BARS, assess
from bots.intelligence.values import Assessment, Circumstances
from bots.market_data.base import MarketDataError
from bots.market_data.feeds import feed_for
from bots.markets import Moment, candle_basis
from bots.models import AutopilotConfig, AutopilotCycle, AutopilotDecision, Recommendation
from safety.kill_switch import StateBook

log = logging.getLogger(__name__)
BUDGET_S = 30.0
#: The trend of a score is its change over so many scans, this one among them.
TREND_SCANS = 5
REASON_TEXT_MAX = 500
DOLLARS = ("USD", "USDT", "USDC")
TREND_STEP = Decimal("0.1")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a scan found of one symbol: the candidate, and the row that keeps it, None where nothing could be read."""

    candidate: Candidate
    row: Recommendation | None = None


class Watch:
    """A clock that goes on from a given moment."""

    def __init__(self, now: datetime) -> None:
        self._now, self._began_s = now, time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Return how much time has passed."""
        return time.monotonic() - self._began_s

    def now(self) -> datetime:
        """Return what time it is."""
        return self._now + timedelta(seconds=self.elapsed_s)


def symbols_of(config: AutopilotConfig) -> list[Key]:
    """Return the universe."""
    return [(venue, symbol) for venue in sorted(config.universe) for symbol in config.universe[venue]]


def scan(
    config: AutopilotConfig, watch: Watch, first: Iterable[Key] = (), each: Callable[[], object] = lambda: None
) -> list[Seen]:
    """Return what is thought of each symbol of the universe; ``first`` are looked at before all others.

    ``each`` is called before every symbol.
    """
    own, wanted = set(first), symbols_of(config)
    cycles = list(AutopilotCycle.objects.order_by("-id").values_list("pk", flat=True)[: 2 * TREND_SCANS])
    histories, tried = _histories(cycles), _tried(cycles)
    # What was never looked at comes first. What gave no data was looked at, too: it must not use up every scan's time.
    wanted.sort(key=lambda key: (key not in own, tried.get(key, datetime.min.replace(tzinfo=UTC)), key))
    states = StateBook.read()
    found = []
    for key in wanted:
        each()
        if watch.elapsed_s > BUDGET_S:
            text = f"The time of this scan, {BUDGET_S:.0f} s, was over before it was looked at: the next one begins with it."
            found.append(Seen(_blank(key, text, "not_reached")))
            continue
        found.append(_look(key, watch.now(), states, histories.get(key, [])))
    return found


def _look(key: Key, now: datetime, states: StateBook, history: list[int]) -> Seen:
    venue, symbol = key
    moment = Moment(now)
    try:
        assessment, timeframe = judge(venue, symbol, moment, states)
        barred = _barred(venue, symbol, moment)
    except MarketDataError as error:
        return Seen(_blank(key, str(error)[:REASON_TEXT_MAX]))
    except Exception:  # one symbol's odd data must not keep all others from being looked at
        log.exception("the autopilot could not judge %s at %s", symbol, venue)
        return Seen(_blank(key, "Its market could not be judged: see the workers' log."))
    candidate = Candidate(
        venue,
        symbol,
        asset_type(venue, symbol),
        sector(venue, symbol),
        score=assessment.score,
        regime=assessment.regime.value,
        strategy=strategy_for(assessment.regime, assessment.confidence),
        action=assessment.action.value,
        why_not=" ".join(one.message for one in assessment.reasons)[:REASON_TEXT_MAX],
        barred=barred[1],
        barred_code=barred[0],
    )
    return Seen(candidate, _row(candidate, assessment, timeframe, now, history))


def judge(venue: str, symbol: str, moment: Moment, states: StateBook) -> tuple[Assessment, str]:
    """Return what is thought of a symbol on its feed's own timeframe, and which that is. Raises MarketDataError."""
    market = moment.market(venue, symbol)
    series = moment.candles(venue, symbol, "auto", WARMUP_BARS)
    basis = candle_basis(series, moment.now)
    quote = market.view.quote
    circumstances = Circumstances(
        level=states.reading(venue).level,
        quote=quote,
        quote_age_s=Decimal(str((moment.now - quote.seen_at).total_seconds())),
        quote_age_max_s=market.quote_age_max_s,
        candle_age_s=None if basis is None else basis.age_s,
        candle_bar_s=None if basis is None else basis.bar_s,
        fee_rate=market.fees.taker,
    )
    return assess(series, circumstances), series.timeframe


def _barred(venue: str, symbol: str, moment: Moment) -> tuple[str, str]:
    """Return why no bot may be made for a symbol now, with its code; empty texts where nothing is against it."""
    rules = feed_for(venue).rules(symbol)
    if not rules.is_active:
        return "not_tradeable", f"{venue} does not trade it now."
    if rules.quote_currency not in DOLLARS:
        return "not_tradeable", f"It is priced in {rules.quote_currency}; only {', '.join(DOLLARS)} can be traded here."
    until = moment.closed_until(venue, symbol)
    if until is not None:
        return "market_closed", f"Its market is closed until {until:%Y-%m-%d %H:%M} UTC."
    if not moment.market(venue, symbol).view.is_open:
        return "market_closed", "Its market is closed."
    return "", ""


def _blank(key: Key, problem: str, code: str = "no_data") -> Candidate:
    venue, symbol = key
    return Candidate(venue, symbol, asset_type(*key), sector(*key), problem=problem, problem_code=code)


def _row(
    candidate: Candidate, assessment: Assessment, timeframe: str, now: datetime, history: list[int]
) -> Recommendation:
    scores = [*history, assessment.score][-TREND_SCANS:]
    steps = len(scores) - 1
    return Recommendation(
        venue=candidate.venue,
        symbol=candidate.symbol,
        timeframe=timeframe,
        score=assessment.score,
        score_before=history[-1] if history else None,
        trend=(Decimal(scores[-1] - scores[0]) / steps).quantize(TREND_STEP) if steps else None,
        parts=assessment.parts,
        regime=assessment.regime.value,
        confidence=assessment.confidence,
        action=assessment.action.value,
        reasons=[one.as_dict() for one in assessment.reasons],
        cost_bps=assessment.cost_bps,
        scanned_at=now,
    )


def _histories(cycles: Collection[int]) -> dict[Key, list[int]]:
    """Return each symbol's scores in these cycles, oldest first."""
    rows = Recommendation.objects.filter(cycle_id__in=cycles).order_by("pk").values_list("venue", "symbol", "score")
    found: dict[Key, list[int]] = {}
    for venue, symbol, score in rows:
        found.setdefault((venue, symbol), []).append(score)
    return found


def _tried(cycles: Collection[int]) -> dict[Key, datetime]:
    """Return when each symbol was last looked at in these cycles, with or without an answer."""
    rows = AutopilotDecision.objects.filter(cycle_id__in=cycles).exclude(code="not_reached").order_by("pk")
    return {(venue, symbol): at for venue, symbol, at in rows.values_list("venue", "symbol", "decided_at")}
