"""Adding and editing bots: typed params, errors at their field, nothing typed lost, every change audited."""

from decimal import Decimal
from typing import Any

import pytest

from bots import manager
from bots.admin.forms import PARAM, BotForm, EditBotForm, NewBotForm
from bots.models import Bot
from bots.strategies import registry
from safety.intents import Side
from tests.bots.admin.conftest import Desk
from tests.bots.builders import actions_on, make_bot, trade

ADD = "/admin/bots/bot/add/?strategy=smart_dca"


def page(bot: Bot) -> str:
    return f"/admin/bots/bot/{bot.pk}/change/"


def filled(form: BotForm) -> dict[str, Any]:
    """Return what a browser sends for a form that was not touched: boxes that are off are left out."""
    values = {name: form[name].value() for name in form.fields}
    return {name: str(value) for name, value in values.items() if value is not None and value is not False}


def typed(bot: Bot, **changes: Any) -> dict[str, Any]:
    """Return what the browser sends for an unchanged bot, with changes."""
    return {**filled(EditBotForm(bot=bot, strategy=registry.get(bot.strategy))), **changes}


def new(**changes: Any) -> dict[str, Any]:
    """Return what the browser sends for a new bot with default params."""
    return {
        **filled(NewBotForm(strategy=registry.get("smart_dca"))),
        "name": "mine",
        "market": "replay:BTC-PERP",
        **changes,
    }


class TestAdding:
    def test_first_step_offers_every_strategy(self, desk: Desk) -> None:
        first = desk.get("/admin/bots/bot/add/")
        for strategy in registry.all():
            assert f"?strategy={strategy.key}" in first

    def test_unknown_strategy_leads_to_the_first_step(self, desk: Desk) -> None:
        assert "First choose how it shall trade" in desk.get("/admin/bots/bot/add/?strategy=nonsense")

    def test_new_bot_is_on_paper_and_stopped(self, desk: Desk) -> None:
        told = desk.told(ADD, new(param_take_profit_pct="2.5"))
        bot = Bot.objects.get(name="mine")
        assert (bot.dry_run, bot.status, bot.venue, bot.symbol) == (True, "stopped", "replay", "BTC-PERP")
        assert bot.params["take_profit_pct"] == "2.5"
        assert "on paper and stopped" in told[0]
        assert actions_on(bot)[0][:2] == ("bot_created", "operator")

    def test_dry_run_cannot_be_smuggled_in(self, desk: Desk) -> None:
        desk.told(ADD, new(dry_run="", status="running"))
        bot = Bot.objects.get(name="mine")
        assert (bot.dry_run, bot.status) == (True, "stopped")

    @pytest.mark.parametrize(
        ("field", "text"),
        [
            ("param_take_profit_pct", "abc"),
            ("param_take_profit_pct", "100000"),
            ("param_take_profit_pct", "1e400"),
            ("param_take_profit_pct", "NaN"),
            ("param_safety_orders_max", "2.5"),
            ("capital_usd", "-5"),
            ("capital_usd", "0"),
            ("poll_seconds", "0"),
            ("score_min", "101"),
            ("score_min", "-1"),
            ("score_min", ""),
            ("name", ""),
        ],
    )
    def test_bad_value_makes_no_bot_and_keeps_everything_typed(self, desk: Desk, field: str, text: str) -> None:
        response = desk.post(ADD, new(**{"param_size_multiplier": "1.75", "name": "kept name", field: text}))
        shown = response.content.decode()
        assert "Not saved" in shown
        assert f'id="id_{field}_error"' in shown
        assert f'value="{text}"' in shown or not text
        assert 'value="1.75"' in shown
        assert not Bot.objects.exists()

    def test_market_that_no_feed_knows_is_refused(self, desk: Desk) -> None:
        assert "Not saved" in desk.post(ADD, new(market="replay:NOPE")).content.decode()
        assert not Bot.objects.exists()

    def test_taken_name_is_refused_at_its_field(self, desk: Desk) -> None:
        make_bot("mine")
        assert "Another bot has this name" in desk.post(ADD, new()).content.decode()

    def test_adding_without_the_right_is_forbidden(self, desk: Desk) -> None:
        desk.as_staff("bots.view_bot")
        assert desk.post(ADD, new()).status_code == 403


class TestEditing:
    def test_each_changed_field_is_audited_with_old_and_new(self, desk: Desk) -> None:
        bot = make_bot()
        desk.told(page(bot), typed(bot, capital_usd="750", poll_seconds="9"))
        assert actions_on(bot)[-2:] == [
            ("bot_capital_usd_changed", "operator", "1000", "750"),
            ("bot_poll_seconds_changed", "operator", "1", "9"),
        ]
        bot.refresh_from_db()
        assert (bot.capital_usd, bot.poll_seconds) == (Decimal(750), 9)

    def test_saving_what_is_unchanged_audits_nothing(self, desk: Desk) -> None:
        bot = make_bot()
        before = actions_on(bot)
        desk.told(page(bot), typed(bot))
        assert actions_on(bot) == before

    def test_bad_param_keeps_the_typed_text_and_saves_nothing(self, desk: Desk) -> None:
        bot = make_bot()
        sent = typed(bot, param_take_profit_pct="1,5", capital_usd="765.43")
        shown = desk.post(page(bot), sent).content.decode()
        assert 'value="1,5"' in shown
        assert 'value="765.43"' in shown
        assert "Not saved" in shown
        bot.refresh_from_db()
        assert bot.capital_usd == 1000

    def test_rule_over_several_params_is_told_at_its_field(self, desk: Desk) -> None:
        bot = make_bot("sma", strategy="sma_cross", params={})
        shown = desk.post(page(bot), typed(bot, param_fast_bars="90", param_slow_bars="20")).content.decode()
        assert "Not saved" in shown
        assert f'id="id_{PARAM}' in shown
        bot.refresh_from_db()
        assert bot.params["fast_bars"] != 90

    def test_symbol_of_a_bot_that_holds_something_stays(self, desk: Desk) -> None:
        bot = make_bot()
        trade(bot, Side.BUY, "1")
        shown = desk.post(page(bot), typed(bot, symbol="SPY")).content.decode()
        assert "only while the bot holds nothing" in shown
        bot.refresh_from_db()
        assert bot.symbol == "BTC-PERP"

    def test_bot_changed_meanwhile_is_told_and_the_next_save_counts(self, desk: Desk) -> None:
        bot = make_bot()
        sent = typed(bot, capital_usd="750")
        manager.pause(bot.pk, actor="worker")
        shown = desk.post(page(bot), sent).content.decode()
        assert "changed meanwhile (it is now paused)" in shown
        assert 'value="750"' in shown
        bot.refresh_from_db()
        assert bot.capital_usd == 1000
        desk.told(page(bot), {**sent, "revision": str(bot.revision)})
        bot.refresh_from_db()
        assert (bot.capital_usd, bot.status) == (750, "paused")

    def test_dry_run_is_shown_and_cannot_be_changed(self, desk: Desk) -> None:
        bot = make_bot()
        assert "it can never be live" in desk.get(page(bot))
        desk.told(page(bot), typed(bot, dry_run="0"))
        bot.refresh_from_db()
        assert bot.dry_run

    def test_editing_without_the_right_is_forbidden(self, desk: Desk) -> None:
        bot = make_bot()
        desk.as_staff("bots.view_bot")
        assert "Save settings" not in desk.get(page(bot))
        assert desk.post(page(bot), typed(bot, capital_usd="1")).status_code == 403

    def test_archived_bot_cannot_be_edited(self, desk: Desk) -> None:
        bot = make_bot()
        manager.archive(bot.pk, actor="test")
        assert desk.post(page(bot), typed(bot, capital_usd="1")).status_code == 403

    def test_bot_of_an_unknown_strategy_has_a_page_that_says_so(self, desk: Desk) -> None:
        bot = make_bot()
        Bot.objects.filter(pk=bot.pk).update(strategy="gone")
        assert "There is no strategy called gone" in desk.get(page(bot))


@pytest.mark.django_db
@pytest.mark.parametrize("strategy", registry.all(), ids=lambda strategy: str(strategy.key))
def test_every_param_has_a_field_with_unit_bounds_and_help(strategy: Any) -> None:
    form = NewBotForm(strategy=strategy)
    for param in strategy.schema.params:
        field = form.fields[f"{PARAM}{param.name}"]
        assert param.help in field.help_text
        if param.unit:
            assert param.unit in field.help_text
            assert param.bounds() in field.help_text
    assert len(form.param_fields()) == len(strategy.schema.params)


@pytest.mark.django_db
@pytest.mark.parametrize("strategy", registry.all(), ids=lambda strategy: str(strategy.key))
def test_default_params_survive_the_form(strategy: Any) -> None:
    blank = NewBotForm(strategy=strategy)
    market = blank.fields["market"].choices[0][0]  # type: ignore[attr-defined]
    form = NewBotForm({**filled(blank), "name": "x", "market": market}, strategy=strategy)
    assert form.is_valid(), form.errors
    assert strategy.schema.clean(form.new_bot().params) == strategy.schema.defaults()


class TestWhoFillsPaperOrders:
    def test_stock_bot_may_use_alpacas_paper_account_and_it_is_audited(self, desk: Desk) -> None:
        bot = make_bot(venue="alpaca", symbol="AAPL", running=False)
        assert "Alpaca&#x27;s paper account" in desk.get(page(bot))
        desk.told(page(bot), typed(bot, paper_broker="venue"))
        bot.refresh_from_db()
        assert (bot.paper_broker, bot.trades_at_venue, bot.is_live) == ("venue", True, False)
        assert actions_on(bot)[-1][0] == "bot_paper_broker_changed"
        assert filled(EditBotForm(bot=bot, strategy=registry.get(bot.strategy)))["paper_broker"] == "venue"

    def test_new_stock_bot_may_begin_there(self, desk: Desk) -> None:
        form = NewBotForm(strategy=registry.get("smart_dca"), data=new(paper_broker="venue"))
        assert form.is_valid(), form.errors
        assert form.new_bot_for("alpaca", "AAPL").paper_broker == "venue"
        assert form.new_bot_for("alpaca", "AAPL").venue == "alpaca"

    def test_bot_of_another_venue_has_no_such_choice(self, desk: Desk) -> None:
        bot = make_bot()
        assert "paper_broker" not in EditBotForm(bot=bot, strategy=registry.get(bot.strategy)).fields
        desk.told(page(bot), typed(bot, paper_broker="venue"))
        bot.refresh_from_db()
        assert bot.paper_broker == "built_in"

    def test_new_bot_of_another_venue_is_refused_there(self, desk: Desk) -> None:
        shown = desk.post(ADD, new(paper_broker="venue")).content.decode()
        assert "replay has no paper account" in shown
        assert not Bot.objects.exists()
