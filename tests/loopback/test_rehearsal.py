"""The rehearsal: what its page does to the venues, what outlasts a restart, and that nothing real gets into it."""

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest
import requests

from tests.loopback.client import AlpacaLoopback, DiscordLoopback, KrakenLoopback
from tests.loopback.rehearsal import exercises
from tests.loopback.rehearsal.acts import ActError, Acts
from tests.loopback.rehearsal.desk import Desk
from tests.loopback.rehearsal.drift import Drift
from tests.loopback.rehearsal.exercises import EXERCISES, going_on
from tests.loopback.rehearsal.places import PROJECT, Places, Ports, console_variables, process_environ, write_env_file
from tests.loopback.rehearsal.saved import Keeper, restore, taken
from tests.loopback.rehearsal.venues import Venues, start_venues
from tradingops.environment import VARIABLE_NAMES, load_environment

ANY_PORTS = Ports(0, 0, 0, 0, 0, 0, 0)
START_S, STOP_S = 150.0, 30.0


@pytest.fixture
def venues() -> Iterator[Venues]:
    found = start_venues(ANY_PORTS)
    yield found
    found.close()


@pytest.fixture
def drift(venues: Venues) -> Drift:
    return Drift(venues, seed=1)


@pytest.fixture
def acts(venues: Venues, drift: Drift) -> Acts:
    return Acts(venues, drift)


def kraken_of(venues: Venues) -> KrakenLoopback:
    return KrakenLoopback(venues.kraken.url)


def alpaca_of(venues: Venues) -> AlpacaLoopback:
    return AlpacaLoopback(venues.alpaca.live.url, venues.alpaca.paper.url, venues.alpaca.data.url)


# What the buttons do.


def test_price_that_was_put_goes_on_from_there(venues: Venues, drift: Drift, acts: Acts) -> None:
    acts.do("price", {"symbol": "BTC/USD", "price": "70000"})
    acts.do("price", {"symbol": "AAPL", "percent": "5"})
    for _ in range(5):
        drift.step()
    bid, ask = drift.prices("BTC/USD")
    assert 69_000 < bid < ask < 71_000
    assert 238 < drift.prices("AAPL")[0] < 245


def test_prices_move_the_same_way_for_the_same_seed() -> None:
    seen = []
    for seed in (7, 7, 8):
        venues = start_venues(ANY_PORTS)
        moved = Drift(venues, seed)
        for _ in range(3):
            moved.step()
        seen.append([moved.prices(name) for name in moved.symbols])
        venues.close()
    assert seen[0] == seen[1] != seen[2]


@pytest.mark.parametrize(
    ("venue", "symbol"), [("kraken", "BTC/USD"), ("alpaca-live", "AAPL"), ("alpaca-paper", "AAPL")]
)
def test_order_by_hand_is_filled_and_cancelled_by_hand(venues: Venues, acts: Acts, venue: str, symbol: str) -> None:
    acts.do("place", {"venue": venue, "symbol": symbol, "side": "buy", "quantity": "0.1", "price": "50"})
    account = kraken_of(venues) if venue == "kraken" else getattr(alpaca_of(venues), venue.removeprefix("alpaca-"))
    (order_id,) = account.orders()
    told = acts.do("fill", {"venue": venue, "order": order_id, "part": "half"})
    assert told.startswith("0.05")
    acts.do("cancel", {"venue": venue, "order": order_id})
    (order,) = account.orders().values()
    assert order["status"] == "canceled"
    assert Decimal(order.get("vol_exec") or order["filled_qty"]) == Decimal("0.05")
    with pytest.raises(ActError, match="The venue says no"):
        acts.do("cancel", {"venue": venue, "order": order_id})


def test_money_comes_and_goes(venues: Venues, acts: Acts) -> None:
    for venue in ("kraken", "alpaca-live"):
        acts.do("money", {"venue": venue, "amount": "250"})
        acts.do("money", {"venue": venue, "amount": "-50"})
    assert Decimal(kraken_of(venues).balances()["ZUSD"]) == 10_200
    assert Decimal(alpaca_of(venues).live.cash()) == 100_200


@pytest.mark.parametrize(
    ("act", "form"),
    [
        ("nothing", {}),
        ("price", {"symbol": "XYZ", "price": "1"}),
        ("price", {"symbol": "AAPL", "price": "x"}),
        ("price", {"symbol": "AAPL", "price": "-1"}),
        ("money", {"venue": "kraken", "amount": "-1000000"}),
        ("money", {"venue": "bank", "amount": "1"}),
        ("place", {"venue": "alpaca-live", "symbol": "AAPL", "side": "buy", "quantity": "1000000"}),
        ("fill", {"venue": "kraken", "order": "none", "part": "all"}),
        ("strike", {"exercise": "invalid_nonce", "venue": "alpaca-live"}),
        ("strike", {"exercise": "none", "venue": "kraken"}),
    ],
)
def test_what_cannot_be_done_is_said(acts: Acts, act: str, form: dict[str, str]) -> None:
    with pytest.raises(ActError):
        acts.do(act, form)


# What goes wrong.


@pytest.mark.parametrize("exercise", [one.id for one in EXERCISES])
def test_exercise_is_said_to_go_on_until_it_is_cleared(venues: Venues, drift: Drift, acts: Acts, exercise: str) -> None:
    one = exercises.BY_ID[exercise]
    assert going_on(venues) == []
    for venue in one.venues:
        assert one.says in acts.do("strike", {"exercise": exercise, "venue": venue})
        assert going_on(venues) or drift.prices("AAPL") == (0, 0)
    acts.do("clear", {})
    assert going_on(venues) == []


def test_quote_of_zero_stays_until_the_price_is_put_back(drift: Drift, acts: Acts) -> None:
    acts.do("strike", {"exercise": "zero_quote", "venue": "alpaca-paper"})
    drift.step()
    assert drift.prices("AAPL") == (0, 0)
    acts.do("price", {"symbol": "AAPL", "percent": "1"})
    drift.step()
    assert drift.prices("AAPL")[0] > 220


def test_order_exercise_strikes_the_next_order_and_no_other(venues: Venues, acts: Acts) -> None:
    acts.do("strike", {"exercise": "server_error", "venue": "alpaca-live"})
    account = alpaca_of(venues).live
    headers = {"APCA-API-KEY-ID": account.key, "APCA-API-SECRET-KEY": account.secret}
    body = {"symbol": "AAPL", "side": "buy", "qty": "1", "type": "market", "time_in_force": "day"}
    requests.get(f"{account.url}/v2/account", headers=headers, timeout=10)
    answers = [requests.post(f"{account.url}/v2/orders", json=body, headers=headers, timeout=10) for _ in range(2)]
    assert [one.status_code for one in answers] == [502, 200]
    assert len(account.orders()) == 2


# What outlasts a restart.


def test_books_keys_and_prices_outlast_a_restart(venues: Venues, drift: Drift, tmp_path: Path) -> None:
    kraken, alpaca = kraken_of(venues), alpaca_of(venues)
    drift.step()
    kraken.place("buy", "0.01")
    resting = kraken.place("buy", "0.01", price="50000")
    alpaca.live.place("buy", "1.5")
    alpaca.paper.activity("CSD", "10")
    file = tmp_path / "venues.bin"
    Keeper(venues, file).save()
    assert file.stat().st_mode & 0o077 == 0
    again = start_venues(ANY_PORTS)
    try:
        restore(again, file.read_bytes())
        kraken_again, alpaca_again = kraken_of(again), alpaca_of(again)
        assert kraken_again.orders() == kraken.orders()
        assert kraken_again.balances() == kraken.balances()
        assert (kraken_again.key, kraken_again.secret) == (kraken.key, kraken.secret)
        assert alpaca_again.live.orders() == alpaca.live.orders()
        assert alpaca_again.live.positions() == {"AAPL": "1.5"}
        assert alpaca_again.paper.cash() == "100010"
        assert set(alpaca_again.environ().values()) >= {alpaca.live.key, alpaca.paper.secret}
        assert Drift(again, 1).prices("AAPL") == drift.prices("AAPL")
        kraken_again.fill(resting, "0.01")
        assert taken(again) != file.read_bytes()
    finally:
        again.close()


@pytest.mark.parametrize(
    "data", [b"", b"nonsense", pickle.dumps({"kraken": {}}), pickle.dumps(Random), pickle.dumps([1])]
)
def test_damaged_or_foreign_file_is_refused(venues: Venues, data: bytes) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        restore(venues, data)


def test_books_without_venues_are_told_and_forgotten_together(tmp_path: Path) -> None:
    places = Places(tmp_path)
    assert places.problem() == ""
    places.console.mkdir()
    places.database.touch()
    assert "FRESH=1" in places.problem()
    places.venues.touch()
    assert places.problem() == ""
    places.forget()
    assert list(tmp_path.iterdir()) == []


# Nothing real.


def test_console_of_a_rehearsal_reads_nothing_but_its_own_file(venues: Venues, tmp_path: Path) -> None:
    real = {
        "KRAKEN_API_KEY": "real", "EMAIL_URL": "smtp://real.example.org", "HEARTBEAT_URL": "https://real.example.org",
        "DATABASE_URL": "postgres://real/db", "KRAKEN_BASE_URL": "https://api.kraken.com", "PATH": "/bin", "PORT": "1",
    }  # fmt: skip
    places = Places(tmp_path)
    write_env_file(places, console_variables(places, Ports.from_first(8010), venues.environ(), real))
    environ = process_environ(places, real)
    assert not set(environ) & set(VARIABLE_NAMES)
    found = load_environment(PROJECT, places.console, environ)
    assert found.is_rehearsal
    assert all(endpoint.is_loopback for endpoint in found.endpoints.values())
    assert (found.kraken_api_key, found.email_url, found.heartbeat_url) == (kraken_of(venues).key, None, None)
    assert found.discord_webhook_url == DiscordLoopback(venues.discord.url).webhook_url
    assert str(places.database) in found.database_url.url
    assert (found.port, found.allow_live_trading.is_open, found.live_trading_enabled.is_open) == (8010, True, True)
    assert "real" not in "".join(environ.values()) + places.env_file.read_text()


@pytest.fixture
def desk(venues: Venues, drift: Drift) -> Iterator[str]:
    found = Desk(venues, drift, ("127.0.0.1", 0), "http://127.0.0.1:1/")
    found.start()
    yield f"http://127.0.0.1:{found.port}"
    found.close()


def test_page_shows_the_venues_and_what_a_button_did(venues: Venues, desk: str) -> None:
    kraken_of(venues).place("buy", "0.01", price="50000")
    answer = requests.post(f"{desk}/money", data={"venue": "kraken", "amount": "<b>"}, timeout=10)
    assert answer.status_code == 200
    assert "A number is needed for amount." in answer.text
    assert "placed by hand" in answer.text
    assert "<b>" not in requests.get(f"{desk}/?told=<b>", timeout=10).text
    assert requests.get(f"{desk}/other", timeout=10).status_code == 404


def test_page_refuses_the_form_of_another_page(venues: Venues, desk: str) -> None:
    form = {"venue": "kraken", "amount": "5"}
    foreign = requests.post(f"{desk}/money", data=form, headers={"Origin": "http://example.org"}, timeout=10)
    own = requests.post(f"{desk}/money", data=form, headers={"Origin": desk}, timeout=10)
    assert (foreign.status_code, own.status_code) == (403, 200)
    assert Decimal(kraken_of(venues).balances()["ZUSD"]) == 10_005


def test_page_answers_to_no_name_that_leads_here(venues: Venues, desk: str) -> None:
    named = {"Host": f"evil.example:{desk.rpartition(':')[2]}"}
    pressed = requests.post(
        f"{desk}/money",
        data={"venue": "kraken", "amount": "5"},
        headers={**named, "Origin": f"http://{named['Host']}"},
        timeout=10,
    )
    assert (pressed.status_code, requests.get(f"{desk}/", headers=named, timeout=10).status_code) == (403, 403)
    assert requests.get(desk.replace("127.0.0.1", "localhost"), timeout=10).status_code == 200
    assert Decimal(kraken_of(venues).balances()["ZUSD"]) == 10_000


def test_venue_takes_orders_of_a_test_and_not_of_a_website(venues: Venues) -> None:
    url = f"{venues.kraken.url}/_control/deposit"
    asked = {"asset": "ZUSD", "amount": "5"}
    foreign = requests.post(url, json=asked, headers={"Origin": "http://example.org"}, timeout=10)
    assert (foreign.status_code, requests.get(url, json=asked, timeout=10).status_code) == (403, 403)
    assert Decimal(kraken_of(venues).balances()["ZUSD"]) == 10_000


def test_it_needs_nothing_but_what_the_console_needs() -> None:
    """``make rehearse`` installs the runtime requirements alone."""
    loads = (
        "import sys, tests.loopback.rehearsal.__main__, tests.loopback.rehearsal.seed, tests.loopback.rehearsal.manage"
    )
    tools = "pytest", "_pytest", "hypothesis", "playwright", "time_machine", "ccxt", "alpaca"
    program = f"{loads}; print([name for name in {tools} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# All of it.


def free_ports() -> int:
    """Return the first of seven free ports in a row, below those that the system hands out by itself."""
    for _ in range(100):
        first = Random(os.getpid() + time.monotonic_ns()).randrange(20_000, 28_000)
        if all(_is_free(port) for port in range(first, first + 7)):
            return first
    raise TimeoutError("no seven free ports in a row")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _processes_with(text: str) -> list[int]:
    """Return the processes that have this text in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environ = (process / "environ").read_bytes()
        except OSError:
            continue
        if text.encode() in environ:
            found.append(int(process.name))
    return found


@pytest.mark.slow
@pytest.mark.workers
@pytest.mark.timeout(400)
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc")
def test_rehearsal_starts_trades_and_ends_with_no_process_left(tmp_path: Path) -> None:
    """As a person does it: start, wait for the console, see a bot buy on paper at Alpaca, Ctrl-C."""
    first = free_ports()
    command = [sys.executable, "-m", "tests.loopback.rehearsal", "--port", str(first), "--var", str(tmp_path)]
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("TRADINGOPS_", "DJANGO_"))}
    with (
        (tmp_path / "said").open("w") as said,
        subprocess.Popen(
            command, cwd=PROJECT, env=environ, stdout=said, stderr=said, start_new_session=True
        ) as process,
    ):
        try:
            _wait(process, lambda: _answers(f"http://127.0.0.1:{first}/api/health"), tmp_path / "said")
            assert _answers(f"http://127.0.0.1:{first + 1}/")
            paper = f"http://127.0.0.1:{first + 4}"
            _wait(process, lambda: _has_orders(paper), tmp_path / "said")
            process.send_signal(signal.SIGINT)
            assert process.wait(STOP_S) == 0
        finally:
            process.kill()
    assert _processes_with(f"{tmp_path}/rehearsal") == []
    assert Places(tmp_path).venues.exists()


def _has_orders(url: str) -> bool:
    request = urllib.request.Request(f"{url}/_control/orders", b"{}", method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return bool(answer.read() != b"{}")


def _wait(process: subprocess.Popen[bytes], ask: Callable[[], bool], said: Path) -> None:
    give_up_at = time.monotonic() + START_S
    while not ask():
        if process.poll() is not None or time.monotonic() > give_up_at:
            raise TimeoutError(said.read_text()[-3000:])
        time.sleep(0.3)
