"""What Alpaca says of its stocks: which can be traded, and what an order in one has to obey."""

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from bots.brokers.alpaca_client import AlpacaClient, unsound
from bots.brokers.outcomes import CallFailed, Kind
from bots.instant import Instant
from safety.intents import InstrumentRules

VENUE = "alpaca"
REQUEST_MS = 4_000
#: The whole list is some ten thousand stocks.
LIST_MS = 20_000
LIST_KEPT_S = 6 * 3_600
#: Whether a stock is halted or delisted is asked anew this often.
ONE_KEPT_S = 600
ASSETS_MAX = 40_000
ONES_MAX = 1_000
#: A symbol becomes part of a path: nothing else may pass for one.
SYMBOL = re.compile(r"[A-Z][A-Z0-9]{0,7}(\.[A-Z]{1,4})?")
TICK, FINE_TICK = Decimal("0.01"), Decimal("0.0001")
LOT_FRACTIONAL, LOT_WHOLE = Decimal("1e-9"), Decimal(1)
#: Alpaca takes no fraction of a share for less than a dollar.
NOTIONAL_MIN_FRACTIONAL = Decimal(1)


@dataclass(frozen=True, slots=True)
class Stock:
    """One stock. One that is not ``is_tradable`` can be sold and not bought, as before a delisting."""

    rules: InstrumentRules
    is_tradable: bool

    @property
    def can_be_bought(self) -> bool:
        """Return whether Alpaca takes orders of both kinds."""
        return self.is_tradable and self.rules.is_active


class Assets:
    """Alpaca's stocks, asked for at the first need and kept for a while. Threads may share one."""

    def __init__(self, client: AlpacaClient) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._all: tuple[Instant, Mapping[str, Stock]] | None = None
        self._ones: dict[str, tuple[Instant, Stock]] = {}
        self._missing: dict[str, Instant] = {}

    def known(self, symbol: str) -> Stock | None:
        """Return one stock as it was last told of, without asking Alpaca; None when it never was."""
        one = self._ones.get(symbol)
        if one is not None:
            return one[1]
        return None if self._all is None else self._all[1].get(symbol)

    def is_missing(self, symbol: str) -> bool:
        """Return whether this is no symbol of a stock, or Alpaca said lately that it has none of this name."""
        asked_at = self._missing.get(symbol)
        return SYMBOL.fullmatch(symbol) is None or (asked_at is not None and asked_at.elapsed_s() < ONE_KEPT_S)

    def is_due(self, symbol: str) -> bool:
        """Return whether one stock is to be asked for anew."""
        told = [one[0] for one in (self._ones.get(symbol), self._all) if one is not None]
        return all(asked_at.elapsed_s() > ONE_KEPT_S for asked_at in told)

    def listed(self) -> Mapping[str, Stock] | None:
        """Return every stock that can be traded, without asking Alpaca; None when the list was never fetched."""
        return None if self._all is None else self._all[1]

    def is_list_due(self) -> bool:
        """Return whether the list is to be fetched anew."""
        return self._all is None or self._all[0].elapsed_s() > LIST_KEPT_S

    def fetch_one(self, symbol: str) -> None:
        """Ask for one stock, whose symbol has to be one. Raises CallFailed, also when Alpaca has no such stock."""
        asked_at = Instant()
        try:
            raw = self._client.ask("GET", f"/assets/{quote(symbol, safe='')}", timeout_ms=REQUEST_MS)
        except CallFailed as failed:
            if failed.failure.kind == Kind.GONE:
                with self._lock:
                    self._missing = (
                        {symbol: asked_at} if len(self._missing) >= ONES_MAX else self._missing | {symbol: asked_at}
                    )
            raise
        stock = read_asset(raw)
        if stock is None or stock.rules.symbol != symbol:
            raise unsound("a stock's own data")
        with self._lock:
            if len(self._ones) >= ONES_MAX:
                self._ones = {}
            self._ones[symbol] = (asked_at, stock)

    def fetch_list(self) -> None:
        """Ask for every stock that can be traded. Raises CallFailed."""
        asked_at = Instant()
        params = {"status": "active", "asset_class": "us_equity"}
        found = read_assets(self._client.ask("GET", "/assets", params=params, timeout_ms=LIST_MS))
        with self._lock:
            # What was told of single ones is older now.
            self._all, self._ones = (asked_at, found), {}


def read_assets(raw: Any) -> Mapping[str, Stock]:
    """Return the stocks of a list that can be traded, by symbol; one that cannot be read is left out. Raises CallFailed."""
    if not isinstance(raw, list) or len(raw) > ASSETS_MAX:
        raise unsound("a list of stocks")
    found = [stock for stock in map(read_asset, raw) if stock is not None and stock.can_be_bought]
    if not found:
        # Alpaca never has none: an empty list is a failure, and what was known goes on.
        raise unsound("every stock of the list")
    return MappingProxyType(
        {stock.rules.symbol: stock for stock in sorted(found, key=lambda stock: stock.rules.symbol)}
    )


def read_asset(raw: Any) -> Stock | None:
    """Return what an order in this stock has to obey, or None for what cannot be read, is none, or is traded over the counter.

    Orders are for the day, in dollars; prices have four digits below one dollar, two from there on. Only a stock that says it is
    fractionable is traded in fractions.
    """
    try:
        symbol, is_fractional = raw["symbol"], raw["fractionable"] is True
        if raw["class"] != "us_equity" or raw["exchange"] == "OTC" or SYMBOL.fullmatch(symbol) is None:
            return None
        tick = _positive(raw.get("price_increment"), TICK)
        lot = _positive(raw.get("min_trade_increment"), LOT_FRACTIONAL if is_fractional else LOT_WHOLE)
        rules = InstrumentRules(
            venue=VENUE,
            symbol=symbol,
            quote_currency="USD",
            tick_size=tick,
            lot_size=lot,
            quantity_min=_positive(raw.get("min_order_size"), lot),
            notional_min=NOTIONAL_MIN_FRACTIONAL if is_fractional else Decimal(0),
            is_active=raw["status"] == "active",
            fine_tick_size=min(FINE_TICK, tick),
        )
        return Stock(rules, raw["tradable"] is True)
    except (KeyError, TypeError, ValueError, AttributeError, InvalidOperation):
        # A stock whose rules cannot be read cannot be traded by them.
        return None


def _positive(given: Any, usual: Decimal) -> Decimal:
    """Return what the venue gives, or the usual figure where it gives none. Raises ValueError for what makes no sense."""
    if given is None:
        return usual
    number = Decimal(str(given))
    if not number.is_finite() or number <= 0:
        raise ValueError("not a number above zero")
    return number
