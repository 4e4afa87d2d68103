"""One request to Kraken through ccxt, and a sound answer or a CallFailed.

ccxt signs, sends and reads; its exchange's own methods (``private_post_addorder``…) are used rather than the unified ones,
since these make floats of money, cut amounts silently and read answers that are none. It is loaded at the first request,
and without the hundred other exchanges: no process that asks Kraken nothing pays for it.
"""

import base64
import binascii
import importlib
import importlib.util
import logging
import sys
import threading
import types
from collections.abc import Mapping
from decimal import localcontext
from typing import Any

from bots.brokers.one_shot import OneShotSession
from bots.brokers.outcomes import CallFailed, Failure, Kind, judge

# ccxt's own logger prints keys and signatures at DEBUG, whatever the settings say today.
_SILENT = logging.Logger("ccxt.silent", logging.CRITICAL + 1)
_loading = threading.Lock()


def load_exchange_class() -> type[Any]:
    """Return ccxt's class for Kraken, without importing the package's other exchanges."""
    with _loading:
        if "ccxt" not in sys.modules:
            spec = importlib.util.find_spec("ccxt")
            if spec is None or spec.submodule_search_locations is None:
                raise ImportError("ccxt is not installed")
            # A bare package: its own __init__ would load every exchange, a second and 70 MB.
            package = types.ModuleType("ccxt")
            package.__path__ = list(spec.submodule_search_locations)
            package.__spec__ = spec
            sys.modules["ccxt"] = package
        # Its import, and some of its calls, set rounding and traps of the thread's decimal context for everybody.
        with localcontext():
            found: type[Any] = importlib.import_module("ccxt.kraken").kraken
        return found


class KrakenClient:
    """A connection to Kraken's REST interface at ``base_url``. Nothing is opened before the first request.

    Public requests may come from several threads. Private ones have to come one at a time: see the signer.
    """

    def __init__(self, base_url: str, key: str = "", secret: str = "") -> None:
        self.base_url = base_url
        self._key = key
        self._secret = secret
        self._public = threading.local()
        self._private: Any = None

    def public(self, method: str, params: Mapping[str, str], *, timeout_ms: int) -> dict[str, Any]:
        """Ask a public endpoint, such as ``get_ticker``; return its ``result``. Raises CallFailed."""
        exchange = getattr(self._public, "exchange", None)
        if exchange is None:
            exchange = self._public.exchange = self._open()
        return _call(exchange, f"public_{method}", params, timeout_ms)

    def private(self, method: str, params: Mapping[str, str], *, nonce: int, timeout_ms: int) -> dict[str, Any]:
        """Ask a private endpoint, such as ``post_addorder``, with this nonce; return its ``result``. Raises CallFailed."""
        if self._private is None:
            self._private = self._open()
        self._private.incrementing_nonce = lambda: nonce
        return _call(self._private, f"private_{method}", params, timeout_ms)

    def currency_code(self, name: str) -> str:
        """Return the usual name of a currency that Kraken calls ``name``: XBT is BTC, XDG is DOGE."""
        exchange = getattr(self._public, "exchange", None)
        if exchange is None:
            exchange = self._public.exchange = self._open()
        return str(exchange.safe_currency_code(name))

    def _open(self) -> Any:
        with localcontext():
            exchange = load_exchange_class()(
                {"apiKey": self._key, "secret": self._secret, "enableRateLimit": False, "session": OneShotSession()}
            )
        exchange.urls["api"] = {"public": self.base_url, "private": self.base_url}
        exchange.options["maxRetriesOnFailure"] = 0
        exchange.logger = _SILENT
        return exchange


def check_secret(secret: str) -> None:
    """Return quietly when ``secret`` can sign. Raises CallFailed."""
    try:
        base64.b64decode(secret, validate=True)
    except (binascii.Error, ValueError):
        reason = "KRAKEN_API_SECRET is not a secret of Kraken: copy it again, whole, and restart"
        raise CallFailed(Failure(Kind.KEY, reason, is_local=True)) from None


def _call(exchange: Any, method: str, params: Mapping[str, str], timeout_ms: int) -> dict[str, Any]:
    exchange.timeout = timeout_ms
    # What ccxt keeps of the last answer must never be read as the answer to this request.
    exchange.last_http_response = None
    before = sys.exc_info()[1]
    try:
        with localcontext():
            answer = getattr(exchange, method)(dict(params))
    except Exception as error:
        # Once the request may have left, whatever ccxt raises (an IndexError on an odd body, too) leaves the outcome open.
        raise CallFailed(judge(error, before)) from error
    result = answer.get("result") if isinstance(answer, dict) else None
    # ccxt raises nothing for a page of HTML, an empty body or half a JSON under HTTP 200.
    if not isinstance(result, dict) or answer.get("error") not in ([], None):
        raise CallFailed(Failure(Kind.UNKNOWN, "Kraken's answer was no sound answer (a page, or cut off)"))
    return result
