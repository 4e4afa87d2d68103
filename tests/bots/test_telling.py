"""Who is told what, when: each cause once, with what a person needs at night, and never a secret."""

import re
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone
from pytest_django import Settings

from audit.log import unit
from bots import loss_triggers, manager, telling
from bots.account_chores import measure_paper_accounts
from bots.going_live import set_live, set_paper
from bots.models import Account, Bot, BotStatus, Order, Position
from bots.order_states import OrderStatus
from bots.reconciliation import alarms
from bots.sweep import TELL_AFTER, tell_of_unknown
from safety import kill_switch
from safety.intents import Side
from safety.notification_models import Notification
from safety.notifications.outbox import tell
from safety.notifications.scrub import INSTEAD, without_secrets
from tests.bots.builders import Floor, Worker, make_bot, trade
from tests.bots.kraken import KrakenFeed, install_kraken, kraken_bot
from tests.bots.live import live_desk, live_intent, send
from tests.conftest import CommittedDatabase
from tests.loopback import faults
from tests.loopback.client import KrakenLoopback


def told(event: str) -> list[Notification]:
    return list(Notification.objects.filter(event=event).order_by("id"))


def facts(one: Notification) -> dict[str, str]:
    return dict(one.facts)


# Going live and back.


@pytest.fixture
def feed(committed_db: CommittedDatabase, floor: Floor, monkeypatch: pytest.MonkeyPatch) -> KrakenFeed:
    return install_kraken(monkeypatch)


def test_going_live_and_back_is_told_once_each(feed: KrakenFeed) -> None:
    bot = kraken_bot()
    for _ in range(2):
        set_live(bot.pk, actor="anna", confirm=bot.name, reason="four weeks went well")
    for _ in range(2):
        set_paper(bot.pk, actor="ben", reason="a quiet week")
    [enabled], [disabled] = told("live_enabled"), told("live_disabled")
    assert (enabled.severity, enabled.title) == ("warning", f"{bot.name} was set LIVE")
    assert facts(enabled)["Mode"] == "LIVE"
    assert (facts(enabled)["By"], facts(enabled)["Why"]) == ("anna", "four weeks went well")
    assert (disabled.severity, facts(disabled)["Mode"], facts(disabled)["By"]) == ("info", "PAPER", "ben")


def test_a_bot_that_was_not_set_live_is_not_told_of(feed: KrakenFeed) -> None:
    bot = kraken_bot()
    with pytest.raises(manager.BotActionError):
        set_live(bot.pk, actor="anna", confirm="another", reason="because")
    assert told("live_enabled") == []


# Orders.


@pytest.fixture
def live(committed_db: CommittedDatabase, kraken: KrakenLoopback, settings: Settings) -> Bot:
    return live_desk(kraken, settings)


def test_each_refusal_of_a_venue_is_told_with_its_reason(live: Bot, kraken: KrakenLoopback) -> None:
    kraken.fault(faults.venue_error("AddOrder", "EOrder:Insufficient funds", count=1))
    order = send(live_intent(live)).order
    assert order.status == OrderStatus.REJECTED
    [one] = told("order_rejected")
    assert (one.severity, one.subject) == ("warning", f"bot:{live.pk} {live.name}")
    assert one.title == f"Kraken refused an order of {live.name}"
    assert "Insufficient funds" in one.text
    assert facts(one)["Order id"] == order.client_order_id
    # This desk's Kraken is a loopback one: whoever reads it must not take it for real money.
    assert facts(one)["Mode"] == "LIVE (rehearsal: no real money)"


def test_a_fill_and_a_denial_are_no_refusal(live: Bot) -> None:
    assert send(live_intent(live)).order.status == OrderStatus.FILLED
    assert send(live_intent(live, quantity="99")).is_denied
    assert told("order_rejected") == []


def test_an_unknown_outcome_is_told_once_and_after_a_while(live: Bot, kraken: KrakenLoopback) -> None:
    kraken.fault(faults.request_lost("AddOrder"))
    send(live_intent(live))
    order = Order.objects.get(status=OrderStatus.UNKNOWN)
    now = timezone.now()
    for moment in (now, order.updated_at + TELL_AFTER):
        tell_of_unknown(moment)
        assert told("order_unknown") == []
    for _ in range(2):
        tell_of_unknown(order.updated_at + TELL_AFTER + timedelta(seconds=1))
    [one] = told("order_unknown")
    assert one.severity == "urgent"
    assert live.name in one.title
    assert "Do not send it again" in one.text
    assert facts(one)["Order"].startswith("buy 0.3")


@pytest.mark.django_db
@pytest.mark.parametrize("event", [alarms.MISMATCH, alarms.UNKNOWN, alarms.RISK])
def test_an_alarm_is_told_in_its_transaction_or_not_at_all(event: str) -> None:
    with suppress(RuntimeError), unit():
        alarms.alarm(event, "order:x", "gone wrong")
        raise RuntimeError("the change it tells of fails")
    assert told(event) == []
    alarms.alarm(event, "order:x", "gone wrong")
    [one] = told(event)
    assert (one.title, one.text) == (alarms.TITLES[event], "gone wrong")
    assert alarms.was_raised(event, "order:x")


# Bots that fail.


def fail(bot: Bot, error: Exception) -> None:
    with manager.locked(bot.pk) as stored:
        manager.pause_after_error(stored, error, actor="worker", now=timezone.now())


@pytest.mark.django_db
def test_a_tick_that_fails_is_told_when_it_pauses_the_bot_and_not_at_each_tick(floor: Floor) -> None:
    def broken(view: object) -> list[object]:
        raise ValueError("no such candle")

    floor.strategy("broken", broken)  # type: ignore[arg-type]
    bot, worker = make_bot(strategy="broken"), Worker()
    for seconds in range(3):
        worker.tick(bot, now=timezone.now() + timedelta(seconds=seconds))
    assert Bot.objects.get(pk=bot.pk).status == BotStatus.PAUSED
    [one] = told("bot_error")
    assert (one.title, one.severity) == ("bot failed and was paused", "warning")
    assert "no such candle" in one.text
    assert facts(one)["Mode"] == "PAPER"


@pytest.mark.django_db
def test_another_failure_of_a_paused_bot_is_told_once_however_its_words_change(floor: Floor) -> None:
    bot = make_bot()
    manager.pause(bot.pk, actor="anna")
    for number in range(4):
        fail(bot, ValueError(f"at second {number}"))
    assert [one.title for one in told("bot_error")] == ["bot is paused, and its exits fail"]
    fail(bot, KeyError("another"))
    assert len(told("bot_error")) == 2


# Losses.


@pytest.mark.django_db
def test_a_paper_bot_that_is_paused_for_its_loss_is_information(floor: Floor) -> None:
    bot = make_bot("loser")
    trade(bot, Side.BUY, "9")
    floor.feed.move_to("60", "60.01")
    for _ in range(2):
        measure_paper_accounts(timezone.now())
    [one] = told("risk_alert")
    assert (one.title, one.severity) == ("loser was paused by its limits", "info")
    assert "DAILY_LOSS" in one.text
    assert told("kill_switch_engaged") == []


@pytest.mark.django_db
@pytest.mark.parametrize(("streak", "is_told"), [(4, False), (5, True), (6, True)])
def test_rejections_in_a_row_are_told_when_they_pause_the_bot(floor: Floor, streak: int, is_told: bool) -> None:
    Position.objects.create(bot=make_bot(), is_live=False, reject_streak=streak)
    for _ in range(2):
        measure_paper_accounts(timezone.now())
    assert [one.severity for one in told("risk_alert")] == (["warning"] if is_told else [])


def test_a_live_loss_is_told_as_such_and_as_a_stop(feed: KrakenFeed) -> None:
    account = Account.objects.create(
        name="kraken", venue="kraken", is_live=True, equity_usd=Decimal(970), day_start_equity_usd=Decimal(1000)
    )
    for _ in range(2):
        loss_triggers.stop_live_losses(account)
    [alert], [stop] = told("risk_alert"), told("kill_switch_engaged")
    assert (alert.severity, stop.severity) == ("warning", "urgent")
    assert "DAILY_LOSS" in alert.text
    assert stop.title == "Reduce-only: Kraken only sells"
    kill_switch.release("seen", actor="anna", scope="venue:kraken")
    account.equity_usd = Decimal("970.01")
    account.save()
    loss_triggers.stop_live_losses(account)
    assert len(told("risk_alert")) == 1


@pytest.mark.django_db
@pytest.mark.parametrize(("streak", "age_h", "is_told"), [(4, 0, False), (5, 0, True), (5, 3.99, True), (5, 4, False)])
def test_a_losing_streak_is_told_once_while_it_holds_entries(
    floor: Floor, streak: int, age_h: float, is_told: bool
) -> None:
    now = timezone.now()
    lost_at = now - timedelta(hours=age_h)
    Position.objects.create(bot=make_bot(), is_live=False, losing_streak=streak, last_loss_at=lost_at)
    for _ in range(2):
        loss_triggers.tell_of_losing_streaks(now)
    assert [one.severity for one in told("risk_alert")] == (["info"] if is_told else [])
    if is_told:
        Position.objects.update(losing_streak=streak + 1, last_loss_at=lost_at + timedelta(minutes=1))
        loss_triggers.tell_of_losing_streaks(now)
        assert len(told("risk_alert")) == 2, "it lost again, and waits for longer"


@pytest.mark.django_db
def test_a_streak_whose_end_is_not_known_is_not_told(floor: Floor) -> None:
    Position.objects.create(bot=make_bot(), is_live=False, losing_streak=9, last_loss_at=None)
    loss_triggers.tell_of_losing_streaks(timezone.now())
    assert told("risk_alert") == []


# What must never be told, and what must never fail.


@pytest.mark.django_db
def test_no_secret_of_the_environment_is_told(settings: Settings) -> None:
    url = "https://discord.com/api/webhooks/123/tok3n-of-the-webhook"
    settings.ENVIRONMENT = replace(
        settings.ENVIRONMENT, kraken_api_secret="c2VjcmV0LW9mLWtyYWtlbg==", discord_webhook_url=url
    )
    text = f"HTTPError for {url} with c2VjcmV0LW9mLWtyYWtlbg=="
    tell("test", text, text, text, facts=(("What", text),))
    [one] = told("test")
    assert one.text == one.title == one.subject == f"HTTPError for {INSTEAD} with {INSTEAD}"
    assert facts(one)["What"] == one.text


@pytest.mark.parametrize(
    ("quoted", "kept"),
    [
        (
            "Max retries exceeded with url: /api/webhooks/123/tok3n-of-it?wait=true (Caused by …)",
            "?wait=true (Caused by …)",
        ),
        ("Failed to parse headers (url=https://discord.com:443/api/webhooks/123/tok3n-of-it?wait=true)", "?wait=true)"),
        ("GET /5f0c-heartbeat?create=1 failed", " failed"),
        ("535 b'pa:ss word1'", "'"),
        ("535 pa%3Ass%20word1", ""),
    ],
)
def test_no_part_of_a_secret_address_that_an_error_quotes_is_told(settings: Settings, quoted: str, kept: str) -> None:
    settings.ENVIRONMENT = replace(
        settings.ENVIRONMENT,
        discord_webhook_url="https://discord.com/api/webhooks/123/tok3n-of-it",
        heartbeat_url="https://hc.example.org/5f0c-heartbeat?create=1",
        email_url="smtp+tls://me:pa%3Ass%20word1@mail.example.org:587",
    )
    told_of = without_secrets(quoted)
    assert told_of.endswith(f"{INSTEAD}{kept}")
    assert not {"tok3n", "heartbeat", "word1"} & set(re.split(r"[^\w]", told_of))


@pytest.mark.parametrize("url", ["https://hc.example.org/", "https://[::1", "smtp://mail.example.org"])
def test_an_address_without_a_secret_part_cuts_no_holes(settings: Settings, url: str) -> None:
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, heartbeat_url=url)
    assert without_secrets("https://other.example.org/ and / stay") == "https://other.example.org/ and / stay"


def test_words_that_are_no_secrets_stay(settings: Settings) -> None:
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, kraken_api_key="", alpaca_api_key_live="short")
    assert without_secrets("a short word and nothing else") == "a short word and nothing else"


@pytest.mark.django_db
def test_a_text_that_no_database_takes_does_not_undo_what_it_tells_of() -> None:
    with unit():
        bot = make_bot(running=False)
        telling.tell_bot_error(bot, "nul \0 and half \ud800", was_running=True)
    assert Bot.objects.filter(pk=bot.pk).exists()
    assert "\0" not in told("bot_error")[0].text
