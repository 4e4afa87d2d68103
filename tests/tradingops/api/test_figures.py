"""Positions, P&L and equity: by book and together, paper and live apart, and null where nobody knows."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bots import manager
from bots.models import Bot, EquitySnapshot, Position
from safety.intents import Side
from tests.bots.builders import Floor, floor, make_bot, no_market, trade
from tests.tradingops.api.asking import Script, fits, script
from tradingops.api.figures import EquityPage, PnlPage, PositionPage

__all__ = ["floor", "script"]
NOON = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def book(bot: Bot, *, is_live: bool = False, **changes: Any) -> Position:
    """Let a bot have a book with these figures."""
    fields = {"quantity": Decimal(2), "cost": Decimal(150), "realised_pnl": Decimal("-3.5"), "fees": Decimal("1.25")}
    row, _ = Position.objects.update_or_create(bot=bot, is_live=is_live, defaults={**fields, **changes})
    return row


def point(bot: Bot, minute: int, equity: str, *, is_live: bool = False) -> None:
    """Keep what a book was worth so many minutes after noon, five of it gained and one of that not realised."""
    EquitySnapshot.objects.create(
        bot=bot, is_live=is_live, taken_at=NOON + timedelta(minutes=minute), equity=Decimal(equity),
        position_value=Decimal(10), realised_pnl=Decimal(4), unrealised_pnl=Decimal(1),
    )  # fmt: skip


class TestPositions:
    def test_paper_and_live_are_two_books_and_two_sums(self, script: Script, floor: Floor) -> None:
        bot = make_bot()
        book(bot)
        book(bot, is_live=True, quantity=Decimal("0.1"), cost=Decimal(9))
        body = script.ok("/positions")
        fits(PositionPage, body)
        live, paper = body["items"]
        assert (live["is_live"], live["quantity"], live["value"]) == (True, "0.1", "9.999")
        assert (paper["is_live"], paper["bot"], paper["symbol"], paper["average_price"]) == (
            False,
            "bot",
            "BTC-PERP",
            "75",
        )
        assert body["totals"] == {
            "paper": {"books": 1, "cost": "150", "value": "199.98", "reason": None},
            "live": {"books": 1, "cost": "9", "value": "9.999", "reason": None},
        }

    def test_sum_with_a_book_that_has_no_price_is_null_and_names_it(self, script: Script, floor: Floor) -> None:
        book(make_bot("priced"))
        lost = make_bot("lost")
        book(lost, mark_price=None)
        Bot.objects.filter(pk=lost.pk).update(symbol="NOPE")
        body = script.ok("/positions")
        assert (body["items"][0]["value"], body["items"][1]["value"]) == (None, "199.98")
        assert "no price" in body["items"][0]["reason"]
        total = body["totals"]["paper"]
        assert (total["books"], total["cost"], total["value"]) == (2, "300", None)
        assert total["reason"] == "1 of 2 books can't be valued, for want of a price: lost."
        # Another kind of book is not touched by it.
        assert body["totals"]["live"]["value"] == "0"

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ({"is_live": True}, ["b"]),
            ({"is_live": False}, ["b", "a"]),
            ({"symbol": "SPY"}, ["b", "b"]),
            ({"venue": "kraken"}, []),
        ],
    )
    def test_filters_hold_for_the_items_and_for_the_sums(
        self, script: Script, floor: Floor, query: dict[str, Any], expected: list[str]
    ) -> None:
        book(make_bot("a"))
        b = make_bot("b", symbol="SPY")
        book(b)
        book(b, is_live=True)
        body = script.ok("/positions", **query)
        assert [row["bot"] for row in body["items"]] == expected
        assert sum(body["totals"][kind]["books"] for kind in ("paper", "live")) == len(expected)

    def test_sums_are_of_every_page(self, script: Script, floor: Floor) -> None:
        for number in range(3):
            book(make_bot(f"bot {number}"))
        first = script.ok("/positions", limit=2)
        second = script.ok("/positions", limit=2, cursor=first["next"])
        assert [row["bot"] for row in first["items"] + second["items"]] == ["bot 2", "bot 1", "bot 0"]
        assert first["totals"] == second["totals"]
        assert first["totals"]["paper"]["books"] == 3

    def test_page_costs_as_many_queries_with_40_books_as_with_one(self, script: Script, floor: Floor) -> None:
        book(make_bot())
        script.ok("/positions")
        with CaptureQueriesContext(connection) as one:
            script.ok("/positions")
        for number in range(39):
            book(make_bot(f"bot {number}", running=False))
        with CaptureQueriesContext(connection) as many:
            assert len(script.ok("/positions")["items"]) == 40
        assert len(many) == len(one)


class TestPnl:
    def test_gain_is_net_of_fees_by_book_and_together(self, script: Script, floor: Floor) -> None:
        book(make_bot("a"))
        book(make_bot("b"), realised_pnl=Decimal("0.00000001"), quantity=Decimal(0), cost=Decimal(0))
        body = script.ok("/pnl")
        fits(PnlPage, body)
        flat, holding = body["items"]
        assert (flat["realised"], flat["unrealised"], flat["total"]) == ("0.00000001", "0", "0.00000001")
        assert (holding["realised"], holding["unrealised"], holding["total"]) == ("-3.5", "49.98", "46.48")
        assert body["totals"]["paper"] == {
            "books": 2, "realised": "-3.49999999", "unrealised": "49.98", "total": "46.48000001", "fees": "2.5", "reason": None,
        }  # fmt: skip
        assert body["totals"]["live"]["total"] == "0"

    def test_what_is_realised_is_known_without_a_price_and_the_rest_is_null(self, script: Script, floor: Floor) -> None:
        book(make_bot(), mark_price=None)
        floor.feed.broken = no_market()
        body = script.ok("/pnl")
        assert (body["items"][0]["realised"], body["items"][0]["unrealised"], body["items"][0]["total"]) == (
            "-3.5",
            None,
            None,
        )
        assert "the feed is out" in body["items"][0]["reason"]
        total = body["totals"]["paper"]
        assert (total["realised"], total["unrealised"], total["total"]) == ("-3.5", None, None)

    def test_figures_agree_with_the_bot_itself(self, script: Script, floor: Floor) -> None:
        bot = make_bot()
        trade(bot, Side.BUY, "0.5")
        floor.feed.move_to("120", "120.02")
        (row,) = script.ok("/pnl")["items"]
        shown = script.ok(f"/bots/{bot.pk}")["pnl"]
        assert {name: row[name] for name in shown} == shown


class TestEquity:
    def test_points_of_each_book_newest_first(self, script: Script, floor: Floor) -> None:
        one, other = make_bot("one"), make_bot("other")
        point(one, 0, "100")
        point(other, 0, "200.50")
        point(one, 1, "101", is_live=True)
        body = script.ok("/equity")
        fits(EquityPage, body)
        found = [(row["taken_at"], row["bot_id"], row["is_live"], row["equity"]) for row in body["items"]]
        assert found == [
            ("2026-01-31T12:01:00.000000Z", one.pk, True, "101"),
            ("2026-01-31T12:00:00.000000Z", other.pk, False, "200.5"),
            ("2026-01-31T12:00:00.000000Z", one.pk, False, "100"),
        ]
        assert (body["items"][0]["pnl"], body["items"][0]["books"]) == ("5", 1)
        assert [len(page) for page in script.pages("/equity", limit=2)] == [2, 1]
        assert [row["bot_id"] for row in script.ok("/equity", bot_id=other.pk)["items"]] == [other.pk]
        assert len(script.ok("/equity", until="2026-01-31T12:01:00Z")["items"]) == 2

    def test_all_together_carries_a_book_that_had_no_price_and_says_so(self, script: Script, floor: Floor) -> None:
        one, other = make_bot("one"), make_bot("other")
        for bot in (one, other):
            book(bot)
        point(one, 0, "100")
        point(one, 1, "110")
        point(other, 1, "200")
        point(one, 2, "120")
        point(one, 2, "7000", is_live=True)
        rows = script.ok("/equity", by="total", is_live=False)["items"]
        assert [(row["equity"], row["books"], row["carried"], row["bot_id"]) for row in rows] == [
            ("320", 2, 1, None), ("310", 2, 0, None), ("100", 1, 0, None),
        ]  # fmt: skip
        assert rows == [row for page in script.pages("/equity", by="total", is_live=False, limit=1) for row in page]

    def test_all_together_needs_to_know_of_which_kind(self, script: Script) -> None:
        status, body = script.get("/equity", by="total")
        assert status == 422
        assert "never added together" in body["message"]
        assert script.get("/equity", by="total", is_live=True, bot_id=7)[0] == 422

    def test_sums_of_now_are_apart_and_null_until_every_book_was_valued(self, script: Script, floor: Floor) -> None:
        one, other = make_bot("one"), make_bot("other")
        for bot in (one, other):
            book(bot)
        point(one, 0, "100")
        totals = script.ok("/equity")["totals"]
        assert (totals["paper"]["equity"], totals["paper"]["books"]) == (None, 2)
        assert totals["paper"]["reason"] == "1 of 2 books was not valued yet."
        assert totals["live"]["reason"] == "No book of this kind was valued yet."
        point(other, 1, "200")
        paper = script.ok("/equity")["totals"]["paper"]
        assert paper == {
            "taken_at": "2026-01-31T12:01:00.000000Z",
            "books": 2,
            "equity": "300",
            "pnl": "10",
            "reason": None,
        }

    def test_archived_bots_are_not_in_the_sums(self, script: Script, floor: Floor) -> None:
        one, gone = make_bot("one"), make_bot("gone")
        for bot in (one, gone):
            book(bot, quantity=Decimal(0), cost=Decimal(0), cash_flow=Decimal(5))
            point(bot, 0, "100")
        manager.archive(gone.pk, actor="test")
        body = script.ok("/equity", by="total", is_live=False)
        assert (body["items"][0]["equity"], body["totals"]["paper"]["equity"]) == ("100", "100")
