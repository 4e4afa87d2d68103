"""One bot's page and the moving part that it polls."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from bots import manager
from bots.admin import equity
from bots.models import Bot, BotTick, EquitySnapshot
from safety import kill_switch
from safety.intents import Level, Side
from tests.bots.admin.conftest import Desk
from tests.bots.builders import make_bot, no_market, trade

CENT = Decimal("0.01")


def page(bot: Bot) -> str:
    return f"/admin/bots/bot/{bot.pk}/change/"


def snapshot(bot: Bot, ago_s: int, equity_usd: str, realised: str = "0", *, is_live: bool = False) -> None:
    EquitySnapshot.objects.create(
        bot=bot,
        is_live=is_live,
        taken_at=timezone.now() - timedelta(seconds=ago_s),
        equity=Decimal(equity_usd),
        position_value=Decimal(0),
        realised_pnl=Decimal(realised),
        unrealised_pnl=Decimal(0),
    )


def test_page_shows_position_price_orders_fills_and_events(desk: Desk) -> None:
    bot = make_bot()
    order = trade(bot, Side.BUY, "2").order
    shown = desk.get(page(bot))
    for text in ("worth $199.98", "99.99", "from replay", "Last fills", "filled", f"/admin/bots/order/{order.pk}/"):
        assert text in shown


def test_moving_part_is_the_part_alone(desk: Desk) -> None:
    part = desk.get(f"/admin/bots/bot/{make_bot().pk}/live/")
    assert part.lstrip().startswith('<div id="tc-live"')
    assert "<html" not in part


def test_why_it_does_not_trade_is_told(desk: Desk) -> None:
    bot = make_bot()
    Bot.objects.filter(pk=bot.pk).update(entries_held="an order was adopted")
    BotTick.objects.filter(bot=bot).update(blocked_by=[{"code": "X", "message": "The quote is too old."}])
    shown = desk.get(page(bot))
    assert "New entries wait: an order was adopted" in shown
    assert "The quote is too old." in shown


def test_bot_that_nobody_ticks_is_not_said_to_be_free(desk: Desk) -> None:
    bot = make_bot()
    BotTick.objects.filter(bot=bot).update(ticked_at=timezone.now() - timedelta(minutes=5), note="watching")
    shown = desk.get(page(bot))
    assert "Nothing holds it back" not in shown
    assert "No worker is ticking it, so it does nothing. At its last tick (5 min ago) it said: watching." in shown


def test_halt_is_told_before_the_bot_has_met_it(desk: Desk) -> None:
    bot = make_bot()
    BotTick.objects.filter(bot=bot).update(ticked_at=timezone.now())
    assert "Nothing holds it back" in desk.get(page(bot))
    kill_switch.engage(Level.HALTED, "a drill", actor="test", scope=f"bot:{bot.pk}")
    shown = desk.get(page(bot))
    assert "Trading is halted: a drill." in shown
    assert "Nothing holds it back" not in shown


def test_halt_that_is_over_is_not_told_any_more(desk: Desk) -> None:
    bot = make_bot()
    BotTick.objects.filter(bot=bot).update(blocked_by=[{"code": "KILL_SWITCH", "message": "Trading is halted."}])
    assert "Trading is halted" not in desk.get(page(bot))


def test_unreadable_blocks_are_said_and_not_left_out(desk: Desk) -> None:
    bot = make_bot()
    BotTick.objects.filter(bot=bot).update(blocked_by={"odd": 1})
    assert "cannot be read" in desk.get(page(bot))


def test_market_that_does_not_answer_is_told_and_no_price_is_made_up(desk: Desk) -> None:
    bot = make_bot()
    desk.floor.feed.broken = no_market("the feed is out")
    shown = desk.get(page(bot))
    assert "not known" in shown
    assert "the feed is out" in shown


def test_stale_quote_is_called_too_old(desk: Desk) -> None:
    bot = make_bot()
    desk.floor.feed.quote_age_s = 13
    assert "too old to enter on" in desk.get(page(bot))
    desk.floor.feed.quote_age_s = 11
    assert "too old to enter on" not in desk.get(page(bot))


def test_stopped_bot_with_a_position_is_called_unmanaged(desk: Desk) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "2")
    assert "Nobody manages this position" not in desk.get(page(bot))
    manager.stop(bot.pk, actor="test")
    assert "Nobody manages this position" in desk.get(page(bot))


@pytest.mark.parametrize("bot_id", ["999999", "abc"])
def test_bot_that_is_not_there_is_not_found(desk: Desk, bot_id: str) -> None:
    desk.get(f"/admin/bots/bot/{bot_id}/change/", status=404)


@pytest.mark.parametrize("part", ["change", "live", "equity"])
def test_page_and_its_parts_need_the_right_to_look(desk: Desk, part: str) -> None:
    bot = make_bot()
    desk.as_staff("audit.view_orderevent")
    desk.get(f"/admin/bots/bot/{bot.pk}/{part}/", status=403)


def test_signed_out_browser_is_sent_to_the_sign_in(desk: Desk) -> None:
    bot = make_bot()
    desk.client.logout()
    response = desk.client.get(page(bot))
    assert response.status_code == 302
    assert response.headers["Location"].startswith("/admin/login/")


@pytest.mark.parametrize(
    "url",
    ["/admin/", "/admin/login/", "/admin/bots/bot/", "/admin/bots/bot/add/", "/admin/bots/order/", "/admin/bots/fill/",
     "/admin/bots/position/", "/admin/bots/deal/", "/admin/audit/orderevent/", "/admin/audit/operatorevent/",
     "/admin/safety/setting/", "/admin/safety/tradingstate/", "/admin/safety/risklimits/",
     "/admin/safety/notificationprefs/", "/admin/auth/user/", "/admin/auth/group/", "/admin/password_change/"],
)  # fmt: skip
def test_every_page_says_paper_replay_and_the_trading_state(desk: Desk, url: str) -> None:
    trade(make_bot(), Side.BUY, "1")
    kill_switch.engage(Level.HALTED, "a drill", actor="test")
    if url == "/admin/login/":
        desk.client.logout()
    shown = desk.get(url)
    assert '<strong class="tc-banner-name">PAPER</strong>' in shown
    assert "tc-chip-replay" in shown
    assert "Trading HALTED" in shown
    assert ("a drill" in shown) == (url != "/admin/login/")


class TestEquity:
    def points(self, *bots: Bot) -> list[Decimal]:
        found = equity.curve(
            Bot.objects.filter(pk__in=[bot.pk for bot in bots]),
            is_live=False,
            since=timezone.now() - timedelta(hours=1),
        )
        return [point.equity for point in found]

    def test_books_are_summed_by_moment_with_their_last_known_worth(self, desk: Desk) -> None:
        first, second = make_bot("a"), make_bot("b")
        for bot, ago_s, worth in ((first, 30, "10010"), (second, 20, "9990"), (first, 10, "10020")):
            snapshot(bot, ago_s, worth, realised=str(Decimal(worth) - 10_000))
        assert self.points(first, second) == [20_010, 20_000, 20_010]

    def test_bot_that_has_not_traded_counts_with_its_starting_cash(self, desk: Desk) -> None:
        first, idle = make_bot("a"), make_bot("b", paper_equity_usd=Decimal(500))
        snapshot(first, 30, "10010", realised="10")
        assert self.points(first, idle) == [10_510]

    def test_live_books_are_never_added_in(self, desk: Desk) -> None:
        bot = make_bot()
        snapshot(bot, 30, "10010", realised="10")
        snapshot(bot, 20, "777", is_live=True)
        assert self.points(bot) == [10_010]

    def test_long_history_is_thinned_and_keeps_its_last_point(self, desk: Desk) -> None:
        bot = make_bot()
        for ago_s in range(300):
            snapshot(bot, ago_s, str(10_000 + ago_s))
        found = self.points(bot)
        assert 60 <= len(found) <= equity.POINTS_MAX
        assert found[-1] == 10_000

    def test_worth_before_the_window_is_the_start_for_an_older_bot(self, desk: Desk) -> None:
        old, other = make_bot("a"), make_bot("b")
        Bot.objects.update(created_at=timezone.now() - timedelta(days=3))
        snapshot(old, 7200, "10300", realised="300")
        snapshot(other, 30, "10000")
        assert self.points(old, other) == [20_300]

    def test_pnl_before_takes_the_last_snapshot_of_the_day_before(self, desk: Desk) -> None:
        bot, young = make_bot("a"), make_bot("b")
        snapshot(bot, 200, "10001", realised="1")
        snapshot(bot, 100, "10002", realised="2")
        snapshot(bot, 10, "10003", realised="3")
        assert equity.pnl_before(timezone.now() - timedelta(seconds=50), is_live=False) == {bot.pk: Decimal(2)}
        assert young.pk not in equity.pnl_before(timezone.now(), is_live=False)

    def test_chart_of_a_bot_is_json_of_its_own_points(self, desk: Desk) -> None:
        bot, other = make_bot("a"), make_bot("b")
        snapshot(bot, 30, "10010.456", realised="10.456")
        snapshot(other, 20, "1")
        response = desk.client.get(f"/admin/bots/bot/{bot.pk}/equity/")
        assert [point[1] for point in response.json()["points"]] == [10_010.46]
