"""A person accepts the venue's figure: the owner's part gives way first, then the books; once, and only as it was seen."""

from dataclasses import replace
from decimal import Decimal

import pytest

from audit.models import OperatorEvent
from bots.models import Account, AssetBaseline, Bot, Deal, Difference
from bots.order_states import OrderStatus
from bots.reconciliation.settling import Seen, SettleError, settle
from safety.intents import Side
from tests.bots.builders import actions_on, position_of
from tests.bots.live import live_bot, live_intent, measured, send
from tests.bots.reconciliation.desk import baseline, entry, open_differences, round_at
from tests.loopback.client import KrakenLoopback

pytestmark = pytest.mark.usefixtures("committed_db")


def differs(kraken: KrakenLoopback, asset: str, amount: str) -> Difference:
    """Let the venue's figure be another one, until it is confirmed."""
    kraken.set_balance(asset, amount)
    round_at()
    round_at(12)
    (found,) = open_differences()
    return found


def accept(found: Difference, **changes: object) -> Difference:
    asked: dict[str, object] = {"actor": "anna", "reason": "I sold it", "seen": Seen.of(found), **changes}
    return settle(found.pk, **asked)  # type: ignore[arg-type]


def test_shortage_is_taken_from_the_owner_s_part_first(holding: Bot, kraken: KrakenLoopback) -> None:
    found = differs(kraken, "XXBT", "0.45")
    assert accept(found).outcome == "accepted"
    assert baseline("BTC") == Decimal("0.15")
    assert position_of(holding, is_live=True).quantity == Decimal("0.3")
    assert round_at(24).state == "agrees"
    assert entry(holding) == []


def test_what_the_owner_s_part_lacks_is_taken_from_the_books_at_cost(holding: Bot, kraken: KrakenLoopback) -> None:
    before = position_of(holding, is_live=True)
    accept(differs(kraken, "XXBT", "0.2"))
    after = position_of(holding, is_live=True)
    assert (after.quantity, baseline("BTC")) == (Decimal("0.2"), 0)
    lost = before.cost - after.cost
    assert lost == before.cost / 3
    assert after.realised_pnl == before.realised_pnl - lost
    assert after.realised_pnl == after.cash_flow + after.cost
    assert Deal.objects.get(bot=holding, is_live=True).closed_at is None
    assert ("book_corrected", "anna") in [one[:2] for one in actions_on(holding)]
    assert round_at(24).state == "agrees"


def test_book_of_which_nothing_is_left_closes_its_deal(holding: Bot, kraken: KrakenLoopback) -> None:
    accept(differs(kraken, "XXBT", "0"))
    position = position_of(holding, is_live=True)
    deal = Deal.objects.get(bot=holding, is_live=True)
    assert (position.quantity, position.cost) == (0, 0)
    assert position.realised_pnl == position.cash_flow == deal.pnl
    assert deal.closed_at is not None
    assert round_at(24).state == "agrees"


def test_books_share_what_is_missing_by_what_they_hold(holding: Bot, kraken: KrakenLoopback) -> None:
    other = live_bot("other")
    measured()
    assert send(live_intent(other, quantity="0.1")).order.status == OrderStatus.FILLED
    round_at()
    accept(differs(kraken, "XXBT", "0.1"))
    assert position_of(holding, is_live=True).quantity == Decimal("0.075")
    assert position_of(other, is_live=True).quantity == Decimal("0.025")
    assert round_at(24).state == "agrees"


def test_surplus_becomes_the_owner_s_and_is_no_gain(holding: Bot, kraken: KrakenLoopback) -> None:
    before = Account.objects.get(name="kraken")
    found = differs(kraken, "ZUSD", "12000")
    assert Account.objects.get(name="kraken").peak_equity_usd == before.peak_equity_usd
    accept(found)
    assert round_at(24).state == "agrees"
    after = Account.objects.get(name="kraken")
    assert after.peak_equity_usd is not None
    assert before.peak_equity_usd is not None
    assert found.venue is not None
    assert found.expected is not None
    assert after.peak_equity_usd - before.peak_equity_usd == found.venue - found.expected


@pytest.mark.parametrize("reason", ["", "  "])
def test_settling_needs_a_reason(holding: Bot, kraken: KrakenLoopback, reason: str) -> None:
    with pytest.raises(SettleError, match="Say why"):
        accept(differs(kraken, "XXBT", "0.2"), reason=reason)


@pytest.mark.parametrize(
    "changes", [None, {"venue": Decimal("0.21")}, {"expected": Decimal("0.81")}, {"held": Decimal("0.31")}]
)
def test_figures_that_are_not_those_that_were_seen_are_not_accepted(
    holding: Bot, kraken: KrakenLoopback, changes: dict[str, Decimal] | None
) -> None:
    found = differs(kraken, "XXBT", "0.2")
    seen = Seen.of(found)
    assert seen is not None
    with pytest.raises(SettleError, match="figures moved since"):
        accept(found, seen=None if changes is None else replace(seen, **changes))
    assert position_of(holding, is_live=True).quantity == Decimal("0.3")
    assert [one.pk for one in open_differences()] == [found.pk]


def test_books_that_moved_since_are_not_settled_by_what_was_seen(holding: Bot, kraken: KrakenLoopback) -> None:
    found = differs(kraken, "XXBT", "0.2")
    assert send(live_intent(holding, Side.SELL, "0.1")).order.status == OrderStatus.FILLED
    with pytest.raises(SettleError, match="Our own figures"):
        accept(found)


def test_our_own_side_that_a_later_round_shows_otherwise_is_not_settled_by_what_was_seen(
    holding: Bot, kraken: KrakenLoopback
) -> None:
    """The venue's figure is the same; but what would be written off is more than the person agreed to."""
    found = differs(kraken, "XXBT", "0.2")
    seen = Seen.of(found)
    AssetBaseline.objects.filter(asset="BTC").update(quantity=Decimal("0.4"))
    round_at(40)
    round_at(60)
    again = open_differences()[0]
    assert (again.pk, again.venue) == (found.pk, found.venue)
    with pytest.raises(SettleError, match="figures moved since"):
        accept(again, seen=seen)
    assert position_of(holding, is_live=True).quantity == Decimal("0.3")


def test_figure_that_is_old_is_not_accepted(holding: Bot, kraken: KrakenLoopback) -> None:
    found = differs(kraken, "XXBT", "0.2")
    Difference.objects.update(seen_at=found.seen_at.replace(year=2020))
    with pytest.raises(SettleError, match="older than 5 minutes"):
        accept(found)


def test_order_under_way_has_to_end_first(holding: Bot, kraken: KrakenLoopback) -> None:
    found = differs(kraken, "XXBT", "0.2")
    order = holding.orders.latest("id")
    holding.orders.filter(pk=order.pk).update(status=OrderStatus.UNKNOWN)
    with pytest.raises(SettleError, match="under way"):
        accept(found)


def test_settling_twice_does_it_once(holding: Bot, kraken: KrakenLoopback) -> None:
    found = differs(kraken, "XXBT", "0.2")
    first, again = accept(found), accept(found)
    assert first.closed_at == again.closed_at
    assert position_of(holding, is_live=True).quantity == Decimal("0.2")
    assert OperatorEvent.objects.filter(action="difference_accepted").count() == 1
    with pytest.raises(SettleError, match="closed meanwhile"):
        accept(found, actor="bert")
