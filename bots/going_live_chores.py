"""The periodic part of turning bots to paper: cancel what they still offer to buy, and turn those that are flat."""

from datetime import datetime

from bots import going_live
from bots.apart import apart
from bots.models import Bot
from bots.workers.chores import chore


@chore(every_s=5)
def turn_to_paper(now: datetime) -> None:
    """Go on with every bot that was asked to turn to paper while it held something."""
    for bot in Bot.objects.filter(turning_to_paper=True, dry_run=False).order_by("pk"):
        with apart(f"bot {bot.pk}: turning it to paper is tried again"):
            going_live.cancel_live_entries(bot, actor=going_live.WORKER)
            going_live.finish_turn(bot.pk)
