"""Processes that send live orders as fast as they can, and one that throws the kill switch, for test_kill_switch_race.py.

``python -m tests.faults.sender send BOT_ID…`` sends for each bot in a thread of its own until its input ends.
``python -m tests.faults.sender throw`` waits for a line with a delay in seconds, engages, waits for the drain, and answers with
when each had come back, on the monotonic clock that all processes of a machine share.
"""

import json
import random
import sys
import threading
import time
import traceback
from decimal import Decimal
from typing import Any

stop = threading.Event()
DRAINS_MAX = 6


def main() -> None:
    """Do what the arguments say."""
    import django

    django.setup()
    import bots.executor  # noqa: F401 - loaded before anybody measures

    if sys.argv[1] == "throw":
        _throw()
        return
    threads = [threading.Thread(target=_send, args=(int(bot_id),), daemon=True) for bot_id in sys.argv[2:]]
    for thread in threads:
        thread.start()
    _answer({"ready": True})
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join(10)


def _throw() -> None:
    from django.utils import timezone

    from bots.sweep import sweep
    from safety import kill_runs
    from safety.intents import Level
    from safety.kill_switch import engage
    from safety.states import read_state

    read_state()
    _answer({"ready": True})
    for line in sys.stdin:
        time.sleep(float(line))
        run = engage(Level.HALTED, "the race", actor="thrower")
        engaged_s = time.monotonic()
        found = kill_runs.wait_for_drain(run)
        for _ in range(DRAINS_MAX):
            if found.is_drained:
                break
            # A venue that did not answer in time, on a busy machine: the workers' sweep ends that, and drained is said later.
            sweep(timezone.now())
            found = kill_runs.wait_for_drain(run)
        _answer({"engaged_s": engaged_s, "drained_s": time.monotonic(), **found.as_dict()})


def _send(bot_id: int) -> None:
    from django.db import DatabaseError, connections
    from django.utils import timezone

    from bots import executor
    from bots.market_data.base import MarketDataError
    from bots.markets import market_for
    from bots.models import Bot
    from safety.intents import Level
    from safety.states import read_state

    bot = Bot.objects.get(pk=bot_id)
    chance = random.Random(bot_id)
    while not stop.is_set():
        try:
            if read_state().level != Level.ACTIVE:
                # Denials would only fill the audit; the switch is thrown between this look and the executor's own ones.
                stop.wait(0.02)
                continue
            market = market_for(bot.venue, bot.symbol, timezone.now())
            submission = executor.submit_to_venue(_intent(bot, chance), market)
            if submission.is_denied:
                _note(submission)
                stop.wait(0.05)
        except (MarketDataError, DatabaseError):
            traceback.print_exc()
            connections.close_all()
            stop.wait(0.2)
    connections.close_all()


_seen: set[str] = set()


def _note(submission: Any) -> None:
    """Say once why orders are denied: what is meant to be sent must not fail unseen."""
    codes = ",".join(denial.code for denial in submission.denials)
    if codes not in _seen:
        _seen.add(codes)
        sys.stderr.write(f"denied: {[denial.as_dict() for denial in submission.denials]}\n")


def _intent(bot: Any, chance: random.Random) -> Any:
    from django.utils import timezone

    from bots.order_ids import random_order_id
    from safety.intents import OrderIntent, OrderType, Side

    return OrderIntent(
        client_order_id=random_order_id("x"),
        bot_id=bot.pk,
        venue=bot.venue,
        symbol=bot.symbol,
        side=Side.BUY,
        type=OrderType.MARKET,
        # No two are equal, or the second would be a duplicate of the first.
        quantity=Decimal(chance.randrange(10_000_000, 20_000_000)).scaleb(-8),
        limit_price=None,
        reduce_only=False,
        is_live=True,
        created_at=timezone.now(),
        leg="race",
        reason="the race",
        actor="test",
    )


def _answer(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
