"""What the broker says of the account, the key and the venue; and when it keeps still."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.utils import timezone
from pytest_django import Settings

from bots.brokers.base import PermitError, VenueError
from bots.brokers.factory import BrokerUnavailable, broker_for
from bots.brokers.kraken import KrakenBroker
from bots.order_states import OrderStatus
from safety.intents import MarketStatus
from tests.bots.brokers.builders import permit_of
from tests.bots.brokers.kraken_builders import broker_at, live_order, send
from tests.loopback import faults
from tests.loopback.client import KrakenLoopback

pytestmark = pytest.mark.django_db


def test_account_holds_cash_by_currency_and_what_can_be_traded(kraken: KrakenLoopback) -> None:
    kraken.set_balance("XXDG", "12.5")
    kraken.set_balance("SOL", "0")
    report = broker_at(kraken).account()
    assert report.cash_usd == {"USD": Decimal(10_000), "USDT": Decimal(1_000)}
    assert report.holdings == {"BTC": Decimal("0.5"), "DOGE": Decimal("12.5")}
    assert (report.on_hold, report.flags) == ({}, ())


def test_account_says_what_open_orders_hold_back(kraken: KrakenLoopback) -> None:
    send(live_order(quantity="0.01", limit="50000"))
    assert broker_at(kraken).account().on_hold == {"USD": Decimal("502")}


@pytest.mark.parametrize(
    "fault",
    [
        faults.http_status("BalanceEx", 503),
        faults.request_lost("BalanceEx"),
        faults.venue_error("BalanceEx", "EAPI:Invalid nonce"),
    ],
)
def test_account_that_cannot_be_read_raises(kraken: KrakenLoopback, fault: faults.Fault) -> None:
    kraken.fault(fault)
    with pytest.raises(VenueError, match="The balances could not be read"):
        broker_at(kraken).account()


def test_empty_balances_are_not_an_empty_account(kraken: KrakenLoopback) -> None:
    kraken.control("clear_balances")
    with pytest.raises(VenueError, match="could not be read"):
        broker_at(kraken).account()


@pytest.mark.parametrize(
    ("rights", "can_trade", "can_withdraw"),
    [
        (("query-funds", "modify-trades"), True, False),
        (("query-funds",), False, False),
        (("modify-trades", "withdraw-funds"), True, True),
        (("modify-trades", "update-withdraw-address"), True, True),
        ((), False, False),
    ],
)
def test_key_rights(kraken: KrakenLoopback, rights: tuple[str, ...], can_trade: bool, can_withdraw: bool) -> None:
    kraken.set_rights(*rights, ip_allowlist=("192.0.2.7",))
    found = broker_at(kraken).key_rights()
    assert (found.names, found.can_trade, found.can_withdraw, found.is_known) == (
        frozenset(rights),
        can_trade,
        can_withdraw,
        True,
    )
    assert found.ip_allowlist == ("192.0.2.7",)
    assert found.created_at == datetime.fromtimestamp(1_770_000_000, UTC)


@pytest.mark.parametrize("fault", [faults.page("GetApiKeyInfo"), faults.http_status("GetApiKeyInfo", 500)])
def test_rights_that_cannot_be_read_are_not_known(kraken: KrakenLoopback, fault: faults.Fault) -> None:
    kraken.fault(fault)
    found = broker_at(kraken).key_rights()
    assert (found.is_known, found.is_refused, found.can_trade) == (False, False, False)
    assert found.reason


def test_revoked_key_is_refused_and_not_tried_again_at_once(kraken: KrakenLoopback) -> None:
    kraken.revoke_key()
    broker = broker_at(kraken)
    for _ in range(5):
        found = broker.key_rights()
        assert (found.is_known, found.is_refused) == (False, True)
    assert len(kraken.log("GetApiKeyInfo")) == 1


def test_key_without_the_right_to_trade_is_rejected(kraken: KrakenLoopback) -> None:
    kraken.set_rights("query-funds", "query-open-trades")
    report = send(live_order())
    assert report.status == OrderStatus.REJECTED
    assert "no right" in report.reason


def test_after_a_429_nothing_is_asked_for_a_while_but_urgent_cancels(kraken: KrakenLoopback) -> None:
    order = live_order(limit="59000")
    order_id = send(order).venue_order_id
    broker = broker_for("kraken", is_live=True)
    kraken.fault(faults.http_status("AddOrder", 429, is_carried_out=False))
    assert send(live_order()).status == OrderStatus.REJECTED
    after = kraken.last_id()
    second = send(live_order())
    assert second.status == OrderStatus.REJECTED
    assert "not asked again for a while" in second.reason
    assert not broker.look_up(order).is_complete
    assert kraken.log(after_id=after) == []
    assert broker.cancel(order, order_id, urgent=True).status == OrderStatus.CANCELED


@pytest.mark.parametrize(
    ("name", "market"),
    [
        ("online", MarketStatus.OPEN),
        ("cancel_only", MarketStatus.CANCEL_ONLY),
        ("post_only", MarketStatus.POST_ONLY),
        ("maintenance", MarketStatus.CLOSED),
    ],
)
def test_status_with_the_clocks_difference(kraken: KrakenLoopback, name: str, market: MarketStatus) -> None:
    kraken.set_status(name)
    found = broker_at(kraken).status()
    assert (found.name, found.market) == (name, market)
    assert abs(found.clock_skew_s) <= found.uncertain_s
    assert found.uncertain_s < 2


def test_status_that_cannot_be_read_raises(kraken: KrakenLoopback) -> None:
    kraken.fault(faults.half("Time"))
    with pytest.raises(VenueError, match="How Kraken works now"):
        broker_at(kraken).status()


@pytest.mark.parametrize("status", ["cancel_only", "post_only"])
def test_order_is_rejected_while_the_market_takes_none(kraken: KrakenLoopback, status: str) -> None:
    kraken.set_status(status)
    report = send(live_order())
    assert report.status == OrderStatus.REJECTED
    assert status in report.reason


def test_order_without_its_permit_is_not_sent(kraken: KrakenLoopback) -> None:
    order = live_order()
    broker = broker_at(kraken)
    deadline = timezone.now() + timedelta(seconds=4)
    for permit in (permit_of(order, quantity=Decimal("0.002")), permit_of(live_order())):
        with pytest.raises(PermitError):
            broker.submit(order, permit, deadline)
    assert kraken.log() == []


@pytest.mark.parametrize("changes", [{"is_live": False}, {"venue": "replay"}])
def test_order_that_is_no_live_one_of_kraken_is_not_sent(kraken: KrakenLoopback, changes: dict[str, object]) -> None:
    order = replace(live_order(), **changes)  # type: ignore[arg-type]
    with pytest.raises(PermitError, match="no live order of Kraken"):
        broker_at(kraken).submit(order, permit_of(order), timezone.now() + timedelta(seconds=4))
    assert kraken.log() == []


def test_unreachable_venue_is_a_rejection_that_sent_nothing(kraken: KrakenLoopback) -> None:
    broker = KrakenBroker("http://127.0.0.1:9", kraken.key, kraken.secret)
    order = live_order()
    report = broker.submit(order, permit_of(order), timezone.now() + timedelta(seconds=4))
    assert report.status == OrderStatus.REJECTED
    assert "nothing was sent" in report.reason
    assert not broker.look_up(order).is_complete


def test_factory_gives_one_broker_per_key(kraken: KrakenLoopback) -> None:
    assert broker_for("kraken", is_live=True) is broker_for("kraken", is_live=True)
    assert kraken.log() == []


@pytest.mark.parametrize("name", ["kraken_api_key", "kraken_api_secret"])
def test_factory_without_a_key_says_what_to_do(kraken: KrakenLoopback, settings: Settings, name: str) -> None:
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, **{name: None})
    with pytest.raises(BrokerUnavailable, match=r"KRAKEN_API_KEY and KRAKEN_API_SECRET: put both into \.env"):
        broker_for("kraken", is_live=True)


@pytest.mark.parametrize(
    ("venue", "is_live", "says"),
    [
        ("kraken", False, "no paper account"),
        ("alpaca", True, "LIVE_TRADING_ENABLED"),
        ("replay", True, "recorded data"),
        ("nyse", True, "no venue called"),
    ],
)
def test_factory_says_why_there_is_no_broker(kraken: KrakenLoopback, venue: str, is_live: bool, says: str) -> None:
    with pytest.raises(BrokerUnavailable, match=says):
        broker_for(venue, is_live=is_live)


def test_answer_that_trickles_in_is_given_up(kraken: KrakenLoopback) -> None:
    kraken.fault(faults.trickle("GetApiKeyInfo"))
    began = time.monotonic()
    assert not broker_at(kraken).key_rights().is_known
    assert time.monotonic() - began < 9
