"""Event streams: each event once and in order, whatever commits when; nothing for strangers; a bound on everything."""

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import Group, User
from django.db import connection, connections
from django.test import Client, RequestFactory
from django.utils import timezone
from pytest_django import Settings

from audit.models import OrderEvent
from safety.intents import Level
from safety.kill_switch import engage
from safety.permissions import VIEWER
from safety.sign_in_marks import SIGNED_IN_AT
from tests.audit.factories import NOON, order_event, write, write_fills
from tests.bots.builders import make_bot
from tests.conftest import CommittedDatabase, on_sqlite
from tests.tradingops.api.streams import Listening
from tests.workers.conftest import wait_until
from tradingops.api import stream, stream_hub
from tradingops.api.stream_hub import hub
from tradingops.api.stream_rows import Place

pytestmark = pytest.mark.usefixtures("committed_db", "quick")
TOKEN = "t" * 40
SOON_S = 30


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, settings: Settings, committed_db: CommittedDatabase) -> Iterator[None]:
    """Let the hub look often, and end with nobody listening."""
    monkeypatch.setattr(stream_hub, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(stream_hub, "CHECK_EVERY_S", 0.1)
    monkeypatch.setattr(stream, "HEARTBEAT_EVERY_S", 0.5)
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, worker_api_token=TOKEN)
    opened.clear()
    yield
    for one in opened:
        one.close()
    assert hub.count == 0
    for thread in threading.enumerate():
        if thread.name == "event streams":
            thread.join(SOON_S)


opened: list[Any] = []


def ask(last_id: str = "", query: str = "", client: Client | None = None, token: str | None = TOKEN) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if last_id:
        headers["Last-Event-ID"] = last_id
    answer = (client or Client()).get(f"/api/stream{query}", headers=headers)
    opened.append(answer)
    return answer


def listen(last_id: str = "", query: str = "", client: Client | None = None, token: str | None = TOKEN) -> Listening:
    answer = ask(last_id, query, client, token)
    assert answer.status_code == 200, answer.content
    listening = Listening(answer.streaming_content, answer.close)
    # From the first state on, the stream listens.
    listening.next("safety")
    return listening


def viewer() -> tuple[User, Client]:
    user = User.objects.create_user("viewer", is_staff=True)
    user.groups.add(Group.objects.get(name=VIEWER))
    client = Client()
    client.force_login(user)
    return user, client


def test_stream_tells_each_order_event_once_and_in_order() -> None:
    write_fills(3)
    listening = listen()
    write_fills(2, is_live=True)
    write_fills(3)
    told = listening.orders(5)
    assert [(one["is_live"], one["seq"]) for one in told] == [(1, 1), (1, 2), (0, 4), (0, 5), (0, 6)]
    assert listening.last_id == "2-6"
    write_fills(1)
    assert listening.orders(1)[0]["seq"] == 7


def test_stream_tells_what_the_table_says() -> None:
    listening = listen()
    write(order_event(reason="two\nlines\u2028and more"))
    told = listening.orders(1)[0]
    row = OrderEvent.objects.get()
    assert (told["id"], told["price"], told["amount"]) == (row.pk, "64123.5", "0.0125")
    assert (told["ts"], told["reason"]) == ("2026-01-31T12:00:00.000000Z", "two\nlines\u2028and more")
    assert told["details"] == {"fee": "0.26", "liquidity": "taker"}


def test_stream_tells_a_row_as_the_list_of_order_events_does() -> None:
    listening = listen()
    write(order_event(is_live=True, ts=NOON + timedelta(microseconds=1500)))
    listed = Client().get("/api/order-events", headers={"Authorization": f"Bearer {TOKEN}"}).json()["items"]
    assert listening.orders(1) == listed


def test_stream_goes_on_from_the_last_event_id() -> None:
    write_fills(2, is_live=True)
    write_fills(4)
    listening = listen("1-2")
    assert [(one["is_live"], one["seq"]) for one in listening.orders(3)] == [(1, 2), (0, 3), (0, 4)]
    write_fills(1)
    assert listening.orders(1)[0]["seq"] == 5
    assert listening.last_id == "2-5"


def test_heartbeat_moves_the_id_past_what_the_filter_left_out() -> None:
    listening = listen(query="?is_live=true")
    write_fills(3)
    while listening.next("heartbeat").id != "0-3":
        assert listening.last_id < "0-3"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [(0, 1), (0, 2), (1, 1), (1, 2)]),
        ("?bot_id=1", [(0, 1), (1, 1)]),
        ("?is_live=false", [(0, 1), (0, 2)]),
        ("?bot_id=2&is_live=1", [(1, 2)]),
    ],
)
def test_filters_leave_out_what_is_not_wanted(query: str, expected: list[tuple[int, int]]) -> None:
    listening = listen(query=query)
    for is_live in (False, True):
        write(order_event(bot_id=1, is_live=is_live), order_event(bot_id=2, is_live=is_live))
    assert [(one["is_live"], one["seq"]) for one in listening.orders(len(expected))] == expected


def test_reset_when_the_last_event_id_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "REPLAY_MAX", 5)
    write_fills(2, is_live=True)
    write_fills(4)
    assert len(listen("0-1").orders(5)) == 5
    answer = Listening(ask("0-0").streaming_content)
    told = next(iter(answer))
    assert (told.kind, told.data["reason"], told.id) == ("reset", "too_old", "2-4")
    write_fills(1)
    assert answer.orders(1)[0]["seq"] == 5


@pytest.mark.parametrize("unknown", ["3-4", "2-5", "-1-2", "2", "x", "2-4-6", "1" * 30 + "-1", "1-\u0662"])
def test_reset_when_the_last_event_id_is_not_known(unknown: str) -> None:
    write_fills(2, is_live=True)
    write_fills(4)
    told = next(iter(Listening(ask(unknown.encode().decode("latin-1")).streaming_content)))
    assert (told.kind, told.data["reason"], told.id) == ("reset", "not_known", "2-4")


def test_stream_tells_how_things_stand_and_each_change() -> None:
    bot, other = make_bot("one"), make_bot("two")
    answer = Listening(ask().streaming_content)
    assert answer.next("safety").data["trading_state"] == "active"
    assert [answer.next("bot").data["name"] for _ in range(2)] == ["one", "two"]
    engage(Level.HALTED, "a test", actor="test")
    halted = answer.next("safety").data
    assert (halted["trading_state"], halted["mode"]) == ("halted", "paper")
    assert "a test" in halted["reasons"]
    engage(Level.REDUCING, "one of them", actor="test", scope=f"bot:{bot.pk}")
    scopes = answer.next("safety").data["scopes"]
    assert scopes == [{"scope": f"bot:{bot.pk}", "state": "reducing", "reason": "one of them"}]
    other.status, other.revision = "running", other.revision + 1
    other.save()
    changed = answer.next("bot").data
    assert (changed["name"], changed["status"], changed["is_live"]) == ("two", "running", False)


def test_concurrent_commits_lose_nothing_and_double_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers on both chains at once, whose ids become visible out of order; a listener that stays, and one that comes back."""
    each, writers = 40, 4
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(each):
                write(
                    order_event(bot_id=number, is_live=turn % 2 == 0), order_event(bot_id=number, is_live=turn % 3 == 0)
                )
        except BaseException as error:
            failed.append(error)
            raise
        finally:
            connections.close_all()

    staying, total = listen(), 2 * each * writers
    threads = [threading.Thread(target=work, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    coming = listen("0-0")
    seen: list[Any] = []
    while len(seen) < total:
        seen += coming.orders(min(25, total - len(seen)))
        coming.close()
        coming = listen(coming.last_id)
    for thread in threads:
        thread.join(SOON_S)
    assert failed == []
    for told in (seen, staying.orders(total)):
        for is_live in (0, 1):
            seqs = [one["seq"] for one in told if one["is_live"] == is_live]
            assert seqs == list(range(1, len(seqs) + 1))


def test_caller_has_so_many_streams_and_all_together_have_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_hub, "LISTENERS_OF_CALLER_MAX", 2)
    monkeypatch.setattr(stream_hub, "LISTENERS_MAX", 3)
    _, client = viewer()
    mine = [listen(), listen()]
    refused = ask()
    assert (refused.status_code, refused["Retry-After"], refused.json()["code"]) == (429, "5", "too_many_requests")
    theirs = listen(client=client, token=None)
    refused = ask(client=client, token=None)
    assert (refused.status_code, refused["Retry-After"], refused.json()["code"]) == (503, "5", "full")
    mine[0].close()
    again = listen()
    for one in (mine[1], theirs, again):
        one.close()


def test_answer_that_is_never_begun_keeps_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = ask()
    assert hub.count == 1
    answer.close()
    assert hub.count == 0
    monkeypatch.setattr(stream_hub, "BEGIN_WITHIN_S", 0.1)
    staying = listen()
    lost = ask()
    wait_until(lambda: hub.count == 1, SOON_S, "the answer that nobody began to lose its place")
    assert lost.status_code == 200
    staying.close()


def test_without_token_or_right_nothing_is_told() -> None:
    assert ask(token=None).status_code == 401
    assert ask(token="wrong").status_code == 401
    user, client = viewer()
    user.groups.clear()
    assert ask(client=client, token=None).status_code == 403
    assert hub.count == 0


def log_out(user: User, client: Client) -> None:
    client.logout()


def deactivate(user: User, client: Client) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def lose_right(user: User, client: Client) -> None:
    user.groups.clear()


def change_password(user: User, client: Client) -> None:
    user.set_password("another")
    user.save()


def grow_old(user: User, client: Client) -> None:
    session = client.session
    session[SIGNED_IN_AT] = int((timezone.now() - timedelta(seconds=django_settings.SESSION_LIFE_S)).timestamp())
    session.save()


@pytest.mark.parametrize("lose", [log_out, deactivate, lose_right, change_password, grow_old])
def test_stream_ends_with_the_session(lose: Callable[[User, Client], None]) -> None:
    user, client = viewer()
    listening = listen(client=client, token=None)
    lose(user, client)
    assert listening.next("bye").data == {"reason": "not_allowed"}
    assert list(listening) == []


def test_stream_ends_with_its_token(settings: Settings) -> None:
    listening = listen()
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, worker_api_token="n" * 40)
    assert listening.next("bye").data == {"reason": "not_allowed"}


def test_stream_ends_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "LIFE_S", 0.5)
    listening = listen()
    assert listening.next("bye").data == {"reason": "over"}
    assert list(listening) == []


def test_stream_ends_when_the_process_stops() -> None:
    listening = listen()
    hub.stop_when(lambda: True)
    try:
        assert listening.next("bye").data == {"reason": "restarting"}
    finally:
        hub.stop_when(lambda: False)


def test_listener_that_falls_behind_comes_back_and_misses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_hub, "NEWS_KEPT_MAX", 50)
    monkeypatch.setattr(stream_hub, "NEWS_AT_ONCE_MAX", 10)
    idle, busy = listen(), listen()
    taken: list[Any] = []
    thread = threading.Thread(target=lambda: taken.extend(busy.orders(200)))
    thread.start()
    write_fills(200)
    thread.join(SOON_S)
    assert [one["seq"] for one in taken] == list(range(1, 201))
    assert idle.next("bye").data == {"reason": "too_slow"}
    assert idle.last_id == "0-0"
    assert [one["seq"] for one in listen("0-0").orders(200)] == list(range(1, 201))


def test_stream_without_database_says_so_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_hub, "SILENCE_S_MAX", 0.2)
    listening = listen()
    shared = connections.settings["default"]
    name = shared["NAME"]
    shared["NAME"] = "/nowhere/at/all" if on_sqlite() else "nowhere"
    try:
        assert listening.next("bye").data == {"reason": "no_database"}
    finally:
        shared["NAME"] = name


@pytest.mark.skipif("on_sqlite()", reason="SQLite has no list of connections")
def test_no_connection_is_held_between_two_looks(
    monkeypatch: pytest.MonkeyPatch, committed_db: CommittedDatabase
) -> None:
    monkeypatch.setattr(stream_hub, "LOOK_EVERY_S", 3600)
    listening = listen()

    def others() -> int:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
                [committed_db.name],
            )
            return int(cursor.fetchone()[0])

    wait_until(lambda: others() == 0, SOON_S, "all connections but this one to be gone")
    listening.close()


def test_send_to_a_client_that_takes_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "SEND_WITHIN_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        ours, _ = server.accept()
        with ours:
            request = RequestFactory().get("/api/stream")
            request.META["gunicorn.socket"] = ours
            stream.limit_sends(request)
            with pytest.raises(TimeoutError):
                ours.sendall(b"x" * 100_000_000)


def test_place_is_read_as_it_is_written() -> None:
    assert Place.parse(Place(12, 345).text) == Place(12, 345)
