"""What the intelligence layer thinks of each bot's market at one moment, and what that takes away from what its strategy wants.

It can only take away: what is left is judged by the gate as ever. Each market is judged once for all bots that ask alike.
Orders of persons, a flatten and a close by hand never come here.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal

from django.db import Error as DatabaseFault

from audit.records import bounded
from bots.accounts import account_name, baselines, utc_day
from bots.batch import AccountFigures, BotBooks
from bots.blocks import INTELLIGENCE, Block
from bots.bot_params import clean_params
from bots.intelligence import layer
from bots.intelligence.reasons import Code
from bots.intelligence.values import Action, Assessment, Circumstances
from bots.loss_triggers import losses_reached
from bots.market_data.base import MarketDataError
from bots.markets import Moment
from bots.models import Account, Bot
from bots.strategies import registry
from bots.strategies.base import CancelProposal, Proposal
from safety.controls.base import StateReading, seconds_since
from safety.intents import Level, LimitSet, Side
from safety.limits import LimitBook

log = logging.getLogger(__name__)
#: What a candle may be old by, in bars, unless the limits say otherwise; only beyond that are they read.
PERIODS_USUAL = Decimal(2)
#: Of a limit that is switched off.
PERIODS_ANY = Decimal(1_000_000)
FAULTS_LOGGED_MAX = 1000
TEXT_MAX = 300
#: What a block of the trading state says better.
SAID_BY_STATE = frozenset({Code.TRADING_HALTED.value, Code.REDUCE_ONLY.value})
_faults_logged: set[tuple[str, str, str, str]] = set()


@dataclass(frozen=True, slots=True)
class _Question:
    """All that an assessment depends on beside the moment: bots with the same question share the answer."""

    venue: str
    symbol: str
    timeframe: str
    bars: int
    level: Level
    losses: str
    periods_max: Decimal
    score_min: int


class Thoughts:
    """What is thought of some bots' markets as of one moment. What it needs beside the books is read when first needed."""

    def __init__(self, moment: Moment, bot_ids: Collection[int]) -> None:
        self.moment, self._bot_ids = moment, bot_ids
        self._answers: dict[_Question, Assessment] = {}
        self._limits: LimitBook | None = None
        self._accounts: dict[str, AccountFigures | None] = {}

    def of(self, books: BotBooks, state: StateReading) -> Assessment:
        """Return what is thought of the bot's market, and what is allowed in it now.

        What goes wrong in judging it leaves exits only, with a reason. Raises what its strategy would be paused for, too:
        ParamError and UnknownStrategyError; and faults of the database, which concern every bot.
        """
        bot = books.bot
        params = clean_params(bot)
        timeframe, bars = params["timeframe"], bars_of(bot, params)
        losses = self._losses(books)
        try:
            periods_max = self._periods_max(bot, timeframe, bars)
            question = _Question(
                bot.venue, bot.symbol, timeframe, bars, state.level, losses, periods_max, bot.score_min
            )
            if question not in self._answers:
                self._answers[question] = self._judged(question)
            return self._answers[question]
        except MarketDataError as error:
            return layer.failed(bounded(f"There are no candles to judge by: {error}", TEXT_MAX))
        except DatabaseFault:
            raise
        except Exception as error:
            # The layer may only take away: a fault in it must neither stop an exit nor let an entry pass.
            if _is_news(bot, timeframe, error):
                log.exception("%s at %s: judging its market failed; its bots only exit", bot.symbol, bot.venue)
            return layer.failed("Judging the market failed, which is a fault of the console: exits only.")

    def _judged(self, asked: _Question) -> Assessment:
        moment = self.moment
        series = moment.candles(asked.venue, asked.symbol, asked.timeframe, asked.bars)
        market = moment.market_on_candles(asked.venue, asked.symbol, asked.timeframe, asked.bars)
        basis, quote = market.candles, market.view.quote
        now_ = Circumstances(
            level=asked.level,
            quote=quote,
            quote_age_s=seconds_since(quote.seen_at, moment.now),
            quote_age_max_s=market.quote_age_max_s,
            candle_age_s=None if basis is None else basis.age_s,
            candle_bar_s=None if basis is None else basis.bar_s,
            candle_periods_max=asked.periods_max,
            fee_rate=market.fees.taker,
            losses=asked.losses,
            score_min=asked.score_min,
        )
        return layer.assess(series, now_)

    def _periods_max(self, bot: Bot, timeframe: str, bars: int) -> Decimal:
        """Return how many bars old the last candle may be. The limits are asked only where that matters."""
        basis = self.moment.market_on_candles(bot.venue, bot.symbol, timeframe, bars).candles
        if basis is None or basis.age_s <= PERIODS_USUAL * basis.bar_s:
            return PERIODS_USUAL
        found = self._limits_of(bot).candle_periods_max
        return PERIODS_ANY if found is None else found

    def _losses(self, books: BotBooks) -> str:
        """Return which loss limit the bot's account has reached, or an empty text: also while that is not known."""
        bot = books.bot
        account = self._account(bot) if bot.trades_at_venue else books.account
        if account is None or account.equity_usd is None:
            return ""
        known = baselines(account, utc_day(self.moment.now))
        equity_usd = account.equity_usd
        if all(base is None or equity_usd >= base for base in (known.day_start_usd, known.peak_usd)):
            return ""
        return losses_reached(equity_usd, known, self._limits_of(bot))

    def _limits_of(self, bot: Bot) -> LimitSet:
        if self._limits is None:
            self._limits = LimitBook.read(self._bot_ids)
        return self._limits.for_bot(bot.pk, is_live=bot.is_live)

    def _account(self, bot: Bot) -> AccountFigures | None:
        name = account_name(bot.venue, is_live=bot.is_live)
        if name not in self._accounts:
            columns = ("day", "equity_usd", "day_start_equity_usd", "peak_equity_usd")
            row = Account.objects.filter(pk=name).values_list(*columns).first()
            self._accounts[name] = None if row is None else AccountFigures(*row)
        return self._accounts[name]


def bars_of(bot: Bot, params: dict[str, object]) -> int:
    """Return how many candles the bot asks for: what its strategy needs, and what the intelligence layer does."""
    return max(registry.get(bot.strategy).warmup_bars(params), layer.WARMUP_BARS)


def left_by(thought: Assessment, proposals: Sequence[Proposal | CancelProposal]) -> list[Proposal | CancelProposal]:
    """Return what an assessment leaves of what a strategy wants: everything, exits and cancels, or cancels only."""
    if thought.action == Action.TRADE_ALLOWED:
        return list(proposals)
    exits_pass = thought.action == Action.MANAGE_ONLY
    return [one for one in proposals if isinstance(one, CancelProposal) or (exits_pass and one.side == Side.SELL)]


def thought_blocks(thought: Assessment) -> list[Block]:
    """Return a block for each reason of an assessment, with a code of its own; what the trading state says is not said twice."""
    told = (reason for reason in thought.reasons if reason.code not in SAID_BY_STATE)
    return [Block(f"{INTELLIGENCE}{reason.code}", reason.message) for reason in told]


def forget() -> None:
    """Forget which faults were logged, as a new process would."""
    _faults_logged.clear()


def _is_news(bot: Bot, timeframe: str, error: Exception) -> bool:
    """Return whether this fault was not logged yet: the same need not fill the log at every tick."""
    key = (bot.venue, bot.symbol, timeframe, repr(error))
    if key in _faults_logged:
        return False
    if len(_faults_logged) >= FAULTS_LOGGED_MAX:
        _faults_logged.clear()
    _faults_logged.add(key)
    return True
