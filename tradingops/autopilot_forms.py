"""Forms of the autopilot's page: its settings, switching it on, and letting it trade with real money."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django import forms
from django.http import QueryDict
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget, UnfoldBooleanSwitchWidget

from audit.fields import canonical_json
from bots.admin.markets import VENUE_TITLES, offer
from bots.autopilot.config import LIVE_WORDS, PROFILES, is_about_real_money
from bots.models import AutopilotConfig, AutopilotProfile, Venue
from bots.models.autopilot import CloseMode

REASON_CHARS_MAX = 500
SYMBOL_CHARS_MAX = 20
SYMBOLS_MAX = 500
MORE_CHARS_MAX = 5_000
MONEY_MAX = Decimal(1_000_000_000)
SCORE_MAX = 100
#: So many symbols of a venue are offered as boxes to tick; of longer lists only those that are chosen, and a field for more.
BOXES_MAX = 60
#: A browser offers so many while one types; with more the page would grow to megabytes.
HINTS_MAX = 2_000
PARTS = re.compile(r"[\s,;]+")
ASSET_TYPES = [("crypto", "Crypto"), ("stock", "US stocks")]
#: The fields of the settings by the part of the form that they stand in, each with its title and what it is about.
GROUPS = (
    ("How bold", "A profile sets slots and scores; you may change each of them afterwards.", ("profile",)),
    (
        "Slots and scores",
        "The score of a symbol, from 0 to 100, says how well it suits a bot now. In between the two scores it is only watched.",
        ("slots", "sector_slots", "score_min", "score_demote", "cooldown_minutes"),
    ),
    ("Money", "What its bots may have together, and how it is shared out.", ("total_capital_usd", "is_by_conviction")),
    (
        "Losses",
        "Its own limits, besides those of every bot and account. Once reached, it makes no bot and its bots buy nothing more.",
        ("daily_loss_pct", "weekly_loss_pct"),
    ),
    ("How it works", "", ("scan_interval_s", "auto_start", "close_mode")),
)


#: What whoever chooses how bots are closed has to know; the page of real money says it, too.
ONE_POSITION = (
    "Either way it is about all that the bot holds, also what somebody bought by hand with it: the bot is the autopilot's own "
    "and has one position. What you buy with a bot of yours it never touches."
)


def _number(label: str, help_text: str, least: int, most: int) -> forms.IntegerField:
    widget = UnfoldAdminTextInputWidget(attrs={"inputmode": "numeric", "autocomplete": "off"})
    return forms.IntegerField(label=label, help_text=help_text, min_value=least, max_value=most, widget=widget)


def _figure(label: str, help_text: str, most: Decimal) -> forms.DecimalField:
    widget = UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal", "autocomplete": "off"})
    return forms.DecimalField(
        label=label, help_text=help_text, min_value=Decimal("0.01"), max_value=most, decimal_places=2, widget=widget
    )


def _reason(*, required: bool) -> forms.CharField:
    return forms.CharField(
        label="Why",
        required=required,
        max_length=REASON_CHARS_MAX,
        help_text="Kept in the operator events with your name.",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
    )


def profile_label(profile: str) -> str:
    """Return a profile with what it sets."""
    one = PROFILES[profile]
    what = f"{one['slots']} slots, a bot from score {one['score_min']}, none below {one['score_demote']}"
    return f"{AutopilotProfile(profile).label}: {what}"


@dataclass(frozen=True, slots=True)
class Shelf:
    """One venue's symbols on the form: the fields to choose them with, and why they can't be listed, if so."""

    venue: str
    title: str
    boxes: Any
    more: Any
    hints: tuple[str, ...]
    count: int
    silent: str


class SettingsForm(forms.Form):
    """All settings but the switch and the real money. ``changed()`` are those that differ from what the page showed."""

    profile = forms.ChoiceField(label="Profile", widget=UnfoldAdminSelectWidget)
    slots = _number("Slots", "How many bots it may have at once.", 1, 100)
    sector_slots = _number("Slots for one sector", "How many of them in one sector. All crypto is one sector.", 1, 100)
    score_min = _number("A bot from this score on", "0 to 100. A symbol with less gets no bot.", 0, SCORE_MAX)
    score_demote = _number(
        "No bot below this score", "0 to 100. A bot whose symbol falls below it is closed.", 0, SCORE_MAX
    )
    cooldown_minutes = _number(
        "Rest after a bot was closed (minutes)", "How long its symbol is left alone.", 0, 100_000
    )
    total_capital_usd = _figure("Capital of all its bots (USD)", "It never gives out more than this.", MONEY_MAX)
    is_by_conviction = forms.BooleanField(
        label="A better score gets more of it",
        required=False,
        help_text="Off: each slot gets the same.",
        widget=UnfoldBooleanSwitchWidget,
    )
    daily_loss_pct = _figure("Daily loss (percent of the capital)", "Counted from midnight UTC.", Decimal(100))
    weekly_loss_pct = _figure("Weekly loss (percent of the capital)", "Counted from Monday, UTC.", Decimal(100))
    scan_interval_s = _number("A cycle every (seconds)", "30 to 86400.", 30, 86_400)
    auto_start = forms.BooleanField(
        label="Start a new bot at once",
        required=False,
        help_text="Off: it makes the bot, and you start it.",
        widget=UnfoldBooleanSwitchWidget,
    )
    close_mode = forms.ChoiceField(
        label="A bot whose score fell",
        widget=UnfoldAdminSelectWidget,
        choices=[
            (CloseMode.MANAGE_OUT.value, "buys nothing more, sells by its strategy"),
            (CloseMode.FLATTEN.value, "sells all at once"),
        ],
        help_text=f"{ONE_POSITION} Its orders that rest are cancelled first.",
    )
    asset_types = forms.MultipleChoiceField(
        label="Kinds of assets",
        required=False,
        choices=ASSET_TYPES,
        widget=forms.CheckboxSelectMultiple,
        help_text="None ticked: all.",
    )
    seen = forms.CharField(required=False, max_length=64, widget=forms.HiddenInput)

    def __init__(self, data: Any = None, *, config: AutopilotConfig) -> None:
        self.config = config
        initial = {name: getattr(config, name) for name in type(self).base_fields if hasattr(config, name)}
        super().__init__(data, initial={**initial, "seen": digest(config)})
        self.fields["profile"].choices = [(one, profile_label(one)) for one in PROFILES]  # type: ignore[attr-defined]
        self.fields["reason"] = _reason(required=is_about_real_money(config))
        self._known, self._silent = _markets()
        for venue in Venue.values:
            self._add_venue(venue)

    @property
    def groups(self) -> list[dict[str, Any]]:
        """Return the fields by the parts of the form."""
        return [
            {"title": title, "about": about, "fields": [self[one] for one in names]} for title, about, names in GROUPS
        ]

    @property
    def shelves(self) -> list[Shelf]:
        """Return the symbols by venue."""
        return [
            Shelf(
                venue=venue,
                title=VENUE_TITLES[venue],
                boxes=self[f"boxes_{venue}"],
                more=self[f"more_{venue}"] if f"more_{venue}" in self.fields else None,
                hints=self._known.get(venue, ())[:HINTS_MAX],
                count=len(self._known.get(venue, ())),
                silent=self._silent.get(venue, ""),
            )
            for venue in Venue.values
        ]

    def clean(self) -> dict[str, Any]:
        """Refuse what was filled in beside other settings than those that stand now, and symbols that no venue has."""
        cleaned = super().clean() or {}
        _refuse_other(self, cleaned)
        for venue in Venue.values:
            self._clean_more(venue, cleaned)
        return cleaned

    def universe(self) -> dict[str, list[str]]:
        """Return what was chosen, by venue; a venue of which nothing is chosen is left out."""
        chosen = {venue: self._chosen(venue, self.cleaned_data) for venue in Venue.values}
        return {venue: symbols for venue, symbols in chosen.items() if symbols}

    def changed(self) -> dict[str, Any]:
        """Return what differs from the settings as they are, by name."""
        plain = {name: self.cleaned_data[name] for name in type(self).base_fields if name != "seen"}
        # The order in which kinds and symbols stand means nothing.
        plain["asset_types"] = sorted(plain["asset_types"])
        found = {name: value for name, value in plain.items() if value != _as_set(getattr(self.config, name))}
        if self.universe() != {venue: _as_set(some) for venue, some in self.config.universe.items() if some}:
            found["universe"] = self.universe()
        return found

    def refused(self, problems: Iterable[tuple[str, str]]) -> None:
        """Say what the settings' own check found, each at its field."""
        for name, text in problems:
            at = name if name in self.fields else None
            if name == "universe":
                at = next((f"boxes_{venue}" for venue in Venue.values if text.startswith(f"{venue} ")), None)
            self.add_error(at, text)

    def _add_venue(self, venue: str) -> None:
        known, chosen = self._known.get(venue, ()), self.config.universe.get(venue, [])
        offered = sorted({*known, *chosen}) if len(known) <= BOXES_MAX else sorted(chosen)
        self.fields[f"boxes_{venue}"] = forms.MultipleChoiceField(
            label=VENUE_TITLES[venue],
            required=False,
            choices=[(one, one) for one in offered],
            initial=sorted(chosen),
            widget=forms.CheckboxSelectMultiple,
        )
        if len(known) > BOXES_MAX:
            self.fields[f"more_{venue}"] = forms.CharField(
                label="Add symbols",
                required=False,
                max_length=MORE_CHARS_MAX,
                help_text=f"Several are parted by commas or blanks. {len(known)} are known, such as {', '.join(known[:3])}.",
                widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "list": f"symbols_{venue}"}),
            )

    def _clean_more(self, venue: str, cleaned: dict[str, Any]) -> None:
        name = f"more_{venue}"
        unknown = [one for one in _split(cleaned.get(name, "")) if one not in self._known.get(venue, ())]
        if unknown:
            self.add_error(name, f"Not known at {venue}: {', '.join(unknown[:10])}. Write them as the venue does.")
        elif len(self._chosen(venue, cleaned)) > SYMBOLS_MAX:
            self.add_error(f"boxes_{venue}", f"At most {SYMBOLS_MAX} symbols of one venue.")

    def _chosen(self, venue: str, cleaned: Mapping[str, Any]) -> list[str]:
        return sorted({*cleaned.get(f"boxes_{venue}", []), *_split(cleaned.get(f"more_{venue}", ""))})


class LiveForm(forms.Form):
    """The typed words and the reason, without which it never trades with real money; and the settings that were looked at."""

    confirm = forms.CharField(
        label="Type what you are about to do",
        help_text=f"Exactly: {LIVE_WORDS}",
        max_length=REASON_CHARS_MAX,
        strip=False,
        widget=UnfoldAdminTextInputWidget(
            attrs={"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}
        ),
    )
    reason = _reason(required=True)
    seen = forms.CharField(required=False, max_length=64, widget=forms.HiddenInput)

    def __init__(self, data: Any = None, *, config: AutopilotConfig) -> None:
        super().__init__(data, initial={"seen": digest(config)})
        self.config = config

    def clean_confirm(self) -> str:
        """Refuse any other words."""
        typed = str(self.cleaned_data["confirm"])
        if typed != LIVE_WORDS:
            raise forms.ValidationError("Those are not the words. Capitals and blanks count.")
        return typed

    def clean(self) -> dict[str, Any]:
        """Refuse settings that are not those that the page showed: what is set live has to be what was looked at."""
        cleaned = super().clean() or {}
        _refuse_other(self, cleaned)
        return cleaned


def _refuse_other(form: "SettingsForm | LiveForm", cleaned: Mapping[str, Any]) -> None:
    """Refuse what was filled in beside other settings than those that stand now."""
    if cleaned.get("seen") == digest(form.config):
        return
    # What is sent again was looked at beside what stands now.
    if isinstance(form.data, QueryDict):
        again = form.data.copy()
        again["seen"] = digest(form.config)
        form.data = again
    form.add_error(
        None, "The settings were changed by someone else since this page was shown. Look at them, then send it again."
    )


def digest(config: AutopilotConfig) -> str:
    """Return what tells these settings from any others."""
    fields = {field.attname: str(getattr(config, field.attname)) for field in config._meta.concrete_fields}
    return hashlib.sha256(canonical_json(fields).encode()).hexdigest()


def _markets() -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """Return the symbols that are priced in dollars by venue, and why a venue's can't be listed now."""
    found = offer()
    titles = {title: venue for venue, title in VENUE_TITLES.items()}
    known = {titles[title]: tuple(sorted(one.symbol for one in markets)) for title, markets in found.groups}
    return known, {venue: _sentence(venue, found.silent) for venue in Venue.values if venue not in known}


def _sentence(venue: str, silent: Iterable[str]) -> str:
    title = VENUE_TITLES[venue].partition(":")[0]
    return next((one for one in silent if one.startswith(title)), f"{title} lists no symbol now.")


def _split(text: str) -> list[str]:
    return [one for one in PARTS.split(text.strip()) if one]


def _as_set(value: Any) -> Any:
    return sorted(value) if isinstance(value, list) else value
