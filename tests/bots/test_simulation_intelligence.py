"""What the intelligence layer takes away in a replay: entries, and nothing else; the same as from a running bot."""

import json
from dataclasses import replace
from decimal import Decimal
from io import StringIO

import numpy as np
import pytest
from django.core.management import CommandError, call_command

from bots.backtest import recorded_series
from bots.brokers.fees import fees_for
from bots.intelligence import layer
from bots.market_data.base import CandleSeries
from bots.market_data.datasets import dataset
from bots.simulation import simulate
from bots.simulation_values import Conditions, SimulationResult
from bots.strategies import registry
from bots.strategies.base import CancelProposal, Proposal
from safety.intents import LimitSet, OrderType, Side
from tests.bots.strategies.builders import RULES
from tests.bots.test_simulation import CONDITIONS, Scripted

JUDGED = replace(CONDITIONS, with_intelligence=True)
LIMITS = LimitSet(notional_usd_max=Decimal(5000), notional_usd_min={"replay": Decimal(1)})
Script = dict[int, list[Proposal | CancelProposal]]


def buy(limit: str | None = None) -> Proposal:
    kind = OrderType.MARKET if limit is None else OrderType.LIMIT
    return Proposal(Side.BUY, kind, Decimal(1), "base", "wanted", None if limit is None else Decimal(limit))


def sell() -> Proposal:
    return Proposal(Side.SELL, OrderType.MARKET, Decimal(1), "exit", "wanted", reduce_only=True)


def market(bars: int, wild_from: int | None = None) -> CandleSeries:
    """Return a quiet market, twenty times as restless from a bar on."""
    size = np.full(bars, 0.0005)
    if wild_from is not None:
        size[wild_from:] = 0.01
    ways = np.where(np.arange(bars) % 2, 1, -1) * (1 + 0.3 * np.sin(np.arange(bars)))
    close = np.asarray(100 * np.cumprod(1 + size * ways), dtype=np.float64)
    open_ = np.concatenate([close[:1], close[:-1]])
    high, low = np.maximum(open_, close) * 1.0001, np.minimum(open_, close) * 0.9999
    opened_at = np.arange(bars, dtype=np.int64) * 60 + 1_700_000_040
    return CandleSeries("replay", RULES.symbol, "1m", opened_at, open_, high, low, close, np.full(bars, 1000.0))


def run(script: Script, candles: CandleSeries, conditions: Conditions = JUDGED) -> SimulationResult:
    return simulate(Scripted(script), {"timeframe": "auto"}, candles, conditions)


def first_wild(candles: CandleSeries) -> int:
    """Return the first bar after the warm-up at which the layer allows no entry."""
    shut = np.flatnonzero(~layer.entry_allowed(candles)[layer.BARS_MIN :])
    return int(shut[0]) + layer.BARS_MIN


@pytest.mark.parametrize(("bar", "trades"), [(layer.BARS_MIN - 2, 0), (layer.BARS_MIN - 1, 1), (layer.BARS_MIN, 1)])
def test_entry_waits_until_there_is_history_enough(bar: int, trades: int) -> None:
    result = run({bar: [buy()]}, market(100))
    assert (len(result.trades), result.held_back) == (trades, 1 - trades)


def test_wild_market_holds_entries_and_lets_exits_go() -> None:
    candles = market(400, wild_from=300)
    wild = first_wild(candles)
    assert wild >= 300
    result = run({200: [buy()], wild: [buy(), sell()]}, candles)
    assert [(trade.bar, trade.side) for trade in result.trades] == [(200, Side.BUY), (wild, Side.SELL)]
    assert result.held_back == 1
    assert result.denials == {}


def test_cancel_goes_through_and_what_rests_stays() -> None:
    candles = market(400, wild_from=300)
    wild = first_wild(candles)
    far = run({200: [buy("60")], wild: [CancelProposal("s1", "no more")]}, candles)
    assert far.trades == ()
    low = round(float(candles.low[wild:].min()), 2)
    resting = run({200: [buy(str(low + 0.05))]}, candles)
    assert [trade.side for trade in resting.trades] == [Side.BUY]


def test_without_it_every_entry_is_tried() -> None:
    candles = market(400, wild_from=300)
    wild = first_wild(candles)
    result = run({10: [buy()], wild: [buy()]}, candles, CONDITIONS)
    assert [trade.bar for trade in result.trades] == [10, wild]
    assert result.held_back == 0


@pytest.mark.parametrize(("over", "trades"), [(-2, 1), (2, 0)])
def test_entry_needs_the_least_score(over: int, trades: int) -> None:
    candles = market(300)
    score = int(layer.scores(candles, float(JUDGED.half_spread_bps), float(JUDGED.fees.taker))[200])
    result = run({200: [buy()]}, candles, replace(JUDGED, score_min=score + over))
    assert (len(result.trades), result.held_back) == (trades, 1 - trades)


@pytest.mark.parametrize("key", [strategy.key for strategy in registry.all()])
def test_quick_replay_holds_back_as_the_thorough_one_does(key: str) -> None:
    strategy, info = registry.get(key), dataset("BTC-PERP").info
    whole = recorded_series("BTC-PERP", "auto", None, None)
    part = slice(0, 6000)
    columns = (getattr(whole, name)[part] for name in ("opened_at", "open", "high", "low", "close", "volume"))
    candles = CandleSeries(whole.venue, whole.symbol, whole.timeframe, *columns)
    conditions = Conditions(
        Decimal(250), Decimal(10_000), info.rules(), fees_for("replay", "BTC-PERP"), LIMITS, info.half_spread_bps
    )
    quick, thorough = (
        simulate(strategy, strategy.schema.defaults(), candles, conditions, is_fast=is_fast)
        for is_fast in (True, False)
    )
    assert (quick.trades, quick.held_back) == (thorough.trades, thorough.held_back)
    allowed = layer.entry_allowed(candles)
    assert all(allowed[trade.bar] for trade in quick.trades if trade.side == Side.BUY and trade.leg == "base")


def _command(*options: str) -> str:
    out = StringIO()
    call_command("backtest", "--strategy", "smart_dca", "--symbol", "BTC-PERP", *options, stdout=out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("options", "is_on", "shown"),
    [((), True, "times an entry"), (("--without-intelligence",), False, "held back         off")],
)
def test_command_says_what_was_held_back(options: tuple[str, ...], is_on: bool, shown: str) -> None:
    day = ("--from", "2022-01-21", "--to", "2022-01-25")
    plain = json.loads(_command(*day, *options, "--json"))
    assert plain["intelligence"] is is_on
    assert bool(plain["entries_held_back"]) is is_on
    assert shown in _command(*day, *options)


def test_command_with_a_least_score_that_no_market_has_buys_nothing() -> None:
    plain = json.loads(_command("--from", "2022-01-21", "--to", "2022-01-25", "--score-min", "100", "--json"))
    assert (plain["score_min"], plain["trades"]) == (100, 0)
    assert plain["entries_held_back"] > 0


@pytest.mark.parametrize("text", ["-1", "101", "5.5", "many"])
def test_command_refuses_what_is_no_score(text: str) -> None:
    with pytest.raises(CommandError, match="--score-min has to be"):
        _command("--score-min", text)
