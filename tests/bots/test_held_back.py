"""Orders that never left: denied with our own reason, and no mark against the bot, since no venue rejected anything."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest
from django.utils import timezone
from pytest_django import Settings

from bots import executor
from bots.brokers import kraken_pairs
from bots.brokers.factory import broker_for, forget_brokers
from bots.brokers.signer import Signer
from bots.executor.venue import to_unknown
from bots.loss_triggers import pause_the_rejected
from bots.models import Bot, Position, RateCounter
from bots.order_states import OrderStatus
from safety.intents import Side
from tests.bots.builders import events_of
from tests.bots.live import live_desk, live_intent, send, stored
from tests.loopback import faults, limits
from tests.loopback.client import BTC, KrakenLoopback

pytestmark = pytest.mark.usefixtures("committed_db")


@pytest.fixture
def bot(kraken: KrakenLoopback, settings: Settings) -> Bot:
    return live_desk(kraken, settings)


def streak(bot: Bot) -> int:
    """Return how many orders in a row count as rejected by the venue."""
    # A bot that never traded has no book yet.
    return sum(Position.objects.filter(bot=bot, is_live=True).values_list("reject_streak", flat=True))


def codes(submission: executor.Submission) -> list[str]:
    """Return why an intent was denied."""
    return [denial.code for denial in submission.denials]


def use_up(scope: str = "") -> None:
    """Let a counter of Kraken's be full for a minute."""
    RateCounter.objects.update_or_create(
        account="kraken", scope=scope, defaults={"empty_at": timezone.now() + timedelta(seconds=60)}
    )


def test_order_without_room_under_the_limit_is_denied(
    bot: Bot, kraken: KrakenLoopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits.restore(monkeypatch)
    forget_brokers()
    use_up(BTC)
    quantities = [f"0.3{index}" for index in range(6)]
    for quantity in quantities:
        submission = send(live_intent(bot, quantity=quantity))
        assert codes(submission) == ["RATE_LIMIT"]
        assert submission.order.status == OrderStatus.DENIED
        assert events_of(submission.order) == ["intent", "submitting", "denied"]
    assert kraken.log("AddOrder") == []
    assert streak(bot) == 0
    pause_the_rejected()
    bot.refresh_from_db()
    assert bot.status == "running"


def test_it_may_buy_again_as_soon_as_there_is_room(
    bot: Bot, kraken: KrakenLoopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits.restore(monkeypatch)
    forget_brokers()
    use_up(BTC)
    assert codes(send(live_intent(bot, quantity="0.31"))) == ["RATE_LIMIT"]
    RateCounter.objects.all().delete()
    assert send(live_intent(bot, quantity="0.32")).order.status == OrderStatus.FILLED


def test_exit_waits_for_room_instead(bot: Bot, kraken: KrakenLoopback, monkeypatch: pytest.MonkeyPatch) -> None:
    assert send(live_intent(bot)).order.status == OrderStatus.FILLED
    limits.restore(monkeypatch)
    forget_brokers()
    broker_for("kraken", is_live=True).key_rights()
    RateCounter.objects.update_or_create(
        account="kraken", scope=BTC, defaults={"empty_at": timezone.now() + timedelta(seconds=57.3)}
    )
    submission = send(live_intent(bot, side=Side.SELL))
    assert (submission.order.status, codes(submission)) == (OrderStatus.FILLED, [])


def test_order_that_got_no_turn_is_denied(bot: Bot, kraken: KrakenLoopback) -> None:
    with Signer(kraken.key).turn(timezone.now() + timedelta(seconds=30)):
        submission = send(live_intent(bot))
    assert codes(submission) == ["INTENT_EXPIRED"]
    assert "no turn" in submission.denials[0].message
    assert (submission.order.status, streak(bot)) == (OrderStatus.DENIED, 0)
    assert kraken.log("AddOrder") == []


def test_venue_that_refused_is_counted_and_our_standing_back_is_not(bot: Bot, kraken: KrakenLoopback) -> None:
    kraken.fault(faults.venue_error("AddOrder", "EAPI:Rate limit exceeded"))
    assert send(live_intent(bot, quantity="0.31")).order.status == OrderStatus.REJECTED
    assert streak(bot) == 1
    assert codes(send(live_intent(bot, quantity="0.32"))) == ["RATE_LIMIT"]
    assert streak(bot) == 1
    assert len(kraken.log("AddOrder")) == 1


def test_venue_that_is_out_of_reach_rejects_nothing(bot: Bot, kraken: KrakenLoopback) -> None:
    assert send(live_intent(bot, quantity="0.31")).order.status == OrderStatus.FILLED
    broker = broker_for("kraken", is_live=True)
    broker._client.base_url = "http://127.0.0.1:9"  # type: ignore[attr-defined]
    broker._client._private = None  # type: ignore[attr-defined]
    submission = send(live_intent(bot))
    assert codes(submission) == []
    assert submission.order.status == OrderStatus.REJECTED
    assert streak(bot) == 0


def test_order_that_the_sweep_took_for_unknown_meanwhile_is_left_to_its_search(
    bot: Bot, kraken: KrakenLoopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sender was frozen for so long that somebody else gave up on it; then it finds that it sent nothing."""
    broker, intent = broker_for("kraken", is_live=True), live_intent(bot)
    submit = broker.submit

    def late(order: object, permit: object, deadline: object) -> object:
        to_unknown(stored(intent).pk, "nobody said what became of it")
        return submit(order, permit, timezone.now())  # type: ignore[arg-type]

    monkeypatch.setattr(broker, "submit", late)
    assert send(intent).order.status == OrderStatus.UNKNOWN
    assert stored(intent).status == OrderStatus.UNKNOWN
    assert kraken.log("AddOrder") == []


@pytest.mark.parametrize("fault", [faults.request_lost, partial(faults.http_status, status=503)])
def test_exit_is_not_denied_for_want_of_a_list_that_the_market_data_has(
    bot: Bot, kraken: KrakenLoopback, fault: Callable[..., faults.Fault]
) -> None:
    """A worker's first order is often a stop-out: a Kraken that is slow with its long list must not keep it from leaving."""
    assert send(live_intent(bot)).order.status == OrderStatus.FILLED
    forget_brokers()
    kraken.fault(fault("AssetPairs", count=faults.FOR_EVER))
    submission = send(live_intent(bot, side=Side.SELL))
    assert (submission.order.status, codes(submission)) == (OrderStatus.FILLED, [])


def test_order_without_any_list_is_denied_and_never_guessed(
    bot: Bot, kraken: KrakenLoopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert send(live_intent(bot)).order.status == OrderStatus.FILLED
    forget_brokers()
    monkeypatch.setattr(kraken_pairs, "_last", {})
    kraken.fault(faults.http_status("AssetPairs", 503, count=faults.FOR_EVER))
    submission = send(live_intent(bot, side=Side.SELL))
    assert codes(submission) == ["INSTRUMENT_RULES"]
    assert submission.denials[0].actual == "not known"
    assert len(kraken.log("AddOrder")) == 1
