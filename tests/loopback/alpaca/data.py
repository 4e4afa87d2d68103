"""Alpaca's market data: quotes, trades, bars and snapshots of shares, paged as Alpaca pages them."""

import base64
import re
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from tests.loopback.alpaca.hours import NEW_YORK, midnight
from tests.loopback.alpaca.ledger import Refused
from tests.loopback.alpaca.market import DAY_MIN, Bar
from tests.loopback.alpaca.moments import moment
from tests.loopback.alpaca.rest import Fields, RestVenue
from tests.loopback.alpaca.wire import Json, bar_json, last_trade_json, quote_json
from tests.loopback.server import Answer, Logged, Request

BARS_DEFAULT, BARS_MAX = 1_000, 10_000
TIMEFRAME = re.compile(r"(\d{1,2})(Min|T|Hour|H|Day|D)")
MINUTES = {"Min": 1, "T": 1, "Hour": 60, "H": 60, "Day": DAY_MIN, "D": DAY_MIN}


class DataVenue(RestVenue):
    """The data host: any key of the venue's accounts opens it."""

    def answer(self, request: Request, entry: Logged, invisible_s: float) -> Answer:
        paths: dict[str, Callable[[Fields], Json]] = {
            "GET /v2/stocks/quotes/latest": self._quotes,
            "GET /v2/stocks/trades/latest": self._trades,
            "GET /v2/stocks/snapshots": self._snapshots,
            "GET /v2/stocks/bars": self._bars,
        }
        if entry.path not in paths:
            raise Refused(404, None, "endpoint not found.")
        return Answer(paths[entry.path](entry.fields))

    def orders_of_a_test(self) -> dict[str, Callable[..., Any]]:
        return {}

    def _symbols(self, fields: Fields) -> list[str]:
        """Return the symbols asked for that the venue knows; strangers are left out, what can't be one is refused."""
        names = [name for name in fields.get("symbols", "").split(",") if name]
        if not names:
            raise Refused(400, None, "symbols parameter is required")
        wrong = next((name for name in names if not re.fullmatch(r"[A-Z][A-Z.]{0,9}", name)), None)
        if wrong is not None:
            raise Refused(400, None, f"invalid symbol: {wrong}")
        return [name for name in names if name in self.market.assets]

    def _quotes(self, fields: Fields) -> Json:
        now = time.time()
        return {"quotes": {name: quote_json(self.market.books[name], now) for name in self._symbols(fields)}}

    def _trades(self, fields: Fields) -> Json:
        return {"trades": {name: last_trade_json(self.market.books[name]) for name in self._symbols(fields)}}

    def _snapshots(self, fields: Fields) -> Json:
        now = time.time()
        return {
            name: {
                "latestTrade": last_trade_json(self.market.books[name]),
                "latestQuote": quote_json(self.market.books[name], now),
                **self._latest_bars(name),
            }
            for name in self._symbols(fields)
        }

    def _latest_bars(self, name: str) -> Json:
        now = self.market.hours.now()
        minutes = list(self.market.bars(name, 1, now - timedelta(minutes=30), now))[-1:]
        first = midnight(now.astimezone(NEW_YORK).date() - timedelta(days=7))
        days = list(self.market.bars(name, DAY_MIN, first, now))
        return {
            "minuteBar": bar_json(minutes[0]) if minutes else None,
            "dailyBar": bar_json(days[-1]) if days else None,
            "prevDailyBar": bar_json(days[-2]) if len(days) > 1 else None,
        }

    def _bars(self, fields: Fields) -> Json:
        minutes = _minutes(fields.get("timeframe", ""))
        asked = fields.get("limit", str(BARS_DEFAULT))
        limit = int(asked) if asked.isdecimal() else 0
        if not 1 <= limit <= BARS_MAX:
            raise Refused(400, None, f"limit must be between 1 and {BARS_MAX}")
        is_descending = fields.get("sort") == "desc"
        now = self.market.hours.now()
        today = midnight(now.astimezone(NEW_YORK).date())
        start, end = moment(fields.get("start")) or today, moment(fields.get("end")) or now
        symbols = sorted(self._symbols(fields))
        token = _read_token(fields.get("page_token"))
        found: dict[str, list[Json]] = {}
        left = limit
        for name in symbols:
            if token is not None and name < token[0]:
                continue
            after = token[1] if token is not None and name == token[0] else None
            page = self._page(name, minutes, (start, end), after, left + 1, is_descending)
            if page and left:
                found[name] = [bar_json(bar) for bar in page[:left]]
            if len(page) > left:
                last = page[left - 1].opened if left else None
                return {"bars": found, "next_page_token": _token(name, last)}
            left -= len(page)
        return {"bars": found, "next_page_token": None}

    def _page(
        self,
        name: str,
        minutes: int,
        span: tuple[datetime, datetime],
        after: datetime | None,
        count: int,
        is_descending: bool,
    ) -> list[Bar]:
        start, end = span
        if is_descending:
            last = end if after is None else min(end, after - timedelta(seconds=1))
            return list(islice(self.market.bars(name, minutes, start, last, newest_first=True), count))
        first = start if after is None else max(start, after + timedelta(seconds=1))
        return list(islice(self.market.bars(name, minutes, first, end), count))


def _minutes(text: str) -> int:
    found = TIMEFRAME.fullmatch(text)
    if found is None or int(found[1]) < 1:
        raise Refused(400, None, f"invalid timeframe: {text}")
    return int(found[1]) * MINUTES[found[2]]


def _token(name: str, opened: datetime | None) -> str:
    return base64.b64encode(f"{name}|{opened.isoformat() if opened else ''}".encode()).decode()


def _read_token(text: str | None) -> tuple[str, datetime | None] | None:
    """Return the symbol and the last bar of the page before, or None. Raises Refused."""
    if not text:
        return None
    try:
        name, _, opened = base64.b64decode(text).decode().partition("|")
        return name, datetime.fromisoformat(opened) if opened else None
    except ValueError:
        raise Refused(400, None, "invalid page_token") from None
