"""Bodies: small, flat, strict JSON, or a clean 422."""

import json
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tradingops.api.bodies import BYTES_MAX, DEPTH_MAX, KEYS_MAX, BodyError, parse


def code_of(body: bytes) -> str:
    with pytest.raises(BodyError) as caught:
        parse(body)
    return caught.value.code


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def with_names(count: int) -> bytes:
    return b"{" + b",".join(b'"%d":1' % number for number in range(count)) + b"}"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "not_json"),
        (b"{", "not_json"),
        (b'"never ends', "not_json"),
        (b'{"a": 1} x', "not_json"),
        (b"\xef\xbb\xbf{}", "not_json"),
        (b"\xff", "not_utf8"),
        (b'{"a": "\xed\xa0\x80"}', "not_utf8"),
        ('{"a": 1}'.encode("utf-16"), "not_utf8"),
        (b'{"a": NaN}', "not_finite"),
        (b'{"a": -Infinity}', "not_finite"),
        (b'{"a": 1e999}', "not_finite"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "not_finite"),
        (b'{"a": 1, "a": 2}', "name_twice"),
        (b'{"b": {"a": 1, "\\u0061": 2}}', "name_twice"),
        (b'{"a": "x\\u0000"}', "null_character"),
        (b'{"a\\u0000": 1}', "null_character"),
        (b'[["\\ud800"]]', "half_character"),
        (b'{"\\udfff": 1}', "half_character"),
    ],
)
def test_what_programs_could_read_differently_is_refused(body: bytes, code: str) -> None:
    assert code_of(body) == code


def test_whole_characters_written_as_two_halves_are_read() -> None:
    assert parse(b'"\\ud83d\\ude00"') == "\U0001f600"


def test_size_at_and_over_the_limit() -> None:
    body = b'"' + b"x" * (BYTES_MAX - 2) + b'"'
    assert len(parse(body)) == BYTES_MAX - 2
    assert code_of(body + b" ") == "body_too_large"


def test_depth_at_and_over_the_limit() -> None:
    parse(nested(DEPTH_MAX))
    assert code_of(nested(DEPTH_MAX + 1)) == "too_deep"
    assert code_of(b"[" * 60_000) == "too_deep"
    assert code_of(b'{"a":' * (DEPTH_MAX + 1)) == "too_deep"


def test_brackets_within_texts_are_no_depth() -> None:
    assert parse(b'["' + b"[{" * 100 + b'\\"[[[["]') == ["[{" * 100 + '"[[[[']


def test_names_at_and_over_the_limit() -> None:
    assert len(parse(with_names(KEYS_MAX))) == KEYS_MAX
    assert code_of(with_names(KEYS_MAX + 1)) == "too_many_names"
    several = b"[" + b",".join([with_names(400)] * 3) + b"]"
    assert code_of(several) == "too_many_names"


@pytest.mark.parametrize("piece", [b'\\"', b'"\\', b'"', b"\\\\", b'"a"', b"[]", b"{}"])
def test_largest_body_of_anything_is_judged_at_once(piece: bytes) -> None:
    body = (b'"' + piece * BYTES_MAX)[:BYTES_MAX]
    began_s = time.process_time()
    with pytest.raises(BodyError):
        parse(body)
    # Thousandths of a second where each character is looked at once; minutes where texts are tried again and again.
    assert time.process_time() - began_s < 5


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=5), inner, max_size=4),
    max_leaves=20,
)


def depth_of(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


@given(JSON)
def test_what_is_plain_comes_back_as_it_was(value: Any) -> None:
    assume(depth_of(value) <= DEPTH_MAX)
    assert parse(json.dumps(value).encode()) == value


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused_and_nothing_else(body: bytes) -> None:
    with suppress(BodyError):
        parse(body)
