"""Pages of what may happen: settings with the kill switch, trading states, limits and notification preferences."""

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from audit import figures
from audit.admin_base import ConsoleModelAdmin, ReadOnlyModelAdmin, actor_of, audit_changes, display, record_change
from safety import kill_switch
from safety.admin_forms import KILL_SETTING, KillSwitchForm, NotificationPrefsForm, RiskLimitsForm, may_release
from safety.intents import Level
from safety.models import NotificationPrefs, RiskLimits, Setting, TradingState

LEVEL_COLOURS = {"Active": "success", "Reducing": "warning", "Halted": "danger"}


@admin.register(Setting)
class SettingAdmin(ConsoleModelAdmin):
    """Settings. The kill switch is worked from here; what else is kept is shown only."""

    list_display = ("key_shown", "value_shown", "meaning")
    sortable_by = ()
    actions: Any = None
    change_form_outer_before_template = "admin/console/setting_intro.html"

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Settings are made by the console itself."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only the kill switch is changed by hand; the others have pages of their own."""
        if obj is not None and obj.key != KILL_SETTING:
            return False
        return bool(super().has_change_permission(request, obj))

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Return the kill switch's form, which knows who asks; the other settings have none."""
        if obj is None or obj.key != KILL_SETTING:
            return super().get_form(request, obj, change, **kwargs)
        return type("KillSwitchFormFor", (KillSwitchForm,), {"may_release": may_release(request)})

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return what the page shows."""
        if obj is not None and obj.key == KILL_SETTING and self.has_change_permission(request, obj):
            return ["value", "reason"]
        return ["key", "value"]

    def save_model(self, request: HttpRequest, obj: Setting, form: Any, change: bool) -> None:
        """Engage or ask for a release; the setting itself is written there, with its audit row."""
        reason, actor = form.cleaned_data["reason"], actor_of(request)
        if form.cleaned_data["value"] == "1":
            kill_switch.engage(Level.HALTED, reason, actor=actor)
            messages.warning(request, "Trading is halted. No order goes out; resting orders can still be cancelled.")
            return
        left = kill_switch.release(reason, actor=actor)
        if left:
            messages.warning(request, f"Released, but these still hold: {'; '.join(latch.reason for latch in left)}.")
        else:
            messages.success(request, "Released. Trading is active again.")

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Show or save the form. A release that is refused while it is done is told, and nothing has changed."""
        try:
            return super().changeform_view(request, *args, **kwargs)
        except kill_switch.ReleaseRefusedError as refused:
            messages.error(request, str(refused))
            return HttpResponseRedirect(request.path)

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> Any:
        """Show one setting. There is one way to save: what it does is meant at once."""
        only_save = {"show_save_and_continue": False, "show_save_and_add_another": False}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **only_save})

    def response_change(self, request: HttpRequest, obj: Setting) -> HttpResponse:
        """Stay on the page: what was done is said there already."""
        return HttpResponseRedirect(request.path)

    @display(description="Key")
    def key_shown(self, setting: Setting) -> str:
        """Return the key."""
        return setting.key

    @display(description="Value")
    def value_shown(self, setting: Setting) -> SafeString:
        """Return the value as it is kept."""
        return format_html('<code class="tc-wrap">{}</code>', setting.value)

    @display(description="What it is")
    def meaning(self, setting: Setting) -> str:
        """Return what the setting does."""
        if setting.key == KILL_SETTING:
            return "0: trading may go on. Anything else: halted. Open it to halt or to release."
        return "Kept by the console. Shown here, changed on its own page."


@admin.register(TradingState)
class TradingStateAdmin(ReadOnlyModelAdmin):
    """How much trading each scope allows, and why."""

    list_display = ("scope", "level_shown", "reason", "actor", "since")
    fields = ("scope", "level", "reason", "actor", "changed_at")
    sortable_by = ()

    @display(description="State", label=LEVEL_COLOURS)
    def level_shown(self, state: TradingState) -> str:
        """Return the level; one that is not known reads as halted."""
        return Level(state.level).label if state.level in Level.values else Level.HALTED.label

    @display(description="Since")
    def since(self, state: TradingState) -> str:
        """Return when it changed last."""
        return f"{state.changed_at:%Y-%m-%d %H:%M:%S} UTC ({figures.age(state.changed_at, timezone.now())})"


@admin.register(RiskLimits)
class RiskLimitsAdmin(ConsoleModelAdmin):
    """Limits, for all bots together or for one. Of two figures the stricter holds."""

    form = RiskLimitsForm
    list_display = ("scope_shown", "paper_max", "live_max", "rate_per_minute_bot", "open_orders_bot_max")
    sortable_by = ()
    actions: Any = None
    change_form_outer_before_template = "admin/console/limits_intro.html"
    fields = ("scope", *(field.name for field in RiskLimits._meta.fields if field.name != "scope"))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """The scope is chosen once."""
        return ("scope",) if obj is not None else ()

    def save_model(self, request: HttpRequest, obj: RiskLimits, form: Any, change: bool) -> None:
        """Save the limits with one audit row for each figure that changed."""
        super().save_model(request, obj, form, change)
        audit_changes(request, form, f"risk_limits:{obj.scope}", "limit")

    @display(description="For")
    def scope_shown(self, limits: RiskLimits) -> str:
        """Return whom the limits hold for."""
        return "all bots" if limits.scope == kill_switch.GLOBAL else limits.scope.replace(":", " ")

    @display(description="Order value at most, paper")
    def paper_max(self, limits: RiskLimits) -> str:
        """Return the limit, or that the default holds."""
        return _or_default(limits.notional_usd_max_paper)

    @display(description="Order value at most, live")
    def live_max(self, limits: RiskLimits) -> str:
        """Return the limit, or that the default holds."""
        return _or_default(limits.notional_usd_max_live)


@admin.register(NotificationPrefs)
class NotificationPrefsAdmin(ConsoleModelAdmin):
    """What is sent to people, and when not."""

    form = NotificationPrefsForm
    list_display = ("__str__", "enabled", "discord", "quiet")
    sortable_by = ()
    actions: Any = None
    fieldsets = (
        (None, {"fields": ("enabled", "discord", "quiet_from", "quiet_until")}),
        ("Events", {"fields": ("wanted_events",)}),
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        """There is one row, made by the installation."""
        return False

    def save_model(self, request: HttpRequest, obj: NotificationPrefs, form: Any, change: bool) -> None:
        """Save the preferences with one audit row for each that changed."""
        before = NotificationPrefs.objects.get(pk=obj.pk).events
        super().save_model(request, obj, form, change)
        audit_changes(request, form, "notification_prefs", "notification")
        for name, wanted in obj.events.items():
            if before.get(name, True) != wanted:
                record_change(
                    request, "notification_event_changed", f"notification_prefs:{name}", _on(not wanted), _on(wanted)
                )

    @display(description="Quiet hours (UTC)")
    def quiet(self, prefs: NotificationPrefs) -> str:
        """Return the hours in which only what is urgent is sent."""
        if prefs.quiet_from is None or prefs.quiet_until is None:
            return "none"
        return f"{prefs.quiet_from:%H:%M} to {prefs.quiet_until:%H:%M}"


def _on(wanted: bool) -> str:
    return "on" if wanted else "off"


def _or_default(value: Any) -> str:
    return "the default" if value is None else figures.money(value)
