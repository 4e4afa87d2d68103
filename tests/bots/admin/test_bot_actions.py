"""What people do to bots from the pages: each a POST with the right to it, audited, and refused in plain English."""

from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from audit.models import OperatorEvent, OrderEvent
from bots import manager
from bots.admin.actions import ACTIONS
from bots.models import Bot, BotStatus, Order
from bots.order_states import OrderStatus
from safety import kill_switch
from safety.intents import Level, Side
from tests.bots.admin.conftest import Desk
from tests.bots.builders import actions_on, make_bot, position_of, trade

LIST = "/admin/bots/bot/"


def url(bot: Bot, key: str) -> str:
    return f"/admin/bots/bot/{bot.pk}/do/{key}/"


def status_of(bot: Bot) -> str:
    return Bot.objects.values_list("status", flat=True).get(pk=bot.pk)


@pytest.mark.parametrize(
    ("key", "running", "status"),
    [("start", False, "running"), ("pause", True, "paused"), ("stop", True, "stopped")],
)
def test_action_does_what_it_says_with_the_person_as_actor(desk: Desk, key: str, running: bool, status: str) -> None:
    bot = make_bot(running=running)
    assert bot.name in desk.told(url(bot, key))[0]
    assert status_of(bot) == status
    assert (f"bot_{status}", "operator") in {(action, actor) for action, actor, _, _ in actions_on(bot)}


@pytest.mark.parametrize("key", sorted(ACTIONS))
def test_get_never_changes_anything(desk: Desk, key: str) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "1")
    events = OperatorEvent.objects.count(), OrderEvent.objects.count()
    response = desk.client.get(url(bot, key))
    assert response.status_code in (200, 405)
    assert (OperatorEvent.objects.count(), OrderEvent.objects.count()) == events
    assert status_of(bot) == BotStatus.RUNNING


@pytest.mark.parametrize("key", sorted(ACTIONS))
def test_action_without_the_right_to_it_is_forbidden(desk: Desk, key: str) -> None:
    bot = make_bot()
    desk.as_staff("bots.view_bot", "bots.change_bot")
    assert desk.post(url(bot, key), {"confirmed": "yes"}).status_code == 403
    assert status_of(bot) == BotStatus.RUNNING


def test_action_without_csrf_token_is_forbidden(desk: Desk) -> None:
    bot = make_bot()
    client = Client(enforce_csrf_checks=True)
    client.force_login(desk.user)
    response: Any = client.post(url(bot, "stop"))
    assert response.status_code == 403
    assert status_of(bot) == BotStatus.RUNNING


def test_action_of_an_unknown_name_is_not_found(desk: Desk) -> None:
    assert desk.post(url(make_bot(), "explode")).status_code == 404


def test_pause_of_a_stopped_bot_is_refused_in_plain_english(desk: Desk) -> None:
    bot = make_bot(running=False)
    assert desk.told(url(bot, "pause")) == ["bot: The bot is stopped. Start it first, if it should manage its exits."]


class TestClosePosition:
    def test_confirmation_names_what_will_be_sold(self, desk: Desk) -> None:
        bot = make_bot()
        trade(bot, Side.BUY, "2")
        page = desk.get(url(bot, "close-position"))
        assert "2 BTC-PERP" in page
        assert "$199.98" in page
        assert "paused" in page

    def test_post_without_confirmation_asks_and_sells_nothing(self, desk: Desk) -> None:
        bot = make_bot()
        trade(bot, Side.BUY, "2")
        response = desk.post(url(bot, "close-position"))
        assert "Yes, sell now" in response.content.decode()
        assert position_of(bot).quantity == 2

    def test_confirmed_close_sells_everything_and_pauses(self, desk: Desk) -> None:
        bot = make_bot()
        trade(bot, Side.BUY, "2")
        told = desk.told(url(bot, "close-position"), {"confirmed": "yes"})
        assert told[0].startswith("Sold 2 BTC-PERP at ")
        assert position_of(bot).quantity == 0
        assert status_of(bot) == BotStatus.PAUSED
        assert OrderEvent.objects.filter(bot_id=bot.pk, actor="operator", event="filled").exists()

    def test_close_while_halted_is_denied_with_the_reason(self, desk: Desk) -> None:
        bot = make_bot()
        trade(bot, Side.BUY, "2")
        kill_switch.engage(Level.HALTED, "a drill", actor="test")
        told = desk.told(url(bot, "close-position"), {"confirmed": "yes"})
        assert "Nothing was sold" in told[0]
        assert "a drill" in told[0]
        assert position_of(bot).quantity == 2

    def test_close_of_a_flat_bot_is_refused(self, desk: Desk) -> None:
        told = desk.told(url(make_bot(), "close-position"), {"confirmed": "yes"})
        assert "There is nothing to close" in told[0]


class TestArchive:
    def test_archive_asks_first_then_retires(self, desk: Desk) -> None:
        bot = make_bot()
        assert "Retire for good?" in desk.get(url(bot, "archive"))
        desk.told(url(bot, "archive"), {"confirmed": "yes"})
        assert status_of(bot) == BotStatus.ARCHIVED

    def test_archive_of_a_bot_that_holds_something_is_refused(self, desk: Desk) -> None:
        bot = make_bot()
        trade(bot, Side.BUY, "2")
        assert "still holds 2 BTC-PERP" in desk.told(url(bot, "archive"), {"confirmed": "yes"})[0]
        assert status_of(bot) == BotStatus.RUNNING

    def test_archived_bot_offers_no_actions(self, desk: Desk) -> None:
        bot = make_bot()
        manager.archive(bot.pk, actor="test")
        assert "/do/" not in desk.get(f"/admin/bots/bot/{bot.pk}/change/")


class TestBulk:
    def act(self, name: str, *bots: Bot, **more: str) -> dict[str, Any]:
        return {"action": name, "_selected_action": [str(bot.pk) for bot in bots], **more}

    def test_one_refusal_stops_no_other(self, desk: Desk) -> None:
        stopped, running = make_bot("a", running=False), make_bot("b")
        told = desk.told(LIST, self.act("pause_bots", stopped, running))
        assert [status_of(stopped), status_of(running)] == ["stopped", "paused"]
        assert told[0].startswith("a: The bot is stopped.")
        assert told[1].startswith("b is paused")

    def test_bulk_close_asks_naming_each_and_then_sells(self, desk: Desk) -> None:
        first, second = make_bot("a"), make_bot("b")
        trade(first, Side.BUY, "2")
        trade(second, Side.BUY, "3")
        page = desk.post(LIST, self.act("close_position_bots", first, second)).content.decode()
        assert "2 BTC-PERP" in page
        assert "3 BTC-PERP" in page
        assert position_of(first).quantity == 2
        desk.told(LIST, self.act("close_position_bots", first, second, confirmed="yes"))
        assert [position_of(bot).quantity for bot in (first, second)] == [0, 0]

    def test_bulk_action_without_the_right_is_not_offered_and_not_done(self, desk: Desk) -> None:
        bot = make_bot()
        desk.as_staff("bots.view_bot")
        assert "stop_bots" not in desk.get(LIST)
        desk.post(LIST, self.act("stop_bots", bot))
        assert status_of(bot) == BotStatus.RUNNING

    def test_deleting_is_not_offered_and_not_possible(self, desk: Desk) -> None:
        bot = make_bot()
        assert "delete_selected" not in desk.get(LIST)
        assert desk.client.post(f"/admin/bots/bot/{bot.pk}/delete/", {"post": "yes"}).status_code == 403
        assert Bot.objects.filter(pk=bot.pk).exists()


class TestCancelOrder:
    def resting(self) -> Order:
        return trade(make_bot(), Side.BUY, "1", limit="90").order

    def test_order_page_offers_the_cancel_only_while_it_rests(self, desk: Desk) -> None:
        order = self.resting()
        page = f"/admin/bots/order/{order.pk}/change/"
        assert "Cancel this order" in desk.get(page)
        told = desk.told(f"/admin/bots/order/{order.pk}/cancel/", {"confirmed": "yes"})
        assert told == [f"Order {order.client_order_id} is canceled."]
        assert "Cancel this order" not in desk.get(page)

    def test_cancel_asks_first(self, desk: Desk) -> None:
        order = self.resting()
        for answer in (desk.client.get, desk.client.post):
            response: Any = answer(f"/admin/bots/order/{order.pk}/cancel/")
            assert "Yes, cancel" in response.content.decode()
        order.refresh_from_db()
        assert order.status == OrderStatus.ACCEPTED

    def test_cancel_of_what_has_ended_is_refused(self, desk: Desk) -> None:
        order = trade(make_bot(), Side.BUY, "1").order
        told = desk.told(f"/admin/bots/order/{order.pk}/cancel/", {"confirmed": "yes"})
        assert told == [f"{order.client_order_id}: The order is filled: there is nothing left to cancel."]

    def test_cancel_without_the_right_is_forbidden(self, desk: Desk) -> None:
        order = self.resting()
        desk.as_staff("bots.view_order")
        assert desk.post(f"/admin/bots/order/{order.pk}/cancel/", {"confirmed": "yes"}).status_code == 403
        assert "Cancel this order" not in desk.get(f"/admin/bots/order/{order.pk}/change/")

    def test_cancel_goes_through_while_halted(self, desk: Desk) -> None:
        order = self.resting()
        kill_switch.engage(Level.HALTED, "a drill", actor="test")
        desk.told(f"/admin/bots/order/{order.pk}/cancel/", {"confirmed": "yes"})
        order.refresh_from_db()
        assert order.status == OrderStatus.CANCELED

    def test_bulk_cancel_asks_then_cancels(self, desk: Desk) -> None:
        order = self.resting()
        act = {"action": "cancel_selected", "_selected_action": [str(order.pk)]}
        assert order.client_order_id in desk.post("/admin/bots/order/", act).content.decode()
        desk.told("/admin/bots/order/", {**act, "confirmed": "yes"})
        order.refresh_from_db()
        assert order.status == OrderStatus.CANCELED
        assert order.quantity == Decimal(1)
