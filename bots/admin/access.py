"""The page of an account's access to its venue: how far it is verified, which decides how much it may ask."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
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
    list_display = ("account", "tier_shown", "may_ask", "rate_refused_at", "nonce_refused_at", "key_refused_at")
    readonly_fields = (
        "account", "rate_refused_at", "rate_refused_reason", "nonce_refused_at", "nonce_refusals", "key_refused_at",
        "key_refused_reason",
    )  # fmt: skip
    sortable_by = ()
    actions: Any = None

    def get_fieldsets(self, request: HttpRequest, obj: VenueAccess | None = None) -> Any:
        """Show the tier where there is one, and what the venue said."""
        may_change = self.has_change_permission(request, obj)
        own = ("account", "tier", "reason") if may_change else ("account",)
        told = tuple(name for name in self.readonly_fields if name != "account")
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
