"""The paper twin of a live order: the same order on the same quote, filled on paper, that counts for nothing."""

from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.utils import timezone
from pytest_django import Settings

from audit.models import OrderEvent
from bots import shadows, sweep
from bots.executor import cancel_at_venue
from bots.executor import shadow as twins
from bots.manager import BotActionError
from bots.market_data.feeds import feed_for
from bots.models import Account, Bot, Deal, Fill, Order, Position, ShadowBot, ShadowOrder
from bots.order_states import OrderStatus
from safety.intents import Side
from safety.models import TradingState
from tests.architecture.sources import shipped
from tests.bots.builders import actions_on, make_bot, trade
from tests.bots.live import live_desk, live_intent, open_gates, send
from tests.conftest import CommittedDatabase
from tests.loopback import faults
from tests.loopback.client import BTC, KrakenLoopback

pytestmark = pytest.mark.usefixtures("committed_db")


@pytest.fixture
def bot(committed_db: CommittedDatabase, kraken: KrakenLoopback, settings: Settings) -> Bot:
    """Return a live bot with a paper twin, and nothing in its way."""
    made = live_desk(kraken, settings)
    return shadows.set_shadow(made.pk, on=True, actor="anna")


def twin_of(order: Order) -> ShadowOrder:
    return ShadowOrder.objects.get(order=order)


def compared(order: Order) -> shadows.Compared:
    found = shadows.compared_one(Order.objects.get(pk=order.pk))
    assert found is not None
    return found


def trade_to(kraken: KrakenLoopback, bid: str, ask: str, *, after_s: float, volume: str = "10") -> None:
    """Let the market trade to this price so long after now, and a round see it then."""
    kraken.set_price(bid, ask, volume=volume)
    # A look is shared for a second.
    feed = feed_for("kraken")
    feed._ticked_at.clear()  # type: ignore[attr-defined]
    with time_machine.travel(timezone.now() + timedelta(seconds=after_s), tick=False):
        feed.quote(BTC, timezone.now())
        twins.shadow(timezone.now())


class TestTwin:
    def test_market_order_is_filled_at_once_on_the_same_quote(self, bot: Bot, kraken: KrakenLoopback) -> None:
        order = send(live_intent(bot)).order
        twins.shadow(timezone.now())
        twin = twin_of(order)
        # The ask with two basis points on top, rounded up to the tick of 0.1; the taker's fee.
        assert (twin.bid, twin.ask) == (Decimal("99.9"), Decimal("100.1"))
        assert (twin.filled_quantity, twin.filled_notional) == (Decimal("0.3"), Decimal("0.3") * Decimal("100.2"))
        assert twin.fees == Decimal("0.3") * Decimal("100.2") * Decimal("0.004")
        assert (twin.started_at, twin.ended_at) == (order.submitting_at, order.submitting_at)
        assert twin.fill_unit_seconds == 0

    def test_limit_order_that_the_market_meets_takes_at_once(self, bot: Bot) -> None:
        order = send(live_intent(bot, limit="100.1")).order
        twins.shadow(timezone.now())
        assert twin_of(order).filled_notional == Decimal("0.3") * Decimal("100.1")

    def test_limit_order_rests_until_it_is_traded_through(self, bot: Bot, kraken: KrakenLoopback) -> None:
        order = send(live_intent(bot, limit="98")).order
        twins.shadow(timezone.now())
        assert twin_of(order).filled_quantity == 0
        trade_to(kraken, "98", "98.2", after_s=5)
        # At its limit, and not through it. The live one is filled there, and the venue tells of it later.
        assert twin_of(order).filled_quantity == 0
        trade_to(kraken, "97", "97.2", after_s=10, volume="2")
        # A tenth of what was traded is what one order can get: of 2, and of the 0.3 of the live order itself.
        twin = twin_of(order)
        assert (twin.filled_quantity, twin.filled_notional, twin.ended_at) == (Decimal("0.23"), Decimal("22.54"), None)
        assert twin.fill_unit_seconds > 0
        trade_to(kraken, "96", "96.2", after_s=20, volume="20")
        assert twin_of(order).filled_quantity == Decimal("0.3")
        assert twin_of(order).ended_at is not None

    def test_twin_ends_with_the_live_order(self, bot: Bot, kraken: KrakenLoopback) -> None:
        order = send(live_intent(bot, limit="98")).order
        twins.shadow(timezone.now())
        cancel_at_venue(order.pk, actor="anna", reason="enough")
        twins.shadow(timezone.now())
        twin = twin_of(order)
        assert twin.ended_at == Order.objects.get(pk=order.pk).updated_at
        trade_to(kraken, "90", "90.2", after_s=10)
        assert twin_of(order).filled_quantity == 0

    def test_what_was_traded_after_the_live_order_ended_fills_no_twin(self, bot: Bot, kraken: KrakenLoopback) -> None:
        order = send(live_intent(bot, limit="98")).order
        twins.shadow(timezone.now())
        cancel_at_venue(order.pk, actor="anna", reason="enough")
        Order.objects.filter(pk=order.pk).update(updated_at=timezone.now() - timedelta(seconds=10))
        trade_to(kraken, "90", "90.2", after_s=10)
        assert (twin_of(order).filled_quantity, twin_of(order).ended_at is None) == (0, False)

    def test_rounds_that_come_twice_fill_once(self, bot: Bot) -> None:
        order = send(live_intent(bot)).order
        for _ in range(3):
            twins.shadow(timezone.now())
        twins._begin(Order.objects.get(pk=order.pk))
        assert twin_of(order).fills == 1
        assert ShadowOrder.objects.count() == 1

    def test_sale_gets_the_bid_less_its_slippage(self, bot: Bot) -> None:
        send(live_intent(bot))
        order = send(live_intent(bot, Side.SELL)).order
        twins.shadow(timezone.now())
        assert twin_of(order).filled_notional == Decimal("0.3") * Decimal("99.8")


class TestWhoGetsOne:
    def test_nobody_who_did_not_ask(self, bot: Bot) -> None:
        shadows.set_shadow(bot.pk, on=False, actor="anna")
        send(live_intent(bot))
        twins.shadow(timezone.now())
        assert not ShadowOrder.objects.exists()

    def test_no_order_from_before_it_was_switched_on(self, bot: Bot) -> None:
        shadows.set_shadow(bot.pk, on=False, actor="anna")
        send(live_intent(bot))
        shadows.set_shadow(bot.pk, on=True, actor="anna")
        twins.shadow(timezone.now())
        assert not ShadowOrder.objects.exists()

    def test_no_denied_order(self, bot: Bot, settings: Settings) -> None:
        open_gates(settings, live=False)
        assert send(live_intent(bot)).is_denied
        twins.shadow(timezone.now())
        assert not ShadowOrder.objects.exists()

    def test_no_paper_order(self, bot: Bot) -> None:
        paper = make_bot("paper", venue="kraken", symbol=BTC)
        shadows.set_shadow(paper.pk, on=True, actor="anna")
        trade(paper, Side.BUY, "0.3")
        twins.shadow(timezone.now())
        assert not ShadowOrder.objects.exists()

    def test_no_order_that_was_sent_too_long_ago(self, bot: Bot) -> None:
        send(live_intent(bot))
        twins.shadow(timezone.now() + twins.BEGIN_WITHIN + timedelta(seconds=5))
        assert not ShadowOrder.objects.exists()

    def test_order_without_a_sound_quote_gets_none_and_stops_no_other(self, bot: Bot) -> None:
        bare = send(live_intent(bot, limit="98")).order
        # An order whose intent nobody wrote down: the row of another id.
        Order.objects.filter(pk=bare.pk).update(client_order_id="another-id")
        order = send(live_intent(bot, limit="97")).order
        twins.shadow(timezone.now())
        assert list(ShadowOrder.objects.values_list("order_id", flat=True)) == [order.pk]


class TestHarmless:
    def test_twin_is_in_no_book_and_no_audit_row(self, bot: Bot, kraken: KrakenLoopback) -> None:
        order = send(live_intent(bot)).order
        models = (Position, Fill, Deal, Account, Order, TradingState)
        before = [list(model.objects.order_by("pk").values()) for model in models]
        events = OrderEvent.objects.count()
        twins.shadow(timezone.now())
        assert twin_of(order).filled_quantity == Decimal("0.3")
        assert [list(model.objects.order_by("pk").values()) for model in models] == before
        assert OrderEvent.objects.count() == events
        # Nothing was asked of the account, either.
        assert len(kraken.log("AddOrder")) == 1

    def test_venue_without_market_data_ends_the_twin_and_leaves_the_order(
        self, bot: Bot, kraken: KrakenLoopback
    ) -> None:
        order = send(live_intent(bot, limit="98")).order
        twins.shadow(timezone.now())
        feed = feed_for("kraken")
        feed._ticks.clear()  # type: ignore[attr-defined]
        feed._ticked_at.clear()  # type: ignore[attr-defined]
        kraken.fault(faults.http_status("Ticker", 503, count=faults.FOR_EVER))
        twins.follow(timezone.now())
        assert twin_of(order).ended_at is None
        cancel_at_venue(order.pk, actor="anna", reason="enough")
        twins.follow(timezone.now())
        assert twin_of(order).note == "There were no market data when its live order ended."
        assert Order.objects.get(pk=order.pk).status == OrderStatus.CANCELED

    def test_only_the_comparison_reads_twins(self) -> None:
        """Were anything that judges, sizes or counts to read one, figures of paper would count for live."""
        readers = {
            module.path
            for module in shipped()
            for _, _, name in module.imports()
            if name in ("ShadowOrder", "ShadowBot") and not module.path.startswith("bots/models/")
        }
        assert readers == {"bots/executor/shadow.py", "bots/shadows.py"}


class TestComparison:
    def test_says_what_the_live_order_lost_against_its_twin(self, bot: Bot, kraken: KrakenLoopback) -> None:
        order = send(live_intent(bot, limit="98")).order
        twins.shadow(timezone.now())
        trade_to(kraken, "97", "97.2", after_s=5)
        Order.objects.filter(pk=order.pk).update(
            filled_quantity=Decimal("0.2"), filled_notional=Decimal("19.8"), fees=Decimal("0.02")
        )
        found = compared(order)
        # 99 against 98 a unit, over the 0.2 that both got; fees of 0.1 against 0.245 a unit.
        assert found.quantity == Decimal("0.2")
        assert found.cost_usd == Decimal("0.2") * (1 + Decimal("0.1") - Decimal("0.245"))
        assert found.slippage_bps is not None
        assert found.cost_bps is not None
        assert found.slippage_bps.quantize(Decimal("0.01")) == Decimal("102.04")
        assert found.cost_bps.quantize(Decimal("0.01")) == Decimal("87.24")

    def test_delay_is_how_much_later_the_live_fill_was(self, bot: Bot, kraken: KrakenLoopback) -> None:
        order = send(live_intent(bot, limit="98")).order
        twins.shadow(timezone.now())
        trade_to(kraken, "97", "97.2", after_s=5)
        sweep.look_up(Order.objects.get(pk=order.pk), timezone.now())
        twin = twin_of(order)
        twin_at = twin.started_at + timedelta(seconds=float(twin.fill_unit_seconds / twin.filled_quantity))
        Fill.objects.update(filled_at=twin_at + timedelta(seconds=2, milliseconds=500))
        delay_s = compared(order).delay_s
        assert delay_s is not None
        assert delay_s.quantize(Decimal("0.01")) == Decimal("2.50")

    def test_trade_that_filled_the_live_order_is_seen_a_little_later(self, bot: Bot, kraken: KrakenLoopback) -> None:
        order = send(live_intent(bot, limit="98")).order
        twins.shadow(timezone.now())
        kraken.fill(order.venue_order_id, "0.3", "98")
        sweep.look_up(order, timezone.now())
        trade_to(kraken, "97", "97.2", after_s=3)
        assert twin_of(order).filled_quantity == Decimal("0.3")

    def test_order_of_which_one_side_got_nothing_is_counted_and_not_compared(
        self, bot: Bot, kraken: KrakenLoopback
    ) -> None:
        order = send(live_intent(bot, limit="98")).order
        kraken.fill(order.venue_order_id, "0.3", "98")
        sweep.look_up(order, timezone.now())
        twins.shadow(timezone.now())
        summed = shadows.sum_up(shadows.compared_of(bot, 10))
        assert (summed.compared, summed.live_only, summed.twin_only) == (0, 1, 0)
        assert (summed.cost_usd, summed.slippage_bps, summed.delay_s, summed.cost_bps) == (None, None, None, None)

    def test_refused_order_counts_nowhere(self, bot: Bot, kraken: KrakenLoopback) -> None:
        kraken.fault(faults.venue_error("AddOrder", "EOrder:Insufficient funds"))
        order = send(live_intent(bot)).order
        assert order.status == OrderStatus.REJECTED
        twins.shadow(timezone.now())
        summed = shadows.sum_up(shadows.compared_of(bot, 10))
        assert (summed.compared, summed.live_only, summed.twin_only) == (0, 0, 0)

    def test_sum_adds_costs_and_weighs_the_rest_by_notional(self, bot: Bot) -> None:
        orders = [send(live_intent(bot, quantity=quantity)).order for quantity in ("0.1", "0.3")]
        twins.shadow(timezone.now())
        each = [compared(order) for order in orders]
        summed = shadows.sum_up(each)
        total = sum((one.notional_usd for one in each), Decimal(0))
        assert summed.compared == 2
        assert summed.cost_usd == sum(one.cost_usd or 0 for one in each)
        weighed = sum((one.notional_usd * (one.slippage_bps or Decimal(0)) for one in each), Decimal(0)) / total
        assert summed.slippage_bps is not None
        assert abs(summed.slippage_bps - weighed) < Decimal("1e-12")


class TestSwitch:
    def test_is_off_until_a_person_asks_and_each_change_is_audited(self, bot: Bot) -> None:
        assert shadows.is_shadowed(bot)
        shadows.set_shadow(bot.pk, on=True, actor="anna")
        shadows.set_shadow(bot.pk, on=False, actor="ben")
        assert not shadows.is_shadowed(bot)
        changes = [one for one in actions_on(bot) if one[0] == "bot_shadow_changed"]
        assert changes == [("bot_shadow_changed", "anna", "off", "on"), ("bot_shadow_changed", "ben", "on", "off")]

    def test_bot_on_recorded_prices_can_have_none(self) -> None:
        with pytest.raises(BotActionError, match="can't be live"):
            shadows.set_shadow(make_bot().pk, on=True, actor="anna")
        assert not ShadowBot.objects.exists()
