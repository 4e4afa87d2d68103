"""The gate against an oracle that is written apart from it, and what holds of it whatever is drawn."""

import random
import statistics
from collections import Counter
from dataclasses import fields, replace
from decimal import Decimal
from typing import Any

from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from safety.intents import Level, LimitSet, OrderType, ReadinessVerdict, Side
from safety.limit_fields import FIELDS
from tests.safety.builders import (
    EXIT,
    EXPOSURE,
    LIVE,
    ONLY_AT_TIMES,
    QUOTE,
    UNSOUND,
    ago,
    decide,
    locks,
    situation,
)
from tests.safety.test_controls_doc import documented

D = Decimal


def drawn_by(chance: random.Random) -> dict[str, Any]:
    """Return sound figures, drawn close to the limits so that both answers are common."""

    def figure(low: float, high: float, places: int) -> Decimal:
        return D(chance.randint(int(low * 10**places), int(high * 10**places))).scaleb(-places)

    def seldom(rare: Any, usual: Any) -> Any:
        return rare if chance.random() < 0.1 else usual

    return {
        "side": chance.choice(list(Side)),
        "quantity": figure(0.001, 5, 3),
        "reduce_only": seldom(True, False),
        "level": seldom(chance.choice([Level.REDUCING, Level.HALTED]), Level.ACTIVE),
        "capital_usd": figure(500, 2_000, 2),
        "bot_committed_usd": figure(0, 900, 2),
        "cash_free_usd": figure(-50, 3_000, 2),
        "fee_rate": figure(0, 0.01, 4),
        "position_quantity": figure(0, 8, 3),
        "pending_exit_quantity": figure(0, 3, 3),
        "open_orders_bot": chance.randint(0, 11),
        "open_orders_account": chance.randint(0, 11),
        "sent_last_minute_bot": chance.randint(0, 22),
        "sent_last_minute_account": chance.randint(0, 22),
        "is_duplicate": seldom(True, False),
        "entries_held": seldom("the bot is paused", ""),
        "notional_usd_max": figure(100, 1_000, 2),
        "age": figure(0, 11, 3),
        "intent_age": figure(0, 33, 3),
        **drawn_account(chance, figure, seldom),
    }


def drawn_account(chance: random.Random, figure: Any, seldom: Any) -> dict[str, Any]:
    """Return what the controls of the account, the bot's luck, the market and live trading look at."""
    is_live = chance.random() < 0.3
    limit = {"type": OrderType.LIMIT, "limit_price": figure(96, 103, 1)} if chance.random() < 0.4 else {}
    nearby = tuple(figure(97, 106, 1) for _ in range(seldom(2, 0)))
    streak = {"losing_streak": seldom(5, 4), "last_loss_at": ago(chance.choice([14_399, 14_400]))}
    return {
        **limit,
        **streak,
        "is_live": is_live,
        "notional_equity_pct": D(2) if is_live else None,
        "equity_usd": seldom(figure(9_000, 9_800, 2), figure(9_700, 15_000, 2)),
        "symbol_exposure_usd": figure(0, 900, 2),
        "gross_exposure_usd": seldom(figure(4_000, 6_000, 2), figure(0, 4_000, 2)),
        "recent_notionals_usd": tuple(figure(10, 150, 2) for _ in range(chance.randint(8, 12))),
        "planned_leg_usd": figure(10, 150, 2),
        "is_major": chance.random() < 0.7,
        "opposite_prices": (*nearby, None) if nearby and chance.random() < 0.1 else nearby,
        "market_status": seldom("closed", "open"),
        "candle_age_s": figure(0, 130, 3),
        "reject_streak": seldom(5, 4),
        "unknown_on_symbol": int(chance.random() < 0.05),
        "reconciliation_open": seldom(("a difference",), ()),
        "live_fills": seldom(9, 10),
        "executions_today": seldom(60, 59),
        "account_flags": ("blocked",) if chance.random() < 0.05 else (),
        "locks": locks("KEYS") if chance.random() < 0.05 else locks(),
        "readiness": ReadinessVerdict(ago(seldom(86_401, 86_400)), ("a blocker",) if chance.random() < 0.05 else ()),
    }


def oracle(d: dict[str, Any]) -> bool:
    """Say whether the order may go out: the table of controls once more, each row in a line."""
    is_buy, quantity = d["side"] == Side.BUY, d["quantity"]
    price = d.get("limit_price") or (D(100) if is_buy else D(99))
    value, crossing = quantity * price, D("1.99") if d["is_major"] else D("4.975")
    meets = [one is None or (one <= price if is_buy else one >= price) for one in d["opposite_prices"]]
    common = (
        d["level"] != Level.HALTED,
        not d["is_duplicate"],
        d["intent_age"] <= 30,
        quantity >= D("0.01"),
        # The mid is 99.5; 30 % on the passive side are out of reach of what is drawn.
        price <= D("99.5") + crossing if is_buy else price >= D("99.5") - crossing,
        not any(meets),
        not d["is_live"] or (not d["account_flags"] and all(lock.is_open for lock in d["locks"])),
    )
    if not all(common):
        return False
    if not is_buy:
        # No shorts: a sale is an exit or nothing. The venue's minimum is 0.5 USD.
        return bool(quantity + d["pending_exit_quantity"] <= d["position_quantity"] and value >= D("0.5"))
    equity = d["equity_usd"]
    return all(
        (
            d["level"] == Level.ACTIVE and not d["reduce_only"] and not d["entries_held"],
            d["age"] <= 10 and d["candle_age_s"] <= 120,
            5 <= value <= d["notional_usd_max"],
            len(d["recent_notionals_usd"]) < 10
            or value <= 5 * max(statistics.median(d["recent_notionals_usd"]), d["planned_leg_usd"]),
            value + d["bot_committed_usd"] <= d["capital_usd"],
            value * (1 + d["fee_rate"]) * D("1.01") <= d["cash_free_usd"],
            value + d["symbol_exposure_usd"] <= equity / 10,
            value + d["gross_exposure_usd"] <= equity / 2,
            d["sent_last_minute_bot"] < 20 and d["open_orders_bot"] < 10,
            equity > 9_700 and equity > 9_000,
            d["losing_streak"] < 5 or d["last_loss_at"] <= ago(14_400),
            d["reject_streak"] < 5 and d["unknown_on_symbol"] == 0 and not d["reconciliation_open"],
            d["market_status"] == "open",
            not d["is_live"] or oracle_of_live_entries(d, value),
        )
    )


def oracle_of_live_entries(d: dict[str, Any], value: Decimal) -> bool:
    ready = d["readiness"]
    return all(
        (
            value <= max(d["equity_usd"] / 50, D(125)),
            d["executions_today"] < 60,
            not ready.blockers and ready.finished_at >= ago(86_400),
            d["live_fills"] >= 10 or value <= 50,
        )
    )


def test_gate_permits_exactly_what_an_independent_oracle_permits() -> None:
    chance = random.Random(20260302)
    answers: Counter[tuple[Side, bool]] = Counter()
    for _ in range(12_000):
        drawn = drawn_by(chance)
        answer = oracle(drawn)
        assert decide(situation(**placed(drawn))).is_allowed is answer, drawn
        answers[drawn["side"], answer] += 1
    assert min(answers[side, answer] for side in Side for answer in (True, False)) >= 200, answers


@given(
    name=st.sampled_from(sorted(EXPOSURE)),
    value=st.sampled_from([*UNSOUND, float("nan"), float("inf"), object()]),
    seed=st.integers(0, 1_000_000),
)
@hypothesis_settings(max_examples=400, deadline=None)
def test_no_entry_is_permitted_while_any_part_of_the_exposure_is_unsound(name: str, value: object, seed: int) -> None:
    usual = {"recent_notionals_usd": (D(100),) * 10, "quantity": D("1.9")}
    drawn = {key: figure for key, figure in drawn_by(random.Random(seed)).items() if key in EXPOSURE} | usual
    assume(decide(situation(**LIVE | drawn)).is_allowed)
    assert decide(situation(**LIVE | drawn | {name: value})).permit is None or name in ONLY_AT_TIMES


def placed(drawn: dict[str, Any]) -> dict[str, Any]:
    """Return what was drawn, as changes of the sound situation."""
    changes = dict(drawn)
    changes["quote"] = replace(QUOTE, seen_at=ago(changes.pop("age")))
    changes["created_at"] = ago(changes.pop("intent_age"))
    return changes


@given(seed=st.integers(0, 1_000_000), looser=st.data())
@hypothesis_settings(max_examples=300, deadline=None)
def test_what_passes_under_stricter_limits_passes_under_looser_ones(seed: int, looser: st.DataObject) -> None:
    changes = placed(drawn_by(random.Random(seed)))
    changes["quantity"] = min(changes["quantity"], D("1.2"))
    assume(decide(situation(**changes)).is_allowed)
    held = situation(**changes).limits
    for one in FIELDS:
        figure = getattr(held, one.limit)
        if figure is None or not looser.draw(st.booleans(), label=one.limit):
            continue
        wider = figure / 2 if one.is_larger_stricter else figure + looser.draw(st.integers(0, 1_000), label="by")
        may_be_off = "floor" not in one.limit and one.limit != "losing_pause_h"
        changes[one.limit] = None if may_be_off and looser.draw(st.booleans(), label="off") else wider
    assert decide(situation(**changes)).is_allowed


@given(
    seed=st.integers(0, 1_000_000),
    is_live=st.booleans(),
    unknown=st.sets(st.sampled_from(sorted(EXPOSURE)), max_size=4),
)
@hypothesis_settings(max_examples=400, deadline=None)
def test_exit_that_shrinks_is_denied_only_by_rows_that_block_every_order(
    seed: int, is_live: bool, unknown: set[str]
) -> None:
    changes = placed(drawn_by(random.Random(seed))) | EXIT | {"is_live": is_live}
    changes |= dict.fromkeys(unknown - {"position_quantity", "pending_exit_quantity"})
    s = situation(**changes)
    assume(s.is_exit)
    stops_exits = {code for code, row in documented(5).items() if row[3] in {"every order", "every live order"}}
    if s.state.level == Level.HALTED:
        stops_exits.add("KILL_SWITCH")
    assert set(decide(s).codes) <= stops_exits


def test_every_figure_of_a_limit_set_can_be_set_or_is_fixed() -> None:
    fixed = {"notional_usd_min", "readiness_age_h_max", "ramp_fills"}
    assert {one.limit for one in FIELDS} | fixed == {one.name for one in fields(LimitSet)}
