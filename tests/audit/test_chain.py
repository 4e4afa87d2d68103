"""The canonical form and the walk along a chain, without a database."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.chain import (
    FORMS,
    OPERATOR_COLUMNS,
    ORDER_COLUMNS,
    Blank,
    Chain,
    Walker,
    canonical_bytes,
    genesis,
    operator_json,
    order_json,
    row_hash,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
MAYBE_TEXTS = st.none() | TEXTS
WHOLE = st.integers(min_value=0, max_value=2**62)
SPECIAL = {
    "amount": MAYBE_TEXTS,
    "price": MAYBE_TEXTS,
    "bot_id": st.none() | WHOLE,
    "is_live": st.integers(0, 1),
    "seq": WHOLE,
}


def rows_of(columns: tuple[str, ...]) -> st.SearchStrategy[list[Any]]:
    """Return a strategy for the values of one row."""
    return st.tuples(*(SPECIAL.get(column, TEXTS) for column in columns)).map(list)


def plain_json(columns: tuple[str, ...], values: list[Any]) -> str:
    """Return what the documentation asks for, written the slow and obvious way."""
    return json.dumps(
        dict(zip(columns, values, strict=True)), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )


def chained(count: int) -> list[list[Any]]:
    """Return the rows of a sound paper chain as Walker takes them: id, hash, values."""
    last, rows = genesis(Chain.PAPER), []
    for seq in range(1, count + 1):
        values: list[Any] = ["x"] * len(ORDER_COLUMNS)
        values[ORDER_COLUMNS.index("seq")], values[ORDER_COLUMNS.index("prev_hash")] = seq, last
        values[ORDER_COLUMNS.index("is_live")], values[ORDER_COLUMNS.index("bot_id")] = 0, None
        last = row_hash(Chain.PAPER, values)
        rows.append([100 + seq, last, *values])
    return rows


@given(rows_of(ORDER_COLUMNS))
def test_canonical_form_of_an_order_event_is_plain_sorted_json(values: list[Any]) -> None:
    assert order_json(values) == plain_json(ORDER_COLUMNS, values)


@given(rows_of(OPERATOR_COLUMNS))
def test_canonical_form_of_an_operator_event_is_plain_sorted_json(values: list[Any]) -> None:
    assert operator_json(values) == plain_json(OPERATOR_COLUMNS, values)


@given(rows_of(ORDER_COLUMNS), st.sampled_from([Chain.LIVE, Chain.PAPER]))
def test_blank_filled_in_has_the_hash_of_the_whole_row(values: list[Any], chain: Chain) -> None:
    seq_at, prev_at = ORDER_COLUMNS.index("seq"), ORDER_COLUMNS.index("prev_hash")
    values[prev_at] = "ab" * 32
    open_values = [None if at in (seq_at, prev_at) else value for at, value in enumerate(values)]
    assert Blank(chain, open_values).hash(values[prev_at], values[seq_at]) == row_hash(chain, values)


@given(rows_of(OPERATOR_COLUMNS))
def test_blank_of_an_operator_event_has_the_hash_of_the_whole_row(values: list[Any]) -> None:
    seq_at, prev_at = OPERATOR_COLUMNS.index("seq"), OPERATOR_COLUMNS.index("prev_hash")
    open_values = [None if at in (seq_at, prev_at) else value for at, value in enumerate(values)]
    values[prev_at] = "cd" * 32
    assert Blank(Chain.OPERATOR, open_values).hash(values[prev_at], values[seq_at]) == row_hash(Chain.OPERATOR, values)


def test_the_form_is_pinned_so_that_old_rows_stay_verifiable() -> None:
    values = [
        "system:runner", "0.0125", 7, "t-abc-1-0", '{"fee":"0.26"}', "filled", 0, "limit", "00" * 32, "64123.5", "ü\n\"", 3,
        "buy", "filled", "BTC/USD", "2026-01-31T12:00:00.000000Z", "kraken", "",
    ]  # fmt: skip
    expected = (
        'tradingops-audit 1 paper\n{"actor":"system:runner","amount":"0.0125","bot_id":7,"client_order_id":"t-abc-1-0",'
        '"details":"{\\"fee\\":\\"0.26\\"}","event":"filled","is_live":0,"ord_type":"limit","prev_hash":"'
        + "00"
        * 32
        + '",'
        '"price":"64123.5","reason":"ü\\n\\"","seq":3,"side":"buy","status":"filled","symbol":"BTC/USD",'
        '"ts":"2026-01-31T12:00:00.000000Z","venue":"kraken","venue_order_id":""}'
    )
    assert canonical_bytes(Chain.PAPER, values).decode() == expected
    assert row_hash(Chain.PAPER, values) == hashlib.sha256(expected.encode()).hexdigest()


def test_each_chain_starts_from_a_genesis_of_its_own() -> None:
    assert len({genesis(chain) for chain in Chain}) == 3


@given(rows_of(ORDER_COLUMNS))
def test_the_same_row_has_another_hash_in_another_chain(values: list[Any]) -> None:
    assert row_hash(Chain.LIVE, values) != row_hash(Chain.PAPER, values)


def test_every_column_but_id_and_hash_is_in_the_form() -> None:
    from audit.models import OperatorEvent, OrderEvent

    for model, chain in ((OrderEvent, Chain.PAPER), (OperatorEvent, Chain.OPERATOR)):
        columns = {field.column for field in model._meta.concrete_fields}
        assert columns - {"id", "hash"} == set(FORMS[chain].columns)
        assert list(FORMS[chain].columns) == sorted(FORMS[chain].columns)


def test_walker_finds_a_sound_chain_intact_in_runs_of_any_length() -> None:
    rows = chained(7)
    walker = Walker(Chain.PAPER)
    for start, end in ((0, 1), (1, 4), (4, 4), (4, 7)):
        assert walker.check(rows[start:end]) is None
    assert (walker.seq, walker.hash) == (7, rows[-1][1])


def test_walker_can_start_behind_a_row_it_trusts() -> None:
    rows = chained(5)
    assert Walker(Chain.PAPER, 3, rows[2][1]).check(rows[3:]) is None
    assert Walker(Chain.PAPER, 3, "0" * 64).check(rows[3:]) is not None


@pytest.mark.parametrize("column", [*ORDER_COLUMNS, "hash"])
def test_walker_names_the_row_with_the_changed_column(column: str) -> None:
    rows = chained(5)
    at = 1 if column == "hash" else 2 + ORDER_COLUMNS.index(column)
    rows[2][at] = 9 if isinstance(rows[2][at], int) else "tampered"
    bad = Walker(Chain.PAPER).check(rows)
    assert bad is not None
    assert (bad.table, bad.chain, bad.seq) == ("order_events", Chain.PAPER, 3)
    assert bad.id == (None if column == "seq" else 103)  # with its seq changed, row 3 is missing


@pytest.mark.parametrize("value", [None, 1.5, b"bytes", ["list"]])
def test_walker_names_a_row_with_a_value_of_another_type(value: Any) -> None:
    rows = chained(3)
    rows[1][2 + ORDER_COLUMNS.index("symbol")] = value
    bad = Walker(Chain.PAPER).check(rows)
    assert bad is not None
    assert bad.id == 102


@pytest.mark.parametrize(
    ("change", "seq", "id_", "why"),
    [
        (lambda rows: rows.pop(2), 3, None, "missing; the next row is seq 4, id 104"),
        (lambda rows: rows.insert(3, rows[2]), 4, 103, "seq is 3 where 4 is due"),
        (lambda rows: rows.__setitem__(slice(2, 4), [rows[3], rows[2]]), 3, None, "missing; the next row is seq 4"),
        (lambda rows: rows[0].__setitem__(2 + ORDER_COLUMNS.index("prev_hash"), "0" * 64), 1, 101, "prev_hash"),
    ],
)
def test_walker_says_what_is_wrong(change: Any, seq: int, id_: int | None, why: str) -> None:
    rows = chained(5)
    change(rows)
    bad = Walker(Chain.PAPER).check(rows)
    assert bad is not None
    assert (bad.seq, bad.id) == (seq, id_)
    assert why in str(bad)


def test_walker_names_the_row_after_one_that_was_rewritten_with_its_hash() -> None:
    rows = chained(5)
    rows[2][2 + ORDER_COLUMNS.index("price")] = "1"
    rows[2][1] = row_hash(Chain.PAPER, rows[2][2:])
    bad = Walker(Chain.PAPER).check(rows)
    assert bad is not None
    assert (bad.seq, bad.why) == (4, "prev_hash is not the hash of the row before")


@given(st.integers(0, 4), st.integers(0, 4))
def test_walker_never_passes_a_swapped_pair(first: int, second: int) -> None:
    rows = chained(5)
    rows[first][2:], rows[second][2:] = rows[second][2:], rows[first][2:]
    bad = Walker(Chain.PAPER).check(rows)
    assert (bad is None) == (first == second)
