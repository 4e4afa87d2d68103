"""Several processes and threads that write to the same chains at once leave no fork and no gap."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from django.conf import settings as django_settings
from django.db import connection, connections

from audit.models import ChainHead, OrderEvent
from audit.verify import verify_chains
from tests.audit.factories import order_event, write
from tests.conftest import CommittedDatabase

WRITERS, UNITS, ROWS = 4, 30, 5


def start_writer(database: CommittedDatabase, number: int) -> subprocess.Popen[str]:
    """Start one writing process, which waits for a line before it writes."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.audit.writer", f"w{number}", str(UNITS), str(ROWS)],
        cwd=django_settings.BASE_DIR,
        env=database.environ(DJANGO_SETTINGS_MODULE="tests.audit.writer_settings"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def release(writers: list[subprocess.Popen[str]]) -> None:
    """Wait until every writer is ready, then let all of them go."""
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()


def end(writers: list[subprocess.Popen[str]]) -> None:
    """Kill whoever still writes, and close the pipes."""
    for writer in writers:
        writer.kill()
        with writer:
            writer.wait()


def test_four_processes_write_chains_without_fork_or_gap(committed_db: CommittedDatabase) -> None:
    connection.close()
    writers = [start_writer(committed_db, number) for number in range(WRITERS)]
    try:
        release(writers)
        answers = [int(writer.communicate(timeout=60)[0]) for writer in writers]
    finally:
        end(writers)
    units = sum(answers)
    assert units == WRITERS * UNITS * 2 // 3
    assert dict(ChainHead.objects.values_list("chain", "seq")) == {
        "operator": units,
        "live": units,
        "paper": units * ROWS,
    }
    reports = verify_chains()
    assert [(report.rows_checked, report.bad) for report in reports] == [
        (units, None),
        (units, None),
        (units * ROWS, None),
    ]
    if committed_db.vendor == "postgresql":  # SQLite's lock is unfair: there one writer may go on to its end
        live = OrderEvent.objects.filter(is_live=1).order_by("seq").values_list("client_order_id", flat=True)
        writer_names = [name.split("-")[0] for name in live]
        assert sum(one != other for one, other in pairwise(writer_names)) >= WRITERS


def write_ten(name: str) -> None:
    """Commit ten units of one row, in this thread."""
    try:
        for number in range(10):
            write(order_event(client_order_id=f"{name}-{number}"))
    finally:
        connections.close_all()


def test_threads_write_a_chain_without_fork_or_gap(committed_db: CommittedDatabase) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write_ten, ("a", "b", "c", "d"), timeout=60))  # raises what a thread raised
    assert list(OrderEvent.objects.order_by("seq").values_list("seq", flat=True)) == list(range(1, 41))
    assert all(report.intact for report in verify_chains())


def test_verification_while_others_write_finds_the_chain_intact(committed_db: CommittedDatabase) -> None:
    connection.close()
    writer = start_writer(committed_db, 1)
    try:
        release([writer])
        seen = []
        while writer.poll() is None:
            reports = verify_chains()
            assert [report.bad for report in reports] == [None] * 3
            seen.append(reports[2].rows_checked)
        assert seen == sorted(seen)
    finally:
        end([writer])
    assert verify_chains()[2].rows_checked == UNITS * 2 // 3 * ROWS
