"""Every worker is killed: the console says so within a minute, and a real webhook is told, though no worker is left to send."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from bots.models.worker import WorkerKind
from bots.workers.heartbeats import live
from safety.notification_models import Notification
from tests.conftest import CommittedDatabase
from tests.loopback.client import DiscordLoopback
from tests.workers.conftest import ROOT, ClusterUnderTest, Ground, wait_until

pytestmark = [pytest.mark.workers, pytest.mark.slow, pytest.mark.timeout(400)]

START_S = 90
#: FAULTS, row 48.
TOLD_WITHIN_S = 60
CHORES = "bots.workers.housekeeping bots.notification_chores"
DEAD, BACK = "No worker is alive: nothing trades, and nobody watches", "The workers are back"


class Web:
    """The console's web processes, as they are served."""

    def __init__(self, database: CommittedDatabase, log: Path, **extra: str) -> None:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = str(one.getsockname()[1])
        self.health_url = f"http://127.0.0.1:{port}/api/health"
        environ = database.environ(PORT=port, HOST="127.0.0.1", ALLOWED_HOSTS="127.0.0.1", **extra)
        with log.open("w") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py"],
                cwd=ROOT, env=environ, stdout=stream, stderr=stream, start_new_session=True,
            )  # fmt: skip

    def health(self) -> tuple[int, dict[str, Any]]:
        """Return the status and the body of the health check; 0 while nobody answers."""
        try:
            answer = requests.get(self.health_url, timeout=5)
        except requests.RequestException:
            return 0, {}
        return answer.status_code, answer.json()

    def end(self) -> None:
        """End all of it."""
        os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)


@pytest.fixture
def web(ground: Ground, discord: DiscordLoopback, tmp_path: Path) -> Iterator[Web]:
    log = tmp_path / "web.log"
    one = Web(ground.database, log, DISCORD_WEBHOOK_URL=discord.webhook_url)
    yield one
    one.end()
    sys.stdout.write(log.read_text()[-4000:])  # shown when the test failed


def kill_all(cluster: ClusterUnderTest) -> None:
    """Kill every process of a cluster at once, so that none can say a word."""
    for pid in [cluster.main.pid, *(child.pid for child in cluster.children())]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            # It died with the one above it.
            continue
    cluster.main.wait(10)
    wait_until(lambda: not cluster.children(), 5, "no process of the cluster is left")


def titles(discord: DiscordLoopback) -> list[str]:
    """Return the titles of what Discord was told."""
    return [str(one["embeds"][0]["title"]) for one in discord.messages()]


def has(discord: DiscordLoopback, words: str) -> bool:
    return any(words in title for title in titles(discord))


def test_console_and_discord_say_so_within_a_minute_and_when_they_are_back(
    ground: Ground, web: Web, discord: DiscordLoopback
) -> None:
    told = {"TEST_CHORE_MODULES": CHORES, "DISCORD_WEBHOOK_URL": discord.webhook_url}
    cluster = ground.start(**told)
    wait_until(lambda: web.health()[0] == 200, START_S, "the console is healthy")
    wait_until(lambda: live(WorkerKind.CHORES).exists(), START_S, "the chores are done")
    assert not Notification.objects.filter(event="worker_down").exists()
    kill_all(cluster)
    killed_s = time.monotonic()
    wait_until(lambda: has(discord, "No worker is alive"), TOLD_WITHIN_S, "Discord has the message")
    took_s = time.monotonic() - killed_s
    assert took_s < TOLD_WITHIN_S
    wait_until(lambda: web.health()[0] == 503, TOLD_WITHIN_S - took_s, "the console is not healthy")
    [alarm] = Notification.objects.filter(event="worker_down")
    assert (alarm.title, alarm.severity, alarm.seen_at) == (DEAD, "urgent", None)
    ground.start(**told)
    wait_until(lambda: has(discord, BACK), START_S, "Discord is told that they are back")
    assert web.health()[0] == 200
    # Two web processes and the workers look: nobody tells it twice.
    assert [one.title for one in Notification.objects.filter(event="worker_down").order_by("id")] == [DEAD, BACK]
    assert len(titles(discord)) == 2
