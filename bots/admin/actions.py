"""What a person can do to a bot or an order from the pages: each act goes to the manager, and its answer is told."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpRequest

from audit import figures
from audit.admin_base import actor_of
from bots import manager
from bots.market_data.base import MarketDataError
from bots.models import Bot, Order
from bots.order_states import OrderStatus

OPERATE = "bots.operate_bot"


@dataclass(frozen=True, slots=True)
class BotAction:
    """One thing to do to a bot. ``run`` takes bot id and actor and returns what to tell; it raises BotActionError."""

    key: str
    label: str
    icon: str
    run: Callable[[int, str], str]
    question: str = ""
    is_danger: bool = False

    @property
    def needs_confirmation(self) -> bool:
        """Return whether a page asks before it is done."""
        return bool(self.question)


def _start(bot_id: int, actor: str) -> str:
    return (
        f"{manager.start(bot_id, actor=actor)} is running. Its next tick follows within seconds, if a worker is alive."
    )


def _pause(bot_id: int, actor: str) -> str:
    return f"{manager.pause(bot_id, actor=actor)} is paused: it buys nothing and goes on managing its exits."


def _stop(bot_id: int, actor: str) -> str:
    name = manager.stop(bot_id, actor=actor)
    return f"{name} is stopped: its resting orders are cancelled, its position is kept and nobody manages it."


def _archive(bot_id: int, actor: str) -> str:
    return f"{manager.archive(bot_id, actor=actor)} is archived. Its history stays."


def _close(bot_id: int, actor: str) -> str:
    submission = manager.close_position(bot_id, actor=actor)
    if submission.is_denied:
        reasons = " ".join(denial.message for denial in submission.denials)
        raise manager.BotActionError(f"Nothing was sold, the order was denied: {reasons}")
    return _told_of_close(submission.order)


def _told_of_close(order: Order) -> str:
    """Return what became of a close that was sent."""
    done = figures.quantity(order.filled_quantity)
    if order.status == OrderStatus.FILLED:
        return f"Sold {done} {order.symbol} at {figures.price(order.average_price)} on average. The bot is paused."
    return (
        f"The order {order.client_order_id} is {_words(order.status)}: {done} of "
        f"{figures.quantity(order.quantity)} {order.symbol} sold so far. The bot is paused."
    )


def _words(status: str) -> str:
    """Return a status in words."""
    return str(OrderStatus(status).value).replace("_", " ")


ACTIONS = {
    action.key: action
    for action in (
        BotAction("start", "Start", "play_arrow", _start),
        BotAction("pause", "Pause", "pause", _pause),
        BotAction("stop", "Stop", "stop", _stop),
        BotAction(
            "close-position", "Close position now…", "sell", _close,
            "Sell the whole position at the market now?", is_danger=True,
        ),
        BotAction(
            "archive", "Archive…", "archive", _archive,
            "Retire for good? Resting orders are cancelled; the history stays.",
        ),
    )
}  # fmt: skip


def run_for_bots(request: HttpRequest, action: BotAction, bots: Iterable[Bot]) -> None:
    """Do ``action`` to each bot by itself, so that one refusal stops no other, and tell what came of each."""
    for bot in bots:
        try:
            messages.success(request, action.run(bot.pk, actor_of(request)))
        except (manager.BotActionError, MarketDataError) as refused:
            messages.error(request, f"{bot.name}: {refused}")


def cancel_orders(request: HttpRequest, orders: Iterable[Order]) -> None:
    """Cancel each order by itself and tell what came of it."""
    for order in orders:
        try:
            done = manager.cancel_order(order.pk, actor=actor_of(request))
            messages.success(request, f"Order {done.client_order_id} is {_words(done.status)}.")
        except (manager.BotActionError, MarketDataError) as refused:
            messages.error(request, f"{order.client_order_id}: {refused}")
