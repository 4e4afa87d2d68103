"""Addresses and forms that can't be meant: a plain answer, and never a 500."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.conftest import CommittedDatabase

HUGE = "9" * 23
LOOKS = (
    "audit/operatorevent/?ts__year=99999999999", "audit/operatorevent/?ts__year=0", "audit/orderevent/?ts__gte=abc",
    f"audit/orderevent/?id__lt={HUGE}", "audit/orderevent/?id__lt=x", "audit/orderevent/?ts__date=x",
    "audit/orderevent/?details__a=b", f"audit/orderevent/{HUGE}/change/",
    "bots/order/?created_at__year=99999999999", f"bots/order/?bot_id={HUGE}", f"bots/order/?bot__id__exact={HUGE}",
    f"bots/order/{HUGE}/change/", f"bots/order/{HUGE}/cancel/", f"bots/order/{HUGE}/live/",
    f"bots/bot/{HUGE}/shadow/", f"safety/reconciliation/{HUGE}/", "bots/position/?quantity__gt=1e999999999",
    f"bots/bot/?poll_seconds={HUGE}", f"bots/bot/?p={HUGE}", "bots/bot/?p=-1", f"bots/bot/?o={HUGE}.x",
    "bots/bot/?dry_run__exact=2", "bots/bot/?capital_usd=NaN", "bots/bot/?capital_usd=1e999999999",
    f"bots/bot/?id__in={HUGE}", f"bots/bot/?e=1&id__in={HUGE}", f"bots/bot/{HUGE}/change/", f"bots/bot/{HUGE}/live/",
    f"auth/user/{HUGE}/change/", f"auth/user/{HUGE}/second-factor/", f"auth/user/{HUGE}/password/", "auth/user/x/change/",
    "auth/user/?last_login__year=0", f"auth/user/?last_login__month={HUGE}",
    "search/?s=a&page=x", "search/?s=a&page=0", f"search/?s=a&page={HUGE}", f"r/{HUGE}/1/", "autocomplete/?app_label=x",
)  # fmt: skip
BULK = {"bots/bot": "pause_bots", "bots/order": "cancel_selected"}


@pytest.fixture
def browser(committed_db: CommittedDatabase) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_superuser("operator", password="x"))
    return client


def test_look_at_what_can_not_be_is_no_fault_of_the_console(browser: Client) -> None:
    found = {url: browser.get(f"/admin/{url}").status_code for url in LOOKS}
    assert {url: status for url, status in found.items() if status >= 500} == {}


def test_filter_that_can_not_be_looked_up_leads_to_a_plain_page(browser: Client) -> None:
    response = browser.get("/admin/audit/orderevent/?ts__year=99999999999")
    assert (response.status_code, response.headers["Location"]) == (302, "/admin/audit/orderevent/?e=1")
    assert browser.get("/admin/audit/orderevent/?e=1").status_code == 200


@pytest.mark.parametrize("page", BULK)
@pytest.mark.parametrize(
    ("chosen", "status"), [("x", 400), ("1.5", 400), ("\0", 400), ("9" * 30, 400), ("", 400), ("-1", 302)]
)
def test_choice_that_is_no_row_changes_nothing(browser: Client, page: str, chosen: str, status: int) -> None:
    form = {"action": BULK[page], "_selected_action": [chosen], "index": "0"}
    response = browser.post(f"/admin/{page}/", form)
    assert response.status_code == status
