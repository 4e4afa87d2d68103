"""Whatever people or venues write is text on every page. The theme evaluates attributes, so that markup would be a script."""

from decimal import Decimal

import pytest
from django.utils import timezone

from audit.log import OrderEventRecord, record, unit
from audit.models import OperatorEvent, OrderEvent
from bots import manager
from bots.manager import NewBot
from bots.models import Bot, BotTick
from safety import kill_switch
from safety.intents import Level
from safety.notification_models import ChannelState, Delivery, Notification
from safety.notifications import outbox
from tests.bots.admin.conftest import Desk, desk
from tests.bots.builders import floor

__all__ = ["desk", "floor"]

MARKUP = "<i x-data x-init=alert(1)>"
PAGES = (
    "/admin/", "/admin/part/dashboard/", "/admin/part/status/",
    "/admin/safety/", "/admin/part/safety/", "/admin/part/safety/progress/", "/admin/safety/halt/", "/admin/safety/what-if/",
    "/admin/safety/dead-man/?account=kraken", "/admin/safety/notifications/", "/admin/part/notifications/",
    "/admin/safety/notification/", "/admin/safety/notification/{notification}/change/",
    "/admin/safety/delivery/", "/admin/safety/delivery/{delivery}/change/",
    "/admin/bots/bot/", "/admin/bots/bot/{bot}/change/", "/admin/bots/bot/{bot}/live/",
    "/admin/bots/bot/{bot}/do/archive/", "/admin/bots/bot/{bot}/do/close-position/",
    "/admin/bots/order/", "/admin/bots/position/", "/admin/bots/deal/",
    "/admin/audit/orderevent/", "/admin/audit/orderevent/{event}/change/",
    "/admin/audit/operatorevent/", "/admin/audit/operatorevent/{operator_event}/change/",
    "/admin/safety/risklimits/", "/admin/safety/risklimits/add/", "/admin/safety/tradingstate/",
    "/admin/safety/tradingstate/bot:{bot}/change/", "/admin/safety/setting/kill_switch/change/",
)  # fmt: skip


@pytest.fixture
def marked(desk: Desk) -> Bot:
    """A bot that is marked-up text wherever there is room for text."""
    bot = manager.create(NewBot(MARKUP, "replay", "BTC-PERP", "smart_dca", Decimal(1000), {}), actor=MARKUP)
    marks = dict.fromkeys(("last_error", "status_reason", "entries_held"), MARKUP)
    Bot.objects.filter(pk=bot.pk).update(**marks, last_error_at=bot.created_at, status="paused")
    BotTick.objects.filter(bot=bot).update(note=MARKUP, blocked_by=[{"message": MARKUP}, MARKUP])
    kill_switch.engage(Level.REDUCING, MARKUP, actor=MARKUP, scope=f"bot:{bot.pk}")
    kill_switch.engage(Level.REDUCING, MARKUP, actor=MARKUP)
    tell_of(MARKUP)
    details = {"reasons": [{"code": MARKUP, "message": MARKUP, "limit": MARKUP}]}
    with unit():
        record(
            OrderEventRecord(
                bot_id=bot.pk, client_order_id=MARKUP, venue="replay", symbol=MARKUP, side="buy", ord_type="market",
                price=None, amount=Decimal(1), venue_order_id=MARKUP, event="denied", status=MARKUP, reason=MARKUP,
                is_live=False, actor=MARKUP, details=details,
            )
        )  # fmt: skip
    return bot


def tell_of(text: str) -> None:
    """Tell of something urgent that is this text wherever there is room for text, and have a channel give it up."""
    now = timezone.now()
    outbox.tell("order_unknown", text, text, text, facts=((text, text),))
    line = {"title": text, "subject": text, "text": text, "facts": [[text, text]], "count": 1}
    Delivery.objects.create(
        channel="discord", event_id="x", event="order_unknown", severity="urgent", status="dead", detail=text, attempts=2,
        lines=[line | {"first_at": now.isoformat(), "last_at": now.isoformat()}],
        first_at=now, last_at=now, give_up_at=now, created_at=now,
    )  # fmt: skip
    ChannelState.objects.update_or_create(name="discord", defaults={"failing_since": now, "detail": text})


@pytest.mark.parametrize("page", PAGES)
def test_markup_is_shown_as_text(desk: Desk, marked: Bot, page: str) -> None:
    ids = {
        "bot": marked.pk,
        "event": OrderEvent.objects.get().pk,
        "notification": Notification.objects.latest("pk").pk,
        "delivery": Delivery.objects.latest("pk").pk,
        "operator_event": OperatorEvent.objects.latest("pk").pk,
    }
    shown = desk.get(page.format(**ids))
    assert "&lt;i x-data x-init=alert(1)&gt;" in shown
    assert MARKUP not in shown


@pytest.mark.parametrize("key", ["start", "pause", "stop", "close-position"])
def test_markup_in_an_answer_is_shown_as_text(desk: Desk, marked: Bot, key: str) -> None:
    desk.post(f"/admin/bots/bot/{marked.pk}/do/{key}/", {"confirmed": "yes"})
    assert MARKUP not in desk.get("/admin/bots/bot/")
    desk.post("/admin/bots/bot/", {"action": f"{key.replace('-', '_')}_bots", "_selected_action": [str(marked.pk)]})
    assert MARKUP not in desk.get("/admin/bots/bot/")
