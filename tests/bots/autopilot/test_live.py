"""The autopilot with real money: a bot is live only past every lock, at that moment, and never on paper instead."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from audit.models import OperatorEvent
from bots import going_live, manager
from bots.autopilot import config
from bots.autopilot.acts import Acts
from bots.autopilot.config import LIVE_WORDS
from bots.autopilot.cycle import LEASE, CycleTaken
from bots.market_data import feeds
from bots.models import AutopilotBot, AutopilotLosses, Bot, BotStatus, Lease, Order, Phase
from bots.order_states import OrderStatus
from bots.shortages import really_there
from safety import kill_switch, stamp
from safety.intents import Level, Side
from safety.models import Notification
from tests.bots.autopilot.conftest import switch_on
from tests.bots.autopilot.market import FALLING, RISING, MarketFeed
from tests.bots.autopilot.test_cycle import decided, go
from tests.bots.autopilot.test_meanwhile import once_planned
from tests.bots.builders import actions_on, forget_process_memory, position_of
from tests.bots.live import live_intent, measured, open_gates, ready, send
from tests.conftest import CommittedDatabase
from tests.loopback.client import KrakenLoopback

SYMBOL = "BTC/USD"


@pytest.fixture
def live(
    committed_db: CommittedDatabase, kraken: KrakenLoopback, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> MarketFeed:
    """Return Kraken's market, with every lock open, a measured account, and the autopilot set live."""
    feed = MarketFeed(venue="kraken", courses={SYMBOL: RISING})
    monkeypatch.setitem(feeds._kraken, settings.ENVIRONMENT.kraken_base_url.url, feed)
    forget_process_memory()
    stamp.apply()
    open_gates(settings)
    measured()
    ready()
    switch_on(universe={"kraken": [SYMBOL]}, total_capital_usd=Decimal(500), slots=2, sector_slots=2)
    config.set_live(actor="anna", confirm=LIVE_WORDS, reason="four weeks went well")
    return feed


def test_with_every_lock_open_its_bot_is_live_and_runs(live: MarketFeed) -> None:
    assert decided(go()) == {SYMBOL: ("created", "score")}
    bot = Bot.objects.get()
    assert (bot.is_live, bot.status, bot.by_autopilot, bot.capital_usd) == (True, BotStatus.RUNNING, True, Decimal(250))
    # No person attended to it: what counts from a person's act does not begin anew.
    assert bot.attended_at is None
    assert [row[:2] for row in actions_on(bot)] == [
        ("bot_created", "autopilot"),
        ("live_enabled", "autopilot"),
        ("bot_running", "autopilot"),
    ]
    facts = dict(Notification.objects.get(event="autopilot_bot_created").facts)
    assert facts["Mode"] == "LIVE"
    assert AutopilotBot.objects.get().phase == Phase.TRADING
    live.courses[SYMBOL] = FALLING
    measured()
    assert decided(go()) == {SYMBOL: ("closed", "score")}
    assert Bot.objects.get().status == BotStatus.ARCHIVED


def test_lock_that_is_shut_makes_no_bot_at_all(live: MarketFeed, settings: Settings) -> None:
    open_gates(settings, live=False)
    done = go()
    assert decided(done) == {SYMBOL: ("skipped", "locks")}
    assert "ALLOW_LIVE_TRADING" in done.decisions.get().reason
    open_gates(settings)
    ready("debug_off")
    assert decided(go()) == {SYMBOL: ("skipped", "locks")}
    ready()
    kill_switch.engage(Level.REDUCING, "a test", actor="anna", scope="venue:kraken")
    assert decided(go()) == {SYMBOL: ("skipped", "halted")}
    assert not Bot.objects.exists()


def test_lock_that_shuts_in_between_archives_the_bot_and_never_lets_it_trade_on_paper(
    live: MarketFeed, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mark(*_: object) -> Decimal:
        # The last question before the bot is made.
        open_gates(settings, live=False)
        return Decimal(100)

    monkeypatch.setattr(MarketFeed, "mark", mark)
    done = go()
    assert [(one.kind, one.code) for one in done.decisions.order_by("id")] == [
        ("created", "score"),
        ("closed", "locks"),
    ]
    bot = Bot.objects.get()
    assert (bot.status, bot.is_live) == (BotStatus.ARCHIVED, False)
    assert not OperatorEvent.objects.filter(action__in=("live_enabled", "bot_running")).exists()


def test_halt_that_comes_while_a_bot_is_set_live_keeps_it_from_being_started(
    live: MarketFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_live = going_live.set_live

    def halted_meanwhile(*args: Any, **given: Any) -> object:
        done = set_live(*args, **given)
        kill_switch.engage(Level.HALTED, "a test", actor="anna", cancel_resting=False)
        return done

    monkeypatch.setattr(going_live, "set_live", halted_meanwhile)
    done = go()
    assert [(one.kind, one.code) for one in done.decisions.order_by("id")] == [
        ("created", "score"),
        ("skipped", "changed_meanwhile"),
    ]
    bot = Bot.objects.get()
    assert (bot.is_live, bot.status) == (True, BotStatus.STOPPED)


def test_bot_that_was_cut_off_before_it_was_live_is_finished_or_archived(live: MarketFeed) -> None:
    go()
    bot = Bot.objects.get()
    cut_off = {"status": BotStatus.STOPPED, "dry_run": True, "went_live_at": None}
    Bot.objects.filter(pk=bot.pk).update(**cut_off)
    AutopilotBot.objects.update(phase=Phase.STARTING)
    measured()
    ready()
    assert decided(go()) == {SYMBOL: ("started", "made_before")}
    bot.refresh_from_db()
    assert (bot.is_live, bot.status) == (True, BotStatus.RUNNING)
    Bot.objects.filter(pk=bot.pk).update(**cut_off)
    AutopilotBot.objects.update(phase=Phase.STARTING)
    config.set_paper(actor="anna")
    assert decided(go()) == {SYMBOL: ("closed", "locks")}
    bot.refresh_from_db()
    assert bot.status == BotStatus.ARCHIVED


def test_purchases_above_the_live_ramp_make_no_bot(live: MarketFeed) -> None:
    config.change({"total_capital_usd": Decimal(1000)}, actor="anna", reason="more")
    done = go()
    assert decided(done) == {SYMBOL: ("skipped", "limits")}
    assert not Bot.objects.exists()


def test_account_that_is_not_known_makes_no_bot(live: MarketFeed, kraken: KrakenLoopback) -> None:
    measured(measured_at=timezone.now() - timedelta(days=1))
    kraken.revoke_key()
    assert decided(go()) == {SYMBOL: ("skipped", "limits")}


def test_readiness_checks_that_fail_afterwards_undo_nothing_and_the_cycle_says_so(
    live: MarketFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hangs_up(*_: object) -> None:
        raise ConnectionResetError("the venue hung up")

    monkeypatch.setattr(going_live, "check_readiness", hangs_up)
    done = go()
    assert decided(done) == {SYMBOL: ("created", "score")}
    assert (done.status, done.summary["created"]) == ("failed", 1)
    assert done.error.endswith("the readiness checks afterwards: ConnectionResetError: the venue hung up")
    assert (Bot.objects.get().is_live, Bot.objects.get().status) == (True, BotStatus.RUNNING)


class TestBackToPaper:
    """The autopilot is set back to paper, and has live bots."""

    @pytest.fixture
    def bot(self, live: MarketFeed) -> Bot:
        """Return its live bot, which runs; the autopilot is back on paper since."""
        go()
        config.set_paper(actor="anna")
        measured()
        return Bot.objects.get()

    def hold(self, bot: Bot, phase: str) -> None:
        reason = "held by the autopilot: a test"
        Bot.objects.filter(pk=bot.pk).update(status=BotStatus.PAUSED, status_reason=reason)
        AutopilotBot.objects.update(phase=phase, reason=reason)

    def test_live_bot_that_a_loss_held_waits_for_a_person(self, bot: Bot) -> None:
        self.hold(bot, Phase.LOSS_HOLD)
        assert decided(go()) == {SYMBOL: ("kept", "set_to_paper")}
        bot.refresh_from_db()
        assert (bot.is_live, bot.status) == (True, BotStatus.PAUSED)

    def test_live_bot_on_its_way_out_does_not_come_back(self, bot: Bot) -> None:
        self.hold(bot, Phase.LEAVING)
        done = go()
        assert done.decisions.order_by("id")[0].code == "flat"
        assert decided(done) == {SYMBOL: ("closed", "flat")}
        bot.refresh_from_db()
        assert bot.status == BotStatus.ARCHIVED

    def test_live_bot_of_a_symbol_that_is_no_longer_good_enough_is_closed(self, live: MarketFeed, bot: Bot) -> None:
        live.courses[SYMBOL] = FALLING
        assert decided(go()) == {SYMBOL: ("closed", "score")}


def test_paper_bot_waits_for_the_loss_limit_of_paper_while_the_autopilot_is_live(live: MarketFeed) -> None:
    go()
    bot = Bot.objects.get()
    reason = "held by the autopilot: a test"
    Bot.objects.filter(pk=bot.pk).update(dry_run=True, status=BotStatus.PAUSED, status_reason=reason)
    AutopilotBot.objects.update(phase=Phase.LOSS_HOLD, reason=reason)
    now = timezone.now()
    over = {"stopped_at": now, "stopped_until": now + timedelta(hours=1), "stopped_by": "Too much was lost."}
    AutopilotLosses.objects.filter(is_live=False).update(**over)
    measured()
    assert decided(go()) == {SYMBOL: ("kept", "loss_limit")}
    bot.refresh_from_db()
    assert bot.status == BotStatus.PAUSED


@pytest.mark.parametrize("stops", ["paper", "off", "losses"])
def test_bot_that_was_made_and_is_not_to_trade_any_more_never_starts(
    live: MarketFeed, monkeypatch: pytest.MonkeyPatch, stops: str
) -> None:
    real = going_live.set_live

    def set_live(*args: Any, **named: Any) -> Bot:
        # Its venue may take seconds to say what is on the account: a person, or a loss, is quicker.
        if stops == "paper":
            config.set_paper(actor="anna")
        elif stops == "off":
            config.change({"enabled": False}, actor="anna", reason="enough")
        else:
            now = timezone.now()
            over = {"stopped_at": now, "stopped_until": now + timedelta(hours=1), "stopped_by": "Too much was lost."}
            AutopilotLosses.objects.filter(is_live=True).update(**over)
        return real(*args, **named)

    monkeypatch.setattr(going_live, "set_live", set_live)
    go()
    bot = Bot.objects.get()
    assert bot.status == BotStatus.STOPPED
    assert not OperatorEvent.objects.filter(action="bot_running").exists()
    monkeypatch.undo()


def test_bot_that_a_person_starts_on_paper_is_not_set_live_by_what_was_planned(
    live: MarketFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    go()
    bot = Bot.objects.get()
    Bot.objects.filter(pk=bot.pk).update(status=BotStatus.STOPPED, dry_run=True, went_live_at=None)
    AutopilotBot.objects.update(phase=Phase.STARTING)
    measured()
    ready()
    once_planned(monkeypatch, lambda: manager.start(bot.pk, actor="anna"))
    assert decided(go()) == {SYMBOL: ("kept", "changed_meanwhile")}
    bot.refresh_from_db()
    assert (bot.is_live, bot.status) == (False, BotStatus.RUNNING)


def test_bot_that_a_person_set_to_paper_before_it_was_started_is_not_set_live_again(live: MarketFeed) -> None:
    go()
    bot = Bot.objects.get()
    Bot.objects.filter(pk=bot.pk).update(status=BotStatus.STOPPED)
    AutopilotBot.objects.update(phase=Phase.STARTING)
    going_live.set_paper(bot.pk, actor="anna")
    measured()
    assert decided(go()) == {SYMBOL: ("closed", "locks")}
    bot.refresh_from_db()
    assert (bot.is_live, bot.status) == (False, BotStatus.ARCHIVED)


class TestSale:
    """All that a live bot holds is to be sold, which takes its venue a while: what happens meanwhile is asked last of all."""

    @pytest.fixture
    def bot(self, live: MarketFeed, kraken: KrakenLoopback) -> Bot:
        """Return its live bot, which holds 0.3 and has an exit that rests; its score has fallen, and all is to be sold."""
        kraken.set_price("99.9", "100.1")
        config.change({"close_mode": "flatten"}, actor="anna", reason="sell it")
        go()
        bot = Bot.objects.get()
        measured()
        ready()
        bought = send(live_intent(bot))
        assert bought.order.status == OrderStatus.FILLED, bought.denials
        assert send(live_intent(bot, Side.SELL, "0.1", "120")).order.status == OrderStatus.ACCEPTED
        live.courses[SYMBOL] = FALLING
        return bot

    def test_what_it_holds_is_sold_and_it_is_archived(self, bot: Bot, kraken: KrakenLoopback) -> None:
        go()
        bot.refresh_from_db()
        assert (bot.status, position_of(bot, is_live=True).quantity) == (BotStatus.ARCHIVED, 0)
        assert len(kraken.log("AddOrder")) == 3

    @pytest.mark.parametrize("happens", ["started", "set", "lost"])
    def test_whatever_happens_while_the_venue_is_asked_ends_the_sale(
        self, bot: Bot, kraken: KrakenLoopback, monkeypatch: pytest.MonkeyPatch, happens: str
    ) -> None:
        def late(*given: Any) -> Decimal:
            # The last question before the sale is kept.
            if happens == "started":
                manager.start(bot.pk, actor="anna")
            elif happens == "set":
                config.change({"close_mode": "manage_out"}, actor="anna", reason="do not sell")
            else:
                Lease.objects.filter(name=LEASE).update(holder="another", epoch=99)
            return really_there(*given)

        monkeypatch.setattr("bots.hand_orders.really_there", late)
        if happens == "lost":
            with pytest.raises(CycleTaken):
                go()
        else:
            assert ("kept", "changed_meanwhile") in set(go().decisions.values_list("kind", "code"))
        bot.refresh_from_db()
        assert bot.status == (BotStatus.RUNNING if happens == "started" else BotStatus.PAUSED)
        assert position_of(bot, is_live=True).quantity == Decimal("0.3")
        assert len(kraken.log("AddOrder")) == 2, "it was sold all the same"
        assert not Order.objects.filter(leg="close").exists()
        assert bot.is_live

    def test_bot_that_a_person_starts_before_the_sale_keeps_its_exits_and_is_not_paused(
        self, bot: Bot, kraken: KrakenLoopback, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        send_off = Acts._send_off

        def sent_off(*given: Any) -> None:
            send_off(*given)
            manager.start(bot.pk, actor="anna")

        monkeypatch.setattr(Acts, "_send_off", sent_off)
        assert ("kept", "changed_meanwhile") in set(go().decisions.values_list("kind", "code"))
        bot.refresh_from_db()
        assert (bot.status, position_of(bot, is_live=True).quantity) == (BotStatus.RUNNING, Decimal("0.3"))
        assert not kraken.log("CancelOrder")
        assert Order.objects.get(side=Side.SELL).status == OrderStatus.ACCEPTED
