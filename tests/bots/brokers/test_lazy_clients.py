"""A console without keys pays for no venue's library: none is loaded before a venue is asked, and then only its narrow part."""

import os
import subprocess
import sys

CONSOLE = """
import importlib, sys
import django
django.setup()
import bots.tasks, bots.executor, tradingops.urls, tradingops.wsgi
from bots.brokers.factory import BrokerUnavailable, broker_for
from bots.workers.chores import CHORE_MODULES
for name in CHORE_MODULES:
    importlib.import_module(name)
for venue, is_live in (("kraken", True), ("alpaca", True), ("alpaca", False)):
    try:
        broker_for(venue, is_live=is_live)
    except BrokerUnavailable:
        continue
    raise SystemExit(f"there is a broker of {venue} without keys")
"""
ASK_ALPACA = """
from bots.brokers.alpaca import AlpacaBroker
from bots.brokers.outcomes import CallFailed
try:
    AlpacaBroker("http://127.0.0.1:9", "key", "secret", is_live=False)._client.ask("GET", "/clock", timeout_ms=2000)
except CallFailed as failed:
    if failed.failure.kind != "not_reached":
        raise
"""
TELL = "print(*sorted(name for name in sys.modules if name.split('.')[0] in ('alpaca', 'ccxt')))"


def loaded_after(*parts: str) -> list[str]:
    """Return which modules of the venues' libraries a fresh process has loaded after running these."""
    names = [f"ALPACA_API_{one}_{kind}" for one in ("KEY", "SECRET") for kind in ("LIVE", "PAPER")]
    # Empty rather than left out: a real variable wins over what a .env here may hold.
    keys = dict.fromkeys(["KRAKEN_API_KEY", "KRAKEN_API_SECRET", *names], "")
    settings = {"DJANGO_SETTINGS_MODULE": "tradingops.settings", "SECRET_KEY": "for this test alone " * 4}
    environ = {**os.environ, **keys, **settings}
    code = "\n".join([*parts, TELL])
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_console_without_keys_loads_neither_library() -> None:
    assert loaded_after(CONSOLE) == []


def test_asking_alpaca_loads_its_rest_layer_and_no_client_of_it() -> None:
    found = loaded_after(CONSOLE, ASK_ALPACA)
    assert "alpaca.common.rest" in found
    assert [one for one in found if not one.startswith(("alpaca.common", "alpaca._"))] == ["alpaca"]
