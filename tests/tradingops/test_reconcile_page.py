"""The reconciliation page shows both sides of an account, and who may settles a difference there, once and as it was seen."""

import re
from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.utils import timezone
from pytest_django import Settings

from audit.models import OperatorEvent
from bots.models import AccountSync, Bot, Difference, Order
from bots.order_states import OrderStatus
from bots.reconciliation.differences import open_oversold
from bots.reconciliation.settling import Seen, settle
from safety.permissions import OPERATOR, RISK_MANAGER
from tests.bots.admin.conftest import Desk, desk
from tests.bots.builders import floor, make_bot, position_of
from tests.bots.live import live_desk, live_intent, send
from tests.bots.reconciliation.desk import baseline, open_differences, round_at
from tests.conftest import CommittedDatabase
from tests.loopback import faults
from tests.loopback.client import KrakenLoopback
from tests.tradingops.test_safety_page import as_member, password_given, section

__all__ = ["desk", "floor"]

PAGE = "/admin/safety/reconciliation/"
PART = "/admin/part/reconciliation/"


@pytest.fixture
def bot(committed_db: CommittedDatabase, kraken: KrakenLoopback, settings: Settings) -> Bot:
    """Return a live bot that holds 0.3 BTC on an account that agrees; the owner has 0.5 BTC beside it."""
    made = live_desk(kraken, settings)
    round_at()
    send(live_intent(made))
    assert round_at().state == "agrees"
    return made


@pytest.fixture
def short(bot: Bot, kraken: KrakenLoopback) -> Difference:
    """Return the difference that is open when 0.6 of the 0.8 BTC are gone."""
    return shortage(kraken, "0.2")


def shortage(kraken: KrakenLoopback, left: str) -> Difference:
    kraken.set_balance("XXBT", left)
    round_at()
    round_at(12)
    (found,) = open_differences()
    return found


def address(found: Difference) -> str:
    return f"{PAGE}{found.pk}/"


def text_of(desk: Desk, url: str, status: int = 200) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", desk.get(url, status)))


def yes(found: Difference, **changes: str) -> dict[str, str]:
    return {"seen": f"{found.venue} {found.expected} {found.held}", "reason": "sold by hand", **changes}


class TestPage:
    def test_both_sides_are_shown_asset_by_asset(self, desk: Desk, bot: Bot) -> None:
        page = text_of(desk, PAGE)
        assert "Our books and Kraken agree." in page
        # The owner's, what bots hold, what trades brought, what ought to be, what is there, and by how much it is off.
        assert "BTC 0.5 0.3 0 0.8 0.8 0 AGREES" in page
        assert "Open orders: 0 of ours, 0 placed by others" in page

    def test_what_is_open_is_told_with_the_way_to_settle_it(self, desk: Desk, short: Difference) -> None:
        page = text_of(desk, PART)
        assert "1 difference open." in page
        assert "0.1 BTC are missing" in page
        assert "Accept the venue's figure…" in page
        assert address(short) in desk.get(PART)

    def test_orders_of_others_are_listed(self, desk: Desk, bot: Bot, kraken: KrakenLoopback) -> None:
        order_id = kraken.place("buy", "0.1", price="50")
        round_at()
        page = text_of(desk, PAGE)
        assert "0 of ours, 1 placed by others" in page
        assert order_id in page
        others = Order.objects.get(venue_order_id=order_id)
        story = text_of(desk, f"/admin/bots/order/{others.pk}/change/")
        assert "Somebody else placed it on this account; we do not touch it." in story
        assert "Cancel this order" not in story

    def test_account_that_can_not_be_compared_says_why(self, desk: Desk, bot: Bot, kraken: KrakenLoopback) -> None:
        kraken.fault(faults.page("OpenOrders", count=faults.FOR_EVER))
        assert round_at().state == "failed"
        page = text_of(desk, PAGE)
        assert "It can't be compared now" in page
        assert "never counts as an empty account" in page
        assert "NOT KNOWN What is below is from" in page
        assert "Our books and Kraken agree." not in page
        # What was seen before stays, with its age.
        assert "BTC 0.5 0.3 0 0.8 0.8 0 AGREES" in page

    def test_without_an_account_there_is_nothing_to_compare(self, desk: Desk) -> None:
        assert "there is nothing to compare" in text_of(desk, PAGE)
        assert "there is nothing to compare" in section(desk.get("/admin/safety/"), "reconciliation")

    def test_comparing_now_asks_the_workers_and_changes_no_figure(self, desk: Desk, bot: Bot) -> None:
        AccountSync.objects.update(wanted_at=None)
        assert "within seconds" in desk.told(PAGE)[0]
        sync = AccountSync.objects.get()
        assert sync.wanted_at is not None
        assert sync.wanted_by == "person"

    def test_safety_and_the_bots_page_lead_here(self, desk: Desk, short: Difference, bot: Bot) -> None:
        panel = section(desk.get("/admin/safety/"), "reconciliation")
        assert "DIFFERS" in panel
        assert "0.1 BTC are missing" in panel
        why = section(desk.get(f"/admin/bots/bot/{bot.pk}/change/"), "why-blocked")
        assert "RECONCILIATION_OPEN" in why
        assert f'href="{PAGE}"' in why

    def test_paper_bot_says_nothing_of_it(self, desk: Desk, short: Difference) -> None:
        paper = make_bot("paper")
        assert "RECONCILIATION_OPEN" not in section(desk.get(f"/admin/bots/bot/{paper.pk}/change/"), "why-blocked")


class TestSettling:
    def test_page_says_what_would_happen_before_it_does(self, desk: Desk, short: Difference, bot: Bot) -> None:
        password_given(desk)
        page = text_of(desk, address(short))
        assert "Kraken shows 0.2 BTC" in page
        assert "Ought to be there 0.8 BTC: 0.5 the owner's, 0.3 that bots hold" in page
        assert "goes from 0.5 to 0" in page
        assert "lose 0.1 BTC" in page
        assert position_of(bot, is_live=True).quantity == Decimal("0.3")

    def test_accepted_with_a_reason_the_books_follow_the_venue(self, desk: Desk, short: Difference, bot: Bot) -> None:
        password_given(desk)
        assert "accepted" in desk.told(address(short), yes(short))[0]
        assert open_differences() == []
        assert position_of(bot, is_live=True).quantity == Decimal("0.2")
        assert baseline("BTC") == 0
        event = OperatorEvent.objects.get(action="difference_accepted")
        assert (event.actor, event.reason) == ("operator", "sold by hand")
        assert round_at(40).state == "agrees"

    def test_owners_part_gives_way_first(self, desk: Desk, bot: Bot, kraken: KrakenLoopback) -> None:
        found = shortage(kraken, "0.4")
        password_given(desk)
        assert "stay as they are" in text_of(desk, address(found))
        desk.told(address(found), yes(found))
        assert position_of(bot, is_live=True).quantity == Decimal("0.3")
        assert baseline("BTC") == Decimal("0.1")

    def test_second_click_does_it_once(self, desk: Desk, short: Difference, bot: Bot) -> None:
        password_given(desk)
        for _ in range(2):
            desk.told(address(short), yes(short))
        assert position_of(bot, is_live=True).quantity == Decimal("0.2")
        assert OperatorEvent.objects.filter(action="difference_accepted").count() == 1
        assert "This difference is closed" in text_of(desk, address(short))

    @pytest.mark.parametrize(
        "changes",
        [
            {"reason": " "},
            {"seen": "0.3 0.8 0.3"},
            {"seen": "0.2 0.9 0.3"},
            {"seen": "0.2 0.8"},
            {"seen": "0.2 0.8 NaN"},
            {"seen": ""},
            {"seen": "x"},
        ],
    )
    def test_without_a_reason_or_with_another_figure_nothing_happens(
        self, desk: Desk, short: Difference, bot: Bot, changes: dict[str, str]
    ) -> None:
        password_given(desk)
        response = desk.post(address(short), yes(short, **changes))
        assert response.status_code == 200
        assert position_of(bot, is_live=True).quantity == Decimal("0.3")
        assert len(open_differences()) == 1

    def test_figure_that_moved_meanwhile_is_refused_and_shown_anew(
        self, desk: Desk, short: Difference, kraken: KrakenLoopback
    ) -> None:
        password_given(desk)
        kraken.set_balance("XXBT", "0.1")
        round_at(40)
        round_at(60)
        page = desk.post(address(short), yes(short)).content.decode()
        assert "figures moved since the page was loaded" in page
        assert re.search(r'name="seen" value="0.1 0.8 0.3"', page)
        assert len(open_differences()) == 1

    def test_what_was_settled_is_shown_as_that_until_the_next_look(self, desk: Desk, short: Difference) -> None:
        password_given(desk)
        # After the rounds, which were later than now.
        with time_machine.travel(timezone.now() + timedelta(seconds=20), tick=True):
            desk.told(address(short), yes(short))
        page = text_of(desk, PART)
        assert "SETTLED the next look, within seconds, compares it anew" in page
        assert "SHORTAGE" not in page
        assert round_at(40).state == "agrees"
        page = text_of(desk, PART)
        assert "BTC 0 0.2 0 0.2 0.2 0 AGREES" in page
        assert "SETTLED" not in page

    def test_closed_by_somebody_else_is_told(self, desk: Desk, short: Difference) -> None:
        password_given(desk)
        settle(short.pk, actor="ben", reason="mine", seen=Seen.of(short))
        assert "This difference is closed" in desk.post(address(short), yes(short)).content.decode()
        assert OperatorEvent.objects.filter(action="difference_accepted").count() == 1

    def test_one_about_an_order_is_taken_note_of(self, desk: Desk, bot: Bot) -> None:
        order = Order.objects.latest("id")
        open_oversold(order, "More was sold than the book held.")
        (found,) = open_differences()
        password_given(desk)
        page = text_of(desk, address(found))
        assert "Nothing is changed in the books." in page
        desk.told(address(found), {"reason": "looked at it"})
        assert open_differences() == []
        assert OperatorEvent.objects.get(action="difference_noted").reason == "looked at it"

    def test_order_that_the_venue_does_not_have_is_canceled_once_it_was_asked_again(
        self, desk: Desk, bot: Bot, kraken: KrakenLoopback
    ) -> None:
        order = send(live_intent(bot, quantity="0.2", limit="98")).order
        kraken.forget(order.venue_order_id)
        for seconds in (0, 50, 100):
            round_at(seconds)
        (found,) = open_differences()
        assert order.client_order_id in text_of(desk, PART)
        password_given(desk)
        page = text_of(desk, address(found))
        assert "Take Kraken's word that it has no such order?" in page
        assert "neither lists it nor knows its id" in page
        assert "accepted" in desk.told(address(found), {"reason": "not on their page"})[0]
        order.refresh_from_db()
        assert order.status == OrderStatus.CANCELED
        assert OperatorEvent.objects.get(action="difference_accepted").reason == "not on their page"

    def test_only_a_risk_manager_freshly_signed_in(self, desk: Desk, short: Difference, bot: Bot) -> None:
        as_member(desk, OPERATOR)
        password_given(desk)
        assert desk.post(address(short), yes(short)).status_code == 403
        assert "Accept the venue" not in desk.get(PAGE)
        as_member(desk, RISK_MANAGER)
        password_given(desk, ago_s=3600)
        desk.post(address(short), yes(short))
        assert len(open_differences()) == 1
        password_given(desk)
        desk.told(address(short), yes(short))
        assert open_differences() == []

    def test_who_may_not_look_at_accounts_sees_nothing(self, desk: Desk, short: Difference) -> None:
        desk.as_staff("bots.view_bot")
        desk.get(PAGE, 403)
        desk.get(PART, 403)
        assert desk.post(PAGE).status_code == 403
        desk.client.logout()
        assert desk.client.get(PART).status_code == 204

    @pytest.mark.parametrize("number", ["0", "9" * 23])
    def test_difference_that_is_not_there_is_404(self, desk: Desk, number: str) -> None:
        password_given(desk)
        assert desk.client.get(f"{PAGE}{number}/").status_code == 404


def test_looking_changes_nothing(desk: Desk, short: Difference) -> None:
    password_given(desk)
    before = (Difference.objects.values().get(), OperatorEvent.objects.count())
    for url in (PAGE, PART, address(short), "/admin/safety/"):
        desk.get(url)
    assert (Difference.objects.values().get(), OperatorEvent.objects.count()) == before
