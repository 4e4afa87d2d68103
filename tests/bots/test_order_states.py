"""The table of order states: every pair is either allowed or raises."""

import itertools

import pytest

from bots.order_states import OPEN_STATES, RESTING_STATES, TRANSITIONS, IllegalTransitionError, OrderStatus, move

#: The table once more, as the design has it, in words.
ALLOWED = {
    "pending": "denied submitting expired",
    "submitting": "accepted rejected filled partially_filled canceled expired unknown denied",
    "accepted": "partially_filled filled canceled expired rejected unknown",
    "partially_filled": "partially_filled filled canceled expired unknown",
    "unknown": "accepted partially_filled filled canceled expired rejected not_sent",
    "canceled": "filled partially_filled",
    "expired": "filled partially_filled",
    "not_sent": "accepted partially_filled filled canceled expired rejected",
    "denied": "",
    "filled": "",
    "rejected": "",
    "external": "",
}
PAIRS = list(itertools.product(OrderStatus, OrderStatus))


@pytest.mark.parametrize(("current", "target"), PAIRS, ids=lambda status: status.value)
def test_pair_of_states_is_allowed_as_the_design_says_or_raises(current: OrderStatus, target: OrderStatus) -> None:
    if target.value in ALLOWED[current.value].split():
        assert move(current, target) is target
        assert move(current.value, target) is target, "a status read from the database is plain text"
        return
    with pytest.raises(IllegalTransitionError, match=f"{current.value} cannot become {target.value}"):
        move(current, target)


def test_every_state_is_in_the_table() -> None:
    assert ALLOWED.keys() == set(OrderStatus.values)
    assert TRANSITIONS.keys() == set(OrderStatus)
    assert len(PAIRS) == 144


@pytest.mark.parametrize("current", ["", "FILLED", "done", "None"])
def test_unknown_state_raises(current: str) -> None:
    with pytest.raises(ValueError, match="OrderStatus"):
        move(current, OrderStatus.FILLED)


def test_no_order_comes_back_before_its_send() -> None:
    for target in (OrderStatus.PENDING, OrderStatus.SUBMITTING):
        assert [one for one in OrderStatus if target in TRANSITIONS[one]] == (
            [OrderStatus.PENDING] if target == OrderStatus.SUBMITTING else []
        )


def test_what_was_never_permitted_never_reaches_a_venue_state() -> None:
    """From DENIED nothing is reached, by however many steps."""
    assert reachable(OrderStatus.DENIED) == set()
    assert reachable(OrderStatus.PENDING) == set(OrderStatus) - {OrderStatus.PENDING, OrderStatus.EXTERNAL}


def test_filled_and_rejected_are_final() -> None:
    assert [one for one in OrderStatus if not reachable(one)] == [
        OrderStatus.DENIED,
        OrderStatus.FILLED,
        OrderStatus.REJECTED,
        OrderStatus.EXTERNAL,
    ]


def test_open_states_are_those_that_may_still_cost_something() -> None:
    assert {one.value for one in OPEN_STATES} == {"pending", "submitting", "accepted", "partially_filled", "unknown"}
    assert {one.value for one in RESTING_STATES} == {"accepted", "partially_filled"}
    assert all(OrderStatus.CANCELED in TRANSITIONS[one] for one in RESTING_STATES)


def reachable(start: OrderStatus) -> set[OrderStatus]:
    found: set[OrderStatus] = set()
    edge = {start}
    while edge:
        edge = {target for one in edge for target in TRANSITIONS[one]} - found
        found |= edge
    return found
