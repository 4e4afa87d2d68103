"""Why a bot trades, or not: the judgement now, the kept ones, and any moment before, for whoever may look."""

from datetime import timedelta
from decimal import Decimal
from urllib.parse import quote

import pytest
from django.utils import timezone

from bots import manager
from bots.models import Bot, BotDecision
from safety import kill_switch
from safety.intents import Level, Side
from tests.bots.admin.conftest import Desk
from tests.bots.builders import make_bot, no_market, trade


def page(bot: Bot) -> str:
    return f"/admin/bots/bot/{bot.pk}/change/"


def why(bot: Bot, at: str = "") -> str:
    return f"/admin/bots/bot/{bot.pk}/why/" + (f"?at={quote(at)}" if at else "")


def made_ago(bot: Bot, minutes: int) -> None:
    Bot.objects.filter(pk=bot.pk).update(created_at=timezone.now() - timedelta(minutes=minutes))


def kept(bot: Bot, minutes_ago: float, **changes: object) -> BotDecision:
    fields: dict[str, object] = {
        "action": "trade_allowed", "regime": "range", "confidence": Decimal("0.8"), "score": 60, "version": 1,
        "parts": {"trend": 50}, "inputs": {"close": "99.99", "volatility_ratio": "1.25"}, **changes,
    }  # fmt: skip
    return BotDecision.objects.create(bot=bot, decided_at=timezone.now() - timedelta(minutes=minutes_ago), **fields)


def test_page_says_what_is_thought_now_with_parts_cost_and_remedy(desk: Desk) -> None:
    bot = make_bot(score_min=100)
    shown = desk.get(page(bot))
    for text in (
        "Why it trades, or not", "Exits only: new entries wait", "manage_only", "this bot enters from 100 on",
        "INTELLIGENCE_SCORE_BELOW_MIN", "What to do:", "basis points of the value", 'aria-label="trend: ',
        "No decision is kept yet",
    ):  # fmt: skip
        assert text in shown, text


def test_free_bot_is_told_that_the_rest_is_up_to_strategy_and_controls(desk: Desk) -> None:
    shown = desk.get(page(make_bot()))
    assert "Entries and exits are allowed" in shown
    assert "Nothing in the market speaks against an entry." in shown


def test_halt_and_a_market_without_prices_are_told(desk: Desk) -> None:
    bot = make_bot()
    kill_switch.engage(Level.HALTED, "a drill", actor="test", scope=f"bot:{bot.pk}")
    assert "Nothing but cancels" in desk.get(page(bot))
    desk.floor.feed.broken = no_market("the feed is out")
    shown = desk.get(f"/admin/bots/bot/{bot.pk}/why/now/")
    assert "There are no candles to judge by" in shown
    assert "the feed is out" in shown


def test_archived_bot_is_not_judged(desk: Desk) -> None:
    bot = make_bot(running=False)
    manager.archive(bot.pk, actor="test")
    assert "its market is not judged any more" in desk.get(page(bot))


def test_part_is_the_part_alone(desk: Desk) -> None:
    part = desk.get(f"/admin/bots/bot/{make_bot().pk}/why/now/")
    assert part.lstrip().startswith('<div id="tc-why"')
    assert "<html" not in part
    assert "<form" not in part


def test_decision_that_held_at_a_moment_is_shown_with_its_inputs(desk: Desk) -> None:
    bot = make_bot()
    made_ago(bot, 200)
    kept(bot, 120, score=11)
    middle = kept(bot, 60, score=22, action="manage_only", reasons=[{"code": "STALE_QUOTE", "message": "13 s old"}])
    last = kept(bot, 30, score=33)
    at = middle.decided_at + timedelta(minutes=5)
    shown = desk.get(why(bot, f"{at:%Y-%m-%d %H:%M:%S}"))
    assert "22 of 100" in shown
    assert "INTELLIGENCE_STALE_QUOTE" in shown
    assert "13 s old" in shown
    assert "volatility ratio" in shown
    assert f"it held until {last.decided_at:%Y-%m-%d %H:%M:%S} UTC" in shown
    assert "33 of 100" in desk.get(why(bot))
    assert "it held until now" in desk.get(why(bot))


@pytest.mark.parametrize(("shift_us", "score"), [(-1, "11 of 100"), (0, "22 of 100"), (1, "22 of 100")])
def test_decision_holds_from_its_very_moment(desk: Desk, shift_us: int, score: str) -> None:
    bot = make_bot()
    made_ago(bot, 200)
    kept(bot, 120, score=11)
    at = kept(bot, 60, score=22).decided_at + timedelta(microseconds=shift_us)
    assert score in desk.get(why(bot, at.isoformat()))


def test_links_of_the_list_lead_to_that_moment(desk: Desk) -> None:
    bot = make_bot()
    made_ago(bot, 200)
    kept(bot, 120, score=11)
    kept(bot, 60, score=22)
    shown = desk.get(page(bot))
    links = [part.split('"')[0] for part in shown.split(f'href="/admin/bots/bot/{bot.pk}/why/?at=')[1:]]
    assert len(links) == 2
    assert "22 of 100" in desk.get(f"/admin/bots/bot/{bot.pk}/why/?at={links[0]}")
    assert "11 of 100" in desk.get(f"/admin/bots/bot/{bot.pk}/why/?at={links[1]}")


def test_orders_denials_and_acts_around_the_moment_are_shown(desk: Desk) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "1")
    trade(bot, Side.BUY, "900")
    manager.pause(bot.pk, actor="ann", reason="to look at it")
    shown = desk.get(why(bot))
    assert "denied" in shown
    assert "filled" in shown
    assert "to look at it" in shown
    made_ago(bot, 200)
    earlier = desk.get(why(bot, f"{timezone.now() - timedelta(minutes=30):%Y-%m-%d %H:%M:%S}"))
    assert "There was none." in earlier
    assert "to look at it" not in earlier
    assert "No decision from before that moment is kept" in earlier


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("yesterday", "That is not a time"),
        ("2026-02-30 10:00:00", "That is not a time"),
        ("9" * 500, "That is not a time"),
        ("9999-12-31T23:59:59+00:00", "still to come"),
        ("0001-01-01T00:00:00+14:00", "That is not a time"),
        ("0001-01-01 00:00:00", "The bot was made at"),
        ("<script>alert(1)</script>", "That is not a time"),
    ],
)
def test_what_is_no_moment_is_said_and_nothing_breaks(desk: Desk, at: str, said: str) -> None:
    shown = desk.get(why(make_bot(), at))
    assert said in shown
    assert "<script>alert(1)" not in shown
    assert "What was thought at 2" not in shown


def test_what_is_stored_is_escaped_and_what_cannot_be_read_is_left_out(desk: Desk) -> None:
    bot = make_bot()
    bad = "<img src=x onerror=alert(1)>"
    kept(
        bot,
        0,
        reasons=[{"code": bad, "message": bad}, "odd"],
        parts={bad: 5, "odd": "text"},
        inputs={bad: bad},
        regime="?",
    )
    made_ago(bot, 5)
    for shown in (desk.get(why(bot)), desk.get(page(bot))):
        assert bad not in shown
        assert "&lt;img src=x" in shown


def test_other_zones_mean_the_same_moment(desk: Desk) -> None:
    bot = make_bot()
    made_ago(bot, 200)
    kept(bot, 60, score=22)
    at = (timezone.now() - timedelta(minutes=30)).replace(microsecond=0)
    shown = desk.get(why(bot, (at + timedelta(hours=5)).replace(tzinfo=None).isoformat() + "+05:00"))
    assert f"What was thought at {at:%Y-%m-%d %H:%M:%S} UTC" in shown
    assert "22 of 100" in shown


def test_only_who_may_see_bots_may_ask_and_acts_take_their_own_right(desk: Desk) -> None:
    bot = make_bot()
    manager.pause(bot.pk, actor="ann", reason="to look at it")
    desk.as_staff("bots.view_bot")
    assert "to look at it" not in desk.get(why(bot)).split("What was done to the bot")[-1]
    assert "What was done to the bot" not in desk.get(why(bot))
    desk.as_staff("audit.view_orderevent")
    desk.get(why(bot), status=403)
    desk.get(f"/admin/bots/bot/{bot.pk}/why/now/", status=403)
    desk.as_staff("bots.view_bot")
    desk.get("/admin/bots/bot/999999/why/", status=404)
