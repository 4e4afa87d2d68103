"""What the gate is told of a bot, and that limits are reserved at the claim, whoever acts at the same moment."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from audit.log import unit
from bots import executor, manager
from bots.batch import load_books, locked_books
from bots.equity import take_snapshots
from bots.exposure import gather
from bots.markets import market_for
from bots.models import Bot, Order, Position
from bots.tables import POSITIONS
from safety.intents import Exposure, OrderType, Side
from tests.bots.builders import Floor, Worker, buy, intent_for, make_bot, position_of, sell, trade
from tests.conftest import CommittedDatabase, on_sqlite
from tests.faults.oracle import check_everything


def at_the_same_moment(*acts: Callable[[], Any]) -> list[Any]:
    """Do these in threads that start together; return what each returned or raised, in the order given."""
    barrier = threading.Barrier(len(acts))

    def run(act: Callable[[], Any]) -> Any:
        with closing(connections["default"]):
            barrier.wait(timeout=10)
            try:
                return act()
            except Exception as error:  # noqa: BLE001 - what was raised is the answer
                return error

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


def exposure_of(bot: Bot, side: Side = Side.BUY, quantity: str = "0.1") -> Exposure:
    now = timezone.now()
    books = locked_books(Bot(pk=bot.pk), now)
    return gather(books, intent_for(bot, side, quantity), market_for(bot.venue, bot.symbol, now), now=now)


# What is counted.


@pytest.mark.django_db
def test_fresh_bot_has_its_whole_capital_and_cash(floor: Floor) -> None:
    exposure = exposure_of(make_bot())
    assert (exposure.bot_committed_usd, exposure.cash_free_usd) == (0, Decimal(10_000))
    assert (exposure.position_quantity, exposure.open_orders_bot, exposure.sent_last_minute_bot) == (0, 0, 0)
    assert (exposure.entries_held, exposure.is_duplicate) == ("", False)
    assert exposure.allowed_symbols == {("replay", "BTC-PERP")}


@pytest.mark.django_db
def test_cost_and_resting_entries_are_committed(floor: Floor) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "1")
    trade(bot, Side.BUY, "2", limit="90")
    exposure = exposure_of(bot)
    # Bought at 100.04 with a fee of 0.40016, and 2 at 90 rest: cash is kept for their fee, too.
    assert exposure.bot_committed_usd == Decimal("100.04") + 180
    assert exposure.cash_free_usd == 10_000 - Decimal("100.04") - Decimal("0.40016") - 180 * Decimal("1.004")
    assert (exposure.open_orders_bot, exposure.sent_last_minute_bot) == (1, 2)


@pytest.mark.django_db
def test_resting_exit_reserves_the_position_and_no_cash(floor: Floor) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "1")
    before = exposure_of(bot)
    trade(bot, Side.SELL, "0.4", limit="110")
    after = exposure_of(bot)
    assert after.pending_exit_quantity == Decimal("0.4")
    assert (after.bot_committed_usd, after.cash_free_usd) == (before.bot_committed_usd, before.cash_free_usd)


@pytest.mark.django_db
def test_part_filled_entry_reserves_what_is_left_of_it(floor: Floor) -> None:
    bot = make_bot()
    floor.feed.volume = Decimal(2)
    trade(bot, Side.BUY, "0.5")
    # 0.2 were bought at 100.04; of a market order the rest is counted at the offer.
    assert exposure_of(bot).bot_committed_usd == Decimal("0.2") * Decimal("100.04") + Decimal("0.3") * Decimal("100.01")


@pytest.mark.django_db
def test_submits_and_cancels_of_the_last_minute_count(floor: Floor) -> None:
    bot = make_bot()
    order = trade(bot, Side.BUY, "0.5", limit="90").order
    trade(bot, Side.BUY, "500")  # denied, so not sent
    assert exposure_of(bot).sent_last_minute_bot == 1
    manager.cancel_order(order.pk, actor="test")
    assert exposure_of(bot).sent_last_minute_bot == 2
    long_ago = timezone.now() - timedelta(seconds=61)
    Order.objects.update(created_at=long_ago, submitting_at=long_ago, cancel_requested_at=long_ago)
    assert exposure_of(bot).sent_last_minute_bot == 0


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("status", "held", "says"),
    [("running", "", ""), ("paused", "", "the bot is paused"), ("running", "by hand", "by hand")],
)
def test_reason_for_holding_entries(floor: Floor, status: str, held: str, says: str) -> None:
    bot = make_bot()
    Bot.objects.update(status=status, entries_held=held)
    assert exposure_of(bot).entries_held == says


@pytest.mark.django_db
def test_other_bots_orders_are_not_counted(floor: Floor) -> None:
    trade(make_bot("other"), Side.BUY, "1", limit="90")
    assert exposure_of(make_bot("mine")).open_orders_bot == 0


# At the same moment, with real commits and real locks.


@pytest.mark.parametrize("kind", ["market", "limit"])
def test_capital_for_three_orders_lets_exactly_three_of_eight_workers_buy(
    committed_db: CommittedDatabase, floor: Floor, kind: str
) -> None:
    bot = make_bot(capital_usd=Decimal(300))
    limit = None if kind == "market" else "95"
    # About 95 USD each; no two are equal, so that none is another's duplicate.
    quantities = [f"0.9{number}" for number in range(8)]
    results = at_the_same_moment(*(lambda q=q: trade(bot, Side.BUY, q, limit=limit) for q in quantities))
    allowed = [one for one in results if isinstance(one, executor.Submission) and not one.is_denied]
    denied = [[denial.code for denial in one.denials] for one in results if one.is_denied]
    assert len(allowed) == 3, results
    assert denied == [["BOT_CAPITAL_EXCEEDED"]] * 5
    assert Order.objects.filter(status="filled" if kind == "market" else "accepted").count() == 3
    check_everything()


def test_rate_limit_holds_across_workers(committed_db: CommittedDatabase, floor: Floor) -> None:
    bot = make_bot()
    for number in range(17):
        trade(bot, Side.BUY, f"0.0{number + 11}")
    results = at_the_same_moment(*(lambda q=f"0.1{number}": trade(bot, Side.BUY, q) for number in range(6)))
    assert sum(not one.is_denied for one in results) == 3
    assert {denial.code for one in results for denial in one.denials} == {"RATE_LIMIT"}
    check_everything()


def test_same_intent_from_two_workers_is_one_order(committed_db: CommittedDatabase, floor: Floor) -> None:
    bot = make_bot()
    intent = intent_for(bot, Side.BUY, "0.5")
    results = at_the_same_moment(*[lambda: trade(bot, Side.BUY, "0.5", client_order_id=intent.client_order_id)] * 4)
    assert sorted(one.is_denied for one in results) == [False, True, True, True]
    assert position_of(bot).quantity == Decimal("0.5")
    check_everything()


def test_position_closed_from_four_places_is_sold_once(committed_db: CommittedDatabase, floor: Floor) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "0.5")
    results = at_the_same_moment(*[lambda: manager.close_position(bot.pk, actor="anna")] * 4)
    refused = [one for one in results if isinstance(one, manager.BotActionError)]
    assert len(refused) == 3, results
    assert Order.objects.filter(side="sell").count() == 1
    assert position_of(bot).quantity == 0
    check_everything()


def test_close_by_hand_against_the_bots_own_exit_sells_once(committed_db: CommittedDatabase, floor: Floor) -> None:
    floor.strategy("leave", lambda view: [sell(str(view.position.quantity))] if view.position.quantity else [])
    bots = [make_bot(f"bot {number}", strategy="leave") for number in range(5)]
    for bot in bots:
        trade(bot, Side.BUY, "0.5")
    worker = Worker()
    results = at_the_same_moment(
        lambda: worker.tick(*bots),
        *(lambda pk=bot.pk: manager.close_position(pk, actor="anna") for bot in bots),
    )
    assert results[0] is None
    for bot in bots:
        assert Order.objects.filter(bot=bot, side="sell", status="filled").count() == 1
        assert position_of(bot).quantity == 0
    check_everything()


def test_stop_by_hand_against_ticks_leaves_nothing_resting(committed_db: CommittedDatabase, floor: Floor) -> None:
    def script(view: Any) -> list[Any]:
        return [buy("0.1", leg=f"{view.now:%f}", limit="90")]

    floor.strategy("rest", script)
    bots = [make_bot(f"bot {number}", strategy="rest") for number in range(4)]
    worker = Worker()

    def tick_three_times() -> None:
        for _ in range(3):
            worker.tick(*bots)

    at_the_same_moment(
        tick_three_times,
        *(lambda pk=bot.pk: manager.stop(pk, actor="anna") for bot in bots),
    )
    assert set(Bot.objects.values_list("status", flat=True)) == {"stopped"}
    assert not Order.objects.filter(status__in=["accepted", "partially_filled"]).exists()
    check_everything()


def test_books_that_waited_for_the_lock_show_what_was_written_meanwhile(
    committed_db: CommittedDatabase, floor: Floor
) -> None:
    """The lock is a statement of its own: one that locks and reads at once would show what was there before it waited."""
    bot = make_bot()
    Position.objects.create(bot=bot, is_live=False)

    def add_ten_times() -> None:
        for _ in range(10):
            with unit():
                books = locked_books(bot, timezone.now())
                books.position.quantity += 1
                POSITIONS.save(books.position)

    assert at_the_same_moment(*[add_ten_times] * 4) == [None] * 4
    assert Position.objects.get().quantity == 40


@pytest.mark.parametrize("held_by", ["tick", "person"])
def test_snapshot_waits_for_no_bot_that_is_locked(committed_db: CommittedDatabase, floor: Floor, held_by: str) -> None:
    """Its row names the bot. If it waited, a tick that pauses a bot on top of those it holds could wait for it in turn."""
    if committed_db.vendor == "sqlite":
        pytest.skip("SQLite locks the whole database, never a row")
    bot = make_bot()
    trade(bot, Side.BUY, "0.5")
    now = timezone.now()
    with unit():
        if held_by == "tick":
            load_books([bot.pk], now, lock=True)
        else:
            with manager.locked(bot.pk):
                pass
        (taken,) = at_the_same_moment(lambda: _snapshot_without_patience(now))
    assert taken == 1


def _snapshot_without_patience(now: datetime) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '500ms'")
    return take_snapshots(now)


@pytest.mark.django_db
def test_books_are_read_by_index_however_long_the_history() -> None:
    bot = make_bot(running=False)
    long_ago = timezone.now() - timedelta(days=30)
    # The planner judges by what is there: with hardly a row, any way of reading looks as good as another.
    Order.objects.bulk_create(
        Order(
            client_order_id=f"old-{number}", bot=bot, venue=bot.venue, symbol=bot.symbol, side=Side.BUY,
            type=OrderType.MARKET, quantity=Decimal(1), is_live=False, leg="base", actor="test", status="filled",
            created_at=long_ago, updated_at=long_ago,
        )
        for number in range(3_000)
    )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE orders")
    with CaptureQueriesContext(connection) as captured:
        load_books([bot.pk], timezone.now())
    (query,) = [one["sql"] for one in captured.captured_queries if 'FROM "orders"' in one["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {query}" if on_sqlite() else f"EXPLAIN {query}")
        plan = "\n".join(str(row[-1]) for row in cursor.fetchall())
    assert "order_bot_cancel" in plan
    assert "Seq Scan" not in plan
    assert "SCAN orders" not in plan
