"""What /metrics tells: true figures, from any process, at a bounded cost, and nothing to strangers."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection, connections
from django.db.models import Max
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import Settings

from audit import order_tally, tallies
from audit.models import OrderEvent, Tally
from audit.order_tally import BUILT_IN, VENUE, OrderTally
from bots.models import Order, WorkerHeartbeat
from bots.models.worker import WorkerKind
from bots.workers.heartbeats import Heart
from safety import kill_tally
from safety.intents import Level
from safety.kill_switch import engage
from safety.models import KillRun
from safety.permissions import VIEWER
from tests.audit.factories import NOON, order_event, write, write_fills
from tests.bots.builders import make_bot
from tests.conftest import CommittedDatabase, on_sqlite
from tradingops import http_counts, web_heartbeat
from tradingops.metrics import read_metrics
from tradingops.metrics_names import METRICS

pytestmark = pytest.mark.usefixtures("committed_db", "nothing_counted")
TOKEN = "t" * 40
SERIES = {series: metric for metric in METRICS.values() for series in metric.series}
Series = dict[str, dict[tuple[str, ...], float]]


@pytest.fixture
def nothing_counted(settings: Settings) -> Iterator[None]:
    """Begin with no requests counted in this process, and a token set."""
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, worker_api_token=TOKEN)
    http_counts._counts.clear()
    yield
    http_counts._counts.clear()


def scrape() -> Series:
    """Return each series by its name without the prefix, and its labels' values in the order of the docs."""
    found: Series = {}
    for family in text_string_to_metric_families(read_metrics(now=timezone.now()).text().decode()):
        for sample in family.samples:
            name = sample.name.removeprefix("tradingops_")
            labels = SERIES[sample.name].labels
            key = tuple(sample.labels[label] for label in labels)
            found.setdefault(name, {})[key] = sample.value
    return found


def ask(token: str | None = TOKEN, client: Client | None = None) -> Any:
    return (client or Client()).get("/metrics", headers={"Authorization": f"Bearer {token}"} if token else {})


def sent(order: str, seconds: float, answer: str = "accepted", **changes: Any) -> None:
    """Write that an order was sent, and answered so many seconds later."""
    write(
        order_event(client_order_id=order, event="submitting", ts=NOON, **changes),
        order_event(client_order_id=order, event=answer, ts=NOON + timedelta(seconds=seconds), **changes),
    )


def test_token_and_viewer_may_look_and_nobody_else() -> None:
    user = User.objects.create_user("viewer", is_staff=True)
    client = Client()
    client.force_login(user)
    assert ask(None).status_code == 401
    assert ask("wrong").status_code == 401
    assert ask(None, client).status_code == 403
    user.groups.add(Group.objects.get(name=VIEWER))
    assert ask(None, client).status_code == 200
    answer = ask()
    assert (answer.status_code, answer["Content-Type"].startswith("text/plain")) == (200, True)
    assert TOKEN not in answer.content.decode()


def test_what_is_not_known_is_absent() -> None:
    found = scrape()
    for name in ("unknown_order_age_seconds", "orders_open", "reconciliation_age_seconds", "heartbeat_age_seconds",
                 "anchor_age_seconds", "readiness_age_seconds", "queue_age_seconds", "order_events_total"):  # fmt: skip
        assert name not in found
    assert found["database_up"] == {(): 1}
    assert found["trading_state"] == {("active",): 1, ("reducing",): 0, ("halted",): 0}


def test_trading_state_mode_and_scopes_are_told() -> None:
    engage(Level.HALTED, "a test", actor="test")
    engage(Level.REDUCING, "a test", actor="test", scope="venue:kraken")
    found = scrape()
    assert found["trading_state"] == {("active",): 0, ("reducing",): 0, ("halted",): 1}
    assert found["mode"][("paper",)] == 1
    assert found["scopes_held"] == {("venue", "reducing"): 1}
    assert found["kill_blocked_seconds_count"] == {(): 2}


def test_order_events_are_counted_by_what_happened_live_and_paper_apart() -> None:
    write_fills(3)
    write_fills(2, is_live=True, event="rejected")
    assert scrape()["order_events_total"] == {("0", "kraken", "filled"): 3, ("1", "kraken", "rejected"): 2}


def test_each_reason_of_a_denial_counts() -> None:
    reasons = [{"code": "KILL_SWITCH", "message": ""}, {"code": "DAILY_LOSS", "message": ""}]
    write(
        order_event(event="denied", details={"reasons": reasons}),
        order_event(event="denied", details={"cut_from_chars": 9}),
    )
    write(order_event(event="denied", is_live=True, details={"reasons": reasons[:1]}))
    assert scrape()["denials_total"] == {
        ("0", "KILL_SWITCH"): 1, ("0", "DAILY_LOSS"): 1, ("0", "other"): 1, ("1", "KILL_SWITCH"): 1,
    }  # fmt: skip


def test_time_from_a_send_to_its_answer_is_measured_once() -> None:
    sent("a", 0.3, is_live=True)
    sent("b", 4, "unknown", is_live=True)
    sent("c", 0.001, "filled", venue_order_id="")
    # A later fill is no answer to the send, and a denial before the send answers nothing.
    write(order_event(client_order_id="a", event="filled", is_live=True, ts=NOON + timedelta(hours=1)))
    sent("d", 1, "denied", is_live=True)
    tally, behind = order_tally.read(1000)
    assert behind == 0
    live, paper = tally.answers[f"1 kraken {VENUE}"], tally.answers[f"0 kraken {BUILT_IN}"]
    assert (sum(live.counts), live.sum_us, sum(paper.counts)) == (2, 4_300_000, 1)
    assert (live.counts[live.bounds_s.index(0.5)], live.counts[live.bounds_s.index(5.0)]) == (1, 1)
    assert tally.sends == {}
    assert scrape()["submit_seconds_count"] == {("1", "kraken", "venue"): 2, ("0", "kraken", "built_in"): 1}


def test_totals_that_are_kept_bit_by_bit_are_those_of_one_count() -> None:
    for number in range(20):
        sent(f"order-{number}", number / 10, is_live=number % 2 == 0)
    at_once = OrderTally()
    assert at_once.count(10_000) == 0
    while order_tally.read(0)[1]:
        order_tally.keep(7, 60)
    kept = OrderTally.of(tallies.read(order_tally.NAME))
    assert kept.as_dict() == at_once.as_dict()
    version = Tally.objects.get(pk=order_tally.NAME).version
    order_tally.keep(7, 60)
    assert Tally.objects.get(pk=order_tally.NAME).version == version


def test_two_that_keep_totals_at_once_count_nothing_twice() -> None:
    write_fills(300)
    failed: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(10):
                order_tally.keep(25, 60)
        except BaseException as error:
            failed.append(error)
            raise
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    order_tally.keep(1000, 60)
    assert OrderTally.of(tallies.read(order_tally.NAME)).events == {"0 kraken filled": 300}


def test_scrape_costs_the_same_with_a_longer_history() -> None:
    make_bot("one")
    costs = []
    for count in (10, 500):
        write_fills(count)
        order_tally.keep(10_000, 60)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            scrape()
        costs.append(len(queries))
    assert costs[0] == costs[1] <= 45


def test_scrape_counts_so_many_events_itself_and_says_how_many_it_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tradingops.metrics_trading.EVENTS_PER_SCRAPE_MAX", 10)
    write_fills(25)
    found = scrape()
    assert (found["tally_behind_events"], found["order_events_total"]) == ({(): 15}, {("0", "kraken", "filled"): 10})


def test_labels_are_bounded() -> None:
    for number in range(3):
        write(*(order_event(venue=f"v {number}{one}") for one in range(100)))
    tally, _ = order_tally.read(1000)
    assert len(tally.events) <= order_tally.LABELS_MAX + 300
    assert sum(tally.events.values()) == 300
    assert all(len(labels.split(" ")) == 3 for labels in tally.events)


def test_open_and_unknown_orders_are_told() -> None:
    bot, now = make_bot("one"), timezone.now()
    for number, (status, age_s) in enumerate([("unknown", 100), ("unknown", 500), ("accepted", 900), ("filled", 900)]):
        Order.objects.create(
            client_order_id=f"o{number}", bot=bot, venue="kraken", symbol="BTC/USD", side="buy", type="market", status=status,
            quantity=Decimal(1), is_live=True, leg="x", actor="test", created_at=now, updated_at=now,
            submitting_at=now - timedelta(seconds=age_s),
        )  # fmt: skip
    found = scrape()
    assert found["orders_open"] == {("1", "kraken", "unknown"): 2, ("1", "kraken", "accepted"): 1}
    assert 500 <= found["unknown_order_age_seconds"][("1", "kraken")] < 700
    assert found["bots"] == {("0", "running"): 1}


def test_halts_are_counted_once_before_and_after_they_are_settled() -> None:
    for _ in range(3):
        engage(Level.HALTED, "a test", actor="test")
    now = timezone.now()
    first, second, third = KillRun.objects.order_by("pk")
    KillRun.objects.filter(pk=first.pk).update(
        drained_at=first.engaged_at + timedelta(seconds=2), ended_at=now, blocked_ms=20
    )
    KillRun.objects.filter(pk__gt=first.pk).update(blocked_ms=700, drained_at=None, ended_at=None)
    before = kill_tally.read().as_dict()
    KillRun.objects.filter(pk=first.pk).update(
        engaged_at=now - timedelta(hours=1), drained_at=now - timedelta(seconds=3598)
    )
    kill_tally.keep()
    assert tallies.read(kill_tally.NAME)["upto_id"] == first.pk
    after = kill_tally.read().as_dict()
    assert {**after, "upto_id": 0} == before
    assert (sum(after["blocked"]["counts"]), sum(after["drained"]["counts"])) == (3, 1)
    assert scrape()["kill_runs_unfinished"] == {(): 2}
    assert KillRun.objects.aggregate(last=Max("pk"))["last"] == third.pk > second.pk


def test_processes_tell_of_themselves() -> None:
    Heart(WorkerKind.RUNNER).beat(details={"ticks": 100, "lag_ms_p99": 20.0, "lag_ms_max": 40.0})
    Heart(WorkerKind.WEB).beat(details=web_heartbeat.shown())
    WorkerHeartbeat.objects.filter(kind=WorkerKind.RUNNER).update(started_at=timezone.now() - timedelta(seconds=50))
    found = scrape()
    host = WorkerHeartbeat.objects.values_list("host", flat=True)[0]
    assert found["processes"] == {("runner", host): 1, ("web", host): 1}
    assert 0 <= found["heartbeat_age_seconds"][("runner",)] < 30
    assert 1.5 < found["ticks_per_second"][(host,)] < 2.5
    assert found["tick_lag_seconds"] == {(host, "0.99"): 0.02, (host, "1"): 0.04}
    assert found["gate_open"] == {("ALLOW_LIVE_TRADING", host): 0, ("LIVE_TRADING_ENABLED", host): 0}
    assert found["stream_clients"] == {(host,): 0}
    assert found["disk_free_bytes"][(host,)] > 0
    assert found["shards"] == {("held",): 0, ("free",): 16}


def test_requests_of_all_processes_add_up() -> None:
    Client().get("/api/health")
    http_counts.keep()
    Client().get("/api/health")
    Client().get("/nothing/here")
    assert scrape()["http_requests_total"] == {("GET", "api/health", "503"): 1}
    http_counts.keep()
    http_counts.keep()
    assert scrape()["http_requests_total"] == {("GET", "api/health", "503"): 2, ("GET", "none", "404"): 1}
    assert http_counts._counts == {}


def test_requests_that_could_not_be_added_are_kept(
    committed_db: CommittedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    Client().get("/nothing/here")
    monkeypatch.setattr(tallies, "TRIES_MAX", 0)
    http_counts.keep()
    assert http_counts._counts["GET 404 none"][0] == 1


def test_kinds_of_requests_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_counts, "KINDS_MAX", 1)
    for path in ("/api/health", "/nothing", "/api/nothing"):
        Client().get(path)
    http_counts.keep()
    assert sum(scrape()["http_requests_total"].values()) == 3
    assert set(http_counts.METHODS) >= {"GET", "POST"}


def test_chains_and_anchors_are_told() -> None:
    write_fills(2, is_live=True)
    found = scrape()
    assert found["chain_height"][("live",)] == 2
    assert found["audit_findings_total"] == {(): 0}
    assert OrderEvent.objects.count() == 2


def test_without_the_database_it_says_so() -> None:
    shared = connections.settings["default"]
    name = shared["NAME"]
    connection.close()
    shared["NAME"] = "/nowhere/at/all" if on_sqlite() else "nowhere"
    try:
        answer = ask()
    finally:
        shared["NAME"] = name
        connection.close()
    assert answer.status_code == 200
    lines = [line for line in answer.content.decode().splitlines() if not line.startswith("#")]
    assert lines[0] == "tradingops_database_up 0.0"
    assert lines[1].startswith("tradingops_info")
    assert len(lines) == 2
