"""Thousands of mangled answers, through the real clients: nothing is raised past the adapter, placed twice, or taken for flat.

A line between adapter and loopback venue mangles answers by a seed; the venue's own ledger is the witness. Run a seed again
with ``pytest tests/bots/brokers/test_fuzz.py -k 'kraken and seed7'``; ``FUZZ_SEED`` begins elsewhere. A failure names its case.
"""

import json
import os
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from bots.brokers.alpaca import AlpacaBroker
from bots.brokers.base import (
    AccountReport,
    Execution,
    ListedFill,
    ListedOrder,
    LookUp,
    OrderReport,
    Transfer,
    VenueBroker,
    VenueError,
)
from bots.brokers.kraken import KrakenBroker
from bots.market_data.alpaca import AlpacaFeed, Keys
from bots.market_data.base import CandleSeries, Feed, MarketDataError
from bots.market_data.kraken import KrakenFeed
from bots.market_data.market_hours import ROUND_THE_CLOCK
from bots.models import NonceKey, RateCounter
from bots.order_states import OrderStatus
from safety.intents import InstrumentRules, MarketStatus, OrderIntent
from tests.bots.brokers import alpaca_builders, kraken_builders
from tests.bots.brokers.builders import permit_of
from tests.bots.brokers.parts import rows_of
from tests.loopback.client import AlpacaLoopback, KrakenLoopback
from tests.loopback.mangled import MangledLine, Mangler, Plan

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(300)]

FIRST_SEED = int(os.environ.get("FUZZ_SEED", "1"))
#: For each venue, so many times the cases of one seed.
SEEDS = range(FIRST_SEED, FIRST_SEED + 7)
CASES = 150
#: Of each seed; together more than a thousand for each venue.
ANSWERS_MIN = 150
DEADLINE = timedelta(seconds=20)
#: What a submit may come to. NOT_SENT, DENIED and the like are not the broker's to say.
ENDS = {
    OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED, OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.EXPIRED,
    OrderStatus.REJECTED, OrderStatus.UNKNOWN,
}  # fmt: skip
FIGURE_MAX = Decimal(10) ** 60

Case = Callable[[], None]


class Found(AssertionError):
    """What a case found, with its name."""


def must(is_so: bool, what: str) -> None:
    if not is_so:
        raise Found(what)


def check_report(report: OrderReport) -> None:
    must(report.status in ENDS, f"a state of its own: {report.status}")
    must(bool(report.reason) or report.status not in {OrderStatus.UNKNOWN, OrderStatus.REJECTED}, "no reason")
    check_executions(report.executions)


def check_executions(executions: Iterable[Execution]) -> None:
    for one in executions:
        check_figures(one.quantity, one.price)
        must(one.quantity > 0 and one.price > 0, "an execution of nothing")
        must(one.fee.is_finite() and bool(one.trade_id), "an execution without a fee or an id")
        must(one.filled_at.tzinfo is not None, "a time without a zone")


def check_figures(*figures: Decimal) -> None:
    for one in figures:
        must(
            isinstance(one, Decimal) and one.is_finite() and abs(one) < FIGURE_MAX,
            f"a figure that is none: {one!r}"[:200],
        )


def check_account(report: AccountReport) -> None:
    """The ledger holds cash and shares or coins, so a report of nothing at all is a lie."""
    figures = [*report.cash_usd.values(), *report.holdings.values(), *report.on_hold.values()]
    check_figures(*figures)
    must(any(report.cash_usd.values()) or any(report.holdings.values()), "the account was taken for flat")


def check_order(one: ListedOrder) -> None:
    check_figures(one.quantity, one.filled_quantity, *([] if one.limit_price is None else [one.limit_price]))
    must(one.quantity >= 0 and one.filled_quantity >= 0, "a negative order")
    must(one.opened_at.tzinfo is not None and isinstance(one.client_order_id, str), "an order without a time or an id")


def check_fill(one: ListedFill) -> None:
    check_executions([one.execution])
    must(bool(one.base and one.quote and one.venue_order_id), "a fill without assets or order")


def check_transfer(one: Transfer) -> None:
    check_figures(one.quantity)
    must(bool(one.reference and one.asset), "a movement without a reference or an asset")


@dataclass
class Bench:
    """One venue under test: what makes a broker, an order and a feed, and what its ledger says."""

    name: str
    lines: list[MangledLine]
    broker: Callable[[], VenueBroker]
    order: Callable[..., OrderIntent]
    #: The orders of the ledger with one of our ids: their states, and how many sends of it came along.
    placed: Callable[[str], list[str]]
    is_send: Callable[[str, str], bool]
    #: Lets an order of ours rest at the venue, and returns its id there.
    rest: Callable[[OrderIntent], str]
    feed: Callable[[], Feed]
    symbol: str
    #: How many answers were mangled so far.
    mangled: int = 0

    def sends(self, order: OrderIntent) -> int:
        passed = [one for line in self.lines for one in line.passed if self.is_send(one.method, one.path)]
        return sum(order.client_order_id in one.sent and "validate=true" not in one.sent for one in passed)

    def plan(self, dice: random.Random, part: str = "") -> None:
        """Mangle the answers to come; by chance only those after the first few, so that it is not always the first that fails."""
        mangler, skip = Mangler(dice), dice.choice((0, 0, 0, 0, 1, 2))
        self.calm()
        for line in self.lines:
            line.begin(Plan(mangler, part, skip))

    def calm(self) -> None:
        """Count what was mangled, and hand everything on as it is."""
        for line in self.lines:
            self.mangled += sum(bool(one.kind) for one in line.passed)
            line.begin(Plan())

    def story(self) -> str:
        """Return what passed, for a failure's message."""
        passed = [one for line in self.lines for one in line.passed]
        return "\n".join(f"{one.method} {one.path} [{one.kind}] -> {one.answered[:300]!r}" for one in passed)


def fuzz_submit(bench: Bench, dice: random.Random) -> None:
    order = bench.order(dice)
    bench.plan(dice)
    report = bench.broker().submit(order, permit_of(order), timezone.now() + DEADLINE)
    check_report(report)
    places = bench.placed(order.client_order_id)
    must(bench.sends(order) <= 1, "it was sent twice")
    must(len(places) <= 1, "it was placed twice")
    stands = [state for state in places if state != "rejected"]
    must(not (report.status == OrderStatus.REJECTED and stands), f"called rejected, and it stands: {places}")
    if report.status == OrderStatus.UNKNOWN and dice.random() < 0.3:
        # The search for it afterwards, on a sound line, finds what there is.
        bench.calm()
        answer = bench.broker().look_up(order)
        must((answer.found is not None) == bool(places), f"placed {places}, found {answer}")


def resting(bench: Bench, dice: random.Random) -> tuple[OrderIntent, str]:
    """Return an order of ours that the venue has and that rests there."""
    order = bench.order(dice, resting=True)
    return order, bench.rest(order)


def fuzz_look_up(bench: Bench, dice: random.Random) -> None:
    order, order_id = resting(bench, dice)
    bench.plan(dice)
    answer: LookUp = bench.broker().look_up(order, dice.choice((order_id, "")))
    must(answer.found is None or answer.is_complete, "found, and not complete")
    if answer.found is not None:
        check_report(answer.found)
    told = [one for line in bench.lines for one in line.passed if order.client_order_id.encode() in one.answered]
    must(
        bool(answer.found or not answer.is_complete or not told), "the answer named our order, and it was called absent"
    )
    must(bench.sends(order) == 0, "a search that sends")


def fuzz_cancel(bench: Bench, dice: random.Random) -> None:
    order, order_id = resting(bench, dice)
    bench.plan(dice)
    report = bench.broker().cancel(order, dice.choice((order_id, "")), urgent=dice.random() < 0.3)
    check_report(report)
    (state,) = bench.placed(order.client_order_id)
    must(
        report.status not in {OrderStatus.CANCELED, OrderStatus.EXPIRED} or state == "canceled", f"called over: {state}"
    )
    must(bench.sends(order) == 0, "a cancel that sends")


def fuzz_account(bench: Bench, dice: random.Random) -> None:
    bench.plan(dice)
    try:
        check_account(bench.broker().account())
    except VenueError:
        return


def fuzz_rights(bench: Bench, dice: random.Random) -> None:
    bench.plan(dice)
    rights = bench.broker().key_rights()
    must(rights.is_known or not rights.can_trade, "may trade, and nothing is known")
    must(rights.is_known or bool(rights.reason), "not known, and no reason")


def fuzz_status(bench: Bench, dice: random.Random) -> None:
    bench.plan(dice)
    try:
        status = bench.broker().status()
    except VenueError:
        return
    check_figures(status.clock_skew_s, status.uncertain_s)
    must(isinstance(status.name, str) and status.server_time.tzinfo is not None, "a status that is none")


def fuzz_lists(bench: Bench, dice: random.Random) -> None:
    broker, since = bench.broker(), timezone.now() - timedelta(hours=2)
    reads: list[tuple[Callable[[], Iterable[Any]], Callable[[Any], None]]] = [
        (broker.open_orders, check_order),
        (lambda: rows_of(broker.ended_orders, since), check_order),
        (lambda: rows_of(broker.fills, since), check_fill),
        (lambda: rows_of(broker.transfers, since), check_transfer),
    ]
    read, check = dice.choice(reads)
    bench.plan(dice)
    try:
        found = tuple(read())
    except VenueError:
        return
    for one in found:
        check(one)


def fuzz_validate(bench: Bench, dice: random.Random) -> None:
    order = bench.order(dice, resting=True)
    bench.plan(dice)
    with suppress(VenueError):
        bench.broker().validate(order)
    must(bench.placed(order.client_order_id) == [], "the check placed it")


def fuzz_dead_man(bench: Bench, dice: random.Random) -> None:
    broker = bench.broker()
    if not isinstance(broker, KrakenBroker):
        fuzz_account(bench, dice)
        return
    timeout_s = dice.choice((0, 60))
    bench.plan(dice)
    try:
        left = broker.cancel_all_after(timeout_s)
    except VenueError:
        return
    must((left is None) == (timeout_s == 0), f"asked for {timeout_s}, and called {left}")


def fuzz_feed(bench: Bench, dice: random.Random) -> None:
    feed, now = bench.feed(), timezone.now()
    asks: list[Callable[[], None]] = [
        lambda: must(all(isinstance(one, str) for one in feed.symbols()), "a symbol that is none"),
        lambda: check_rules(feed.rules(bench.symbol)),
        lambda: must(isinstance(feed.market_status(bench.symbol, now), MarketStatus), "no status"),
        lambda: check_candles(feed.candles(bench.symbol, "1m", now, 50)),
        lambda: check_figures(feed.quote(bench.symbol, now).bid, feed.quote(bench.symbol, now).ask),
    ]
    dice.shuffle(asks)
    bench.plan(dice)
    for ask in asks[:3]:
        with suppress(MarketDataError):
            ask()


def check_rules(rules: InstrumentRules) -> None:
    check_figures(rules.tick_size, rules.lot_size, rules.quantity_min, rules.notional_min)
    must(rules.tick_size > 0 and rules.lot_size > 0, f"rules that are none: {rules}")


def check_candles(series: CandleSeries) -> None:
    for column in (series.open, series.high, series.low, series.close, series.volume):
        must(bool(np.isfinite(column).all()), "a candle that is none")


FUZZERS = (
    (fuzz_submit, 5), (fuzz_look_up, 3), (fuzz_cancel, 3), (fuzz_account, 3), (fuzz_rights, 1), (fuzz_status, 1), (fuzz_lists, 4),
    (fuzz_validate, 1), (fuzz_dead_man, 1), (fuzz_feed, 3),
)  # fmt: skip


def run(bench: Bench, seed: int) -> None:
    """Run the cases of one seed. Each has dice of its own, so that one can be run again alone."""
    for number in range(CASES):
        dice = random.Random(f"{bench.name} {seed} {number}")
        fuzzer = dice.choices([one for one, _ in FUZZERS], [weight for _, weight in FUZZERS])[0]
        # What one answer brought about (a key refused, a limit reached) must not keep the next one from being asked for.
        RateCounter.objects.all().delete()
        NonceKey.objects.all().delete()
        try:
            fuzzer(bench, dice)
        except Exception as error:
            name = f"{bench.name}, seed {seed}, case {number}, {fuzzer.__name__}"
            raise Found(f"{name}: {type(error).__name__}: {error}\n{bench.story()}") from error
    bench.calm()
    sys.stdout.write(f"{bench.name}, seed {seed}: {CASES} cases, {bench.mangled} answers mangled\n")
    must(bench.mangled >= ANSWERS_MIN, f"only {bench.mangled} answers were mangled")


@pytest.fixture
def at_kraken(kraken: KrakenLoopback, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A Kraken with a deep purse, and a line to it that mangles. Nobody else waits for the key's turn."""
    monkeypatch.setattr("bots.brokers.signer.COURTESY_MS", 0)
    kraken.set_balance("ZUSD", "10000000")
    kraken.deposit("ZUSD", "5")
    kraken.place("buy", "0.01")
    with MangledLine(kraken.url) as line:

        def order(dice: random.Random, *, resting: bool = False) -> OrderIntent:
            limit = "50000" if resting else dice.choice((None, "50000", "70000"))
            return kraken_builders.live_order(quantity="0.001", limit=limit)

        yield Bench(
            name="kraken",
            lines=[line],
            broker=lambda: KrakenBroker(line.url, kraken.key, kraken.secret),
            order=order,
            placed=lambda id_: [one["status"] for one in kraken.orders_with(id_)],
            is_send=lambda method, path: path.endswith("/AddOrder"),
            rest=lambda order: kraken.place("buy", "0.001", price="50000", cl_ord_id=order.client_order_id),
            feed=lambda: KrakenFeed(line.url),
            symbol="BTC/USD",
        )


@pytest.fixture
def at_alpaca(alpaca: AlpacaLoopback) -> Iterator[Bench]:
    """Alpaca's paper account with some shares, and lines to its two hosts that mangle."""
    account = alpaca.paper
    account.place("buy", "2")
    account.activity("CSD", "5")
    with MangledLine(account.url) as trading, MangledLine(alpaca.data.url) as data:
        keys = Keys(data.url, trading.url, account.key, account.secret)

        def order(dice: random.Random, *, resting: bool = False) -> OrderIntent:
            return alpaca_builders.stock_order(limit="100" if resting else dice.choice((None, "100", "300")))

        def rest(order: OrderIntent) -> str:
            fields = {"symbol": order.symbol, "side": "buy", "qty": "1", "time_in_force": "day", "type": "limit"}
            fields |= {"limit_price": "100", "client_order_id": order.client_order_id}
            return str(account.control("place", body=json.dumps(fields)))

        yield Bench(
            name="alpaca",
            lines=[trading, data],
            broker=lambda: AlpacaBroker(trading.url, account.key, account.secret, is_live=False),
            order=order,
            placed=lambda id_: [one["status"] for one in account.orders_with(id_)],
            is_send=lambda method, path: method == "POST" and path.startswith("/v2/orders"),
            rest=rest,
            feed=lambda: AlpacaFeed(keys, lambda now: ROUND_THE_CLOCK, Decimal(86_400)),
            symbol="AAPL",
        )


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"seed{seed}")
def test_mangled_answers_of_alpaca(at_alpaca: Bench, seed: int) -> None:
    run(at_alpaca, seed)


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"seed{seed}")
def test_mangled_answers_of_kraken(at_kraken: Bench, seed: int) -> None:
    run(at_kraken, seed)
