"""What is read of candles alone: quality, regime and score, bar by bar and for the last one, kept per series."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from bots.intelligence import costs, quality, regime, scoring
from bots.intelligence.reasons import Code, reason
from bots.intelligence.values import Reason, Regime
from bots.intelligence.windows import Bools, Ints
from bots.market_data.base import CandleSeries, Floats
from bots.strategies.indicators import SeriesPrefix, remembered

#: How many bars to ask for so that every figure is warm, and what they began with has faded.
WARMUP_BARS = 300
BARS_MIN = regime.BARS_MIN
#: What keeps entries away by the candles alone, as columns of the table.
_FLAGS = ("bad_candles", "missing_candles", "price_outlier", "poor_data")
_FIGURES = ("regime", "confidence", "strength", "bar_volatility", "volatility_ratio", "age")
_COLUMNS = (*_FIGURES, *_FLAGS, *scoring.PARTS)
_PLACES = {name: place for place, name in enumerate(_COLUMNS)}
_STEP, _STEP_FINE = Decimal("0.01"), Decimal("0.000001")


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What the candles alone say. The arrays are over the bars, the other figures are those of the last bar.

    ``regimes`` holds numbers of ``regime.REGIMES``. ``parts`` and ``part_values`` are from 0 to 100; their ``liquidity`` is that
    of the volume alone. ``volatilities`` and ``volatility`` are fractions of the price a bar; ``way_bps`` is how far the price
    usually goes in 60 bars. ``inputs`` is what an assessment keeps of all this.
    """

    regimes: Ints
    confidences: Floats
    parts: dict[str, Floats]
    volatilities: Floats
    is_entry_allowed: Bools
    regime: Regime
    confidence: Decimal
    part_values: dict[str, float]
    rounded_parts: dict[str, int]
    volatility: Decimal
    way_bps: float
    reasons: tuple[Reason, ...]
    inputs: dict[str, Any]


_readings: WeakKeyDictionary[CandleSeries, Reading] = WeakKeyDictionary()


def reading(series: CandleSeries) -> Reading:
    """Return what the candles of ``series`` say, computed once per series; the last closed candle is the newest in it."""
    found = _readings.get(series)
    if found is None:
        found = _read(series)
        # A prefix lives for one bar of a replay; what it shows of the whole series is kept there.
        if not isinstance(series, SeriesPrefix):
            _readings[series] = found
    return found


def entry_allowed(series: CandleSeries) -> Bools:
    """Return for each bar whether the candles up to it would allow entries. No bar's answer uses a later bar."""
    return remembered(series, ("entry_allowed",), _entry_allowed)


def scores(series: CandleSeries, half_spread_bps: float, fee_rate: float) -> Ints:
    """Return the score of each bar as ``assess`` gives it with this spread and taker's fee; it may differ by one point.

    ``half_spread_bps`` is to each side of the price, ``fee_rate`` a fraction.
    """
    table = _table(series)
    figures = {name: np.rint(table[:, _PLACES[name]]).astype(np.int64) for name in scoring.PARTS}
    volatility = table[:, _PLACES["bar_volatility"]]
    cost_bps = 2 * half_spread_bps + 2 * (fee_rate + float(costs.SLIPPAGE_SHARE) * volatility) * scoring.BPS
    way_bps = scoring.usual_way_bps(volatility)
    rows = zip(table[:, _PLACES["liquidity"]].tolist(), cost_bps.tolist(), way_bps.tolist(), strict=True)
    figures["liquidity"] = np.array([scoring.liquidity(*row) for row in rows], dtype=np.int64)
    weighted = np.stack([scoring.WEIGHTS[name] * figures[name] for name in scoring.PARTS])
    total: Ints = (weighted.sum(axis=0) + 50) // 100
    return total


def _table(series: CandleSeries) -> Floats:
    return remembered(series, ("intelligence",), _compute)


def _compute(series: CandleSeries) -> Floats:
    candles = quality.clean(series)
    found = regime.regimes(candles)
    columns = {
        "regime": found.code,
        "confidence": found.confidence,
        "strength": found.strength,
        "bar_volatility": found.volatility,
        "volatility_ratio": found.volatility_ratio,
        "age": candles.age,
        "bad_candles": candles.has_bad_candles,
        "missing_candles": candles.has_gaps,
        "price_outlier": candles.has_outliers,
        "poor_data": candles.quality < quality.QUALITY_MIN,
        **scoring.parts(candles, found),
    }
    return np.stack([columns[name].astype(np.float64) for name in _COLUMNS], axis=1)


def _entry_allowed(series: CandleSeries) -> Bools:
    """Return what ``_entry_allowed_by`` the whole table says, without what only scores and pages need: a quarter of the work.

    High volatility is sure enough to keep entries away whenever it is called so (``regime.HIGH_VOLATILITY_CONFIDENCE``).
    """
    candles = quality.clean(series)
    is_bad = candles.has_bad_candles | candles.has_gaps | candles.has_outliers
    is_poor = candles.quality < quality.QUALITY_MIN
    allowed: Bools = (candles.age >= BARS_MIN) & ~is_bad & ~is_poor & ~regime.high_volatility(candles)
    return allowed


def _entry_allowed_by(table: Floats) -> Bools:
    first = _PLACES[_FLAGS[0]]
    is_bad = table[:, first : first + len(_FLAGS)].any(axis=1)
    is_wild = table[:, _PLACES["regime"]] == regime.HIGH_VOLATILITY
    is_sure = table[:, _PLACES["confidence"]] >= regime.HIGH_VOLATILITY_CONFIDENCE
    allowed: Bools = (table[:, _PLACES["age"]] >= BARS_MIN) & ~is_bad & ~(is_wild & is_sure)
    return allowed


def _read(series: CandleSeries) -> Reading:
    table = _table(series)
    last = dict(zip(_COLUMNS, table[-1].tolist() if len(table) else [0.0] * len(_COLUMNS), strict=True))
    return Reading(
        regimes=table[:, _PLACES["regime"]].astype(np.int64),
        confidences=table[:, _PLACES["confidence"]],
        parts={name: table[:, _PLACES[name]] for name in scoring.PARTS},
        volatilities=table[:, _PLACES["bar_volatility"]],
        is_entry_allowed=_entry_allowed_by(table),
        regime=regime.REGIMES[int(last["regime"])],
        confidence=_exact(last["confidence"], _STEP),
        part_values={name: last[name] for name in scoring.PARTS},
        rounded_parts={name: round(last[name]) for name in scoring.PARTS},
        volatility=_exact(last["bar_volatility"], _STEP_FINE),
        way_bps=float(scoring.usual_way_bps(table[-1:, _PLACES["bar_volatility"]]).sum()),
        reasons=tuple(_reasons(last)),
        inputs=_inputs(series, last),
    )


def _inputs(series: CandleSeries, last: dict[str, float]) -> dict[str, Any]:
    inputs: dict[str, Any] = {"timeframe": series.timeframe, "bars": len(series)}
    if len(series):
        inputs |= {"last_opened_at": int(series.opened_at[-1]), "last_close": repr(float(series.close[-1]))}
    return inputs | {
        "trend_strength": str(_exact(last["strength"], _STEP)),
        "volatility": str(_exact(last["bar_volatility"], _STEP_FINE)),
        "volatility_ratio": str(_exact(last["volatility_ratio"], _STEP)),
    }


def _reasons(last: dict[str, float]) -> list[Reason]:
    """Return what the last bar takes away, by the table's figures of it."""
    found = []
    if last["age"] < BARS_MIN:
        text = f"There are {int(last['age'])} usable candles; {BARS_MIN} are needed to judge the market."
        found.append(reason(Code.TOO_LITTLE_HISTORY, text))
    if last["bad_candles"]:
        found.append(reason(Code.BAD_CANDLES, "Some of the last candles cannot be true ones."))
    if last["missing_candles"]:
        found.append(reason(Code.MISSING_CANDLES, "Too many of the last candles are missing."))
    if last["price_outlier"]:
        found.append(reason(Code.PRICE_OUTLIER, "The price jumped far out of line, and nothing has confirmed it yet."))
    if last["poor_data"]:
        text = (
            f"The candles are of poor quality: {last['data']:.0f} of 100, {100 * quality.QUALITY_MIN:.0f} are needed."
        )
        found.append(reason(Code.POOR_DATA, text))
    if last["regime"] == regime.HIGH_VOLATILITY and last["confidence"] >= regime.HIGH_VOLATILITY_CONFIDENCE:
        text = f"The market is wild: it moves {last['volatility_ratio']:.1f} times as much as usual, or just did."
        found.append(reason(Code.HIGH_VOLATILITY, text))
    return found


def _exact(figure: float, step: Decimal) -> Decimal:
    return Decimal(repr(figure)).quantize(step)
