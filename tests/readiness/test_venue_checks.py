"""Checks that ask Kraken or Alpaca, on loopback ones with faults; and when nothing is asked at all."""

import time
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from bots.brokers.base import AccountReport, KeyRights, VenueStatus
from bots.models import Bot
from bots.models.worker import WorkerKind
from bots.readiness_venues import Answers, ask
from safety import facts, readiness
from safety.intents import MarketStatus
from safety.readiness_values import VENUES, State
from tests.conftest import CommittedDatabase
from tests.loopback.client import AlpacaLoopback, KrakenLoopback
from tests.loopback.faults import FOR_EVER, Fault, Reply
from tests.loopback.kraken.keys import TRADING_RIGHTS
from tests.readiness.conftest import Environ, find
from tests.readiness.processes import beat, beat_all
from tradingops.environment_values import Gate

ASKING = ("venue_keys", "venue_rights", "venue_no_withdrawal", "venue_account", "venue_clock")


def live_bot(venue: str = "kraken", **changed: Any) -> Bot:
    shape = {
        "name": "live",
        "symbol": "BTC/USD",
        "strategy": "smart_dca",
        "capital_usd": Decimal(100),
        "dry_run": False,
    }
    return Bot.objects.create(venue=venue, **{**shape, **changed})


def states(venue: str = "kraken") -> dict[str, State]:
    """Return how each check that asks the venue came out, in one run."""
    checks = [one for one in readiness.load_checks() if one.id in ASKING]
    run = readiness.run("demand", checks=checks)
    return {one.id: one.state for one in readiness.findings_of(run) if one.id in ASKING and one.venue == venue}


@pytest.mark.django_db
class TestUse:
    def test_venue_without_keys_and_live_bots_is_not_used(self) -> None:
        beat_all()
        for venue in VENUES:
            assert set(states(venue).values()) == {State.NOT_USED}

    def test_paper_bot_and_archived_bot_do_not_use_it(self) -> None:
        beat_all()
        live_bot(dry_run=True)
        live_bot(name="old", status="archived")
        assert set(states().values()) == {State.NOT_USED}

    def test_live_bot_without_keys_blocks_its_venue_only(self) -> None:
        beat_all()
        live_bot()
        finding = find("venue_keys", "kraken")
        assert (finding.blocks, "KRAKEN_API_KEY" in finding.remedy) == (True, True)
        assert set(states("alpaca").values()) == {State.NOT_USED}

    def test_half_of_a_key_blocks(self, environ: Environ) -> None:
        environ(KRAKEN_API_KEY="k")
        beat_all()
        assert find("venue_keys", "kraken").blocks

    def test_alpaca_with_keys_is_not_asked_while_its_own_gate_is_shut(self, environ: Environ) -> None:
        environ(ALPACA_API_KEY_LIVE="k", ALPACA_API_SECRET_LIVE="s")
        beat_all()
        assert set(states("alpaca").values()) == {State.NOT_USED}

    def test_alpaca_that_is_meant_to_be_used_and_does_not_answer_blocks(self, environ: Environ) -> None:
        nobody = "http://127.0.0.1:9"
        environ(
            ALPACA_API_KEY_LIVE="k", ALPACA_API_SECRET_LIVE="s", LIVE_TRADING_ENABLED="1", ALPACA_BASE_URL_LIVE=nobody
        )
        beat_all()
        assert find("venue_keys", "alpaca").blocks
        assert not find("venue_keys", "kraken").blocks

    def test_nothing_known_of_the_keys_blocks(self) -> None:
        assert find("venue_keys", "kraken").blocks

    def test_venue_without_loopback_address_is_off_in_a_rehearsal(self, environ: Environ) -> None:
        environ(KRAKEN_API_KEY="k", KRAKEN_API_SECRET="s", ALPACA_DATA_URL="http://127.0.0.1:1")
        beat_all()
        assert set(states().values()) == {State.NOT_USED}


class TestAsking:
    @pytest.fixture(autouse=True)
    def _running(self, committed_db: CommittedDatabase, kraken: KrakenLoopback) -> None:
        facts.forget()
        beat_all()

    def test_sound_venue_passes(self) -> None:
        assert states() == dict.fromkeys(ASKING, State.OK)
        assert find("venue_maintenance", "kraken").state == State.OK

    def test_venue_is_asked_once_for_all_checks(self, kraken: KrakenLoopback) -> None:
        states()
        asked = [one.path for one in kraken.log()]
        assert [asked.count(path) for path in ("SystemStatus", "Time", "GetApiKeyInfo", "BalanceEx")] == [1, 1, 1, 1]

    def test_refused_key_blocks_and_is_not_shown(self, kraken: KrakenLoopback) -> None:
        kraken.revoke_key()
        finding = find("venue_keys", "kraken")
        assert (finding.state, finding.blocks) == (State.FAILED, True)
        assert kraken.key not in finding.found
        assert kraken.secret not in finding.found
        assert {one for id, one in states().items() if id != "venue_keys"} == {State.NOT_USED}

    @pytest.mark.parametrize("lacking", sorted(TRADING_RIGHTS))
    def test_each_needed_right(self, kraken: KrakenLoopback, lacking: str) -> None:
        kraken.set_rights(*(TRADING_RIGHTS - {lacking}))
        finding = find("venue_rights", "kraken")
        assert finding.state == State.FAILED
        assert find("venue_keys", "kraken").state == State.OK

    @pytest.mark.parametrize("right", ["withdraw-funds", "add-withdraw-address", "update-withdraw-address"])
    def test_right_to_withdraw_blocks(self, kraken: KrakenLoopback, right: str) -> None:
        kraken.set_rights(*TRADING_RIGHTS, right)
        assert find("venue_no_withdrawal", "kraken").blocks
        assert find("venue_rights", "kraken").state == State.OK

    def test_dead_venue_blocks_within_seconds(self, kraken: KrakenLoopback) -> None:
        kraken.fault(Fault(reply=Reply.HANG, count=FOR_EVER, hang_s=30))
        began_s = time.monotonic()
        found = states()
        assert time.monotonic() - began_s < 15
        assert found["venue_keys"] == State.NOT_KNOWN
        assert readiness.verdict("kraken").blockers

    def test_command_with_other_settings_does_not_answer_for_the_console(self, environ: Environ) -> None:
        environ(KRAKEN_API_KEY="another", KRAKEN_API_SECRET="another", MIN_NOTIONAL_USD="7")
        finding = find("venue_keys", "kraken")
        assert (finding.state, finding.blocks) == (State.NOT_KNOWN, True)

    def test_maintenance_is_a_warning(self, kraken: KrakenLoopback) -> None:
        kraken.set_status("maintenance")
        finding = find("venue_maintenance", "kraken")
        assert (finding.state, finding.blocks, finding.warns) == (State.FAILED, False, True)

    def test_allow_list(self, kraken: KrakenLoopback) -> None:
        assert find("venue_ip_allow_list", "kraken").state == State.FAILED
        kraken.set_rights("query-funds", "modify-trades", ip_allowlist=("203.0.113.7",))
        assert find("venue_ip_allow_list", "kraken").state == State.OK


class TestAskingAlpaca:
    @pytest.fixture(autouse=True)
    def _running(self, committed_db: CommittedDatabase, alpaca: AlpacaLoopback, settings: Settings) -> None:
        gate = Gate("LIVE_TRADING_ENABLED", True, "environment")
        settings.ENVIRONMENT = replace(settings.ENVIRONMENT, live_trading_enabled=gate)
        facts.forget()
        beat_all()

    def test_sound_venue_passes_and_withdrawal_is_not_known(self) -> None:
        expected = {**dict.fromkeys(ASKING, State.OK), "venue_no_withdrawal": State.NOT_USED}
        assert states("alpaca") == expected
        warning = find("venue_withdrawal_unknown", "alpaca")
        assert (warning.state, warning.warns, warning.blocks) == (State.NOT_KNOWN, True, False)

    def test_market_that_is_closed_is_no_maintenance(self, alpaca: AlpacaLoopback) -> None:
        alpaca.set_open(False)
        finding = find("venue_maintenance", "alpaca")
        assert (finding.state, "closed" in finding.found) == (State.OK, True)

    def test_refused_key_blocks_and_is_not_shown(self, alpaca: AlpacaLoopback) -> None:
        alpaca.live.revoke_keys()
        finding = find("venue_keys", "alpaca")
        assert (finding.state, finding.blocks) == (State.FAILED, True)
        assert alpaca.live.key not in finding.found
        assert alpaca.live.secret not in finding.found

    @pytest.mark.parametrize(
        "changes",
        [
            {"status": "ACCOUNT_CLOSED"},
            {"trading_blocked": True},
            {"account_blocked": True},
            {"trade_suspended_by_user": True},
            {"trading_blocked": None},
            {"account_number": "PA3LOOPBACK9"},
        ],
    )
    def test_flags_and_an_account_of_the_other_kind_block(
        self, alpaca: AlpacaLoopback, changes: dict[str, object]
    ) -> None:
        alpaca.live.set_account(**changes)
        finding = find("venue_account", "alpaca")
        assert (finding.state, finding.blocks) == (State.FAILED, True)
        assert "ALPACA_API_KEY_LIVE" in finding.remedy

    def test_clock_that_is_off_blocks(self, alpaca: AlpacaLoopback) -> None:
        alpaca.set_clock_skew(60)
        assert find("venue_clock", "alpaca").state == State.FAILED

    def test_venue_that_errs_blocks(self, alpaca: AlpacaLoopback) -> None:
        alpaca.live.fault(Fault(reply=Reply.STATUS, count=FOR_EVER, status=503))
        assert find("venue_keys", "alpaca").state == State.NOT_KNOWN


@pytest.mark.django_db
class TestAnswers:
    """What a check makes of an answer that the loopback venue does not give."""

    def judged(self, id: str, answers: Answers) -> State:
        beat_all()
        live_bot()
        return find(id, "kraken", _answers={(ask, "kraken"): answers}).state

    def answers(self, **changed: Any) -> Answers:
        status = VenueStatus("online", MarketStatus.OPEN, timezone.now(), Decimal(0), Decimal("0.5"))
        rights = KeyRights(is_known=True, created_at=changed.pop("created_at", None))
        account = AccountReport({}, {}, flags=changed.pop("flags", ()))
        return Answers(status=replace(status, **changed), rights=rights, account=account)

    @pytest.mark.parametrize(
        ("skew", "state"),
        [("2", State.OK), ("-2", State.OK), ("2.01", State.FAILED), ("-2.01", State.FAILED)],
    )
    def test_clock(self, skew: str, state: State) -> None:
        assert self.judged("venue_clock", self.answers(clock_skew_s=Decimal(skew))) == state

    def test_clock_of_a_venue_that_answers_too_slowly_is_not_known(self) -> None:
        assert self.judged("venue_clock", self.answers(uncertain_s=Decimal("2.01"))) == State.NOT_KNOWN

    def test_clock_of_another_host_counts(self) -> None:
        ahead = (timezone.now() + timedelta(seconds=3)).isoformat()
        beat(WorkerKind.RUNNER, host="there", clock=ahead)
        assert self.judged("venue_clock", self.answers()) == State.FAILED

    def test_flags_block(self) -> None:
        assert self.judged("venue_account", self.answers()) == State.OK
        Bot.objects.all().delete()
        assert self.judged("venue_account", self.answers(flags=("trading_blocked",))) == State.FAILED

    def test_account_that_cannot_be_read_is_not_known(self) -> None:
        answers = replace(self.answers(), account=None, account_trouble="no answer")
        assert self.judged("venue_account", answers) == State.NOT_KNOWN

    @pytest.mark.parametrize(("age", "state"), [(89, State.OK), (91, State.FAILED)])
    def test_age_of_the_key(self, age: int, state: State) -> None:
        created_at = timezone.now() - timedelta(days=age)
        assert self.judged("venue_key_age", self.answers(created_at=created_at)) == state
