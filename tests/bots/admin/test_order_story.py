"""An order's page tells what became of it, step by step and in order, with times, figures and what is done now."""

from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.utils import timezone
from pytest_django import Settings

from bots import sweep
from bots.admin.order_story import STEPS_SHOWN, Story, slipped
from bots.admin.orders import story_context
from bots.brokers.base import Execution, OrderReport
from bots.executor import cancel_at_venue, venue
from bots.models import Bot, Order
from bots.order_states import OrderStatus
from safety.intents import Level, Side
from safety.kill_switch import engage
from tests.bots.admin.conftest import Desk
from tests.bots.builders import intent_for, make_bot, match, submit, trade
from tests.bots.live import live_desk, live_intent, open_gates, send
from tests.bots.test_venue_orders import before_the_send
from tests.conftest import CommittedDatabase
from tests.loopback import faults
from tests.loopback.client import KrakenLoopback

pytestmark = pytest.mark.usefixtures("committed_db")


def told(order: Order) -> Story:
    """Return the order's story as its page has it now."""
    found: Story = story_context(Order.objects.get(pk=order.pk), may_cancel=True)["story"]
    return found


def titles(order: Order) -> list[str]:
    return [step.title for step in told(order).steps]


def text_of(order: Order, title: str) -> str:
    """Return what the only step with this title says."""
    (step,) = [step for step in told(order).steps if step.title == title]
    return " ".join(step.lines)


@pytest.fixture
def bot(committed_db: CommittedDatabase, kraken: KrakenLoopback, settings: Settings) -> Bot:
    """Return a live bot with nothing in its way."""
    return live_desk(kraken, settings)


class TestPaper:
    def test_market_order_is_told_from_wish_to_fill(self, desk: Desk) -> None:
        order = trade(make_bot(), Side.BUY, "0.5").order
        assert titles(order) == ["Wanted", "Judged: allowed", "Given to the paper broker", "Filled"]
        assert text_of(order, "Wanted").startswith(
            "Buy 0.5 BTC-PERP at the market. By test, leg leg. The test wants it."
        )
        assert "bid 99.99, ask 100.01, from replay" in text_of(order, "Wanted")
        assert "0.5 at 100.04, fee $0.2001, taker. 0.5 of 0.5 filled." in text_of(order, "Filled")

    def test_rest_partial_fill_and_cancel_add_up(self, desk: Desk) -> None:
        bot = make_bot()
        order = trade(bot, Side.BUY, "0.5", limit="99").order
        assert "0.5 left" in told(order).now[0]
        desk.floor.feed.move_to("98", "98.5")
        desk.floor.feed.volume = Decimal(2)
        match(order, timezone.now() + timedelta(seconds=5))
        assert "0.2 at 99.00" in text_of(order, "Filled in part")
        assert "maker. 0.2 of 0.5 filled, 0.3 left." in text_of(order, "Filled in part")
        desk.told(f"/admin/bots/order/{order.pk}/cancel/", {"confirmed": "yes"})
        assert titles(order)[-2:] == ["Cancel asked for", "Cancelled"]
        assert "By operator. Cancelled by hand." in text_of(order, "Cancel asked for")
        assert "0.3 of 0.5 was not filled." in text_of(order, "Cancelled")
        assert told(order).now == ()

    def test_denial_is_told_with_its_sentences(self, desk: Desk) -> None:
        order = trade(make_bot(capital_usd=Decimal(10)), Side.BUY, "0.5").order
        assert titles(order) == ["Wanted", "Judged: denied"]
        assert "capital" in text_of(order, "Judged: denied")

    def test_repeat_of_an_order_leaves_its_story_as_it_was(self, desk: Desk) -> None:
        intent = intent_for(make_bot(), Side.BUY, "0.1")
        order = submit(intent).order
        assert submit(intent).is_denied
        assert titles(order)[-2:] == ["Filled", "Asked for again, and denied"]
        assert "stands as it was" in text_of(order, "Asked for again, and denied")


class TestLive:
    def test_unknown_outcome_says_what_is_done_and_then_how_it_ended(self, bot: Bot, kraken: KrakenLoopback) -> None:
        kraken.fault(faults.reset("AddOrder"))
        order = send(live_intent(bot, limit="98")).order
        assert order.status == OrderStatus.UNKNOWN
        assert titles(order) == ["Wanted", "Judged: allowed", "Being sent to kraken", "Outcome not known"]
        assert "not sent again" in text_of(order, "Outcome not known")
        now = " ".join(told(order).now)
        assert "do not know whether kraken has this order" in now
        assert "No look-up has ended yet. The venue is asked within seconds." in now
        sweep.look_up(Order.objects.get(pk=order.pk), timezone.now())
        assert titles(order)[-2:] == ["Found at the venue", "Taken by kraken"]
        assert "after its outcome was lost" in text_of(order, "Found at the venue")
        assert "rests at kraken with 0.3 left" in told(order).now[0]

    def test_order_that_was_never_placed_says_how_often_it_was_looked_for(
        self, bot: Bot, kraken: KrakenLoopback
    ) -> None:
        kraken.fault(faults.reset("AddOrder", is_carried_out=False))
        order = send(live_intent(bot, limit="98")).order
        sweep.look_up(order, timezone.now())
        now = " ".join(told(order).now)
        assert "1 whole look-up did not find it. Last asked at" in now
        assert "After 3 whole look-ups without it" in now
        for _ in range(2):
            with time_machine.travel(timezone.now() + timedelta(seconds=70), tick=False):
                sweep.look_up(Order.objects.get(pk=order.pk), timezone.now())
        assert titles(order)[-1] == "Was never placed"
        assert "3 whole look-ups did not find it" in text_of(order, "Was never placed")

    def test_fills_cancel_and_a_late_fill_are_told_as_they_came(self, bot: Bot, kraken: KrakenLoopback) -> None:
        order = send(live_intent(bot, limit="98")).order
        kraken.fill(order.venue_order_id, "0.1")
        sweep.look_up(order, timezone.now())
        assert "0.1 of 0.3 filled, 0.2 left. Traded at" in text_of(order, "Filled in part")
        cancel_at_venue(order.pk, actor="operator", reason="enough")
        assert titles(order)[-3:] == ["Filled in part", "Cancel asked for", "Cancelled"]
        late = Execution("LATE", Decimal("0.2"), Decimal(98), Decimal("0.05"), True, timezone.now())
        venue.apply(order.pk, OrderReport(OrderStatus.FILLED, executions=(late,)))
        assert titles(order)[-1] == "Filled"
        assert "0.3 of 0.3 filled." in text_of(order, "Filled")

    def test_cancel_that_waits_says_that_it_may_still_fill(self, bot: Bot, kraken: KrakenLoopback) -> None:
        order = send(live_intent(bot, limit="98")).order
        kraken.fault(faults.reset("CancelOrder", is_carried_out=False))
        cancel_at_venue(order.pk, actor="operator", reason="enough")
        assert "it may still fill" in told(order).now[0]

    def test_order_that_the_venue_does_not_have_says_so_and_who_settles_it(
        self, bot: Bot, kraken: KrakenLoopback
    ) -> None:
        order = send(live_intent(bot, quantity="0.3", limit="98")).order
        kraken.forget(order.venue_order_id)
        now = timezone.now()
        for times, says in ((1, "After 3 of them"), (2, "After 3 of them"), (3, "Reconciliation page")):
            with time_machine.travel(now + timedelta(seconds=31 * times), tick=False):
                sweep.look_up(Order.objects.get(pk=order.pk), timezone.now())
            (said,) = told(order).now
            assert f"{times} whole look-up" in said
            assert "It may still fill" in said
            assert says in said

    def test_halt_after_the_claim_is_told_as_held_back(
        self, bot: Bot, kraken: KrakenLoopback, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before_the_send(monkeypatch, lambda: engage(Level.HALTED, "a drill", actor="test", cancel_resting=False))
        order = send(live_intent(bot, limit="98")).order
        assert titles(order)[-1] == "Held back before it was sent"
        assert kraken.orders() == {}

    def test_closed_gate_is_told_by_name(self, bot: Bot, settings: Settings) -> None:
        open_gates(settings, live=False)
        order = send(live_intent(bot, limit="98")).order
        assert titles(order) == ["Wanted", "Judged: denied"]


class TestTimes:
    def test_every_step_has_its_time_and_the_time_since_the_one_before(self, desk: Desk) -> None:
        bot = make_bot()
        begun = timezone.now().replace(microsecond=123_000)
        with time_machine.travel(begun, tick=False):
            order = trade(bot, Side.BUY, "0.5", limit="99").order
        desk.floor.feed.move_to("98", "98.5")
        later = begun + timedelta(seconds=1, milliseconds=200)
        with time_machine.travel(later, tick=False):
            match(order, later)
        steps = told(order).steps
        assert [step.since for step in steps] == ["", "+0.000 s", "+0.000 s", "+0.000 s", "+1.2 s"]
        assert steps[0].clock == f"{begun:%H:%M:%S}.123"
        assert steps[-1].clock == f"{later:%H:%M:%S}.323"

    def test_page_is_watched_while_open_and_a_while_after(self, desk: Desk) -> None:
        bot = make_bot()
        resting, filled = trade(bot, Side.BUY, "0.1", limit="99").order, trade(bot, Side.BUY, "0.2").order
        assert 'hx-trigger="every 2s"' in desk.get(f"/admin/bots/order/{resting.pk}/change/")
        assert 'hx-trigger="every 5s"' in desk.get(f"/admin/bots/order/{filled.pk}/change/")
        Order.objects.update(updated_at=timezone.now() - timedelta(minutes=3))
        assert 'hx-trigger="every 15s"' in desk.get(f"/admin/bots/order/{filled.pk}/change/")


class TestSlippage:
    @pytest.mark.parametrize(
        ("side", "notional", "bps", "usd"),
        [
            (Side.BUY, "200.2", "10", "0.2"),
            (Side.BUY, "199.8", "-10", "-0.2"),
            (Side.SELL, "199.8", "10", "0.2"),
            (Side.SELL, "200.2", "-10", "-0.2"),
            (Side.SELL, "200", "0", "0"),
        ],
    )
    def test_above_zero_is_worse_whichever_way(self, side: Side, notional: str, bps: str, usd: str) -> None:
        found = slipped(side, Decimal(2), Decimal(notional), Decimal(100))
        assert (found.bps, found.usd, found.quoted) == (Decimal(bps), Decimal(usd), Decimal(100))

    def test_is_shown_against_the_ask_when_it_was_wanted(self, desk: Desk) -> None:
        order = trade(make_bot(), Side.BUY, "0.5").order
        page = desk.get(f"/admin/bots/order/{order.pk}/change/")
        assert "3.00 bps worse" in page
        assert "$0.0150 lost against the ask of 100.01 when it was wanted" in page

    def test_is_not_known_without_a_fill_or_a_sound_quote(self, desk: Desk) -> None:
        order = trade(make_bot(), Side.BUY, "0.5", limit="99").order
        assert told(order).slippage is None


class TestPage:
    def test_steps_stand_in_their_order(self, desk: Desk) -> None:
        order = trade(make_bot("Ada"), Side.BUY, "0.5").order
        page = desk.get(f"/admin/bots/order/{order.pk}/change/")
        places = [page.index(f"<strong>{title}</strong>") for title in titles(order)]
        assert places == sorted(places)
        assert "Ada" in page
        assert order.client_order_id in page

    def test_moving_part_needs_the_right_to_look(self, desk: Desk) -> None:
        order = trade(make_bot(), Side.BUY, "0.5").order
        url = f"/admin/bots/order/{order.pk}/live/"
        assert "Step by step" in desk.get(url)
        desk.as_staff("bots.view_bot")
        desk.get(url, 403)
        desk.get(f"/admin/bots/order/{order.pk}/change/", 403)

    @pytest.mark.parametrize("order_id", ["0", "x", "9" * 5000, "-1"])
    def test_order_that_is_not_there_is_404(self, desk: Desk, order_id: str) -> None:
        desk.get(f"/admin/bots/order/{order_id}/change/", 404)

    def test_very_many_steps_are_cut_in_the_middle(self, desk: Desk) -> None:
        bot = make_bot()
        order = trade(bot, Side.BUY, "0.5", limit="99").order
        desk.floor.feed.move_to("98", "98.5")
        desk.floor.feed.volume = Decimal("0.01")
        for second in range(1, 2 * STEPS_SHOWN + 10):
            match(order, timezone.now() + timedelta(seconds=second))
        found = told(order)
        assert (len(found.steps), len(found.later_steps)) == (STEPS_SHOWN, STEPS_SHOWN)
        assert found.left_out == 13
        # What lies between is left out, and yet counted.
        assert "0.129 of 0.5 filled, 0.371 left." in found.later_steps[-1].lines
        assert "13 steps are not shown here" in desk.get(f"/admin/bots/order/{order.pk}/change/")
