"""Lists and pages of orders, fills, positions, deals and venue access: in people's words, and with the path to each."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import RequestFactory
from django.urls import reverse

from bots.models import Deal, Fill, Order, Position, VenueAccess
from safety.intents import Side
from tests.bots.admin.conftest import Desk
from tests.bots.builders import make_bot, trade

NOW = datetime(2026, 11, 23, 14, 5, tzinfo=UTC)
#: As the database calls them; no page for people does.
RAW = (
    "Is live",
    "Is maker",
    "Realised pnl",
    ">Pnl<",
    "Mark price",
    "Recent notionals",
    "refused at<",
    "refused reason",
)


def lit(path: str) -> list[str]:
    """Return the titles of the sidebar's entries that are lit up on a page."""
    request = RequestFactory().get(path)
    request.user = cast(User, SimpleNamespace(has_perm=lambda _: True, is_active=True, is_staff=True))
    groups: list[dict[str, Any]] = admin.site.get_sidebar_list(request)  # type: ignore[attr-defined]
    return [str(item["title"]) for group in groups for item in group["items"] if item["active"]]


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("/admin/", "Dashboard"),
        ("/admin/safety/", "Safety"),
        ("/admin/safety/halt/", "Safety"),
        ("/admin/safety/dead-man/", "Safety"),
        ("/admin/safety/what-if/", "What if"),
        ("/admin/safety/reconciliation/", "Reconciliation"),
        ("/admin/safety/reconciliation/7/", "Reconciliation"),
        ("/admin/safety/risklimits/add/", "Risk limits"),
        ("/admin/bots/bot/1/change/", "Bots"),
        ("/admin/bots/order/", "Orders"),
        ("/admin/setup/money/", "Set up a bot"),
    ],
)
def test_sidebar_lights_up_one_entry_for_each_page(path: str, title: str) -> None:
    assert lit(path) == [title]


def test_page_without_an_entry_lights_up_none() -> None:
    assert lit("/admin/second-factor/") == []


def test_order_in_the_list_has_its_id_and_its_fill(desk: Desk) -> None:
    trade(make_bot(), Side.BUY, "1")
    order = Order.objects.get()
    page = desk.get("/admin/bots/order/")
    assert f"at the market · {order.client_order_id}" in page
    assert "at 100.0" in page


@pytest.mark.parametrize("model", [Fill, Position, Deal])
def test_page_of_a_book_is_in_peoples_words(desk: Desk, model: Any) -> None:
    trade(make_bot(), Side.BUY, "1")
    name = model._meta.model_name
    page = desk.get(reverse(f"admin:bots_{name}_change", args=[model.objects.get().pk]))
    assert "Paper" in page
    assert not [word for word in RAW if word in page]


def test_venue_access_tells_what_the_venue_said_and_when(desk: Desk) -> None:
    VenueAccess.objects.update_or_create(
        account="kraken",
        defaults={
            "key_refused_at": NOW,
            "key_refused_reason": "EAPI:Invalid key",
            "nonce_refused_at": NOW,
            "nonce_refusals": 3,
        },
    )
    for page in ("/admin/bots/venueaccess/", "/admin/bots/venueaccess/kraken/change/"):
        shown = desk.get(page)
        assert "2026-11-23 14:05:00" in shown
        assert "EAPI:Invalid key" in shown
        assert "3 in a row" in shown
        assert "never" in shown
        assert not [word for word in RAW if word in shown]


@pytest.mark.parametrize("page", ["do/archive/", "shadow/", "go-live/"])
def test_page_about_one_bot_names_it_in_its_path(desk: Desk, page: str) -> None:
    bot = make_bot()
    shown = desk.get(f"/admin/bots/bot/{bot.pk}/{page}")
    assert f'href="/admin/bots/bot/{bot.pk}/change/" class="align-middle' in shown


def test_empty_list_says_so_and_offers_no_new_row_where_none_can_be_added(desk: Desk) -> None:
    page = desk.get("/admin/bots/order/")
    assert "There is nothing here yet." in page
    assert "/admin/bots/order/add/" not in page
    assert "Nothing fits what was searched for." in desk.get("/admin/bots/order/?q=t0000")
