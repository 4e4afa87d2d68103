"""The durable order pipeline against PostgreSQL doing the bare rows, side by side in one run.

``python -m bench.pipeline ours|bare SECONDS FIRST COUNT`` is one client; it prints how many orders it committed a second.
"""

import json
import os
import random
import secrets
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg

from bench.scratch import Scratch
from bench.table import BenchRow

BOTS_A_CLIENT = 150
WARM_UP_S = 1.0


def run(scratch: Scratch, *, quick: bool = False) -> list[BenchRow]:
    """Return the rows for 1 and 4 clients, and with 500 positions open. ``scratch`` must be PostgreSQL."""
    seconds, repeats = (2, 1) if quick else (4, 3)
    scratch.run("-m", "bench.pipeline", "prepare", str(4 * BOTS_A_CLIENT))
    # One client trades with a quarter of the bots; only the four together open a position in each.
    few = _rate(scratch, "ours", 1, seconds)
    rows = []
    for clients in (1, 4):
        pairs = [
            (_rate(scratch, "ours", clients, seconds), _rate(scratch, "bare", clients, seconds)) for _ in range(repeats)
        ]
        ours = statistics.median(pair[0] for pair in pairs)
        bare = statistics.median(pair[1] for pair in pairs)
        share = statistics.median(pair[0] / pair[1] for pair in pairs)
        rows.append(
            BenchRow(
                f"durable order pipeline, {clients} client{'s' if clients > 1 else ''}",
                f"{ours:.0f}/s = {share:.0%} of the bare rows",
                "≥ 50 % of the bare rows",
                f"bare rows {bare:.0f}/s; freqtrade 38/s",
                "postgres; one order a transaction",
            )
        )
    rows.append(
        BenchRow(
            f"the same with {4 * BOTS_A_CLIENT} positions open",
            f"{_rate(scratch, 'ours', 1, seconds) / few:.0%}",
            "≥ 90 %",
            "freqtrade 25 % at 500",
            f"postgres, 1 client; judged by the rate with {BOTS_A_CLIENT} open",
        )
    )
    return rows


def _rate(scratch: Scratch, what: str, clients: int, seconds: float) -> float:
    """Return the orders a second of so many clients together."""
    commands = [
        [sys.executable, "-m", "bench.pipeline", what, str(seconds), str(number * BOTS_A_CLIENT), str(BOTS_A_CLIENT)]
        for number in range(clients)
    ]
    running = [subprocess.Popen(one, env=scratch.environment, stdout=subprocess.PIPE, text=True) for one in commands]
    return sum(float(json.loads(process.communicate(timeout=120)[0])) for process in running)


def ours(seconds: float, first: int, count: int) -> float:
    """Send market orders through the executor, one a transaction; return how many were committed a second."""
    from django.utils import timezone

    from audit.log import unit
    from bots import executor
    from bots.batch import locked_books
    from bots.markets import market_for
    from bots.models import Bot

    bots = list(Bot.objects.order_by("pk")[first : first + count])
    number = random.randrange(10**6)

    def one() -> None:
        nonlocal number
        bot = bots[number % count]
        now = timezone.now()
        market = market_for(bot.venue, bot.symbol, now)
        number += 1
        with unit():
            books = locked_books(bot, now)
            intent = _intent(bot, number, now)
            submission = executor.submit(intent, books, market, executor.Desk.read([bot.pk]))
        if submission.is_denied:
            raise RuntimeError(f"denied: {submission.denials}")

    return _timed(one, seconds)


def _intent(bot: Any, number: int, now: datetime) -> Any:
    from bots.order_ids import random_order_id
    from safety.intents import OrderIntent, OrderType, Side

    return OrderIntent(
        client_order_id=random_order_id("bench"),
        bot_id=bot.pk,
        venue=bot.venue,
        symbol=bot.symbol,
        side=Side.BUY,
        type=OrderType.MARKET,
        # Hardly ever the same twice: equal orders within ten seconds are denied.
        quantity=Decimal("0.01") + Decimal(number) / 1_000_000,
        limit_price=None,
        reduce_only=False,
        is_live=False,
        created_at=now,
        leg=f"bench{number}",
        reason="benchmark",
        actor="bench",
    )


def bare(seconds: float, first: int, count: int) -> float:
    """Commit the rows of such an order with plain SQL; return how many orders a second."""
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        cursor = connection.cursor()
        ids = [row[0] for row in cursor.execute("SELECT id FROM bots ORDER BY id OFFSET %s LIMIT %s", (first, count))]
        cursor.execute("CREATE TABLE IF NOT EXISTS bench_events (LIKE order_events INCLUDING INDEXES)")
        cursor.execute("CREATE TABLE IF NOT EXISTS bench_heads (chain int PRIMARY KEY, seq bigint)")
        cursor.execute("INSERT INTO bench_heads VALUES (1, 0) ON CONFLICT DO NOTHING")
        connection.commit()
        number = 0

        def one() -> None:
            nonlocal number
            number += 1
            _bare_order(cursor, ids[number % count], number)
            connection.commit()

        return _timed(one, seconds)


def _bare_order(cursor: Any, bot_id: int, number: int) -> None:
    now = datetime.now(UTC)
    quantity = Decimal("0.01") + Decimal(number) / 1_000_000
    cursor.execute(
        "INSERT INTO orders (client_order_id, bot_id, venue, symbol, side, type, status, quantity, filled_quantity,"
        " filled_notional, fees, is_live, reduce_only, is_entry, is_flatten, empty_look_ups, leg, reason, actor,"
        " venue_order_id, fence_token, submitting_at, matched_until, created_at, updated_at)"
        " VALUES (%s, %s, 'replay', 'SPX', 'buy', 'market', 'filled', %s, %s,"
        " %s, 0, false, false, true, false, 0, 'bench', 'benchmark', 'bench',"
        " 'paper', '', %s, %s, %s, %s)"
        " RETURNING id",
        ("x" + secrets.token_hex(8), bot_id, quantity, quantity, quantity * 3000, now, now, now, now),
    )
    order_id = cursor.fetchone()[0]
    cursor.execute(
        "INSERT INTO fills (order_id, venue, is_live, trade_id, quantity, price, fee, is_maker, filled_at)"
        " VALUES (%s, 'replay', false, %s, %s, 3000, 0, false, %s)",
        (order_id, secrets.token_hex(8), quantity, now),
    )
    cursor.execute("UPDATE positions SET quantity = quantity + %s WHERE bot_id = %s", (quantity, bot_id))
    cursor.execute("UPDATE deals SET legs = legs + 1 WHERE bot_id = %s AND closed_at IS NULL", (bot_id,))
    cursor.execute("SELECT seq FROM bench_heads WHERE chain = 1 FOR UPDATE")
    seq = cursor.fetchone()[0]
    for step in range(1, 4):
        cursor.execute(
            "INSERT INTO bench_events (id, seq, ts, bot_id, client_order_id, venue, symbol, side, ord_type, amount,"
            " venue_order_id, event, status, reason, is_live, actor, details, prev_hash, hash) VALUES (%s, %s, %s, %s,"
            " 'x', 'replay', 'SPX', 'buy', 'market', %s, '', 'filled', 'filled', '', 0, 'bench', '{}', %s, %s)",
            (seq + step, seq + step, now, bot_id, quantity, secrets.token_hex(32), secrets.token_hex(32)),
        )
    cursor.execute("UPDATE bench_heads SET seq = seq + 3 WHERE chain = 1")


def _timed(one: Any, seconds: float) -> float:
    end_s = time.monotonic() + WARM_UP_S
    while time.monotonic() < end_s:
        one()
    done, start_s = 0, time.monotonic()
    while time.monotonic() < start_s + seconds:
        one()
        done += 1
    return done / (time.monotonic() - start_s)


def prepare(count: int) -> float:
    """Make the bots, each with a first order so that its position and deal exist."""
    from bench.desk import make_bots, unlimited_rate
    from bots.models import Bot

    unlimited_rate()
    make_bots(count)
    return float(
        Bot.objects.filter(pk__gt=0).update(symbol="SPX", capital_usd=Decimal(10**9), paper_equity_usd=Decimal(10**10))
    )


def main() -> None:
    """Be one client, or prepare the ground."""
    import django

    django.setup()
    what, *numbers = sys.argv[1:]
    works = {"ours": ours, "bare": bare, "prepare": prepare}
    json.dump(works[what](*map(int, numbers)), sys.stdout)  # type: ignore[operator]


if __name__ == "__main__":
    main()
