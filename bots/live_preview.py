"""What going live would mean for a bot: every lock, readiness, the state, every limit, and what it may lose at most.

All of it is read as of now and changes nothing. ``blocks`` is what would hold the bot back at once if it were set live.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from django.utils import timezone

from bots.accounts import account_name, load_account_books
from bots.batch import RECENT
from bots.blocks import Block, held_blocks, lock_blocks, readiness_blocks, state_blocks
from bots.bot_params import clean_params
from bots.ladder import Funds, LegCheck, check_ladder
from bots.market_data.base import MarketDataError
from bots.markets import market_for
from bots.models import Account, Bot, Order, Position
from bots.order_states import OPEN_STATES
from bots.strategies import registry
from bots.strategies.base import WorstCase
from bots.strategies.schema import ParamError
from safety import live_gate, readiness
from safety.controls.base import StateReading
from safety.intents import LimitSet, Lock, ReadinessVerdict
from safety.kill_switch import read_state
from safety.limits import LimitBook

NOT_MEASURED = "what the live account holds was not asked within the last minute, so its size is not known."


@dataclass(frozen=True, slots=True)
class Preview:
    """What holds if the bot is set live now. ``worst`` None: not known.

    ``legs`` are its purchases as the controls see them on the live account, or ``legs_problem`` says why they can't be tried.
    ``paper_quantity`` and ``paper_orders`` are what its paper book still has, which is closed on the way.
    """

    bot: Bot
    now: datetime
    locks: tuple[Lock, ...]
    verdict: ReadinessVerdict
    state: StateReading
    limits: LimitSet
    worst: WorstCase | None
    paper_quantity: Decimal
    paper_orders: int
    market_problem: str = ""
    legs: tuple[LegCheck, ...] = ()
    legs_problem: str = ""
    blocks: list[Block] = field(default_factory=list)

    @property
    def others(self) -> list[Block]:
        """Return the blocks beside the locks, the trading state and readiness, which a page shows by themselves."""
        return [one for one in self.blocks if one.code not in ("LIVE_GATE_CLOSED", "KILL_SWITCH", "READINESS")]

    @property
    def denied(self) -> list[LegCheck]:
        """Return the purchases that a control is against."""
        return [one for one in self.legs if not one.passes]

    @property
    def is_account_unknown(self) -> bool:
        """Return whether asking the venue for the account may tell what its purchases come to."""
        return self.legs_problem == NOT_MEASURED

    @property
    def is_ready(self) -> bool:
        """Return whether readiness has nothing against live entries."""
        return not readiness_blocks(self.verdict, self.now)


def preview(bot: Bot, now: datetime | None = None) -> Preview:
    """Return what going live would mean for ``bot``, which may be live already. Raises django.db.Error."""
    now = now or timezone.now()
    # As the gate will see it: the lock that its own dry run is opens with the step itself.
    locks = live_gate.read_locks(bot.venue, dry_run=False)
    verdict, state = readiness.verdict(bot.venue), read_state(bot.venue, bot.pk)
    book = Position.objects.filter(bot=bot, is_live=False).first()
    found = Preview(
        bot=bot,
        now=now,
        locks=locks,
        verdict=verdict,
        state=state,
        limits=LimitBook.read([bot.pk]).for_bot(bot.pk, is_live=True),
        worst=worst_case(bot),
        paper_quantity=Decimal(0) if book is None else book.quantity,
        paper_orders=Order.objects.filter(bot=bot, is_live=False, status__in=OPEN_STATES).count(),
    )
    found = _try_ladder(found)
    return replace(found, blocks=_blocks(found))


def worst_case(bot: Bot) -> WorstCase | None:
    """Return what one deal of the bot may lose at most at its settings; None when they can't be read."""
    try:
        return registry.get(bot.strategy).worst_case(clean_params(bot), bot.capital_usd)
    except (ParamError, registry.UnknownStrategyError):
        return None


def _try_ladder(found: Preview) -> Preview:
    """Return the preview with what the controls say of the bot's purchases on the live account as it is now."""
    bot = found.bot
    try:
        market = market_for(bot.venue, bot.symbol, found.now)
        shared = load_account_books(account_name(bot.venue, is_live=True), found.now - RECENT)
        quote = market.view.quote
        equity, committed = shared.equity_usd(quote, found.now), shared.gross_exposure_usd(quote, found.now)
        if equity is None or committed is None:
            return replace(found, legs_problem=NOT_MEASURED)
        book = Position.objects.filter(bot=bot, is_live=True).first()
        funds = Funds(equity, committed, 0 if book is None else book.filled_orders)
        legs = check_ladder(bot, market, found.limits, funds, is_live=True, now=found.now)
    except MarketDataError as error:
        return replace(found, legs_problem=str(error), market_problem=str(error))
    except Account.DoesNotExist:
        return replace(found, legs_problem=NOT_MEASURED)
    except (ParamError, registry.UnknownStrategyError) as error:
        return replace(found, legs_problem=str(error))
    return replace(found, legs=legs)


def _blocks(found: Preview) -> list[Block]:
    shut = lock_blocks(found.locks)
    market = [Block("MARKET_DATA", found.market_problem)] if found.market_problem else []
    checks = readiness_blocks(found.verdict, found.now)
    return [*state_blocks(found.state), *shut, *checks, *market, *held_blocks(found.bot)]
