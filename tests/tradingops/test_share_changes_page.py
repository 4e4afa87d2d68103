"""A split on the reconciliation page: what the venue did, what would become of each book, and a person's word."""

import re
from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from bots.models import Bot, Difference, Fill
from tests.bots.admin.conftest import Desk, desk
from tests.bots.alpaca_desk import paper_desk, stock_intent
from tests.bots.builders import floor, position_of
from tests.bots.live import send
from tests.bots.reconciliation.test_alpaca import round_at
from tests.conftest import CommittedDatabase
from tests.loopback.client import AlpacaLoopback
from tests.tradingops.test_reconcile_page import PART, address, text_of
from tests.tradingops.test_safety_page import password_given

__all__ = ["desk", "floor"]


@pytest.fixture
def bot(committed_db: CommittedDatabase, alpaca: AlpacaLoopback) -> Bot:
    """Return a bot that holds 0.4 AAPL at Alpaca's paper account since three days."""
    made = paper_desk(alpaca)
    round_at(made)
    send(stock_intent(made, quantity="0.4"))
    Fill.objects.update(filled_at=timezone.now() - timedelta(days=3))
    assert round_at(made).state == "agrees"
    return made


@pytest.fixture
def split(bot: Bot, alpaca: AlpacaLoopback) -> Difference:
    """Return what is open once its shares were split 4:1."""
    alpaca.paper.change_shares("SPLIT", "1.2")
    round_at(bot)
    return Difference.objects.get()


def yes(found: Difference, **changes: str) -> dict[str, str]:
    return {"seen": f"{found.venue} {found.expected} {found.held}", "reason": "the company says so", **changes}


def test_split_is_told_with_both_sides_and_what_would_become_of_the_book(desk: Desk, split: Difference) -> None:
    page = text_of(desk, PART)
    assert re.search(
        r"AAPL 4:1 split on \d{4}-\d\d-\d\d \(\+1.2 shares\): Alpaca holds 1.6, the books of its bots 0.4", page
    )
    assert "0 and 1.2 of a change of shares, which waits for a person" in page
    assert "It waits for a person" in page
    password_given(desk)
    page = text_of(desk, address(split))
    assert "goes from 0.4 to 1.6 AAPL ; what they cost stays" in page
    assert "The owner's part goes to 0 AAPL" in page
    assert "Leave the bots" in page


def test_person_carries_it_into_the_book(desk: Desk, bot: Bot, split: Difference) -> None:
    password_given(desk)
    told = desk.told(address(split), yes(split))
    assert "accepted" in str(told)
    assert position_of(bot).quantity == Decimal("1.6")
    assert "This difference is closed" in text_of(desk, address(split))


def test_person_leaves_the_books_as_they_are(desk: Desk, bot: Bot, split: Difference) -> None:
    password_given(desk)
    desk.told(address(split), yes(split, leaves_books="on"))
    assert position_of(bot).quantity == Decimal("0.4")
    assert Difference.objects.get().outcome == "noted"


@pytest.mark.parametrize("changes", [{"reason": ""}, {"seen": "1.6 1.6 1.6"}, {"seen": ""}])
def test_without_a_reason_or_with_other_figures_nothing_happens(
    desk: Desk, bot: Bot, split: Difference, changes: dict[str, str]
) -> None:
    password_given(desk)
    assert desk.post(address(split), yes(split, **changes)).status_code == 200
    assert position_of(bot).quantity == Decimal("0.4")
    assert Difference.objects.get().closed_at is None
