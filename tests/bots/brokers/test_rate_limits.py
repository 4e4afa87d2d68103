"""Rate limits at the venues: loopbacks that count as the real ones do, and brokers that must never hear of it."""

import subprocess
import sys
import time
from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.db import connection
from django.utils import timezone

from bots.brokers import alpaca_budget, kraken_budget
from bots.brokers.base import OrderReport, VenueError
from bots.brokers.budget import Limit, Purpose, spending
from bots.brokers.factory import broker_for, forget_brokers
from bots.brokers.kraken import KrakenBroker
from bots.brokers.kraken_budget import CANCEL_COSTS, EngineCall, KrakenBudget, cancel_of
from bots.market_data.alpaca import AlpacaFeed, Keys
from bots.market_data.base import MarketDataError
from bots.market_data.market_hours import ROUND_THE_CLOCK
from bots.models import KrakenTier, RateCounter, VenueAccess
from bots.order_states import OrderStatus
from safety.intents import Denial, Side
from tests.bots.brokers import alpaca_builders as stocks
from tests.bots.brokers.builders import permit_of
from tests.bots.brokers.kraken_builders import SYMBOL, broker_at, live_order, send
from tests.clock import stay_within_the_hour
from tests.loopback import faults, limits
from tests.loopback.client import AAPL, AlpacaLoopback, KrakenLoopback

pytestmark = pytest.mark.django_db


def denied(report: OrderReport) -> Denial:
    """Return our own reason for an order that was not sent."""
    assert (report.status, report.was_sent) == (OrderStatus.REJECTED, False)
    assert report.denial is not None
    return report.denial


class TestKraken:
    """A Starter account, at the venue and here."""

    @pytest.fixture(autouse=True)
    def _real(self, kraken: KrakenLoopback, monkeypatch: pytest.MonkeyPatch) -> None:
        limits.restore(monkeypatch)
        broker_for("kraken", is_live=True).key_rights()
        kraken.set_tier("starter")
        RateCounter.objects.all().delete()

    def use_up(self, kraken: KrakenLoopback) -> int:
        """Ask in the background until we hold back; return how often that was."""
        brokers = [broker_at(kraken) for _ in range(2)]
        for count in range(60):
            try:
                brokers[count % 2].account()
            except VenueError as error:
                if "we hold back" not in str(error):
                    raise
                return count
        raise AssertionError("nothing was held back")

    def refused(self, kraken: KrakenLoopback) -> list[str]:
        return [entry.outcome for entry in kraken.log() if "Rate limit" in entry.outcome]

    def test_background_questions_of_all_workers_stop_at_their_share(self, kraken: KrakenLoopback) -> None:
        # What was spent is counted by the hour.
        stay_within_the_hour()
        began_s = time.monotonic()
        asked = self.use_up(kraken)
        # Their share of 15, and what fell off meanwhile.
        assert 9 <= asked <= 10 + 0.33 * (time.monotonic() - began_s)
        assert len(kraken.log("BalanceEx")) == asked
        assert kraken.counter() <= 10
        assert self.refused(kraken) == []
        counter = RateCounter.objects.get(account="kraken", scope="")
        assert (counter.spent_background, counter.spent_orders) == (asked, 0)
        assert counter.held_back == 1

    def test_order_its_look_up_and_its_cancel_go_through_where_the_background_may_not(
        self, kraken: KrakenLoopback
    ) -> None:
        order = live_order(limit="59000")
        self.use_up(kraken)
        report = send(order)
        assert report.status == OrderStatus.ACCEPTED
        broker = broker_at(kraken)
        assert broker.look_up(order, report.venue_order_id).found is not None
        assert broker.cancel(order, report.venue_order_id, urgent=True).status == OrderStatus.CANCELED
        assert self.refused(kraken) == []

    def test_cancel_leaves_even_when_everything_is_used_up(self, kraken: KrakenLoopback) -> None:
        order = live_order(limit="59000")
        order_id = send(order).venue_order_id
        RateCounter.objects.update(empty_at=timezone.now() + timedelta(seconds=45))
        report = broker_at(kraken).cancel(order, order_id)
        assert [one["status"] for one in kraken.orders_with(order.client_order_id)] == ["canceled"]
        # Where the order stands could not be asked any more: nobody says more than is known.
        assert report.status in {OrderStatus.UNKNOWN, OrderStatus.CANCELED}
        assert self.refused(kraken) == []

    def test_entry_without_room_at_the_engine_is_denied_here_and_an_exit_waits(self, kraken: KrakenLoopback) -> None:
        limit = kraken_budget.TIERS[KrakenTier.STARTER].engine
        RateCounter.objects.create(
            account="kraken", scope=SYMBOL, empty_at=timezone.now() + timedelta(seconds=58 * limit.ms_per_unit // 1000)
        )
        denial = denied(send(live_order()))
        assert denial.code == "RATE_LIMIT"
        assert "we hold back" in denial.message.lower()
        assert kraken.log("AddOrder") == []
        assert send(live_order(Side.SELL), within_s=10).status == OrderStatus.FILLED
        assert send(live_order(symbol="ETH/USD", quantity="0.02")).status == OrderStatus.FILLED

    def test_engines_refusal_holds_for_its_symbol_only(self, kraken: KrakenLoopback) -> None:
        kraken.fault(faults.venue_error("AddOrder", "EOrder:Rate limit exceeded"))
        report = send(live_order())
        assert (report.status, report.was_sent, report.denial) == (OrderStatus.REJECTED, True, None)
        assert denied(send(live_order())).code == "RATE_LIMIT"
        assert send(live_order(symbol="ETH/USD", quantity="0.02")).status == OrderStatus.FILLED
        assert len(kraken.log("AddOrder")) == 2

    def test_venues_refusal_fills_the_counter_for_every_worker(self, kraken: KrakenLoopback) -> None:
        kraken.fault(faults.venue_error("BalanceEx", "EAPI:Rate limit exceeded"))
        with pytest.raises(VenueError, match="fewer requests"):
            broker_at(kraken).account()
        other = broker_at(kraken)
        with pytest.raises(VenueError, match="we hold back"):
            other.account()
        assert len(kraken.log("BalanceEx")) == 1
        access = VenueAccess.objects.get(account="kraken")
        assert access.rate_refused_at is not None
        assert "Rate limit exceeded" in access.rate_refused_reason

    @pytest.mark.parametrize(
        "fault",
        [
            faults.http_status("AddOrder", 429, is_carried_out=False),
            faults.venue_error("AddOrder", "EAPI:Invalid nonce"),
        ],
        ids=["429", "nonce"],
    )
    def test_refused_order_is_rejected_and_a_later_one_is_a_new_intent(
        self, kraken: KrakenLoopback, fault: faults.Fault
    ) -> None:
        kraken.fault(fault)
        first = live_order()
        report = send(first)
        assert (report.status, report.was_sent) == (OrderStatus.REJECTED, True)
        assert kraken.orders_with(first.client_order_id) == []
        # A process that knows nothing of the refusal, once the counter has fallen.
        forget_brokers()
        RateCounter.objects.all().delete()
        assert send(live_order()).status == OrderStatus.FILLED
        assert len(kraken.orders()) == 1

    def test_process_that_was_refused_stands_back_and_asks_nothing(self, kraken: KrakenLoopback) -> None:
        kraken.fault(faults.http_status("AddOrder", 429, is_carried_out=False))
        send(live_order())
        before = kraken.last_id()
        assert denied(send(live_order())).code == "RATE_LIMIT"
        assert not broker_for("kraken", is_live=True).look_up(live_order()).is_complete
        assert kraken.log(after_id=before) == []


class TestKrakensTier:
    def test_smallest_is_assumed(self) -> None:
        VenueAccess.objects.all().delete()
        assert kraken_budget.tier_of("kraken") == kraken_budget.TIERS[KrakenTier.STARTER]

    @pytest.mark.parametrize("tier", list(KrakenTier))
    def test_one_that_a_person_chose_holds(self, tier: KrakenTier) -> None:
        VenueAccess.objects.filter(account="kraken").update(tier=tier)
        assert KrakenBudget("kraken").tier() == kraken_budget.TIERS[tier]

    def test_change_is_noticed_by_a_process_that_runs(self) -> None:
        budget = KrakenBudget("kraken")
        assert budget.tier().requests.size == 15
        VenueAccess.objects.filter(account="kraken").update(tier=KrakenTier.PRO)
        with time_machine.travel(timezone.now() + timedelta(seconds=kraken_budget.TIER_KEPT_S + 1), tick=True):
            assert budget.tier().requests == Limit(20, 1_000)

    def test_request_counts_what_kraken_says(self) -> None:
        def counted(method: str, engine: EngineCall | None = None) -> tuple[int, int]:
            RateCounter.objects.all().delete()
            assert KrakenBudget("kraken").take(method, Purpose.CANCELS, engine) == 0
            limit = kraken_budget.TIERS[KrakenTier.STARTER]
            stands = {one.scope: (one.empty_at - timezone.now()).total_seconds() for one in RateCounter.objects.all()}
            return round(stands.get("", 0) * 1000 / limit.requests.ms_per_unit), round(
                stands.get("BTC/USD", 0) * 1000 / limit.engine.ms_per_unit
            )

        assert counted("post_openorders") == (1, 0)
        assert counted("post_tradeshistory") == (2, 0)
        assert counted("post_ledgers") == (2, 0)
        assert counted("post_addorder", EngineCall("BTC/USD")) == (0, 1)
        assert counted("post_cancelorder", EngineCall("BTC/USD", 8, is_cancel=True)) == (0, 8)

    @pytest.mark.parametrize(
        ("age_s", "cost"), [(0, 8), (9, 8), (11, 6), (16, 5), (40, 4), (60, 2), (200, 1), (306, 0)]
    )
    def test_cancel_counts_less_the_older_its_order_is(self, age_s: int, cost: int) -> None:
        now = timezone.now()
        assert cancel_of("BTC/USD", now - timedelta(seconds=age_s), now).cost == cost
        assert CANCEL_COSTS[0] == (5, 8)


class TestNothingWasSent:
    """What never left is no "no" of the venue's, and says under which control it belongs."""

    def test_order_off_the_steps(self, kraken: KrakenLoopback) -> None:
        assert denied(send(live_order(quantity="0.0000000001"))).code == "INSTRUMENT_RULES"

    def test_order_without_a_turn(self, kraken: KrakenLoopback) -> None:
        assert denied(send(live_order(), within_s=0)).code == "INTENT_EXPIRED"

    def test_order_with_a_secret_that_cannot_sign(self, kraken: KrakenLoopback) -> None:
        broker = KrakenBroker(kraken.url, kraken.key, "no secret")
        order = live_order()
        report = broker.submit(order, permit_of(order), timezone.now() + timedelta(seconds=4))
        assert denied(report).code == "LIVE_GATE_CLOSED"
        assert VenueAccess.objects.get(account="kraken").key_refused_at is None

    def test_venue_that_was_not_reached(self, kraken: KrakenLoopback) -> None:
        broker, order = broker_at(kraken), live_order()
        assert broker.key_rights().is_known
        assert broker.look_up(order).is_complete
        broker._client.base_url = "http://127.0.0.1:9"
        broker._client._private = None
        report = broker.submit(order, permit_of(order), timezone.now() + timedelta(seconds=10))
        assert (report.status, report.was_sent, report.denial) == (OrderStatus.REJECTED, False, None)

    def test_budget_that_cannot_be_read(self, kraken: KrakenLoopback, monkeypatch: pytest.MonkeyPatch) -> None:
        broker = broker_for("kraken", is_live=True)
        assert broker.key_rights().is_known
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE rate_counters RENAME TO rate_counters_away")
        assert "could not say whether" in broker.key_rights().reason
        assert len(kraken.log("GetApiKeyInfo")) == 1


class TestWhatIsKept:
    def test_refused_numbers_in_a_row_are_counted(self, kraken: KrakenLoopback) -> None:
        kraken.fault(faults.venue_error("GetApiKeyInfo", "EAPI:Invalid nonce", count=3))
        broker = broker_at(kraken)
        for count in (1, 2, 3):
            assert not broker.key_rights().is_known
            access = VenueAccess.objects.get(account="kraken")
            assert access.nonce_refusals == count
        assert access.nonce_refused_since is not None
        assert access.nonce_refused_at is not None
        assert access.nonce_refused_since < access.nonce_refused_at
        VenueAccess.objects.update(nonce_refused_at=timezone.now() - timedelta(minutes=11))
        kraken.fault(faults.venue_error("GetApiKeyInfo", "EAPI:Invalid nonce"))
        broker.key_rights()
        assert VenueAccess.objects.get(account="kraken").nonce_refusals == 1

    def test_refused_key_is_kept_and_what_follows_is_not_asked(self, kraken: KrakenLoopback) -> None:
        kraken.revoke_key()
        broker = broker_at(kraken)
        assert broker.key_rights().is_refused
        assert broker.key_rights().is_refused
        assert len(kraken.log("GetApiKeyInfo")) == 1
        access = VenueAccess.objects.get(account="kraken")
        assert access.key_refused_at is not None
        assert "Invalid key" in access.key_refused_reason

    @pytest.mark.parametrize("error", ["EOrder:Insufficient funds", "EService:Busy", "EGeneral:Permission denied"])
    def test_other_refusals_say_nothing_of_the_key(self, kraken: KrakenLoopback, error: str) -> None:
        kraken.fault(faults.venue_error("GetApiKeyInfo", error))
        broker_at(kraken).key_rights()
        assert list(VenueAccess.objects.values_list("key_refused_at", "nonce_refused_at", "rate_refused_at")) == [
            (None, None, None)
        ]


class TestAlpaca:
    @pytest.fixture(autouse=True)
    def _nothing_left(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Begin without what the market data of other tests has asked."""
        monkeypatch.setattr(alpaca_budget, "_uncounted", {})

    def test_market_data_s_questions_to_the_trading_host_are_counted(self, alpaca: AlpacaLoopback) -> None:
        account = alpaca.paper
        keys = Keys(alpaca.data.url, account.url, account.key, account.secret, "alpaca-paper")
        feed = AlpacaFeed(keys, lambda now: ROUND_THE_CLOCK, Decimal(86_400))

        def is_known() -> bool:
            try:
                return bool(feed.rules(AAPL)) and bool(feed.market_status(AAPL, timezone.now()))
            except MarketDataError:
                return False

        account.wait_until(is_known, bool, 60)
        assert {one.path for one in account.log()} == {"GET /v2/assets/{symbol}", "GET /v2/clock"}
        asked = len(account.log())
        stocks.broker_at(account).open_orders()
        spent = RateCounter.objects.get(account="alpaca-paper", scope="").spent_background
        assert spent == len(account.log()) == asked + 1
        # Each is counted once.
        stocks.broker_at(account).open_orders()
        assert RateCounter.objects.get(account="alpaca-paper", scope="").spent_background == len(account.log())

    def test_question_of_the_market_data_counts_for_a_minute_only(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now_s = time.monotonic()
        for ago_s in (61, 59.5, 1):
            monkeypatch.setattr(time, "monotonic", lambda ago_s=ago_s: now_s - ago_s)
            alpaca_budget.note_asked("alpaca")
        monkeypatch.setattr(time, "monotonic", lambda: now_s)
        assert [alpaca_budget._asked_lately(one) for one in ("alpaca-paper", "alpaca", "alpaca")] == [0, 2, 0]

    def test_process_that_was_forked_leaves_what_was_asked_to_the_one_that_asked(self) -> None:
        code = (
            "import os, django; django.setup(); from bots.brokers import alpaca_budget as budget; budget.note_asked('alpaca');"
            "child = os.fork(); child or os._exit(budget._asked_lately('alpaca'));"
            "print(os.waitpid(child, 0)[1], budget._asked_lately('alpaca'))"
        )
        told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
        assert told.split() == ["0", "1"]

    def test_background_stops_at_its_share_and_orders_go_on(self, alpaca: AlpacaLoopback) -> None:
        account = alpaca.paper
        broker = stocks.broker_at(account)
        limit = alpaca_budget.LIMIT
        seconds = limit.share_ms(Purpose.BACKGROUND) / 1000
        RateCounter.objects.create(
            account="alpaca-paper", scope="", empty_at=timezone.now() + timedelta(seconds=seconds + 6)
        )
        with pytest.raises(VenueError, match="we hold back"):
            broker.open_orders()
        assert account.log(stocks.LIST) == []
        with spending(Purpose.LOOK_UPS):
            assert broker.open_orders() == ()
        assert stocks.send(account, stocks.stock_order()).status in {OrderStatus.ACCEPTED, OrderStatus.FILLED}

    def test_in_no_minute_more_leaves_than_alpaca_allows(self) -> None:
        assert alpaca_budget.LIMIT.size + 60_000 / alpaca_budget.LIMIT.ms_per_unit == 200

    def test_venue_that_says_that_little_is_left_is_believed(self, alpaca: AlpacaLoopback) -> None:
        account = alpaca.paper
        account.set_rate_limit(20)
        broker = stocks.broker_at(account)
        assert broker.open_orders() == ()
        with pytest.raises(VenueError, match="we hold back"):
            broker.open_orders()
        assert len(account.log(stocks.LIST)) == 1

    def test_429_fills_the_counter_and_the_order_is_rejected(self, alpaca: AlpacaLoopback) -> None:
        account = alpaca.paper
        account.fault(faults.http_status(stocks.POST, 429, is_carried_out=False))
        report = stocks.send(account, stocks.stock_order())
        assert (report.status, report.was_sent) == (OrderStatus.REJECTED, True)
        # Another process, which was told nothing.
        assert denied(stocks.send(account, stocks.stock_order())).code == "RATE_LIMIT"
        assert len(account.log(stocks.POST)) == 1
        assert VenueAccess.objects.get(account="alpaca-paper").rate_refused_at is not None

    def test_cancel_leaves_whatever_is_left(self, alpaca: AlpacaLoopback) -> None:
        account = alpaca.paper
        order = stocks.stock_order(limit="100")
        order_id = stocks.send(account, order).venue_order_id
        RateCounter.objects.update(empty_at=timezone.now() + timedelta(seconds=60))
        stocks.broker_at(account).cancel(order, order_id, urgent=True)
        assert len(account.log(stocks.CANCEL)) == 1

    def test_live_and_paper_account_are_counted_apart(self, alpaca: AlpacaLoopback) -> None:
        stocks.broker_at(alpaca.paper).open_orders()
        stocks.broker_at(alpaca.live).open_orders()
        assert sorted(RateCounter.objects.values_list("account", flat=True)) == ["alpaca", "alpaca-paper"]
