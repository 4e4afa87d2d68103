"""The API over a real gunicorn: how many answers a second eight clients get, the 99th percentile, and the server's CPU for one.

``python -m bench.api prepare ORDERS EVENTS`` fills the database. By hand, ``python -m bench.api EVENTS`` measures with so many
order events (10000000, say) on a scratch PostgreSQL and prints the table.
"""

import http.client
import json
import os
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from bench.scratch import ROOT, Scratch, scratch_postgres
from bench.table import BenchRow, markdown

CLIENTS = 8
BOTS = 10
ORDERS = 10_000
EVENTS = 100_000
EVENTS_A_UNIT = 10_000
TOKEN = secrets.token_urlsafe(32)
START_S = 60.0
#: Path, target and what others reach: see docs/benchmarks.md.
READS = (
    ("/api/orders?limit=50", "≥ 230/s", "freqtrade trades?limit=50 23/s"),
    ("/api/pnl", "≥ 130/s", "freqtrade profit 1.3/s"),
    ("/api/bots", "≥ 570/s", "freqtrade status 114/s"),
    ("/api/health", "≥ 1,400/s", "freqtrade ping 1,401/s"),
    ("/api/order-events?limit=50", "—", "—"),
    ("/api/order-events?limit=50&event=denied&is_live=true", "—", "—"),
)

Ask = Callable[[http.client.HTTPConnection, int], None]


@dataclass(frozen=True, slots=True)
class _Server:
    """A running gunicorn, and what its processes have used."""

    port: int
    group: int

    def cpu_s(self) -> float:
        """Return the seconds of CPU that the processes of its group have used so far."""
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                if int(fields[2]) == self.group:
                    ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


def run(scratch: Scratch, *, quick: bool = False, orders: int = ORDERS, events: int = EVENTS) -> list[BenchRow]:
    """Return the rows, measured on this database."""
    seconds = 3.0 if quick else 10.0
    bot_ids = json.loads(scratch.run("-m", "bench.api", "prepare", str(orders), str(events)))
    rows = []
    with _served(scratch) as server:
        for path, target, peer in READS:
            over = f"{events:,} rows" if "order-events" in path else f"{orders:,} orders"
            note = f"{scratch.vendor}; {CLIENTS} clients, {over}, {BOTS} bots"
            rows.append(_row(f"GET {path.removeprefix('/api')}", server, _get(path), seconds, target, peer, note))
        note = f"{scratch.vendor}; {CLIENTS} clients, each order through every control, committed with its audit rows"
        rows.append(_row("POST /orders on paper", server, _order(bot_ids), seconds, "—", "freqtrade 38/s", note))
    return rows


def _row(name: str, server: _Server, ask: Ask, seconds: float, target: str, peer: str, note: str) -> BenchRow:
    before_s = server.cpu_s()
    all_ms, counted_ms = _measured(server.port, ask, seconds)
    cpu_ms = (server.cpu_s() - before_s) * 1000 / len(all_ms)
    rate, p99_ms = len(counted_ms) / seconds, statistics.quantiles(counted_ms, n=100)[98]
    return BenchRow(f"API: {name}", f"{rate:,.0f}/s, p99 {p99_ms:.0f} ms, CPU {cpu_ms:.2f} ms", target, peer, note)


def _get(path: str) -> Ask:
    def ask(connection: http.client.HTTPConnection, number: int) -> None:
        connection.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
        _read(connection, (200, 503) if path == "/api/health" else (200,))

    return ask


def _order(bot_ids: list[int]) -> Ask:
    def ask(connection: http.client.HTTPConnection, number: int) -> None:
        # Hardly ever the same twice: equal orders within ten seconds are denied.
        quantity = str(Decimal("0.01") + Decimal(number) / 1_000_000)
        order = {"bot_id": bot_ids[number % len(bot_ids)], "side": "buy", "type": "market", "quantity": quantity}
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        connection.request("POST", "/api/orders", json.dumps(order), headers)
        _read(connection, (201,))

    return ask


def _read(connection: http.client.HTTPConnection, expected: tuple[int, ...]) -> None:
    answer = connection.getresponse()
    body = answer.read()
    if answer.status not in expected:
        raise RuntimeError(f"{answer.status}: {body[:500].decode()}")


def _measured(port: int, ask: Ask, seconds: float) -> tuple[list[float], list[float]]:
    """Let each client ask again and again for so long, after a warm-up; return what answers took in ms: all, and after it."""
    warm_ms: list[float] = []
    took_ms: list[float] = []
    failed: list[Exception] = []
    begin_s = time.monotonic() + 1.0
    end_s = begin_s + seconds

    def client(mine: int) -> None:
        connection, number = http.client.HTTPConnection("127.0.0.1", port, timeout=30), mine
        try:
            while (start_s := time.monotonic()) < end_s:
                ask(connection, number)
                number += CLIENTS
                (took_ms if start_s >= begin_s else warm_ms).append((time.monotonic() - start_s) * 1000)
        except (OSError, RuntimeError, http.client.HTTPException) as error:
            failed.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return [*warm_ms, *took_ms], took_ms


@contextmanager
def _served(scratch: Scratch) -> Iterator[_Server]:
    """Serve the console as ``make run`` does, but for its limits on how often one may ask."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = scratch.environment | {
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "WORKER_API_TOKEN": TOKEN,
        "API_REQUESTS_PER_MINUTE": "1000000",
        "API_WRITES_PER_MINUTE": "1000000",
    }
    command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py"]
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        _wait_for(port)
        yield _Server(port, server.pid)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


def _wait_for(port: int) -> None:
    until_s = time.monotonic() + START_S
    while time.monotonic() < until_s:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/api/health")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            time.sleep(0.2)
        else:
            return
    raise RuntimeError("the console did not answer")


def prepare(orders: int, events: int) -> list[int]:
    """Fill the database with bots that hold something, orders and order events; return the bots' ids."""
    from bench.desk import make_bots, unlimited_rate
    from bots.models import Bot, Position

    unlimited_rate()
    bots = make_bots(BOTS)
    Bot.objects.filter(pk__gt=0).update(symbol="SPX", capital_usd=Decimal(10**9), paper_equity_usd=Decimal(10**10))
    books = [
        Position(bot=bot, is_live=False, quantity=Decimal(1), cost=Decimal(5000), cash_flow=Decimal(-5000))
        for bot in bots
    ]
    Position.objects.bulk_create(books)
    ids = [bot.pk for bot in bots]
    _fill_orders(ids, orders)
    _fill_events(ids, min(events, EVENTS))
    if events > EVENTS:
        _copy_events(events)
    return ids


def _fill_orders(bot_ids: list[int], count: int) -> None:
    from bots.models import Order

    begin = datetime.now(UTC) - timedelta(days=30)
    for start in range(0, count, 1_000):
        moments = [
            (number, begin + timedelta(seconds=60 * number)) for number in range(start, min(start + 1_000, count))
        ]
        Order.objects.bulk_create(
            Order(
                client_order_id=f"b{number}", bot_id=bot_ids[number % len(bot_ids)], venue="replay", symbol="SPX",
                side="buy" if number % 2 else "sell", type="market", status="filled", quantity=Decimal("0.5"),
                filled_quantity=Decimal("0.5"), filled_notional=Decimal("2500.25"), fees=Decimal("1.25"), is_live=False,
                leg="base", actor=f"bot:{bot_ids[0]}", created_at=at, updated_at=at,
            )
            for number, at in moments
        )  # fmt: skip


def _fill_events(bot_ids: list[int], count: int) -> None:
    from audit.log import OrderEventRecord, record, unit

    for start in range(0, count, EVENTS_A_UNIT):
        with unit():
            for number in range(start, min(start + EVENTS_A_UNIT, count)):
                kind = "denied" if number % 5 == 0 else "filled"
                record(
                    OrderEventRecord(
                        bot_id=bot_ids[number % len(bot_ids)], client_order_id=f"b{number}", venue="replay", symbol="SPX",
                        side="buy", ord_type="market", price=Decimal("5000.5"), amount=Decimal("0.5"), event=kind,
                        status=kind, is_live=False, actor="bench", details={"fee": Decimal("1.25")},
                    )
                )  # fmt: skip


def _copy_events(count: int) -> None:
    """Multiply the events that were recorded, inside PostgreSQL: recording ten million takes hours, and nothing here verifies."""
    from django.db import connection

    columns = (
        "bot_id, client_order_id, venue, symbol, side, ord_type, price, amount, venue_order_id, event, status, reason,"
        " is_live, actor, details"
    )
    with connection.cursor() as cursor:
        remake = _without_indexes(cursor)
        cursor.execute("SET synchronous_commit = off")
        cursor.execute("SET maintenance_work_mem = '1GB'")
        cursor.execute(
            f"INSERT INTO order_events (seq, ts, {columns}, prev_hash, hash)"
            f" SELECT seq + copy * {EVENTS}, ts + copy * interval '1 second', {columns},"
            " encode(sha256((prev_hash || copy)::bytea), 'hex'), encode(sha256((hash || copy)::bytea), 'hex')"
            f" FROM order_events, generate_series(1, {count // EVENTS - 1}) AS copy ORDER BY copy, seq"
        )
        for statement in remake:
            cursor.execute(statement)
        last = "(SELECT {} FROM order_events WHERE is_live = 0 ORDER BY seq DESC LIMIT 1)"
        cursor.execute(
            f"UPDATE chain_heads SET seq = {last.format('seq')}, hash = {last.format('hash')} WHERE chain = 'paper'"
        )
        cursor.execute("ANALYZE order_events")


def _without_indexes(cursor: Any) -> list[str]:
    """Drop the indexes of the order events but the primary key; return what makes them again, faster than row by row."""
    cursor.execute(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid = 'order_events'::regclass AND contype = 'u'"
    )
    constraints = dict(cursor.fetchall())
    cursor.execute("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'order_events'")
    indexes = {name: made for name, made in cursor.fetchall() if name not in constraints and not name.endswith("_pkey")}
    for name in constraints:
        cursor.execute(f"ALTER TABLE order_events DROP CONSTRAINT {name}")
    for name in indexes:
        cursor.execute(f"DROP INDEX {name}")
    return [
        *(f"ALTER TABLE order_events ADD CONSTRAINT {name} {made}" for name, made in constraints.items()),
        *indexes.values(),
    ]


def main() -> None:
    """Fill the database, or measure by hand."""
    what, *numbers = sys.argv[1:]
    if what == "prepare":
        import django

        django.setup()
        print(json.dumps(prepare(*map(int, numbers))))
        return
    with scratch_postgres() as scratch:
        print(markdown(run(scratch, events=int(what))))


if __name__ == "__main__":
    main()
