"""Candles from CSV text, trusted in nothing: a row that is not right is refused with its file and line."""

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from bots.market_data.base import MarketDataError

HEADER = ("timestamp", "open", "high", "low", "close", "volume")
ROWS_MAX = 1_000_000
_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?")
# What nearly every row looks like; whatever does not is looked at cell by cell, which is six times slower.
_USUAL = re.compile(r"[0-9T:-]{19}Z" + r",[0-9]{1,20}(?:\.[0-9]{1,20})?" * 5)
_ZERO = timedelta(0)
_DATE_LENGTH = len("2024-01-31")


class CandleFileError(MarketDataError):
    """A candle file has a row that cannot be used; the message begins with the file and the line."""


class CandleRow(NamedTuple):
    """One candle as it was written: opening time in UTC epoch seconds, prices and volume exact."""

    opened_at: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


@dataclass(frozen=True, slots=True)
class ParsedCandles:
    """The rows of a file in rising time, and how many of them had a high or low put right (see ``clamp_max``)."""

    rows: tuple[CandleRow, ...]
    clamped: int


def read_candles(lines: Iterable[str], name: str, clamp_max: Decimal = Decimal(0)) -> ParsedCandles:
    """Return the candles of CSV ``lines``; ``name`` is what errors call the file.

    ``clamp_max`` is a fraction: where open or close lies outside high and low by no more than it, high or low is moved
    to meet them and counted (Yahoo has such days). Raises CandleFileError with file and line on the first bad row.
    """
    rows: list[CandleRow] = []
    clamped = 0
    last: int | None = None
    for number, cells in _numbered(lines, name):
        try:
            row = _row(cells)
            if not row.low <= row.open <= row.high or not row.low <= row.close <= row.high:
                row = _clamp(row, clamp_max)
                clamped += 1
            if last is not None and row.opened_at <= last:
                raise ValueError("the time is not after that of the row before")
        except ValueError as error:
            raise CandleFileError(f"{name} line {number}: {error}") from None
        if len(rows) == ROWS_MAX:
            raise CandleFileError(f"{name} line {number}: more than {ROWS_MAX} rows")
        last = row.opened_at
        rows.append(row)
    if not rows:
        raise CandleFileError(f"{name} line 2: there are no candles in the file")
    return ParsedCandles(tuple(rows), clamped)


def _numbered(lines: Iterable[str], name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows after the header with their line numbers."""
    reader = csv.reader(lines, strict=True)
    try:
        header = next(reader, None)
        if header is None or tuple(header) != HEADER:
            raise CandleFileError(f"{name} line 1: the header has to be {','.join(HEADER)}")
        for cells in reader:
            yield reader.line_num, cells
    except (csv.Error, UnicodeDecodeError) as error:
        raise CandleFileError(f"{name} line {reader.line_num}: unreadable: {error}") from error


def _row(cells: list[str]) -> CandleRow:
    if len(cells) != len(HEADER):
        raise ValueError(f"{len(cells)} columns instead of {len(HEADER)}")
    if _USUAL.fullmatch(",".join(cells)) is None:
        for name, text in zip(HEADER[1:], cells[1:], strict=True):
            _check_number(name, text)
    opened, high, low, closed, volume = map(Decimal, cells[1:])
    if not (opened > 0 and high > 0 and low > 0 and closed > 0):
        raise ValueError("every price has to be above zero")
    if volume < 0:
        raise ValueError(f"the volume {volume} is negative")
    return CandleRow(_epoch(cells[0]), opened, high, low, closed, volume)


def _check_number(name: str, text: str) -> None:
    # Decimal() itself would take NaN, infinity, underscores and other scripts' digits.
    if _NUMBER.fullmatch(text) is None:
        raise ValueError(f"{name} is {text[:40]!r}, not a plain number")


def _epoch(text: str) -> int:
    """Return an ISO time in UTC, or a date (its midnight in UTC), as epoch seconds."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"timestamp {text[:40]!r} is not an ISO time") from None
    if moment.tzinfo is None:
        if len(text) != _DATE_LENGTH:
            raise ValueError(f"timestamp {text[:40]!r} has no time zone; end it with Z")
        moment = moment.replace(tzinfo=UTC)
    if moment.utcoffset() != _ZERO:
        raise ValueError(f"timestamp {text[:40]!r} is not in UTC")
    if moment.microsecond:
        raise ValueError(f"timestamp {text[:40]!r} is not a whole second")
    return int(moment.timestamp())


def _clamp(row: CandleRow, clamp_max: Decimal) -> CandleRow:
    """Return the row with high and low moved to enclose open and close, which may be off by ``clamp_max`` at most."""
    if row.high < row.low:
        raise ValueError(f"high {row.high} is below low {row.low}")
    top, bottom = max(row.open, row.close), min(row.open, row.close)
    if top > row.high * (1 + clamp_max) or bottom < row.low * (1 - clamp_max):
        raise ValueError(f"open {row.open} or close {row.close} is outside high {row.high} and low {row.low}")
    return row._replace(high=max(row.high, top), low=min(row.low, bottom))
