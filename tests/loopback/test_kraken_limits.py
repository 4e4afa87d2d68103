"""The loopback Kraken's limits, its dead-man switch and its ledger, as ccxt as it comes meets them."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from bots.brokers.kraken_client import load_exchange_class
from tests.loopback.client import KrakenLoopback
from tests.loopback.kraken.dead_man import REASON
from tests.loopback.kraken.ledger import Refused
from tests.loopback.kraken.limits import Counter, Limits


def exchange_at(venue: KrakenLoopback) -> Any:
    """Return ccxt as it comes, pointed at the venue."""
    exchange = load_exchange_class()({"apiKey": venue.key, "secret": venue.secret, "enableRateLimit": False})
    exchange.urls["api"] = {"public": venue.url, "private": venue.url}
    return exchange


def _often(act: Callable[[], object]) -> None:
    for _ in range(200):
        act()


def test_without_a_tier_nothing_is_limited(kraken: KrakenLoopback) -> None:
    exchange = exchange_at(kraken)
    for _ in range(25):
        exchange.private_post_openorders()
    assert kraken.counter() == 0


def test_key_that_asks_too_much_is_refused_and_allowed_again_later(kraken: KrakenLoopback) -> None:
    exchange = exchange_at(kraken)
    kraken.set_tier("starter")
    exchange.private_post_ledgers()
    exchange.private_post_tradeshistory()
    exchange.private_post_openorders()
    assert 4 < kraken.counter() <= 5
    kraken.set_tier("starter", counter=14.9)
    for _ in range(2):
        with pytest.raises(Exception, match="EAPI:Rate limit exceeded"):
            exchange.private_post_tradeshistory()
    # Orders and cancels count at the engine, and public questions for nobody.
    exchange.create_order("BTC/USD", "market", "buy", 0.001)
    assert kraken.log("TradesHistory")[-1].outcome == "refused: EAPI:Rate limit exceeded"
    kraken.set_tier("pro", counter=15)
    exchange.private_post_openorders()


def test_counter_falls_at_the_pace_of_its_tier() -> None:
    counter = Counter()
    counter.fill(10)
    counter._at -= 3
    assert abs(counter.read(0.33) - 9.01) < 0.5
    counter._at -= 1000
    assert counter.read(0.33) == 0


def test_engine_limits_each_symbol_and_young_cancels_cost_most() -> None:
    limits = Limits()
    limits.set_tier("starter")
    for _ in range(6):
        limits.count_cancel("XXBTZUSD", 1)
    with pytest.raises(Refused, match="EOrder:Rate limit exceeded"):
        _often(lambda: limits.count_order("XXBTZUSD"))
    limits.count_order("XETHZUSD")
    limits.count_cancel("XXBTZUSD", 1)


def test_order_beyond_the_engines_limit_is_refused(kraken: KrakenLoopback) -> None:
    exchange = exchange_at(kraken)
    kraken.set_tier("starter")

    def place_and_cancel() -> None:
        order = exchange.create_order("BTC/USD", "limit", "buy", 0.001, 50_000)
        exchange.cancel_order(order["id"])

    # Each pair counts 9, of which the engine forgets 1 in a second.
    with pytest.raises(Exception, match="EOrder:Rate limit exceeded"):
        _often(place_and_cancel)


def test_dead_man_switch_takes_seconds_and_ccxts_own_call_switches_it_off(kraken: KrakenLoopback) -> None:
    exchange = exchange_at(kraken)
    exchange.private_post_cancelallordersafter({"timeout": "60"})
    left_s = kraken.dead_man_left_s()
    assert left_s is not None
    assert 30 < left_s <= 60
    # The trap: its milliseconds become whole seconds, of which there are none.
    exchange.cancel_all_orders_after(60)
    assert kraken.log("CancelAllOrdersAfter")[-1].fields == {"timeout": "0"}
    assert kraken.dead_man_left_s() is None
    for odd in ("-5", "1.5", "", "86401"):
        with pytest.raises(Exception, match="timeout"):
            exchange.private_post_cancelallordersafter({"timeout": odd})


def test_dead_man_switch_cancels_everybodys_orders_and_stays_off(kraken: KrakenLoopback) -> None:
    ids = [
        kraken.place("buy", "0.001", price="50000"),
        kraken.place("sell", "0.01", ordertype="stop-loss", price="50000"),
    ]
    exchange_at(kraken).private_post_cancelallordersafter({"timeout": "60"})
    assert {kraken.orders()[id_]["status"] for id_ in ids} == {"open"}
    kraken.hurry_dead_man()
    assert {(kraken.orders()[id_]["status"], kraken.orders()[id_]["reason"]) for id_ in ids} == {("canceled", REASON)}
    assert kraken.dead_man_left_s() is None
    later = kraken.place("buy", "0.001", price="50000")
    assert kraken.orders()[later]["status"] == "open"


def test_ledger_tells_every_change_of_a_balance(kraken: KrakenLoopback) -> None:
    exchange = exchange_at(kraken)
    before = {asset: Decimal(amount) for asset, amount in kraken.balances().items()}
    kraken.deposit("ZUSD", "100")
    kraken.withdraw("XXBT", "0.01", fee="0.0001")
    kraken.place("buy", "0.02")
    rows = exchange.private_post_ledgers()["result"]["ledger"].values()
    moved: dict[str, Decimal] = {}
    for row in rows:
        moved[row["asset"]] = moved.get(row["asset"], Decimal(0)) + Decimal(row["amount"]) - Decimal(row["fee"])
    after = {asset: Decimal(amount) for asset, amount in kraken.balances().items()}
    assert {asset: before[asset] + amount for asset, amount in moved.items()} == {
        asset: after[asset] for asset in ("ZUSD", "XXBT")
    }
    assert {entry["type"] for entry in exchange.fetch_ledger("USD")} == {"transaction", "trade"}
    with pytest.raises(ValueError, match="Insufficient"):
        kraken.withdraw("XXBT", "1000")


def test_stop_order_sleeps_until_a_test_wakes_it(kraken: KrakenLoopback) -> None:
    id_ = kraken.place("sell", "0.01", ordertype="stop-loss-limit", price="59000", price2="58900")
    kraken.set_price("50000", "50001")
    assert kraken.orders()[id_]["status"] == "open"
    kraken.fill(id_, "0.01")
    assert (kraken.orders()[id_]["status"], kraken.orders()[id_]["price"]) == ("closed", "58900.00000")
