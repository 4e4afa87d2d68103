"""The tables of the order path, read and written by constant SQL, hold the same as through the ORM, on both databases."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.utils import timezone

from audit import sql
from audit.table import Table
from bots.batch import RecentOrder, load_books, load_orders
from bots.models import Bot, Deal, Fill, Order, Position
from bots.tables import BOTS, DEALS, FILLS, ORDERS, POSITIONS
from safety.intents import Side
from safety.models import RiskLimits
from tests.bots.builders import make_bot, trade
from tests.conftest import on_sqlite

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("floor")]
TABLES = (BOTS, POSITIONS, DEALS, ORDERS, FILLS, Table(RiskLimits))


def fields_of(row: object) -> dict[str, object]:
    return {name: value for name, value in vars(row).items() if not name.startswith("_")}


def an_order(bot: Bot, **changes: object) -> Order:
    now = timezone.now()
    fields: dict[str, object] = {
        "client_order_id": "x1", "bot": bot, "venue": bot.venue, "symbol": bot.symbol, "side": Side.BUY, "type": "market",
        "quantity": Decimal("0.10"), "is_live": False, "leg": "base", "actor": "test", "created_at": now, "updated_at": now,
    }  # fmt: skip
    return Order(**{**fields, **changes})


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.model.__name__)
def test_rows_are_read_as_the_orm_reads_them(table: Table[Bot]) -> None:
    trade(make_bot(), Side.BUY, "0.5")
    RiskLimits.objects.update(rate_per_minute_bot=7, daily_loss_pct=Decimal("2.50"), switched_off=["SIZE_OUTLIER"])
    stored = list(table.model._default_manager.all())
    assert stored
    key = str(table.model._meta.pk.column)
    (read,) = table.read(key, [stored[0].pk])
    assert fields_of(read) == fields_of(stored[0])
    assert {name: type(value) for name, value in fields_of(read).items()} == {
        name: type(value) for name, value in fields_of(stored[0]).items()
    }
    assert len(table.read(key, [one.pk for one in stored])) == len(stored)
    assert table.read(key, []) == []


def test_rows_are_written_as_the_orm_writes_them() -> None:
    bot = make_bot()
    order = an_order(bot, reason="100 % sure: %s", limit_price=None)
    ORDERS.save(order)
    assert fields_of(Order.objects.get(pk=order.pk)) == fields_of(an_order(bot)) | fields_of(order)
    fill = Fill(order=order, venue=bot.venue, is_live=False, trade_id="t-1", quantity=Decimal("0.1"), price=Decimal("1e2"),
                fee=Decimal(0), is_maker=False, filled_at=timezone.now())  # fmt: skip
    FILLS.save(fill)
    assert fields_of(Fill.objects.get(pk=fill.pk)) == fields_of(fill)
    position = Position(bot=bot, is_live=False, recent_notionals=["1.5"])
    POSITIONS.save(position)
    position.quantity, position.last_entry_at = Decimal("12345678901234567890.12345678"), timezone.now()
    POSITIONS.save(position)
    assert fields_of(Position.objects.get()) == fields_of(position)


def test_field_that_is_left_out_keeps_what_others_wrote() -> None:
    deal = Deal(bot=make_bot(), is_live=False, symbol="BTC/USD", opened_at=timezone.now())
    DEALS.save(deal)
    Deal.objects.update(peak_price=Decimal(200))
    deal.legs = 2
    DEALS.save(deal, without=("peak_price",))
    stored = Deal.objects.get()
    assert (stored.legs, stored.peak_price) == (2, Decimal(200))


def test_row_that_is_gone_is_not_written_silently() -> None:
    order = an_order(make_bot(), id=10**6)
    with pytest.raises(DatabaseError, match="is not there"), transaction.atomic():
        ORDERS.save(order)
    assert not Order.objects.exists()


def test_database_refuses_what_it_refuses_the_orm_and_goes_on_after_it() -> None:
    bot = make_bot()
    ORDERS.save(an_order(bot))
    with pytest.raises(IntegrityError), transaction.atomic():
        ORDERS.save(an_order(bot))
    ORDERS.save(an_order(bot, client_order_id="x2"))
    assert Order.objects.count() == 2


def test_second_order_is_neither_parsed_nor_planned_again() -> None:
    if on_sqlite():
        pytest.skip("SQLite's driver keeps its statements by itself")
    bot = make_bot()
    for _ in range(2):
        load_books([bot.pk], timezone.now(), lock=True)
        known = sql.rows("SELECT statement FROM pg_prepared_statements WHERE statement LIKE %s", ["%FROM bots%"])
        assert len(known) == 2, "the lock, and the books"
    (counted,) = sql.rows(
        "SELECT sum(generic_plans + custom_plans) FROM pg_prepared_statements WHERE statement LIKE 'SELECT b.%%'"
    )
    assert counted == (2,)
    assert connection.connection.prepare_threshold is None, "Django's own statements are not for keeping"


# Orders.


def test_orders_that_ended_come_in_short_and_open_ones_whole() -> None:
    bot = make_bot()
    done = trade(bot, Side.BUY, "0.5").order
    resting = trade(bot, Side.BUY, "0.25", "99").order
    old = trade(bot, Side.BUY, "0.125").order
    now = timezone.now()
    Order.objects.filter(pk=old.pk).update(created_at=now - timedelta(minutes=9))
    first, second = load_orders([bot.pk], now - timedelta(minutes=1))
    assert isinstance(first, RecentOrder)
    assert (first.id, first.client_order_id, first.side, first.quantity, first.submitting_at) == (
        done.pk, done.client_order_id, "buy", Decimal("0.5"), done.submitting_at,
    )  # fmt: skip
    assert isinstance(second, Order)
    assert fields_of(second) == fields_of(Order.objects.get(pk=resting.pk))
    (whole,) = load_books([bot.pk], now)[bot.pk].open_orders
    assert whole.pk == resting.pk


def test_cancel_of_an_old_order_counts_as_recent() -> None:
    bot, now = make_bot(), timezone.now()
    order = trade(bot, Side.BUY, "0.5").order
    Order.objects.filter(pk=order.pk).update(created_at=now - timedelta(hours=9), cancel_requested_at=now)
    (found,) = load_orders([bot.pk], now - timedelta(minutes=1))
    assert (found.pk if isinstance(found, Order) else found.id, found.cancel_requested_at) == (order.pk, now)
    assert load_orders([bot.pk], now + timedelta(seconds=1)) == []
    assert load_orders([], now) == []


def test_both_books_of_a_bot_are_kept_apart() -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "0.5")
    Position.objects.create(bot=bot, is_live=True, quantity=Decimal(3))
    now = timezone.now()
    paper, live = (load_books([bot.pk], now, is_live=one)[bot.pk] for one in (False, True))
    assert (paper.position.quantity, live.position.quantity) == (Decimal("0.5"), Decimal(3))
    assert paper.deal is not None
    assert live.deal is None
