"""The history pages: read-only, filtered by what an index answers, and as cheap for many rows as for few."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audit import bot_names
from audit.admin_base import COUNTED_ROWS_MAX, BoundedPaginator
from audit.log import OperatorEventRecord, OrderEventRecord, record, unit
from audit.models import OperatorEvent, OrderEvent
from tests.bots.admin.conftest import Desk, desk
from tests.bots.builders import floor, make_bot

__all__ = ["desk", "floor"]

ORDERS = "/admin/audit/orderevent/"
OPERATORS = "/admin/audit/operatorevent/"


def order_event(number: int = 0, **changes: Any) -> OrderEventRecord:
    fields: dict[str, Any] = {
        "bot_id": None, "client_order_id": f"order-{number}", "venue": "replay", "symbol": "BTC-PERP", "side": "buy",
        "ord_type": "market", "price": None, "amount": Decimal(1), "event": "intent", "status": "pending",
        "is_live": False, "actor": "test", **changes,
    }  # fmt: skip
    return OrderEventRecord(**fields)


def write(*records: OrderEventRecord | OperatorEventRecord) -> None:
    with unit():
        for one in records:
            record(one)


def shown_orders(page: str) -> list[str]:
    """Return the client order ids on a page, top to bottom."""
    return [part.split("<", 1)[0].strip() for part in page.split("market · ")[1:]]


def test_newest_row_comes_first(desk: Desk) -> None:
    write(*(order_event(number) for number in range(3)))
    assert shown_orders(desk.get(ORDERS)) == ["order-2", "order-1", "order-0"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("is_live=1", ["order-1"]),
        ("is_live=0", ["order-3", "order-2", "order-0"]),
        ("event__exact=denied", ["order-2"]),
        ("symbol=SPY", ["order-3"]),
        ("days=today", ["order-3", "order-2", "order-1", "order-0"]),
        ("q=order-2", ["order-2"]),
        ("q=SPY", ["order-3"]),
        ("q=order", []),
    ],
)
def test_filters_and_search_pick_rows(desk: Desk, query: str, expected: list[str]) -> None:
    make_bot(symbol="SPY")
    # One transaction each: within one, the rows of a chain follow each other.
    for one in (
        order_event(0),
        order_event(1, is_live=True),
        order_event(2, event="denied"),
        order_event(3, symbol="SPY"),
    ):
        write(one)
    assert shown_orders(desk.get(f"{ORDERS}?{query}")) == expected


def test_bot_filter_picks_one_bot_by_name(desk: Desk) -> None:
    bot, other = make_bot("mine"), make_bot("other")
    write(order_event(0, bot_id=bot.pk), order_event(1, bot_id=other.pk))
    page = desk.get(f"{ORDERS}?bot={bot.pk}")
    assert shown_orders(page) == ["order-0"]
    assert f'href="/admin/bots/bot/{bot.pk}/change/"' in page


def test_event_of_a_bot_that_is_not_known_shows_its_number(desk: Desk) -> None:
    write(order_event(bot_id=4711))
    assert "bot 4711" in desk.get(ORDERS)


def test_denial_shows_every_reason_with_limit_and_actual(desk: Desk) -> None:
    reasons = [
        {"code": "NOTIONAL_ABOVE_MAX", "message": "The order is too large.", "limit": "250", "actual": "300"},
        {"code": "KILL_SWITCH", "message": "Trading is halted.", "limit": "", "actual": ""},
    ]
    write(order_event(event="denied", details={"reasons": reasons}))
    assert "The order is too large. Trading is halted." in desk.get(ORDERS)
    page = desk.get(f"{ORDERS}{OrderEvent.objects.get().pk}/change/")
    assert "NOTIONAL_ABOVE_MAX: The order is too large. (limit 250, actual 300)" in page


def test_reason_is_escaped(desk: Desk) -> None:
    write(order_event(reason="<script>alert(1)</script>"))
    assert "<script>alert(1)" not in desk.get(ORDERS)


def test_older_rows_go_on_below_the_last_one_shown(desk: Desk) -> None:
    write(*(order_event(number) for number in range(70)))
    first = desk.get(ORDERS)
    last = OrderEvent.objects.get(client_order_id=shown_orders(first)[-1])
    assert f"id__lt={last.pk}" in first
    second = desk.get(f"{ORDERS}?id__lt={last.pk}")
    assert shown_orders(first) + shown_orders(second) == [f"order-{number}" for number in range(69, -1, -1)]
    assert "Older rows" not in second


def test_page_counts_no_more_rows_than_it_has_to(desk: Desk) -> None:
    write(*(order_event(number) for number in range(3)))
    with CaptureQueriesContext(connection) as captured:
        desk.get(ORDERS)
    counts = [query["sql"] for query in captured if "COUNT(" in query["sql"] and "order_events" in query["sql"]]
    assert counts
    assert all(f"LIMIT {COUNTED_ROWS_MAX}" in sql for sql in counts)


def test_paginator_stops_counting() -> None:
    assert not BoundedPaginator(list(range(COUNTED_ROWS_MAX - 1)), 50).is_cut
    assert BoundedPaginator(list(range(COUNTED_ROWS_MAX)), 50).is_cut


@pytest.mark.parametrize("base", [ORDERS, OPERATORS])
def test_history_cannot_be_added_changed_or_deleted(desk: Desk, base: str) -> None:
    write(order_event(), OperatorEventRecord(actor="a", action="b", object="c", old="", new=""))
    model = OrderEvent if base == ORDERS else OperatorEvent
    pk = model.objects.values_list("pk", flat=True)[0]
    before = model.objects.count()
    for url in ("add/", f"{pk}/change/", f"{pk}/delete/"):
        assert desk.post(f"{base}{url}", {"actor": "x", "post": "yes"}).status_code == 403
    desk.post(base, {"action": "delete_selected", "_selected_action": [str(pk)], "post": "yes"})
    assert model.objects.count() == before


def test_operator_events_show_who_changed_what_and_why(desk: Desk) -> None:
    write(
        OperatorEventRecord(
            actor="ann", action="bot_paused", object="bot:3 x", old="running", new="paused", reason="lunch"
        )
    )
    page = desk.get(OPERATORS)
    for text in ("ann", "bot paused", "bot:3 x", "running → paused", "lunch"):
        assert text in page


@pytest.mark.parametrize(
    ("query", "is_found"), [("ann", True), ("bot paused", True), ("bot_paused", True), ("bob", False)]
)
def test_operator_events_are_searched_by_actor_or_action(desk: Desk, query: str, is_found: bool) -> None:
    write(OperatorEventRecord(actor="ann", action="bot_paused", object="bot:3 x", old="running", new="paused"))
    assert ("running → paused" in desk.get(f"{OPERATORS}?q={query}")) == is_found


def test_names_come_from_the_last_source_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bot_names, "_sources", [])
    assert bot_names.by_id() == {}
    name = bot_names.BotName(1, "one", "BTC-PERP", "/1/")
    bot_names.tell(list)
    bot_names.tell(lambda: [name])
    assert bot_names.by_id() == {1: name}
