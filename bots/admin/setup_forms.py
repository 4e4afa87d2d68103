"""The forms of Setup: one for each step, and the draft that keeps what was typed from one step to the next."""

from dataclasses import asdict, dataclass, field
from typing import Any

from django import forms
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminSelectWidget

from bots.admin.forms import FIRST_VALUES, BotForm
from bots.admin.markets import offer, why_not
from bots.strategies import registry
from bots.strategies.base import Strategy

SESSION = "setup_draft"
STEPS = ("market", "strategy", "money", "review")
TITLES = {
    "market": "Venue and symbol",
    "strategy": "Strategy",
    "money": "Money and limits",
    "review": "Review",
}


@dataclass
class Draft:
    """A bot that is being set up: what was chosen, and what was typed for each strategy, as text."""

    market: str = ""
    strategy: str = ""
    typed: dict[str, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def load(cls, request: HttpRequest) -> "Draft":
        """Return this session's draft; one that can't be read is begun anew."""
        kept = request.session.get(SESSION)
        try:
            return cls(**kept) if isinstance(kept, dict) else cls()
        except TypeError:
            return cls()

    def save(self, request: HttpRequest) -> None:
        """Keep the draft in the session."""
        request.session[SESSION] = asdict(self)

    @staticmethod
    def drop(request: HttpRequest) -> None:
        """Forget the draft."""
        request.session.pop(SESSION, None)

    @property
    def venue(self) -> str:
        """Return the chosen venue, or an empty text."""
        return self.market.partition(":")[0]

    @property
    def symbol(self) -> str:
        """Return the chosen symbol, or an empty text."""
        return self.market.partition(":")[2]

    @property
    def of_strategy(self) -> dict[str, str]:
        """Return what was typed for the chosen strategy."""
        return self.typed.get(self.strategy, {})

    def money_form(self) -> "MoneyForm":
        """Return the third step's form with what was typed, or as it begins."""
        strategy = registry.get(self.strategy)
        return MoneyForm(
            self.of_strategy or None, strategy=strategy, venue=self.venue, suggested=f"{self.symbol} {strategy.title}"
        )

    def open_step(self) -> str:
        """Return the first step that is not done: no later one can be shown."""
        if not self.market:
            return "market"
        if self.strategy not in {one.key for one in registry.all()}:
            return "strategy"
        return "review" if self.of_strategy and self.money_form().is_valid() else "money"


class MarketForm(forms.Form):
    """What the bot trades, and where."""

    market = forms.CharField(label="Symbol", max_length=60, widget=UnfoldAdminSelectWidget())

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.offer = offer()
        choices = [(title, [(one.key, one.label) for one in markets]) for title, markets in self.offer.groups]
        self.fields["market"].widget.choices = [("", "Choose one"), *choices]

    def clean_market(self) -> str:
        """Refuse what no venue has, and what is not priced in dollars."""
        chosen = str(self.cleaned_data["market"])
        venue, _, symbol = chosen.partition(":")
        problem = why_not(venue, symbol)
        if problem:
            raise forms.ValidationError(problem)
        return chosen


class StrategyForm(forms.Form):
    """How the bot trades."""

    strategy = forms.ChoiceField(label="Strategy", widget=forms.RadioSelect)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [(one.key, one.title) for one in registry.all()]
        self.fields["strategy"].choices = choices  # type: ignore[attr-defined]


class MoneyForm(BotForm):
    """The bot's name, its money and its strategy's settings."""

    def __init__(self, *args: Any, strategy: Strategy, suggested: str = "", **kwargs: Any) -> None:
        super().__init__(*args, strategy=strategy, initial={**FIRST_VALUES, "name": suggested}, **kwargs)
