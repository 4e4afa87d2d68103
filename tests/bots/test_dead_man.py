"""The dead-man switch: wound up while orders of ours rest, off when none does, and honest about what is not known."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from audit.models import OperatorEvent
from bots import dead_man
from bots.brokers.base import VenueError
from bots.brokers.kraken_orders import dead_man_left
from bots.brokers.outcomes import CallFailed
from bots.models import DeadManSwitch, Order
from bots.order_states import OrderStatus
from bots.sweep import due_look_ups, look_up
from safety.intents import Side
from tests.bots.brokers.kraken_builders import broker_at
from tests.bots.live import live_desk, live_intent, send, stored
from tests.conftest import CommittedDatabase
from tests.loopback import faults
from tests.loopback.client import KrakenLoopback

PATH = "CancelAllOrdersAfter"
Ordered = Callable[[str], faults.Fault]
UNSOUND: list[Ordered] = [faults.page, faults.half, faults.reset, lambda path: faults.http_status(path, 502)]


def switch() -> DeadManSwitch:
    return DeadManSwitch.objects.get(account="kraken")


def shown(now: datetime | None = None) -> dead_man.SwitchView:
    (found,) = dead_man.views(now or timezone.now())
    return found


def want(wanted: bool = True) -> None:
    dead_man.set_wanted("kraken", wanted, actor="user:9 tester", reason="the test wants it")


def resting(kraken: KrakenLoopback, settings: Settings) -> Order:
    """Return a live order of ours that rests at the venue."""
    intent = live_intent(live_desk(kraken, settings), Side.BUY, "0.3", "90")
    assert send(intent).order.status == OrderStatus.ACCEPTED
    return stored(intent)


def timeouts(kraken: KrakenLoopback) -> list[str]:
    return [entry.fields["timeout"] for entry in kraken.log(PATH)]


class TestOnTheWire:
    """What the broker sends, which is seconds, and what it makes of the answer."""

    pytestmark = pytest.mark.django_db

    def test_seconds_go_out_as_text_and_the_venue_waits_as_long(self, kraken: KrakenLoopback) -> None:
        assert broker_at(kraken).cancel_all_after(60) == timedelta(seconds=60)
        assert timeouts(kraken) == ["60"]
        left_s = kraken.dead_man_left_s()
        assert left_s is not None
        assert 0 < left_s <= 60

    def test_zero_switches_it_off(self, kraken: KrakenLoopback) -> None:
        broker = broker_at(kraken)
        broker.cancel_all_after(60)
        assert broker.cancel_all_after(0) is None
        assert kraken.dead_man_left_s() is None

    @pytest.mark.parametrize("timeout_s", [1, 9, 601, 60_000, -60])
    def test_milliseconds_and_odd_times_are_never_sent(self, kraken: KrakenLoopback, timeout_s: int) -> None:
        with pytest.raises(ValueError, match="no number of seconds"):
            broker_at(kraken).cancel_all_after(timeout_s)
        assert kraken.log(PATH) == []

    @pytest.mark.parametrize("timeout_s", [0, 60])
    @pytest.mark.parametrize("fault", UNSOUND)
    def test_answer_that_cannot_be_read_raises(self, kraken: KrakenLoopback, fault: Ordered, timeout_s: int) -> None:
        kraken.fault(fault(PATH))
        with pytest.raises(VenueError, match="dead-man switch could not be set"):
            broker_at(kraken).cancel_all_after(timeout_s)


@pytest.mark.parametrize(
    ("timeout_s", "answer"),
    [
        (60, {"currentTime": "2026-03-24T17:41:56Z", "triggerTime": "2026-03-24T17:41:56Z"}),
        (60, {"currentTime": "2026-03-24T17:41:56Z", "triggerTime": "0"}),
        (60, {"currentTime": "2026-03-24T17:41:56", "triggerTime": "2026-03-24T17:42:56Z"}),
        (60, {"triggerTime": "2026-03-24T17:42:56Z"}),
        (60, {}),
        (0, {"currentTime": "2026-03-24T17:41:56Z", "triggerTime": "2026-03-24T17:42:56Z"}),
    ],
)
def test_answer_that_names_another_time_is_none(timeout_s: int, answer: dict[str, str]) -> None:
    with pytest.raises(CallFailed, match="no sound answer"):
        dead_man_left(answer, timeout_s)


class TestChore:
    """What the worker does, round for round."""

    @pytest.fixture(autouse=True)
    def _committed(self, committed_db: CommittedDatabase) -> None:
        """The venue may be asked outside any transaction only."""

    def test_off_by_default_whatever_rests(self, kraken: KrakenLoopback, settings: Settings) -> None:
        resting(kraken, settings)
        dead_man.keep_wound_up(timezone.now())
        assert kraken.log(PATH) == []
        assert (shown().is_wanted, shown().rests, shown().left_s, shown().is_bare) == (False, True, None, True)

    def test_wanted_but_nothing_rests_asks_nothing(self, kraken: KrakenLoopback, settings: Settings) -> None:
        live_desk(kraken, settings)
        kraken.place("buy", "0.3", price="90")
        want()
        dead_man.keep_wound_up(timezone.now())
        assert kraken.log(PATH) == []
        assert not shown().is_bare

    def test_wound_up_while_an_order_rests_and_refreshed_every_25_s(
        self, kraken: KrakenLoopback, settings: Settings
    ) -> None:
        resting(kraken, settings)
        want()
        now = timezone.now()
        for after_s in (0, 5, 10, 24, 26, 30, 49, 52):
            dead_man.keep_wound_up(now + timedelta(seconds=after_s))
        assert timeouts(kraken) == ["60"] * 3
        view = shown(now + timedelta(seconds=53))
        assert view.left_s is not None
        assert 40 < view.left_s <= 60
        assert not view.is_bare

    def test_switched_off_only_when_nothing_rests(self, kraken: KrakenLoopback, settings: Settings) -> None:
        order = resting(kraken, settings)
        want()
        now = timezone.now()
        dead_man.keep_wound_up(now)
        for status in (OrderStatus.UNKNOWN, OrderStatus.SUBMITTING, OrderStatus.PARTIALLY_FILLED):
            Order.objects.filter(pk=order.pk).update(status=status)
            dead_man.keep_wound_up(now + timedelta(seconds=1))
        assert timeouts(kraken) == ["60"]
        Order.objects.filter(pk=order.pk).update(status=OrderStatus.CANCELED)
        for after_s in (2, 7, 30):
            dead_man.keep_wound_up(now + timedelta(seconds=after_s))
        assert timeouts(kraken) == ["60", "0"]
        assert kraken.dead_man_left_s() is None
        assert shown().left_s is None

    def test_person_who_switches_it_off_has_it_off_though_orders_rest(
        self, kraken: KrakenLoopback, settings: Settings
    ) -> None:
        resting(kraken, settings)
        want()
        now = timezone.now()
        dead_man.keep_wound_up(now)
        want(False)
        for after_s in (1, 20):
            dead_man.keep_wound_up(now + timedelta(seconds=after_s))
        assert timeouts(kraken) == ["60", "0"]
        assert shown().is_bare

    def test_failure_is_told_and_tried_again_in_the_next_round(
        self, kraken: KrakenLoopback, settings: Settings
    ) -> None:
        resting(kraken, settings)
        want()
        now = timezone.now()
        kraken.fault(faults.page(PATH))
        dead_man.keep_wound_up(now)
        view = shown()
        assert "no sound answer" in view.failure
        assert view.is_bare
        dead_man.keep_wound_up(now + timedelta(seconds=5))
        assert timeouts(kraken) == ["60", "60"]
        assert (shown().failure, shown().failed_at, shown().is_bare) == ("", None, False)

    def test_lost_answer_is_undone_when_nothing_rests(self, kraken: KrakenLoopback, settings: Settings) -> None:
        """The venue did wind the switch up; nobody here knows, so it is switched off until the venue says so."""
        order = resting(kraken, settings)
        want()
        now = timezone.now()
        kraken.fault(faults.reset(PATH), faults.page(PATH, is_carried_out=False))
        dead_man.keep_wound_up(now)
        assert kraken.dead_man_left_s() is not None
        Order.objects.filter(pk=order.pk).update(status=OrderStatus.CANCELED)
        for after_s in (5, 10, 15):
            dead_man.keep_wound_up(now + timedelta(seconds=after_s))
        assert timeouts(kraken) == ["60", "0", "0"]
        assert kraken.dead_man_left_s() is None

    def test_when_it_fires_orders_end_and_it_is_told(self, kraken: KrakenLoopback, settings: Settings) -> None:
        """FAULTS 28: nobody was there for a minute. The venue cancelled everything, the hand's orders too."""
        order = resting(kraken, settings)
        by_hand = kraken.place("sell", "0.01", price="900")
        want()
        now = timezone.now()
        dead_man.keep_wound_up(now)
        kraken.hurry_dead_man()
        assert {one["status"] for one in kraken.orders().values()} == {"canceled"}
        # The worker is back: the time ran out long ago.
        later = now + timedelta(seconds=70)
        dead_man.keep_wound_up(later)
        event = OperatorEvent.objects.get(action="dead_man_fired")
        assert (event.object, event.actor, event.new) == ("account:kraken", "worker", "fired")
        assert shown(later).fired_at is not None
        # Our order is the next to be looked up, and ends as the venue says.
        assert [one.pk for one in due_look_ups(later)] == [order.pk]
        look_up(Order.objects.get(pk=order.pk), later)
        order.refresh_from_db()
        assert order.status == OrderStatus.CANCELED
        assert kraken.orders()[by_hand]["status"] == "canceled"
        # Off when nothing rests any more; and told once.
        dead_man.keep_wound_up(later + timedelta(seconds=5))
        dead_man.keep_wound_up(later + timedelta(seconds=10))
        assert kraken.dead_man_left_s() is None
        assert OperatorEvent.objects.filter(action="dead_man_fired").count() == 1

    def test_late_refresh_is_no_firing(self, kraken: KrakenLoopback, settings: Settings) -> None:
        resting(kraken, settings)
        want()
        now = timezone.now()
        dead_man.keep_wound_up(now)
        dead_man.keep_wound_up(now + timedelta(seconds=62))
        assert timeouts(kraken) == ["60", "60"]
        assert not OperatorEvent.objects.filter(action="dead_man_fired").exists()

    def test_without_a_key_it_says_so(self, kraken: KrakenLoopback, settings: Settings) -> None:
        resting(kraken, settings)
        want()
        settings.ENVIRONMENT = replace(settings.ENVIRONMENT, kraken_api_key=None)
        dead_man.keep_wound_up(timezone.now())
        assert "KRAKEN_API_KEY" in shown().failure


@pytest.mark.usefixtures("committed_db")
class TestChoice:
    """A person's choice, with a reason."""

    def test_choice_is_an_operator_event_once(self) -> None:
        for _ in range(2):
            want()
        event = OperatorEvent.objects.get(action="dead_man_on")
        assert (event.object, event.old, event.new, event.reason) == (
            "account:kraken",
            "off",
            "on",
            "the test wants it",
        )
        want(False)
        assert OperatorEvent.objects.get(action="dead_man_off").new == "off"
        assert not switch().is_wanted

    @pytest.mark.parametrize(("account", "reason"), [("kraken", "  "), ("alpaca", "why"), ("nothing", "why")])
    def test_without_a_reason_or_a_switch_nothing_changes(self, account: str, reason: str) -> None:
        with pytest.raises(dead_man.DeadManError):
            dead_man.set_wanted(account, True, actor="user:9 tester", reason=reason)
        assert not OperatorEvent.objects.filter(action__startswith="dead_man").exists()
