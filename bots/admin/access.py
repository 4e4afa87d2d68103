"""The page of an account's access to its venue: how far it is verified, which decides how much it may ask."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminTextInputWidget

from audit.admin_base import ConsoleModelAdmin, display, record_change
from bots.brokers.kraken_budget import TIERS, KrakenBudget
from bots.models import KrakenTier, VenueAccess
from safety import recent_signin
from safety.permissions import CHANGE_LIMITS

REASON_CHARS_MAX = 500
#: The account whose venue knows tiers.
TIERED = "kraken"


class VenueAccessForm(forms.ModelForm[VenueAccess]):
    """The tier, with a reason."""

    reason = forms.CharField(
        label="Reason",
        max_length=REASON_CHARS_MAX,
        help_text="Why. It is kept in the operator events.",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
    )

    class Meta:
        model = VenueAccess
        fields = ("tier",)
        help_texts = {
            "tier": "As Kraken shows it under Settings, Get verified. One that is too high gets the key locked out for a while."
        }


@admin.register(VenueAccess)
class VenueAccessAdmin(ConsoleModelAdmin):
    """Accounts at venues: only Kraken's tier is chosen by a person, the rest is what the venues said."""

    form = VenueAccessForm
    list_display = ("account", "tier_shown", "may_ask", "asked_too_much", "nonce_refused", "key_refused")
    readonly_fields = ("account", "may_ask", "asked_too_much", "nonce_refused", "key_refused")
    sortable_by = ()
    actions: Any = None

    def get_fieldsets(self, request: HttpRequest, obj: VenueAccess | None = None) -> Any:
        """Show the tier where there is one, and what the venue said."""
        may_change = self.has_change_permission(request, obj)
        own = ("account", "may_ask", "tier", "reason") if may_change else ("account", "may_ask")
        told = ("asked_too_much", "nonce_refused", "key_refused")
        return [(None, {"fields": own}), ("What the venue said", {"fields": told})]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Accounts are made by being used."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Return whether this person may choose the tier; other venues have none."""
        is_tiered = obj is None or obj.pk == TIERED
        return is_tiered and request.user.has_perm(CHANGE_LIMITS)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Show the form, or save it with a recent sign-in."""
        asked = recent_signin.ask(request, on_get=False)
        return super().changeform_view(request, *args, **kwargs) if asked is None else asked

    def save_model(self, request: HttpRequest, obj: VenueAccess, form: Any, change: bool) -> None:
        """Save the tier with an audit row. The count begins full: what was used under the other limit is not known."""
        if "tier" not in form.changed_data:
            return
        VenueAccess.objects.filter(pk=obj.pk).update(tier=obj.tier)
        KrakenBudget(obj.account).refused()
        old, reason = str(form.initial.get("tier", "")), form.cleaned_data["reason"]
        record_change(request, "kraken_tier_changed", f"account:{obj.account}", old, obj.tier, reason)

    @display(description="Tier")
    def tier_shown(self, access: VenueAccess) -> str:
        """Return Kraken's tier; other venues have none."""
        return KrakenTier(access.tier).label if access.account == TIERED else "none"

    @display(description="May ask")
    def may_ask(self, access: VenueAccess) -> str:
        """Return the limit on requests."""
        if access.account != TIERED:
            return "200 a minute"
        limit = TIERS[KrakenTier(access.tier)].requests
        return f"{limit.size} at once, {limit.per_s:.2f} a second"

    @display(description="Last asked too much (UTC)")
    def asked_too_much(self, access: VenueAccess) -> SafeString:
        """Return when the venue last said that it was asked too much, and its words."""
        return _told(access.rate_refused_at, access.rate_refused_reason)

    @display(description="A request's number last refused (UTC)")
    def nonce_refused(self, access: VenueAccess) -> SafeString:
        """Return when the venue last refused a request's number, and how often in a row: something else uses the key."""
        refusals = access.nonce_refusals
        return _told(
            access.nonce_refused_at, f"{refusals} in a row: does something else use the key?" if refusals else ""
        )

    @display(description="Key last refused (UTC)")
    def key_refused(self, access: VenueAccess) -> SafeString:
        """Return when the venue last did not accept the key, and its words."""
        return _told(access.key_refused_at, access.key_refused_reason)


def _told(when: datetime | None, words: str) -> SafeString:
    if when is None:
        return SafeString("never")
    return format_html("<div>{}<br><span class='tc-subtle'>{}</span></div>", f"{when:%Y-%m-%d %H:%M:%S}", words)
