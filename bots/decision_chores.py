"""Old decisions of the intelligence layer are deleted: a few bots at a time, a bounded number of rows each."""

from datetime import datetime, timedelta

from bots.models import Bot, BotDecision
from bots.workers.chores import chore

KEEP_FOR = timedelta(days=90)
#: However old they are, so many of a bot's stay; and however young, no more than so many.
KEEP_AT_LEAST, KEEP_AT_MOST = 200, 20_000
BOTS_A_ROUND, ROWS_A_BOT = 100, 2000
_last_bot_id = 0


@chore(every_s=60)
def thin_decisions(now: datetime) -> None:
    """Delete what is too old of the next bots. Where this begins anew is kept in this process only: forgetting it is harmless."""
    global _last_bot_id
    bot_ids = list(Bot.objects.filter(pk__gt=_last_bot_id).order_by("pk").values_list("pk", flat=True)[:BOTS_A_ROUND])
    _last_bot_id = bot_ids[-1] if len(bot_ids) == BOTS_A_ROUND else 0
    for bot_id in bot_ids:
        thin(bot_id, now)


def thin(bot_id: int, now: datetime) -> int:
    """Delete a bot's decisions that are too old or too many, up to ROWS_A_BOT; return how many."""
    least, most = _nth_newest(bot_id, KEEP_AT_LEAST), _nth_newest(bot_id, KEEP_AT_MOST)
    if least is None:
        return 0
    until = min(least, now - KEEP_FOR)
    # Those that share the moment of the last that stays, stay too.
    until = until if most is None else max(until, most)
    old = BotDecision.objects.filter(bot=bot_id, decided_at__lt=until).order_by("decided_at")
    ids = list(old.values_list("pk", flat=True)[:ROWS_A_BOT])
    return BotDecision.objects.filter(pk__in=ids).delete()[0] if ids else 0


def _nth_newest(bot_id: int, count: int) -> datetime | None:
    rows = BotDecision.objects.filter(bot=bot_id).order_by("-decided_at").values_list("decided_at", flat=True)
    return rows[count - 1 : count].first()
