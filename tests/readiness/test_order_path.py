"""The last steps of readiness: the venue checks an order without placing it, and the dead-man switch."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from django.utils import timezone
from pytest_django import Settings

from bots import dead_man
from bots.models import Bot, DeadManSwitch, Order
from safety import facts
from safety.readiness_values import Finding, Severity, State
from tests.bots.live import live_bot, live_desk, live_intent, send
from tests.conftest import CommittedDatabase
from tests.loopback import faults
from tests.loopback.client import KrakenLoopback
from tests.loopback.faults import Fault
from tests.readiness.conftest import find
from tests.readiness.processes import beat_all

Ordered = Callable[[str], Fault]


@pytest.fixture(autouse=True)
def _running(committed_db: CommittedDatabase, kraken: KrakenLoopback) -> None:
    facts.forget()
    beat_all()


def checked() -> Finding:
    return find("venue_validate", "kraken")


class TestValidate:
    """Kraken's own check of an order."""

    @pytest.fixture(autouse=True)
    def _market(self, kraken: KrakenLoopback) -> None:
        kraken.set_price("99.9", "100.1")

    def test_passes_and_nothing_was_placed(self, kraken: KrakenLoopback) -> None:
        before = kraken.balances()
        finding = checked()
        assert (finding.state, finding.severity) == (State.OK, Severity.BLOCKER)
        assert "not placed" in finding.found
        (entry,) = kraken.log("AddOrder")
        assert (entry.fields["validate"], entry.fields["type"], entry.fields["ordertype"]) == ("true", "buy", "limit")
        # The least that Kraken's rules allow, at half of the price.
        assert Decimal(entry.fields["price"]) == Decimal("49.9")
        assert Decimal(entry.fields["volume"]) * Decimal("49.9") >= Decimal("0.5")
        assert (kraken.orders(), kraken.trades(), kraken.balances()) == ({}, {}, before)
        assert not Order.objects.exists()

    def test_looks_at_the_symbol_of_a_live_bot(self, kraken: KrakenLoopback) -> None:
        kraken.set_price("10", "10.01", symbol="ETH/USD")
        live_bot(symbol="ETH/USD", running=False)
        assert checked().state == State.OK
        assert kraken.log("AddOrder")[0].fields["pair"] == "XETHZUSD"

    def test_refusal_blocks_and_says_why(self, kraken: KrakenLoopback) -> None:
        kraken.set_pair_status("cancel_only")
        finding = checked()
        assert (finding.state, finding.blocks) == (State.FAILED, True)
        assert "cancel" in finding.found
        assert kraken.orders() == {}

    @pytest.mark.parametrize(
        "fault", [faults.page, faults.half, lambda path: faults.http_status(path, 502), faults.reset]
    )
    def test_without_a_sound_answer_it_is_not_known_and_blocks(self, kraken: KrakenLoopback, fault: Ordered) -> None:
        kraken.fault(fault("AddOrder"))
        finding = checked()
        assert (finding.state, finding.blocks) == (State.NOT_KNOWN, True)
        assert kraken.orders() == {}

    def test_account_without_cash_is_not_asked_about(self, kraken: KrakenLoopback) -> None:
        kraken.set_balance("ZUSD", "0.9")
        assert checked().state == State.NOT_USED
        assert kraken.log("AddOrder") == []

    def test_what_other_checks_tell_is_not_told_again(self, kraken: KrakenLoopback) -> None:
        kraken.set_rights("query-funds")
        assert checked().state == State.NOT_USED
        kraken.set_status("maintenance")
        assert checked().state == State.NOT_USED
        kraken.revoke_key()
        assert checked().state == State.NOT_USED
        assert kraken.log("AddOrder") == []

    def test_alpaca_has_no_such_check(self, kraken: KrakenLoopback) -> None:
        assert find("venue_validate", "alpaca").state == State.NOT_USED


class TestDeadMan:
    """The warning of a switch that is off while orders rest."""

    def warned(self) -> Finding:
        return find("dead_man_switch", "kraken")

    @pytest.fixture
    def _rests(self, kraken: KrakenLoopback, settings: Settings) -> None:
        send(live_intent(live_desk(kraken, settings), limit="90"))

    def test_nothing_rests(self, kraken: KrakenLoopback) -> None:
        assert self.warned().state == State.NOT_USED

    @pytest.mark.usefixtures("_rests")
    def test_off_while_orders_rest_is_a_warning_and_blocks_nothing(self) -> None:
        finding = self.warned()
        assert (finding.state, finding.severity, finding.blocks) == (State.FAILED, Severity.WARNING, False)
        assert "Switch it on" in finding.remedy

    @pytest.mark.usefixtures("_rests")
    def test_wanted_but_not_wound_up_is_told(self) -> None:
        dead_man.set_wanted("kraken", True, actor="test", reason="test")
        finding = self.warned()
        assert finding.warns
        assert "slow cluster" in finding.remedy

    @pytest.mark.usefixtures("_rests")
    def test_wound_up_is_fine_until_it_fails(self, kraken: KrakenLoopback) -> None:
        dead_man.set_wanted("kraken", True, actor="test", reason="test")
        dead_man.keep_wound_up(timezone.now())
        assert self.warned().state == State.OK
        kraken.fault(faults.page("CancelAllOrdersAfter"))
        dead_man.keep_wound_up(timezone.now() + dead_man.REFRESH_EVERY)
        assert "could not be refreshed" in self.warned().found

    def test_row_that_is_gone_is_told(self, kraken: KrakenLoopback) -> None:
        DeadManSwitch.objects.all().delete()
        assert self.warned().state == State.NOT_KNOWN

    def test_alpaca_has_none(self, kraken: KrakenLoopback) -> None:
        assert find("dead_man_switch", "alpaca").state == State.NOT_USED
        assert not Bot.objects.exists()
