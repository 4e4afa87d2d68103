"""What a release brings about for bots, in its own transaction: it is there as soon as the release is, or neither is."""

from django.utils import timezone

from audit.log import OperatorEventRecord, record
from audit.records import bounded
from bots import baselines, clean_up, executor
from bots.models import Bot, Order
from bots.order_states import RESTING_STATES
from safety.intents import OrderType

HELD_TEXT_MAX = 200


def settle(scope: str, *, reason: str, actor: str) -> None:
    """Set new baselines, hold the entries of every live bot of the scope, and cancel what is left of paper market orders.

    Runs in the release's audit unit, with the trading state locked: accounts next, then bots, then orders. A bot whose entries
    were held before keeps the older reason.
    """
    now = timezone.now()
    baselines.reset_on_release(None, scope=scope, reason=reason, actor=actor)
    bots = list(Bot.objects.select_for_update(no_key=True).filter(clean_up.in_scope(scope, "pk")).order_by("pk"))
    for bot in bots:
        if bot.is_live and not bot.entries_held:
            bot.entries_held = bounded(f"released by {actor}: clear it to let it buy again", HELD_TEXT_MAX)
            bot.revision += 1
            bot.save(update_fields=["entries_held", "revision"])
            record(
                OperatorEventRecord(actor, "bot_entries_held", f"bot:{bot.pk} {bot.name}", "", bot.entries_held, reason)
            )
    # What the clean-up had no time for: it must not fill on a decision from before the halt.
    left = Order.objects.filter(
        bot__in=[bot.pk for bot in bots], type=OrderType.MARKET, deadline_at__isnull=True, status__in=RESTING_STATES
    )
    for order in left.order_by("id"):
        executor.cancel(order, now, actor=actor, reason="left over from before the halt that is being released")
