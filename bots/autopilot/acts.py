"""What a cycle does, an act a transaction: the change, its decision, the audit and the message commit together or not at all.

Every transaction asks the lease's fence last, so that a cycle that was frozen while another took over writes nothing. The
settings and the losses are read again under their locks before a bot is made: what a person changed meanwhile holds.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from django.db import IntegrityError

from audit.log import unit
from bots import going_live, manager
from bots.autopilot import config as settings_of
from bots.autopilot import losses
from bots.autopilot.rows import claim, locked_own, move, row, set_running
from bots.autopilot.sectors import sector
from bots.autopilot.situation import holds_nothing, stand_of, taken
from bots.autopilot.telling import tell_closed, tell_created
from bots.autopilot.values import Decision, Kind, Stand
from bots.blocks import state_blocks
from bots.brokers.factory import BrokerUnavailable
from bots.executor import Submission
from bots.manager import BotActionError, NewBot
from bots.market_data.base import MarketDataError
from bots.market_data.feeds import feed_for
from bots.models import (
    AutopilotBot,
    AutopilotConfig,
    AutopilotCycle,
    AutopilotDecision,
    AutopilotLosses,
    Bot,
    BotStatus,
    CloseMode,
    Phase,
)
from bots.strategies.schema import ParamError
from bots.workers.leases import Fence, LeaseLost
from safety import outage
from safety.kill_switch import read_state

log = logging.getLogger(__name__)
ACTOR = losses.ACTOR
NAME_CHARS_MAX = 60
#: In which phase a bot is left that a person had let go on, once its score has recovered, by how it stands.
RECOVERED = {Stand.KEPT: Phase.TRADING, Stand.LOSS_HOLD: Phase.LOSS_HOLD}
CHANGED = "Somebody changed the bot just now: it is left as it is."


class Outdated(Exception):
    """Something that the plan was made from has changed: the next cycle plans anew. The message says what."""


@dataclass(slots=True)
class Acts:
    """The acts of one cycle. ``config`` is what it was planned with; ``made_live`` are the venues at which bots were set live."""

    cycle: AutopilotCycle
    config: AutopilotConfig
    fence: Fence
    made_live: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)

    def do(self, decision: Decision, now: datetime) -> None:
        """Do what was decided. What cannot be done, or fails, is logged with its reason, and stops nothing else.

        What stops the whole cycle is raised: the lease is lost, or the database can't be reached.
        """
        work = {
            Kind.CREATED: self._create,
            Kind.STARTED: self._start,
            Kind.CLOSED: self._close,
            Kind.DEMOTED: self._demote,
            Kind.PROMOTED: self._promote,
        }[decision.kind]
        try:
            work(decision, now)
        except Outdated as why:
            self.log(replace(decision, kind=_undone(decision), code="changed_meanwhile", reason=str(why)), now)
        except (BotActionError, ParamError, MarketDataError, BrokerUnavailable) as error:
            self.log(replace(decision, kind=_undone(decision), code="refused", reason=str(error)), now)
        except LeaseLost:
            raise
        except Exception as error:  # one bot's fault must not keep all others from being closed
            if outage.is_outage(error):
                raise
            if isinstance(error, IntegrityError) and decision.bot_id is None and self._is_taken(decision):
                text = "Another bot took its place just now."
                self.log(replace(decision, kind=Kind.SKIPPED, code="refused", reason=text), now)
                return
            self._note_fault(decision, error, now)

    def _is_taken(self, decision: Decision) -> bool:
        """Return whether another cycle has made a bot for the symbol by now: the database allows one."""
        mine = Bot.objects.filter(by_autopilot=True, venue=decision.venue, symbol=decision.symbol)
        made_here = AutopilotDecision.objects.filter(cycle=self.cycle, bot_id__isnull=False, kind=Kind.CREATED.value)
        return mine.exclude(status=BotStatus.ARCHIVED).exclude(pk__in=made_here.values("bot_id")).exists()

    def _note_fault(self, decision: Decision, error: Exception, now: datetime) -> None:
        """Log an act that failed. Its transaction is undone; what it had committed before stands, and the next cycle sees it."""
        log.exception(
            "the autopilot could not carry out %s of %s at %s", decision.kind, decision.symbol, decision.venue
        )
        what = f"{type(error).__name__}: {error}"
        reason = f"It was to be {decision.kind} ({decision.reason}) and that failed, which is a fault: {what}"
        self.log(replace(decision, kind=Kind.FAILED, code="fault", reason=reason), now)
        self.faults.append(f"{decision.kind} {decision.symbol}: {what}")

    def check_readiness(self) -> None:
        """Check anew what the bots that were set live need of their venues. What fails there undoes none of them."""
        try:
            going_live.check_readiness(ACTOR)
        except Exception as error:  # it asks venues, and they are live already
            if outage.is_outage(error):
                raise
            log.exception("the readiness checks after the autopilot's cycle failed")
            self.faults.append(f"the readiness checks afterwards: {type(error).__name__}: {error}")

    def log(self, decision: Decision, now: datetime) -> None:
        """Keep a decision by itself."""
        with self.writing():
            self.keep(decision, now)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Open an audit unit that commits only while this cycle holds its lease."""
        with unit() as opened:
            opened.before_commit(self.fence.check)
            yield

    def keep(self, decision: Decision, now: datetime, bot_id: int | None = None) -> None:
        """Write a decision's row in the unit that is open."""
        row(self.cycle, decision, now, bot_id).save(force_insert=True)

    # The acts.

    def _create(self, decision: Decision, now: datetime) -> None:
        price = _mark(decision.venue, decision.symbol, now)
        with self.writing():
            config = self._settings()
            self._still_fits(config, decision, now)
            bot = manager.create(self._new_bot(decision, config), actor=ACTOR, also=lambda made: claim(made, config))
            is_live = not config.dry_run
            phase = Phase.WAITING if not config.auto_start else Phase.STARTING if is_live else Phase.TRADING
            AutopilotBot.objects.create(
                bot=bot,
                made_at=now,
                made_score=decision.score or 0,
                made_regime=decision.regime,
                made_price=price,
                phase=phase,
                phase_at=now,
            )
            if phase == Phase.TRADING:
                set_running(bot, decision.reason)
            self.keep(decision, now, bot.pk)
            tell_created(bot, decision, phase, is_live=is_live, now=now)
        if is_live:
            self._go_live(bot, decision, now)

    def _go_live(self, bot: Bot, decision: Decision, now: datetime) -> None:
        """Set a new bot live, past every lock once more, and start it. It never trades on paper instead."""
        made = replace(decision, bot_id=bot.pk, stand=Stand.STARTING)
        with self.writing():
            self._settings()
            with self._as_planned(made):
                pass
        blocks = settings_of.venue_live_blocks(bot.venue)
        if blocks:
            why = " ".join(one.message for one in blocks)
            reason = f"It was made to trade live, and that is shut now: {why}"
            self._close(replace(made, kind=Kind.CLOSED, code="locks", reason=reason), now)
            return
        reason = f"The autopilot may trade live. {decision.reason}"
        going_live.set_live(bot.pk, actor=ACTOR, confirm=bot.name, reason=reason, is_person=False, has_more=True)
        self.made_live.add(bot.venue)
        with self.writing():
            # Once more: the venue may have taken its time, and a live bot that is stopped trades nothing.
            self._settings()
            _refuse_stopped(now, is_live=True)
            _refuse_halted(bot.venue)
            with manager.locked(bot.pk) as stored:
                own = locked_own(bot.pk)
                if own.phase == Phase.STARTING and stored.status == BotStatus.STOPPED and stored.is_live:
                    set_running(stored, decision.reason)
                    move(own, Phase.TRADING, now)

    def _start(self, decision: Decision, now: datetime) -> None:
        bot = Bot.objects.get(pk=decision.bot_id or 0)
        own = AutopilotBot.objects.get(pk=bot.pk)
        if own.phase == Phase.STARTING:
            self.log(decision, now)
            self._go_live(bot, decision, now)
            return
        self._let_go_on(decision, now)

    def _promote(self, decision: Decision, now: datetime) -> None:
        self._let_go_on(decision, now)

    def _let_go_on(self, decision: Decision, now: datetime) -> None:
        """Let a bot that the autopilot itself paused buy again."""
        is_live = Bot.objects.get(pk=decision.bot_id or 0).is_live
        with self.writing():
            self._settings()
            _refuse_stopped(now, is_live=is_live)
            if decision.kind == Kind.PROMOTED:
                _refuse_halted(decision.venue)
            with self._as_planned(decision) as (bot, own):
                if bot.is_live != is_live or bot.status_reason != own.reason:
                    raise Outdated(CHANGED)
                set_running(bot, decision.reason)
                has_recovered = decision.score is not None and decision.score >= self.config.score_demote
                # What a person let go on, and a loss limit held since, is still that person's.
                is_kept = own.phase == Phase.KEPT and not has_recovered
                move(own, Phase.KEPT if is_kept else Phase.TRADING, now)
                self.keep(decision, now)

    def note_recovered(self, bot_id: int, now: datetime) -> None:
        """Let a bot that a person let go on be closed again like any other, as its score has recovered, also while it is held.

        Where that can't be noted now, the next cycle does, and the others go on.
        """
        try:
            with self.writing(), manager.locked(bot_id) as bot:
                own = locked_own(bot_id)
                own.bot = bot
                stand, _ = stand_of(own, is_live=not self.config.dry_run)
                if own.phase == Phase.KEPT and stand in RECOVERED:
                    move(own, RECOVERED[stand], now)
        except LeaseLost:
            raise
        except Exception as error:  # as in do
            if outage.is_outage(error):
                raise
            log.exception("that the score of bot %s has recovered could not be noted", bot_id)
            self.faults.append(f"recovery of bot {bot_id}: {type(error).__name__}: {error}")

    def _demote(self, decision: Decision, now: datetime) -> None:
        """Let a bot make no more entries; where all is to be sold, sell it, and archive it when nothing is left."""
        if decision.code == "still_held":
            with self.writing():
                self._settings()
                with self._as_planned(decision):
                    self.keep(decision, now)
        else:
            self._send_off(decision, now)
        if self.config.close_mode != CloseMode.FLATTEN:
            return
        sold = self._sell(decision)
        if sold.is_denied:
            why = " ".join(one.message for one in sold.denials)
            reason = f"The sale of all it holds was denied: {why}"
            self.log(replace(decision, code="sale_denied", reason=reason), now)
        elif holds_nothing(Bot.objects.get(pk=decision.bot_id or 0)):
            reason = "All it held was sold: it is archived."
            self._close(replace(decision, kind=Kind.CLOSED, code="flat", reason=reason, stand=Stand.LEAVING), now)

    def _sell(self, decision: Decision) -> Submission:
        """Sell all that a bot on its way out holds. Raises Outdated where a person has let it go on since then.

        A bot at its venue asks it for a while, for which no transaction may wait. So what could be asked before is asked with the
        sale itself, under the bot's lock: whoever starts it until then keeps what it holds.
        """
        is_live = Bot.objects.get(pk=decision.bot_id or 0).is_live

        def refuse_changed(bot: Bot) -> None:
            # Read and not locked: the settings' lock comes before a bot's, which is held here.
            self._refuse_new_settings(settings_of.read())
            own = locked_own(bot.pk)
            own.bot = bot
            stand, _ = stand_of(own, is_live=not self.config.dry_run)
            if stand != Stand.LEAVING or bot.is_live != is_live:
                raise Outdated(CHANGED)
            self.fence.check()

        return manager.close_position(decision.bot_id or 0, actor=ACTOR, is_live=is_live, guard=refuse_changed)

    def _send_off(self, decision: Decision, now: datetime) -> None:
        with self.writing():
            self._settings()
            with self._as_planned(decision) as (bot, own):
                paused = manager.pause(bot.pk, actor=ACTOR, reason=f"closed by the autopilot: {decision.reason}")
                own.reason = paused.status_reason
                move(own, Phase.LEAVING, now)
                self.keep(decision, now)
                tell_closed(paused, decision, now, is_over=False)

    def _close(self, decision: Decision, now: datetime) -> None:
        """Archive a bot that holds nothing."""
        bot_id = decision.bot_id or 0
        bot = Bot.objects.get(pk=bot_id)
        price = _mark(bot.venue, bot.symbol, now)
        with self.writing():
            self._settings()
            with self._as_planned(decision) as (bot, own):
                archived = manager.archive(bot_id, actor=ACTOR)
                own.closed_at, own.closed_price = now, price
                own.save()
                self.keep(decision, now, bot.pk)
                tell_closed(archived, decision, now, is_over=True)

    # What an act asks first.

    def _settings(self) -> AutopilotConfig:
        """Return the settings, locked. Raises Outdated where they are not those of the plan any more."""
        config = settings_of.locked()
        self._refuse_new_settings(config)
        return config

    def _refuse_new_settings(self, config: AutopilotConfig) -> None:
        planned = {one.attname: getattr(self.config, one.attname) for one in AutopilotConfig._meta.concrete_fields}
        if any(getattr(config, name) != value for name, value in planned.items()):
            raise Outdated("The settings were changed meanwhile: the next cycle goes by the new ones.")

    @contextmanager
    def _as_planned(self, decision: Decision) -> Iterator[tuple[Bot, AutopilotBot]]:
        """Give a bot and what is known of it, both locked. Raises Outdated where it stands otherwise than the plan had it."""
        with manager.locked(decision.bot_id or 0) as bot:
            own = locked_own(bot.pk)
            own.bot = bot
            if stand_of(own, is_live=not self.config.dry_run)[0] != decision.stand:
                raise Outdated(CHANGED)
            yield bot, own

    def _still_fits(self, config: AutopilotConfig, decision: Decision, now: datetime) -> None:
        """Return quietly when a bot still fits in. What was planned a moment ago is counted again under the settings' lock."""
        _refuse_stopped(now, is_live=not config.dry_run)
        _refuse_halted(decision.venue)
        own = Bot.objects.filter(by_autopilot=True).exclude(status=BotStatus.ARCHIVED)
        used_usd = sum((bot.capital_usd for bot in own), Decimal(0)) + (decision.capital_usd or 0)
        in_sector = [bot for bot in own if sector(bot.venue, bot.symbol) == sector(*decision.key)]
        name = taken().get(decision.key)
        if len(own) >= config.slots:
            raise Outdated("A bot that was to be closed is still there, so no slot is free.")
        if len(in_sector) >= config.sector_slots:
            raise Outdated("A bot of its sector that was to be closed is still there, so the sector has no place.")
        if used_usd > config.total_capital_usd:
            raise Outdated("A bot that was to be closed still has its capital, so too little is left.")
        if name is not None:
            raise Outdated(f"The bot {name} was made for the same symbol just now.")

    def _new_bot(self, decision: Decision, config: AutopilotConfig) -> NewBot:
        return NewBot(
            name=f"Autopilot {decision.venue} {decision.symbol} {self.cycle.pk}"[:NAME_CHARS_MAX],
            venue=decision.venue,
            symbol=decision.symbol,
            strategy=decision.strategy or "",
            capital_usd=decision.capital_usd or Decimal(0),
            params={},
            paper_equity_usd=config.total_capital_usd,
        )


def _undone(decision: Decision) -> Kind:
    """Return what a decision is that could not be carried out."""
    return Kind.SKIPPED if decision.bot_id is None else Kind.KEPT


def _refuse_stopped(now: datetime, *, is_live: bool) -> None:
    """Return quietly when no loss limit of this book stops it now. Raises Outdated. Comes before any bot is locked."""
    stopped = losses.stop_text(AutopilotLosses.objects.select_for_update(no_key=True).get(is_live=is_live), now)
    if stopped:
        raise Outdated(stopped)


def _refuse_halted(venue: str) -> None:
    """Return quietly when new entries are allowed at a venue: a halt holds from the moment at which it came. Raises Outdated."""
    blocks = state_blocks(read_state(venue))
    if blocks:
        raise Outdated(" ".join(one.message for one in blocks))


def _mark(venue: str, symbol: str, now: datetime) -> Decimal | None:
    try:
        return feed_for(venue).mark(symbol, now)
    except MarketDataError:
        return None
