"""Forms of the Safety page. What is refused is said at the field, and what was typed stays."""

from typing import Any

from django import forms
from django.forms.utils import flatatt
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget, UnfoldBooleanWidget

from bots.models import Bot, BotStatus, Venue
from safety.intents import Level
from safety.kill_switch import GLOBAL

REASON_CHARS_MAX = 500
FLATTEN_WORD = "FLATTEN"
BOTS_MAX = 500
EVERYTHING = (GLOBAL, "Everything")
LEVELS = [
    (Level.HALTED.value, "Halted: no order goes out, cancels still do"),
    (Level.REDUCING.value, "Reducing: only orders that shrink a position go out"),
]


def scope_choices() -> list[tuple[str, str]]:
    """Return what can be stopped by itself: everything, a venue, a bot."""
    venues = [(f"venue:{venue}", f"Venue {venue}") for venue in Venue.values]
    bots = Bot.objects.exclude(status=BotStatus.ARCHIVED).order_by("name").values_list("pk", "name")[:BOTS_MAX]
    return [EVERYTHING, *venues, *((f"bot:{number}", f"Bot {name}") for number, name in bots)]


class PlainSelect(UnfoldAdminSelectWidget):  # type: ignore[misc]
    """A select that looks like the theme's and is written at once: a template for each bot's option took most of the page."""

    def render(self, name: str, value: Any, attrs: dict[str, Any] | None = None, renderer: Any = None) -> SafeString:
        """Return the select with the value's option chosen."""
        options = format_html_join(
            "", '<option value="{}"{}>{}</option>',
            ((key, mark_safe(" selected") if str(key) == str(value) else "", text) for key, text in self.choices),
        )  # fmt: skip
        given = self.build_attrs(self.attrs, {**(attrs or {}), "name": name})
        return format_html(
            '<div class="grow relative max-w-2xl"><select{}>{}</select>'
            '<span class="material-symbols-outlined absolute pointer-events-none mr-[12px] right-0 text-base-400'
            ' top-1/2 -translate-y-1/2" aria-hidden="true">expand_more</span></div>',
            flatatt(given),
            options,
        )


class ScopedForm(forms.Form):
    """A scope and a reason, which every act on the kill switch has."""

    scope = forms.ChoiceField(label="For", choices=scope_choices, widget=PlainSelect)
    reason = forms.CharField(
        label="Reason",
        max_length=REASON_CHARS_MAX,
        help_text="Why. It is kept in the audit.",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("auto_id", f"id_{type(self).__name__.removesuffix('Form').lower()}_%s")
        super().__init__(*args, **kwargs)


class EngageForm(ScopedForm):
    """How far to stop what. A state that is stricter already stays as it is."""

    level = forms.ChoiceField(label="Level", choices=LEVELS, widget=UnfoldAdminSelectWidget)
    cancel_resting = forms.BooleanField(
        label="Cancel resting orders too", required=False, initial=True, widget=UnfoldBooleanWidget
    )
    field_order = ("level", "scope", "reason", "cancel_resting")


class FlattenForm(ScopedForm):
    """Sell what is held. It has to be typed out: nothing brings a position back."""

    confirm = forms.CharField(
        label=f"Type {FLATTEN_WORD}",
        help_text="In capitals, so that nobody sells everything by accident.",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "autocapitalize": "characters"}),
    )
    field_order = ("scope", "reason", "confirm")

    def clean_confirm(self) -> str:
        """Refuse anything but the word itself."""
        typed: str = self.cleaned_data["confirm"]
        if typed != FLATTEN_WORD:
            raise forms.ValidationError(f"Nothing was sold: what was typed is not {FLATTEN_WORD}.")
        return typed


class ReleaseForm(ScopedForm):
    """Let a scope trade again."""

    def __init__(self, *args: Any, held: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["scope"].choices = held or [EVERYTHING]  # type: ignore[attr-defined]


class ClearForm(forms.Form):
    """Let bots make entries again that were held back."""

    bots = forms.MultipleChoiceField(widget=forms.CheckboxSelectMultiple)
    reason = ScopedForm.base_fields["reason"]

    def __init__(self, *args: Any, held: list[tuple[str, str]], **kwargs: Any) -> None:
        kwargs.setdefault("auto_id", "id_clear_%s")
        super().__init__(*args, **kwargs)
        self.fields["bots"].choices = held  # type: ignore[attr-defined]
