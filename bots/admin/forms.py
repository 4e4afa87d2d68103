"""The bot form: settings and the strategy's own params as typed fields, with what is wrong said at each field."""

from decimal import Decimal
from typing import Any

from django import forms
from django.http import QueryDict
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from bots.bot_checks import SCORE_MAX, WITH_PAPER_ACCOUNT
from bots.manager import NewBot
from bots.market_data.feeds import known_symbols
from bots.models import Bot, PaperBroker, Venue
from bots.strategies.base import Strategy
from bots.strategies.schema import ERROR_KEY_ALL, ParamError

PARAM = "param_"
MONEY_MAX = Decimal(1_000_000_000)
NAME_CHARS_MAX = 60
POLL_S_MAX = 86_400
FIRST_VALUES = {"paper_equity_usd": "100000", "capital_usd": "1000", "poll_seconds": 5, "score_min": 0}


def _money(label: str, help_text: str) -> forms.DecimalField:
    return forms.DecimalField(
        label=label, help_text=help_text, min_value=Decimal("0.01"), max_value=MONEY_MAX, decimal_places=2
    )


class BotForm(forms.Form):
    """What every bot has, and its strategy's params (``params`` once the form is valid)."""

    name = forms.CharField(label="Name", max_length=NAME_CHARS_MAX)
    capital_usd = _money("Capital (USD)", "What the bot may commit at most, its resting orders counted in.")
    paper_equity_usd = _money(
        "Paper account (USD)", "The cash the paper book starts with. Set it to your real account's size to rehearse."
    )
    paper_broker = forms.ChoiceField(
        label="Paper orders are filled by",
        choices=[
            (PaperBroker.BUILT_IN.value, "this console"),
            (PaperBroker.VENUE.value, "Alpaca's paper account (stocks at Alpaca only)"),
        ],
        initial=PaperBroker.BUILT_IN,
        required=False,
        help_text="Can change only while the bot holds nothing and has no open order.",
    )
    poll_seconds = forms.IntegerField(
        label="Ticks every (seconds)",
        help_text="How often the bot looks at its market.",
        min_value=1,
        max_value=POLL_S_MAX,
    )
    score_min = forms.IntegerField(
        label="Least score for entries",
        help_text="New entries only while its market's score is at least this, 0 to 100; 0: any score. Exits always go on.",
        min_value=0,
        max_value=SCORE_MAX,
    )

    def __init__(self, *args: Any, strategy: Strategy, venue: str, bot_id: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if venue not in WITH_PAPER_ACCOUNT:
            # Nothing to choose: the console itself fills its paper orders.
            del self.fields["paper_broker"]
        self.strategy, self.bot_id = strategy, bot_id
        self.params: dict[str, Any] = {}
        self.fields.update(strategy.schema.form_fields(PARAM))
        for field in self.fields.values():
            _dress(field)

    def setting_fields(self) -> list[forms.BoundField]:
        """Return the fields that every bot has."""
        return [self[name] for name in self.fields if not name.startswith(PARAM) and name != "revision"]

    def param_fields(self) -> list[forms.BoundField]:
        """Return the fields of the strategy's params."""
        return [self[name] for name in self.fields if name.startswith(PARAM)]

    def param_errors(self) -> bool:
        """Return whether something is wrong with the strategy's params."""
        return any(name.startswith(PARAM) for name in self.errors)

    def clean_name(self) -> str:
        """Refuse a name that another bot has."""
        name: str = self.cleaned_data["name"].strip()
        others = Bot.objects.filter(name=name)
        if (others if self.bot_id is None else others.exclude(pk=self.bot_id)).exists():
            raise forms.ValidationError("Another bot has this name. Archived bots keep theirs.")
        return name

    def clean(self) -> dict[str, Any]:
        """Check the params by the strategy's own rules, also those over several params."""
        cleaned = super().clean() or {}
        if not any(name.startswith(PARAM) for name in self.errors):
            self.params = self.strategy.schema.from_form(cleaned, PARAM)
            try:
                self.strategy.schema.clean(self.params)
            except ParamError as error:
                self.show_param_error(error)
        return cleaned

    def new_bot_for(self, venue: str, symbol: str) -> NewBot:
        """Return what the manager makes a bot for this market from; the form is valid."""
        return NewBot(
            name=self.cleaned_data["name"],
            venue=venue,
            symbol=symbol,
            strategy=self.strategy.key,
            capital_usd=self.cleaned_data["capital_usd"],
            params=self.params,
            poll_seconds=self.cleaned_data["poll_seconds"],
            score_min=self.cleaned_data["score_min"],
            paper_equity_usd=self.cleaned_data["paper_equity_usd"],
            paper_broker=self.cleaned_data.get("paper_broker") or PaperBroker.BUILT_IN,
        )

    def show_param_error(self, error: ParamError) -> None:
        """Show each problem at its param's field, and what belongs to none above the form."""
        for name, problems in error.errors.items():
            field = f"{PARAM}{name}" if name != ERROR_KEY_ALL and f"{PARAM}{name}" in self.fields else None
            for problem in problems:
                self.add_error(field, problem if field else f"{name}: {problem}")


class NewBotForm(BotForm):
    """A new bot: on paper, stopped, for one of the symbols that the feeds know."""

    market = forms.ChoiceField(
        label="Market", help_text="REPLAY is real market data that was recorded, played on the clock."
    )
    field_order = ("name", "market")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        initial = FIRST_VALUES | (kwargs.pop("initial", None) or {})
        # Which venue it is gets chosen in the same form: the manager refuses what it does not have.
        super().__init__(*args, venue=Venue.ALPACA, initial=initial, **kwargs)
        self.fields["market"].choices = market_choices()  # type: ignore[attr-defined]

    def new_bot(self) -> NewBot:
        """Return what the manager makes the bot from."""
        venue, _, symbol = self.cleaned_data["market"].partition(":")
        return self.new_bot_for(venue, symbol)


class EditBotForm(BotForm):
    """A bot's settings. ``revision`` tells whether someone else changed the bot meanwhile."""

    symbol = forms.ChoiceField(
        label="Symbol", help_text="Can change only while the bot holds nothing and has no open order."
    )
    revision = forms.IntegerField(widget=forms.HiddenInput)
    field_order = ("name", "symbol")

    def __init__(self, *args: Any, bot: Bot, strategy: Strategy, **kwargs: Any) -> None:
        initial = _initial(bot, strategy)
        super().__init__(*args, strategy=strategy, venue=bot.venue, bot_id=bot.pk, initial=initial, **kwargs)
        symbols = dict.fromkeys([bot.symbol, *known_symbols().get(bot.venue, ())])
        self.fields["symbol"].choices = [(symbol, symbol) for symbol in symbols]  # type: ignore[attr-defined]

    def apply(self, bot: Bot) -> Bot:
        """Put the form's values on ``bot``, which the manager then compares and saves."""
        for name in ("name", "symbol", "capital_usd", "paper_equity_usd", "poll_seconds", "score_min"):
            setattr(bot, name, self.cleaned_data[name])
        bot.paper_broker = self.cleaned_data.get("paper_broker") or bot.paper_broker
        bot.params = self.params
        return bot

    def take_revision(self, revision: int) -> None:
        """Keep all that was typed, and let the next save count against ``revision``."""
        self.data = {**self.data.dict(), "revision": str(revision)} if isinstance(self.data, QueryDict) else self.data


def market_choices() -> list[tuple[str, str]]:
    """Return every symbol that a feed knows, as ``venue:symbol``."""
    marks = {Venue.REPLAY.value: "REPLAY, recorded data"}
    return [
        (f"{venue}:{symbol}", f"{symbol} · {marks.get(venue, venue)}")
        for venue, symbols in known_symbols().items()
        for symbol in symbols
    ]


def _initial(bot: Bot, strategy: Strategy) -> dict[str, Any]:
    values: dict[str, Any] = {
        "name": bot.name,
        "symbol": bot.symbol,
        "capital_usd": f"{bot.capital_usd:f}",
        "paper_equity_usd": f"{bot.paper_equity_usd:f}",
        "paper_broker": bot.paper_broker,
        "poll_seconds": bot.poll_seconds,
        "score_min": bot.score_min,
        "revision": bot.revision,
    }
    params = bot.params if isinstance(bot.params, dict) else {}
    return values | {
        f"{PARAM}{param.name}": params[param.name] for param in strategy.schema.params if param.name in params
    }


def _dress(field: forms.Field) -> None:
    """Give a field the theme's widget. Numbers are text boxes: a browser's number box drops what it can't read."""
    if isinstance(field.widget, forms.HiddenInput):
        return
    if isinstance(field, forms.ChoiceField):
        widget: forms.Widget = UnfoldAdminSelectWidget(choices=field.choices)
    elif isinstance(field, forms.BooleanField):
        widget = UnfoldBooleanSwitchWidget()
    else:
        number = {forms.IntegerField: "numeric", forms.DecimalField: "decimal"}.get(type(field))
        widget = UnfoldAdminTextInputWidget(attrs={"inputmode": number, "autocomplete": "off"} if number else {})
    widget.is_required = field.required
    field.widget = widget
