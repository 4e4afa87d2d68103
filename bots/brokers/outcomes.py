"""What a failed request means: one table per venue. Whether the venue surely did nothing decides between REJECTED and UNKNOWN.

ccxt's classes mix definite refusals with unknown outcomes (InvalidNonce is a NetworkError there, like a timeout), so each failure
is judged by the venue's own words first and by the class's name only where there are none. Alpaca's HTTP status alone says too
little, so its code and its words are read too. What is not in a table is UNKNOWN. docs/venues.md shows both tables to people.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What kind of failure it was. Only UNKNOWN and DUPLICATE leave open whether an order stands at the venue."""

    KEY = "key"
    RIGHTS = "rights"
    NONCE = "nonce"
    RATE = "rate"
    LOCKOUT = "lockout"
    MODE = "mode"
    FUNDS = "funds"
    ORDER = "order"
    LATE = "late"
    GONE = "gone"
    DUPLICATE = "duplicate"
    NOT_REACHED = "not_reached"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed request: its kind, and a sentence for people that holds no secret.

    ``is_local``: nothing was sent, and the "no" is our own. The venue has refused nothing.
    """

    kind: Kind
    reason: str
    is_local: bool = False

    @property
    def is_definite(self) -> bool:
        """Return whether the venue surely did nothing of what it was asked."""
        return self.kind not in {Kind.UNKNOWN, Kind.DUPLICATE}


class CallFailed(Exception):
    """A request to a venue failed; ``failure`` says how."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.reason)


#: Part of what Kraken writes, what it means, and how to say it. The first row that fits an error counts.
KRAKEN: tuple[tuple[str, Kind, str], ...] = (
    ("cl_ord_id not unique", Kind.DUPLICATE, "Kraken has an open order with this id already"),
    ("EAPI:Invalid key", Kind.KEY, "Kraken does not accept the API key"),
    ("EAPI:Invalid signature", Kind.KEY, "Kraken does not accept the signature: the API secret is wrong"),
    ("EGeneral:Permission denied", Kind.RIGHTS, "the API key has no right to do this"),
    ("EAPI:Invalid nonce", Kind.NONCE, "Kraken refused the request's number: something else may be using this API key"),
    ("Rate limit exceeded", Kind.RATE, "Kraken wants fewer requests"),
    ("Temporary lockout", Kind.LOCKOUT, "Kraken locked the API key out for a while, usually for 15 minutes"),
    ("EGeneral:Too many requests", Kind.RATE, "Kraken wants fewer requests"),
    ("EService:Throttled", Kind.RATE, "Kraken wants fewer requests"),
    ("cancel_only mode", Kind.MODE, "Kraken takes nothing but cancels now"),
    ("post_only mode", Kind.MODE, "Kraken takes only orders that rest now"),
    ("Insufficient funds", Kind.FUNDS, "the account does not hold enough for this order"),
    ("EOrder:Unknown order", Kind.GONE, "Kraken has no such open order"),
    ("Deadline elapsed", Kind.LATE, "the order reached Kraken after its deadline"),
    ("Order minimum not met", Kind.ORDER, "the order is below Kraken's minimum quantity"),
    ("Cost minimum not met", Kind.ORDER, "the order is below Kraken's minimum value"),
    ("Tick size check failed", Kind.ORDER, "the price does not fit Kraken's price steps"),
    ("Orders limit exceeded", Kind.ORDER, "the account has too many open orders at Kraken"),
    ("Post only order", Kind.ORDER, "the order would have traded at once, which post-only forbids"),
    ("EOrder:Invalid order", Kind.ORDER, "Kraken calls the order invalid"),
    ("EOrder:Invalid price", Kind.ORDER, "Kraken calls the price invalid"),
    ("EGeneral:Invalid arguments", Kind.ORDER, "Kraken does not accept a part of the request"),
    ("EQuery:Unknown asset pair", Kind.ORDER, "Kraken does not know the symbol"),
    ("EQuery:Invalid asset pair", Kind.ORDER, "Kraken does not know the symbol"),
    ("EService:Unavailable", Kind.UNKNOWN, "Kraken says that it is not available"),
    ("EService:Busy", Kind.UNKNOWN, "Kraken says that it is busy"),
    ("EGeneral:Internal error", Kind.UNKNOWN, "Kraken reports an error of its own"),
)
#: Names of ccxt's exceptions, for failures without a word of the venue. Any other class is UNKNOWN.
CLASSES: dict[str, tuple[Kind, str]] = {
    "RateLimitExceeded": (Kind.RATE, "Kraken wants fewer requests (HTTP 429)"),
    "RequestTimeout": (Kind.UNKNOWN, "Kraken did not answer in time"),
    "ExchangeNotAvailable": (Kind.UNKNOWN, "Kraken's server answered with an error"),
    "NetworkError": (Kind.UNKNOWN, "the connection to Kraken broke"),
}
#: What Alpaca answers, what it means, and how to say it: HTTP status, its own code (None: any, or none), part of its message.
#: The first row that fits counts; only an answer in Alpaca's own JSON fits one.
ALPACA: tuple[tuple[int, int | None, str, Kind, str], ...] = (
    (422, None, "client_order_id", Kind.DUPLICATE, "Alpaca has an order with this id already"),
    (401, None, "", Kind.KEY, "Alpaca does not accept the API key"),
    (403, None, "forbidden.", Kind.KEY, "Alpaca does not accept the API key here"),
    (403, 40310000, "insufficient buying power", Kind.FUNDS, "the account does not hold enough cash for this order"),
    (403, 40310000, "insufficient qty", Kind.FUNDS, "the account does not hold enough shares for this order"),
    (403, 40310000, "not fractionable", Kind.ORDER, "Alpaca trades this symbol in whole shares only"),
    (
        403,
        40310000,
        "wash trade",
        Kind.ORDER,
        "an opposite order of the account rests, and both could trade with each other",
    ),
    (403, 40310000, "", Kind.ORDER, "Alpaca refuses the order"),
    (403, 40310100, "", Kind.ORDER, "Alpaca refuses the order by its rules on day trading"),
    (404, 40410000, "", Kind.GONE, "Alpaca has no such order or position"),
    (422, 42210000, "", Kind.ORDER, "Alpaca calls the order or the request invalid"),
    (422, 40010001, "", Kind.ORDER, "Alpaca does not accept a part of the request"),
)
#: What an HTTP status of Alpaca means by itself, whatever the body is.
ALPACA_STATUSES: dict[int, tuple[Kind, str]] = {
    429: (Kind.RATE, "Alpaca wants fewer requests"),
    408: (Kind.UNKNOWN, "Alpaca's server gave up waiting"),
    504: (Kind.UNKNOWN, "Alpaca did not answer its own server in time"),
}
#: Names of requests' exceptions on the way to Alpaca. Any other class is UNKNOWN.
ALPACA_CLASSES: dict[str, tuple[Kind, str]] = {
    "Timeout": (Kind.UNKNOWN, "Alpaca did not answer in time"),
    "TooManyRedirects": (Kind.UNKNOWN, "Alpaca's server pointed elsewhere, which is not followed"),
    "ConnectionError": (Kind.UNKNOWN, "the connection to Alpaca broke"),
}
SAID_CHARS_MAX = 200
#: Names of urllib3's exceptions that come before the first byte of a request has left.
NEVER_CONNECTED = frozenset({"NewConnectionError", "ConnectTimeoutError", "NameResolutionError"})
_VENUE_ERROR = re.compile(r'"(E[A-Za-z]+:[^"]{1,200})"')


def judge(error: BaseException, before: BaseException | None = None) -> Failure:
    """Return what ``error``, raised by ccxt or on the way to the venue, means for what was asked.

    ``before`` is what was being handled already when it was asked: it says nothing of this question.
    """
    said = _VENUE_ERROR.findall(str(error))
    if said:
        return judge_texts(said)
    return _judge_class(error, "Kraken", CLASSES, before)


def judge_alpaca(error: BaseException, before: BaseException | None = None) -> Failure:
    """Return what ``error``, raised by alpaca-py or on the way to the venue, means; ``before`` as for ``judge``."""
    status = getattr(error, "status_code", None)
    # Only an APIError has a status. Its own ``code`` and ``message`` raise on a body without them: the text is read here.
    if isinstance(status, int):
        return judge_alpaca_answer(status, str(error))
    return _judge_class(error, "Alpaca", ALPACA_CLASSES, before)


def judge_alpaca_answer(status: int, body: str) -> Failure:
    """Return what a refusal of Alpaca means, by its HTTP status and its body."""
    said = _alpaca_said(body)
    if said is not None:
        code, message = said
        for row_status, row_code, part, kind, sentence in ALPACA:
            if status == row_status and row_code in (None, code) and part in message:
                return Failure(kind, f"{sentence} ({message[:SAID_CHARS_MAX] or f'HTTP {status}'})")
    if status in ALPACA_STATUSES:
        kind, sentence = ALPACA_STATUSES[status]
        return Failure(kind, f"{sentence} (HTTP {status})")
    message = "" if said is None else f": {said[1][:SAID_CHARS_MAX]}"
    return Failure(
        Kind.UNKNOWN, f"Alpaca's server answered with an error that is not known here (HTTP {status}{message})"
    )


def _alpaca_said(body: str) -> tuple[int | None, str] | None:
    """Return the code and the message of an error in Alpaca's own JSON, or None for any other body."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("message"), str):
        return None
    code = found.get("code")
    return (code if type(code) is int else None), found["message"]


def _judge_class(
    error: BaseException, venue: str, classes: Mapping[str, tuple[Kind, str]], before: BaseException | None
) -> Failure:
    if NEVER_CONNECTED.intersection(type(one).__name__ for one in _causes(error, before)):
        return Failure(Kind.NOT_REACHED, f"{venue} could not be reached: nothing was sent")
    # The most special class first: ccxt's RequestTimeout is a NetworkError too.
    for parent in type(error).__mro__:
        if parent.__name__ in classes:
            return Failure(*classes[parent.__name__])
    return Failure(Kind.UNKNOWN, f"the answer of {venue} could not be understood ({type(error).__name__})")


def judge_texts(said: Iterable[str]) -> Failure:
    """Return what Kraken's own error texts mean. One text that leaves the outcome open is enough to leave it open."""
    found = [_judge_text(text) for text in said]
    return next((one for one in found if not one.is_definite), found[0])


def _judge_text(text: str) -> Failure:
    for part, kind, sentence in KRAKEN:
        if part in text:
            return Failure(kind, f"{sentence} ({text})")
    return Failure(Kind.UNKNOWN, f"Kraken answered with an error that is not known here ({text})")


def _causes(error: BaseException, before: BaseException | None) -> list[BaseException]:
    """Return an error with everything it came from; requests keeps urllib3's errors as arguments and ``reason``.

    Python hangs what was being handled ``before`` the question onto every error that it raises meanwhile. An older connection
    that never stood up must not make an order that may have left look as if nothing was sent.
    """
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting and len(found) < 50:
        one = waiting.pop()
        if isinstance(one, BaseException) and one is not before and one not in found:
            found.append(one)
            waiting += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return found
