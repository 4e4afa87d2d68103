"""Limits are reserved at the claim: a hundred intents at one moment, from many workers, can't pass a limit together."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal
from typing import Any

import pytest
from django.db import connections

from bots.executor import Submission
from bots.models import Bot, Order
from safety.intents import Side
from safety.models import RiskLimits
from tests.bots.builders import Floor, make_bot, trade
from tests.conftest import CommittedDatabase
from tests.faults.oracle import check_everything

WORKERS = 10
INTENTS_EACH = 10
#: So high that none of them binds; each test lowers one.
FREE = {
    "rate_per_minute_bot": 1000,
    "rate_per_minute_account": 1000,
    "open_orders_bot_max": 1000,
    "open_orders_account_max": 1000,
}
LIMIT_PRICE = Decimal("99.5")


def all_at_once(place: Callable[[int], Submission]) -> list[Submission]:
    """Place a hundred orders from ten workers that start together; return what became of each."""
    barrier = threading.Barrier(WORKERS)

    def work(worker: int) -> list[Submission]:
        with closing(connections["default"]):
            barrier.wait(timeout=30)
            return [place(worker * INTENTS_EACH + number) for number in range(INTENTS_EACH)]

    with ThreadPoolExecutor(WORKERS) as pool:
        return [one for some in pool.map(work, range(WORKERS)) for one in some]


def quantity_of(number: int) -> str:
    """Return about a tenth; no two are equal, so that none is another's duplicate."""
    return f"0.{100 + number}"


def rest(bot: Bot) -> Callable[[int], Submission]:
    return lambda number: trade(bot, Side.BUY, quantity_of(number), limit=str(LIMIT_PRICE))


def set_limits(**changes: Any) -> None:
    RiskLimits.objects.update_or_create(scope="global", defaults={**FREE, **changes})


def codes(submissions: list[Submission]) -> set[str]:
    return {denial.code for one in submissions for denial in one.denials}


def values(submissions: list[Submission]) -> tuple[Decimal, Decimal]:
    """Return what all that passed is worth, and the least that was denied."""
    passed = sum((one.order.quantity for one in submissions if not one.is_denied), Decimal(0))
    return passed * LIMIT_PRICE, min(one.order.quantity for one in submissions if one.is_denied) * LIMIT_PRICE


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("POSITION_MAX", {"position_equity_pct": Decimal(1), "position_floor_usd": Decimal(105)}),
        ("GROSS_EXPOSURE_MAX", {"gross_equity_pct": Decimal(1), "gross_floor_usd": Decimal(105)}),
    ],
)
@pytest.mark.parametrize("kind", ["rests", "fills"])
def test_positions_and_open_orders_stay_below_the_limit_together(
    committed_db: CommittedDatabase, floor: Floor, code: str, changes: dict[str, Decimal], kind: str
) -> None:
    set_limits(**changes)
    bot = make_bot(paper_equity_usd=Decimal(10_000))
    limit = LIMIT_PRICE if kind == "rests" else Decimal("100.01")
    results = all_at_once(lambda number: trade(bot, Side.BUY, quantity_of(number), limit=str(limit)))
    assert len(results) == 100
    assert codes(results) == {code}
    passed = sum((one.order.quantity for one in results if not one.is_denied), Decimal(0)) * limit
    least_denied = min(one.order.quantity for one in results if one.is_denied) * limit
    # What is held counts at the market's middle, a cent below what it was bought at.
    most = Decimal(105) if kind == "rests" else Decimal("105.02")
    assert passed <= most
    assert passed + least_denied > 105
    # What filled is held at the bid, a hair less than it cost.
    assert Order.objects.filter(status="accepted" if kind == "rests" else "filled").count() >= 5
    check_everything()


@pytest.mark.parametrize(
    ("code", "limit"),
    [
        ("RATE_LIMIT", "rate_per_minute_bot"),
        ("RATE_LIMIT", "rate_per_minute_account"),
        ("OPEN_ORDERS_MAX", "open_orders_bot_max"),
        ("OPEN_ORDERS_MAX", "open_orders_account_max"),
    ],
)
def test_as_many_orders_pass_as_the_limit_says(
    committed_db: CommittedDatabase, floor: Floor, code: str, limit: str
) -> None:
    set_limits(**{limit: 7})
    bot = make_bot(capital_usd=Decimal(5000), paper_equity_usd=Decimal(100_000))
    results = all_at_once(rest(bot))
    assert codes(results) == {code}
    assert sum(not one.is_denied for one in results) == 7
    assert Order.objects.filter(status="accepted").count() == 7
    check_everything()


def test_capital_and_cash_are_reserved_too(committed_db: CommittedDatabase, floor: Floor) -> None:
    set_limits()
    rich, poor = make_bot("rich", capital_usd=Decimal(100)), make_bot("poor", paper_equity_usd=Decimal(100))
    for bot, code in ((rich, "BOT_CAPITAL_EXCEEDED"), (poor, "INSUFFICIENT_FUNDS")):
        results = all_at_once(rest(bot))
        assert code in codes(results)
        passed, least_denied = values(results)
        assert passed <= 100 < (passed + least_denied) * Decimal("1.02")
    check_everything()


@pytest.mark.django_db
def test_paper_bots_do_not_use_up_each_others_limits(floor: Floor) -> None:
    set_limits(open_orders_account_max=3)
    for bot in (make_bot("one"), make_bot("two")):
        place = rest(bot)
        assert sum(not place(number).is_denied for number in range(5)) == 3
