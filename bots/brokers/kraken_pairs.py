"""What Kraken says of its symbols: how it names them, and what an order in one has to obey."""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from bots.brokers.kraken_client import KrakenClient
from bots.brokers.outcomes import CallFailed, Failure, Kind
from bots.instant import Instant
from safety.intents import InstrumentRules, MarketStatus

VENUE = "kraken"
#: Rules change rarely; a symbol's status is asked anew this often.
KEPT_S = 600
#: After a failure, what was known goes on for this long before Kraken is asked again.
FAILURE_KEPT_S = 5
_STATUS = {
    "online": MarketStatus.OPEN,
    "cancel_only": MarketStatus.CANCEL_ONLY,
    "post_only": MarketStatus.POST_ONLY,
    "limit_only": MarketStatus.POST_ONLY,
}
#: Statuses in which a position can still be closed.
_TRADED = frozenset({"online", "post_only", "limit_only", "reduce_only"})


@dataclass(frozen=True, slots=True)
class Pair:
    """One symbol: ``id`` is Kraken's own name (XXBTZUSD), ``names`` all that it may call it; ``base``, ``quote`` its assets."""

    symbol: str
    id: str
    names: frozenset[str]
    base: str
    quote: str
    rules: InstrumentRules
    market: MarketStatus


@dataclass(frozen=True, slots=True)
class PairBook:
    """All symbols at one time."""

    by_symbol: Mapping[str, Pair]
    codes: Mapping[str, str]
    by_name: Mapping[str, Pair] = field(default_factory=dict)

    def code(self, asset: str) -> str:
        """Return the usual name of an asset that Kraken calls ``asset`` in balances: XXBT is BTC, ZUSD is USD."""
        return self.codes.get(asset, asset)

    def named(self, name: str) -> Pair | None:
        """Return the symbol that Kraken calls ``name`` in orders and trades, by any of its names, or None."""
        return self.by_name.get(name)


#: What was last listed at each address, by whoever asked in this process: the market data's list serves the orders, too.
_last: dict[str, PairBook] = {}


class Pairs:
    """Kraken's symbols, asked for at the first need and kept for a while. Threads may share one."""

    def __init__(self, client: KrakenClient) -> None:
        self._client = client
        self._address = client.base_url
        self._lock = threading.Lock()
        self._book: PairBook | None = None
        self._asked_at: Instant | None = None
        self._failure: CallFailed | None = None

    def book(self, *, timeout_ms: int) -> PairBook:
        """Return all symbols. What was known before stands in for a failure. Raises CallFailed when nothing is known."""
        if not self._lock.acquire(timeout=timeout_ms / 1000):
            known = self._last_known()
            if known is not None:
                return known
            raise CallFailed(Failure(Kind.NOT_SENT, "the list of Kraken's symbols is still being fetched"))
        try:
            if self.is_due():
                self._ask(timeout_ms)
            known = self._last_known()
            if known is not None:
                return known
            raise self._failure or CallFailed(Failure(Kind.NOT_SENT, "Kraken's symbols are not known"))
        finally:
            self._lock.release()

    def pair(self, symbol: str, *, timeout_ms: int, may_be_old: bool = False) -> Pair:
        """Return one symbol; ``may_be_old`` takes what is known, however old, rather than ask now.

        Raises CallFailed when it is not there or nothing is known.
        """
        known = self._last_known() if may_be_old else None
        book = known if known is not None else self.book(timeout_ms=timeout_ms)
        found = book.by_symbol.get(symbol)
        if found is None:
            raise CallFailed(Failure(Kind.ORDER, f"Kraken has no symbol {symbol}"))
        return found

    def known(self) -> PairBook | None:
        """Return all symbols as they were last listed, without asking Kraken; None when they never were."""
        return self._book

    def raise_failure(self) -> None:
        """Raise the CallFailed that the last question ended in, if it did."""
        if self._failure is not None:
            raise self._failure

    def is_due(self) -> bool:
        """Return whether the symbols are to be asked for anew."""
        if self._asked_at is None:
            return True
        kept_s = KEPT_S if self._failure is None else FAILURE_KEPT_S
        return self._asked_at.elapsed_s() > kept_s

    def _last_known(self) -> PairBook | None:
        """Return what was listed here last, or, before that, what anybody in this process was told at the same address."""
        return self._book if self._book is not None else _last.get(self._address)

    def _ask(self, timeout_ms: int) -> None:
        try:
            found = parse_pairs(self._client.public("get_assetpairs", {}, timeout_ms=timeout_ms), self._client)
            self._book, self._failure = found, None
            _last[self._address] = found
        except CallFailed as failed:
            self._failure = failed
        self._asked_at = Instant()


def parse_pairs(result: Mapping[str, Any], client: KrakenClient) -> PairBook:
    """Return the symbols of an AssetPairs answer; one that cannot be read is left out. Raises CallFailed when all are."""
    found = [pair for pair in (_pair(id_, raw, client) for id_, raw in result.items()) if pair is not None]
    if not found:
        raise CallFailed(Failure(Kind.UNKNOWN, "Kraken listed no symbol that can be read"))
    codes = {pair.base: pair.symbol.split("/")[0] for pair in found}
    codes |= {pair.quote: pair.symbol.split("/")[1] for pair in found}
    names = {name: pair for pair in found for name in pair.names}
    return PairBook({pair.symbol: pair for pair in found}, codes, names)


def _pair(id_: str, raw: Any, client: KrakenClient) -> Pair | None:
    try:
        base, quote = (client.currency_code(part) for part in raw["wsname"].split("/"))
        symbol, status = f"{base}/{quote}", raw.get("status", "")
        rules = InstrumentRules(
            venue=VENUE,
            symbol=symbol,
            quote_currency=quote,
            tick_size=_positive(raw["tick_size"]),
            lot_size=Decimal(1).scaleb(-int(raw["lot_decimals"])),
            quantity_min=_positive(raw["ordermin"]),
            notional_min=_positive(raw["costmin"]),
            is_active=status in _TRADED,
        )
        names = frozenset({id_, str(raw["altname"]), str(raw["wsname"]), symbol})
        market = _STATUS.get(status, MarketStatus.CLOSED)
        return Pair(symbol, id_, names, str(raw["base"]), str(raw["quote"]), rules, market)
    except (KeyError, TypeError, ValueError, AttributeError, InvalidOperation):
        # A symbol without a minimum or a tick size can't be traded by rules that nobody knows.
        return None


def _positive(text: Any) -> Decimal:
    number = Decimal(str(text))
    if not number.is_finite() or number <= 0:
        raise ValueError("not a number above zero")
    return number


def tradeable(balances: Iterable[str]) -> list[str]:
    """Return the assets of a balance that can be traded."""
    return [asset for asset in balances if is_tradeable(asset)]


def is_tradeable(asset: str) -> bool:
    """Return whether an asset of a balance can be traded: suffixes such as ``.F`` and ``.S`` mark what is staked or earns."""
    return "." not in asset
