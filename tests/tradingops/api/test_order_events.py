"""GET /order-events: every column of the audit as it is kept, found by every filter, at the same cost whatever there is."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audit.chain import FORMS, Chain
from audit.models import OrderEvent
from tests.audit.factories import NOON, order_event, write, write_fills
from tests.tradingops.api.asking import Script, fits, script
from tradingops.api.events import EventPage

__all__ = ["script"]


def test_event_has_every_column_as_it_is_kept(script: Script) -> None:
    write(order_event(is_live=True, amount=Decimal("0.000000010"), price=Decimal("64123.50")))
    body = script.ok("/order-events")
    fits(EventPage, body)
    (row,) = body["items"]
    kept = OrderEvent.objects.get()
    assert set(row) == {"id", "hash", *FORMS[Chain.LIVE].columns}
    assert row["ts"] == "2026-01-31T12:00:00.000000Z"
    # Plain texts: neither an exponent nor zeros that say nothing.
    assert (row["amount"], row["price"]) == ("0.00000001", "64123.5")
    assert (row["is_live"], row["seq"], row["event"]) == (True, 1, "filled")
    assert row["details"] == {"fee": "0.26", "liquidity": "taker"}
    assert (row["prev_hash"], row["hash"]) == (kept.prev_hash, kept.hash)


def test_what_is_not_known_is_null(script: Script) -> None:
    write(order_event(bot_id=None, price=None, amount=None))
    (row,) = script.ok("/order-events")["items"]
    assert (row["bot_id"], row["price"], row["amount"]) == (None, None, None)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"bot_id": 7}, ["a", "b"]),
        ({"is_live": True}, ["c"]),
        ({"is_live": False}, ["a", "b"]),
        ({"is_live": 1}, ["c"]),
        ({"event": "denied"}, ["b"]),
        ({"symbol": "ETH/USD"}, ["c"]),
        ({"symbol": "eth/usd"}, []),
        ({"bot_id": 7, "event": "filled", "is_live": False, "symbol": "BTC/USD"}, ["a"]),
        ({"bot_id": 8, "event": "denied"}, []),
        ({"since": "2026-01-31T12:00:00Z"}, ["a", "b", "c"]),
        ({"since": "2026-01-31T12:00:00.000001Z"}, ["b", "c"]),
        ({"until": "2026-01-31T12:00:00Z"}, []),
        ({"until": "2026-01-31T12:00:00.000001Z"}, ["a"]),
        ({"since": "2026-01-31T13:01:00+01:00", "until": "2026-01-31T12:02:00Z", "event": "denied"}, ["b"]),
    ],
)
def test_filters_find_what_they_say(script: Script, query: dict[str, Any], expected: list[str]) -> None:
    write(
        order_event(client_order_id="a"),
        order_event(client_order_id="b", event="denied", ts=NOON + timedelta(minutes=1)),
        order_event(client_order_id="c", bot_id=8, is_live=True, symbol="ETH/USD", ts=NOON + timedelta(minutes=2)),
    )
    assert sorted(row["client_order_id"] for row in script.ok("/order-events", **query)["items"]) == expected


def test_stretch_of_time_is_by_time_and_the_rest_by_id(script: Script) -> None:
    """A clock that was set back made a later row look older."""
    write(order_event(client_order_id="first", ts=NOON + timedelta(hours=1)), order_event(client_order_id="second"))
    assert [row["client_order_id"] for row in script.ok("/order-events")["items"]] == ["second", "first"]
    pages = script.pages("/order-events", since="2026-01-01T00:00:00Z", limit=1)
    assert [row["client_order_id"] for page in pages for row in page] == ["first", "second"]


def test_page_costs_as_many_queries_with_500_rows_as_with_one(script: Script) -> None:
    write_fills(1)
    script.ok("/order-events")
    with CaptureQueriesContext(connection) as one:
        script.ok("/order-events")
    write_fills(500)
    with CaptureQueriesContext(connection) as many:
        assert len(script.ok("/order-events", limit=500)["items"]) == 500
    assert len(many) == len(one)
    assert sum("order_events" in query["sql"] for query in many.captured_queries) == 1
    assert not any("COUNT(" in query["sql"].upper() for query in many.captured_queries)


def test_without_a_token_nothing_is_told(script: Script) -> None:
    write_fills(1)
    assert Script(token=None).get("/order-events")[0] == 401
