"""One request to Alpaca through alpaca-py's REST layer, and a sound answer or a CallFailed.

Only that layer (``alpaca.common.rest``) is used, loaded at the first request: the library's trading client costs seconds and
fifty megabytes more, sends money as floats, and raises on a word that it does not know after the order was placed. Its retries,
which would send an order again after a 429 or a 504, are off; each answer has a time by which it must be whole; and no figure
of an answer ever passes through a float.
"""

import importlib
import json
import sys
import threading
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NoReturn

import requests

from bots.brokers.one_shot import OneShotSession
from bots.brokers.outcomes import CallFailed, Failure, Kind, judge_alpaca

API_VERSION = "v2"
#: A longer number of requests left is none.
DIGITS_MAX = 6
_loading = threading.Lock()


def load_rest_client_class() -> type[Any]:
    """Return alpaca-py's REST client, without its trading and data clients."""
    with _loading:
        found: type[Any] = importlib.import_module("alpaca.common.rest").RESTClient
        return found


class ExactResponse(requests.Response):
    """An answer whose figures are read as they are written: whole numbers as int, all others as Decimal."""

    def json(self, **_: Any) -> Any:
        """Return the body's JSON. Raises ValueError for what is no JSON, NaN and Infinity among it."""
        return json.loads(self.content, parse_float=Decimal, parse_constant=_refuse_constant)


class AlpacaSession(OneShotSession):
    """The session under alpaca-py's client. ``timeout_s`` holds for the whole answer of the next request.

    ``left`` is how many requests the latest answer says are left in this minute.
    """

    timeout_s: float = 0
    left: int | None = None

    def request(self, method: Any, url: Any, *args: Any, **kwargs: Any) -> requests.Response:
        """Send one request, and read its answer exactly. Raises TooManyRedirects for an answer that sends us elsewhere."""
        self.left = None
        response = super().request(method, url, *args, timeout=self.timeout_s, **kwargs)
        said = response.headers.get("X-RateLimit-Remaining", "")
        self.left = int(said) if said.isascii() and said.isdigit() and len(said) <= DIGITS_MAX else None
        if 300 <= response.status_code < 400:
            # The library takes it for a success.
            raise requests.exceptions.TooManyRedirects(f"HTTP {response.status_code}")
        # Never guessed: the guess of a large answer's encoding takes seconds.
        response.encoding = "utf-8"
        response.__class__ = ExactResponse
        return response


class AlpacaClient:
    """A connection to one of Alpaca's hosts at ``base_url``. Nothing is opened before the first request.

    Threads may share one: each gets a connection of its own. ``on_ask`` is called before each request.
    """

    def __init__(self, base_url: str, key: str, secret: str, *, on_ask: Callable[[], None] = lambda: None) -> None:
        self._base_url = base_url
        self._key = key
        self._secret = secret
        self._on_ask = on_ask
        self._local = threading.local()

    def ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, str] | None = None,
        timeout_ms: int,
        version: str = API_VERSION,
    ) -> Any:
        """Send one request and return its answer's JSON, None for an answer without a body. Raises CallFailed.

        ``path`` begins with a slash and follows the version: ``/orders``.
        """
        rest = self._rest()
        rest._session.timeout_s = timeout_ms / 1000
        self._on_ask()
        before = sys.exc_info()[1]
        try:
            return rest._request(method, path, dict(params or body or {}), api_version=version)
        except Exception as error:
            # Once the request may have left, whatever comes up (a RecursionError on an odd body, too) leaves the outcome open.
            raise CallFailed(judge_alpaca(error, before)) from error

    @property
    def left(self) -> int | None:
        """Return how many requests are left in this minute, as the answer to this thread's latest one says; None: not known."""
        rest = getattr(self._local, "rest", None)
        return None if rest is None else rest._session.left

    def _rest(self) -> Any:
        rest = getattr(self._local, "rest", None)
        if rest is None:
            rest = load_rest_client_class()(self._base_url, self._key, self._secret, raw_data=True)
            # Not by its arguments: it takes 0 and an empty list for "the usual", which is three more times.
            rest._retry, rest._retry_codes, rest._session = 0, [], AlpacaSession()
            self._local.rest = rest
        return rest


def unsound(what: str) -> CallFailed:
    """Return the error for an answer in which ``what`` is missing or cannot be read."""
    return CallFailed(Failure(Kind.UNKNOWN, f"Alpaca's answer was no sound answer ({what} is missing)"))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no figure")
