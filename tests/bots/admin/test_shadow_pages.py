"""A paper twin is switched on and off at the bot's page, and what it says stands on the pages of the order and the bot."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from bots import shadows
from bots.executor import shadow as twins
from bots.models import Bot
from tests.bots.admin.conftest import Desk
from tests.bots.builders import make_bot
from tests.bots.live import live_desk, live_intent, send
from tests.conftest import CommittedDatabase
from tests.loopback.client import KrakenLoopback

ON = "Run a paper twin"
OFF = "End the paper twin"


@pytest.fixture
def bot(committed_db: CommittedDatabase, kraken: KrakenLoopback, settings: Settings) -> Bot:
    """Return a live bot with nothing in its way."""
    return live_desk(kraken, settings)


@pytest.fixture
def console(committed_db: CommittedDatabase) -> Client:
    """Return a client with an administrator signed in."""
    client = Client()
    client.force_login(User.objects.create_superuser("operator", password="x"))
    return client


def page_of(console: Client, url: str) -> str:
    response = console.get(url)
    assert response.status_code == 200, response
    return str(response.content.decode())


def test_twin_is_switched_on_and_off_at_the_bots_page(bot: Bot, console: Client) -> None:
    url = f"/admin/bots/bot/{bot.pk}/"
    assert ON in page_of(console, f"{url}change/")
    console.post(f"{url}do/shadow-on/")
    assert shadows.is_shadowed(bot)
    page = page_of(console, f"{url}change/")
    assert OFF in page
    assert ON not in page
    assert f"{url}shadow/" in page
    console.post(f"{url}do/shadow-off/")
    assert not shadows.is_shadowed(bot)


def test_look_at_the_address_changes_nothing(bot: Bot, console: Client) -> None:
    assert console.get(f"/admin/bots/bot/{bot.pk}/do/shadow-on/").status_code == 405
    assert not shadows.is_shadowed(bot)


def test_order_and_bot_say_how_live_did_against_paper(bot: Bot, console: Client) -> None:
    shadows.set_shadow(bot.pk, on=True, actor="anna")
    order = send(live_intent(bot)).order
    twins.shadow(timezone.now())
    # 100.10 at the venue against 100.20 on paper, both with the taker's 0.4 %.
    page = page_of(console, f"/admin/bots/order/{order.pk}/change/")
    assert "Its paper twin" in page
    assert "0.3 at 100.20, fee $0.1202" in page
    assert "9.98 bps better" in page
    page = page_of(console, f"/admin/bots/bot/{bot.pk}/shadow/")
    assert "0 filled live only, 0 on paper only" in page
    assert page.count("9.98 bps better") >= 2
    assert "$0.0301 gained" in page


def test_order_without_a_twin_says_nothing_of_one(bot: Bot, console: Client) -> None:
    order = send(live_intent(bot)).order
    assert "paper twin" not in page_of(console, f"/admin/bots/order/{order.pk}/change/")
    assert "No live order has a twin yet" in page_of(console, f"/admin/bots/bot/{bot.pk}/shadow/")


def test_paper_bot_is_offered_none(desk: Desk) -> None:
    bot = make_bot()
    assert ON not in desk.get(f"/admin/bots/bot/{bot.pk}/change/")
    assert "be live" in desk.told(f"/admin/bots/bot/{bot.pk}/do/shadow-on/")[0]
    assert not shadows.is_shadowed(bot)


def test_page_and_switch_need_their_rights(desk: Desk) -> None:
    bot = make_bot()
    desk.as_staff("bots.view_bot")
    desk.get(f"/admin/bots/bot/{bot.pk}/shadow/", 403)
    assert desk.post(f"/admin/bots/bot/{bot.pk}/do/shadow-on/").status_code == 403
