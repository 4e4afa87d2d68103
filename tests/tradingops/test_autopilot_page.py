"""The Autopilot page: it says what may happen, only who may acts, nothing that is typed is lost, and looking changes nothing."""

import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from audit.models import OperatorEvent
from bots.autopilot import cycle as cycles
from bots.models import (
    AutopilotBot,
    AutopilotConfig,
    AutopilotCycle,
    AutopilotDecision,
    AutopilotLosses,
    AutopilotState,
    Bot,
    CycleStatus,
    Phase,
    Recommendation,
)
from bots.workers.leases import LeaseHolder
from safety.permissions import OPERATOR, RISK_MANAGER, VIEWER
from tests.bots.admin.conftest import Desk, desk
from tests.bots.builders import floor, forget_process_memory, make_bot, no_market
from tests.bots.kraken import KrakenFeed, install_kraken
from tests.bots.live import live_desk, open_gates
from tests.loopback.client import KrakenLoopback
from tests.tradingops.test_safety_page import as_member, password_given

__all__ = ["desk", "floor"]

PAGE = "/admin/autopilot/"
PART = "/admin/part/autopilot/"
SETTINGS = f"{PAGE}settings/"
LIVE = f"{PAGE}live/"
PAPER = f"{PAGE}paper/"
SWITCH = f"{PAGE}switch/"
RUN = f"{PAGE}run/"
PREVIEW = f"{PAGE}preview/"
ACTS = (PAPER, SWITCH, RUN, PREVIEW)
LISTS = ("autopilotconfig", "autopilotcycle", "autopilotdecision", "recommendation")
SYMBOL = "BTC-PERP"
QUERIES_MAX = 60
LIVE_FORM = {"confirm": "autopilot live", "reason": "two weeks on paper"}


@pytest.fixture(autouse=True)
def feed(monkeypatch: pytest.MonkeyPatch) -> KrakenFeed:
    """Keep the forms from asking the real Kraken for its symbols."""
    forget_process_memory()
    return install_kraken(monkeypatch)


def plain(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def text_of(desk: Desk, url: str, status: int = 200) -> str:
    return plain(desk.get(url, status))


def config() -> AutopilotConfig:
    return AutopilotConfig.objects.get()


def choose(**changes: Any) -> None:
    AutopilotConfig.objects.update(**{"universe": {"replay": [SYMBOL]}, **changes})


def one_cycle(status: str = CycleStatus.DONE, **changes: Any) -> AutopilotCycle:
    now = timezone.now()
    values = {"trigger": "schedule", "holder": "h", "started_at": now, "finished_at": now, "status": status}
    return AutopilotCycle.objects.create(**{**values, **changes})


def scanned(of: AutopilotCycle, score: int, symbol: str = SYMBOL, **changes: Any) -> Recommendation:
    values: dict[str, Any] = {
        "venue": "replay",
        "timeframe": "1m",
        "regime": "trend_up",
        "confidence": Decimal("0.8"),
        "action": "trade_allowed",
        "parts": {"trend": 90},
        "scanned_at": timezone.now(),
    }
    return Recommendation.objects.create(cycle=of, symbol=symbol, score=score, **{**values, **changes})


def own_bot(name: str, symbol: str = SYMBOL, **changes: Any) -> Bot:
    bot = make_bot(name, symbol=symbol, **changes)
    Bot.objects.filter(pk=bot.pk).update(by_autopilot=True)
    AutopilotBot.objects.create(
        bot=bot,
        made_at=timezone.now(),
        made_score=81,
        made_regime="range",
        made_price=Decimal(80),
        phase=Phase.TRADING,
        phase_at=timezone.now(),
    )
    return bot


def typed(desk: Desk, url: str = SETTINGS, /, **changes: Any) -> dict[str, Any]:
    """Return what the form would send as it stands, with changes."""
    page, found = desk.get(url), dict[str, Any]()
    for tag in re.findall(r"<input[^>]*>", page):
        fields = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        if fields.get("type") == "checkbox" and "name" in fields:
            if re.search(r"\schecked[\s>]", tag):
                found.setdefault(fields["name"], []).append(fields.get("value", "on"))
        elif "name" in fields:
            found[fields["name"]] = fields.get("value", "")
    for select, body in re.findall(r"<select([^>]*)>(.*?)</select>", page, flags=re.DOTALL):
        (name,) = re.findall(r'name="(\w+)"', select)
        found[name] = re.findall(r'value="([^"]*)" selected', body)[0]
    found.pop("csrfmiddlewaretoken", None)
    return {**found, **changes}


def everything() -> tuple[Any, ...]:
    """Return all that an act could change."""
    rows = (AutopilotConfig, AutopilotState, AutopilotLosses, AutopilotCycle, AutopilotDecision, Recommendation, Bot)
    return (*(list(row.objects.order_by("pk").values()) for row in rows), OperatorEvent.objects.count())


class TestPage:
    def test_empty_states_say_what_to_do(self, desk: Desk) -> None:
        page = text_of(desk, PAGE)
        assert "OFF makes no bot and closes none" in page
        assert "It has no symbols yet, so it could do nothing. Choose some first." in page
        for told in (
            "It has no bots now.",
            "No symbols are chosen.",
            "Nothing was decided yet.",
            "No cycle has run yet.",
        ):
            assert told in page

    def test_it_says_what_it_may_do_and_lose(self, desk: Desk) -> None:
        choose(slots=4, total_capital_usd=Decimal(2000), daily_loss_pct=Decimal(3), weekly_loss_pct=Decimal("7.5"))
        page = text_of(desk, PAGE)
        assert "up to 4 bots with $2,000.00 together, on paper, with no real money" in page
        assert "lost $60.00 in a UTC day or $150.00 in a week" in page
        choose(dry_run=False)
        assert "together, with REAL MONEY" in text_of(desk, PAGE)

    def test_scores_come_best_first_with_their_way_and_what_they_are_for(self, desk: Desk) -> None:
        choose(universe={"replay": [SYMBOL, "SPX", "SPY"]}, score_min=75, score_demote=60)
        before, last = one_cycle(), one_cycle()
        for symbol, old, new in ((SYMBOL, 50, 59), ("SPX", 80, 75), ("SPY", 75, 74)):
            scanned(before, old, symbol)
            scanned(last, new, symbol, score_before=old, reasons=[{"code": "x", "message": f"about {symbol}."}])
        # Not in the universe any more, so not shown.
        scanned(last, 99, "AAPL")
        page = desk.get(PAGE)
        shown = plain(page[page.index('id="scores"') : page.index('id="decisions"')])
        order = [shown.index(f"{symbol} REPLAY {zone} {score} {change}") for symbol, zone, score, change in (
            ("SPX", "IN", 75, "-5"), ("SPY", "WATCH", 74, "-1"), (SYMBOL, "OUT", 59, "+9"),
        )]  # fmt: skip
        assert order == sorted(order)
        assert "AAPL" not in shown
        assert "Scores of the last 2 scans: from 80 to 75, lowest 75, highest 80" in page
        assert "about SPX. The score is made of: trend 90" in shown

    def test_symbol_that_the_last_scan_did_not_reach_shows_what_was_thought_before(self, desk: Desk) -> None:
        choose(universe={"replay": [SYMBOL, "SPY"]})
        first, second = one_cycle(), one_cycle()
        scanned(first, 66, "SPY")
        scanned(first, 50)
        scanned(second, 51)
        assert "SPY REPLAY WATCH 66" in text_of(desk, PART)

    @pytest.mark.parametrize(("score", "is_said"), [(60, False), (59, True), (0, True)])
    def test_bot_that_enters_from_a_score_of_its_own_says_both(self, desk: Desk, score: int, is_said: bool) -> None:
        choose(enabled=True, score_demote=60)
        bot = own_bot("Autopilot one")
        Bot.objects.filter(pk=bot.pk).update(score_min=score)
        said = f"It enters from score {score} on, which is its own figure: the settings say 60"
        assert (said in text_of(desk, PART)) is is_said
        assert ("its own figure" in text_of(desk, f"/admin/bots/bot/{bot.pk}/change/")) is is_said

    def test_decisions_cycles_and_bots_say_why(self, desk: Desk) -> None:
        choose(enabled=True)
        bot = own_bot("Autopilot one", capital_usd=Decimal(250))
        done = one_cycle(summary={"scanned": 1, "created": 1, "skipped": 0})
        AutopilotDecision.objects.create(
            cycle=done, decided_at=timezone.now(), kind="created", venue="replay", symbol=SYMBOL, bot=bot, score=81,
            code="score", reason="Its score of 81 is at least 75.",
        )  # fmt: skip
        one_cycle(CycleStatus.FAILED, error="MarketDataError: the feed is out", trigger="operator")
        page = text_of(desk, PART)
        assert "CREATED BTC-PERP 81 Its score of 81 is at least 75. Autopilot one" in page
        assert "DONE schedule 0.0 s created 1, scanned 1" in page
        assert "FAILED operator 0.0 s nothing MarketDataError: the feed is out" in page
        assert "Slots in use 1 of 3" in page
        assert "Capital given out $250.00 of $1,000.00" in page
        # Made at 80 and sold at the bid now: what holding would have brought, beside what the bot made.
        assert "$250.00 $0.00 ▲ +$62.47" in page
        assert "at score 81, in a range" in page

    def test_late_stopped_and_live_are_said(self, desk: Desk) -> None:
        now = timezone.now()
        choose(enabled=True, scan_interval_s=60, dry_run=False)
        AutopilotState.objects.update(heartbeat_at=now - timedelta(seconds=119), enabled_at=now - timedelta(hours=1))
        AutopilotLosses.objects.filter(is_live=True).update(
            stopped_until=now + timedelta(hours=1), stopped_by="The bots lost too much today."
        )
        page = text_of(desk, PART)
        assert "The autopilot may trade with real money." in page
        assert "The bots lost too much today." in page
        assert "is late" not in page
        AutopilotState.objects.update(heartbeat_at=now - timedelta(seconds=125))
        assert "The autopilot is late. Its last cycle ended 2 min ago" in text_of(desk, PART)
        safety = text_of(desk, "/admin/safety/")
        assert "Autopilot LIVE, LATE It may trade with real money." in safety
        assert "The autopilot may trade live" in safety
        assert "No bot trades real money now." in safety
        assert "stopped by its losses" in text_of(desk, "/admin/")

    def test_paper_bots_losses_do_not_stop_a_live_autopilot(self, desk: Desk) -> None:
        choose(dry_run=False)
        hour = timezone.now() + timedelta(hours=1)
        AutopilotLosses.objects.filter(is_live=False).update(stopped_until=hour, stopped_by="A bad day on paper.")
        assert "A bad day on paper." not in text_of(desk, PART)

    def test_five_hundred_symbols_cost_no_more_queries_than_one(self, desk: Desk) -> None:
        choose()
        scanned(one_cycle(), 80)
        with CaptureQueriesContext(connection) as few:
            desk.get(PART)
        names = [f"S{number}" for number in range(500)]
        choose(universe={"replay": names})
        last = one_cycle()
        Recommendation.objects.bulk_create(
            Recommendation(
                cycle=last, venue="replay", symbol=name, score=number % 100, timeframe="1m", regime="range",
                confidence=Decimal(1), action="no_trade", scanned_at=timezone.now(),
            )
            for number, name in enumerate(names)
        )  # fmt: skip
        with CaptureQueriesContext(connection) as many:
            page = text_of(desk, PART)
        assert len(many) <= len(few) <= QUERIES_MAX
        assert "460 more with lower scores" in page


class TestRights:
    @pytest.mark.parametrize("url", [PAGE, SETTINGS, LIVE])
    def test_stranger_is_sent_to_sign_in(self, desk: Desk, url: str) -> None:
        desk.client.logout()
        assert desk.client.get(url).status_code == 302

    def test_staff_without_the_right_sees_nothing(self, desk: Desk) -> None:
        desk.as_staff("bots.view_bot")
        assert [desk.client.get(url).status_code for url in (PAGE, PART, SETTINGS, LIVE)] == [403] * 4
        assert "Autopilot" not in plain(desk.get("/admin/"))

    def test_viewer_looks_and_does_nothing(self, desk: Desk) -> None:
        choose()
        as_member(desk, VIEWER)
        page = desk.get(PAGE)
        assert not any(url in page for url in ACTS)
        assert [desk.client.get(url).status_code for url in (SETTINGS, LIVE)] == [403] * 2
        before = everything()
        assert [desk.post(url, {"enabled": "1"}).status_code for url in (*ACTS, SETTINGS, LIVE)] == [403] * 6
        assert everything() == before

    def test_acts_take_a_post_with_its_token(self, desk: Desk) -> None:
        choose()
        careful = Client(enforce_csrf_checks=True)
        careful.force_login(desk.user)
        before = everything()
        assert [careful.post(url, {"enabled": "1"}).status_code for url in (*ACTS, SETTINGS, LIVE)] == [403] * 6
        assert [desk.client.get(url).status_code for url in ACTS] == [302] * 4
        assert [desk.client.put(url).status_code for url in ACTS] == [405] * 4
        assert everything() == before

    def test_operator_on_paper_may_and_about_real_money_may_only_take_back(self, desk: Desk) -> None:
        choose()
        as_member(desk, OPERATOR)
        assert "real money…" not in desk.get(PAGE)
        assert desk.client.get(LIVE).status_code == 403
        assert desk.post(SWITCH, {"enabled": "1"}).status_code == 302
        choose(enabled=False, dry_run=False)
        assert "Switch it on, with real money" not in desk.get(PAGE)
        assert "It is set live, so changing this takes the right to trade live." in text_of(desk, SETTINGS)
        assert desk.post(SWITCH, {"enabled": "1"}).status_code == 403
        assert desk.post(SETTINGS, typed(desk, slots="4", reason="more")).status_code == 403
        choose(enabled=True)
        assert desk.post(RUN).status_code == 403
        assert desk.post(SWITCH, {"enabled": "0"}).status_code == 302
        assert desk.post(PAPER).status_code == 302
        found = config()
        assert (found.enabled, found.dry_run, found.slots) == (False, True, 3)

    def test_its_live_bots_make_it_about_real_money_also_on_paper(self, desk: Desk) -> None:
        choose(enabled=True)
        bot = own_bot("left", symbol="BTC/USD", venue="kraken", running=False)
        Bot.objects.filter(pk=bot.pk).update(dry_run=False)
        as_member(desk, OPERATOR)
        assert "Bots that it made are live, so changing this takes the right to trade live." in text_of(desk, SETTINGS)
        assert desk.post(SETTINGS, typed(desk, slots="4", reason="more")).status_code == 403
        assert desk.post(RUN).status_code == 403
        assert desk.post(SWITCH, {"enabled": "0"}).status_code == 302
        assert (config().enabled, config().slots) == (False, 3)
        assert desk.post(SWITCH, {"enabled": "1"}).status_code == 403

    def test_what_is_about_real_money_asks_for_the_password(self, desk: Desk) -> None:
        choose(dry_run=False)
        as_member(desk, RISK_MANAGER)
        password_given(desk, ago_s=3600)
        for url, form in ((SWITCH, {"enabled": "1"}), (SETTINGS, {"slots": "4"}), (LIVE, LIVE_FORM), (RUN, {})):
            answer = desk.post(url, form)
            assert (answer.status_code, "Your password, please" in answer.content.decode()) == (200, True), url
        assert config().enabled is False
        # Taking back asks for nothing.
        assert desk.post(PAPER).status_code == 302
        assert config().dry_run is True

    def test_lists_are_there_to_look_at_and_cannot_be_changed(self, desk: Desk) -> None:
        choose(enabled=True)
        bot = own_bot("Autopilot one")
        done = one_cycle()
        scanned(done, 80)
        AutopilotDecision.objects.create(
            cycle=done, decided_at=timezone.now(), kind="kept", venue="replay", symbol=SYMBOL, bot=bot, score=80,
            code="score", reason="It stays.", facts={"a": "1"},
        )  # fmt: skip
        for name in LISTS:
            url = f"/admin/bots/{name}/"
            assert "Add" not in re.findall(r">\s*(\w+)\s*<", desk.get(url)), name
            assert desk.client.get(f"{url}add/").status_code == 403
            pk = AutopilotDecision.objects.get().pk if name == "autopilotdecision" else 1
            shown = desk.get(f"{url}{pk}/change/")
            assert 'name="_save"' not in shown, name
            assert desk.post(f"{url}{pk}/change/", {"enabled": ""}).status_code == 403
        assert config().enabled is True

    def test_decisions_are_found_by_kind_and_symbol(self, desk: Desk) -> None:
        choose(universe={"replay": [SYMBOL, "SPY"]})
        done = one_cycle()
        for number in range(60):
            AutopilotDecision.objects.create(
                cycle=done, decided_at=timezone.now(), kind="skipped" if number % 2 else "watched", venue="replay",
                symbol=SYMBOL if number < 58 else "SPY", code="x", reason=f"reason {number}.",
            )  # fmt: skip
        url = "/admin/bots/autopilotdecision/"
        page = desk.get(url)
        (older,) = re.findall(r'href="(\?id__lt=\d+)"', page)
        assert "reason 9." in text_of(desk, f"{url}{older}")
        assert "reason 59." not in text_of(desk, f"{url}{older}")
        skipped = text_of(desk, f"{url}?kind=skipped&symbol=SPY")
        assert "reason 59." in skipped
        assert "reason 58." not in skipped
        assert "reason 57." not in skipped


class TestSettings:
    def test_saved_as_it_stands_nothing_is_changed(self, desk: Desk) -> None:
        choose(universe={"replay": ["SPY", SYMBOL]}, asset_types=["stock", "crypto"])
        before = everything()
        assert desk.told(SETTINGS, typed(desk)) == ["Nothing was changed."]
        assert everything() == before

    def test_every_field_is_saved_and_audited_with_the_reason(self, desk: Desk) -> None:
        wanted = {
            "profile": "balanced", "slots": "4", "sector_slots": "3", "score_min": "66", "score_demote": "55",
            "cooldown_minutes": "10", "total_capital_usd": "2000.50", "is_by_conviction": "on", "daily_loss_pct": "1.5",
            "weekly_loss_pct": "6", "scan_interval_s": "60", "close_mode": "flatten", "asset_types": ["crypto"],
            "boxes_replay": [SYMBOL, "SPY"], "boxes_kraken": ["BTC/USD"],
        }  # fmt: skip
        form = typed(desk, SETTINGS, **wanted, reason="to try it")
        form.pop("auto_start")
        (told,) = desk.told(SETTINGS, form)
        assert told.startswith("Saved: asset types, auto start, close mode,")
        found = config()
        for name in ("profile", "close_mode"):
            assert getattr(found, name) == wanted[name]
        for name in ("slots", "sector_slots", "score_min", "score_demote", "cooldown_minutes", "scan_interval_s"):
            assert str(getattr(found, name)) == wanted[name], name
        for name in ("total_capital_usd", "daily_loss_pct", "weekly_loss_pct"):
            assert getattr(found, name) == Decimal(str(wanted[name])), name
        assert (found.is_by_conviction, found.auto_start, found.asset_types) == (True, False, ["crypto"])
        assert found.universe == {"replay": [SYMBOL, "SPY"], "kraken": ["BTC/USD"]}
        assert (found.enabled, found.dry_run) == (False, True)
        rows = OperatorEvent.objects.filter(object="autopilot")
        assert rows.count() == 15
        assert {(row.actor, row.reason) for row in rows} == {("operator", "to try it")}

    def test_profile_brings_its_slots_and_scores_but_for_what_is_typed_beside_it(self, desk: Desk) -> None:
        desk.told(SETTINGS, typed(desk, profile="aggressive", score_min="60"))
        found = config()
        assert (found.slots, found.score_min, found.score_demote) == (8, 60, 40)

    @pytest.mark.parametrize(
        ("field", "value", "said"),
        [
            ("slots", "many", "Enter a whole number."),
            ("slots", "0", "greater than or equal to 1"),
            ("slots", "101", "less than or equal to 100"),
            ("score_demote", "76", "score_demote must not be above score_min"),
            ("sector_slots", "4", "sector_slots must not be above slots"),
            ("daily_loss_pct", "6", "daily_loss_pct must not be above weekly_loss_pct"),
            ("scan_interval_s", "29", "greater than or equal to 30"),
            ("total_capital_usd", "1", "raise total_capital_usd or use fewer slots"),
            ("total_capital_usd", "", "This field is required."),
        ],
    )
    def test_what_is_wrong_is_said_at_its_field_and_nothing_typed_is_lost(
        self, desk: Desk, field: str, value: str, said: str
    ) -> None:
        before = everything()
        form = typed(
            desk, SETTINGS, **{"cooldown_minutes": "77", "boxes_replay": ["SPY"], "reason": "why not", field: value}
        )
        answer = desk.post(SETTINGS, form)
        page = answer.content.decode()
        assert answer.status_code == 200
        (error,) = re.findall(rf'id="id_{field}_error">(.*?)</p>', page, flags=re.DOTALL)
        assert said in error
        for kept in ('value="77"', 'value="why not"'):
            assert kept in page
        assert re.search(r'<input[^>]*value="SPY"[^>]*checked', page)
        assert everything() == before

    def test_settings_that_someone_changed_meanwhile_are_looked_at_first(self, desk: Desk) -> None:
        form = typed(desk, slots="2", sector_slots="2", boxes_replay=["SPY", SYMBOL])
        AutopilotConfig.objects.update(cooldown_minutes=5)
        page = desk.post(SETTINGS, form).content.decode()
        assert "were changed by someone else" in page
        assert config().slots == 3
        # What was typed and ticked is still there, and sent again it is beside what stands now.
        assert len(re.findall(r'<input[^>]*name="boxes_replay"[^>]*\schecked[\s>]', page)) == 2
        (seen,) = re.findall(r'name="seen" value="(\w+)"', page)
        assert desk.told(SETTINGS, {**form, "seen": seen}) == [
            "Saved: cooldown minutes, slots, universe. The next cycle goes by it."
        ]

    def test_venue_that_does_not_answer_keeps_what_was_chosen(self, desk: Desk, feed: KrakenFeed) -> None:
        choose(universe={"kraken": ["BTC/USD"], "replay": [SYMBOL]})
        feed.silent = no_market("Kraken does not answer")
        assert "Kraken does not answer. What is chosen already stays." in text_of(desk, SETTINGS)
        desk.told(SETTINGS, typed(desk, slots="2"))
        assert config().universe == {"kraken": ["BTC/USD"], "replay": [SYMBOL]}
        desk.told(SETTINGS, {**typed(desk), "boxes_kraken": []})
        assert config().universe == {"replay": [SYMBOL]}

    def test_long_list_is_typed_and_each_unknown_symbol_named(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tradingops.autopilot_forms.BOXES_MAX", 1)
        choose(universe={"kraken": ["BTC/USD"]})
        page = desk.post(SETTINGS, typed(desk, more_kraken="ETH/USDT, NOPE;X/Y")).content.decode()
        assert "Not known at kraken: NOPE, X/Y." in page
        assert 'value="ETH/USDT, NOPE;X/Y"' in page
        desk.told(SETTINGS, typed(desk, more_kraken="ETH/USDT  BTC/USD"))
        assert config().universe == {"kraken": ["BTC/USD", "ETH/USDT"]}

    def test_real_money_takes_a_reason(self, desk: Desk) -> None:
        choose(dry_run=False)
        password_given(desk)
        page = desk.post(SETTINGS, typed(desk, slots="2", sector_slots="2")).content.decode()
        assert 'id="id_reason_error"' in page
        assert config().slots == 3
        desk.told(SETTINGS, typed(desk, slots="2", reason="less at once"))
        assert config().slots == 2


class TestWhatClosingSells:
    """A bot has one position: who chooses how bots are closed, or lets it trade live, reads that it is sold as a whole."""

    SAID = "it is about all that the bot holds, also what somebody bought by hand with it"

    def test_settings_say_it_where_the_mode_is_chosen(self, desk: Desk) -> None:
        assert re.search(
            rf"A bot whose score fell .{{0,200}} sells all at once .{{0,40}} Either way {self.SAID}",
            text_of(desk, SETTINGS),
        )

    def test_page_of_real_money_says_it_beside_the_words_to_type(
        self, desk: Desk, kraken: KrakenLoopback, settings: Settings
    ) -> None:
        live_desk(kraken, settings)
        choose(universe={"kraken": ["BTC/USD"]}, close_mode="flatten")
        password_given(desk)
        assert f"a bot then sells all at once. Either way {self.SAID}" in text_of(desk, LIVE)


class TestActs:
    def test_switched_on_only_with_symbols(self, desk: Desk) -> None:
        (told,) = desk.told(SWITCH, {"enabled": "1"})
        assert told.startswith("It was not switched on. Choose at least one symbol")
        choose()
        assert desk.told(SWITCH, {"enabled": "1"})[-1] == "The autopilot is on. Its first cycle begins within seconds."
        assert AutopilotState.objects.get().enabled_at is not None
        desk.told(SWITCH, {"enabled": "0"})
        rows = OperatorEvent.objects.filter(action="autopilot_enabled_changed").order_by("seq")
        assert [(row.actor, row.old, row.new) for row in rows] == [
            ("operator", "false", "true"),
            ("operator", "true", "false"),
        ]

    def test_preview_shows_what_would_be_made_and_writes_nothing(self, desk: Desk) -> None:
        choose(score_min=0, score_demote=0)
        before = everything()
        page = plain(desk.post(PREVIEW).content.decode())
        assert "Nothing was changed." in page
        assert "1 symbol looked at" in page
        assert re.search(r"(MAKE|SKIP|WATCH) BTC-PERP REPLAY", page)
        assert everything() == before

    def test_preview_without_symbols_says_so(self, desk: Desk) -> None:
        assert "It has no symbols, so it would do nothing." in plain(desk.post(PREVIEW).content.decode())

    def test_cycle_now_says_what_it_came_to(self, desk: Desk) -> None:
        choose(enabled=True)
        (told,) = desk.told(RUN)
        assert re.match(r"The cycle is over: .*scanned 1", told)
        done = AutopilotCycle.objects.get()
        assert (done.trigger, done.status) == ("operator", "done")

    def test_cycle_is_not_run_while_off_or_while_another_is_under_way(self, desk: Desk) -> None:
        choose()
        assert desk.told(RUN)[0].startswith("No cycle was run. The autopilot is switched off.")
        choose(enabled=True)
        other = LeaseHolder("another host", 20.0)
        assert other.claim([cycles.LEASE], 1)
        assert desk.told(RUN)[-1].startswith("No cycle was run. A cycle of the autopilot is under way already.")
        other.release()
        assert not AutopilotCycle.objects.exists()

    def test_cycle_in_which_an_act_failed_says_so_and_what_it_came_to(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def breaks(*_: object) -> Decimal:
            raise ZeroDivisionError("no such thing")

        choose(enabled=True, score_min=0, score_demote=0, total_capital_usd=Decimal(1000))
        monkeypatch.setattr("tests.bots.builders.ScriptedFeed.mark", breaks)
        (told,) = desk.told(RUN)
        assert told.startswith(
            f"The cycle failed: 1 act failed, what else was decided was done: created {SYMBOL}: ZeroDivision"
        )
        assert told.endswith(" It came to: failed 1, scanned 1.")
        page = text_of(desk, PAGE)
        assert re.search(rf"FAILED {SYMBOL} \d+ It was to be created .* which is a fault: ZeroDivisionError", page)

    def test_cycle_that_fails_says_why(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        choose(enabled=True)
        monkeypatch.setattr(cycles, "plan", lambda situation: 1 / 0)
        (told,) = desk.told(RUN)
        assert told.startswith("The cycle failed: ZeroDivisionError")


class TestLive:
    @pytest.fixture
    def open_locks(self, desk: Desk, kraken: KrakenLoopback, settings: Settings) -> None:
        live_desk(kraken, settings)
        choose(universe={"kraken": ["BTC/USD"], "replay": ["SPY"]})
        password_given(desk)

    def test_page_shows_every_lock_and_no_button_while_one_is_shut(
        self, desk: Desk, open_locks: None, settings: Settings
    ) -> None:
        open_gates(settings, live=False)
        page = text_of(desk, LIVE)
        assert "SHUT ALLOW_LIVE_TRADING" in page
        assert "OPEN KEYS" in page
        assert "It can't be set live now. Everything above that is SHUT has to be open first." in page
        assert "1 symbol of its universe is recorded prices, which can never be live" in page
        assert "autopilot live" not in page
        # Sent all the same, it is refused with the lock's reason.
        answer = desk.post(LIVE, {**typed(desk, LIVE), **LIVE_FORM})
        assert "Not every lock is open" in answer.content.decode()
        assert config().dry_run is True

    def test_only_recorded_prices_can_never_be_live(self, desk: Desk, open_locks: None) -> None:
        choose()
        page = text_of(desk, LIVE)
        assert "It can't be set live now. Its universe has no symbol of a venue that can be live" in page

    def test_typed_words_and_a_reason_set_it_live(self, desk: Desk, open_locks: None) -> None:
        assert "It can't be set live now." not in text_of(desk, LIVE)
        (told,) = desk.told(LIVE, typed(desk, LIVE, **LIVE_FORM))
        assert told == "The autopilot is set LIVE. It is off: once switched on, it trades with real money."
        row = OperatorEvent.objects.get(action="autopilot_dry_run_changed")
        assert (row.actor, row.old, row.new, row.reason) == ("operator", "true", "false", "two weeks on paper")
        assert desk.told(LIVE)[-1] == "It is set live already."

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"confirm": "Autopilot live"}, "Those are not the words."),
            ({"confirm": "autopilot live "}, "Those are not the words."),
            ({"confirm": ""}, "This field is required."),
            ({"reason": ""}, "This field is required."),
            ({"seen": "0" * 64}, "were changed by someone else"),
        ],
    )
    def test_anything_else_changes_nothing_and_is_kept(
        self, desk: Desk, open_locks: None, changes: dict[str, str], said: str
    ) -> None:
        page = desk.post(LIVE, typed(desk, LIVE, **{**LIVE_FORM, **changes})).content.decode()
        assert said in page
        assert config().dry_run is True
        if changes.get("reason") != "":
            assert 'value="two weeks on paper"' in page

    def test_back_to_paper_is_one_tap(self, desk: Desk, open_locks: None) -> None:
        choose(dry_run=False, enabled=True)
        response: Any = desk.post(PAPER)
        assert "makes bots on paper from now on" in str(next(iter(get_messages(response.wsgi_request))))
        found = config()
        assert (found.dry_run, found.enabled) == (True, True)
