"""The autopilot's plan: every reason for and against, at its limit, just beside it, and with what it is judged by missing."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bots.autopilot.planning import plan, share_usd
from bots.autopilot.values import Candidate, Decision, Kind, OwnBot, Rules, Situation, Stand

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
RULES = Rules(slots=3, sector_slots=2, score_min=70, score_demote=50, total_capital_usd=Decimal(900))


def candidate(symbol: str = "AAA", score: int | None = 80, **changes: Any) -> Candidate:
    fields: dict[str, Any] = {
        "venue": "replay", "symbol": symbol, "asset_type": "stock", "sector": f"sector of {symbol}", "score": score,
        "regime": "trend_up", "strategy": "breakout", "action": "trade_allowed", **changes,
    }  # fmt: skip
    return Candidate(**fields)


def own(symbol: str = "AAA", stand: Stand = Stand.TRADING, **changes: Any) -> OwnBot:
    fields: dict[str, Any] = {
        "bot_id": 7, "name": "mine", "venue": "replay", "symbol": symbol, "sector": f"sector of {symbol}",
        "capital_usd": Decimal(300), "stand": stand, "is_flat": False, **changes,
    }  # fmt: skip
    return OwnBot(**fields)


def situation(*candidates: Candidate, **changes: Any) -> Situation:
    fields: dict[str, Any] = {"now": NOW, "rules": RULES, "candidates": candidates, **changes}
    return Situation(**fields)


def only(found: tuple[Decision, ...]) -> Decision:
    (one,) = found
    return one


def told(found: tuple[Decision, ...]) -> list[tuple[str, str, str]]:
    return [(one.symbol, one.kind.value, one.code) for one in found]


class TestANewBot:
    def test_good_symbol_gets_one_with_its_share_strategy_and_reason(self) -> None:
        found = only(plan(situation(candidate())))
        assert (found.kind, found.code, found.bot_id) == (Kind.CREATED, "score", None)
        assert (found.capital_usd, found.strategy, found.regime, found.score) == (
            Decimal(300),
            "breakout",
            "trend_up",
            80,
        )
        assert "80" in found.reason

    @pytest.mark.parametrize(
        ("score", "expected"),
        [
            (71, ("created", "score")),
            (70, ("created", "score")),
            (69, ("watched", "watch")),
            (50, ("watched", "watch")),
            (49, ("skipped", "score")),
            (0, ("skipped", "score")),
            (None, ("skipped", "no_data")),
        ],
    )
    def test_score_decides_at_its_two_limits(self, score: int | None, expected: tuple[str, str]) -> None:
        found = only(plan(situation(candidate(score=score, problem="no answer"))))
        assert (found.kind.value, found.code) == expected

    def test_symbol_that_the_time_did_not_reach_says_so(self) -> None:
        late = candidate(score=None, problem="the time was over", problem_code="not_reached")
        assert only(plan(situation(late))).code == "not_reached"

    @pytest.mark.parametrize(("kinds", "code"), [((), "score"), (("stock",), "score"), (("crypto",), "asset_type")])
    def test_asset_type_that_is_left_out_gets_none(self, kinds: tuple[str, ...], code: str) -> None:
        assert only(plan(situation(candidate(), rules=replace(RULES, asset_types=frozenset(kinds))))).code == code

    def test_symbol_with_somebody_elses_bot_gets_none_and_names_it(self) -> None:
        found = only(plan(situation(candidate(), taken={("replay", "AAA"): "Anna's bot"})))
        assert (found.kind, found.code) == (Kind.SKIPPED, "has_bot")
        assert "Anna's bot" in found.reason

    def test_bot_on_the_same_symbol_at_another_venue_is_not_in_the_way(self) -> None:
        assert only(plan(situation(candidate(), taken={("kraken", "AAA"): "Anna's bot"}))).kind == Kind.CREATED

    @pytest.mark.parametrize(
        ("ago_s", "code"),
        [(3599, "cooldown"), (3600, "score"), (3601, "score"), (0, "cooldown"), (-60, "score"), (None, "score")],
    )
    def test_cooldown_ends_to_the_second_and_a_closing_from_the_future_counts_for_nothing(
        self, ago_s: int | None, code: str
    ) -> None:
        closed = {} if ago_s is None else {("replay", "AAA"): NOW - timedelta(seconds=ago_s)}
        rules = replace(RULES, cooldown=timedelta(hours=1))
        assert only(plan(situation(candidate(), rules=rules, closed_at=closed))).code == code

    def test_cooldown_of_one_symbol_is_not_that_of_another(self) -> None:
        rules = replace(RULES, cooldown=timedelta(hours=1))
        found = plan(situation(candidate("AAA"), candidate("BBB"), rules=rules, closed_at={("replay", "AAA"): NOW}))
        assert told(found) == [("AAA", "skipped", "cooldown"), ("BBB", "created", "score")]

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"halted": {"replay": "Trading is halted."}}, "halted"),
            ({"halted": {"kraken": "Trading is halted."}}, "score"),
            ({"stopped": "2 % were lost."}, "loss_limit"),
            ({"unknown_losses": "nobody knows"}, "losses_unknown"),
            ({"locked": {"replay": "ALLOW_LIVE_TRADING is not 1."}}, "locks"),
            ({"locked": {"kraken": "ALLOW_LIVE_TRADING is not 1."}}, "score"),
        ],
    )
    def test_what_bars_new_bots_bars_them_and_nothing_else(self, changes: dict[str, Any], code: str) -> None:
        assert only(plan(situation(candidate(), **changes))).code == code

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"barred": "it is not active"}, "not_tradeable"),
            ({"barred": "it is closed", "barred_code": "market_closed"}, "market_closed"),
            ({"strategy": None, "regime": "trend_down"}, "regime"),
            ({"action": "manage_only", "why_not": "stale"}, "not_allowed"),
            ({"action": "no_trade", "why_not": "halted"}, "not_allowed"),
            ({"action": ""}, "not_allowed"),
        ],
    )
    def test_market_that_is_not_fit_gets_none(self, changes: dict[str, Any], code: str) -> None:
        assert only(plan(situation(candidate(**changes)))).code == code

    def test_orders_that_would_be_denied_make_no_bot_and_take_no_room(self) -> None:
        def objection(found: Candidate, capital_usd: Decimal) -> str:
            assert capital_usd == Decimal(300)
            return "too small" if found.symbol == "AAA" else ""

        rules = replace(RULES, slots=1, total_capital_usd=Decimal(300))
        found = plan(situation(candidate("AAA", 90), candidate("BBB", 80), rules=rules, objection=objection))
        assert told(found) == [("AAA", "skipped", "limits"), ("BBB", "created", "score")]
        assert "too small" in found[0].reason


class TestRoom:
    def test_best_scores_get_the_slots_and_ties_go_by_name(self) -> None:
        found = plan(situation(candidate("DDD", 80), candidate("BBB", 95), candidate("CCC", 80), candidate("AAA", 71)))
        assert told(found) == [
            ("BBB", "created", "score"),
            ("CCC", "created", "score"),
            ("DDD", "created", "score"),
            ("AAA", "skipped", "slots_full"),
        ]

    @pytest.mark.parametrize(("slots", "code"), [(2, "score"), (1, "slots_full")])
    def test_bots_that_there_are_take_slots_whatever_they_do(self, slots: int, code: str) -> None:
        rules = replace(RULES, slots=slots, total_capital_usd=Decimal(300) * slots)
        have = own("OWN", Stand.LEAVING)
        found = plan(situation(candidate("OWN", 60), candidate("AAA"), own=(have,), rules=rules))
        assert found[1].code == code

    def test_more_bots_than_slots_make_none_and_close_none(self) -> None:
        rules = replace(RULES, slots=1, total_capital_usd=Decimal(10_000))
        bots = (own("X", bot_id=1), own("Y", bot_id=2))
        found = plan(situation(candidate("X"), candidate("Y"), candidate("AAA"), own=bots, rules=rules))
        assert told(found) == [("X", "kept", "score"), ("Y", "kept", "score"), ("AAA", "skipped", "slots_full")]

    def test_slot_of_a_bot_that_is_closed_is_free_at_once(self) -> None:
        rules = replace(RULES, slots=1, total_capital_usd=Decimal(300))
        have = own("OLD", is_flat=True)
        found = plan(situation(candidate("OLD", 10), candidate("AAA"), own=(have,), rules=rules))
        assert told(found) == [("OLD", "closed", "score"), ("AAA", "created", "score")]

    @pytest.mark.parametrize(("cap", "made"), [(1, 1), (2, 2), (3, 3)])
    def test_sector_has_its_cap(self, cap: int, made: int) -> None:
        rules = replace(RULES, slots=9, sector_slots=cap)
        coins = [candidate(name, sector="crypto") for name in ("A", "B", "C")]
        found = plan(situation(*coins, rules=rules))
        assert [one.code for one in found] == ["score"] * made + ["sector_cap"] * (3 - made)

    def test_cap_counts_the_bots_that_there_are(self) -> None:
        rules = replace(RULES, sector_slots=1)
        have = own("OLD", sector="crypto")
        new = (candidate("OLD", sector="crypto"), candidate("A", sector="crypto"), candidate("B", sector="energy"))
        found = plan(situation(*new, own=(have,), rules=rules))
        assert [one.code for one in found] == ["score", "sector_cap", "score"]

    @pytest.mark.parametrize(
        ("used", "code", "capital"),
        [
            ("600", "score", "300"),
            ("600.01", "score", "299.99"),
            ("750", "score", "150"),
            ("750.01", "capital", None),
            ("900", "capital", None),
            ("950", "capital", None),
        ],
    )
    def test_capital_that_is_left_is_used_down_to_half_a_share(self, used: str, code: str, capital: str | None) -> None:
        have = own("OLD", capital_usd=Decimal(used))
        found = plan(situation(candidate("OLD"), candidate("AAA"), own=(have,)))[1]
        assert (found.code, found.capital_usd) == (code, None if capital is None else Decimal(capital))


class TestShare:
    @pytest.mark.parametrize(("score", "expected"), [(70, "150.00"), (85, "300.00"), (100, "450.00")])
    def test_conviction_gives_from_half_to_one_and_a_half(self, score: int, expected: str) -> None:
        assert share_usd(replace(RULES, is_by_conviction=True), score) == Decimal(expected)

    def test_least_score_of_100_gives_the_equal_share(self) -> None:
        assert share_usd(replace(RULES, is_by_conviction=True, score_min=100), 100) == Decimal(300)

    def test_share_is_rounded_down_to_cents(self) -> None:
        assert share_usd(replace(RULES, total_capital_usd=Decimal(100)), 80) == Decimal("33.33")

    @given(
        scores=st.lists(st.integers(0, 100), max_size=12),
        slots=st.integers(1, 10),
        total=st.decimals(1, 100_000, places=2),
        is_by_conviction=st.booleans(),
        score_min=st.integers(0, 100),
    )
    @settings(max_examples=200, deadline=None)
    def test_no_plan_uses_more_slots_or_capital_than_there_are(
        self, scores: list[int], slots: int, total: Decimal, is_by_conviction: bool, score_min: int
    ) -> None:
        rules = replace(
            RULES, slots=slots, sector_slots=slots, total_capital_usd=total, is_by_conviction=is_by_conviction,
            score_min=score_min, score_demote=0,
        )  # fmt: skip
        found = plan(situation(*(candidate(f"S{n}", score) for n, score in enumerate(scores)), rules=rules))
        made = [one for one in found if one.kind == Kind.CREATED]
        assert len(found) == len(scores)
        assert len(made) <= slots
        assert sum((one.capital_usd or Decimal(0) for one in made), Decimal(0)) <= total
        assert all(one.capital_usd and one.capital_usd > 0 for one in made)


class TestOwnBots:
    @pytest.mark.parametrize(
        ("score", "expected"),
        [(70, ("kept", "score")), (69, ("kept", "watch")), (50, ("kept", "watch")), (49, ("demoted", "score"))],
    )
    def test_score_decides_at_its_two_limits(self, score: int, expected: tuple[str, str]) -> None:
        found = only(plan(situation(candidate(score=score), own=(own(),))))
        assert (found.kind.value, found.code, found.bot_id) == (*expected, 7)

    def test_one_that_holds_nothing_is_archived_at_once(self) -> None:
        found = only(plan(situation(candidate(score=49), own=(own(is_flat=True),))))
        assert (found.kind, found.code) == (Kind.CLOSED, "score")

    @pytest.mark.parametrize("is_flat", [True, False])
    def test_symbol_that_left_the_universe_is_closed(self, is_flat: bool) -> None:
        found = only(plan(situation(own=(own(is_flat=is_flat),))))
        assert (found.kind, found.code) == (Kind.CLOSED if is_flat else Kind.DEMOTED, "not_in_universe")

    def test_nothing_known_of_its_market_closes_nothing(self) -> None:
        found = only(plan(situation(candidate(score=None, problem="no feed"), own=(own(is_flat=True),))))
        assert (found.kind, found.code) == (Kind.KEPT, "no_data")

    def test_closed_market_closes_no_bot(self) -> None:
        shut = candidate(score=10, barred="closed until Monday", barred_code="market_closed")
        assert told(plan(situation(shut, own=(own(is_flat=True),)))) == [("AAA", "kept", "market_closed")]

    @pytest.mark.parametrize("stand", [Stand.HANDS_OFF])
    @pytest.mark.parametrize("score", [0, 60, 100, None])
    def test_what_a_person_paused_or_stopped_is_left_alone(self, stand: Stand, score: int | None) -> None:
        bot = own(stand=stand, said="It was stopped by anna", is_flat=True)
        found = only(plan(situation(candidate(score=score), own=(bot,))))
        assert (found.kind, found.code) == (Kind.KEPT, "by_hand")
        assert "anna" in found.reason

    @pytest.mark.parametrize(("score", "expected"), [(80, ("kept", "paused")), (10, ("demoted", "score"))])
    def test_what_a_control_paused_waits_for_a_person_and_may_still_be_closed(
        self, score: int, expected: tuple[str, str]
    ) -> None:
        found = only(plan(situation(candidate(score=score), own=(own(stand=Stand.PAUSED, said="DAILY_LOSS"),))))
        assert (found.kind.value, found.code) == expected

    @pytest.mark.parametrize("score", [10, None])
    def test_what_a_person_let_go_on_is_not_closed_again(self, score: int | None) -> None:
        seen = () if score is None else (candidate(score=score),)
        found = only(plan(situation(*seen, own=(own(stand=Stand.KEPT, is_flat=True),))))
        assert (found.kind, found.code) == (Kind.KEPT, "started_by_hand")

    def test_once_its_score_recovered_it_is_one_like_any_other(self) -> None:
        assert only(plan(situation(candidate(score=50), own=(own(stand=Stand.KEPT),)))).code == "watch"

    @pytest.mark.parametrize(("score", "expected"), [(80, ("kept", "waits_for_start")), (10, ("closed", "score"))])
    def test_one_that_waits_for_a_person_waits_until_its_score_falls(
        self, score: int, expected: tuple[str, str]
    ) -> None:
        found = only(plan(situation(candidate(score=score), own=(own(stand=Stand.WAITING, is_flat=True),))))
        assert (found.kind.value, found.code) == expected


class TestOnTheWayOut:
    @pytest.mark.parametrize(
        ("score", "is_flat", "expected"),
        [
            (70, False, ("promoted", "score_back")),
            (70, True, ("promoted", "score_back")),
            (69, True, ("closed", "flat")),
            (69, False, ("kept", "leaving")),
            (10, True, ("closed", "flat")),
            (None, True, ("closed", "flat")),
            (None, False, ("kept", "no_data")),
        ],
    )
    def test_it_comes_back_with_its_score_or_goes_when_it_holds_nothing(
        self, score: int | None, is_flat: bool, expected: tuple[str, str]
    ) -> None:
        seen = candidate(score=score, problem="no answer")
        found = only(plan(situation(seen, own=(own(stand=Stand.LEAVING, is_flat=is_flat),))))
        assert (found.kind.value, found.code) == expected

    @pytest.mark.parametrize(
        ("changes", "held", "expected"),
        [
            ({}, "its book lost too much", (Kind.KEPT, "leaving")),
            ({"halted": {"replay": "halted"}}, "", (Kind.KEPT, "leaving")),
            # What its own book may lose counts, not what the book of new bots may.
            ({"stopped": "the other book lost too much"}, "", (Kind.PROMOTED, "score_back")),
        ],
    )
    def test_nothing_comes_back_while_it_may_not_buy(
        self, changes: dict[str, Any], held: str, expected: tuple[Kind, str]
    ) -> None:
        found = only(plan(situation(candidate(score=90), own=(own(stand=Stand.LEAVING, held=held),), **changes)))
        assert (found.kind, found.code) == expected

    def test_nothing_comes_back_where_entries_are_not_allowed(self) -> None:
        seen = candidate(score=90, action="manage_only")
        assert only(plan(situation(seen, own=(own(stand=Stand.LEAVING),)))).code == "leaving"

    def test_one_that_a_person_had_a_hand_in_is_not_let_back(self) -> None:
        bot = own(stand=Stand.LEAVING, said="paused by hand")
        assert only(plan(situation(candidate(score=90), own=(bot,)))).code == "leaving"

    @pytest.mark.parametrize(("is_flat", "expected"), [(False, ("demoted", "still_held")), (True, ("closed", "flat"))])
    def test_where_all_is_sold_it_is_sold_until_nothing_is_left(self, is_flat: bool, expected: tuple[str, str]) -> None:
        rules = replace(RULES, is_flatten=True)
        bot = own(stand=Stand.LEAVING, is_flat=is_flat)
        found = only(plan(situation(candidate(score=90), own=(bot,), rules=rules)))
        assert (found.kind.value, found.code) == expected


class TestLossHold:
    @pytest.mark.parametrize(
        ("score", "stopped", "expected"),
        [
            (80, "lost", ("kept", "loss_limit")),
            (80, "", ("started", "loss_over")),
            (50, "", ("started", "loss_over")),
            (49, "", ("demoted", "score")),
            (49, "lost", ("demoted", "score")),
        ],
    )
    def test_it_goes_on_when_the_time_is_over_unless_its_score_fell(
        self, score: int, stopped: str, expected: tuple[str, str]
    ) -> None:
        bot = own(stand=Stand.LOSS_HOLD, held=stopped)
        found = only(plan(situation(candidate(score=score), own=(bot,))))
        assert (found.kind.value, found.code) == expected


class TestWhatAPersonLetGoOn:
    """Its score is too low, and a person let it go on: that holds, whatever holds the bot in between."""

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"stand": Stand.KEPT}, ("kept", "started_by_hand")),
            ({"stand": Stand.LOSS_HOLD, "held": "lost"}, ("kept", "loss_limit")),
            ({"stand": Stand.LOSS_HOLD}, ("started", "loss_over")),
            ({"stand": Stand.PAUSED, "said": "It was paused by automatic"}, ("kept", "paused")),
        ],
    )
    @pytest.mark.parametrize("is_flat", [True, False])
    @pytest.mark.parametrize("is_seen", [True, False])
    def test_it_is_not_closed(
        self, changes: dict[str, Any], expected: tuple[str, str], is_flat: bool, is_seen: bool
    ) -> None:
        seen = [candidate(score=49)] if is_seen else []
        found = only(plan(situation(*seen, own=(own(is_kept=True, is_flat=is_flat, **changes),))))
        assert (found.kind.value, found.code) == expected

    @pytest.mark.parametrize(("is_flat", "expected"), [(True, ("closed", "flat")), (False, ("kept", "leaving"))])
    def test_one_that_is_on_its_way_out_again_goes(self, is_flat: bool, expected: tuple[str, str]) -> None:
        bot = own(stand=Stand.LEAVING, is_flat=is_flat)
        found = only(plan(situation(candidate(score=49), own=(bot,))))
        assert (found.kind.value, found.code) == expected


class TestCutOffBeforeItWasLive:
    @pytest.mark.parametrize(
        ("changes", "said", "score", "expected"),
        [
            ({}, "", 80, ("started", "made_before")),
            ({}, "", 50, ("started", "made_before")),
            ({}, "", 49, ("closed", "score")),
            ({}, "", None, ("closed", "score")),
            ({}, "set to paper", 80, ("closed", "locks")),
            ({"locked": {"replay": "shut"}}, "", 80, ("closed", "locks")),
            ({"stopped": "lost"}, "", 80, ("closed", "loss_limit")),
        ],
    )
    def test_it_is_finished_only_while_it_may_be_live(
        self, changes: dict[str, Any], said: str, score: int | None, expected: tuple[str, str]
    ) -> None:
        bot = own(stand=Stand.STARTING, is_flat=True, said=said)
        found = only(plan(situation(candidate(score=score), own=(bot,), **changes)))
        assert (found.kind.value, found.code) == expected


def test_each_symbol_and_each_bot_gets_exactly_one_decision_with_a_reason() -> None:
    bots = (own("X", bot_id=1), own("Z", bot_id=2, is_flat=True))
    found = plan(situation(candidate("X"), candidate("Y", None, problem="?"), candidate("W", 20), own=bots))
    assert sorted(one.symbol for one in found) == ["W", "X", "Y", "Z"]
    assert all(one.reason and one.code for one in found)
