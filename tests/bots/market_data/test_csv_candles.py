"""The parser lets nothing through that is not a candle, and says where it stood."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.market_data.base import MarketDataError
from bots.market_data.csv_candles import HEADER, CandleFileError, CandleRow, read_candles

HEAD = ",".join(HEADER)
FIRST = "2024-01-01T00:00:00Z,10,12,9,11,5"


def read(*lines: str, clamp_max: str = "0") -> tuple[int, int]:
    """Return how many rows were read and how many of them put right."""
    parsed = read_candles(lines, "feed.csv", Decimal(clamp_max))
    return len(parsed.rows), parsed.clamped


def test_good_rows_are_read_exactly() -> None:
    parsed = read_candles(
        [HEAD, "2024-01-01,0.10,0.12,0.1,0.11,1e3", "2024-01-02T00:00:00+00:00,1,1,1,1,0"], "feed.csv"
    )
    first, second = parsed.rows
    assert first.opened_at == 1_704_067_200
    assert first[1:] == tuple(map(Decimal, ("0.10", "0.12", "0.1", "0.11", "1000")))
    assert second.opened_at - first.opened_at == 86_400
    assert second.volume == 0


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("2024-01-01T00:01:00Z,10,12,9,11", "5 columns"),
        ("2024-01-01T00:01:00Z,10,12,9,11,5,6", "7 columns"),
        ("", "0 columns"),
        ("2024-01-01T00:01:00,10,12,9,11,5", "no time zone"),
        ("2024-01-01T00:01:00+01:00,10,12,9,11,5", "not in UTC"),
        ("2024-01-01T00:01:00.5Z,10,12,9,11,5", "whole second"),
        ("2024-02-30T00:01:00Z,10,12,9,11,5", "not an ISO time"),
        ("1704067260,10,12,9,11,5", "not an ISO time"),
        ("2024-01-01T00:00:00Z,10,12,9,11,5", "not after"),
        ("2023-12-31T23:59:00Z,10,12,9,11,5", "not after"),
        ("2024-01-01T00:01:00Z,NaN,12,9,11,5", "open is 'NaN'"),
        ("2024-01-01T00:01:00Z,10,Infinity,9,11,5", "high is 'Infinity'"),
        ("2024-01-01T00:01:00Z,10,12,,11,5", "low is ''"),
        ("2024-01-01T00:01:00Z,10,12,9,1_1,5", "close is '1_1'"),
        ("2024-01-01T00:01:00Z,10,12,9,11,many", "volume is 'many'"),
        ("2024-01-01T00:01:00Z,10,12,9, 11,5", "close is ' 11'"),
        ("2024-01-01T00:01:00Z,10,12,9,١١,5", "close is"),
        ("2024-01-01T00:01:00Z,10,12,0,11,5", "above zero"),
        ("2024-01-01T00:01:00Z,-10,12,9,11,5", "above zero"),
        ("2024-01-01T00:01:00Z,10,12,9,11,-5", "negative"),
        ("2024-01-01T00:01:00Z,10,8,9,8,5", "below low"),
        ("2024-01-01T00:01:00Z,13,12,9,11,5", "outside high"),
        ("2024-01-01T00:01:00Z,10,12,9,8.99,5", "outside high"),
        ('2024-01-01T00:01:00Z,"10"x,12,9,11,5', "unreadable"),
    ],
)
def test_bad_row_is_refused_with_file_and_line(row: str, complaint: str) -> None:
    with pytest.raises(CandleFileError, match=r"^feed\.csv line 3: .*" + complaint):
        read(HEAD, FIRST, row)


@pytest.mark.parametrize("header", ["", "time,open,high,low,close,volume", HEAD.upper(), FIRST])
def test_wrong_header_is_refused(header: str) -> None:
    with pytest.raises(CandleFileError, match=r"^feed\.csv line 1: the header"):
        read(header, FIRST)


def test_empty_file_is_refused() -> None:
    with pytest.raises(CandleFileError, match=r"^feed\.csv line 1"):
        read()
    with pytest.raises(CandleFileError, match=r"^feed\.csv line 2: there are no candles"):
        read(HEAD)


@pytest.mark.parametrize(
    ("row", "high", "low"),
    [
        ("2024-01-01T00:01:00Z,100.1,100,90,95,5", "100.1", "90"),
        ("2024-01-01T00:01:00Z,95,100,90,89.91,5", "100", "89.91"),
    ],
)
def test_row_a_hair_outside_is_put_right_and_counted(row: str, high: str, low: str) -> None:
    parsed = read_candles([HEAD, FIRST, row], "feed.csv", Decimal("0.001"))
    assert parsed.clamped == 1
    assert (parsed.rows[1].high, parsed.rows[1].low) == (Decimal(high), Decimal(low))


@pytest.mark.parametrize("row", ["2024-01-01T00:01:00Z,100.11,100,90,95,5", "2024-01-01T00:01:00Z,95,100,90,89.9,5"])
def test_row_further_outside_than_allowed_is_refused(row: str) -> None:
    with pytest.raises(CandleFileError, match="line 3"):
        read(HEAD, FIRST, row, clamp_max="0.001")


cells = st.one_of(
    st.sampled_from(["10", "9.5", "0", "-1", "NaN", "1e400", "2024-01-01", "2024-01-01T00:00:00Z", '"', ""]),
    st.text(max_size=12),
)


@given(st.lists(st.lists(cells, max_size=7).map(",".join), max_size=4))
def test_whatever_is_read_obeys_the_rules_and_all_else_is_a_candle_file_error(lines: list[str]) -> None:
    try:
        rows = read_candles([HEAD, FIRST, *lines], "feed.csv").rows
    except MarketDataError as error:
        refusal = str(error)
    else:
        check_rows(rows)
        return
    assert refusal.startswith("feed.csv line ")


def check_rows(rows: tuple[CandleRow, ...]) -> None:
    """Assert what holds of every candle that is let in."""
    for row in rows:
        assert 0 < row.low <= min(row.open, row.close) <= max(row.open, row.close) <= row.high
        assert row.volume >= 0
        assert all(figure.is_finite() for figure in row[1:])
    times = [row.opened_at for row in rows]
    assert times == sorted(set(times))
