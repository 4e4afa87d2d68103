"""Setup: four steps, nothing lost on the way back, only what is priced in dollars, and a bot that is always on paper."""

import re
from typing import Any

import pytest

from bots.models import Bot
from safety.models import RiskLimits
from tests.bots.admin.conftest import Desk
from tests.bots.builders import actions_on, make_bot, no_market
from tests.bots.kraken import KrakenFeed, install_kraken

FIRST = "/admin/setup/"
STRATEGY, MONEY, REVIEW = (f"{FIRST}{step}/" for step in ("strategy", "money", "review"))


@pytest.fixture
def feed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> KrakenFeed:
    return install_kraken(monkeypatch)


def settings_of(shown: str, **changes: str) -> dict[str, str]:
    """Return what the third step's form holds, as a browser would send it, with changes."""

    found = {}
    for tag in re.findall(r"<input[^>]*>", shown):
        name, value = re.search(r'name="(\w+)"', tag), re.search(r'value="([^"]*)"', tag)
        if name is None or name[1] == "csrfmiddlewaretoken" or 'type="submit"' in tag:
            continue
        if 'type="checkbox"' in tag:
            if " checked" in tag:
                found[name[1]] = "on"
        else:
            found[name[1]] = value[1] if value else ""
    for name, options in re.findall(r'<select name="(param_\w+)".*?>(.*?)</select>', shown, re.S):
        chosen = re.search(r'value="([^"]*)" selected', options)
        found[name] = chosen[1] if chosen else ""
    return {**found, **changes}


def go(desk: Desk, url: str, data: dict[str, str], to: str) -> None:
    response: Any = desk.post(url, data)
    assert response.status_code == 302, re.findall(r"tc-error.*?</p>", response.content.decode())
    assert response.url == to


def through(desk: Desk, market: str = "kraken:BTC/USD", strategy: str = "smart_dca", **typed: str) -> None:
    """Go through the first three steps."""
    go(desk, FIRST, {"market": market}, STRATEGY)
    go(desk, STRATEGY, {"strategy": strategy}, MONEY)
    go(desk, MONEY, settings_of(desk.get(MONEY), **typed), REVIEW)


class TestTheSteps:
    def test_four_steps_make_a_bot_on_paper_and_stopped(self, desk: Desk, feed: KrakenFeed) -> None:
        through(desk, name="my bot", capital_usd="500", paper_equity_usd="20000")
        shown = desk.get(REVIEW)
        for text in ("my bot", "BTC/USD at kraken", "Smart DCA", "$500.00", "PAPER", "PASS"):
            assert text in shown, text
        assert desk.told(REVIEW, {"make": ""}) == ["my bot was made, on paper. Press Start when you want it to trade."]
        bot = Bot.objects.get()
        assert (bot.name, bot.venue, bot.symbol, bot.dry_run, bot.status) == (
            "my bot",
            "kraken",
            "BTC/USD",
            True,
            "stopped",
        )
        assert (bot.capital_usd, bot.paper_equity_usd, bot.params["step_pct"]) == (500, 20_000, "1")
        assert actions_on(bot)[0][:2] == ("bot_created", "operator")

    def test_it_can_be_started_at_once(self, desk: Desk, feed: KrakenFeed) -> None:
        through(desk)
        assert "is running" in desk.told(REVIEW, {"start": ""})[0]
        assert Bot.objects.get().status == "running"

    def test_afterwards_it_begins_anew(self, desk: Desk, feed: KrakenFeed) -> None:
        through(desk)
        desk.told(REVIEW, {"make": ""})
        go(desk, REVIEW, {"make": ""}, FIRST)
        assert Bot.objects.count() == 1

    @pytest.mark.parametrize("step", [STRATEGY, MONEY, REVIEW])
    def test_later_step_leads_to_the_first_that_is_not_done(self, desk: Desk, feed: KrakenFeed, step: str) -> None:
        response: Any = desk.client.get(step)
        assert (response.status_code, response.url) == (302, FIRST)
        assert not Bot.objects.exists()

    def test_unknown_step_is_not_found(self, desk: Desk) -> None:
        desk.get(f"{FIRST}gold/", status=404)

    def test_draft_that_cannot_be_read_begins_anew(self, desk: Desk, feed: KrakenFeed) -> None:
        session = desk.client.session
        session["setup_draft"] = {"colour": "red"}
        session.save()
        assert "Step 1 of 4" in desk.get(FIRST)

    def test_looking_makes_nothing(self, desk: Desk, feed: KrakenFeed) -> None:
        through(desk)
        desk.get(REVIEW)
        assert not Bot.objects.exists()


class TestTheWayBack:
    def test_what_was_typed_is_still_there(self, desk: Desk, feed: KrakenFeed) -> None:
        go(desk, FIRST, {"market": "kraken:ETH/USDT"}, STRATEGY)
        go(desk, STRATEGY, {"strategy": "breakout"}, MONEY)
        go(desk, MONEY, settings_of(desk.get(MONEY), name="half way", capital_usd="abc", back=""), STRATEGY)
        assert 'value="breakout" checked' in desk.get(STRATEGY)
        go(desk, STRATEGY, {"strategy": "breakout", "back": ""}, FIRST)
        assert 'value="kraken:ETH/USDT" selected' in desk.get(FIRST)
        shown = desk.get(MONEY)
        assert 'value="half way"' in shown
        assert 'value="abc"' in shown

    def test_each_strategy_keeps_its_own_settings(self, desk: Desk, feed: KrakenFeed) -> None:
        through(desk, strategy="smart_dca", name="first")
        go(desk, STRATEGY, {"strategy": "sma_cross"}, MONEY)
        assert 'value="first"' not in desk.get(MONEY)
        go(desk, STRATEGY, {"strategy": "smart_dca"}, MONEY)
        assert 'value="first"' in desk.get(MONEY)

    def test_review_leads_back_too(self, desk: Desk, feed: KrakenFeed) -> None:
        through(desk)
        go(desk, REVIEW, {"back": ""}, MONEY)
        assert not Bot.objects.exists()


class TestWhatIsRefused:
    def test_only_what_is_priced_in_dollars_is_offered(self, desk: Desk, feed: KrakenFeed) -> None:
        shown = desk.get(FIRST)
        assert 'value="kraken:BTC/USD"' in shown
        assert 'value="kraken:ETH/USDT"' in shown
        assert "BTC/EUR" not in shown

    @pytest.mark.parametrize(
        ("market", "says"),
        [
            ("kraken:BTC/EUR", "BTC/EUR is priced in EUR"),
            ("kraken:NO/USD", "no symbol"),
            ("mtgox:BTC/USD", "There is no venue called"),
            ("rubbish", "There is no venue called"),
            ("", "This field is required"),
        ],
    )
    def test_market_that_cannot_be_traded_is_refused(
        self, desk: Desk, feed: KrakenFeed, market: str, says: str
    ) -> None:
        response: Any = desk.post(FIRST, {"market": market})
        assert says in response.content.decode().replace("&#x27;", "'")
        assert "Step 1 of 4" in response.content.decode()

    def test_venue_that_does_not_answer_is_named(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        install_kraken(monkeypatch).silent = no_market("Kraken does not answer")
        shown = desk.get(FIRST)
        assert "Kraken does not answer" in shown
        assert 'value="replay:BTC-PERP"' in shown

    @pytest.mark.parametrize("strategy", ["", "astrology"])
    def test_strategy_has_to_be_one_of_the_list(self, desk: Desk, feed: KrakenFeed, strategy: str) -> None:
        go(desk, FIRST, {"market": "kraken:BTC/USD"}, STRATEGY)
        response: Any = desk.post(STRATEGY, {"strategy": strategy})
        assert "Step 2 of 4" in response.content.decode()

    def test_wrong_figures_are_said_at_their_fields_and_kept(self, desk: Desk, feed: KrakenFeed) -> None:
        make_bot("taken", running=False)
        go(desk, FIRST, {"market": "kraken:BTC/USD"}, STRATEGY)
        go(desk, STRATEGY, {"strategy": "smart_dca"}, MONEY)
        typed = settings_of(desk.get(MONEY), name="taken", capital_usd="-1", param_step_pct="x")
        shown = desk.post(MONEY, typed).content.decode()
        for name in ("name", "capital_usd", "param_step_pct"):
            assert f'id="id_{name}_error"' in shown, name
        assert 'value="-1"' in shown
        assert '<details class="tc-more" open>' in shown

    def test_name_that_is_taken_meanwhile_makes_nothing(self, desk: Desk, feed: KrakenFeed) -> None:
        through(desk, name="wanted")
        make_bot("wanted", running=False)
        response: Any = desk.client.get(REVIEW)
        assert response.url == MONEY
        assert Bot.objects.count() == 1


class TestBeforehand:
    def test_strategies_are_shown_with_their_worst_case_in_dollars(self, desk: Desk, feed: KrakenFeed) -> None:
        go(desk, FIRST, {"market": "kraken:BTC/USD"}, STRATEGY)
        shown = desk.get(STRATEGY)
        assert "At worst it loses" in shown
        assert "if the price goes to zero" in shown

    def test_review_names_the_purchase_that_would_be_denied_and_the_limit_to_raise(
        self, desk: Desk, feed: KrakenFeed
    ) -> None:
        RiskLimits.objects.update_or_create(scope="global", defaults={"notional_usd_max_paper": 100})
        through(desk, capital_usd="1000")
        shown = desk.get(REVIEW)
        assert "would be denied" in shown
        assert "NOTIONAL_ABOVE_MAX" in shown
        assert "Order value, paper" in shown

    def test_without_a_market_it_says_that_it_could_not_be_tried(self, desk: Desk, feed: KrakenFeed) -> None:
        through(desk)
        feed.broken = no_market("the feed is out")
        assert "could not be tried beforehand: the feed is out" in desk.get(REVIEW)


class TestWhoMay:
    def test_without_the_right_to_add_bots_it_is_forbidden(self, desk: Desk, feed: KrakenFeed) -> None:
        desk.as_staff("bots.view_bot", "bots.operate_bot")
        desk.get(FIRST, status=403)
        assert desk.post(REVIEW, {"make": ""}).status_code == 403

    def test_who_may_not_operate_makes_it_stopped(self, desk: Desk, feed: KrakenFeed) -> None:
        desk.as_staff("bots.view_bot", "bots.add_bot")
        through(desk)
        assert 'name="start"' not in desk.get(REVIEW)
        desk.told(REVIEW, {"start": ""})
        assert Bot.objects.get().status == "stopped"

    def test_list_without_bots_leads_here(self, desk: Desk) -> None:
        shown = desk.get("/admin/bots/bot/")
        assert "Set one up in four steps" in shown
        make_bot()
        assert "Set one up in four steps" not in desk.get("/admin/bots/bot/")
