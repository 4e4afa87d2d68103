"""The first page and its moving parts: sums by book, what is not known, who works, and what every page says first."""

import json
import re
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test import RequestFactory
from django.utils import timezone
from django.utils.html import escape
from pytest_django import DjangoAssertNumQueries, Settings

from audit.models import OrderEvent
from bots import manager
from bots.models import Bot, EquitySnapshot, Position, WorkerHeartbeat
from safety import kill_switch
from safety.intents import Level, Side
from tests.bots.admin.conftest import Desk, desk
from tests.bots.builders import floor, make_bot, no_market, position_of, trade
from tests.bots.kraken import hold_live
from tradingops.dashboard import Total, live_context
from tradingops.health import Mode
from tradingops.mode import environment, read_status, title_prefix

__all__ = ["desk", "floor"]

PARTS = ("status", "dashboard", "equity")
QUERIES_MAX = 30


def beat(worker: str = "w1", ago_s: float = 0, kind: str = "runner") -> None:
    seen_at = timezone.now() - timedelta(seconds=ago_s)
    WorkerHeartbeat.objects.create(
        worker_id=worker, kind=kind, host="here", pid=1, version="0", started_at=seen_at, seen_at=seen_at
    )


def context(desk: Desk) -> dict[str, Any]:
    request = RequestFactory().get("/admin/")
    request.user = desk.user
    return live_context(request, timezone.now())


class TestFigures:
    def test_paper_books_are_summed_at_the_bid(self, desk: Desk) -> None:
        first, second = make_bot("a"), make_bot("b")
        trade(first, Side.BUY, "2")
        desk.floor.feed.move_to("150", "151")
        seen = context(desk)
        position = position_of(first)
        assert seen["paper_equity"].value == 20_000 + position.cash_flow + 300
        assert seen["paper_unrealised"].value == 300 - position.cost
        assert (seen["paper_open"], seen["running"]) == (1, 2)
        assert second.name in {one.bot.name for one in seen["bots"]}

    def test_live_books_are_never_added_to_paper(self, desk: Desk) -> None:
        make_bot("a")
        live = make_bot("b", venue="kraken", symbol="BTC/USD")
        Bot.objects.filter(pk=live.pk).update(dry_run=False)
        seen = context(desk)
        assert seen["paper_equity"].value == 10_000
        assert len(seen["bots"]) == 2
        assert seen["live_bots"] == 1

    def test_live_bots_have_figures_of_their_own(self, desk: Desk) -> None:
        assert "Live P&amp;L today" not in desk.get("/admin/")
        live = make_bot("b", venue="kraken", symbol="BTC/USD")
        Bot.objects.filter(pk=live.pk).update(dry_run=False)
        book = hold_live(live, "2")
        Position.objects.filter(pk=book.pk).update(mark_price=Decimal("99.99"), marked_at=timezone.now())
        seen = context(desk)
        worth = Decimal("199.98")
        assert (seen["live_value"].value, seen["live_unrealised"].value) == (worth, worth - 200)
        assert seen["live_today"].value == worth - 200
        assert (seen["paper_open"], seen["paper_today"].value) == (0, 0)
        assert "Live P&amp;L today" in desk.get("/admin/")

    def test_book_without_a_price_is_left_out_and_counted(self, desk: Desk) -> None:
        trade(make_bot(), Side.BUY, "2")
        Bot.objects.update(venue="alpaca")
        Bot.objects.get().positions.update(mark_price=None)
        assert context(desk)["paper_equity"] == Total(Decimal(0), 1)
        page = desk.get("/admin/")
        assert "1 bot left out: no price" in page
        assert "what its position is worth is not known" in page

    def test_old_price_is_named_with_its_age(self, desk: Desk) -> None:
        trade(make_bot(), Side.BUY, "2")
        desk.floor.feed.broken = no_market("the feed is out")
        page = desk.get("/admin/")
        assert "valued at a price that is old" in page
        assert "last stored price" in page

    def test_pnl_today_counts_from_the_last_snapshot_before_midnight(self, desk: Desk) -> None:
        bot = make_bot()
        trade(bot, Side.BUY, "2")
        now = timezone.now()
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        self.snapshot(bot, midnight - timedelta(seconds=1), "-40")
        self.snapshot(bot, midnight, "-7")
        seen = context(desk)
        position = position_of(bot)
        now_pnl = position.realised_pnl + Decimal("199.98") - position.cost
        assert seen["paper_today"].value == now_pnl + 40

    def test_pnl_today_keeps_what_an_archived_bot_lost(self, desk: Desk) -> None:
        bot = make_bot()
        trade(bot, Side.BUY, "2")
        manager.close_position(bot.pk, actor="test")
        lost = position_of(bot).realised_pnl
        assert lost < 0
        manager.archive(bot.pk, actor="test")
        assert context(desk)["paper_today"].value == lost
        assert context(desk)["paper_equity"].value == 0

    def snapshot(self, bot: Bot, taken_at: datetime, realised: str) -> None:
        EquitySnapshot.objects.create(
            bot=bot, is_live=False, taken_at=taken_at, equity=Decimal(0), position_value=Decimal(0),
            realised_pnl=Decimal(realised), unrealised_pnl=Decimal(0),
        )  # fmt: skip

    def test_fifty_bots_cost_no_more_queries_than_a_few(
        self, desk: Desk, django_assert_max_num_queries: DjangoAssertNumQueries
    ) -> None:
        for number in range(50):
            make_bot(f"bot {number}", running=False)
        with django_assert_max_num_queries(QUERIES_MAX, connection=connection):
            desk.get("/admin/")


class TestWorkers:
    def test_no_worker_at_all_is_said_with_what_to_do(self, desk: Desk) -> None:
        page = desk.get("/admin/")
        assert "None alive" in page
        assert "make run" in page

    def test_living_runners_are_counted(self, desk: Desk) -> None:
        beat("w1")
        beat("w2")
        beat("slow", kind="chores")
        assert "2 alive" in desk.get("/admin/")

    def test_dead_runners_are_called_dead(self, desk: Desk) -> None:
        beat("w1", ago_s=100)
        page = desk.get("/admin/")
        assert "None alive" in page
        assert "Last seen 100 s ago" in page


class TestEmptyConsole:
    def test_says_what_to_do_next(self, desk: Desk) -> None:
        page = desk.get("/admin/")
        assert "There are no bots yet." in page
        assert "Nothing yet. The first row comes with the first order" in page
        assert "How to go on" in page


class TestParts:
    @pytest.mark.parametrize("part", PARTS)
    def test_part_of_a_signed_out_browser_reloads_the_page(self, desk: Desk, part: str) -> None:
        desk.client.logout()
        response = desk.client.get(f"/admin/part/{part}/")
        assert (response.status_code, response.headers["HX-Refresh"], response.content) == (204, "true", b"")

    @pytest.mark.parametrize("part", ["dashboard", "equity"])
    def test_part_with_figures_needs_the_right_to_see_bots(self, desk: Desk, part: str) -> None:
        desk.as_staff("audit.view_orderevent")
        desk.get(f"/admin/part/{part}/", status=403)
        assert "have no right to see bots" in desk.get("/admin/")
        desk.as_staff("bots.view_bot")
        desk.get(f"/admin/part/{part}/")

    def test_events_need_the_right_to_see_them(self, desk: Desk) -> None:
        trade(make_bot(), Side.BUY, "1")
        desk.as_staff("bots.view_bot")
        assert "/admin/audit/orderevent/1/change/" not in desk.get("/admin/part/dashboard/")

    def test_denied_order_says_why_in_a_sentence(self, desk: Desk) -> None:
        trade(make_bot(capital_usd=Decimal(20)), Side.BUY, "100")
        denied = OrderEvent.objects.get(event="denied")
        assert denied.why.startswith(denied.denials[0]["message"])
        assert escape(denied.why[:100]) in desk.get("/admin/part/dashboard/")

    def test_dashboard_part_brings_cards_and_tables_and_no_page(self, desk: Desk) -> None:
        part = desk.get("/admin/part/dashboard/")
        assert 'id="tc-cards" class="tc-cards tc-cards-six" hx-swap-oob="true"' in part
        assert 'id="tc-live"' in part
        assert "<html" not in part

    def test_equity_part_is_the_sum_of_the_paper_books(self, desk: Desk) -> None:
        bots, at = [make_bot("a"), make_bot("b")], timezone.now() - timedelta(minutes=1)
        for bot in bots:
            EquitySnapshot.objects.create(
                bot=bot, is_live=False, taken_at=at, equity=Decimal("10000.25"), position_value=Decimal(0),
                realised_pnl=Decimal("0.25"), unrealised_pnl=Decimal(0),
            )  # fmt: skip
        assert json.loads(desk.get("/admin/part/equity/"))["points"] == [[at.timestamp() * 1000, 20_000.5]]
        # One that goes live, or shares a venue's paper account, is in neither the sum above the chart nor in the chart.
        Bot.objects.filter(name="a").update(dry_run=False, venue="kraken")
        Bot.objects.filter(name="b").update(paper_broker="venue")
        assert json.loads(desk.get("/admin/part/equity/"))["points"] == []


class TestMode:
    def test_fresh_console_is_paper_and_active(self, desk: Desk) -> None:
        status = read_status()
        assert (status.mode, status.level, status.has_replay) == (Mode.PAPER, Level.ACTIVE, False)

    def test_bot_set_live_makes_the_console_live(self, desk: Desk) -> None:
        bot = make_bot(venue="kraken", symbol="BTC/USD")
        Bot.objects.filter(pk=bot.pk).update(dry_run=False)
        assert read_status().mode_name == "LIVE"

    def test_replay_is_marked_while_a_bot_trades_on_it(self, desk: Desk) -> None:
        bot = make_bot()
        assert read_status().has_replay
        manager.archive(bot.pk, actor="test")
        assert not read_status().has_replay

    @pytest.mark.parametrize("where", ["row", "file", "variable"])
    def test_any_latch_shows_halted_with_its_reason(self, desk: Desk, settings: Settings, where: str) -> None:
        if where == "row":
            kill_switch.engage(Level.HALTED, "a drill", actor="test")
        elif where == "file":
            Path(settings.KILL_FILE).touch()
        else:
            settings.ENVIRONMENT = _with_kill_switch(settings.ENVIRONMENT)
        status = read_status()
        assert status.level == Level.HALTED
        assert status.reasons
        assert "tc-state-halted" in desk.get("/admin/part/status/")

    def test_reducing_is_shown_as_such(self, desk: Desk) -> None:
        kill_switch.engage(Level.REDUCING, "volatile", actor="test")
        part = desk.get("/admin/part/status/")
        assert "Trading REDUCING" in part
        assert "Why: volatile." in part

    def test_tab_title_and_badge_carry_mode_and_state(self, desk: Desk) -> None:
        request = RequestFactory().get("/")
        assert (environment(request), title_prefix(request)) == (["PAPER", "info"], "[PAPER]")
        kill_switch.engage(Level.HALTED, "a drill", actor="test")
        assert title_prefix(RequestFactory().get("/")) == "[PAPER · HALTED]"

    def test_lost_database_is_never_called_paper(self, desk: Desk) -> None:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE bots RENAME TO bots_gone")
        status = read_status()
        assert (status.mode, status.mode_name) == (None, "MODE NOT KNOWN")

    def test_page_that_is_not_there_says_the_mode_too(self, desk: Desk) -> None:
        page = desk.get("/admin/no/such/page/", status=404)
        assert "There is no such page" in page
        assert "PAPER" in page

    def test_page_that_is_forbidden_says_that_nothing_was_changed(self, desk: Desk) -> None:
        desk.as_staff()
        assert "Nothing was changed" in desk.get("/admin/bots/bot/", status=403)


def test_templates_have_no_inline_script_and_name_no_other_host() -> None:
    for path in (settings.BASE_DIR / "templates").rglob("*.html"):
        text = path.read_text()
        # Swagger and Redoc bring scripts, each in a file of this host.
        inline = re.sub(r'<script src="\{% (?:url|static) [^>]*></script>', "", text)
        assert "<script" not in inline, path
        assert " onclick=" not in text, path
        assert "//" not in text.replace("{#", ""), path


def _with_kill_switch(environment: Any) -> Any:
    from dataclasses import replace

    return replace(environment, kill_switch_engaged=True)
