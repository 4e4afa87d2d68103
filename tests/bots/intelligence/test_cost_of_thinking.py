"""What judging a market costs: the bounds of docs/benchmarks.md, with room for a slow machine."""

import time

from bots.intelligence import layer
from tests.bots.intelligence.builders import candles, circumstances, walk

SCANNED = 40


def test_a_scan_of_unread_candles_stays_within_its_budget() -> None:
    """500 symbols in 2 s are 4 ms each; three times that is allowed here."""
    fresh = [candles(walk(500, seed=seed)) for seed in range(SCANNED + 1)]
    now_ = circumstances()
    layer.assess(fresh[0], now_)
    before_s = time.process_time()
    for series in fresh[1:]:
        layer.assess(series, now_)
    assert time.process_time() - before_s < SCANNED * 0.012


def test_a_tick_on_known_candles_pays_next_to_nothing() -> None:
    """0.05 ms is the bound; three times that is allowed here."""
    series, now_ = candles(walk(500)), circumstances()
    layer.assess(series, now_)
    before_s = time.process_time()
    for _ in range(500):
        layer.assess(series, now_)
    assert time.process_time() - before_s < 500 * 0.00015


def test_a_long_recording_is_read_in_time_that_grows_with_its_bars_only() -> None:
    """A replay of 100,000 bars in a second leaves it a tenth of that at most; three times that is allowed here."""
    series = candles(walk(40_000))
    before_s = time.process_time()
    layer.entry_allowed(series)
    assert time.process_time() - before_s < 0.4 * 0.3
