"""The autopilot's settings: what makes sense, field by field, and the way to real money."""

from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from audit.models import OperatorEvent
from bots import manager
from bots.admin.thoughts_shown import entries_from, why_context
from bots.autopilot import config
from bots.autopilot.checks import AutopilotConfigError, check
from bots.autopilot.choices import capital_usd_min, strategy_for
from bots.autopilot.config import LIVE_WORDS, AutopilotLiveRefused
from bots.autopilot.sectors import asset_type, sector
from bots.models import AutopilotConfig, AutopilotState, Bot, BotStatus
from bots.strategies import registry
from safety import kill_switch, stamp
from safety.intents import Level
from tests.bots.autopilot.conftest import switch_on
from tests.bots.autopilot.market import RANGING, MarketFeed
from tests.bots.autopilot.test_cycle import made, own
from tests.bots.builders import actions_on, make_bot
from tests.bots.live import open_gates, ready
from tests.conftest import CommittedDatabase

SOME = {"replay": ["SPY"]}


def wrong(**changes: Any) -> list[str]:
    """Return the fields that are refused when these settings are kept."""
    try:
        check(AutopilotConfig(**changes))
    except AutopilotConfigError as error:
        return [name for name, _ in error.problems]
    return []


class TestLeastScoreOfItsBots:
    """Its bots make entries from score_demote on, as the settings have it now."""

    def test_it_follows_the_settings_with_an_audit_row_and_nobody_elses_does(self, market: MarketFeed) -> None:
        bot, annas = made(market), make_bot("annas", symbol="SPY")
        Bot.objects.filter(pk=annas.pk).update(score_min=50)
        gone = Bot.objects.create(
            name="gone", venue="replay", symbol="SPX", strategy="smart_dca", capital_usd=Decimal(100), by_autopilot=True,
            score_min=50, status=BotStatus.ARCHIVED,
        )  # fmt: skip
        config.change({"score_demote": 40}, actor="anna", reason="bolder")
        assert own().score_min == 40
        assert own().revision == bot.revision + 1
        assert actions_on(own())[-1] == ("bot_score_min_changed", "anna", "50", "40")
        for other in (annas, gone):
            other.refresh_from_db()
            assert other.score_min == 50
        config.change({"slots": 5}, actor="anna", reason="more")
        assert own().revision == bot.revision + 1

    def test_profile_carries_it_too_and_a_refused_change_does_not(self, market: MarketFeed) -> None:
        made(market)
        config.change({"profile": "aggressive"}, actor="anna", reason="bolder")
        assert own().score_min == AutopilotConfig.objects.get().score_demote == 40
        with pytest.raises(AutopilotConfigError):
            config.change({"score_demote": 99}, actor="anna", reason="too much")
        assert own().score_min == 40

    def test_one_that_a_person_gave_a_figure_of_its_own_keeps_it_and_says_so(self, market: MarketFeed) -> None:
        bot = made(market)
        assert entries_from(bot) == "this bot enters from 50 on, as the autopilot's settings say"
        bot.score_min = 70
        manager.update(bot, actor="anna")
        config.change({"score_demote": 40}, actor="anna", reason="bolder")
        assert own().score_min == 70
        assert entries_from(own()) == (
            "this bot enters from 70 on, which is its own figure and does not follow the autopilot's settings (40)"
        )

    def test_figure_of_a_persons_own_is_kept_also_where_the_settings_had_the_same_for_a_while(
        self, market: MarketFeed
    ) -> None:
        bot = made(market)
        bot.score_min = 70
        manager.update(bot, actor="anna")
        config.change({"score_demote": 70, "score_min": 80}, actor="bob", reason="careful")
        config.change({"score_demote": 40}, actor="bob", reason="bolder")
        assert own().score_min == 70

    @pytest.mark.parametrize(("score", "text"), [(0, ""), (30, "this bot enters from 30 on")])
    def test_bot_of_a_person_says_its_own_alone(self, market: MarketFeed, score: int, text: str) -> None:
        bot = make_bot("annas", symbol="SPY")
        bot.score_min = score
        assert entries_from(bot) == text

    def test_what_is_thought_of_a_running_bots_market_goes_by_the_settings_as_they_are(
        self, market: MarketFeed
    ) -> None:
        made(market)
        market.courses["AAPL"] = RANGING

        def allowed() -> tuple[str, bool]:
            found = why_context(own(), timezone.now())["thought"]
            return found.action, any(one.code.endswith("SCORE_BELOW_MIN") for one in found.blocks)

        assert allowed() == ("trade_allowed", False)
        config.change({"score_demote": 79}, actor="anna", reason="only the best")
        assert allowed() == ("manage_only", True)
        config.change({"score_demote": 10}, actor="anna", reason="any")
        assert allowed() == ("trade_allowed", False)


class TestFields:
    def test_defaults_make_sense(self) -> None:
        assert wrong() == []

    @pytest.mark.parametrize(
        ("name", "low", "high"),
        [
            ("sector_slots", 1, 3),
            ("score_demote", 0, 75),
            ("score_min", 60, 100),
            ("cooldown_minutes", 0, 100_000),
            ("scan_interval_s", 30, 86_400),
        ],
    )
    def test_whole_numbers_have_bounds(self, name: str, low: int, high: int) -> None:
        assert (wrong(**{name: low}), wrong(**{name: high})) == ([], [])
        assert wrong(**{name: high + 1})
        assert wrong(**{name: -1}) == [name]
        assert wrong(**{name: True}) == [name]
        assert wrong(**{name: Decimal(low)}) == [name]
        assert wrong(**{name: None}) == [name]

    @pytest.mark.parametrize("name", ["daily_loss_pct", "weekly_loss_pct", "total_capital_usd"])
    @pytest.mark.parametrize("value", ["0", "-1", "NaN", "Infinity", "100000000000"])
    def test_figures_are_above_zero_and_bounded(self, name: str, value: str) -> None:
        assert wrong(**{name: Decimal(value)}) == [name]

    def test_percentages_end_at_a_hundred(self) -> None:
        assert wrong(daily_loss_pct=Decimal(100), weekly_loss_pct=Decimal(100)) == []
        assert wrong(daily_loss_pct=Decimal("100.01"), weekly_loss_pct=Decimal("100.01")) == [
            "daily_loss_pct",
            "weekly_loss_pct",
        ]

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"score_demote": 76}, "score_demote"),
            ({"daily_loss_pct": Decimal("5.01")}, "daily_loss_pct"),
            ({"sector_slots": 4}, "sector_slots"),
            ({"profile": "wild"}, "profile"),
            ({"close_mode": "never"}, "close_mode"),
            ({"asset_types": ["bonds"]}, "asset_types"),
            ({"asset_types": ["stock", "stock"]}, "asset_types"),
            ({"asset_types": "stock"}, "asset_types"),
            ({"universe": {"nowhere": ["SPY"]}}, "universe"),
            ({"universe": {"replay": ["SPY", "SPY"]}}, "universe"),
            ({"universe": {"replay": [""]}}, "universe"),
            ({"universe": {"replay": [" SPY"]}}, "universe"),
            ({"universe": {"replay": ["X" * 21]}}, "universe"),
            ({"universe": {"replay": "SPY"}}, "universe"),
            ({"universe": ["SPY"]}, "universe"),
            ({"universe": {"replay": [f"S{n}" for n in range(501)]}}, "universe"),
            ({"enabled": True}, "universe"),
            ({"enabled": True, "universe": {"replay": []}}, "universe"),
            ({"enabled": 1}, "enabled"),
        ],
    )
    def test_what_makes_no_sense_is_refused_by_its_field(self, changes: dict[str, Any], field: str) -> None:
        assert wrong(**changes) == [field]

    def test_enabled_with_a_symbol_makes_sense(self) -> None:
        assert wrong(enabled=True, universe=SOME) == []

    def test_share_must_reach_the_venues_smallest_order(self, settings: Settings) -> None:
        least = capital_usd_min(settings.ENVIRONMENT.notional_usd_min["kraken"])
        universe = {"kraken": ["BTC/USD"]}
        assert wrong(universe=universe, total_capital_usd=least * 3) == []
        assert wrong(universe=universe, total_capital_usd=least * 3 - Decimal("0.01")) == ["total_capital_usd"]
        # By conviction the least share is half of it.
        assert wrong(universe=universe, total_capital_usd=least * 3, is_by_conviction=True) == ["total_capital_usd"]
        assert wrong(universe=universe, total_capital_usd=least * 6, is_by_conviction=True) == []

    def test_least_capital_is_that_of_the_smallest_entry_of_any_strategy(self) -> None:
        # smart_dca begins with 8 % of its capital.
        assert capital_usd_min(Decimal(5)) == Decimal("62.5")


class TestTables:
    @pytest.mark.parametrize(
        ("regime", "confidence", "expected"),
        [
            ("trend_up", "0.5", "breakout"),
            ("trend_up", "0.49", "sma_cross"),
            ("range", "0.5", "rsi_reversion"),
            ("range", "0.49", "smart_dca"),
            ("trend_down", "0.9", None),
            ("high_volatility", "0.9", None),
            ("unknown", "0.9", None),
        ],
    )
    def test_regime_gives_the_strategy(self, regime: str, confidence: str, expected: str | None) -> None:
        found = strategy_for(regime, Decimal(confidence))
        assert found == expected
        if found is not None:
            assert registry.get(found).schema.clean({})

    @pytest.mark.parametrize(
        ("venue", "symbol", "kind", "area"),
        [
            ("kraken", "BTC/USD", "crypto", "crypto"),
            ("replay", "BTC-PERP", "crypto", "crypto"),
            ("alpaca", "BTC/USD", "crypto", "crypto"),
            ("alpaca", "AAPL", "stock", "technology"),
            ("replay", "SPX", "stock", "broad market"),
            ("alpaca", "BRK.B", "stock", "financials"),
            ("alpaca", "ZZZZ", "stock", "other"),
        ],
    )
    def test_symbol_has_its_kind_and_its_sector(self, venue: str, symbol: str, kind: str, area: str) -> None:
        assert (asset_type(venue, symbol), sector(venue, symbol)) == (kind, area)


class TestChange:
    def test_each_change_is_audited_and_makes_it_due(self, market: MarketFeed) -> None:
        switch_on(universe=SOME)
        state = AutopilotState.objects.get()
        assert state.enabled_at == state.next_at is not None
        changed = {
            one.action: (one.actor, one.old, one.new) for one in OperatorEvent.objects.filter(object="autopilot")
        }
        assert changed["autopilot_enabled_changed"] == ("anna", "false", "true")
        AutopilotState.objects.update(next_at=None)
        config.change({"slots": 4}, actor="anna", reason="")
        assert AutopilotState.objects.get().next_at is None
        config.change({"slots": 6}, actor="anna", reason="")
        after = AutopilotState.objects.get()
        assert after.next_at is not None
        assert after.enabled_at == state.enabled_at

    def test_unknown_symbol_is_refused_and_nothing_changes(self, market: MarketFeed) -> None:
        with pytest.raises(AutopilotConfigError, match="replay has no symbol 'NOPE'"):
            config.change({"universe": {"replay": ["SPY", "NOPE"]}, "slots": 9}, actor="anna", reason="")
        assert (config.read().slots, config.read().universe) == (3, {})

    def test_profile_with_fewer_slots_takes_the_sectors_cap_along(self, committed_db: CommittedDatabase) -> None:
        config.change({"profile": "aggressive", "sector_slots": 8}, actor="anna", reason="")
        found = config.change({"profile": "conservative"}, actor="anna", reason="")
        assert (found.slots, found.sector_slots, found.score_min, found.score_demote) == (3, 3, 75, 60)


class TestLive:
    @pytest.fixture(autouse=True)
    def _kraken(self, committed_db: CommittedDatabase, settings: Settings) -> None:
        AutopilotConfig.objects.update(universe={"kraken": ["BTC/USD"]})
        stamp.apply()
        settings.ENVIRONMENT = _with_keys(settings.ENVIRONMENT)
        open_gates(settings)
        ready()

    def arm(self, confirm: str = LIVE_WORDS, reason: str = "four weeks went well") -> AutopilotConfig:
        return config.set_live(actor="anna", confirm=confirm, reason=reason)

    def test_it_is_live_with_every_lock_open_and_paper_again_at_once(self) -> None:
        assert self.arm().dry_run is False
        assert config.read().dry_run is False
        assert config.set_paper(actor="bob", reason="enough").dry_run is True
        rows = OperatorEvent.objects.filter(action="autopilot_dry_run_changed").order_by("id")
        assert [(one.actor, one.old, one.new, one.reason) for one in rows] == [
            ("anna", "true", "false", "four weeks went well"),
            ("bob", "false", "true", "enough"),
        ]

    @pytest.mark.parametrize("confirm", ["", "autopilot", "Autopilot live", "autopilot live ", "autopilot  live"])
    def test_words_have_to_be_typed_letter_by_letter(self, confirm: str) -> None:
        with pytest.raises(AutopilotLiveRefused, match="Type exactly"):
            self.arm(confirm=confirm)
        assert config.read().dry_run

    def test_reason_is_needed(self) -> None:
        with pytest.raises(AutopilotLiveRefused, match="needs a reason"):
            self.arm(reason=" ")

    def test_each_lock_that_is_shut_keeps_it_on_paper(self, settings: Settings) -> None:
        open_gates(settings, live=False)
        with pytest.raises(AutopilotLiveRefused) as refused:
            self.arm()
        assert [one.code for one in refused.value.blocks] == ["LIVE_GATE_CLOSED"]
        open_gates(settings)
        ready("debug_off")
        with pytest.raises(AutopilotLiveRefused) as refused:
            self.arm()
        assert [one.code for one in refused.value.blocks] == ["READINESS"]
        ready()
        kill_switch.engage(Level.REDUCING, "a test", actor="anna", scope="venue:kraken")
        with pytest.raises(AutopilotLiveRefused) as refused:
            self.arm()
        assert [one.code for one in refused.value.blocks] == ["KILL_SWITCH"]
        assert config.read().dry_run

    @pytest.mark.parametrize("universe", [{}, {"replay": ["SPY"]}, {"kraken": []}])
    def test_recordings_can_never_be_live(self, universe: dict[str, list[str]]) -> None:
        AutopilotConfig.objects.update(universe=universe)
        with pytest.raises(AutopilotLiveRefused, match="never can"):
            self.arm()

    def test_change_never_sets_it_live(self) -> None:
        config.change({"dry_run": False, "slots": 4}, actor="anna", reason="")
        assert (config.read().dry_run, config.read().slots) == (True, 4)


def _with_keys(environment: Any) -> Any:
    from dataclasses import replace

    return replace(environment, kraken_api_key="key", kraken_api_secret="secret")
