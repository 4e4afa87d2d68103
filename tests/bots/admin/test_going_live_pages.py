"""The pages between paper and live: who may, what is asked for, what is shown before and after, and that each bot is judged."""

from decimal import Decimal
from typing import Any

import pytest
from pytest_django import Settings

from audit.models import OperatorEvent
from bots import going_live, manager
from bots.admin.limit_texts import limit_lines
from bots.models import Account, Bot
from safety import kill_switch
from safety.intents import Level, Side
from safety.limit_fields import SWITCHABLE
from safety.limit_usage import limit_rows
from safety.limits import merge
from safety.models import ReadinessRun, RiskLimits
from safety.remedies import REMEDIES
from safety.sign_in_marks import CONFIRMED_AT
from tests.bots.admin.conftest import Desk
from tests.bots.builders import actions_on, make_bot, no_market, trade
from tests.bots.kraken import KrakenFeed, hold_live, install_kraken, kraken_bot
from tests.bots.live import live_desk
from tests.loopback import faults
from tests.loopback.client import KrakenLoopback

LIST = "/admin/bots/bot/"
REASON = "four weeks on paper went well"
TO_LIVE = ("bots.view_bot", "bots.operate_bot", "bots.trade_live")


@pytest.fixture
def feed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> KrakenFeed:
    return install_kraken(monkeypatch)


def page(bot: Bot) -> str:
    return f"{LIST}{bot.pk}/change/"


def to_live(*bots: Bot) -> str:
    return (
        f"{LIST}{bots[0].pk}/go-live/" if len(bots) == 1 else f"{LIST}go-live/?bots={','.join(str(b.pk) for b in bots)}"
    )


def to_paper(bot: Bot) -> str:
    return f"{LIST}{bot.pk}/do/to-paper/"


def typed(*bots: Bot, reason: str = REASON, **names: str) -> dict[str, str]:
    seen = {f"seen_{bot.pk}": str(Bot.objects.get(pk=bot.pk).revision) for bot in bots}
    return {"reason": reason, **seen, **{f"confirm_{bot.pk}": names.get(bot.name, bot.name) for bot in bots}}


def is_live(bot: Bot) -> bool:
    return Bot.objects.get(pk=bot.pk).is_live


def arm(bot: Bot) -> Bot:
    return going_live.set_live(bot.pk, actor="test", confirm=bot.name, reason=REASON)


def forget_sign_in(desk: Desk) -> None:
    session = desk.client.session
    session[CONFIRMED_AT] = 0
    session.save()


class TestWhatIsShown:
    def test_every_lock_limit_and_the_worst_case_stand_on_the_page(self, desk: Desk, feed: KrakenFeed) -> None:
        shown = desk.get(to_live(kraken_bot()))
        for lock in ("ALLOW_LIVE_TRADING", "DRY_RUN", "KEYS", "DATABASE_STAMP", "Trading state", "Readiness"):
            assert lock in shown, lock
        for code in ("NOTIONAL_ABOVE_MAX", "LIVE_RAMP", "DAILY_LOSS", "DRAWDOWN", "POSITION_MAX", "GROSS_EXPOSURE_MAX"):
            assert code in shown, code
        assert "It may lose at most" in shown
        assert "$1,000.00" in shown

    def test_it_says_that_it_will_stay_blocked_and_by_what(self, desk: Desk, feed: KrakenFeed) -> None:
        kill_switch.engage(Level.HALTED, "a drill", actor="test")
        shown = desk.get(to_live(kraken_bot()))
        assert "it stays BLOCKED" in shown
        assert "write ALLOW_LIVE_TRADING=1" in shown
        assert "a drill" in shown

    def test_paper_book_that_ends_is_named(self, desk: Desk, feed: KrakenFeed) -> None:
        bot = kraken_bot()
        trade(bot, Side.BUY, "2")
        trade(bot, Side.BUY, "1", limit="90")
        shown = desk.get(to_live(bot))
        assert "1 paper order cancelled" in shown
        assert "2 BTC/USD sold on paper" in shown

    def test_looking_changes_nothing(self, desk: Desk, feed: KrakenFeed) -> None:
        bot = kraken_bot()
        rows = OperatorEvent.objects.count()
        desk.get(to_live(bot))
        assert (is_live(bot), OperatorEvent.objects.count()) == (False, rows)

    @pytest.mark.parametrize("kind", ["replay", "archived", "live"])
    def test_bot_that_cannot_be_set_live_is_told_why(self, desk: Desk, feed: KrakenFeed, kind: str) -> None:
        bot = make_bot() if kind == "replay" else kraken_bot()
        if kind == "archived":
            Bot.objects.filter(pk=bot.pk).update(status="archived")
        if kind == "live":
            arm(bot)
        rows = actions_on(bot)
        assert "be set live" in desk.get(to_live(bot))
        desk.post(to_live(bot), typed(bot))
        assert actions_on(bot) == rows

    def test_venue_is_asked_for_the_account_only_when_somebody_wants_it(
        self, desk: Desk, kraken: KrakenLoopback, settings: Settings
    ) -> None:
        bot = live_desk(kraken, settings)
        going_live.set_paper(bot.pk, actor="test")
        Account.objects.all().delete()
        assert "was not asked within the last minute" in desk.get(to_live(bot))
        assert not Account.objects.exists()
        answer = desk.client.post(to_live(bot), {**typed(bot), "confirm_" + str(bot.pk): "half a na", "measure": "1"})
        shown = answer.content.decode()
        assert answer.status_code == 200
        assert "was not asked within the last minute" not in shown
        # What was typed meanwhile stays, and nothing was set live.
        assert "half a na" in shown
        assert REASON in shown
        assert not is_live(bot)

    def test_venue_that_does_not_tell_is_named(self, desk: Desk, kraken: KrakenLoopback, settings: Settings) -> None:
        bot = live_desk(kraken, settings)
        going_live.set_paper(bot.pk, actor="test")
        Account.objects.all().delete()
        kraken.fault(faults.http_status("OpenOrders", 503, count=99))
        shown = desk.client.post(to_live(bot), {**typed(bot), "measure": "1"}).content.decode()
        assert "Kraken did not tell what the account holds." in shown
        assert not is_live(bot)

    @pytest.mark.parametrize("query", ["", "?bots=", "?bots=x", "?bots=999999", "?bots=" + "9" * 40])
    def test_page_about_no_bot_is_not_found(self, desk: Desk, feed: KrakenFeed, query: str) -> None:
        desk.get(f"{LIST}go-live/{query}", status=404)


class TestSettingLive:
    def test_with_name_and_reason_it_is_live_and_blocked_by_what_is_shut(self, desk: Desk, feed: KrakenFeed) -> None:
        bot = kraken_bot()
        runs = ReadinessRun.objects.count()
        told = desk.told(to_live(bot), typed(bot))
        assert is_live(bot)
        assert "is set LIVE, and BLOCKED" in told[0]
        assert actions_on(bot)[-1] == ("live_enabled", "operator", "dry_run=1", "dry_run=0")
        assert ReadinessRun.objects.filter(trigger="set_live", actor="operator").count() == runs + 1

    @pytest.mark.parametrize(
        ("names", "reason", "says"),
        [
            ({"bot": "Bot"}, REASON, "That is not the bot&#x27;s name"),
            ({"bot": ""}, REASON, "This field is required"),
            ({}, "", "This field is required"),
            ({}, "   ", "This field is required"),
        ],
    )
    def test_what_is_wrong_is_said_and_nothing_is_changed(
        self, desk: Desk, feed: KrakenFeed, names: dict[str, str], reason: str, says: str
    ) -> None:
        bot = kraken_bot()
        response: Any = desk.post(to_live(bot), typed(bot, reason=reason, **names))
        shown = response.content.decode()
        assert says in shown
        assert "Nothing was changed" in shown
        assert not is_live(bot)

    def test_bot_that_changed_since_it_was_looked_at_is_shown_again(self, desk: Desk, feed: KrakenFeed) -> None:
        bot = kraken_bot()
        seen = typed(bot)
        changed = Bot.objects.get(pk=bot.pk)
        changed.capital_usd = Decimal(900_000)
        manager.update(changed, actor="somebody else")
        for form in (seen, {name: value for name, value in seen.items() if not name.startswith("seen_")}):
            response: Any = desk.post(to_live(bot), form)
            shown = response.content.decode()
            assert "The bot was changed since this page was shown" in shown
            assert f'name="seen_{bot.pk}" value="{Bot.objects.get(pk=bot.pk).revision}"' in shown
            assert not is_live(bot)
        desk.post(to_live(bot), typed(bot))
        assert is_live(bot)

    def test_recent_sign_in_is_asked_for_and_what_was_typed_goes_on(self, desk: Desk, feed: KrakenFeed) -> None:
        bot = kraken_bot()
        forget_sign_in(desk)
        assert "Your password, please" in desk.get(to_live(bot))
        response: Any = desk.post(to_live(bot), typed(bot))
        assert "Your password, please" in response.content.decode()
        assert not is_live(bot)
        desk.told(to_live(bot), {**typed(bot), "again_answered": "POST", "again_password": "x"})
        assert is_live(bot)

    @pytest.mark.parametrize("missing", ["bots.trade_live", "all"])
    def test_without_the_right_it_is_forbidden(self, desk: Desk, feed: KrakenFeed, missing: str) -> None:
        bot = kraken_bot()
        desk.as_staff(*(right for right in TO_LIVE if missing != "all" and right != missing))
        assert desk.client.get(to_live(bot)).status_code == 403
        assert desk.post(to_live(bot), typed(bot)).status_code == 403
        assert not is_live(bot)

    def test_with_the_right_the_bots_page_shows_the_way(self, desk: Desk, feed: KrakenFeed) -> None:
        bot = kraken_bot()
        assert "/go-live/" in desk.get(page(bot))
        desk.as_staff("bots.view_bot", "bots.operate_bot")
        assert "/go-live/" not in desk.get(page(bot))

    def test_replay_bots_page_shows_no_way_to_live(self, desk: Desk, feed: KrakenFeed) -> None:
        assert "/go-live/" not in desk.get(page(make_bot()))


class TestBulk:
    def test_list_leads_to_a_page_with_a_name_for_each(self, desk: Desk, feed: KrakenFeed) -> None:
        first, second = kraken_bot("a"), kraken_bot("b")
        chosen = {"action": "go_live_bots", "_selected_action": [str(first.pk), str(second.pk)]}
        response: Any = desk.post(LIST, chosen)
        assert response.url == f"{LIST}go-live/?bots={first.pk},{second.pk}"
        shown = desk.get(response.url)
        assert f"confirm_{first.pk}" in shown
        assert f"confirm_{second.pk}" in shown
        assert [is_live(first), is_live(second)] == [False, False]

    def test_one_wrong_name_stops_all(self, desk: Desk, feed: KrakenFeed) -> None:
        first, second = kraken_bot("a"), kraken_bot("b")
        desk.post(to_live(first, second), typed(first, second, b="a"))
        assert [is_live(first), is_live(second)] == [False, False]

    def test_each_is_set_live_and_the_one_that_never_can_is_left_out(self, desk: Desk, feed: KrakenFeed) -> None:
        first, second, replay = kraken_bot("a"), kraken_bot("b"), make_bot("c")
        told = desk.told(to_live(first, second, replay), typed(first, second))
        assert [is_live(bot) for bot in (first, second, replay)] == [True, True, False]
        assert len(told) == 2
        assert ReadinessRun.objects.filter(trigger="set_live").count() == 1

    def test_action_is_not_offered_without_the_right(self, desk: Desk, feed: KrakenFeed) -> None:
        kraken_bot()
        desk.as_staff("bots.view_bot", "bots.operate_bot")
        shown = desk.get(LIST)
        assert "go_live_bots" not in shown
        assert "to_paper_bots" in shown

    def test_to_paper_in_bulk_turns_the_live_ones(self, desk: Desk, feed: KrakenFeed) -> None:
        live, paper = arm(kraken_bot("a")), kraken_bot("b")
        desk.told(LIST, {"action": "to_paper_bots", "_selected_action": [str(live.pk), str(paper.pk)]})
        assert not is_live(live)
        assert [row[0] for row in actions_on(paper)].count("live_disabled") == 0


class TestLiveBotsPage:
    def test_it_says_live_and_blocked_and_by_what(self, desk: Desk, feed: KrakenFeed) -> None:
        bot = arm(kraken_bot())
        shown = desk.get(page(bot))
        assert "<strong>LIVE</strong>" in shown
        assert "<strong>BLOCKED</strong>" in shown
        assert "ALLOW_LIVE_TRADING is not 1" in shown
        assert "READINESS" in shown
        assert "What to do" in shown

    def test_list_says_so_too(self, desk: Desk, feed: KrakenFeed) -> None:
        arm(kraken_bot())
        shown = desk.get(LIST)
        assert "Live, blocked" in shown
        assert "ALLOW_LIVE_TRADING" in shown

    def test_one_click_sets_it_to_paper(self, desk: Desk, feed: KrakenFeed) -> None:
        bot = arm(kraken_bot())
        assert "Set to paper" in desk.get(page(bot))
        assert "is on paper" in desk.told(to_paper(bot))[0]
        assert not is_live(bot)

    def test_operator_may_set_to_paper_but_not_start_or_change_it(self, desk: Desk, feed: KrakenFeed) -> None:
        bot = arm(kraken_bot(running=False))
        desk.as_staff("bots.view_bot", "bots.change_bot", "bots.operate_bot")
        shown = desk.get(page(bot))
        assert "/do/start/" not in shown
        assert "Save settings" not in shown
        assert desk.post(f"{LIST}{bot.pk}/do/start/").status_code == 403
        assert desk.post(page(bot), {"name": "x"}).status_code == 403
        desk.told(to_paper(bot))
        assert not is_live(bot)

    def test_viewer_can_do_nothing(self, desk: Desk, feed: KrakenFeed) -> None:
        bot = arm(kraken_bot())
        desk.as_staff("bots.view_bot")
        assert "/do/" not in desk.get(page(bot))
        for key in ("start", "pause", "stop", "to-paper", "close-position", "halt", "archive"):
            assert desk.post(f"{LIST}{bot.pk}/do/{key}/", {"confirmed": "yes"}).status_code == 403, key
        assert is_live(bot)

    def test_bot_that_holds_something_says_that_it_is_turning(self, desk: Desk, feed: KrakenFeed) -> None:
        bot = arm(kraken_bot())
        hold_live(bot, "2")
        assert "stays live and only sells" in desk.told(to_paper(bot))[0]
        shown = desk.get(page(bot))
        assert "turning to paper" in shown
        assert "Stay live…" in shown
        assert "/do/to-paper/" not in shown
        desk.told(to_live(bot), typed(bot))
        assert not Bot.objects.get(pk=bot.pk).turning_to_paper


class TestHalt:
    def url(self, bot: Bot) -> str:
        return f"{LIST}{bot.pk}/do/halt/"

    def test_two_taps_halt_one_bot(self, desk: Desk, feed: KrakenFeed) -> None:
        bot, other = kraken_bot("a"), kraken_bot("b")
        assert self.url(bot) in desk.get(page(bot))
        assert "CONFIRM: halt" in desk.get(self.url(bot))
        assert kill_switch.read_state(bot.venue, bot.pk).level == Level.ACTIVE
        assert "is halted" in desk.told(self.url(bot), {"confirmed": "yes"})[0]
        assert kill_switch.read_state(bot.venue, bot.pk).level == Level.HALTED
        assert kill_switch.read_state(other.venue, other.pk).level == Level.ACTIVE
        event = OperatorEvent.objects.filter(action="kill_switch_engaged").get()
        assert (event.actor, event.object) == ("operator", f"bot:{bot.pk}")

    def test_reason_is_kept_when_one_is_given(self, desk: Desk, feed: KrakenFeed) -> None:
        bot = kraken_bot()
        desk.told(self.url(bot), {"confirmed": "yes", "reason": "it buys like mad"})
        assert OperatorEvent.objects.get(action="kill_switch_engaged").reason == "it buys like mad"

    def test_without_the_right_it_is_forbidden(self, desk: Desk, feed: KrakenFeed) -> None:
        bot = kraken_bot()
        desk.as_staff("bots.view_bot", "bots.operate_bot")
        assert self.url(bot) not in desk.get(page(bot))
        assert desk.post(self.url(bot), {"confirmed": "yes"}).status_code == 403
        assert kill_switch.read_state(bot.venue, bot.pk).level == Level.ACTIVE

    def test_bulk_asks_and_then_halts_each(self, desk: Desk, feed: KrakenFeed) -> None:
        bots = [kraken_bot("a"), kraken_bot("b")]
        act = {"action": "halt_bots", "_selected_action": [str(bot.pk) for bot in bots]}
        assert "CONFIRM" in desk.post(LIST, act).content.decode()
        desk.told(LIST, {**act, "confirmed": "yes"})
        assert {kill_switch.read_state(bot.venue, bot.pk).level for bot in bots} == {Level.HALTED}


class TestHeldEntries:
    def url(self, bot: Bot) -> str:
        return f"{LIST}clear-held/?bots={bot.pk}"

    def held(self) -> Bot:
        bot = kraken_bot()
        Bot.objects.filter(pk=bot.pk).update(entries_held="the kill switch was released")
        return bot

    def test_page_tells_the_reason_and_clears_with_one(self, desk: Desk, feed: KrakenFeed) -> None:
        bot = self.held()
        assert "clear-held" in desk.get(page(bot))
        assert "the kill switch was released" in desk.get(self.url(bot))
        assert "This field is required" in desk.post(self.url(bot), {"reason": ""}).content.decode()
        assert desk.told(self.url(bot), {"reason": "looked"}) == ["May buy again: bot."]
        assert Bot.objects.get(pk=bot.pk).entries_held == ""
        assert actions_on(bot)[-1] == ("entries_held_cleared", "operator", "the kill switch was released", "")

    def test_without_the_right_it_is_forbidden(self, desk: Desk, feed: KrakenFeed) -> None:
        bot = self.held()
        desk.as_staff("bots.view_bot", "bots.operate_bot")
        assert "clear-held" not in desk.get(page(bot))
        assert desk.post(self.url(bot), {"reason": "x"}).status_code == 403
        assert Bot.objects.get(pk=bot.pk).entries_held

    def test_recent_sign_in_is_asked_for(self, desk: Desk, feed: KrakenFeed) -> None:
        bot = self.held()
        forget_sign_in(desk)
        assert "Your password, please" in desk.get(self.url(bot))

    def test_bot_that_is_free_has_nothing_to_clear(self, desk: Desk, feed: KrakenFeed) -> None:
        assert "Nothing is held back" in desk.get(self.url(kraken_bot()))


class TestEachObject:
    def test_operator_starts_the_paper_bot_of_two_and_is_refused_the_live_one(
        self, desk: Desk, feed: KrakenFeed
    ) -> None:
        live, paper = arm(kraken_bot("a", running=False)), kraken_bot("b", running=False)
        desk.as_staff("bots.view_bot", "bots.operate_bot")
        told = desk.told(LIST, {"action": "start_bots", "_selected_action": [str(live.pk), str(paper.pk)]})
        assert told[0] == "a: you have no right to do this to it."
        stored = {bot.name: bot.status for bot in Bot.objects.all()}
        assert stored == {"a": "stopped", "b": "running"}


class TestWhyBlocked:
    def test_last_denial_stands_with_its_figures_and_what_to_do(self, desk: Desk, feed: KrakenFeed) -> None:
        bot = kraken_bot(capital_usd=Decimal(100))
        assert "Its last denied order" not in desk.get(page(bot))
        trade(bot, Side.BUY, "20")
        shown = desk.get(page(bot))
        assert "Its last denied order" in shown
        assert "BOT_CAPITAL_EXCEEDED" in shown
        assert "Limit: <strong>100.00 USD</strong>" in shown
        assert REMEDIES["BOT_CAPITAL_EXCEEDED"] in shown

    def test_what_is_used_of_the_limits_is_shown(self, desk: Desk, feed: KrakenFeed) -> None:
        bot = kraken_bot(capital_usd=Decimal(100))
        trade(bot, Side.BUY, "0.5")
        shown = desk.get(page(bot))
        assert "of $100.00" in shown
        assert "<meter" in shown

    def test_without_a_market_there_are_no_bars_and_no_error(self, desk: Desk, feed: KrakenFeed) -> None:
        bot = kraken_bot()
        feed.broken = no_market("the feed is out")
        shown = desk.get(page(bot))
        assert "the feed is out" in shown
        assert "per cent used" not in shown

    def test_limit_that_is_switched_off_is_not_called_unknown(self, desk: Desk, feed: KrakenFeed) -> None:
        RiskLimits.objects.update_or_create(scope="global", defaults={"switched_off": ["DRAWDOWN"]})
        assert "the limit is switched off" in desk.get(page(kraken_bot()))


@pytest.mark.parametrize("is_live", [True, False])
def test_every_limit_has_its_line(is_live: bool) -> None:
    limits = merge(None, None, is_live=is_live)
    shown = {line.code for line in limit_lines(limits, Decimal(100))}
    assert {row.code for row in limit_rows(limits, is_live=is_live)} <= shown


@pytest.mark.parametrize("code", SWITCHABLE)
def test_limit_that_is_switched_off_says_so(code: str) -> None:
    row = RiskLimits(scope="global", switched_off=[code])
    lines = [line for line in limit_lines(merge(row, None, is_live=True), Decimal(100)) if line.code == code]
    assert "switched off" in " ".join(line.text for line in lines)
