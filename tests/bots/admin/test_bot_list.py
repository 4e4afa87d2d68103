"""The list of bots: what it says of each, and what it costs."""

import re
from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from bots.models import Bot, BotTick, Position
from safety.intents import Side
from tests.bots.admin.conftest import Desk
from tests.bots.builders import make_bot, no_market, position_of, trade

LIST = "/admin/bots/bot/"
QUERIES_MAX = 25


def test_list_of_fifty_bots_costs_as_many_queries_as_one_of_two(
    desk: Desk, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(50):
        make_bot(f"bot {number}", running=False)
    for bot in Bot.objects.all()[:25]:
        Position.objects.create(bot=bot, is_live=False, quantity=Decimal(1), cost=Decimal(90))
    with django_assert_max_num_queries(QUERIES_MAX):
        page = desk.get(LIST)
    assert page.count("BTC-PERP") >= 50


def test_position_is_shown_with_its_value_at_the_current_bid(desk: Desk) -> None:
    trade(make_bot(), Side.BUY, "2")
    desk.floor.feed.move_to("150", "151")
    page = desk.get(LIST)
    assert "$300.00" in page
    assert "REPLAY" in page


def test_unrealised_gain_has_sign_and_arrow_beside_its_colour(desk: Desk) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "2")
    # Two units at a bid that is 50 above what one cost.
    desk.floor.feed.move_to(f"{position_of(bot).cost / 2 + 50:f}", "160")
    assert re.search(r"tc-gain.*▲.*\+\$100\.00", desk.get(LIST))


def test_unrealised_loss_has_sign_and_arrow_beside_its_colour(desk: Desk) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "2")
    desk.floor.feed.move_to(f"{position_of(bot).cost / 2 - 25:f}", "99")
    assert re.search(r"tc-loss.*▼.*-\$50\.00", desk.get(LIST))


def test_value_is_called_old_when_the_market_does_not_answer(desk: Desk) -> None:
    trade(make_bot(), Side.BUY, "2")
    desk.floor.feed.broken = no_market()
    assert "(old price)" in desk.get(LIST)


@pytest.mark.parametrize(("age_s", "is_warned"), [(29, False), (31, True)])
def test_running_bot_without_a_tick_for_long_is_called_unticked(desk: Desk, age_s: int, is_warned: bool) -> None:
    bot = make_bot()
    BotTick.objects.filter(bot=bot).update(ticked_at=timezone.now() - timedelta(seconds=age_s))
    assert ("No worker is ticking it" in desk.get(LIST)) == is_warned


def test_running_bot_that_never_ticked_is_called_unticked(desk: Desk) -> None:
    make_bot()
    assert "No worker is ticking it" in desk.get(LIST)


def test_stopped_bot_is_not_called_unticked(desk: Desk) -> None:
    make_bot(running=False)
    assert "No worker is ticking it" not in desk.get(LIST)


def test_last_error_and_blocks_are_shown_and_escaped(desk: Desk) -> None:
    bot = make_bot()
    Bot.objects.filter(pk=bot.pk).update(last_error="ValueError: <script>alert(1)</script>")
    BotTick.objects.filter(bot=bot).update(blocked_by=[{"code": "MARKET_CLOSED", "message": "The market is shut."}])
    page = desk.get(LIST)
    assert "The market is shut." in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert(1)" not in page


def test_list_is_empty_for_nobody_but_those_who_may_look(desk: Desk) -> None:
    desk.as_staff("audit.view_orderevent")
    desk.get(LIST, status=403)
    desk.as_staff("bots.view_bot")
    desk.get(LIST)
