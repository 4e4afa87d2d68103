"""From paper to live and back: what is asked for, what becomes of both books, and what the audit says."""

from decimal import Decimal

import pytest
from django.utils import timezone

from audit.log import AuditUnitError, unit
from audit.models import OperatorEvent, OrderEvent
from bots import manager
from bots.going_live import clear_held, finish_turn, set_live, set_paper
from bots.going_live_chores import turn_to_paper
from bots.manager import BotActionError
from bots.models import Bot, Deal, Order, PaperBroker, Position
from bots.order_states import OrderStatus
from safety import kill_switch
from safety.intents import Level, Side
from tests.bots.builders import Floor, actions_on, make_bot, no_market, position_of, trade
from tests.bots.kraken import KrakenFeed, hold_live, install_kraken, kraken_bot, live_order
from tests.conftest import CommittedDatabase

REASON = "four weeks on paper went well"


@pytest.fixture
def feed(committed_db: CommittedDatabase, floor: Floor, monkeypatch: pytest.MonkeyPatch) -> KrakenFeed:
    return install_kraken(monkeypatch)


def arm(bot: Bot, **changes: object) -> Bot:
    asked = {"actor": "anna", "confirm": bot.name, "reason": REASON, **changes}
    return set_live(bot.pk, **asked)  # type: ignore[arg-type]


def again(bot: Bot) -> Bot:
    return Bot.objects.get(pk=bot.pk)


def reasons(bot: Bot, action: str) -> list[str]:
    rows = OperatorEvent.objects.filter(object=f"bot:{bot.pk} {bot.name}", action=action)
    return list(rows.order_by("id").values_list("reason", flat=True))


class TestToLive:
    def test_bot_is_live_and_the_audit_says_who_and_why(self, feed: KrakenFeed) -> None:
        before = timezone.now()
        bot = kraken_bot()
        arm(bot)
        live = again(bot)
        assert (live.dry_run, live.turning_to_paper, live.entries_held) == (False, False, "")
        assert live.went_live_at is not None
        assert live.went_live_at >= before
        assert live.attended_at is not None
        assert live.attended_at >= before
        assert live.revision == bot.revision + 1
        assert actions_on(bot)[-1] == ("live_enabled", "anna", "dry_run=1", "dry_run=0")
        assert reasons(bot, "live_enabled") == [REASON]

    @pytest.mark.parametrize("confirm", ["", "Bot", "bot ", " bot", "bo", "bot2", "BOT"])
    def test_name_has_to_be_typed_letter_by_letter(self, feed: KrakenFeed, confirm: str) -> None:
        bot = kraken_bot("bot")
        with pytest.raises(BotActionError, match="not the bot's name"):
            arm(bot, confirm=confirm)
        assert again(bot).dry_run
        assert "live_enabled" not in [row[0] for row in actions_on(bot)]

    @pytest.mark.parametrize("reason", ["", "   ", "\n"])
    def test_reason_is_needed(self, feed: KrakenFeed, reason: str) -> None:
        bot = kraken_bot()
        with pytest.raises(BotActionError, match="needs a reason"):
            arm(bot, reason=reason)
        assert again(bot).dry_run

    def test_replay_can_never_be_live(self, feed: KrakenFeed) -> None:
        bot = make_bot()
        with pytest.raises(BotActionError, match="recorded prices"):
            arm(bot)
        assert again(bot).dry_run

    def test_archived_bot_is_refused(self, feed: KrakenFeed) -> None:
        bot = kraken_bot()
        manager.archive(bot.pk, actor="test")
        with pytest.raises(BotActionError, match="archived"):
            arm(bot)
        assert again(bot).dry_run

    def test_venue_whose_gate_is_shut_is_allowed_and_stays_blocked(self, feed: KrakenFeed) -> None:
        bot = make_bot("stocks", venue="alpaca", symbol="AAPL")
        arm(bot)
        assert again(bot).is_live

    def test_live_bot_is_left_as_it_is(self, feed: KrakenFeed) -> None:
        bot = kraken_bot()
        armed = arm(bot)
        arm(bot, actor="ben")
        assert again(bot).went_live_at == armed.went_live_at
        assert [row[0] for row in actions_on(bot)].count("live_enabled") == 1

    def test_token_is_no_person_and_clears_no_hold(self, feed: KrakenFeed) -> None:
        bot = kraken_bot()
        Bot.objects.filter(pk=bot.pk).update(entries_held="the kill switch was released", attended_at=None)
        arm(bot, is_person=False)
        live = again(bot)
        assert (live.is_live, live.attended_at, live.entries_held) == (True, None, "the kill switch was released")


class TestPaperBook:
    def test_resting_orders_are_cancelled_and_the_position_is_sold_on_paper(self, feed: KrakenFeed) -> None:
        bot = kraken_bot()
        trade(bot, Side.BUY, "2")
        resting = trade(bot, Side.BUY, "1", limit="90").order
        arm(bot)
        resting.refresh_from_db()
        assert resting.status == OrderStatus.CANCELED
        book = position_of(bot)
        assert (book.quantity, book.realised_pnl) == (0, book.cash_flow)
        assert Deal.objects.get(bot=bot, is_live=False).closed_at is not None
        assert not Position.objects.filter(bot=bot, is_live=True).exists()
        assert not Deal.objects.filter(bot=bot, is_live=True).exists()
        assert not OrderEvent.objects.filter(bot_id=bot.pk, is_live=True).exists()

    def test_position_stays_in_the_paper_book_when_there_is_no_market(self, feed: KrakenFeed) -> None:
        bot = kraken_bot()
        trade(bot, Side.BUY, "2")
        feed.broken = no_market("the feed is out")
        arm(bot)
        book = position_of(bot)
        assert book.quantity == 2, "no price is invented"
        deal = Deal.objects.get(bot=bot, is_live=False)
        assert (deal.closed_at is not None, deal.sold_quantity) == (True, 0)
        assert actions_on(bot)[-2][0] == "paper_deal_closed"
        assert "2 BTC/USD left" in actions_on(bot)[-2][3]
        assert "the feed is out" in reasons(bot, "paper_deal_closed")[0]
        assert again(bot).is_live

    def test_sale_that_is_denied_leaves_the_position_and_says_why(self, feed: KrakenFeed) -> None:
        bot = kraken_bot()
        trade(bot, Side.BUY, "2")
        kill_switch.engage(Level.HALTED, "a drill", actor="test")
        arm(bot)
        assert position_of(bot).quantity == 2
        assert "a drill" in reasons(bot, "paper_deal_closed")[0]
        assert again(bot).is_live

    def test_part_that_the_market_does_not_take_stays(self, feed: KrakenFeed) -> None:
        bot = kraken_bot()
        trade(bot, Side.BUY, "2")
        feed.volume = Decimal(5)
        arm(bot)
        book = position_of(bot)
        assert 0 < book.quantity < 2
        assert Deal.objects.get(bot=bot, is_live=False).closed_at is not None
        assert not Order.objects.filter(bot=bot, status__in=("accepted", "partially_filled")).exists()

    def test_back_on_paper_what_was_left_can_be_sold(self, feed: KrakenFeed) -> None:
        bot = kraken_bot()
        trade(bot, Side.BUY, "2")
        feed.broken = no_market()
        arm(bot)
        feed.broken = None
        set_paper(bot.pk, actor="anna")
        manager.close_position(bot.pk, actor="anna")
        book = position_of(bot)
        assert (book.quantity, book.realised_pnl) == (0, book.cash_flow)

    def test_position_in_the_venues_paper_account_has_to_be_closed_first(self, feed: KrakenFeed) -> None:
        bot = kraken_bot()
        trade(bot, Side.BUY, "2")
        Bot.objects.filter(pk=bot.pk).update(paper_broker=PaperBroker.VENUE)
        with pytest.raises(BotActionError, match="venue's paper account"):
            arm(bot)
        assert again(bot).dry_run
        assert position_of(bot).quantity == 2


class TestToPaper:
    def test_flat_bot_turns_at_once(self, feed: KrakenFeed) -> None:
        bot = arm(kraken_bot())
        done = set_paper(bot.pk, actor="ben", reason="enough")
        assert (done.dry_run, again(bot).dry_run, again(bot).turning_to_paper) == (True, True, False)
        assert actions_on(bot)[-1] == ("live_disabled", "ben", "dry_run=0", "dry_run=1")
        assert reasons(bot, "live_disabled") == ["enough"]

    def test_paper_bot_is_left_as_it_is(self, feed: KrakenFeed) -> None:
        bot = kraken_bot()
        rows = actions_on(bot)
        set_paper(bot.pk, actor="ben")
        assert actions_on(bot) == rows

    def test_bot_that_holds_something_stays_live_and_only_sells(self, feed: KrakenFeed) -> None:
        bot = arm(kraken_bot())
        hold_live(bot, "2")
        done = set_paper(bot.pk, actor="ben")
        assert (done.dry_run, done.turning_to_paper) == (False, True)
        turning = ("bot_turning_to_paper", "ben", "dry_run=0", "dry_run=0, reduce-only until flat")
        assert actions_on(bot)[-1] == turning
        assert not finish_turn(bot.pk)
        set_paper(bot.pk, actor="ben")
        assert actions_on(bot)[-1] == turning
        assert [row[0] for row in actions_on(bot)].count("bot_turning_to_paper") == 1

    @pytest.mark.parametrize(
        "status",
        [OrderStatus.SUBMITTING, OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED, OrderStatus.UNKNOWN],
    )
    def test_live_order_that_has_not_ended_keeps_it_live(self, feed: KrakenFeed, status: OrderStatus) -> None:
        bot = arm(kraken_bot())
        live_order(bot, Side.SELL, status)
        assert set_paper(bot.pk, actor="ben").turning_to_paper
        assert again(bot).is_live

    @pytest.mark.parametrize("quantity", ["0.0009", "0.001"])
    def test_dust_counts_as_flat_and_what_can_be_sold_does_not(self, feed: KrakenFeed, quantity: str) -> None:
        feed.notional_min = Decimal("0.09")
        bot = arm(kraken_bot())
        hold_live(bot, quantity)
        assert set_paper(bot.pk, actor="ben").dry_run is (quantity == "0.0009")

    def test_without_a_market_nothing_is_called_dust(self, feed: KrakenFeed) -> None:
        bot = arm(kraken_bot())
        hold_live(bot, "0.0001")
        feed.broken = no_market()
        assert set_paper(bot.pk, actor="ben").turning_to_paper

    def test_worker_turns_it_when_it_is_flat(self, feed: KrakenFeed) -> None:
        bot = arm(kraken_bot())
        hold_live(bot, "2")
        set_paper(bot.pk, actor="ben")
        turn_to_paper(timezone.now())
        assert again(bot).is_live
        hold_live(bot, "0")
        turn_to_paper(timezone.now())
        done = again(bot)
        assert (done.dry_run, done.turning_to_paper) == (True, False)
        assert actions_on(bot)[-1] == (
            "live_disabled", "worker", "dry_run=0, reduce-only until flat", "dry_run=1",
        )  # fmt: skip

    def test_turn_is_taken_back_with_the_name_and_a_reason(self, feed: KrakenFeed) -> None:
        bot = arm(kraken_bot())
        since = again(bot).went_live_at
        hold_live(bot, "2")
        set_paper(bot.pk, actor="ben")
        with pytest.raises(BotActionError):
            arm(bot, confirm="no")
        arm(bot, actor="ben")
        live = again(bot)
        assert (live.is_live, live.turning_to_paper, live.went_live_at) == (True, False, since)
        assert actions_on(bot)[-1] == ("live_enabled", "ben", "dry_run=0, reduce-only until flat", "dry_run=0")
        hold_live(bot, "0")
        turn_to_paper(timezone.now())
        assert again(bot).is_live, "the turn was called off"

    def test_finish_leaves_a_bot_alone_that_nobody_asked_to_turn(self, feed: KrakenFeed) -> None:
        bot = arm(kraken_bot())
        assert not finish_turn(bot.pk)
        assert again(bot).is_live

    def test_entries_that_cannot_be_cancelled_now_do_not_hinder_the_step(self, feed: KrakenFeed) -> None:
        """No key is set here, so the venue can't be asked; the order keeps the bot live."""
        bot = arm(kraken_bot())
        order = live_order(bot, Side.BUY)
        assert set_paper(bot.pk, actor="ben").turning_to_paper
        order.refresh_from_db()
        assert order.status == OrderStatus.ACCEPTED
        assert order.cancel_requested_at is not None

    def test_it_must_not_run_inside_someone_elses_transaction(self, feed: KrakenFeed) -> None:
        bot = arm(kraken_bot())
        with pytest.raises(AuditUnitError), unit():
            set_paper(bot.pk, actor="ben")


class TestHeldEntries:
    def test_one_or_all_are_cleared_each_with_its_row(self, feed: KrakenFeed) -> None:
        held, other, free = kraken_bot("a"), kraken_bot("b"), kraken_bot("c")
        Bot.objects.filter(pk__in=[held.pk, other.pk]).update(entries_held="the kill switch was released")
        cleared = clear_held([other.pk, held.pk, free.pk], actor="anna", reason="looked at all of them")
        assert [bot.name for bot in cleared] == ["a", "b"]
        for bot in (held, other):
            assert again(bot).entries_held == ""
            assert again(bot).attended_at is not None
            assert actions_on(bot)[-1] == ("entries_held_cleared", "anna", "the kill switch was released", "")
        assert "entries_held_cleared" not in [row[0] for row in actions_on(free)]

    def test_reason_is_needed(self, feed: KrakenFeed) -> None:
        bot = kraken_bot()
        Bot.objects.filter(pk=bot.pk).update(entries_held="x")
        with pytest.raises(BotActionError, match="needs a reason"):
            clear_held([bot.pk], actor="anna", reason=" ")
        assert again(bot).entries_held == "x"
