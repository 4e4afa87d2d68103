"""Bodies that the API reads: small, flat JSON in UTF-8 that says each thing once. All else is refused before anything uses it."""

import json
import math
import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest
from ninja.parser import Parser
from ninja.types import DictStrAny

from tradingops.api.errors import Refused, reason

BYTES_MAX = 64 * 1024
DEPTH_MAX = 16
KEYS_MAX = 1_000
PLAIN_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)
JSON_TYPE = "application/json"
#: Texts, also one that never ends, and the brackets between them. Each character is looked at once.
TEXT_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)


class BodyError(ValueError):
    """A body that is not read. ``code`` says why; the message is for people and repeats nothing of the body."""

    def __init__(self, code: str, message: str, limit: object = "", actual: object = "") -> None:
        super().__init__(message)
        self.code, self.limit, self.actual = code, str(limit), str(actual)


class StrictParser(Parser):
    """Reads a body within the limits. Raises BodyError."""

    def parse_body(self, request: HttpRequest) -> DictStrAny:
        """Return the JSON of a request's body. Raises BodyError."""
        if request.content_type != JSON_TYPE:
            raise BodyError("content_type", f"Send JSON, with the header Content-Type: {JSON_TYPE}.")
        parsed: DictStrAny = parse(request.body)
        return parsed


def check_size(request: HttpRequest) -> None:
    """Return quietly when the body is not too large, before anything reads it. Raises Refused (422)."""
    # A body without a length is read as none at all. One whose length is no plain number is not worth a look.
    length = request.META.get("CONTENT_LENGTH") or "0"
    if PLAIN_LENGTH.fullmatch(length) and int(length) <= BYTES_MAX:
        return
    message = f"The body is larger than {BYTES_MAX} bytes."
    raise Refused(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        message,
        code="bad_input",
        reasons=[reason("body_too_large", message, str(BYTES_MAX))],
    )


def parse(body: bytes) -> Any:
    """Return what a body says. Raises BodyError."""
    if len(body) > BYTES_MAX:
        raise BodyError("body_too_large", f"The body is larger than {BYTES_MAX} bytes.", BYTES_MAX, len(body))
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BodyError("not_utf8", "The body is not UTF-8.") from error
    _check_depth(text)
    reading = _Reading()
    try:
        found = json.loads(
            text,
            object_pairs_hook=reading.pairs,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_whole,
        )
    except BodyError:
        raise
    except ValueError as error:
        raise BodyError("not_json", "The body is not JSON.") from error
    for one in _texts(found):
        _check_text(one)
    return found


class _Reading:
    """Counts the names of one body."""

    def __init__(self) -> None:
        self._names = 0

    def pairs(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        self._names += len(pairs)
        if self._names > KEYS_MAX:
            raise BodyError("too_many_names", f"The body has more than {KEYS_MAX} names.", KEYS_MAX)
        made = dict(pairs)
        if len(made) != len(pairs):
            raise BodyError("name_twice", "The body says one thing twice: a name is there more than once.")
        return made


def _check_depth(text: str) -> None:
    depth = 0
    for found in TEXT_OR_BRACKET.finditer(text):
        mark = found[0]
        depth += (mark in ("[", "{")) - (mark in ("]", "}"))
        if depth > DEPTH_MAX:
            raise BodyError("too_deep", f"The body is nested deeper than {DEPTH_MAX}.", DEPTH_MAX)


def _no_constant(text: str) -> Any:
    raise BodyError("not_finite", "NaN and Infinity are no numbers here.")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise BodyError("not_finite", "A number is too large.")
    return number


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise BodyError("not_finite", "A number is too large.") from error


def _texts(found: Any) -> Iterator[str]:
    """Yield every text and every name. The depth is bounded by now."""
    if isinstance(found, str):
        yield found
    elif isinstance(found, list):
        for one in found:
            yield from _texts(one)
    elif isinstance(found, dict):
        for name, one in found.items():
            yield name
            yield from _texts(one)


def _check_text(text: str) -> None:
    """Refuse what no database keeps. Raises BodyError."""
    if "\0" in text:
        raise BodyError("null_character", "A null character is not allowed.")
    # Halves of a character, which JSON can write and UTF-8 can't.
    if not text.isascii() and any("\ud800" <= one <= "\udfff" for one in text):
        raise BodyError("half_character", "Half a character is not allowed: a lone surrogate.")
