"""What the audit chain costs: chained against unchained inserts, and how fast the chain is verified.

``python -m bench.chain`` prints the rows. Chained and unchained runs take turns on one throw-away PostgreSQL database, four
client processes each; a rate is the median of its runs.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from subprocess import PIPE
from typing import Any

from bench.scratch import ROOT, Scratch, scratch_postgres
from bench.table import BenchRow, markdown

CLIENTS = 4
BATCH_ROWS = 500
RUNS = 5
# The peer keeps the same columns and page indexes, but no seq, prev_hash, hash, none of their unique indexes and no triggers.
UNCHAINED = "unchained_events"
Client = subprocess.Popen[str]
CHAIN_COLUMNS = ("seq", "prev_hash", "hash")


def run(quick: bool = False) -> list[BenchRow]:
    """Return the rows of the chain; ``quick`` takes about ten seconds and is less sure."""
    batches, runs = (10, 2) if quick else (40, RUNS)
    rates: dict[str, list[float]] = {"chained": [], "unchained": []}
    with scratch_postgres() as database:
        _python(database, "setup")
        with _clients(database) as clients:
            for _ in range(runs):
                for kind, found in rates.items():
                    found.append(_insert_rate(clients, kind, batches))
        verified = json.loads(_python(database, "verify", str(runs)))
    chained, unchained = median(rates["chained"]), median(rates["unchained"])
    return [
        BenchRow(
            f"chain: insert, {CLIENTS} clients, batches of {BATCH_ROWS}",
            f"{chained:,.0f} rows/s, {chained / unchained:.0%} of unchained",
            "≥ 80 % of unchained",
            f"the same rows without a chain: {unchained:,.0f} rows/s",
            f"PostgreSQL, prepared and committed; {runs} runs in turn",
        ),
        BenchRow(
            "chain: verify with reading",
            f"{verified['verify']:,.0f} rows/s",
            "≥ 70,000 rows/s",
            f"plain Python chain in memory: {verified['plain']:,.0f} rows/s",
            f"{verified['rows']:,} rows on PostgreSQL; what it read was intact",
        ),
    ]


def _python(database: Scratch, *arguments: str) -> str:
    return database.run("-m", "bench.chain", *arguments)


@contextmanager
def _clients(database: Scratch) -> Iterator[list[Client]]:
    """Give the client processes, connected and warm."""
    command = [sys.executable, "-m", "bench.chain", "client"]
    clients = [
        subprocess.Popen(command, cwd=ROOT, env=database.environment, stdin=PIPE, stdout=PIPE, text=True)
        for _ in range(CLIENTS)
    ]
    try:
        for client in clients:
            _line(client)
        yield clients
    finally:
        for client in clients:
            client.kill()
            client.communicate()


def _insert_rate(clients: list[Client], kind: str, batches: int) -> float:
    """Return the rows a second that the clients commit together, from the first one's start to the last one's end."""
    for client in clients:
        if client.stdin is not None:
            client.stdin.write(f"{kind} {batches}\n")
            client.stdin.flush()
    times = [json.loads(_line(client)) for client in clients]
    took_s = max(end for _, end in times) - min(start for start, _ in times)
    return float(len(clients) * batches * BATCH_ROWS / took_s)


def _line(client: Client) -> str:
    line = client.stdout.readline() if client.stdout is not None else ""
    if not line:
        raise RuntimeError("a client of the benchmark ended early")
    return line


# --- What follows runs in processes of its own, with the console's settings.


def _setup() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {UNCHAINED} (LIKE order_events INCLUDING ALL)")
        for column in CHAIN_COLUMNS:  # their indexes and checks go with them
            cursor.execute(f"ALTER TABLE {UNCHAINED} DROP COLUMN {column}")


def _client() -> None:
    writers = {"chained": _write_chained, "unchained": _write_unchained}
    for write in writers.values():
        write(_events(BATCH_ROWS, f"warm-{os.getpid():x}"))
    print("ready", flush=True)
    for number, line in enumerate(sys.stdin):
        kind, batches = line.split()
        made = [_events(BATCH_ROWS, f"{os.getpid():x}-{number}-{batch:x}") for batch in range(int(batches))]
        start = time.monotonic()  # one clock for all processes of the machine
        for events in made:
            writers[kind](events)
        print(json.dumps([start, time.monotonic()]), flush=True)


def _events(count: int, name: str) -> list[Any]:
    from decimal import Decimal

    from audit.log import OrderEventRecord

    return [
        OrderEventRecord(
            bot_id=number % 50,
            client_order_id=f"t-{name}-{number:x}",
            venue="kraken",
            symbol="BTC/USD",
            side="buy",
            ord_type="limit",
            price=Decimal("64123.5"),
            amount=Decimal("0.0125"),
            event="filled",
            status="filled",
            is_live=False,
            actor="system:runner",
            venue_order_id="OABC12-DEF34-GHI567",
            details={"fee": "0.26", "liquidity": "taker"},
        )
        for number in range(count)
    ]


def _write_chained(events: list[Any]) -> None:
    from audit.log import record, unit

    with unit():
        for event in events:
            record(event)


def _write_unchained(events: list[Any]) -> None:
    from django.db import connection, transaction

    from audit.chain import ORDER_COLUMNS
    from audit.records import order_values

    at = [place for place, column in enumerate(ORDER_COLUMNS) if column not in CHAIN_COLUMNS]
    names = ", ".join(ORDER_COLUMNS[place] for place in at)
    rows = [[values[place] for place in at] for values in map(order_values, events)]
    copy_in = f"COPY {UNCHAINED} ({names}) FROM STDIN"
    with transaction.atomic(), connection.cursor() as cursor, cursor.cursor.copy(copy_in) as copy:
        for row in rows:
            copy.write_row(row)


def _verify(runs: int) -> None:
    from audit.chain import Chain
    from audit.verify import verify_chains

    rates, plain_rates, rows = [], [], 0
    for _ in range(runs):
        start = time.perf_counter()
        paper = next(report for report in verify_chains() if report.chain is Chain.PAPER)
        rates.append(paper.rows_checked / (time.perf_counter() - start))
        if not paper.intact:
            raise RuntimeError(f"the benchmark's chain is broken: {paper.bad}")
        rows = paper.rows_checked
        plain_rates.append(_plain_rate(50_000))
    print(json.dumps({"verify": median(rates), "plain": median(plain_rates), "rows": rows}))


def _plain_rate(count: int) -> float:
    """Return the rows a second of the obvious chain in memory: one JSON text and one SHA-256 a row, nothing read."""
    from audit.chain import ORDER_COLUMNS
    from audit.records import order_values

    row = dict(zip(ORDER_COLUMNS, order_values(_events(1, "plain")[0]), strict=True))
    start, last = time.perf_counter(), ""
    for seq in range(count):
        row["seq"], row["prev_hash"] = seq, last
        last = hashlib.sha256(json.dumps(row, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    return count / (time.perf_counter() - start)


def main(arguments: list[str]) -> None:
    """Run the benchmark, or with arguments the part of it that needs a process of its own."""
    if not arguments:
        print(markdown(run()))
        return
    import django

    django.setup()
    match arguments:
        case ["setup"]:
            _setup()
        case ["client"]:
            _client()
        case ["verify", runs]:
            _verify(int(runs))
        case _:
            sys.exit(f"unknown arguments: {arguments}")


if __name__ == "__main__":
    main(sys.argv[1:])
