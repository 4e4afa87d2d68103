"""What holds a bot back: every shut lock at once, what readiness says, and what ticks make of it. Against a loopback venue."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from audit.models import OrderEvent
from bots import executor, going_live
from bots.blocks import (
    Block,
    account_blocks,
    blocked_by,
    from_tick,
    gate_blocks,
    in_short,
    market_blocks,
    readiness_blocks,
)
from bots.going_live_chores import turn_to_paper
from bots.live_preview import preview
from bots.market_data.feeds import feed_for
from bots.markets import market_for
from bots.models import Account, AccountSync, Bot, BotTick
from bots.order_states import OrderStatus
from safety import kill_switch
from safety.controls import CONTROLS
from safety.intents import Denial, Level, ReadinessVerdict, Side
from safety.models import RiskLimits, Setting
from safety.remedies import REMEDIES
from tests.bots.builders import Floor, Worker, blocks_of, buy, forget_process_memory, make_bot, sell
from tests.bots.live import live_desk, live_intent, measured, open_gates, ready, send
from tests.conftest import CommittedDatabase
from tests.loopback import faults
from tests.loopback.client import BTC, KrakenLoopback


@pytest.fixture
def bot(committed_db: CommittedDatabase, kraken: KrakenLoopback, settings: Settings) -> Bot:
    """Return a live bot with nothing in its way."""
    forget_process_memory()
    return live_desk(kraken, settings)


def codes(blocks: list[Block]) -> list[str]:
    return [block.code for block in blocks]


def test_every_control_has_something_that_a_person_can_do() -> None:
    assert set(CONTROLS) <= set(REMEDIES)
    assert all(text.endswith(".") for text in REMEDIES.values())


class TestTheGate:
    def test_free_live_bot_has_no_block(self, bot: Bot) -> None:
        assert blocked_by(bot) == []

    def test_every_shut_lock_is_named_at_once(self, bot: Bot, settings: Settings) -> None:
        open_gates(settings, live=False)
        Setting.objects.filter(key="database_stamp").delete()
        ready("disk_space")
        kill_switch.engage(Level.HALTED, "a drill", actor="test")
        found = blocked_by(bot)
        assert codes(found) == ["KILL_SWITCH", "LIVE_GATE_CLOSED", "LIVE_GATE_CLOSED", "READINESS"]
        told = " ".join(block.message for block in found)
        assert "a drill" in told
        assert "ALLOW_LIVE_TRADING" in told
        assert "stamp" in told
        assert found[-1].actual == "disk_space"

    def test_stopped_bot_tells_what_will_hold_it_back_when_it_is_started(self, bot: Bot, settings: Settings) -> None:
        open_gates(settings, live=False)
        Bot.objects.filter(pk=bot.pk).update(status="stopped")
        assert codes(blocked_by(Bot.objects.get(pk=bot.pk))) == ["LIVE_GATE_CLOSED"]

    def test_paper_bots_gate_is_never_asked(self, bot: Bot, django_assert_num_queries: DjangoAssertNumQueries) -> None:
        paper = make_bot("paper")
        with django_assert_num_queries(0):
            assert gate_blocks(paper) == []

    def test_halted_live_bot_says_so_even_while_it_is_stopped(self, bot: Bot) -> None:
        kill_switch.engage(Level.HALTED, "a drill", actor="test")
        Bot.objects.filter(pk=bot.pk).update(status="stopped")
        assert codes(blocked_by(Bot.objects.get(pk=bot.pk))) == ["KILL_SWITCH"]
        Bot.objects.filter(pk=bot.pk).update(status="archived", dry_run=True)
        assert blocked_by(Bot.objects.get(pk=bot.pk)) == []

    @pytest.mark.parametrize(
        ("is_open", "age_s", "expected"),
        [
            (True, 10, []),
            (True, 10.5, ["STALE_MARKET_DATA"]),
            (True, 90, ["STALE_MARKET_DATA"]),
            (False, 90, ["MARKET_CLOSED"]),
        ],
    )
    def test_market_that_is_closed_or_without_a_new_price_holds_entries(
        self, bot: Bot, is_open: bool, age_s: float, expected: list[str]
    ) -> None:
        market = market_for("kraken", BTC, timezone.now())
        view = replace(market.view, is_open=is_open)
        then = view.quote.seen_at + timedelta(seconds=age_s)
        assert codes(market_blocks(replace(market, view=view, quote_age_max_s=Decimal(10)), then)) == expected

    def test_venue_without_prices_is_told(self, bot: Bot) -> None:
        Bot.objects.filter(pk=bot.pk).update(symbol="NO/USD")
        assert "MARKET_DATA" in codes(blocked_by(Bot.objects.get(pk=bot.pk)))


class TestReadiness:
    @pytest.mark.parametrize(("age_h", "is_held"), [(23, False), (24, False), (24.01, True), (100, True)])
    def test_run_that_is_too_old_holds_entries(self, age_h: float, is_held: bool) -> None:
        now = timezone.now()
        found = readiness_blocks(ReadinessVerdict(now - timedelta(hours=age_h)), now)
        assert codes(found) == (["READINESS"] if is_held else [])

    def test_run_that_never_was_holds_entries(self) -> None:
        assert codes(readiness_blocks(ReadinessVerdict(), timezone.now())) == ["READINESS"]

    def test_blockers_are_named(self) -> None:
        (block,) = readiness_blocks(ReadinessVerdict(timezone.now(), ("disk_space", "debug_off")), timezone.now())
        assert block.actual == "disk_space, debug_off"


class TestTicks:
    def scripted(self, floor: Floor, bot: Bot, *proposals: object) -> Bot:
        floor.strategy("scripted", lambda view: list(proposals))  # type: ignore[arg-type]
        Bot.objects.filter(pk=bot.pk).update(strategy="scripted", params={}, revision=bot.revision + 1)
        return Bot.objects.get(pk=bot.pk)

    def test_nothing_is_tried_while_a_lock_is_shut_and_the_tick_says_so(
        self, bot: Bot, floor: Floor, settings: Settings
    ) -> None:
        open_gates(settings, live=False)
        scripted = self.scripted(floor, bot, buy("0.1"), sell("0.1"))
        Worker().tick(scripted)
        assert blocks_of(scripted) == ["LIVE_GATE_CLOSED"]
        assert not OrderEvent.objects.filter(bot_id=bot.pk).exists()

    def test_entries_alone_wait_for_readiness(self, bot: Bot, floor: Floor) -> None:
        ready("disk_space")
        scripted = self.scripted(floor, bot, buy("0.1"))
        Worker().tick(scripted)
        assert blocks_of(scripted) == ["READINESS"]
        assert not OrderEvent.objects.filter(bot_id=bot.pk).exists()

    def test_held_entries_are_told(self, bot: Bot, floor: Floor) -> None:
        Bot.objects.filter(pk=bot.pk).update(entries_held="the kill switch was released")
        scripted = self.scripted(floor, bot, buy("0.1"))
        Worker().tick(scripted)
        assert blocks_of(scripted) == ["ENTRIES_HELD"]


class TestAccount:
    @pytest.mark.parametrize(
        ("age_s", "says"),
        [(None, "was not told yet"), (61, "was last told 61 s ago"), (3600, "was last told 60 min ago")],
    )
    def test_account_that_is_not_known_holds_entries_and_is_told_once(
        self, bot: Bot, floor: Floor, age_s: int | None, says: str
    ) -> None:
        measured(measured_at=None if age_s is None else timezone.now() - timedelta(seconds=age_s))
        floor.strategy("scripted", lambda view: [buy("0.1")])
        Bot.objects.filter(pk=bot.pk).update(strategy="scripted", params={}, revision=bot.revision + 1)
        scripted = Bot.objects.get(pk=bot.pk)
        Worker().tick(scripted)
        assert blocks_of(scripted) == ["ACCOUNT_UNKNOWN"]
        assert not OrderEvent.objects.filter(bot_id=bot.pk).exists()
        (block,) = blocked_by(Bot.objects.get(pk=bot.pk))
        assert says in block.message
        assert block.remedy
        measured()
        assert blocked_by(Bot.objects.get(pk=bot.pk)) == []

    def test_paper_bot_needs_no_account_at_a_venue(self, bot: Bot) -> None:
        assert account_blocks(make_bot("paper"), timezone.now()) == []

    def test_bot_that_is_set_live_finds_its_account_measured(self, bot: Bot) -> None:
        going_live.set_paper(bot.pk, actor="anna")
        Account.objects.all().delete()
        going_live.set_live(bot.pk, actor="anna", confirm=bot.name, reason="the test", has_more=True)
        account = Account.objects.get(name="kraken")
        assert account.equity_usd is not None
        assert account_blocks(Bot.objects.get(pk=bot.pk), timezone.now()) == []
        # It is not taken anew at once: the baseline is good for the bot that it was asked for.
        assert AccountSync.objects.get(account=account).baseline_at is not None

    def test_venue_that_does_not_answer_keeps_nobody_from_going_live(self, bot: Bot, kraken: KrakenLoopback) -> None:
        going_live.set_paper(bot.pk, actor="anna")
        Account.objects.all().delete()
        kraken.fault(faults.http_status("OpenOrders", 503, count=99))
        done = going_live.set_live(bot.pk, actor="anna", confirm=bot.name, reason="the test", has_more=True)
        assert done.is_live
        assert "ACCOUNT_UNKNOWN" in codes(blocked_by(done))


class TestDenialInShort:
    UNKNOWN = Block("DAILY_LOSS", "The account's equity is not known.", "3 %", "not known")

    def test_one_cause_of_many_reasons_is_named_first(self) -> None:
        told = in_short(
            [self.UNKNOWN, Block("INSUFFICIENT_FUNDS", "The free cash is not known.", "not known", "24 USD")]
        )
        assert "what the account holds was not known" in told
        assert "2 controls" in told

    def test_other_reasons_are_not_hidden(self) -> None:
        other = Block("LIVE_RAMP", "Too large.", "50 USD", "60 USD")
        assert "1 other had something against it" in in_short([self.UNKNOWN, self.UNKNOWN, other])

    @pytest.mark.parametrize("count", [0, 1])
    def test_one_reason_needs_no_summary(self, count: int) -> None:
        assert in_short([self.UNKNOWN] * count) == ""

    def test_advice_is_about_what_is_missing_and_not_about_the_limit(self) -> None:
        assert self.UNKNOWN.remedy == REMEDIES["ACCOUNT_UNKNOWN"]
        assert Block("SIZE_OUTLIER", "Not known.", "known", "not known").remedy == REMEDIES["NOT_KNOWN"]
        assert Block("DAILY_LOSS", "Too much.", "3 %", "4 %").remedy == REMEDIES["DAILY_LOSS"]


class TestWhatIsStored:
    def test_block_keeps_limit_and_actual(self) -> None:
        block = Block.of(Denial("NOTIONAL_ABOVE_MAX", "Too much.", "50 USD", "60 USD"))
        assert from_tick([block.as_dict()]) == [block]
        assert Block("X", "y").as_dict() == {"code": "X", "message": "y"}

    @pytest.mark.parametrize("odd", [{"odd": 1}, "odd", 7])
    def test_what_cannot_be_read_is_said(self, odd: object) -> None:
        assert [block.message for block in from_tick(odd)] == ["what the tick said cannot be read"]
        assert from_tick([odd])[0].message == str(odd)

    def test_what_is_read_now_is_not_told_twice(self, bot: Bot) -> None:
        stale = [{"code": "KILL_SWITCH", "message": "halted"}, {"code": "MARKET_CLOSED", "message": "shut"}]
        BotTick.objects.filter(bot=bot).update(blocked_by=stale)
        assert codes(blocked_by(Bot.objects.get(pk=bot.pk))) == ["MARKET_CLOSED"]


class TestPreview:
    def test_nothing_in_the_way_and_each_purchase_is_tried_on_the_live_account(self, bot: Bot) -> None:
        Bot.objects.filter(pk=bot.pk).update(dry_run=True, capital_usd=Decimal(300))
        found = preview(Bot.objects.get(pk=bot.pk))
        assert found.blocks == []
        assert all(lock.is_open for lock in found.locks)
        assert len(found.legs) == 6
        assert found.denied == []
        assert found.worst is not None
        assert found.worst.loss_usd < 300

    @pytest.mark.parametrize(("ramp", "is_denied"), [("80", False), ("79.99", True)])
    def test_limit_that_is_too_low_is_named(self, bot: Bot, ramp: str, is_denied: bool) -> None:
        Bot.objects.filter(pk=bot.pk).update(dry_run=True, capital_usd=Decimal(1000))
        RiskLimits.objects.update_or_create(scope="global", defaults={"ramp_usd_max": Decimal(ramp)})
        first = preview(Bot.objects.get(pk=bot.pk)).legs[0]
        assert [denial.code for denial in first.denials] == (["LIVE_RAMP"] if is_denied else [])

    @pytest.mark.parametrize("kind", ["none", "old"])
    def test_account_that_was_not_measured_is_said(self, bot: Bot, kind: str) -> None:
        account = measured(measured_at=timezone.now() - timedelta(hours=1))
        if kind == "none":
            account.delete()
        found = preview(bot)
        assert found.legs == ()
        assert "was not asked" in found.legs_problem
        assert found.is_account_unknown


class TestBackToPaper:
    def test_resting_purchase_is_cancelled_at_the_venue_and_the_bot_turns(
        self, bot: Bot, kraken: KrakenLoopback
    ) -> None:
        order = send(live_intent(bot, limit="90")).order
        assert order.status == OrderStatus.ACCEPTED
        done = going_live.set_paper(bot.pk, actor="anna")
        order.refresh_from_db()
        assert order.status == OrderStatus.CANCELED
        assert done.dry_run
        assert not done.turning_to_paper

    def test_resting_sale_is_left_and_keeps_the_bot_live(self, bot: Bot, kraken: KrakenLoopback) -> None:
        send(live_intent(bot))
        sale = send(live_intent(bot, Side.SELL, limit="120")).order
        assert sale.status == OrderStatus.ACCEPTED
        done = going_live.set_paper(bot.pk, actor="anna")
        sale.refresh_from_db()
        assert (sale.status, done.turning_to_paper) == (OrderStatus.ACCEPTED, True)
        assert "ENTRIES_HELD" in codes(blocked_by(done))
        feed_for("kraken").quote(BTC, timezone.now())
        denied = send(live_intent(done, quantity="0.2"))
        assert [denial.code for denial in denied.denials] == ["ENTRIES_HELD"]
        executor.cancel_at_venue(sale.pk, actor="test", reason="the test")
        sold = send(live_intent(done, Side.SELL))
        assert not sold.is_denied
        turn_to_paper(timezone.now())
        assert Bot.objects.get(pk=bot.pk).dry_run
