"""What Alpaca lists of an account, whole or not at all: its orders, its fills, and what moved without a trade."""

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from bots.brokers.alpaca_client import unsound
from bots.brokers.alpaca_orders import DOLLAR, Raw, figure, moment, rows, stamp, text
from bots.brokers.base import Transfer, TransferKind
from bots.brokers.outcomes import CallFailed, Failure, Kind
from bots.brokers.parts import PART_PAGES, MayAsk, Part, Stretch

#: The most that Alpaca gives in one answer, and how many answers are asked for before a list counts as not whole.
ORDERS_PAGE, ACTIVITIES_PAGE = 500, 100
PAGES_MAX = 20
#: Alpaca lists orders by when they were made, not by when they ended. One for the day that was made after the close before a
#: long weekend ends within this time; others' that rest for longer are seen among the open ones, and their fills among the fills.
RESTS_AT_MOST = timedelta(days=6)
#: What is asked again at the seam of two pages: Alpaca leaves out what happened at the very moment that is named.
SEAM = timedelta(milliseconds=1)
NEW_YORK = ZoneInfo("America/New_York")

#: Activities that move shares; in all others a quantity only says what money was paid for.
MOVES_SHARES = frozenset({
    "ACATS", "EXTRD", "JNLS", "MA", "NC", "OPASN", "OPEXC", "OPXRC", "REORG", "SC", "SPIN", "SPLIT", "SSO", "SSP", "VOF",
})  # fmt: skip
#: What moved money in and out of the account; the sign says which.
MOVES_CASH = frozenset({"ACATC", "CSD", "CSW", "JNLC", "TRANS", "WIRE"})
#: What an issuer does to its shares, and what is paid for them: cash in lieu of a part of a share, or the price in a merger.
SHARE_CHANGES = frozenset({"CIL", "MA", "NC", "REORG", "SC", "SPIN", "SPLIT", "SSO", "SSP", "VOF"})
FEES = frozenset({"CFEE", "FEE", "PTC", "PTR"})
REWARDS = ("DIV", "INT", "CGD")


class Ask(Protocol):
    """The broker's one way to ask."""

    def __call__(self, method: str, path: str, *, params: Mapping[str, str]) -> Any:
        """Send one request and return its answer. Raises CallFailed."""
        ...


def orders(ask: Ask, status: str, after: datetime | None = None) -> list[Raw]:
    """Return the account's orders, ``status`` being open, closed or all, made after ``after``; the oldest first.

    Raises CallFailed unless the list is surely whole.
    """
    found: dict[str, Raw] = {}
    for _ in range(PAGES_MAX):
        page = _orders_page(ask, status, after)
        is_news = not page.keys() <= found.keys()
        found |= page
        if len(page) < ORDERS_PAGE:
            return list(found.values())
        if not is_news:
            break
        after = _seam(page)
    raise _too_long("orders")


def ended_orders(ask: Ask, stretch: Stretch, may_ask: MayAsk) -> Part[Raw]:
    """Return orders that are over, a few pages of those that come next; the oldest first, by when they were made.

    Raises CallFailed.
    """
    found: dict[str, Raw] = {}
    place = stretch.place
    for number in range(PART_PAGES):
        if not may_ask(begins=not number and not stretch.place):
            break
        page = _orders_page(ask, "closed", _made_after(place, stretch))
        found |= page
        if len(page) < ORDERS_PAGE:
            return Part(tuple(found.values()), "", _last_made(found), is_last=True)
        before, place = place, _seam(page).isoformat()
        if place == before:
            # A whole page that was made at one moment: what is behind it can't be asked for.
            raise _too_long("orders")
    return Part(tuple(found.values()), place, _last_made(found))


def activities(
    ask: Ask, after: datetime, *, fills: bool, is_enough: Callable[[Collection[Raw]], bool] = lambda _: False
) -> list[Raw]:
    """Return the account's fills, or all of its other activities, after ``after``, oldest first.

    Reading ends early once ``is_enough`` says so of what was found. Raises CallFailed unless the list is surely whole.
    """
    found: dict[str, Raw] = {}
    token = ""
    for _ in range(PAGES_MAX):
        page = _activities_page(ask, after, token, fills=fills)
        is_news = not page.keys() <= found.keys()
        found |= page
        if len(page) < ACTIVITIES_PAGE or is_enough(found.values()):
            return list(found.values())
        if not is_news:
            break
        token = list(page)[-1]
    raise _too_long("fills or activities")


def activities_part(ask: Ask, after: datetime, stretch: Stretch, may_ask: MayAsk, *, fills: bool) -> Part[Raw]:
    """Return fills, or other activities, a few pages of those that come next after ``after``, oldest first. Raises CallFailed."""
    found: dict[str, Raw] = {}
    place = stretch.place
    for number in range(PART_PAGES):
        if not may_ask(begins=not number and not stretch.place):
            break
        page = _activities_page(ask, after, place, fills=fills)
        if place in page:
            raise unsound("another page")
        found |= page
        if len(page) < ACTIVITIES_PAGE:
            return Part(tuple(found.values()), "", _last_day(found), is_last=True)
        place = list(page)[-1]
    return Part(tuple(found.values()), place, _last_day(found))


def _orders_page(ask: Ask, status: str, after: datetime | None) -> dict[str, Raw]:
    asked = {"status": status, "limit": str(ORDERS_PAGE), "direction": "asc", "nested": "false"}
    page = rows(ask("GET", "/orders", params=asked | ({} if after is None else {"after": stamp(after)})), "orders")
    return {text(one, "id"): one for one in page}


def _activities_page(ask: Ask, after: datetime, token: str, *, fills: bool) -> dict[str, Raw]:
    """Return the page after the row that ``token`` names, by id and in Alpaca's order."""
    asked = {"after": stamp(after), "direction": "asc", "page_size": str(ACTIVITIES_PAGE)}
    asked |= {} if fills else {"category": "non_trade_activity"}
    asked |= {"page_token": token} if token else {}
    page = rows(ask("GET", "/account/activities/FILL" if fills else "/account/activities", params=asked), "activities")
    return {text(one, "id"): one for one in page}


def _seam(page: Mapping[str, Raw]) -> datetime:
    """Return from when on the next page of orders is asked for."""
    return max(moment(one, "submitted_at") for one in page.values()) - SEAM


def _made_after(place: str, stretch: Stretch) -> datetime:
    try:
        return datetime.fromisoformat(place)
    except ValueError:
        return stretch.since - RESTS_AT_MOST


def _last_made(found: Mapping[str, Raw]) -> datetime | None:
    return max((moment(one, "submitted_at") for one in found.values()), default=None)


def _last_day(found: Mapping[str, Raw]) -> datetime | None:
    return max((day(one) for one in found.values()), default=None)


def _too_long(what: str) -> CallFailed:
    return CallFailed(Failure(Kind.UNKNOWN, f"Alpaca has more {what} than were looked through"))


def transfers(raw: Raw) -> list[Transfer]:
    """Return what an activity that is no trade moved: money, shares, both or nothing. Raises CallFailed."""
    kind, reference = text(raw, "activity_type"), text(raw, "id")
    if kind == "FILL":
        return []
    happened_at = day(raw)
    cash = Decimal(0) if raw.get("net_amount") is None else figure(raw, "net_amount", may_be_negative=True)
    moved = []
    if cash:
        moved.append(Transfer(reference, kind_of(kind, cash), DOLLAR, cash, happened_at, _named(kind)))
    if kind in MOVES_SHARES and raw.get("qty") is not None and raw.get("symbol"):
        quantity = figure(raw, "qty", may_be_negative=True)
        symbol = text(raw, "symbol")
        if quantity:
            shares = kind_of(kind, quantity)
            moved.append(Transfer(f"{reference}:{symbol}", shares, symbol, quantity, happened_at, _named(kind)))
    return moved


def _named(activity_type: str) -> str:
    return activity_type if activity_type in SHARE_CHANGES else ""


def kind_of(activity_type: str, amount: Decimal) -> TransferKind:
    """Return what kind of movement an activity is. One of a type that is not known here is OTHER, and still counts."""
    if activity_type in MOVES_CASH or activity_type in {"ACATS", "JNLS"}:
        return TransferKind.DEPOSIT if amount > 0 else TransferKind.WITHDRAWAL
    if activity_type in FEES:
        return TransferKind.FEE
    if activity_type in SHARE_CHANGES:
        return TransferKind.SHARE_CHANGE
    return TransferKind.REWARD if activity_type.startswith(REWARDS) else TransferKind.OTHER


def day(raw: Raw) -> datetime:
    """Return when an activity happened: for most, Alpaca names only a day, which begins at midnight in New York."""
    if raw.get("transaction_time") is not None:
        return moment(raw, "transaction_time")
    try:
        found = datetime.strptime(text(raw, "date"), "%Y-%m-%d").date()  # noqa: DTZ007 (a day has no time zone)
    except ValueError:
        raise unsound("date") from None
    return datetime.combine(found, time(), NEW_YORK).astimezone(UTC)


def before_its_day(since: datetime) -> datetime:
    """Return from when activities have to be asked for that happened after ``since``, where Alpaca names only their day."""
    return datetime.combine(since.astimezone(NEW_YORK).date(), time(), NEW_YORK) - timedelta(days=1)
