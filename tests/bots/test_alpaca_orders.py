"""Orders that go to Alpaca, its paper account and its live one, through gate, executor, sweep and books."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.utils import timezone
from pytest_django import Settings

from audit.models import OrderEvent
from bots import clean_up, executor, flatten, going_live, manager, sweep
from bots.account_chores import accounts_in_use, measure_venue_accounts
from bots.batch import load_books
from bots.blocks import blocked_by
from bots.brokers.factory import broker_for
from bots.dispatch import lines
from bots.hand_orders import HandOrder, place_order
from bots.manager import BotActionError, close_position
from bots.markets import market_for
from bots.models import Account, Bot, BotStatus, BotTick, Order, PaperBroker, Position
from bots.order_states import OrderStatus
from bots.proposals import filtered
from bots.strategies import registry
from bots.strategies.base import CancelProposal
from safety import readiness, stamp
from safety.controls.base import StateReading
from safety.intents import Level, OrderType, Side
from safety.kill_switch import engage
from safety.models import KillRun
from tests.bots.alpaca_desk import (
    allow_alpaca,
    live_stock_desk,
    measured,
    paper_desk,
    stock_bot,
    stock_intent,
)
from tests.bots.brokers.alpaca_builders import CANCEL, POST
from tests.bots.builders import ScriptedStrategy, Worker, buy, events_of, forget_process_memory, position_of, sell
from tests.bots.live import open_gates, send, stored
from tests.conftest import CommittedDatabase
from tests.loopback import faults
from tests.loopback.client import AlpacaLoopback
from tradingops.environment_values import Endpoint

pytestmark = pytest.mark.usefixtures("committed_db")


@pytest.fixture
def bot(committed_db: CommittedDatabase, alpaca: AlpacaLoopback) -> Bot:
    """Return a running stock bot on Alpaca's paper account."""
    return paper_desk(alpaca)


@pytest.fixture
def live(committed_db: CommittedDatabase, alpaca: AlpacaLoopback, settings: Settings) -> Bot:
    """Return a live stock bot with nothing in its way."""
    return live_stock_desk(alpaca, settings)


@pytest.fixture
def quiet_lines() -> Iterator[None]:
    """Let no errand outlive its test."""
    yield
    assert lines.settle(60)


def sweep_after(seconds: float) -> None:
    moment = timezone.now() + timedelta(seconds=seconds)
    with time_machine.travel(moment, tick=False):
        sweep.sweep(moment)


# The paper account takes the sending path, without the live gate.


def test_paper_order_is_sent_to_the_paper_account_and_its_fill_booked_as_paper(
    bot: Bot, alpaca: AlpacaLoopback
) -> None:
    intent = stock_intent(bot)
    order = send(intent).order
    assert (order.status, order.is_live) == (OrderStatus.FILLED, False)
    (there,) = alpaca.paper.orders_with(intent.client_order_id)
    assert order.venue_order_id == there["id"]
    assert order.filled_quantity == Decimal(there["filled_qty"]) == Decimal("0.3")
    assert events_of(order) == ["intent", "submitting", "filled"]
    assert set(OrderEvent.objects.values_list("is_live", flat=True)) == {False}
    position = position_of(bot, is_live=False)
    assert (position.quantity, position.cost) == (Decimal("0.3"), Decimal("30.03"))
    assert alpaca.live.log() == []


def test_paper_order_asks_for_no_lock_and_no_readiness(bot: Bot, alpaca: AlpacaLoopback, settings: Settings) -> None:
    open_gates(settings, live=False)
    assert settings.ENVIRONMENT.live_trading_enabled.is_open is False
    assert send(stock_intent(bot)).order.status == OrderStatus.FILLED


def test_order_of_unknown_outcome_is_looked_up_and_adopted_on_paper_too(bot: Bot, alpaca: AlpacaLoopback) -> None:
    alpaca.paper.fault(faults.reset(POST))
    intent = stock_intent(bot)
    assert send(intent).order.status == OrderStatus.UNKNOWN
    sweep_after(6)
    order = stored(intent)
    assert (order.status, events_of(order)) == (
        OrderStatus.FILLED,
        ["intent", "submitting", "unknown", "adopted", "filled"],
    )
    assert len(alpaca.paper.log(POST)) == len(alpaca.paper.orders()) == 1
    assert position_of(bot, is_live=False).quantity == Decimal(alpaca.paper.positions()["AAPL"])


def test_order_that_never_arrived_is_not_sent_after_whole_look_ups(bot: Bot, alpaca: AlpacaLoopback) -> None:
    alpaca.paper.fault(faults.reset(POST, is_carried_out=False))
    intent = stock_intent(bot)
    assert send(intent).order.status == OrderStatus.UNKNOWN
    for after_s in (6, 20, 40, 70):
        sweep_after(after_s)
    assert stored(intent).status == OrderStatus.NOT_SENT
    assert len(alpaca.paper.log(POST)) == 1


def test_id_that_is_taken_leads_to_the_order_that_stands(bot: Bot, alpaca: AlpacaLoopback) -> None:
    """A proxy in between may send a request twice: the second answer says that the id is taken."""
    intent = stock_intent(bot)
    order = {"symbol": "AAPL", "side": "buy", "type": "market", "qty": "0.3", "time_in_force": "day"}
    alpaca.paper.control("place", body=_json(order | {"client_order_id": intent.client_order_id}))
    found = send(intent).order
    assert (found.status, found.filled_quantity) == (OrderStatus.FILLED, Decimal("0.3"))
    assert len(alpaca.paper.orders()) == 1


def test_resting_order_is_looked_up_filled_in_parts_and_cancelled(bot: Bot, alpaca: AlpacaLoopback) -> None:
    order = send(stock_intent(bot, limit="98")).order
    assert order.status == OrderStatus.ACCEPTED
    alpaca.paper.fill(order.venue_order_id, "0.1")
    sweep_after(31)
    order.refresh_from_db()
    assert (order.status, order.filled_quantity) == (OrderStatus.PARTIALLY_FILLED, Decimal("0.1"))
    manager.cancel_order(order.pk, actor="test")
    sweep_after(62)
    order.refresh_from_db()
    assert (order.status, order.filled_quantity) == (OrderStatus.CANCELED, Decimal("0.1"))
    assert len(alpaca.paper.log(CANCEL)) == 1


def test_fills_that_lag_behind_their_order_are_booked_when_they_come(bot: Bot, alpaca: AlpacaLoopback) -> None:
    alpaca.paper.set_activity_lag_s(4)
    intent = stock_intent(bot)
    assert send(intent).order.status == OrderStatus.ACCEPTED
    assert not Position.objects.exists()

    def look() -> Order:
        Order.objects.update(looked_up_at=None)
        sweep.sweep(timezone.now())
        return stored(intent)

    alpaca.paper.wait_until(look, lambda order: order.status == OrderStatus.FILLED, 30)
    assert position_of(bot, is_live=False).quantity == Decimal("0.3")


def test_market_that_is_closed_denies_an_entry(committed_db: CommittedDatabase, alpaca: AlpacaLoopback) -> None:
    alpaca.set_open(False)
    bot = paper_desk(alpaca)
    assert "MARKET_CLOSED" in _codes(send(stock_intent(bot)))
    assert alpaca.paper.orders() == {}


# What a worker's tick, a person, a flatten and the kill switch do with such a bot.


def test_tick_sends_to_the_paper_account(
    bot: Bot, alpaca: AlpacaLoopback, monkeypatch: pytest.MonkeyPatch, quiet_lines: None
) -> None:
    forget_process_memory()
    monkeypatch.setitem(registry._strategies, "once", ScriptedStrategy("once", lambda view: [buy("0.3")]))
    Bot.objects.filter(pk=bot.pk).update(strategy="once", params={"timeframe": "1m"})
    worker = Worker(ttl_s=60)

    def tick() -> int:
        worker.tick(bot)
        assert lines.settle(60)
        return len(alpaca.paper.orders())

    alpaca.paper.wait_until(tick, lambda count: count > 0, 60)
    order = Order.objects.exclude(status=OrderStatus.DENIED).get()
    assert (order.status, order.is_live, order.actor) == (OrderStatus.FILLED, False, f"bot:{bot.pk}")
    assert order.deadline_at is not None


def test_order_by_hand_and_close_go_to_the_paper_account(bot: Bot, alpaca: AlpacaLoopback) -> None:
    wanted = HandOrder(Side.BUY, OrderType.MARKET, Decimal("0.3"))
    assert place_order(bot.pk, wanted, actor="ann", is_live=False).order.status == OrderStatus.FILLED
    assert alpaca.paper.positions() == {"AAPL": "0.3"}
    submission = close_position(bot.pk, actor="ann")
    assert submission.order.status == OrderStatus.FILLED
    assert alpaca.paper.positions() == {}
    assert Bot.objects.get(pk=bot.pk).status == BotStatus.PAUSED


def test_flatten_sells_what_is_held_at_the_paper_account(bot: Bot, alpaca: AlpacaLoopback) -> None:
    send(stock_intent(bot))
    run = flatten.start(f"bot:{bot.pk}", actor="ann", reason="a drill")
    flatten.work_on(run, until_s=float("inf"))
    assert alpaca.paper.positions() == {}
    assert position_of(bot, is_live=False).quantity == 0


def test_kill_switch_cancels_what_rests_at_the_paper_account(bot: Bot, alpaca: AlpacaLoopback) -> None:
    order = send(stock_intent(bot, limit="98")).order
    engage(Level.HALTED, "a drill", actor="ann")
    run = KillRun.objects.get()
    alpaca.paper.wait_until(lambda: _worked(run), lambda done: done, 30)
    order.refresh_from_db()
    assert order.status == OrderStatus.CANCELED
    assert [one["status"] for one in alpaca.paper.orders().values()] == ["canceled"]
    denied = send(stock_intent(bot))
    assert "KILL_SWITCH" in _codes(denied)


# The account.


def test_paper_account_is_measured_and_shared(bot: Bot, alpaca: AlpacaLoopback) -> None:
    other = stock_bot("other", symbol="MSFT")
    send(stock_intent(bot))
    account = measured(is_live=False)
    assert (account.name, account.is_live, account.flags) == ("alpaca-paper", False, [])
    assert account.cash_usd == Decimal(alpaca.paper.cash()) == Decimal("99969.97")
    # Between the bid and the offer.
    assert account.equity_usd is not None
    assert Decimal("99.90") <= (account.equity_usd - account.cash_usd) / Decimal("0.3") <= Decimal("100.10")
    assert accounts_in_use() == [("alpaca", False)]
    assert other.trades_at_venue


def test_person_s_start_forgets_what_the_paper_account_lost(bot: Bot) -> None:
    Account.objects.update(day_start_equity_usd=Decimal(500_000), peak_equity_usd=Decimal(500_000))
    manager.start(bot.pk, actor="ann")
    account = Account.objects.get(name="alpaca-paper")
    assert account.day_start_equity_usd == account.peak_equity_usd == account.equity_usd == Decimal(100_000)


def test_missing_paper_keys_deny_with_what_to_do(bot: Bot, alpaca: AlpacaLoopback, settings: Settings) -> None:
    intent = stock_intent(bot)
    market = _market(bot)
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, alpaca_api_secret_paper=None)
    submission = executor.submit_to_venue(intent, market)
    assert submission.is_denied
    assert [one.code for one in submission.denials] == ["ACCOUNT_BLOCKED"]
    assert "ALPACA_API_KEY_PAPER" in submission.denials[0].message
    assert alpaca.paper.log(POST) == []


# Who fills the paper orders is chosen, and changes only while nothing is held.


def test_only_alpaca_has_a_paper_account(committed_db: CommittedDatabase) -> None:
    with pytest.raises(BotActionError, match="no paper account"):
        stock_bot(venue="replay", symbol="BTC-PERP")


def test_paper_broker_changes_only_while_the_bot_holds_nothing(bot: Bot) -> None:
    send(stock_intent(bot))
    bot.refresh_from_db()
    bot.paper_broker = PaperBroker.BUILT_IN
    with pytest.raises(BotActionError, match="holds nothing"):
        manager.update(bot, actor="ann")
    close_position(bot.pk, actor="ann")
    changed = manager.update(bot, actor="ann")
    assert not changed.trades_at_venue


def test_order_that_was_decided_before_the_bot_moved_is_denied(bot: Bot, alpaca: AlpacaLoopback) -> None:
    intent = stock_intent(bot)
    Bot.objects.filter(pk=bot.pk).update(paper_broker=PaperBroker.BUILT_IN)
    assert _codes(send(intent)) == ["INTENT_EXPIRED"]
    assert alpaca.paper.log(POST) == []


def test_bot_with_something_at_the_paper_account_is_not_set_live(bot: Bot) -> None:
    send(stock_intent(bot))
    with pytest.raises(BotActionError, match="paper account"):
        going_live.set_live(bot.pk, actor="ann", confirm=bot.name, reason="because")


def test_dust_at_the_paper_account_keeps_no_bot_from_going_live(bot: Bot, alpaca: AlpacaLoopback) -> None:
    send(stock_intent(bot))
    Position.objects.update(quantity=Decimal("0.004"), cost=Decimal("0.4"))
    before = alpaca.paper.last_id()
    going_live.set_live(bot.pk, actor="ann", confirm=bot.name, reason="because", has_more=True)
    assert Bot.objects.get(pk=bot.pk).is_live
    assert alpaca.paper.log(POST, after_id=before) == []
    assert position_of(bot, is_live=False).quantity == Decimal("0.004")


def test_bot_without_keys_for_the_paper_account_says_so_once_and_tries_nothing(
    bot: Bot, alpaca: AlpacaLoopback, settings: Settings
) -> None:
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, alpaca_api_secret_paper=None)
    now, cancel = timezone.now(), CancelProposal("x", "old")
    books = load_books([bot.pk], now)[bot.pk]
    kept, blocks = filtered([buy("0.3"), sell("0.3"), cancel], books, StateReading(Level.ACTIVE), now)
    assert kept == [cancel]
    assert "ACCOUNT_BLOCKED" in [one.code for one in blocks]
    BotTick.objects.update_or_create(bot=bot, defaults={"blocked_by": [one.as_dict() for one in blocks]})
    told = [one.code for one in blocked_by(Bot.objects.get(pk=bot.pk))]
    assert told.count("ACCOUNT_BLOCKED") == 1
    assert "LIVE_GATE_CLOSED" not in told


# Live: every gate, and no connection without them.


def test_live_order_is_sent_to_the_live_account(live: Bot, alpaca: AlpacaLoopback) -> None:
    order = send(stock_intent(live)).order
    assert (order.status, order.is_live) == (OrderStatus.FILLED, True)
    assert alpaca.live.positions() == {"AAPL": "0.3"}
    assert alpaca.paper.positions() == {}
    assert alpaca.paper.log(POST) == []


def test_live_order_behind_a_shut_gate_is_denied(live: Bot, alpaca: AlpacaLoopback, settings: Settings) -> None:
    allow_alpaca(settings, is_open=False)
    before = alpaca.live.last_id()
    submission = send(stock_intent(live))
    assert "LIVE_GATE_CLOSED" in _codes(submission)
    assert alpaca.live.log(after_id=before) == []


@pytest.fixture
def live_port(settings: Settings) -> Iterator[socket.socket]:
    """Stand where Alpaca's live host would be, with live keys set, and take note of whoever connects."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        settings.ENVIRONMENT = replace(
            settings.ENVIRONMENT,
            alpaca_base_url_live=Endpoint(url, is_loopback=True),
            alpaca_api_key_live="AK-TEST",
            alpaca_api_secret_live="secret",
        )
        yield server


def connections(server: socket.socket) -> int:
    count = 0
    with suppress(BlockingIOError):
        while True:
            server.accept()[0].close()
            count += 1
    return count


def test_without_the_gate_no_connection_to_the_live_account_is_made(
    bot: Bot, alpaca: AlpacaLoopback, live_port: socket.socket, settings: Settings
) -> None:
    """A live bot and a live order stand in the database, and everything that asks venues by itself has its turn."""
    stamp.apply()
    open_gates(settings)
    allow_alpaca(settings, is_open=False)
    send(stock_intent(bot))
    Bot.objects.filter(pk=bot.pk).update(dry_run=False)
    Order.objects.update(is_live=True, status=OrderStatus.UNKNOWN, looked_up_at=None)
    bot.refresh_from_db()
    submission = send(stock_intent(bot))
    assert "LIVE_GATE_CLOSED" in _codes(submission)
    sweep.sweep(timezone.now())
    measure_venue_accounts(timezone.now())
    readiness.run("test", actor="test")
    assert connections(live_port) == 0
    allow_alpaca(settings)
    broker_for("alpaca", is_live=True).key_rights()
    assert connections(live_port) == 1


def test_flag_of_the_venue_blocks_live_orders(live: Bot, alpaca: AlpacaLoopback) -> None:
    alpaca.live.set_account(trading_blocked=True)
    measured(is_live=True)
    submission = send(stock_intent(live))
    assert "ACCOUNT_BLOCKED" in _codes(submission)
    assert alpaca.live.log(POST) == []


def _codes(submission: Any) -> list[str]:
    return [denial.code for denial in submission.denials]


def _json(raw: dict[str, str]) -> str:
    return json.dumps(raw)


def _market(bot: Bot) -> Any:
    return market_for(bot.venue, bot.symbol, timezone.now())


def _worked(run: KillRun) -> bool:
    return clean_up.work_on(run, until_s=time.monotonic() + 10).ended_at is not None
