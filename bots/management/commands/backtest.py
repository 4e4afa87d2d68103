"""`backtest`: try a strategy on the recorded candles, through the real gate and the paper broker."""

import json
from argparse import ArgumentParser
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from bots.backtest import Backtest, as_plain, run
from bots.bot_checks import SCORE_MAX
from bots.market_data.base import MarketDataError
from bots.market_data.datasets import manifest
from bots.strategies import registry
from bots.strategies.schema import ParamError
from safety.limits import merge

NOTE = (
    "A replay of the past, not a promise. Trades happen at the close of a bar, with half the spread, slippage and fees; "
    "DAILY_LOSS, DRAWDOWN and LOSING_STREAK are off: nobody is there to start it again."
)

#: What a new bot's paper account has.
EQUITY_USD = Decimal(100_000)


class Command(BaseCommand):
    """Exit codes: 0 done, 1 the request cannot be run (unknown name, bad params, no candles)."""

    help = "Try a strategy on recorded candles and show P&L, costs and denials beside buying and holding."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--strategy", required=True, help=f"one of: {', '.join(s.key for s in registry.all())}")
        parser.add_argument("--symbol", required=True, help=f"one of: {', '.join(manifest())}")
        parser.add_argument("--params", default="{}", help="JSON object; what is left out takes its default")
        parser.add_argument("--capital", default="1000", help="the bot's capital in USD (default 1000)")
        parser.add_argument(
            "--equity",
            default=None,
            help=f"the paper account's cash in USD (default {EQUITY_USD}, or twice the capital)",
        )
        parser.add_argument("--from", dest="since", default=None, help="first day or moment, such as 2022-01-10, UTC")
        parser.add_argument("--to", dest="until", default=None, help="the first day or moment that is left out, UTC")
        parser.add_argument(
            "--without-intelligence",
            action="store_true",
            help="let every entry through that the intelligence layer would hold back, to compare",
        )
        parser.add_argument(
            "--score-min", default="0", help="the bot's least score for entries, 0 to 100 (default 0: any)"
        )
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the backtest and print what came of it."""
        try:
            test = _backtest(options)
            plain = as_plain(test, run(test))
        except (ParamError, registry.UnknownStrategyError, MarketDataError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(json.dumps(plain, indent=2) if options["json"] else _text(plain))


def _backtest(options: dict[str, Any]) -> Backtest:
    strategy = registry.get(options["strategy"])
    capital = _usd("--capital", options["capital"])
    return Backtest(
        strategy=strategy,
        params=strategy.schema.clean(_params(options["params"])),
        symbol=options["symbol"],
        capital_usd=capital,
        equity_usd=max(EQUITY_USD, capital * 2) if options["equity"] is None else _usd("--equity", options["equity"]),
        # A person would look, and start it again; here nobody can.
        limits=replace(
            merge(None, None, is_live=False), daily_loss_pct=None, drawdown_pct=None, losing_streak_max=None
        ),
        since=_moment("--from", options["since"]),
        until=_moment("--to", options["until"]),
        with_intelligence=not options["without_intelligence"],
        score_min=_score(options["score_min"]),
    )


def _params(text: str) -> dict[str, Any]:
    try:
        # Decimals straight from the text, so that 1.5 is exactly 1.5.
        raw = json.loads(text, parse_float=Decimal)
    except (ValueError, InvalidOperation) as error:
        raise CommandError(f"--params is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise CommandError("--params has to be a JSON object of names and values")
    return raw


def _usd(option: str, text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation as error:
        raise CommandError(f"{option} has to be an amount in USD, not {text!r}") from error
    if not amount.is_finite() or amount <= 0:
        raise CommandError(f"{option} has to be above 0, not {text}")
    return amount


def _score(text: str) -> int:
    if not text.isdecimal() or int(text) > SCORE_MAX:
        raise CommandError(f"--score-min has to be a whole number from 0 to {SCORE_MAX}, not {text!r}")
    return int(text)


def _moment(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise CommandError(f"{option} has to be a day or moment such as 2022-01-10, not {text!r}") from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _text(plain: dict[str, Any]) -> str:
    denials = ", ".join(f"{code} {count}" for code, count in plain["denials"].items()) or "none"
    held_back = f"{plain['entries_held_back']} times an entry" if plain["intelligence"] else "off"
    lines = [
        f"{plain['strategy']} on recorded {plain['symbol']} {plain['timeframe']}, capital {plain['capital_usd']} USD",
        f"  bars              {plain['bars']:,} from {plain['first_bar']} to {plain['last_bar']}",
        f"  executions        {plain['trades']}; deals closed {plain['deals_closed']}, won {plain['deals_won']}",
        f"  denials           {denials}",
        f"  held back         {held_back}",
        f"  fees              {plain['fees_usd']} USD",
        f"  spread, slippage  {plain['spread_and_slippage_usd']} USD",
        f"  realised P&L      {plain['realised_pnl_usd']} USD, net of fees",
        f"  unrealised P&L    {plain['unrealised_pnl_usd']} USD, at the last bid",
        f"  P&L               {plain['pnl_usd']} USD = {plain['pnl_pct_of_capital']} % of the capital",
        f"  buy and hold      {plain['hold_pnl_usd']} USD = {plain['hold_pnl_pct_of_capital']} % of the capital",
        f"  deepest drawdown  {plain['drawdown_max_usd']} USD",
        "",
        NOTE,
    ]
    return "\n".join(lines)
