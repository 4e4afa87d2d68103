"""Whatever Alpaca answers about the market, the readers give a value or say that it is no answer; nothing else comes out."""

from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bots.brokers.outcomes import CallFailed
from bots.market_data.alpaca_assets import read_assets
from bots.market_data.alpaca_bars import read_bars, read_page
from bots.market_data.alpaca_ticks import read_tick
from bots.market_data.market_hours import ROUND_THE_CLOCK
from tests.bots.market_data.alpaca_data import recorded

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.sampled_from([Decimal("0"), Decimal("-1"), Decimal("1E+400"), Decimal("1E-400"), Decimal("435.24")]),
    st.text(max_size=8),
    st.sampled_from(
        ["NaN", "Infinity", "2020-08-03T04:00:00Z", "2020-13-40", "0001-01-01T00:00:00+23:59", "AAPL", "<html>"]
    ),
    st.just([]),
    st.just({}),
    st.lists(st.none(), max_size=3),
)
EASY = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))


def read_all_bars(answer: Any) -> None:
    for symbol, rows in read_page(answer)[0].items():
        read_bars(rows, symbol, "1d", ROUND_THE_CLOCK, NOW)


def read_all_ticks(answer: Any) -> None:
    for raw in answer.values() if isinstance(answer, dict) else [answer]:
        read_tick(raw, NOW)


CASES: list[tuple[str, Callable[[Any], object]]] = [
    ("bars_iex_daily_2020", read_all_bars),
    ("bars_daily_newest_first", read_all_bars),
    ("snapshots", read_all_ticks),
    ("assets", read_assets),
]


def places(value: Any) -> list[tuple[Any, ...]]:
    """Return the way to every value inside, and to the whole."""
    if isinstance(value, dict):
        inner = [(key, *rest) for key, one in value.items() for rest in places(one)]
    elif isinstance(value, list):
        inner = [(index, *rest) for index, one in enumerate(value) for rest in places(one)]
    else:
        inner = []
    return [(), *inner]


def changed(answer: Any, way: tuple[Any, ...], odd: Any, is_removed: bool) -> Any:
    """Return the answer with another value at this place, or without it."""
    if not way:
        return odd
    answer = deepcopy(answer)
    holder = answer
    for step in way[:-1]:
        holder = holder[step]
    if is_removed:
        del holder[way[-1]]
    else:
        holder[way[-1]] = odd
    return answer


@EASY
@given(st.data())
@pytest.mark.parametrize(("name", "read"), CASES, ids=[name for name, _ in CASES])
def test_odd_answer_gives_a_value_or_is_refused(name: str, read: Callable[[Any], object], data: st.DataObject) -> None:
    answer = recorded(name)
    for _ in range(data.draw(st.integers(1, 3))):
        way = data.draw(st.sampled_from(places(answer)))
        answer = changed(answer, way, data.draw(ODD), data.draw(st.booleans()))
    with suppress(CallFailed):
        read(answer)


@pytest.mark.parametrize(("name", "read"), CASES, ids=[name for name, _ in CASES])
def test_recorded_answer_itself_is_read(name: str, read: Callable[[Any], object]) -> None:
    read(recorded(name))
