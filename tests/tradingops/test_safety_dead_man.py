"""The dead-man switch on the Safety page: it says how it stands, and is turned by who may, freshly signed in, with a reason."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from audit.models import OperatorEvent
from bots import dead_man
from bots.models import DeadManSwitch, Order
from bots.order_states import OrderStatus
from safety.permissions import OPERATOR, RISK_MANAGER
from tests.bots.admin.conftest import Desk, desk
from tests.bots.builders import floor, make_bot
from tests.tradingops.test_safety_page import PAGE, PART, as_member, password_given, section

__all__ = ["desk", "floor"]

ADDRESS = "/admin/safety/dead-man/?account=kraken"


def switch() -> DeadManSwitch:
    return DeadManSwitch.objects.get(account="kraken")


def put(**fields: object) -> None:
    DeadManSwitch.objects.filter(account="kraken").update(**fields)


def resting() -> None:
    now = timezone.now()
    Order.objects.create(
        client_order_id="t-rests", bot=make_bot(), venue="kraken", symbol="BTC/USD", side="buy", type="limit",
        quantity=Decimal(1), limit_price=Decimal(9), is_live=True, status=OrderStatus.ACCEPTED, created_at=now,
        updated_at=now, deadline_at=now, actor="test", leg="base",
    )  # fmt: skip


def shown(desk: Desk) -> str:
    return section(desk.client.get(PART).content.decode(), "dead-man")


def test_it_is_off_and_offered(desk: Desk) -> None:
    password_given(desk)
    page = section(desk.client.get(PAGE).content.decode(), "dead-man")
    assert "Nobody has switched it on." in page
    assert "Switch on…" in page


def test_it_says_how_it_stands(desk: Desk) -> None:
    now = timezone.now()
    put(is_wanted=True)
    assert "no order of ours rests there" in shown(desk)
    resting()
    assert "a worker has to wind it up" in shown(desk)
    put(fires_at=now + timedelta(seconds=45), asked_at=now)
    assert "Fires in 4" in shown(desk)
    put(failure="Kraken did not answer in time", failed_at=now, fires_at=None)
    assert "Could not be refreshed" in shown(desk)
    assert "Whether it is on is not known." in shown(desk)
    put(is_wanted=False, failure="", fired_at=now - timedelta(hours=1))
    page = shown(desk)
    assert "they stay at the venue if the console dies" in page
    assert "It last ran out" in page


def test_page_says_what_it_cancels_before_anything_is_turned(desk: Desk) -> None:
    password_given(desk)
    page = desk.client.get(ADDRESS).content.decode()
    assert "every order of the account" in page
    assert "a stop-loss" in page
    assert not switch().is_wanted


def test_turned_on_and_off_with_a_reason(desk: Desk) -> None:
    password_given(desk)
    answer = desk.client.post(ADDRESS, {"wanted": "1", "reason": "we travel"})
    assert (answer.status_code, answer["Location"]) == (302, "/admin/safety/#dead-man")
    # A second click of the same page changes nothing back.
    desk.client.post(ADDRESS, {"wanted": "1", "reason": "we travel"})
    assert switch().is_wanted
    event = OperatorEvent.objects.get(action="dead_man_on")
    assert (event.reason, event.object) == ("we travel", "account:kraken")
    assert "Switch the dead-man switch of kraken off?" in desk.client.get(ADDRESS).content.decode()
    desk.client.post(ADDRESS, {"wanted": "0", "reason": "back"})
    assert not switch().is_wanted
    assert OperatorEvent.objects.filter(action="dead_man_off").count() == 1


@pytest.mark.parametrize(
    "given", [{}, {"wanted": "1"}, {"wanted": "1", "reason": "  "}, {"wanted": "2", "reason": "x"}]
)
def test_without_a_reason_or_a_way_nothing_is_turned(desk: Desk, given: dict[str, str]) -> None:
    password_given(desk)
    assert desk.client.post(ADDRESS, given).status_code == 200
    assert not switch().is_wanted


def test_account_without_a_switch_is_not_found(desk: Desk) -> None:
    password_given(desk)
    for account in ("alpaca", "", "kraken'"):
        assert desk.client.get("/admin/safety/dead-man/", {"account": account}).status_code == 404


def test_only_a_risk_manager_freshly_signed_in(desk: Desk) -> None:
    given = {"wanted": "1", "reason": "why"}
    as_member(desk, OPERATOR)
    password_given(desk)
    assert desk.client.post(ADDRESS, given).status_code == 403
    assert "Switch on…" not in section(desk.client.get(PAGE).content.decode(), "dead-man")
    as_member(desk, RISK_MANAGER)
    password_given(desk, ago_s=3600)
    desk.client.post(ADDRESS, given)
    assert not switch().is_wanted
    password_given(desk)
    desk.client.post(ADDRESS, given)
    assert switch().is_wanted
    assert dead_man.views(timezone.now())[0].is_wanted
