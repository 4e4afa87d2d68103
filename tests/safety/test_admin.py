"""The safety pages: halting and releasing, limits, preferences. Every change leaves an operator event."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from audit.models import OperatorEvent
from safety import kill_switch
from safety.intents import Level
from safety.limit_fields import FIELDS, LimitField
from safety.limits import LimitBook
from safety.models import KillRun, NotificationPrefs, RiskLimits, Setting
from safety.notifications.messages import EVENTS
from tests.bots.admin.conftest import Desk, desk
from tests.bots.builders import floor

__all__ = ["desk", "floor"]

SWITCH = "/admin/safety/setting/kill_switch/change/"
LIMITS = "/admin/safety/risklimits/"
PREFS = "/admin/safety/notificationprefs/1/change/"


def level() -> Level:
    return kill_switch.read_state().level


def events(prefix: str = "") -> list[tuple[str, str, str, str, str]]:
    rows = OperatorEvent.objects.filter(action__startswith=prefix).order_by("id")
    return list(rows.values_list("actor", "action", "old", "new", "reason"))


class TestKillSwitch:
    def test_setting_it_halts_with_reason_and_actor(self, desk: Desk) -> None:
        told = desk.told(SWITCH, {"value": "1", "reason": "prices look wrong"})
        assert "Trading is halted" in told[0]
        assert level() == Level.HALTED
        assert Setting.objects.get(key="kill_switch").value == "1"
        assert events() == [("operator", "kill_switch_engaged", "active", "halted", "prices look wrong")]

    def test_action_on_the_list_halts_when_the_switch_is_ticked(self, desk: Desk) -> None:
        form = {"action": "engage_kill_switch", "_selected_action": ["notification_prefs"]}
        assert "Nothing was halted" in desk.told("/admin/safety/setting/", form)[0]
        assert level() == Level.ACTIVE
        form["_selected_action"] = ["kill_switch"]
        assert any("Trading is halted" in one for one in desk.told("/admin/safety/setting/", form))
        assert level() == Level.HALTED
        assert events()[0][:2] == ("operator", "kill_switch_engaged")

    def test_action_for_a_release_only_leads_to_its_form(self, desk: Desk) -> None:
        kill_switch.engage(Level.HALTED, "a drill", actor="test")
        form = {"action": "ask_for_release", "_selected_action": ["kill_switch"]}
        assert desk.post("/admin/safety/setting/", form)["Location"].endswith(SWITCH)
        assert level() == Level.HALTED

    def test_page_offers_the_other_state_first(self, desk: Desk) -> None:
        assert self.checked(desk) == "1"
        kill_switch.engage(Level.HALTED, "a drill", actor="test")
        assert self.checked(desk) == "0"
        assert "Now: HALTED." in desk.get(SWITCH)

    def checked(self, desk: Desk) -> str:
        boxes = re.findall(r'<input[^>]*type="radio"[^>]*>', desk.get(SWITCH))
        return next(
            str(re.findall(r'value="(.)"', box)[0]) for box in boxes if "checked" in box.replace("checked:", "")
        )

    def test_release_sets_active_again(self, desk: Desk) -> None:
        kill_switch.engage(Level.HALTED, "a drill", actor="test")
        assert desk.told(SWITCH, {"value": "0", "reason": "drill over"})[0].startswith("Released. Trading is active")
        assert level() == Level.ACTIVE
        assert events()[-1] == ("operator", "kill_switch_released", "halted", "active", "drill over")

    @pytest.mark.parametrize("value", ["0", "1"])
    def test_without_a_reason_nothing_happens(self, desk: Desk, value: str) -> None:
        kill_switch.engage(Level.REDUCING, "a drill", actor="test")
        before = events()
        assert "This field is required" in desk.post(SWITCH, {"value": value, "reason": " "}).content.decode()
        assert (level(), events()) == (Level.REDUCING, before)

    def test_release_needs_a_right_of_its_own(self, desk: Desk) -> None:
        kill_switch.engage(Level.HALTED, "a drill", actor="test")
        desk.as_staff("safety.engage_kill_switch", "safety.view_setting")
        assert "You may halt, but not release" in desk.post(SWITCH, {"value": "0", "reason": "x"}).content.decode()
        assert level() == Level.HALTED
        desk.as_staff("safety.release_kill_switch", "safety.view_setting")
        desk.told(SWITCH, {"value": "0", "reason": "x"})
        assert level() == Level.ACTIVE

    def test_release_is_refused_while_the_file_holds_and_the_reason_stays_typed(self, desk: Desk) -> None:
        kill_switch.engage(Level.HALTED, "a drill", actor="test")
        Path(settings.KILL_FILE).touch()
        shown = desk.post(SWITCH, {"value": "0", "reason": "drill over"}).content.decode()
        assert "Nothing was released" in shown
        assert 'value="drill over"' in shown
        assert level() == Level.HALTED

    def test_release_tells_what_still_holds(self, desk: Desk) -> None:
        kill_switch.engage(Level.HALTED, "a drill", actor="test")
        kill_switch.engage(Level.HALTED, "venue is down", actor="test", scope="venue:kraken")
        desk.told(SWITCH, {"value": "0", "reason": "drill over"})
        shown = desk.get("/admin/")
        assert "Venue kraken is halted" in shown
        assert "venue is down" in shown

    def test_looking_is_not_changing(self, desk: Desk) -> None:
        desk.as_staff("safety.view_setting")
        assert desk.post(SWITCH, {"value": "1", "reason": "x"}).status_code == 403
        assert level() == Level.ACTIVE

    def test_halt_is_a_commit_of_its_own_with_a_run_that_tells_of_it(self, desk: Desk) -> None:
        desk.told(SWITCH, {"value": "1", "reason": "prices look wrong"})
        run = KillRun.objects.get()
        assert (run.scope, run.level, run.actor, run.reason) == ("global", "halted", "operator", "prices look wrong")
        assert run.blocked_ms is not None


class TestOtherSettings:
    def test_are_shown_and_not_edited(self, desk: Desk) -> None:
        Setting.objects.create(key="replay_clock", value="[]")
        url = "/admin/safety/setting/replay_clock/change/"
        desk.get(url)
        assert desk.post(url, {"key": "replay_clock", "value": "x"}).status_code == 403
        assert Setting.objects.get(key="replay_clock").value == "[]"

    @pytest.mark.parametrize("url", ["setting/add/", "setting/kill_switch/delete/", "risklimits/global/delete/",
                                     "notificationprefs/1/delete/", "tradingstate/add/"])  # fmt: skip
    def test_nothing_is_added_or_deleted(self, desk: Desk, url: str) -> None:
        assert desk.post(f"/admin/safety/{url}", {"post": "yes"}).status_code == 403

    def test_trading_states_are_for_looking_only(self, desk: Desk) -> None:
        kill_switch.engage(Level.HALTED, "a drill", actor="test")
        assert "a drill" in desk.get("/admin/safety/tradingstate/")
        url = "/admin/safety/tradingstate/global/change/"
        assert desk.post(url, {"level": "active"}).status_code == 403
        assert level() == Level.HALTED


class TestRiskLimits:
    def save(self, desk: Desk, scope: str = "global", **figures: Any) -> Any:
        return desk.post(f"{LIMITS}{scope}/change/", {"_save": "1", "reason": "a test", **figures})

    def test_each_changed_figure_is_one_event_with_old_and_new(self, desk: Desk) -> None:
        assert self.save(desk, notional_usd_max_paper="2500.50", rate_per_minute_bot="5").status_code == 302
        assert events("limit_") == [
            ("operator", "limit_notional_usd_max_paper_changed", "", "2500.5", "a test"),
            ("operator", "limit_rate_per_minute_bot_changed", "", "5", "a test"),
        ]
        self.save(desk, notional_usd_max_paper="2500.50")
        assert events("limit_")[-1] == ("operator", "limit_rate_per_minute_bot_changed", "5", "", "a test")
        limits = RiskLimits.objects.get(scope="global")
        assert (limits.notional_usd_max_paper, limits.rate_per_minute_bot) == (Decimal("2500.5"), None)

    def test_saving_what_is_unchanged_leaves_no_event(self, desk: Desk) -> None:
        self.save(desk, quote_age_s_max="7")
        self.save(desk, quote_age_s_max="7")
        assert len(events("limit_")) == 1

    @pytest.mark.parametrize("figure", ["0", "-1", "abc", "NaN", "Infinity", "1e30", "10000000000"])
    def test_bad_figure_changes_nothing_and_stays_typed(self, desk: Desk, figure: str) -> None:
        response = self.save(desk, notional_usd_max_paper=figure, quote_age_s_max="7")
        assert response.status_code == 200
        shown = response.content.decode()
        assert f'value="{figure}"' in shown
        assert 'value="7"' in shown
        assert RiskLimits.objects.get(scope="global").quote_age_s_max is None
        assert events("limit_") == []

    @pytest.mark.parametrize(
        ("scope", "is_taken"), [("bot:3", True), ("bot:0", False), ("bot:x", False), ("all", False)]
    )
    def test_new_limits_are_for_one_bot(self, desk: Desk, scope: str, is_taken: bool) -> None:
        desk.post(f"{LIMITS}add/", {"scope": scope, "notional_usd_max_paper": "50", "reason": "small"})
        assert RiskLimits.objects.filter(scope=scope).exists() == is_taken
        assert bool(events("limit_")) == is_taken

    @pytest.mark.parametrize("reason", ["", "   "])
    def test_without_a_reason_nothing_changes(self, desk: Desk, reason: str) -> None:
        response = self.save(desk, quote_age_s_max="7", reason=reason)
        assert "This field is required" in response.content.decode()
        assert RiskLimits.objects.get(scope="global").quote_age_s_max is None
        assert events("limit_") == []

    @pytest.mark.parametrize("one", FIELDS, ids=lambda one: one.name)
    def test_every_figure_can_be_set_and_cleared(self, desk: Desk, one: LimitField) -> None:
        assert one.meaning in desk.get(f"{LIMITS}global/change/")
        self.save(desk, **{one.name: "7"})
        self.save(desk)
        action = f"limit_{one.name}_changed"
        assert events("limit_") == [("operator", action, "", "7", "a test"), ("operator", action, "7", "", "a test")]
        assert getattr(RiskLimits.objects.get(scope="global"), one.name) is None

    def test_what_is_switched_off_is_kept_audited_and_holds(self, desk: Desk) -> None:
        self.save(desk, switched_off=["DRAWDOWN", "SIZE_OUTLIER"])
        assert events("limit_") == [
            ("operator", "limit_switched_off_changed", "", "DRAWDOWN, SIZE_OUTLIER", "a test"),
        ]
        limits = LimitBook.read([1]).for_bot(1, is_live=True)
        assert (limits.drawdown_pct, limits.size_outlier_multiple, limits.daily_loss_pct) == (None, None, Decimal(3))
        self.save(desk, switched_off=["DRAWDOWN", "SIZE_OUTLIER"])
        assert len(events("limit_")) == 1
        assert "DRAWDOWN, SIZE_OUTLIER" in desk.get(LIMITS)
        self.save(desk)
        assert events("limit_")[-1][1:4] == ("limit_switched_off_changed", "DRAWDOWN, SIZE_OUTLIER", "")
        assert LimitBook.read([1]).for_bot(1, is_live=True).drawdown_pct == Decimal(10)

    @pytest.mark.parametrize("code", ["READINESS", "KILL_SWITCH", "PRICE_COLLAR", "NO_SUCH_CODE"])
    def test_what_always_holds_cannot_be_switched_off(self, desk: Desk, code: str) -> None:
        assert self.save(desk, switched_off=[code]).status_code == 200
        assert RiskLimits.objects.get(scope="global").switched_off == []
        assert f'value="{code}"' not in desk.get(f"{LIMITS}global/change/")

    def test_codes_that_count_for_nothing_are_told(self, desk: Desk) -> None:
        RiskLimits.objects.filter(scope="global").update(switched_off=["READINESS", "<b>", "DRAWDOWN"])
        shown = desk.get(f"{LIMITS}global/change/")
        assert "These are in the row and count for nothing: &lt;b&gt;, READINESS." in shown

    def test_one_bots_row_switches_nothing_off(self, desk: Desk) -> None:
        RiskLimits.objects.create(scope="bot:3")
        assert "switched_off" not in desk.get(f"{LIMITS}bot:3/change/")
        assert self.save(desk, "bot:3", switched_off=["DRAWDOWN"], drawdown_pct="4").status_code == 302
        row = RiskLimits.objects.get(scope="bot:3")
        assert (row.switched_off, row.drawdown_pct) == ([], Decimal(4))

    def test_without_the_right_nothing_changes(self, desk: Desk) -> None:
        desk.as_staff("safety.view_risklimits")
        assert self.save(desk, quote_age_s_max="7").status_code == 403


class TestNotificationPrefs:
    def sent(self, *off: str, **changes: str) -> dict[str, Any]:
        wanted = [name for name in EVENTS if name not in off]
        return {
            "enabled": "on",
            "discord": "on",
            "email": "on",
            "wanted_events": wanted,
            "reason": "less noise",
            **changes,
        }

    def test_switched_off_event_is_kept_and_audited_once(self, desk: Desk) -> None:
        desk.told(PREFS, self.sent("daily_summary"))
        kept = NotificationPrefs.objects.get().events
        assert kept["daily_summary"] is False
        assert kept["test"] is True
        assert events("notification") == [("operator", "notification_event_changed", "on", "off", "less noise")]
        desk.told(PREFS, self.sent("daily_summary"))
        assert len(events("notification")) == 1

    def test_switches_and_quiet_hours_are_audited(self, desk: Desk) -> None:
        sent = self.sent(quiet_from="22:00", quiet_until="06:30")
        del sent["discord"], sent["email"]
        desk.told(PREFS, sent)
        assert {(action, old, new) for _, action, old, new, _ in events("notification")} == {
            ("notification_discord_changed", "True", "False"),
            ("notification_email_changed", "True", "False"),
            ("notification_quiet_from_changed", "", "22:00:00"),
            ("notification_quiet_until_changed", "", "06:30:00"),
        }

    def test_without_a_reason_nothing_changes(self, desk: Desk) -> None:
        shown = desk.post(PREFS, self.sent("daily_summary", reason=" ")).content.decode()
        assert "This field is required" in shown
        assert events("notification") == []

    def test_quiet_hours_with_one_end_are_refused(self, desk: Desk) -> None:
        shown = desk.post(PREFS, self.sent(quiet_from="22:00")).content.decode()
        assert "Give both ends" in shown
        assert NotificationPrefs.objects.get().quiet_from is None
