"""Pages and their cursors, and what may stand in an address: nothing twice, nothing left out, and no slip without a word."""

import base64
from typing import Any

import pytest

from bots.models import Order
from safety.intents import Side
from tests.audit.factories import order_event, write, write_fills
from tests.bots.builders import Floor, floor, make_bot, trade
from tests.tradingops.api.asking import Script, script

__all__ = ["floor", "script"]
LISTS = ("/bots", "/orders", "/order-events", "/positions", "/pnl", "/equity")
WINDOWS = ("/orders", "/order-events", "/equity")
NO_CURSOR = base64.urlsafe_b64encode(b"orders.000000000000.7").decode().rstrip("=")


@pytest.mark.parametrize("path", LISTS)
def test_empty_list_is_one_page_without_a_next(script: Script, path: str) -> None:
    body = script.ok(path)
    assert (body["items"], body["next"]) == ([], None)


@pytest.mark.parametrize(("limit", "sizes"), [(3, [3, 3, 1]), (7, [7]), (6, [6, 1]), (500, [7]), (None, [7])])
def test_pages_hold_each_row_once_newest_first(script: Script, limit: int | None, sizes: list[int]) -> None:
    write_fills(7)
    pages = script.pages("/order-events", limit=limit)
    assert [len(page) for page in pages] == sizes
    ids = [row["id"] for page in pages for row in page]
    assert ids == sorted(set(ids), reverse=True)
    assert len(ids) == 7


def test_fifty_rows_make_a_page_when_no_limit_is_given(script: Script) -> None:
    write_fills(51)
    assert [len(page) for page in script.pages("/order-events")] == [50, 1]


def test_rows_that_come_in_between_two_pages_move_nothing(script: Script) -> None:
    write_fills(4)
    first = script.ok("/order-events", limit=2)
    write(*(order_event(client_order_id=f"new-{number}") for number in range(5)))
    second = script.ok("/order-events", limit=2, cursor=first["next"])
    ids = [row["client_order_id"] for row in first["items"] + second["items"]]
    assert ids == ["t-abc-4-0", "t-abc-3-0", "t-abc-2-0", "t-abc-1-0"]
    assert second["next"] is None


@pytest.mark.parametrize("path", LISTS)
def test_limit_outside_1_to_500_is_bad_input(script: Script, path: str) -> None:
    for limit in ("0", "501", "-1", "1.5", "x", "", "9" * 30, "9" * 5_000, "true"):
        status, body = script.get(path, limit=limit)
        assert (status, body["code"]) == (422, "bad_input"), limit


@pytest.mark.parametrize("path", LISTS)
def test_limit_of_1_and_of_500_are_taken(script: Script, path: str) -> None:
    assert [script.get(path, limit=limit)[0] for limit in (1, 500)] == [200, 200]


@pytest.mark.parametrize("path", LISTS)
def test_cursor_that_no_page_gave_is_bad_input(script: Script, path: str) -> None:
    for cursor in ("", "x", "=", "a" * 201, "é", "!!!!", NO_CURSOR, NO_CURSOR + "A", "b3JkZXJz", "AAAA", "9" * 150):
        status, body = script.get(path, cursor=cursor)
        assert status == 422, cursor
        assert set(body) >= {"code", "message", "reasons"}


def test_cursor_of_another_list_is_bad_input(script: Script, floor: Floor) -> None:
    write_fills(3)
    for name in ("one", "two"):
        make_bot(name)
    cursor = script.ok("/order-events", limit=1)["next"]
    status, body = script.get("/bots", cursor=cursor)
    assert (status, body["code"]) == (422, "bad_cursor")


def test_cursor_with_other_filters_is_bad_input_and_with_another_limit_is_not(script: Script) -> None:
    write_fills(5, symbol="BTC/USD")
    cursor = script.ok("/order-events", limit=2, symbol="BTC/USD")["next"]
    status, body = script.get("/order-events", limit=2, symbol="ETH/USD", cursor=cursor)
    assert (status, body["code"]) == (422, "bad_cursor")
    assert "other filters" in body["message"]
    assert len(script.ok("/order-events", limit=500, symbol="BTC/USD", cursor=cursor)["items"]) == 3


@pytest.mark.parametrize("path", LISTS)
def test_name_that_the_endpoint_does_not_know_is_refused_and_named(script: Script, path: str) -> None:
    status, body = script.get(path, bot=7)
    assert status == 422
    assert "'bot'" in body["reasons"][0]["message"]


def test_name_that_is_given_twice_is_refused(script: Script) -> None:
    status, body = script.get("/orders?limit=1&limit=2")
    assert status == 422
    assert "2 times" in body["reasons"][0]["message"]


@pytest.mark.parametrize("path", ["/bots/7", "/orders/nothing"])
def test_endpoint_without_parameters_takes_none(script: Script, path: str) -> None:
    status, body = script.get(path, verbose=1)
    assert (status, body["code"]) == (422, "bad_input")
    assert "'verbose'" in body["message"]


NO_MOMENTS = (
    ("2026-01-31T12:00:00", "offset from UTC is missing"),
    ("2026-01-31", "ISO 8601"),
    ("1769860800", "ISO 8601"),
    ("now", "ISO 8601"),
    ("2026-02-30T12:00:00Z", "no such time"),
    ("2026-01-31T25:00:00Z", "no such time"),
    ("0000-01-01T00:00:00Z", "no such time"),
    ("0001-01-01T00:00:00+05:00", "no such time"),
    ("9999-12-31T23:59:59-05:00", "no such time"),
    ("2026-01-31T12:00:00+99:00", "no such time"),
    ("99999-01-31T12:00:00Z", "ISO 8601"),
    ("", "ISO 8601"),
    ("٢٠٢٦-01-31T12:00:00Z", "ISO 8601"),
)
MOMENTS = (
        "2026-01-31T12:00:00Z", "2026-01-31T12:00Z", "2026-01-31T12:00:00.123456Z", "2026-01-31T12:00:00.123456789Z",
        "2026-01-31T13:00:00+01:00", "2026-01-31t12:00:00z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z",
        # As a plus arrives that was not written as %2B.
        "2026-01-31T13:00:00 01:00",
)  # fmt: skip


@pytest.mark.parametrize("path", WINDOWS)
def test_time_that_says_no_moment_is_bad_input(script: Script, path: str) -> None:
    for moment, said in NO_MOMENTS:
        for name in ("since", "until"):
            status, body = script.get(path, **{name: moment})
            assert status == 422, (name, moment)
            assert said in body["reasons"][0]["message"]


@pytest.mark.parametrize("path", WINDOWS)
def test_time_with_its_offset_is_taken(script: Script, path: str) -> None:
    for moment in MOMENTS:
        assert script.get(path, since=moment)[0] == 200, moment
        assert script.get(path, until=moment)[0] == 200, moment


@pytest.mark.parametrize("path", WINDOWS)
def test_stretch_that_ends_before_it_begins_is_bad_input(script: Script, path: str) -> None:
    status, body = script.get(path, since="2026-02-01T00:00:00Z", until="2026-01-01T00:00:00Z")
    assert status == 422
    assert "exchange the two" in body["reasons"][0]["message"]


@pytest.mark.parametrize("path", ["/orders", "/order-events", "/positions", "/pnl", "/equity"])
def test_bot_id_that_no_bot_can_have_is_bad_input(script: Script, path: str) -> None:
    for bot_id in ("0", "-1", "9223372036854775808", "9" * 400, "x", "1.5", ""):
        assert script.get(path, bot_id=bot_id)[0] == 422, bot_id


@pytest.mark.parametrize("path", ["/orders", "/order-events", "/positions", "/pnl", "/equity"])
def test_bot_id_of_no_bot_finds_nothing(script: Script, path: str) -> None:
    assert script.ok(path, bot_id=2**63 - 1)["items"] == []


def test_filter_that_names_nothing_known_is_bad_input(script: Script) -> None:
    slips: list[tuple[str, dict[str, Any]]] = [
        ("/bots", {"venue": "KRAKEN"}),
        ("/bots", {"status": "asleep"}),
        ("/bots", {"dry_run": "perhaps"}),
        ("/bots", {"symbol": "x" * 31}),
        ("/orders", {"venue": "nowhere"}),
        ("/orders", {"status": "done"}),
        ("/orders", {"side": "hold"}),
        ("/orders", {"is_live": "2"}),
        ("/order-events", {"event": "thought"}),
        ("/order-events", {"is_live": "both"}),
        ("/positions", {"venue": "nowhere"}),
        ("/equity", {"by": "venue"}),
    ]
    for path, query in slips:
        assert script.get(path, **query)[0] == 422, (path, query)


def test_orders_in_a_stretch_of_time_page_through_equal_moments(script: Script, floor: Floor) -> None:
    bot = make_bot()
    made = [trade(bot, Side.BUY, f"0.{number}1").order for number in range(1, 6)]
    Order.objects.update(created_at=made[0].created_at)
    pages = script.pages("/orders", since="2020-01-01T00:00:00Z", limit=2)
    assert [len(page) for page in pages] == [2, 2, 1]
    found = [row["client_order_id"] for page in pages for row in page]
    assert found == [order.client_order_id for order in reversed(made)]
