"""The Safety page: each panel says what holds, only who may can act, and looking changes nothing."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from audit.log import OrderEventRecord, record, unit
from audit.models import OperatorEvent
from bots import readiness_checks
from bots.models import Bot, Order, WorkerHeartbeat
from safety import kill_switch, readiness
from safety.intents import Level, Side
from safety.models import KillRun, NotificationPrefs, ReadinessRun, TradingState
from safety.readiness_values import Finding, Severity, State
from safety.sign_in_marks import CONFIRMED_AT, now_s
from tests.bots.admin.conftest import Desk, desk
from tests.bots.builders import floor, make_bot, position_of, trade
from tradingops.environment_values import Gate
from tradingops.readiness_button import under_way

__all__ = ["desk", "floor", "readiness_checks"]

PAGE = "/admin/safety/"
PART = "/admin/part/safety/"
ENGAGE = "/admin/safety/engage/"
FLATTEN = "/admin/safety/flatten/"
RELEASE = "/admin/safety/release/"
CLEAR = "/admin/safety/clear-held/"
RUN = "/admin/safety/run-readiness/"
ACTS = (ENGAGE, FLATTEN, RELEASE, CLEAR, RUN)
ANSWERS: dict[str, dict[str, Any]] = {
    ENGAGE: {"level": "halted", "scope": "global", "reason": "a drill", "cancel_resting": "on"},
    FLATTEN: {"scope": "global", "reason": "a drill", "confirm": "FLATTEN"},
    RELEASE: {"scope": "global", "reason": "drill over"},
    CLEAR: {"bots": ["1"], "reason": "looked at"},
    RUN: {},
}
QUERIES_MAX = 62


def level(venue: str | None = None, bot_id: int | None = None) -> Level:
    return kill_switch.read_state(venue, bot_id).level


def actions() -> list[str]:
    return list(OperatorEvent.objects.order_by("id").values_list("action", flat=True))


def as_member(desk: Desk, group: str) -> None:
    desk.user = User.objects.create_user(f"member of {group}", password="x", is_staff=True)
    desk.user.groups.add(Group.objects.get(name=group))
    desk.client.force_login(desk.user)


def password_given(desk: Desk, ago_s: int = 0) -> None:
    """Have the signed-in person have typed the password so long ago."""
    session = desk.client.session
    session[CONFIRMED_AT] = now_s() - ago_s
    session.save()


def state() -> tuple[Any, ...]:
    """Return everything that an act on the page could change."""
    return (
        list(TradingState.objects.order_by("scope").values_list("scope", "level")),
        KillRun.objects.count(),
        ReadinessRun.objects.count(),
        list(Bot.objects.order_by("id").values_list("entries_held", "dry_run", "revision")),
        Order.objects.count(),
        actions(),
    )


@contextmanager
def variables(**changes: Any) -> Iterator[None]:
    before = settings.ENVIRONMENT
    settings.ENVIRONMENT = replace(before, **changes)
    try:
        yield
    finally:
        settings.ENVIRONMENT = before


def section(page: str, name: str) -> str:
    found = re.search(rf'<section class="tc-card" id="{name}">.*?</section>', page, re.DOTALL)
    assert found is not None, name
    return re.sub(r"\s+", " ", found[0])


def keep_run(*findings: Finding, ago: timedelta = timedelta(0)) -> ReadinessRun:
    at = timezone.now() - ago
    results = [one.as_dict() for one in findings]
    return ReadinessRun.objects.create(
        trigger="schedule", started_at=at, finished_at=at, version="1", config_hash="x", results=results
    )


class TestLooking:
    @pytest.mark.parametrize("url", [PAGE, PART, *ACTS])
    def test_changes_nothing(self, desk: Desk, url: str) -> None:
        bot = make_bot()
        Bot.objects.filter(pk=bot.pk).update(entries_held="a drill")
        before = state()
        assert desk.client.get(url).status_code in (200, 302)
        assert state() == before

    def test_takes_the_right_to_see_trading_states(self, desk: Desk) -> None:
        desk.as_staff("bots.view_bot")
        assert desk.client.get(PAGE).status_code == 403
        assert desk.client.get(PART).status_code == 403

    @pytest.mark.parametrize("group", ["Viewer", "Operator", "Risk manager"])
    def test_every_group_may_look(self, desk: Desk, group: str) -> None:
        as_member(desk, group)
        assert "Live trading checklist" in desk.get(PAGE)
        desk.get(PART)

    def test_part_sends_strangers_to_the_sign_in(self, desk: Desk) -> None:
        desk.client.logout()
        response = desk.client.get(PART)
        assert (response.status_code, response.headers["HX-Refresh"]) == (204, "true")

    def test_fifty_bots_cost_no_more_queries_than_one(self, desk: Desk) -> None:
        make_bot("first")
        desk.get(PAGE)
        with CaptureQueriesContext(
            connection,
        ) as few:
            desk.get(PAGE)
        for number in range(49):
            make_bot(f"bot {number}")
        with CaptureQueriesContext(connection) as many:
            desk.get(PAGE)
        assert len(many) <= len(few) + 2
        assert len(many) <= QUERIES_MAX


class TestRights:
    FORBIDDEN = [
        ("Viewer", ENGAGE), ("Viewer", FLATTEN), ("Viewer", RELEASE), ("Viewer", CLEAR), ("Viewer", RUN),
        ("Operator", RELEASE), ("Operator", CLEAR),
    ]  # fmt: skip

    @pytest.mark.parametrize(("group", "url"), FORBIDDEN)
    def test_group_may_not(self, desk: Desk, group: str, url: str) -> None:
        kill_switch.engage(Level.REDUCING, "a drill", actor="test")
        as_member(desk, group)
        password_given(desk)
        before = state()
        assert desk.post(url, ANSWERS[url]).status_code == 403
        assert state() == before

    @pytest.mark.parametrize(
        ("group", "offered", "left_out"),
        [
            ("Viewer", (), ("engage-form", "flatten-form", "release-form", "clear-form", "run-readiness")),
            ("Operator", ("engage-form", "flatten-form", "run-readiness"), ("release-form", "clear-form")),
            ("Risk manager", ("engage-form", "flatten-form", "release-form", "clear-form", "run-readiness"), ()),
        ],
    )
    def test_page_offers_only_what_one_may(
        self, desk: Desk, group: str, offered: tuple[str, ...], left_out: tuple[str, ...]
    ) -> None:
        kill_switch.engage(Level.REDUCING, "a drill", actor="test")
        bot = make_bot()
        Bot.objects.filter(pk=bot.pk).update(entries_held="a drill")
        as_member(desk, group)
        page = desk.get(PAGE)
        assert all(name in page for name in offered)
        assert not any(name in page for name in left_out)

    @pytest.mark.parametrize("url", ACTS)
    def test_every_act_needs_the_token_against_forgery(self, desk: Desk, url: str) -> None:
        kill_switch.engage(Level.REDUCING, "a drill", actor="test")
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(desk.user)
        before = state()
        assert strict.post(url, ANSWERS[url]).status_code == 403
        assert state() == before


def test_venue_that_is_halted_by_itself_is_not_called_fine(desk: Desk) -> None:
    kill_switch.engage(Level.HALTED, "the venue refuses the key.", actor="automatic", scope="venue:kraken")
    lines = section(desk.get(PAGE), "checklist").split("<li>")
    kraken = next(one for one in lines if "Kraken (crypto)" in one)
    assert "Trading is halted: the venue refuses the key. " in kraken
    assert "refuses the key.." not in desk.get(PAGE)
    alpaca = next(one for one in lines if "Alpaca (stocks)" in one)
    assert "Trading is halted" not in alpaca


class TestEngage:
    def test_level_scope_and_reason_are_kept(self, desk: Desk) -> None:
        bot = make_bot("scout")
        answer = {"level": "reducing", "scope": f"bot:{bot.pk}", "reason": "it misbehaves"}
        told = desk.told(ENGAGE, answer)
        assert told == ["Bot scout: trading is reducing or stricter now."]
        assert (level(), level(bot.venue, bot.pk)) == (Level.ACTIVE, Level.REDUCING)
        run = KillRun.objects.get()
        assert (run.scope, run.level, run.actor, run.cancel_resting) == (f"bot:{bot.pk}", "reducing", "operator", False)
        page = desk.get(PAGE)
        assert "it misbehaves" in section(page, "state")
        # A state that holds for one bot only is not shown in green all the same.
        assert "Orders may go out, but not everywhere." in page
        assert "tc-state tc-state-reducing" in page

    def test_asks_for_no_password(self, desk: Desk) -> None:
        desk.told(ENGAGE, ANSWERS[ENGAGE])
        assert level() == Level.HALTED

    @pytest.mark.parametrize("change", [{"reason": " "}, {"scope": "bot:999"}, {"level": "active"}])
    def test_bad_answer_stops_nothing_and_stays_typed(self, desk: Desk, change: dict[str, str]) -> None:
        response = desk.post(ENGAGE, {**ANSWERS[ENGAGE], "reason": "so that it stays", **change})
        assert response.status_code == 422
        assert level() == Level.ACTIVE
        assert ("so that it stays" in response.content.decode()) == ("reason" not in change)


class TestFlatten:
    @pytest.mark.parametrize("typed", ["", "flatten", "FLATTEN ALL", "yes"])
    def test_anything_but_the_word_sells_nothing(self, desk: Desk, typed: str) -> None:
        bot = make_bot()
        trade(bot, Side.BUY, "1")
        response = desk.post(FLATTEN, {**ANSWERS[FLATTEN], "confirm": typed})
        assert response.status_code == 422
        assert not KillRun.objects.exists()
        assert position_of(bot).quantity == 1

    def test_word_sells_what_is_held_and_ends_halted(self, desk: Desk) -> None:
        bot = make_bot()
        trade(bot, Side.BUY, "1")
        assert "1 open now" in section(desk.get(PAGE), "kill-switch")
        desk.told(FLATTEN, ANSWERS[FLATTEN])
        run = KillRun.objects.get()
        assert (run.is_flatten, run.actor) == (True, "operator")
        assert level().rank > 0

    def test_refusal_is_told_at_the_form(self, desk: Desk) -> None:
        Path(settings.KILL_FILE).touch()
        response = desk.post(FLATTEN, ANSWERS[FLATTEN])
        assert response.status_code == 422
        assert "Nothing was sold" in response.content.decode()


class TestRelease:
    def test_asks_for_the_password_and_then_goes_on_as_typed(self, desk: Desk) -> None:
        kill_switch.engage(Level.HALTED, "a drill", actor="test")
        password_given(desk, ago_s=301)
        asked = desk.post(RELEASE, ANSWERS[RELEASE])
        assert asked.status_code == 200
        assert "Your password, please" in asked.content.decode()
        assert level() == Level.HALTED
        again = {**ANSWERS[RELEASE], "again_answered": "POST", "again_password": "x"}
        assert desk.post(RELEASE, again).status_code == 302
        assert level() == Level.ACTIVE

    def test_wrong_password_releases_nothing(self, desk: Desk) -> None:
        kill_switch.engage(Level.HALTED, "a drill", actor="test")
        password_given(desk, ago_s=301)
        again = {**ANSWERS[RELEASE], "again_answered": "POST", "again_password": "wrong"}
        assert "not right" in desk.post(RELEASE, again).content.decode()
        assert level() == Level.HALTED

    def test_is_done_by_a_risk_manager_with_a_reason(self, desk: Desk) -> None:
        kill_switch.engage(Level.HALTED, "a drill", actor="test")
        as_member(desk, "Risk manager")
        password_given(desk)
        desk.told(RELEASE, ANSWERS[RELEASE])
        event = OperatorEvent.objects.filter(action="kill_switch_released").get()
        assert (event.actor, event.reason) == ("member of Risk manager", "drill over")

    def test_without_a_reason_holds_on(self, desk: Desk) -> None:
        kill_switch.engage(Level.HALTED, "a drill", actor="test")
        password_given(desk)
        assert desk.post(RELEASE, {"scope": "global", "reason": ""}).status_code == 422
        assert level() == Level.HALTED

    def test_one_scope_leaves_the_others(self, desk: Desk) -> None:
        kill_switch.engage(Level.HALTED, "a drill", actor="test", scope="venue:kraken")
        kill_switch.engage(Level.HALTED, "another", actor="test", scope="venue:alpaca")
        password_given(desk)
        desk.told(RELEASE, {"scope": "venue:kraken", "reason": "drill over"})
        assert (level("kraken"), level("alpaca")) == (Level.ACTIVE, Level.HALTED)

    def test_file_that_still_holds_is_named_and_nothing_is_released(self, desk: Desk) -> None:
        kill_switch.engage(Level.HALTED, "a drill", actor="test")
        Path(settings.KILL_FILE).touch()
        password_given(desk)
        assert "Still holds after a release" in desk.get(PAGE)
        response = desk.post(RELEASE, ANSWERS[RELEASE])
        assert response.status_code == 422
        assert "Nothing was released" in response.content.decode()
        assert level() == Level.HALTED

    def test_blockers_are_shown_and_stop_no_release(self, desk: Desk) -> None:
        kill_switch.engage(Level.HALTED, "a drill", actor="test")
        password_given(desk)
        assert "in the way of live trading" in section(desk.get(PAGE), "kill-switch")
        desk.told(RELEASE, ANSWERS[RELEASE])
        assert level() == Level.ACTIVE


class TestHeldEntries:
    def test_ticked_bots_are_let_go_and_others_stay(self, desk: Desk) -> None:
        first, second = make_bot("first"), make_bot("second")
        Bot.objects.update(entries_held="released after a halt")
        page = section(desk.get(PAGE), "kill-switch")
        assert "first" in page
        assert "released after a halt" in page
        password_given(desk)
        assert desk.told(CLEAR, {"bots": [str(first.pk)], "reason": "looked at"}) == ["Entries may go on: first."]
        assert [Bot.objects.get(pk=bot.pk).entries_held for bot in (first, second)] == ["", "released after a halt"]

    def test_asks_for_the_password(self, desk: Desk) -> None:
        bot = make_bot()
        Bot.objects.update(entries_held="released after a halt")
        password_given(desk, ago_s=301)
        assert "Your password" in desk.post(CLEAR, {"bots": [str(bot.pk)], "reason": "x"}).content.decode()
        assert Bot.objects.get().entries_held

    @pytest.mark.parametrize("answer", [{"bots": [], "reason": "x"}, {"reason": "x"}, {"bots": ["1"], "reason": " "}])
    def test_bad_answer_lets_nobody_go(self, desk: Desk, answer: dict[str, Any]) -> None:
        make_bot()
        Bot.objects.update(entries_held="released after a halt")
        password_given(desk)
        assert desk.post(CLEAR, answer).status_code == 422
        assert Bot.objects.get().entries_held


class TestChecklist:
    def test_shut_gate_is_named_with_its_source_and_its_remedy(self, desk: Desk) -> None:
        shown = section(desk.get(PAGE), "checklist")
        assert "ALLOW_LIVE_TRADING is not 1 (default)" in shown
        assert "write ALLOW_LIVE_TRADING=1 and restart" in shown
        assert "NOT LIVE READY" in shown

    def test_value_that_was_meant_to_open_a_gate_gets_its_hint(self, desk: Desk) -> None:
        gate = Gate("ALLOW_LIVE_TRADING", False, ".env", "Only 1 opens it: write ALLOW_LIVE_TRADING=1.")
        with variables(allow_live_trading=gate):
            shown = section(desk.get(PAGE), "checklist")
        assert "Only 1 opens it: write ALLOW_LIVE_TRADING=1." in shown
        assert "(.env)" in shown

    def test_open_gate_reads_ok(self, desk: Desk) -> None:
        with variables(allow_live_trading=Gate("ALLOW_LIVE_TRADING", True, ".env")):
            assert "ALLOW_LIVE_TRADING is 1 (.env)." in section(desk.get(PAGE), "checklist")

    @pytest.mark.parametrize(
        ("token", "exposed", "sign", "words"),
        [
            (None, False, "LOOK", "is not set"),
            (None, True, "SHUT", "is not set"),
            ("t" * 31, False, "LOOK", "shorter than 32"),
            ("t" * 31, True, "SHUT", "shorter than 32"),
            ("t" * 32, True, "OK", "set and long enough"),
        ],
    )
    def test_token_is_judged_by_its_length_and_never_shown(
        self, desk: Desk, token: str | None, exposed: bool, sign: str, words: str
    ) -> None:
        with variables(worker_api_token=token, host="0.0.0.0" if exposed else "127.0.0.1"):
            page = desk.get(PAGE)
        line = next(one for one in section(page, "checklist").split("<li>") if "API token" in one)
        assert f">{sign}<" in line
        assert words in line
        assert token is None or token not in page

    def test_every_lock_of_every_venue_is_shown_at_once(self, desk: Desk) -> None:
        shown = section(desk.get(PAGE), "checklist")
        for lock in ("ALLOW_LIVE_TRADING", "LIVE_TRADING_ENABLED", "KEYS", "DRY_RUN"):
            assert f"<code>{lock}</code>" in shown
        assert "Kraken (crypto)" in shown
        assert "Alpaca (stocks)" in shown

    def test_no_secret_is_shown(self, desk: Desk) -> None:
        canary = "canary-value-that-nobody-may-see"
        with variables(kraken_api_key=canary, kraken_api_secret=canary, worker_api_token=canary * 2):
            assert canary not in desk.get(PAGE)

    def test_halt_is_on_the_list_with_who_and_why(self, desk: Desk) -> None:
        kill_switch.engage(Level.HALTED, "prices look wrong", actor="olga")
        line = next(one for one in section(desk.get(PAGE), "checklist").split("<li>") if "Kill switch" in one)
        assert "by olga" in line
        assert "prices look wrong" in line

    def test_every_blocker_has_what_was_found_and_what_to_do(self, desk: Desk) -> None:
        ready = readiness.live_ready()
        assert ready.blockers
        shown = section(desk.get(PAGE), "checklist")
        for blocker in ready.blockers:
            assert f"<code>{blocker.id}</code>" in shown

    def test_venue_blocker_is_at_its_venue(self, desk: Desk) -> None:
        found = Finding("venue_clock", "Clock", Severity.BLOCKER, State.FAILED, "It is 9 s off.", "Set it.", "kraken")
        keep_run(found)
        keys = {"kraken_api_key": "k", "kraken_api_secret": "s"}
        with variables(allow_live_trading=Gate("ALLOW_LIVE_TRADING", True, ".env"), **keys):
            shown = section(desk.get(PAGE), "checklist")
        line = next(one for one in shown.split("<li>") if "Kraken (crypto)" in one)
        assert "It is 9 s off." in line or "locks shut" in line


class TestNotKnown:
    def test_no_run_and_no_worker_are_said(self, desk: Desk) -> None:
        shown = section(desk.get(PAGE), "unknown")
        assert "no readiness run has been made yet" in shown
        assert "no worker is alive (none was ever seen)" in shown

    def test_living_worker_is_not_listed(self, desk: Desk) -> None:
        now = timezone.now()
        WorkerHeartbeat.objects.create(
            worker_id="w", kind="runner", host="here", pid=1, version="0", started_at=now, seen_at=now
        )
        assert "no worker is alive" not in section(desk.get(PAGE), "unknown")

    def test_order_of_unknown_outcome_is_counted(self, desk: Desk) -> None:
        trade(make_bot(), Side.BUY, "1")
        Order.objects.update(status="unknown")
        assert "What became of 1 order(s)" in section(desk.get(PAGE), "unknown")

    def test_live_account_that_was_never_measured_is_named(self, desk: Desk) -> None:
        bot = make_bot(venue="kraken", symbol="BTC/USD")
        Bot.objects.filter(pk=bot.pk).update(dry_run=False)
        assert "What the live account at kraken is worth: it was measured never" in section(desk.get(PAGE), "unknown")

    def test_check_that_could_not_be_made_is_named(self, desk: Desk) -> None:
        keep_run(Finding("disk_space", "Disk space", Severity.BLOCKER, State.NOT_KNOWN, "It can't be read.", "Look."))
        shown = section(desk.get(PAGE), "unknown")
        assert "checks of the last readiness run could not see" in shown
        assert "Disk space" in shown


class TestDenials:
    def test_newest_are_shown_with_every_reason(self, desk: Desk) -> None:
        bot = make_bot("scout")
        reasons = [
            {"code": "NOTIONAL_ABOVE_MAX", "message": "Too much.", "limit": "5000", "actual": "5001"},
            {"code": "RATE_LIMIT", "message": "Too fast.", "limit": "20", "actual": "21"},
        ]
        with unit():
            record(
                OrderEventRecord(
                    bot_id=bot.pk, client_order_id="d-1", venue="replay", symbol="BTC-PERP", side="buy",
                    ord_type="market", price=None, amount=Decimal(1), venue_order_id="", event="denied",
                    status="denied", reason="no", is_live=False, actor="bot", details={"reasons": reasons},
                )
            )  # fmt: skip
        shown = section(desk.get(PAGE), "denials")
        assert "scout" in shown
        assert "<code>NOTIONAL_ABOVE_MAX</code> Too much." in shown
        assert "(limit 20, actual 21)" in shown

    def test_without_any_it_says_so(self, desk: Desk) -> None:
        assert "No order was ever denied" in section(desk.get(PAGE), "denials")


class TestReadiness:
    def test_last_run_is_listed_check_by_check(self, desk: Desk) -> None:
        keep_run(
            Finding("disk_space", "Disk space", Severity.BLOCKER, State.FAILED, "1 GB is free.", "Make room."),
            Finding("debug_off", "DEBUG is off", Severity.BLOCKER, State.OK, "It is off."),
        )
        page = desk.get(PAGE)
        checklist, shown = section(page, "checklist"), section(page, "readiness")
        assert "1 GB is free." in checklist
        assert "Make room." in checklist
        assert re.search(r">BLOCKS</span> \d+</dt>", shown)
        assert re.search(r">FINE</span> 1</dt> <dd><span class=\"tc-result\">DEBUG is off</span></dd>", shown)

    @pytest.mark.slow
    def test_button_makes_a_run_and_shows_that_it_is_under_way(self, desk: Desk) -> None:
        response = desk.post(RUN)
        assert (response.status_code, response.headers["Location"]) == (302, f"{PAGE}#readiness")
        run = ReadinessRun.objects.get()
        assert (run.trigger, run.actor) == ("demand", "operator")

    def test_run_under_way_shows_how_long_and_offers_no_second(self, desk: Desk) -> None:
        keep_run(ago=timedelta(minutes=1))
        ReadinessRun.objects.create(
            trigger="demand", actor="olga", started_at=timezone.now(), version="1", config_hash=""
        )
        shown = section(desk.get(PAGE), "readiness")
        assert "A run is under way" in shown
        assert "olga" in shown
        assert "<progress" in shown
        assert "Run all checks now" not in shown
        assert desk.told(RUN) == ["A run is under way already."]
        assert ReadinessRun.objects.count() == 2

    def test_run_that_died_is_told_and_another_can_be_started(self, desk: Desk) -> None:
        long_ago = timezone.now() - timedelta(minutes=3)
        ReadinessRun.objects.create(trigger="demand", started_at=long_ago, version="1", config_hash="")
        going = under_way(timezone.now())
        assert going is not None
        assert going.is_lost
        shown = section(desk.get(PAGE), "readiness")
        assert "never ended" in shown
        assert "Run all checks now" in shown


class TestNotifications:
    def test_preferences_and_channels_are_summed_up(self, desk: Desk) -> None:
        NotificationPrefs.objects.update(quiet_from=time(22), quiet_until=time(6, 30))
        shown = section(desk.get(PAGE), "notifications")
        assert "Messages are on. Quiet from 22:00 to 06:30 UTC, but for what is urgent." in shown
        assert "is not configured: set DISCORD_WEBHOOK_URL in .env" in shown
        NotificationPrefs.objects.update(enabled=False, quiet_from=None, quiet_until=None)
        assert "Messages are switched off. No quiet hours." in section(desk.get(PAGE), "notifications")
