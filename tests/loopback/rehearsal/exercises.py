"""What can be made to go wrong, in a sentence each: what it is, and what a good console does about it."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.loopback import faults
from tests.loopback.faults import ANY, FOR_EVER, Fault, Reply
from tests.loopback.kraken.keys import TRADING_RIGHTS
from tests.loopback.rehearsal.drift import Drift
from tests.loopback.rehearsal.venues import Venues, limit
from tests.loopback.server import LoopbackServer

SENDS = {"kraken": "AddOrder", "alpaca-live": "POST /v2/orders", "alpaca-paper": "POST /v2/orders"}
CANCELS = {
    "kraken": "CancelOrder",
    "alpaca-live": "DELETE /v2/orders/{id}",
    "alpaca-paper": "DELETE /v2/orders/{id}",
}
VENUES = tuple(SENDS)
INVISIBLE_S, SLOW_S, SLOW_COUNT = 30.0, 3.0, 20
OPEN_AGAIN = "Clear it, at the top, when you have seen enough."


@dataclass(frozen=True)
class Exercise:
    """One thing that goes wrong, at ``venues``. ``says`` is the sentence on the page."""

    id: str
    title: str
    says: str
    venues: tuple[str, ...]
    strike: Callable[[Venues, Drift, str], None]


def _order_fault(make: Callable[[str], Fault]) -> Callable[[Venues, Drift, str], None]:
    def strike(venues: Venues, drift: Drift, venue: str) -> None:
        venues.servers[venue].faults.add(make(SENDS[venue]))

    return strike


def _any_fault(fault: Fault) -> Callable[[Venues, Drift, str], None]:
    def strike(venues: Venues, drift: Drift, venue: str) -> None:
        venues.servers[venue].faults.add(fault)

    return strike


def _order_control(name: str, **params: object) -> Callable[[Venues, Drift, str], None]:
    return lambda venues, drift, venue: venues.servers[venue].control(name, dict(params))


def _too_many(venues: Venues, drift: Drift, venue: str) -> None:
    error = "EAPI:Rate limit exceeded" if venue == "kraken" else "429 42910000 rate limit exceeded"
    venues.servers[venue].faults.add(faults.venue_error(SENDS[venue], error))


def _late_cancel(venues: Venues, drift: Drift, venue: str) -> None:
    venues.servers[venue].faults.add(faults.answer_lost(CANCELS[venue], hang_s=30))


def _zero_quote(venues: Venues, drift: Drift, venue: str) -> None:
    zero = drift.symbols["AAPL"].tick * 0
    drift.put_still("AAPL", zero, zero)


def _market(is_open: bool) -> Callable[[Venues, Drift, str], None]:
    return lambda venues, drift, venue: venues.alpaca.data.control("set_open", {"is_open": is_open})


def _revoke(venues: Venues, drift: Drift, venue: str) -> None:
    set_revoked(venues, venue, is_revoked=True)


def set_revoked(venues: Venues, venue: str, *, is_revoked: bool) -> None:
    """Let a venue refuse its key, or take it again."""
    if venue == "kraken":
        venues.kraken_venue().key.is_revoked = is_revoked
    else:
        venues.account(venue).keys[0].is_revoked = is_revoked


STOCKS = ("alpaca-live", "alpaca-paper")
EXERCISES = (
    Exercise(
        "answer_lost", "Answer lost",
        "The venue takes the next order, and its answer never arrives. The order becomes UNKNOWN, is looked up, and is"
        " adopted: no second one is sent.",
        VENUES, _order_fault(lambda path: faults.answer_lost(path, hang_s=30)),
    ),
    Exercise(
        "request_lost", "Request lost",
        "The next order never reaches the venue, and nobody says so. The order becomes UNKNOWN; after about a minute of empty"
        " look-ups it is NOT SENT, and the bot goes on.",
        VENUES, _order_fault(lambda path: faults.request_lost(path, hang_s=30)),
    ),
    Exercise(
        "reset", "Line breaks in the middle of the answer",
        "The venue takes the next order, and the connection breaks while it answers. UNKNOWN, then adopted.",
        VENUES, _order_fault(faults.reset),
    ),
    Exercise(
        "html", "A page instead of an answer",
        "The next order is taken, and a web page comes back as if all were well. UNKNOWN, then adopted: a page is no answer.",
        VENUES, _order_fault(faults.page),
    ),
    Exercise(
        "server_error", "Server error after the order was taken",
        "The next order is taken, and the venue answers with error 502. UNKNOWN, then adopted: an error is no refusal.",
        VENUES, _order_fault(lambda path: faults.http_status(path, 502)),
    ),
    Exercise(
        "too_many", "Too many requests",
        "The venue refuses the next order for asking too often. The order is REJECTED, and not sent again; a later tick is a new"
        " decision.",
        VENUES, _too_many,
    ),
    Exercise(
        "invalid_nonce", "Invalid nonce",
        "The venue refuses the next order for its number, as it does when somebody else uses the same key. REJECTED.",
        ("kraken",), _order_fault(lambda path: faults.venue_error(path, "EAPI:Invalid nonce")),
    ),
    Exercise(
        "invisible", "Accepted, and not to be found",
        "The next order is taken, its answer is lost, and no list shows it for 30 seconds. It stays UNKNOWN until it is seen, and"
        " is adopted then.",
        VENUES,
        _order_fault(lambda path: Fault(path, Reply.HANG, hang_s=30, invisible_s=INVISIBLE_S)),
    ),
    Exercise(
        "late", "The order arrives late",
        "The next order is under way for 12 seconds. The console has given up waiting by then and calls it UNKNOWN; it is adopted"
        " when it arrives, or refused by its deadline.",
        VENUES, _order_fault(lambda path: faults.arrives_late(path, 12.0)),
    ),
    Exercise(
        "slow", "Slow venue",
        "Each of the next 20 answers takes 3 seconds. Ticks take longer; nothing is sent twice.",
        VENUES, _any_fault(Fault(ANY, count=SLOW_COUNT, delay_s=SLOW_S)),
    ),
    Exercise(
        "down", "Venue down",
        "Every request is answered with error 503 until you clear it. Entries stop, the bot's page says why, and the account's"
        f" figures grow old. {OPEN_AGAIN}",
        (*VENUES, "alpaca-data"), _any_fault(Fault(ANY, Reply.STATUS, FOR_EVER, status=503, is_carried_out=False)),
    ),
    Exercise(
        "cancel_lost", "Answer to a cancel lost",
        "The venue cancels the next order that it is asked to, and its answer is lost. The order's page shows that a cancel was"
        " asked for, until a look-up tells how it ended.",
        VENUES, _late_cancel,
    ),
    Exercise(
        "revoked", "Key revoked",
        f"The venue refuses the key from now on. Readiness is blocked within minutes, and no entry is sent. {OPEN_AGAIN}",
        VENUES, _revoke,
    ),
    Exercise(
        "withdraw", "Key that may withdraw",
        f"The key gets the right to withdraw money. Readiness blocks: such a key must never trade. {OPEN_AGAIN}",
        ("kraken",), _order_control("set_rights", rights=sorted(TRADING_RIGHTS | {"withdraw-funds"})),
    ),
    Exercise(
        "maintenance", "Maintenance",
        f"The venue is in maintenance and takes no order. {OPEN_AGAIN}",
        ("kraken",), _order_control("set_status", status="maintenance"),
    ),
    Exercise(
        "closed", "Market closed",
        "The stock market closes: orders of the day expire, entries wait, and the bot says so. Clear it, at the top, to open"
        " again.",
        STOCKS, _market(False),
    ),
    Exercise(
        "zero_quote", "A quote of zero",
        "AAPL's bid and ask become 0. Entries are denied for bad market data; nothing is made up. Put the price back above.",
        STOCKS, _zero_quote,
    ),
    Exercise(
        "blocked", "Account blocked",
        f"The account's trading is blocked by the venue. Its flag is shown, and entries are denied. {OPEN_AGAIN}",
        STOCKS, _order_control("set_account", trading_blocked=True),
    ),
    Exercise(
        "discord_gone", "Webhook deleted",
        f"Discord says that it knows no such webhook. Messages are kept, and the Safety page says so. {OPEN_AGAIN}",
        ("discord",), _order_control("set_gone", is_gone=True),
    ),
    Exercise(
        "discord_down", "Discord down",
        f"Discord answers with error 503. Messages are kept and sent later. {OPEN_AGAIN}",
        ("discord",), _any_fault(Fault(ANY, Reply.STATUS, FOR_EVER, status=503, is_carried_out=False)),
    ),
)  # fmt: skip
BY_ID = {one.id: one for one in EXERCISES}


def going_on(venues: Venues) -> list[str]:
    """Return what goes wrong now, or waits for a request to strike: a line each."""
    found = []
    for name, server in venues.servers.items():
        for fault in server.faults.waiting():
            times = "until it is cleared" if fault.count > SLOW_COUNT else f"{fault.count} more"
            what = f"takes {fault.delay_s:.0f} s" if fault.reply == Reply.NORMAL else fault.reply.value
            found.append(f"{name}: {'every request' if fault.path == ANY else fault.path}, {what}, {times}")
    kraken = venues.kraken_venue()
    if kraken.status != "online":
        found.append(f"kraken: {kraken.status}")
    if kraken.key.rights != TRADING_RIGHTS:
        found.append("kraken: the key's rights are not what they should be")
    revoked = {"kraken": kraken.key.is_revoked, **{name: venues.account(name).keys[0].is_revoked for name in STOCKS}}
    found += [f"{name}: the key is revoked" for name, is_revoked in revoked.items() if is_revoked]
    found += [f"{name}: the account is blocked" for name in STOCKS if venues.account(name).account_changes]
    hours = venues.account(STOCKS[0]).market.hours
    if not hours.is_open(hours.now()):
        found.append("alpaca: the market is closed")
    if venues.discord_venue().is_gone:
        found.append("discord: the webhook is gone")
    return found


def clear(venues: Venues) -> None:
    """End everything that goes wrong: a good day again. Prices and books stay as they are."""
    for server in venues.servers.values():
        server.faults.clear()
    for venue in VENUES:
        set_revoked(venues, venue, is_revoked=False)
    for venue in STOCKS:
        venues.account(venue).account_changes.clear()
    venues.kraken.control("set_rights", {"rights": sorted(TRADING_RIGHTS)})
    venues.kraken.control("set_status", {"status": "online"})
    venues.alpaca.data.control("set_open", {"is_open": None})
    venues.discord.control("set_gone", {"is_gone": False})
    set_depths(venues, None)
    limit(venues)


def set_depths(venues: Venues, depth: str | None) -> None:
    """Let takers find only so much in every book (None: all they like)."""
    kraken = venues.kraken_venue().market
    for one in kraken.instruments.values():
        venues.kraken.control("set_depth", {"pair": one.wsname, "depth": depth})
    data: LoopbackServer = venues.alpaca.data
    for symbol in venues.account("alpaca-live").market.assets:
        data.control("set_depth", {"symbol": symbol, "depth": depth})
