"""The page of the risk limits: for all bots together or for one, with what may be switched off."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from audit import figures
from audit.admin_base import ConsoleModelAdmin, display, record_change, shown
from audit.decimals import decimal_text
from safety import recent_signin
from safety.admin_forms import RiskLimitsForm
from safety.kill_switch import GLOBAL
from safety.limits import switched_off
from safety.models import RiskLimits

LIMIT_GROUPS = (
    (
        "How much an order may be worth",
        {
            "fields": (
                "notional_usd_max_paper",
                "notional_usd_max_live",
                ("notional_equity_pct", "notional_floor_usd"),
                "ramp_usd_max",
                "size_outlier_multiple",
            )
        },
    ),
    (
        "At what price, on what data",
        {
            "fields": (
                ("collar_pct_major", "collar_pct_other"),
                "collar_passive_pct",
                ("quote_age_s_max", "candle_periods_max"),
                "intent_age_s_max",
            )
        },
    ),
    (
        "How often",
        {
            "fields": (
                ("rate_per_minute_bot", "rate_per_minute_account"),
                ("open_orders_bot_max", "open_orders_account_max"),
                "repeat_per_day",
            )
        },
    ),
    (
        "How much of the account",
        {
            "fields": (
                ("position_equity_pct", "position_floor_usd"),
                ("gross_equity_pct", "gross_floor_usd"),
            )
        },
    ),
    (
        "When to stop",
        {
            "fields": (
                ("daily_loss_pct", "drawdown_pct"),
                ("losing_streak_max", "losing_pause_h"),
                "reject_streak_max",
            )
        },
    ),
)


@admin.register(RiskLimits)
class RiskLimitsAdmin(ConsoleModelAdmin):
    """Limits, for all bots together or for one. Of two figures the stricter holds."""

    form = RiskLimitsForm
    list_display = ("scope_shown", "paper_max", "live_max", "losses", "off")
    sortable_by = ()
    actions: Any = None
    change_form_outer_before_template = "admin/console/limits_intro.html"

    def get_fieldsets(self, request: HttpRequest, obj: RiskLimits | None = None) -> Any:
        """Group the figures; what may be switched off is on the page of all bots alone."""
        is_global = obj is not None and obj.scope == GLOBAL
        off = [("Switched off", {"fields": ("switched_off",)})] if is_global else []
        return [(None, {"fields": ("scope",)}), *LIMIT_GROUPS, *off, ("Why", {"fields": ("reason",)})]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """The scope is chosen once."""
        return ("scope",) if obj is not None else ()

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Show the form, or save it with a recent sign-in."""
        asked = recent_signin.ask(request, on_get=False)
        return super().changeform_view(request, *args, **kwargs) if asked is None else asked

    def save_model(self, request: HttpRequest, obj: RiskLimits, form: Any, change: bool) -> None:
        """Save the limits with one audit row for each figure that changed, with the reason that was given."""
        super().save_model(request, obj, form, change)
        for name in form.changed_data:
            if name in {"scope", "reason"}:
                continue
            old, new = (_limit_text(one) for one in (form.initial.get(name), form.cleaned_data[name]))
            if old != new:
                reason = form.cleaned_data["reason"]
                record_change(request, f"limit_{name}_changed", f"risk_limits:{obj.scope}", old, new, reason)

    @display(description="For")
    def scope_shown(self, limits: RiskLimits) -> str:
        """Return whom the limits hold for."""
        return "all bots" if limits.scope == GLOBAL else limits.scope.replace(":", " ")

    @display(description="Order value at most, paper")
    def paper_max(self, limits: RiskLimits) -> str:
        """Return the limit, or that the default holds."""
        return _or_default(limits.notional_usd_max_paper)

    @display(description="Order value at most, live")
    def live_max(self, limits: RiskLimits) -> str:
        """Return the limit, or that the default holds."""
        return _or_default(limits.notional_usd_max_live)

    @display(description="Loss in a day, from the peak")
    def losses(self, limits: RiskLimits) -> str:
        """Return the two loss limits in per cent, or that the default holds."""
        pcts = (limits.daily_loss_pct, limits.drawdown_pct)
        return ", ".join("the default" if one is None else f"{decimal_text(one)} %" for one in pcts)

    @display(description="Switched off")
    def off(self, limits: RiskLimits) -> str:
        """Return the controls that are switched off."""
        return ", ".join(sorted(switched_off(limits))) if limits.scope == GLOBAL else "none of its own"


def _limit_text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else shown(value)


def _or_default(value: Any) -> str:
    return "the default" if value is None else figures.money(value)
