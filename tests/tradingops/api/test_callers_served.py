"""Who gets in, and how often, under the server that people run: what holds in one of its processes holds in all."""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from django.contrib.auth.models import User
from django.utils import timezone

from safety import api_tokens
from safety.api_scopes import Scope
from tests.conftest import CommittedDatabase
from tests.tradingops.api.served import BEARER, START_S, Served, serve

pytestmark = [pytest.mark.workers, pytest.mark.slow, pytest.mark.any_database, pytest.mark.timeout(240)]
PER_MINUTE = 30
ASKED = 90
HALT = {"level": "halted", "reason": "a test"}


@pytest.fixture
def served(committed_db: CommittedDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("API_REQUESTS_PER_MINUTE", str(PER_MINUTE))
    with serve(committed_db, tmp_path / "gunicorn.log") as running:
        yield running


def statuses(served: Served, count: int, headers: dict[str, str]) -> Counter[int]:
    """Ask so often, each time over a connection of its own, so that every process gets some of it."""

    def ask(_: int) -> int:
        return requests.get(f"{served.url}/api/bots?limit=1", headers=headers, timeout=START_S).status_code

    with ThreadPoolExecutor(8) as pool:
        return Counter(pool.map(ask, range(count)))


def test_processes_share_what_a_caller_may_ask_and_halting_stays_free(served: Served) -> None:
    began_s = time.monotonic()
    found = statuses(served, ASKED, BEARER)
    refilled = (time.monotonic() - began_s) * PER_MINUTE / 60
    assert set(found) == {200, 429}
    # Two processes that each counted for itself would let twice as much through.
    assert PER_MINUTE <= found[200] <= PER_MINUTE + refilled + 1
    answer = requests.post(f"{served.url}/api/safety/kill-switch", json=HALT, headers=BEARER, timeout=START_S)
    assert (answer.status_code, answer.json()["state"]) == (200, "halted")


def test_revoked_token_and_wrong_ones_are_out_in_every_process(served: Served) -> None:
    maker = User.objects.create_superuser("maker")
    token, text = api_tokens.make("a script", Scope.ENGAGE, None, maker=maker, reason="a test", now=timezone.now())
    by_token = {"Authorization": f"Bearer {text}"}
    assert statuses(served, 10, by_token) == {200: 10}
    api_tokens.revoke(token, actor="maker", now=timezone.now())
    assert statuses(served, 10, by_token) == {401: 10}
    wrong = {"Authorization": "Bearer wrong"}
    found = statuses(served, 30, wrong)
    # Those ten count as wrong ones, too.
    assert found == {401: 10, 429: 20}
    assert statuses(served, 10, wrong) == {429: 10}
    assert requests.get(f"{served.url}/api/bots", headers=BEARER, timeout=START_S).status_code == 200
    log = served.log_path.read_text()
    assert text not in log
    assert BEARER["Authorization"][7:] not in log
