"""What an account at Kraken lists: its orders, its trades, and what moved without a trade. Each part whole, or an error.

Kraken gives 50 rows at a time, newest first, and counts them all. Counted from the oldest on, a row keeps its number while newer
ones come in: so a long list is read from its end, and how many rows were read says where to go on. Times go out in seconds
(ccxt's own ``until`` goes out in milliseconds, where Kraken wants seconds, so it is never used).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, localcontext
from typing import Any

from bots.brokers.base import Execution, ListedFill, ListedOrder, Transfer, TransferKind
from bots.brokers.kraken_orders import EXACT, entries, execution, mapping, moment, number, ordered_status, unsound
from bots.brokers.kraken_pairs import Pair, PairBook, is_tradeable
from bots.brokers.parts import PART_PAGES, MayAsk, Part, Stretch
from bots.order_states import OrderStatus
from safety.intents import Side

#: Kraken gives so many rows at a time.
PAGE_ROWS = 50
#: Kraken's clock may be ahead of ours by so much: what it says happened then is in a list that is asked for now.
AHEAD_S = 60
_OPEN = frozenset({OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED})
_KINDS = {
    "deposit": TransferKind.DEPOSIT,
    "withdrawal": TransferKind.WITHDRAWAL,
    "staking": TransferKind.REWARD,
    "reward": TransferKind.REWARD,
    "dividend": TransferKind.REWARD,
    "margin": TransferKind.FEE,
    "rollover": TransferKind.FEE,
}
_GRAIN = Decimal(1).scaleb(-10)

Raw = Mapping[str, Any]
#: Asks one private endpoint of Kraken. Raises CallFailed.
Ask = Callable[[str, Mapping[str, str]], Raw]


def open_orders(ask: Ask, book: PairBook) -> tuple[ListedOrder, ...]:
    """Return every open order. Raises CallFailed unless the list is surely whole; Kraken gives it in one piece."""
    answer = ask("post_openorders", {})
    listed = entries(answer, "open")
    if answer.get("count") is not None and _count(answer) > len(listed):
        raise unsound("a part of the open orders")
    found = tuple(_order(id_, raw, book) for id_, raw in listed.items())
    if not all(one.status in _OPEN for one in found):
        raise unsound("an open state of every open order")
    return found


def ended_orders(ask: Ask, book: PairBook, stretch: Stretch, may_ask: MayAsk) -> Part[ListedOrder]:
    """Return orders that ended in this stretch. Raises CallFailed unless they are surely all up to where the part ends."""
    read = _read(ask, "post_closedorders", "closed", {"closetime": "close"}, stretch, may_ask)
    found = [_order(id_, raw, book) for id_, raw in read.rows.items()]
    ends = [one.ended_at for one in found if one.ended_at is not None]
    if len(ends) != len(found):
        raise unsound("the end of every closed order")
    fresh = tuple(one for one in found if one.ended_at is not None and one.ended_at > stretch.since)
    return Part(fresh, read.place, max(ends, default=None), is_last=read.is_last)


def fills(ask: Ask, book: PairBook, stretch: Stretch, may_ask: MayAsk) -> Part[ListedFill]:
    """Return executions of this stretch, oldest first. Raises CallFailed unless they are surely all up to where the part ends.

    Trades on margin are left out: they move no holdings by themselves; what they cost and settle is among the transfers.
    """
    read = _read(ask, "post_tradeshistory", "trades", {}, stretch, may_ask)
    found = [_fill(id_, raw, book) for id_, raw in read.rows.items() if not number({"margin": 0, **raw}, "margin")]
    found = [one for one in found if one.execution.filled_at > stretch.since]
    found.sort(key=lambda one: (one.execution.filled_at, one.execution.trade_id))
    return Part(tuple(found), read.place, read.upto("time"), is_last=read.is_last)


def transfers(ask: Ask, book: PairBook, stretch: Stretch, may_ask: MayAsk) -> Part[Transfer]:
    """Return movements of this stretch that are no trade, oldest first. Raises CallFailed as the other lists do.

    Every row of Kraken's ledger counts that is not one of a trade, also of a kind that is not known here, so that trades and
    transfers together are all that ever moves a balance. Rows of balances that cannot be traded (``XBT.F``) are left out: what
    goes there leaves by a row of its own.
    """
    read = _read(ask, "post_ledgers", "ledger", {}, stretch, may_ask)
    found = [_transfer(id_, raw, book) for id_, raw in read.rows.items() if _moves_without_trade(raw)]
    found = [one for one in found if one.quantity and one.happened_at > stretch.since]
    found.sort(key=lambda one: (one.happened_at, one.reference))
    return Part(tuple(found), read.place, read.upto("time"), is_last=read.is_last)


@dataclass(frozen=True, slots=True)
class _Read:
    """Rows of a list as Kraken gave them, and how the reading goes on."""

    rows: dict[str, Raw]
    place: str
    is_last: bool = False

    def upto(self, key: str) -> datetime | None:
        """Return when the last of these rows happened."""
        return max((moment(raw, key) for raw in self.rows.values()), default=None)


def _read(ask: Ask, method: str, key: str, asked: Mapping[str, str], stretch: Stretch, may_ask: MayAsk) -> _Read:
    """Return the rows that come next, the oldest first, a few pages of them. Raises CallFailed.

    ``count`` is how many rows Kraken counts, ``done`` how many of the oldest are read. What Kraken lists late raises the count:
    where it stands among those that were read, the next reading finds it in the overlap, and here a row is only read twice.
    """
    count, done = _place(stretch.place)
    window = {"start": _before(stretch.since), "end": str(int(stretch.until.timestamp()) + AHEAD_S), **asked}
    found: dict[str, Raw] = {}
    first = done
    for number_ in range(PART_PAGES):
        if not may_ask(begins=not number_ and not stretch.place):
            break
        offset = max(0, (count or 0) - done - PAGE_ROWS)
        answer = ask(method, {**window, "ofs": str(offset)})
        page, counted = entries(answer, key), _count(answer)
        if counted != count:
            if found:
                # What was read under the other count stands; the next part begins with this one.
                break
            done = done if count is not None and counted > count else 0
            count = counted
            if offset != max(0, count - done - PAGE_ROWS):
                continue
        if len(page) < min(PAGE_ROWS, count - offset):
            raise unsound(f"a part of a list of {count} rows")
        first = first if found else min(count - offset - len(page), done)
        found |= page
        if len(found) < count - offset - first:
            raise unsound(f"a part of a list of {count} rows")
        if not offset:
            return _Read(found, "", is_last=True)
        done = count - offset
    return _Read(found, stretch.place if count is None else f"{count}:{done}")


def _place(place: str) -> tuple[int | None, int]:
    """Return how many rows are counted and how many of the oldest are read; a list that was not begun has no count."""
    count, _, done = place.partition(":")
    return (int(count), int(done)) if count.isdigit() and done.isdigit() else (None, 0)


def _count(answer: Raw) -> int:
    """Return how many rows Kraken counts; it is needed to know that a list is whole."""
    return int(number(answer, "count"))


def _before(since: datetime) -> str:
    """Return a start for Kraken, which leaves out what happened in that very second."""
    return str(int(since.timestamp()) - 1)


def _order(id_: str, raw: Raw, book: PairBook) -> ListedOrder:
    descr = mapping(raw, "descr")
    kind, client_id = descr.get("ordertype"), raw.get("cl_ord_id")
    if not isinstance(kind, str) or not kind or not isinstance(client_id, str | None):
        raise unsound(f"the type or the client order id of order {id_}")
    ended_at = moment(raw, "closetm") if raw.get("closetm") not in (None, "", 0, "0") else None
    limit_price = _limit_price(kind, descr)
    quantity, filled = _quantities(raw, descr, limit_price, is_over=ended_at is not None)
    return ListedOrder(
        venue_order_id=id_,
        client_order_id=client_id or "",
        symbol=_symbol(descr.get("pair"), book)[0],
        side=_side(descr),
        type=kind,
        quantity=quantity,
        filled_quantity=filled,
        limit_price=limit_price,
        status=ordered_status(id_, raw, quantity=quantity, filled=filled),
        opened_at=moment(raw, "opentm"),
        ended_at=ended_at,
        reason=str(raw.get("reason") or ""),
    )


def _limit_price(kind: str, descr: Raw) -> Decimal | None:
    """Return an order's limit. Triggers (``stop-loss``) and prices relative to the market (``+1.0%``) are none."""
    if kind == "limit":
        price = number(descr, "price")
        if not price:
            raise unsound("the price of a limit order")
        return price
    name = "price2" if kind.endswith("-limit") else "price"
    if kind != "iceberg" and not kind.endswith("-limit"):
        return None
    text = str(descr.get(name, ""))
    return number(descr, name) or None if text.replace(".", "", 1).isdigit() else None


def _quantities(raw: Raw, descr: Raw, limit_price: Decimal | None, *, is_over: bool) -> tuple[Decimal, Decimal]:
    """Return an order's quantity and what of it was filled, in base units.

    Others may order by value (``viqc``): then Kraken gives both in the quote currency, and the average price, the limit or
    the trigger turns them into units, cut at Kraken's smallest. What ended without a trade never had any units.
    """
    quantity, filled = number(raw, "vol"), number(raw, "vol_exec")
    if "viqc" not in str(raw.get("oflags") or "").split(","):
        return quantity, filled
    price = number({"price": 0, **raw}, "price") or limit_price or _plain(descr.get("price"))
    if not price:
        if is_over and not filled:
            return Decimal(0), Decimal(0)
        raise unsound("the price of an order by value")
    with localcontext(EXACT):
        return (quantity / price).quantize(_GRAIN), (filled / price).quantize(_GRAIN)


def _plain(text: Any) -> Decimal | None:
    return number({"price": text}, "price") if str(text).replace(".", "", 1).isdigit() else None


def _fill(id_: str, raw: Raw, book: PairBook) -> ListedFill:
    order_id = raw.get("ordertxid")
    if not isinstance(order_id, str) or not order_id:
        raise unsound(f"the order of trade {id_}")
    symbol, base, quote = _symbol(raw.get("pair"), book)
    if not base:
        raise unsound(f"the symbol of trade {id_}, which is not in Kraken's list of symbols ({symbol}),")
    done: Execution = execution(id_, raw)
    return ListedFill(order_id, symbol, base, quote, _side(raw), done)


def _side(raw: Raw) -> Side:
    try:
        return Side(str(raw.get("type")))
    except ValueError:
        raise unsound("the side") from None


def _symbol(name: Any, book: PairBook) -> tuple[str, str, str]:
    """Return symbol, base and quote of what Kraken calls ``name``; one that it no longer lists is cut at a quote it knows.

    Where that is not possible either, the symbol is Kraken's and the assets are blank.
    """
    if not isinstance(name, str) or not name:
        raise unsound("the symbol")
    pair = book.named(name)
    if pair is not None:
        base, quote = pair.symbol.split("/")
        return pair.symbol, base, quote
    for ending in sorted(_quotes(book.by_symbol.values()), key=len, reverse=True):
        base = name.removesuffix(ending).removesuffix("/")
        if name.endswith(ending) and base:
            quote = book.code(ending)
            return f"{book.code(base)}/{quote}", book.code(base), quote
    return name, "", ""


def _quotes(pairs: Iterable[Pair]) -> set[str]:
    return {name for pair in pairs for name in (pair.quote, pair.symbol.split("/")[1])}


def _moves_without_trade(raw: Raw) -> bool:
    kind, asset = raw.get("type"), raw.get("asset")
    if not isinstance(kind, str) or not isinstance(asset, str) or not kind or not asset:
        raise unsound("the kind or the asset of a movement")
    return kind != "trade" and is_tradeable(asset)


def _transfer(id_: str, raw: Raw, book: PairBook) -> Transfer:
    kind, subkind = str(raw["type"]), str(raw.get("subtype") or "")
    is_reward = kind == "earn" and subkind == "reward"
    # The fee is taken off the balance beside the amount.
    with localcontext(EXACT):
        quantity = number(raw, "amount", may_be_negative=True) - number({"fee": 0, **raw}, "fee", may_be_negative=True)
    return Transfer(
        reference=id_,
        kind=TransferKind.REWARD if is_reward else _KINDS.get(kind, TransferKind.OTHER),
        asset=book.code(str(raw["asset"])),
        quantity=quantity,
        happened_at=moment(raw, "time"),
    )
