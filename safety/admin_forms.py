"""Forms of the safety pages. What is refused is said at the field, and what was typed stays."""

import re
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib.admin import VERTICAL
from django.http import HttpRequest
from django.utils.html import escape
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminTextInputWidget,
)

from audit import bot_names
from safety import limit_fields, limits
from safety.kill_switch import GLOBAL, KILL_SETTING, local_latches
from safety.models import NotificationPrefs, RiskLimits, Setting
from safety.notifications.messages import EVENTS
from safety.permissions import ENGAGE, RELEASE

__all__ = ["KILL_SETTING", "KillSwitchForm", "NotificationPrefsForm", "RiskLimitsForm", "may_engage", "may_release"]

REASON_CHARS_MAX = 500
FIGURE_MAX = Decimal(1_000_000_000)
BOT_SCOPE = re.compile(r"bot:[1-9][0-9]{0,17}")


def may_release(request: HttpRequest) -> bool:
    """Return whether this person may release the kill switch."""
    return request.user.has_perm(RELEASE)


def may_engage(request: HttpRequest) -> bool:
    """Return whether this person may engage the kill switch."""
    return request.user.has_perm(ENGAGE)


class KillSwitchForm(forms.ModelForm[Setting]):
    """Halt, or ask for a release. A release needs the right to it, a reason, and no latch of this host."""

    may_release = False
    may_engage = False
    value = forms.ChoiceField(
        label="Trading",
        choices=[("1", "Halt: no order goes out"), ("0", "Release: trading may go on")],
        widget=UnfoldAdminRadioSelectWidget(radio_style=VERTICAL),
    )
    reason = forms.CharField(
        label="Reason",
        max_length=REASON_CHARS_MAX,
        help_text="Why. It is kept in the audit and shown on every page while trading is halted.",
        widget=UnfoldAdminTextInputWidget(),
    )

    class Meta:
        model = Setting
        fields = ("value",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Whoever opens this page wants the other state than the one that holds.
        self.initial["value"] = "1" if self.instance.value.strip() == "0" else "0"

    def clean_value(self) -> str:
        """Refuse a release that would not be done, with the reason at the field."""
        value: str = self.cleaned_data["value"]
        if value == "0" and not self.may_release:
            raise forms.ValidationError(
                "You may halt, but not release. Ask someone with the right to release: a risk manager or an administrator."
            )
        if value != "0" and not self.may_engage:
            raise forms.ValidationError("You may not halt. Ask someone with the right to engage the kill switch.")
        if value == "0" and (latches := local_latches()):
            names = "; ".join(latch.reason for latch in latches)
            raise forms.ValidationError(f"Nothing was released, since these still hold: {names}. Remove them first.")
        return value


class RiskLimitsForm(forms.ModelForm[RiskLimits]):
    """Limits for all bots or for one, and why they change. Empty takes the default, or for one bot what holds for all."""

    switched_off = forms.MultipleChoiceField(
        label="Do not ask",
        required=False,
        choices=[(code, code) for code in limit_fields.SWITCHABLE],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text=(
            "A control that is ticked lets every order pass. A figure of one bot's own still binds that bot. What is not here"
            " cannot be switched off."
        ),
    )
    reason = forms.CharField(
        label="Reason",
        max_length=REASON_CHARS_MAX,
        help_text="Why the limits change. It is kept in the operator events with the old and the new figures.",
        widget=UnfoldAdminTextInputWidget(),
    )

    class Meta:
        model = RiskLimits
        fields = "__all__"
        labels = {"scope": "For", **{one.name: one.title for one in limit_fields.FIELDS}}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for one in limit_fields.FIELDS:
            if one.name in self.fields:
                help_text = f"{one.meaning}. Empty: {one.default}, or for one bot what holds for all."
                self.fields[one.name].help_text = help_text
        if self.instance.scope != GLOBAL:
            del self.fields["switched_off"]
        elif unknown := limits.unknown_codes(self.instance):
            # The row's own text, shown as it is: a stranger's text there.
            self.fields[
                "switched_off"
            ].help_text += f" These are in the row and count for nothing: {escape(', '.join(unknown))}."
        if "scope" in self.fields:
            names = ", ".join(f"bot:{bot.bot_id} ({bot.name})" for bot in bot_names.all_bots()[:20])
            # Help texts are shown as they are: a bot's name is a stranger's text there.
            self.fields["scope"].help_text = f"bot:NUMBER for one bot. {escape(names)}"

    def clean_scope(self) -> str:
        """Refuse a scope that no limit is ever read for."""
        scope: str = self.cleaned_data["scope"].strip()
        if scope != GLOBAL and not BOT_SCOPE.fullmatch(scope):
            raise forms.ValidationError("Write global, or bot: and the bot's number, such as bot:3.")
        return scope

    def clean(self) -> dict[str, Any]:
        """Refuse figures that are not above zero or absurdly large, each at its field."""
        cleaned = super().clean() or {}
        for name, value in list(cleaned.items()):
            if isinstance(value, Decimal) and not 0 < value <= FIGURE_MAX:
                self.add_error(name, f"It has to be above 0 and at most {FIGURE_MAX:,}.")
        return cleaned


class NotificationPrefsForm(forms.ModelForm[NotificationPrefs]):
    """What is sent. Events that are not in the table yet count as wanted."""

    wanted_events = forms.MultipleChoiceField(
        label="Send",
        required=False,
        choices=list(EVENTS.items()),
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="What is urgent ignores quiet hours.",
    )
    reason = forms.CharField(
        label="Reason",
        max_length=REASON_CHARS_MAX,
        help_text="Why. It is kept in the audit.",
        widget=UnfoldAdminTextInputWidget(),
    )

    class Meta:
        model = NotificationPrefs
        fields = ("enabled", "discord", "email", "quiet_from", "quiet_until")
        labels = {
            "enabled": "Send notifications",
            "discord": "Send to Discord",
            "email": "Send by email",
            "quiet_from": "Quiet from (UTC)",
            "quiet_until": "Quiet until (UTC)",
        }
        help_texts = {
            "enabled": "Off: nothing is sent. What is urgent is still shown on the Safety page.",
            "quiet_from": "Leave both empty for no quiet hours.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        kept = self.instance.events or {}
        self.initial["wanted_events"] = [name for name in EVENTS if kept.get(name, True)]

    def clean(self) -> dict[str, Any]:
        """Refuse quiet hours with one end, and turn the ticked events into the kept form."""
        cleaned = super().clean() or {}
        if (cleaned.get("quiet_from") is None) != (cleaned.get("quiet_until") is None):
            self.add_error("quiet_until", "Give both ends of the quiet hours, or none.")
        wanted = cleaned.pop("wanted_events", [])
        self.instance.events = {**(self.instance.events or {}), **{name: name in wanted for name in EVENTS}}
        return cleaned
