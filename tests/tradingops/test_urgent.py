"""What is urgent is on every page and on the Safety page until somebody says that he has seen it, with every channel off, too."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from audit.models import OperatorEvent
from safety.models import NotificationPrefs
from safety.notification_models import Notification
from safety.notifications import outbox, prefs
from safety.notifications.messages import EVENTS, URGENT
from tests.bots.admin.conftest import Desk, desk
from tests.bots.builders import floor, make_bot
from tests.tradingops.test_notifications_page import SEEN
from tests.tradingops.test_safety_page import as_member
from tradingops import urgent
from tradingops.urgent import COUNT_MAX, MATTERS_MAX, READ_MAX, UnseenCount, place_of, unseen_count

__all__ = ["desk", "floor"]

SAFETY = "/admin/safety/"
NEEDS_YOU, BANNER = 'id="needs-you"', "tc-banner-urgent"


def tell(event: str = "order_unknown", subject: str = "order:t-1", title: str = "Nobody knows", **how: Any) -> int:
    """Tell of something, and return its number."""
    outbox.tell(event, subject, title, how.pop("text", "Look at it."), **how)
    return Notification.objects.latest("id").pk


def bulk(count: int) -> None:
    """Tell of many urgent things at once."""
    now = timezone.now()
    Notification.objects.bulk_create(
        Notification(event_id=f"b{n}", event="order_unknown", severity="urgent", subject=f"order:{n}", title="t", created_at=now)
        for n in range(count)
    )  # fmt: skip


def shown(desk: Desk, url: str = SAFETY) -> str:
    return desk.get(url)


class TestPanel:
    @pytest.mark.parametrize("event", sorted(URGENT))
    def test_urgent_is_shown_with_every_channel_and_the_event_off(self, desk: Desk, event: str) -> None:
        off = dict.fromkeys(EVENTS, False)
        prefs.change(prefs.Change(enabled=False, discord=False, email=False, events=off), actor="x", reason="y")
        tell(event, title=f"this is {event}")
        for url in (SAFETY, "/admin/part/safety/"):
            page = shown(desk, url)
            assert NEEDS_YOU in page
            assert f"this is {event}" in page
        assert BANNER in shown(desk, "/admin/")

    @pytest.mark.parametrize("event", sorted(EVENTS.keys() - URGENT))
    def test_what_is_not_urgent_bothers_nobody(self, desk: Desk, event: str) -> None:
        tell(event)
        page = shown(desk)
        assert NEEDS_YOU not in page
        assert BANNER not in page

    def test_says_what_when_and_the_facts(self, desk: Desk) -> None:
        when = timezone.now() - timedelta(minutes=5)
        tell(text="Kraken is asked again.", facts=(("Bot", "scout"), ("Mode", "LIVE")), at=when)
        page = shown(desk)
        assert "Kraken is asked again." in page
        assert "Bot: scout · Mode: LIVE" in page
        assert f"{when:%Y-%m-%d %H:%M:%S} UTC (5 min ago)" in page

    def test_hundred_about_one_thing_are_one_with_a_count(self, desk: Desk) -> None:
        first = timezone.now() - timedelta(hours=2)
        for n in range(100):
            tell(at=first + timedelta(minutes=n))
        tell(subject="order:t-2", title="another")
        page = shown(desk)
        assert "100 times" in page
        assert page.count("Nobody knows") == 1
        assert "first 2 h ago" in page
        assert "another" in page
        assert "101 urgent messages that nobody has seen." not in page
        assert f"More than {COUNT_MAX} urgent messages" in page

    def test_what_was_told_before_in_other_words_is_named(self, desk: Desk) -> None:
        for title in ("No worker is alive", "No worker is alive", "The workers are back"):
            tell("worker_down", "workers", title)
        page = shown(desk)
        assert "<strong>The workers are back</strong>" in page
        assert "the latest of 3" in page
        assert "Before: No worker is alive</p>" in page

    @pytest.mark.parametrize(("earlier", "rest"), [(0, ""), (1, "t0"), (3, "t2; t1; t0"), (4, "t3; t2; t1 and others")])
    def test_earlier_words_are_bounded(self, desk: Desk, earlier: int, rest: str) -> None:
        for n in range(earlier + 1):
            tell(title=f"t{n}")
        assert urgent.urgent().matters[0].before == rest

    @pytest.mark.parametrize(
        ("count", "is_more"), [(MATTERS_MAX - 1, False), (MATTERS_MAX, False), (MATTERS_MAX + 1, True)]
    )
    def test_many_different_ones_are_cut_and_it_says_so(self, desk: Desk, count: int, is_more: bool) -> None:
        bulk(count)
        page = shown(desk)
        assert page.count('class="tc-matter"') == min(count, MATTERS_MAX)
        assert ("There is more" in page) is is_more

    def test_ten_thousand_cost_no_more_than_one(self, desk: Desk) -> None:
        tell()
        shown(desk)
        with CaptureQueriesContext(connection) as few:
            shown(desk)
        bulk(10_000)
        with CaptureQueriesContext(connection) as many:
            page = shown(desk)
        assert len(many) == len(few)
        assert len(page) < 400_000


class TestSeen:
    def test_marks_what_was_shown_and_nothing_that_came_since(self, desk: Desk) -> None:
        first = tell(title="the first")
        page = shown(desk)
        assert f'name="notification" value="{first}"' in page
        second = tell(title="the second")
        assert desk.told(SEEN, {"notification": [str(first)]})[0].startswith("Marked as seen: 1.")
        page = shown(desk)
        assert "the first" not in page
        assert f'name="notification" value="{second}"' in page
        kept = Notification.objects.get(pk=first)
        assert kept.seen_by == "operator"
        assert kept.seen_at is not None
        assert [one.object for one in OperatorEvent.objects.filter(action="notification_seen")] == [
            f"notification:{first}"
        ]

    def test_all_at_once(self, desk: Desk) -> None:
        numbers = [str(tell(subject=f"order:{n}")) for n in range(3)]
        assert "I have seen all of these" in shown(desk)
        desk.told(SEEN, {"notification": numbers})
        page = shown(desk)
        assert NEEDS_YOU not in page
        assert BANNER not in page

    def test_second_person_is_told_that_it_was_done(self, desk: Desk) -> None:
        number = str(tell())
        desk.told(SEEN, {"notification": number})
        desk.user = User.objects.create_superuser("olga", password="x")
        desk.client.force_login(desk.user)
        assert desk.told(SEEN, {"notification": number})[-1] == "Somebody has marked it as seen already."
        assert Notification.objects.get().seen_by == "operator"

    @pytest.mark.parametrize("number", ["", "x", "-1", "9" * 30, "²", "0"])
    def test_number_that_is_none_marks_nothing(self, desk: Desk, number: str) -> None:
        tell()
        desk.told(SEEN, {"notification": number})
        assert Notification.objects.get().seen_at is None

    def test_viewer_sees_it_and_cannot_take_it_away(self, desk: Desk) -> None:
        number = tell()
        as_member(desk, "Viewer")
        page = shown(desk)
        assert NEEDS_YOU in page
        assert SEEN not in page
        assert "takes the right to change notifications" in page
        assert desk.post(SEEN, {"notification": str(number)}).status_code == 403
        assert Notification.objects.get().seen_at is None


class TestBanner:
    @pytest.mark.parametrize("url", ["/admin/", "/admin/bots/bot/", "/admin/part/status/", "/admin/audit/orderevent/"])
    def test_is_on_every_page_and_leads_to_the_panel(self, desk: Desk, url: str) -> None:
        assert BANNER not in desk.get(url)
        tell()
        page = desk.get(url)
        assert "1 urgent message that nobody has seen." in page
        assert f'href="{SAFETY}#needs-you"' in page

    def test_strangers_are_told_nothing_of_it(self, desk: Desk) -> None:
        tell()
        desk.client.logout()
        assert BANNER not in desk.get("/admin/login/")

    def test_costs_one_query_a_page(self, desk: Desk) -> None:
        tell()
        with CaptureQueriesContext(connection) as captured:
            desk.get("/admin/bots/bot/")
        assert sum('FROM "notifications"' in query["sql"] for query in captured) == 1

    @pytest.mark.parametrize(
        ("count", "text"),
        [
            (1, "1 urgent message that nobody has seen."),
            (2, "2 urgent messages that nobody has seen."),
            (COUNT_MAX, f"{COUNT_MAX} urgent messages that nobody has seen."),
            (COUNT_MAX + 1, f"More than {COUNT_MAX} urgent messages that nobody has seen."),
        ],
    )
    def test_words(self, count: int, text: str) -> None:
        assert UnseenCount(count).text == text

    @pytest.mark.parametrize(
        ("told", "counted"), [(0, 0), (1, 1), (COUNT_MAX, COUNT_MAX), (COUNT_MAX + 40, COUNT_MAX + 1)]
    )
    def test_counting_is_bounded(self, desk: Desk, told: int, counted: int) -> None:
        bulk(told)
        assert unseen_count().count == counted

    def test_nothing_is_counted_twice_or_after_it_was_seen(self, desk: Desk) -> None:
        number = tell()
        assert unseen_count().count == 1
        desk.told(SEEN, {"notification": str(number)})
        assert not unseen_count()


@pytest.mark.parametrize(
    ("event", "subject", "url"),
    [
        ("order_unknown", "order:t-abc", "/admin/bots/order/?q=t-abc"),
        ("order_unknown", "order:a b&c", "/admin/bots/order/?q=a"),
        ("risk_alert", "bot:7 <script>", "/admin/bots/bot/7/change/"),
        ("risk_alert", "bot:x", "/admin/safety/#checklist"),
        ("risk_alert", f"bot:{'9' * 19}", "/admin/safety/#checklist"),
        ("reconciliation_mismatch", "order:t-abc", "/admin/safety/reconciliation/"),
        ("reconciliation_mismatch", "account:kraken BTC", "/admin/safety/reconciliation/"),
        ("kill_switch_engaged", "trading:bot:7", "/admin/safety/halt/"),
        ("worker_down", "workers", "/admin/"),
        ("audit_tampered", "chain:operator", "/admin/safety/#checklist"),
        ("order_unknown", "", "/admin/safety/#checklist"),
    ],
)
def test_link_leads_to_what_it_is_about(event: str, subject: str, url: str) -> None:
    assert place_of(Notification(event=event, subject=subject)).url == url


def test_links_of_the_panel_are_there(desk: Desk) -> None:
    bot = make_bot("scout")
    for event in sorted(URGENT):
        tell(event, f"bot:{bot.pk} scout")
        tell(event, "order:t-1")
        tell(event, "elsewhere")
    for matter in urgent.urgent().matters:
        assert desk.client.get(matter.place.url).status_code == 200, matter


def test_no_more_are_read_than_one_press_can_mark(desk: Desk) -> None:
    bulk(READ_MAX + 50)
    Notification.objects.update(subject="order:one")
    [matter] = urgent.urgent().matters
    assert matter.count == READ_MAX
    assert urgent.urgent().left_out
    desk.told(SEEN, {"notification": [str(number) for number in matter.numbers]})
    [rest] = urgent.urgent().matters
    assert (rest.count, urgent.urgent().left_out) == (50, False)


def test_prefs_say_nothing_about_the_panel(desk: Desk) -> None:
    """Not even a broken row of preferences hides what is urgent."""
    NotificationPrefs.objects.update(events={"order_unknown": "nonsense"}, enabled=False)
    tell()
    assert NEEDS_YOU in shown(desk)
