"""What if: every control's verdict on an order that nobody sends, and nothing is left behind."""

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Group, User

from audit.models import OperatorEvent, OrderEvent
from bots.models import Account, Order
from safety import kill_switch
from safety.controls import CONTROLS
from safety.intents import Level, Side
from tests.bots.admin.conftest import Desk, desk
from tests.bots.builders import floor, make_bot, no_market, trade

__all__ = ["desk", "floor"]

PAGE = "/admin/safety/what-if/"


def ask(desk: Desk, **order: Any) -> str:
    given = {"bot": "1", "side": "buy", "type": "market", "quantity": "1", **order}
    response = desk.client.get(PAGE, given)
    assert response.status_code == 200
    return str(response.content.decode())


def test_form_is_there_for_everybody_who_may_look(desk: Desk) -> None:
    make_bot("scout")
    desk.user = User.objects.create_user("viewer", password="x", is_staff=True)
    desk.user.groups.add(Group.objects.get(name="Viewer"))
    desk.client.force_login(desk.user)
    assert "scout" in desk.get(PAGE)


@pytest.mark.parametrize("rights", [("bots.view_bot",), ("safety.view_tradingstate",)])
def test_both_rights_are_needed(desk: Desk, rights: tuple[str, ...]) -> None:
    desk.as_staff(*rights)
    assert desk.client.get(PAGE).status_code == 403


def test_order_that_passes_is_said_to_go_out(desk: Desk) -> None:
    bot = make_bot("scout")
    shown = ask(desk, bot=bot.pk)
    assert "It would go out now." in shown
    assert f"All {len(CONTROLS)} controls let it pass" in shown
    assert "buy 1 BTC-PERP at the market, by scout (paper)" in shown
    assert all(f"<code>{code}</code>" in shown for code in CONTROLS)


def test_denial_has_its_code_limit_and_actual(desk: Desk) -> None:
    bot = make_bot(capital_usd=Decimal(100_000))
    shown = ask(desk, bot=bot.pk, quantity="60", type="limit", price="100")
    assert "It would be denied" in shown
    assert "<code>NOTIONAL_ABOVE_MAX</code>" in shown
    assert "5000" in shown
    assert "6000" in shown


def test_halt_is_a_verdict_like_any_other(desk: Desk) -> None:
    bot = make_bot()
    kill_switch.engage(Level.HALTED, "prices look wrong", actor="olga")
    shown = ask(desk, bot=bot.pk)
    assert "It would be denied" in shown
    assert "prices look wrong" in shown


def test_nothing_is_left_behind(desk: Desk) -> None:
    bot = make_bot()
    before = (OrderEvent.objects.count(), OperatorEvent.objects.count(), Account.objects.count())
    ask(desk, bot=bot.pk)
    ask(desk, bot=bot.pk, quantity="60000")
    assert not Order.objects.exists()
    assert (OrderEvent.objects.count(), OperatorEvent.objects.count(), Account.objects.count()) == before


def test_sale_is_judged_against_what_is_held(desk: Desk) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "2")
    assert "It would go out now." in ask(desk, bot=bot.pk, side="sell", quantity="2")


def test_without_a_market_it_says_that_it_would_be_denied(desk: Desk) -> None:
    bot = make_bot()
    desk.floor.feed.broken = no_market("the feed is out")
    shown = ask(desk, bot=bot.pk)
    assert "so it would be denied" in shown
    assert "the feed is out" in shown


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"quantity": "0"}, "above zero"),
        ({"quantity": "-1"}, "above zero"),
        ({"quantity": "NaN"}, "Enter a number"),
        ({"quantity": ""}, "This field is required"),
        ({"quantity": "1e30"}, "less than or equal"),
        ({"type": "limit"}, "A limit order needs its price"),
        ({"type": "limit", "price": "0"}, "above zero"),
        ({"price": "100"}, "A market order has no price"),
        ({"bot": "999"}, "Select a valid choice"),
        ({"bot": "x"}, "Select a valid choice"),
        ({"side": "hold"}, "Select a valid choice"),
    ],
)
def test_bad_question_is_told_at_its_field(desk: Desk, change: dict[str, str], told: str) -> None:
    bot = make_bot()
    shown = ask(desk, **{"bot": bot.pk, **change})
    assert told in shown
    assert "It would" not in shown
