"""HALT on every page: one POST that commits at once, a page that goes on telling, and what is said when nothing answers."""

import re
from decimal import Decimal
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client, RequestFactory
from django.utils import timezone
from pytest_django import Settings as SettingsWrapper

from audit.models import OperatorEvent
from bots.models import Bot, Order, Position
from safety import kill_switch
from safety.intents import Level, Side
from safety.models import KillRun, Setting, TradingState
from tests.bots.admin.conftest import Desk, desk
from tests.bots.builders import floor, make_bot, trade
from tradingops.health import Mode, current_mode
from tradingops.mode import read_status

__all__ = ["desk", "floor"]

HALT = "/admin/safety/halt/"
PAGES = ("/admin/", "/admin/bots/bot/", "/admin/safety/", "/admin/safety/setting/", "/admin/password_change/", HALT)


def level() -> Level:
    return kill_switch.read_state().level


def as_member(desk: Desk, group: str) -> None:
    desk.user = User.objects.create_user(f"member of {group}", password="x", is_staff=True)
    desk.user.groups.add(Group.objects.get(name=group))
    desk.client.force_login(desk.user)


def break_database(table: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO {table}_gone")


class TestButton:
    @pytest.mark.parametrize("page", PAGES)
    def test_is_on_every_page_with_its_confirmation_and_needs_no_script(self, desk: Desk, page: str) -> None:
        shown = desk.get(page)
        button = re.search(r'<div id="tc-halt".*?</details>', shown, re.DOTALL)
        assert button is not None
        assert "<summary" in button[0]
        assert f'action="{HALT}"' in button[0]
        assert "csrfmiddlewaretoken" in button[0]
        assert re.search(r'<button type="submit"[^>]*>CONFIRM</button>', button[0])

    @pytest.mark.parametrize("page", PAGES[:4])
    def test_leads_to_the_release_once_all_is_halted(self, desk: Desk, page: str) -> None:
        kill_switch.engage(Level.HALTED, "a drill", actor="test")
        shown = desk.get(page)
        assert "RELEASE…" in shown
        assert "CONFIRM</button>" not in shown

    def test_stays_while_trading_is_only_reducing(self, desk: Desk) -> None:
        kill_switch.engage(Level.REDUCING, "a drill", actor="test")
        assert "CONFIRM</button>" in desk.get("/admin/")

    def test_comes_with_the_moving_banner(self, desk: Desk) -> None:
        part = desk.get("/admin/part/status/")
        assert 'id="tc-halt"' in part
        assert 'hx-swap-oob="true"' in part

    def test_is_not_offered_to_who_may_only_look(self, desk: Desk) -> None:
        as_member(desk, "Viewer")
        assert "CONFIRM</button>" not in desk.get("/admin/")


class TestHalting:
    def test_one_post_halts_everything_and_names_who(self, desk: Desk) -> None:
        response = desk.post(HALT)
        assert (response.status_code, response.headers["Location"]) == (303, HALT)
        assert level() == Level.HALTED
        row = TradingState.objects.get(scope="global")
        assert (row.level, row.actor) == ("halted", "operator")
        event = OperatorEvent.objects.filter(action="kill_switch_engaged").latest("id")
        assert (event.actor, event.object, event.new) == ("operator", "global", "halted")
        assert "HALT button" in event.reason

    @pytest.mark.parametrize("group", ["Operator", "Risk manager"])
    def test_works_for_whoever_may_engage(self, desk: Desk, group: str) -> None:
        as_member(desk, group)
        assert desk.post(HALT).status_code == 303
        assert level() == Level.HALTED

    def test_a_viewer_halts_nothing(self, desk: Desk) -> None:
        as_member(desk, "Viewer")
        assert desk.post(HALT).status_code == 403
        assert desk.client.get(HALT).status_code == 403
        assert level() == Level.ACTIVE

    @pytest.mark.parametrize("url", [HALT, "/admin/part/safety/progress/"])
    def test_looking_changes_nothing(self, desk: Desk, url: str) -> None:
        desk.get(url)
        assert level() == Level.ACTIVE
        assert not KillRun.objects.exists()

    def test_page_that_is_too_old_leads_to_a_fresh_one_and_changes_nothing(self, desk: Desk) -> None:
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(desk.user)
        response = strict.post(HALT)
        assert (response.status_code, response.headers["Location"]) == (303, HALT)
        assert level() == Level.ACTIVE

    def test_other_pages_that_are_too_old_are_refused(self, desk: Desk) -> None:
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(desk.user)
        response = strict.post("/admin/safety/engage/", {"level": "halted"})
        assert response.status_code == 403
        assert "Nothing was done" in response.content.decode()

    def test_sign_in_that_ran_out_leads_back_to_the_halt(self, desk: Desk) -> None:
        desk.client.logout()
        response = desk.post(HALT)
        assert (response.status_code, response.headers["Location"]) == (302, f"/admin/login/?next={HALT}")
        assert level() == Level.ACTIVE
        form = {"username": "operator", "password": "x", "next": HALT}
        assert desk.client.post("/admin/login/", form).headers["Location"] == HALT
        assert "HALT NOW" in desk.get(HALT)

    def test_sign_in_page_says_how_to_halt_without_signing_in(self, desk: Desk) -> None:
        desk.client.logout()
        assert "/KILL</code>" in desk.get("/admin/login/")

    def test_file_in_the_consoles_own_folder_is_named_as_it_is_typed_there(
        self, desk: Desk, settings: SettingsWrapper
    ) -> None:
        settings.KILL_FILE = settings.BASE_DIR / "var" / "rehearsal" / "KILL"
        assert "touch var/rehearsal/KILL" in desk.get("/admin/safety/")
        desk.client.logout()
        assert "touch var/rehearsal/KILL" in desk.get("/admin/login/")

    def test_file_elsewhere_is_named_whole_but_not_to_strangers(self, desk: Desk) -> None:
        place = settings.VAR_DIR / "KILL"
        assert f"touch {place}" in desk.get("/admin/safety/")
        desk.client.logout()
        shown = desk.get("/admin/login/")
        assert "touch $TRADINGOPS_VAR_DIR/KILL" in shown
        assert str(place.parent) not in shown


class TestProgress:
    def test_page_tells_what_came_of_it(self, desk: Desk) -> None:
        desk.post(HALT)
        page = desk.get(HALT)
        assert "Everything: HALTED" in page
        assert "nothing new is sent since" in page

    def test_it_goes_on_asking_until_nothing_is_left(self, desk: Desk) -> None:
        desk.post(HALT)
        KillRun.objects.update(
            ended_at=None, drained_at=None, in_flight=["t-1"], canceled=["t-2"], cancel_failed=["t-3"]
        )
        part = desk.get("/admin/part/safety/progress/")
        assert "Not drained yet" in part
        assert "Still in flight: 1" in part
        assert "Could not be cancelled: 1" in part
        for order in ("t-1", "t-2", "t-3"):
            assert order in part
        assert "every 2s" in part
        run = KillRun.objects.get()
        KillRun.objects.update(ended_at=run.engaged_at, drained_at=run.engaged_at, in_flight=[])
        part = desk.get("/admin/part/safety/progress/")
        assert "nothing more is under way" in part
        assert "every 2s" not in part

    def test_flatten_says_what_is_still_held(self, desk: Desk) -> None:
        trade(make_bot(), Side.BUY, "1")
        desk.post(HALT)
        assert "Still held" not in desk.get("/admin/part/safety/progress/")
        KillRun.objects.update(is_flatten=True)
        assert "Still held, paper and live together: 1 position<" in desk.get("/admin/part/safety/progress/")
        Position.objects.update(quantity=Decimal(0), cost=Decimal(0))
        assert "Still held: nothing" in desk.get("/admin/part/safety/progress/")

    def test_part_sends_strangers_to_the_sign_in(self, desk: Desk) -> None:
        desk.client.logout()
        response = desk.client.get("/admin/part/safety/progress/")
        assert (response.status_code, response.headers["HX-Refresh"]) == (204, "true")


class TestWithoutDatabase:
    @pytest.fixture(autouse=True)
    def _answers(self, desk: Desk) -> None:
        desk.client.raise_request_exception = False

    @pytest.mark.parametrize("table", ["django_session", "auth_user"])
    def test_halt_says_that_it_was_not_done_and_what_to_do(self, desk: Desk, table: str) -> None:
        break_database(table)
        response = desk.post(HALT)
        page = response.content.decode()
        assert response.status_code == 503
        assert "it has not halted anything" in page
        assert "/KILL</code>" in page
        assert "kill_switch engage" in page
        assert not Path(settings.KILL_FILE).exists()

    def test_halt_that_the_database_does_not_take_halts_this_host(self, desk: Desk) -> None:
        break_database("kill_runs")
        response = desk.post(HALT)
        assert response.status_code == 503
        assert "Trading on this host is halted" in response.content.decode()
        assert Path(settings.KILL_FILE).exists()
        assert level() == Level.HALTED

    def test_every_page_says_how_to_halt(self, desk: Desk) -> None:
        break_database("django_session")
        response = desk.client.get("/admin/")
        assert response.status_code == 503
        assert "/KILL</code>" in response.content.decode()

    def test_other_errors_keep_their_own_page(self, desk: Desk) -> None:
        from tradingops.failures import server_error

        response = server_error(RequestFactory().get("/"))
        assert response.status_code == 500
        assert "Something went wrong" in response.content.decode()


class TestLiveBanner:
    def test_names_the_live_bots_and_what_they_may_lose(self, desk: Desk) -> None:
        bot = make_bot("scout", venue="kraken", symbol="BTC/USD")
        Bot.objects.filter(pk=bot.pk).update(dry_run=False, capital_usd="250")
        page = desk.get("/admin/")
        assert "1 live bot (scout) may lose up to $250.00" in page
        assert "tc-mode-live" in page

    def test_state_says_since_when_and_by_whom(self, desk: Desk) -> None:
        kill_switch.engage(Level.HALTED, "a drill", actor="olga")
        page = desk.get("/admin/part/status/")
        assert re.search(r"Since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC \(.*?\) by olga", page)

    def test_halt_has_its_reason_once(self, desk: Desk) -> None:
        desk.post(HALT)
        assert read_status().reasons == ("The HALT button was pressed in the console",)

    def test_setting_that_holds_alone_is_named(self, desk: Desk) -> None:
        Setting.objects.filter(key="kill_switch").update(value="1")
        assert read_status().reasons == ("the kill_switch setting is on",)

    @pytest.mark.parametrize("trace", ["position", "order"])
    def test_paper_bot_that_still_has_something_live_keeps_the_console_live(self, desk: Desk, trace: str) -> None:
        bot = make_bot("scout", venue="kraken", symbol="BTC/USD")
        if trace == "position":
            Position.objects.create(bot=bot, is_live=True, quantity=Decimal(1), cost=Decimal(120))
        else:
            now = timezone.now()
            Order.objects.create(
                client_order_id="t-1", bot=bot, venue="kraken", symbol="BTC/USD", side="buy", type="market",
                status="unknown", quantity=Decimal(1), is_live=True, leg="base", actor="bot", created_at=now,
                updated_at=now,
            )  # fmt: skip
        status = read_status()
        assert (status.mode, current_mode()) == (Mode.LIVE, Mode.LIVE)
        risk = "$120.00" if trace == "position" else "$1,000.00"
        assert status.live_text == f"1 live bot (scout) may lose up to {risk}."

    def test_open_live_order_of_no_bot_is_named(self, desk: Desk) -> None:
        now = timezone.now()
        Order.objects.create(
            client_order_id="t-1", venue="kraken", symbol="BTC/USD", side="buy", type="market", status="accepted",
            quantity=Decimal(1), is_live=True, leg="base", actor="venue", created_at=now, updated_at=now,
        )  # fmt: skip
        assert current_mode() == Mode.LIVE
        assert read_status().live_text == "1 open live order(s) belong to no bot."

    def test_ended_orders_and_flat_books_are_paper(self, desk: Desk) -> None:
        bot = make_bot("scout", venue="kraken", symbol="BTC/USD")
        Position.objects.create(bot=bot, is_live=True)
        assert current_mode() == Mode.PAPER

    def test_many_live_bots_are_summed_and_not_all_named(self, desk: Desk) -> None:
        for number in range(5):
            make_bot(f"bot {number}", venue="kraken", symbol="BTC/USD", capital_usd=Decimal(100))
        Bot.objects.update(dry_run=False)
        text = read_status().live_text
        assert text == "5 live bots (bot 0, bot 1, bot 2 and others) may lose up to $500.00."

    def test_scopes_that_are_held_are_named(self, desk: Desk) -> None:
        bot = make_bot("scout")
        kill_switch.engage(Level.HALTED, "it misbehaves", actor="olga", scope=f"bot:{bot.pk}")
        page = desk.get("/admin/part/status/")
        assert "Bot scout is halted" in page
        assert "it misbehaves" in page

    def test_strangers_see_the_state_and_not_the_reasons(self, desk: Desk) -> None:
        kill_switch.engage(Level.HALTED, "a drill", actor="olga")
        desk.client.logout()
        page = desk.get("/admin/login/")
        assert "Trading HALTED" in page
        assert "a drill" not in page
        assert "olga" not in page
