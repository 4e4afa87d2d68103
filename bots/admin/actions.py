"""What a person can do to a bot or an order from the pages: each act goes to the manager, and its answer is told."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpRequest

from audit import figures
from audit.admin_base import actor_of
from bots import going_live, manager, shadows
from bots.market_data.base import MarketDataError
from bots.models import Bot, BotStatus, Order
from bots.order_states import RESTING_STATES, OrderStatus
from safety import kill_switch
from safety.intents import Level
from safety.permissions import ENGAGE, OPERATE_BOT, may_operate

OPERATE = OPERATE_BOT
REASON_CHARS_MAX = 500
HALT_REASON = "Halted by hand from the bot's page."


@dataclass(frozen=True, slots=True)
class BotAction:
    """One thing to do to a bot.

    ``run`` takes bot id, actor and reason and returns what to tell; it raises BotActionError. ``confirm`` is what the button says
    that answers the ``question``. ``right`` is ``operate`` or ``halt``; what ``raises_risk`` takes more of a live bot.
    """

    key: str
    label: str
    icon: str
    run: Callable[[int, str, str], str]
    question: str = ""
    confirm: str = ""
    is_danger: bool = False
    right: str = "operate"
    raises_risk: bool = False
    takes_reason: bool = False
    fits: Callable[[Bot], bool] = lambda bot: True

    @property
    def needs_confirmation(self) -> bool:
        """Return whether a page asks before it is done."""
        return bool(self.question)


def _start(bot_id: int, actor: str, reason: str) -> str:
    return (
        f"{manager.start(bot_id, actor=actor)} is running. Its next tick follows within seconds, if a worker is alive."
    )


def _pause(bot_id: int, actor: str, reason: str) -> str:
    return f"{manager.pause(bot_id, actor=actor)} is paused: it buys nothing and goes on managing its exits."


def _stop(bot_id: int, actor: str, reason: str) -> str:
    name = manager.stop(bot_id, actor=actor)
    return f"{name} is stopped: its resting orders are cancelled, its position is kept and nobody manages it."


def _archive(bot_id: int, actor: str, reason: str) -> str:
    return f"{manager.archive(bot_id, actor=actor)} is archived. Its history stays."


def _close(bot_id: int, actor: str, reason: str) -> str:
    submission = manager.close_position(bot_id, actor=actor)
    if submission.is_denied:
        reasons = " ".join(denial.message for denial in submission.denials)
        raise manager.BotActionError(f"Nothing was sold, the order was denied: {reasons}")
    return _told_of_close(submission.order)


def _to_paper(bot_id: int, actor: str, reason: str) -> str:
    bot = going_live.set_paper(bot_id, actor=actor, reason=reason)
    if not bot.is_live:
        return f"{bot} is on paper. It sends no more live orders."
    return (
        f"{bot} still holds a live position or a live order, so it stays live and only sells. Its resting purchases are being "
        "cancelled; it turns to paper by itself when it holds nothing. To be done sooner, close its position."
    )


def _halt(bot_id: int, actor: str, reason: str) -> str:
    bot = Bot.objects.get(pk=bot_id)
    kill_switch.engage(Level.HALTED, reason or HALT_REASON, actor=actor, scope=f"bot:{bot_id}")
    return f"{bot} is halted: no order of it goes out, not even a sale. A person releases it on the Safety page."


def _shadow_on(bot_id: int, actor: str, reason: str) -> str:
    bot = shadows.set_shadow(bot_id, on=True, actor=actor)
    return f"{bot}: from now on each live order has a paper twin beside it. Nothing that the bot does changes."


def _shadow_off(bot_id: int, actor: str, reason: str) -> str:
    return f"{shadows.set_shadow(bot_id, on=False, actor=actor)}: new live orders have no paper twin any more."


def _told_of_close(order: Order) -> str:
    """Return what became of a close that was sent."""
    done = figures.quantity(order.filled_quantity)
    if order.status == OrderStatus.FILLED:
        return f"Sold {done} {order.symbol} at {figures.price(order.average_price)} on average. The bot is paused."
    return (
        f"The order {order.client_order_id} is {_words(order.status)}: {done} of "
        f"{figures.quantity(order.quantity)} {order.symbol} sold so far. The bot is paused."
    )


def _told_of_cancel(order: Order) -> str:
    """Return what became of a cancel: one at a venue is only on its way yet."""
    if order.status in RESTING_STATES:
        return f"The cancel of order {order.client_order_id} is on its way to {order.venue}; it may still fill."
    return f"Order {order.client_order_id} is {_words(order.status)}."


def _words(status: str) -> str:
    """Return a status in words."""
    return str(OrderStatus(status).value).replace("_", " ")


ACTIONS = {
    action.key: action
    for action in (
        BotAction("start", "Start", "play_arrow", _start, raises_risk=True),
        BotAction("pause", "Pause", "pause", _pause),
        BotAction("stop", "Stop", "stop", _stop),
        BotAction("to-paper", "Set to paper", "undo", _to_paper, fits=lambda bot: bot.is_live and not bot.turning_to_paper),
        BotAction(
            "shadow-on", "Run a paper twin", "content_copy", _shadow_on,
            fits=lambda bot: bot.is_live and not shadows.is_shadowed(bot),
        ),
        BotAction("shadow-off", "End the paper twin", "content_copy", _shadow_off, fits=shadows.is_shadowed),
        BotAction(
            "close-position", "Close position now…", "sell", _close,
            "Sell the whole position at the market now?", "Yes, sell now", is_danger=True,
        ),
        BotAction(
            "halt", "Halt this bot…", "front_hand", _halt,
            "Halt now? Nothing is sent any more, not even a sale, until a person releases it.", "CONFIRM: halt",
            is_danger=True, right="halt", takes_reason=True,
        ),
        BotAction(
            "archive", "Archive…", "archive", _archive,
            "Retire for good? Resting orders are cancelled; the history stays.", "Yes, archive",
            fits=lambda bot: bot.status != BotStatus.ARCHIVED,
        ),
    )
}  # fmt: skip


def may(request: HttpRequest, action: BotAction, bot: Bot | None = None) -> bool:
    """Return whether this person may do ``action``, to ``bot`` or to any bot at all."""
    if action.right == "halt":
        return bool(request.user.has_perm(ENGAGE))
    is_live = bot is not None and bot.is_live
    return may_operate(request.user, is_live=is_live, raises_risk=action.raises_risk)


def run_for_bots(request: HttpRequest, action: BotAction, bots: Iterable[Bot]) -> None:
    """Do ``action`` to each bot by itself, so that one refusal stops no other, and tell what came of each."""
    reason = request.POST.get("reason", "").strip()[:REASON_CHARS_MAX] if action.takes_reason else ""
    for bot in bots:
        if not may(request, action, bot):
            messages.error(request, f"{bot.name}: you have no right to do this to it.")
            continue
        try:
            messages.success(request, action.run(bot.pk, actor_of(request), reason))
        except (manager.BotActionError, MarketDataError) as refused:
            messages.error(request, f"{bot.name}: {refused}")


def cancel_orders(request: HttpRequest, orders: Iterable[Order]) -> None:
    """Cancel each order by itself and tell what came of it."""
    for order in orders:
        try:
            done = manager.cancel_order(order.pk, actor=actor_of(request))
            messages.success(request, _told_of_cancel(done))
        except (manager.BotActionError, MarketDataError) as refused:
            messages.error(request, f"{order.client_order_id}: {refused}")
