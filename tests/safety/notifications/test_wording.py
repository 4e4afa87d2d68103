"""A delivery in words, and the same words as Discord takes them."""

from typing import Any

import pytest
from pytest_django import Settings

from safety.notification_models import Delivery
from safety.notifications import outbox
from safety.notifications.discord.embeds import ALL_MAX, payload
from safety.notifications.messages import EVENTS, Message
from safety.notifications.wording import heading, message_of
from tests.safety.notifications.conftest import NOW, at, planned, tell

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("configured")]


def worded() -> Message:
    (delivery,) = planned()
    return message_of(delivery)


def test_single_one_says_what_its_cause_said() -> None:
    facts = (("Venue", "kraken"),)
    outbox.tell("order_unknown", "order:abc", "Unknown", "Look at it.", facts=facts, at=NOW, event_id="cause-1")
    message = worded()
    assert (message.title, message.text, message.event_id) == ("Unknown", "Look at it.", "cause-1")
    assert (message.at, message.severity.value, message.event) == (NOW, "urgent", "order_unknown")
    assert message.facts == (("About", "order:abc"), ("Venue", "kraken"))


def test_single_one_about_nothing_has_no_such_fact() -> None:
    tell(subject="")
    assert worded().facts == ()


def test_equal_ones_say_how_often_and_from_when_to_when() -> None:
    for number in range(37):
        tell(text="Look", seconds=number * 10)
    message = worded()
    assert (message.title, message.text) == ("Loss (37 times)", "Look")
    assert message.facts[0] == ("How often", "37 times, from 12:00:00 UTC to 12:06:00 UTC")


def test_different_ones_are_listed_with_their_counts_and_the_rest_counted() -> None:
    for number in range(20):
        tell("order_unknown", f"order:{number}", "Unknown", "text that a long list leaves out")
    tell("order_unknown", "order:3", "Unknown", "text that a long list leaves out", seconds=61)
    message = worded()
    lines = message.text.split("\n")
    assert message.title == "An order's outcome is unknown: 21 messages"
    assert (lines[0], lines[3]) == (
        "• 12:00:00 UTC Unknown (order:0)",
        "• 12:00:00 UTC Unknown (order:3), 2 times, the last at 12:01:01 UTC",
    )
    assert lines[15:] == ["• and 5 more: see Safety, Notifications"]


@pytest.mark.parametrize(("different", "told"), [(2, True), (6, True), (7, False)])
def test_few_different_ones_are_told_with_their_texts(different: int, told: bool) -> None:
    for number in range(different):
        tell(subject=f"bot:{number}", text="It lost\n3 %.")
    assert worded().text.split("\n")[0] == "• 12:00:00 UTC Loss (bot:0)" + (": It lost 3 %." if told else "")


@pytest.mark.parametrize(("length", "shown"), [(160, 160), (161, 161)])
def test_text_of_a_line_is_cut(length: int, shown: int) -> None:
    tell(text="x" * length)
    tell(text="y")
    line = worded().text.split("\n")[0].partition(": ")[2]
    assert len(line) == shown
    assert line.endswith("…") is (length > 160)


def test_equal_ones_beside_lines_that_were_cut_are_a_list() -> None:
    delivery = Delivery(event="risk_alert", event_id="x", severity="warning", count=3, first_at=NOW, last_at=NOW)
    line: dict[str, Any] = {"title": "Loss", "subject": "", "text": "", "facts": [], "count": 1, "severity": "warning"}
    delivery.lines = [{**line, "first_at": NOW.isoformat(), "last_at": NOW.isoformat()}]
    assert message_of(delivery).text.endswith("and 2 more: see Safety, Notifications")


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_has_a_heading_without_asides(event: str) -> None:
    assert heading(event)
    assert "(" not in heading(event)


def test_fullest_message_fits_into_discords_bounds(settings: Settings) -> None:
    for number in range(30):
        name = f"{number} " + "@*_`" * 48
        tell("order_unknown", name, name, "<@1>" * 500, seconds=number)
        tell("order_unknown", name, name, "<@1>" * 500, seconds=number)
    embed = payload(worded())["embeds"][0]
    texts = [embed["title"], embed["description"], embed["footer"]["text"]]
    assert sum(len(one.encode("utf-16-le")) // 2 for one in texts) <= ALL_MAX
    assert embed["footer"]["text"].startswith("event ")
    assert "<@1>" not in embed["description"]


def test_message_is_the_same_at_every_try() -> None:
    tell()
    (delivery,) = planned()
    first = message_of(delivery)
    delivery.attempts, delivery.tried_at = 7, at(500)
    assert message_of(delivery) == first
