"""How a change of shares is shared out between the owner and the books: exactly, and by what each held."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.reconciliation.share_changes import shared_out


@pytest.mark.parametrize(
    ("owner", "held", "change", "after"),
    [
        ("0", ["10"], "30", ["40"]),
        ("0", ["10", "20"], "-22.5", ["2.5", "5"]),
        ("1", ["1", "1"], "-2", ["0.333333333", "0.333333333"]),
        ("0", ["1", "1", "0"], "-1", ["0.5", "0.5", "0"]),
        ("0", ["3", "3", "3"], "1", ["3.333333333", "3.333333333", "3.333333334"]),
        ("0", ["10"], "-10", ["0"]),
        ("0", ["10"], "-11", None),
        ("0", [], "5", None),
    ],
)
def test_shares_go_to_whom_they_belong(owner: str, held: list[str], change: str, after: list[str] | None) -> None:
    found = shared_out(Decimal(owner), [Decimal(one) for one in held], Decimal(change), True)
    assert found == (None if after is None else [Decimal(one) for one in after])


SHARES = st.decimals("0", "100000", places=9)


@given(SHARES, st.lists(SHARES.filter(bool), min_size=1, max_size=5), st.decimals("-0.99", "19", places=4))
def test_no_share_is_made_or_lost(owner: Decimal, held: list[Decimal], growth: Decimal) -> None:
    total = owner + sum(held)
    change = (total * growth).quantize(Decimal("1e-9"))
    after = shared_out(owner, held, change, True)
    assert after is not None
    assert all(one >= 0 for one in after)
    left = total + change - sum(after)
    assert left >= 0
    assert owner or left == 0
