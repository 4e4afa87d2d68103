"""Pages of what may happen: settings with the kill switch, trading states, limits and notification preferences."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from audit import figures
from audit.admin_base import ConsoleModelAdmin, ReadOnlyModelAdmin, actor_of, audit_changes, display, record_change
from safety import kill_switch, recent_signin
from safety.admin_forms import (
    KILL_SETTING,
    KillSwitchForm,
    NotificationPrefsForm,
    may_engage,
    may_release,
)
from safety.intents import Level
from safety.limits_admin import RiskLimitsAdmin
from safety.models import NotificationPrefs, Setting, TradingState
from safety.notification_admin import DeliveryAdmin, NotificationAdmin
from safety.token_admin import ApiTokenAdmin

__all__ = [
    "ApiTokenAdmin",
    "DeliveryAdmin",
    "NotificationAdmin",
    "NotificationPrefsAdmin",
    "RiskLimitsAdmin",
    "SettingAdmin",
    "TradingStateAdmin",
]

LEVEL_COLOURS = {"Active": "success", "Reducing": "warning", "Halted": "danger"}


@admin.register(Setting)
class SettingAdmin(ConsoleModelAdmin):
    """Settings. The kill switch is worked from here; what else is kept is shown only."""

    list_display = ("key_shown", "value_shown", "meaning")
    sortable_by = ()
    actions: Any = ("engage_kill_switch", "ask_for_release")
    change_form_outer_before_template = "admin/console/setting_intro.html"
    # The kill switch commits by itself, before anything else is done.
    saves_in_unit = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Settings are made by the console itself."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only the kill switch is changed by hand, by whoever may engage it; the others have pages of their own."""
        if obj is not None and obj.key != KILL_SETTING:
            return False
        return may_engage(request) or may_release(request)

    def has_engage_permission(self, request: HttpRequest) -> bool:
        """Return whether the action that halts is offered."""
        return may_engage(request)

    def has_release_permission(self, request: HttpRequest) -> bool:
        """Return whether the action that leads to a release is offered."""
        return may_release(request)

    @admin.action(description="Kill switch: halt all trading now", permissions=["engage"])
    def engage_kill_switch(self, request: HttpRequest, queryset: QuerySet[Setting]) -> None:
        """Halt everything. The kill switch has to be among the ticked rows, so that nobody halts by a wrong tick."""
        if not queryset.filter(key=KILL_SETTING).exists():
            messages.error(request, f"Nothing was halted: tick {KILL_SETTING}, and choose the action again.")
            return
        kill_switch.engage(Level.HALTED, "the action on the settings page", actor=actor_of(request))
        messages.warning(request, "Trading is halted. No order goes out; resting orders are being cancelled.")

    @admin.action(description="Kill switch: ask for a release…", permissions=["release"])
    def ask_for_release(self, request: HttpRequest, queryset: QuerySet[Setting]) -> HttpResponse:
        """Lead to the form that releases: it takes a reason and the password."""
        return HttpResponseRedirect(reverse("admin:safety_setting_change", args=[KILL_SETTING]))

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Return the kill switch's form, which knows who asks; the other settings have none."""
        if obj is None or obj.key != KILL_SETTING:
            return super().get_form(request, obj, change, **kwargs)
        return type(
            "KillSwitchFormFor",
            (KillSwitchForm,),
            {"may_release": may_release(request), "may_engage": may_engage(request)},
        )

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
            messages.warning(request, "Trading is halted. No order goes out; resting orders are being cancelled.")
            return
        left = kill_switch.release(reason, actor=actor)
        if left:
            messages.warning(request, f"Released, but these still hold: {'; '.join(latch.reason for latch in left)}.")
        else:
            messages.success(request, "Released. Trading is active again; live bots' entries are held until cleared.")

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Show or save the form. A release asks for a recent sign-in first; what is refused is told, and nothing has changed."""
        if request.method == "POST" and request.POST.get("value") != "1":
            asked = recent_signin.ask(request)
            if asked is not None:
                return asked
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


@admin.register(NotificationPrefs)
class NotificationPrefsAdmin(ConsoleModelAdmin):
    """What is sent to people, and when not."""

    form = NotificationPrefsForm
    list_display = ("__str__", "enabled", "discord", "email", "quiet")
    sortable_by = ()
    actions: Any = None
    fieldsets = (
        (None, {"fields": ("enabled", "discord", "email", "quiet_from", "quiet_until")}),
        ("Events", {"fields": ("wanted_events",)}),
        (None, {"fields": ("reason",)}),
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        """There is one row, made by the installation."""
        return False

    def save_model(self, request: HttpRequest, obj: NotificationPrefs, form: Any, change: bool) -> None:
        """Save the preferences with one audit row for each that changed."""
        before, reason = NotificationPrefs.objects.get(pk=obj.pk).events, form.cleaned_data.pop("reason")
        super().save_model(request, obj, form, change)
        audit_changes(request, form, "notification_prefs", "notification", reason)
        for name, wanted in obj.events.items():
            if before.get(name, True) != wanted:
                what = f"notification_prefs:{name}"
                record_change(request, "notification_event_changed", what, _on(not wanted), _on(wanted), reason)

    @display(description="Quiet hours (UTC)")
    def quiet(self, prefs: NotificationPrefs) -> str:
        """Return the hours in which only what is urgent is sent."""
        if prefs.quiet_from is None or prefs.quiet_until is None:
            return "none"
        return f"{prefs.quiet_from:%H:%M} to {prefs.quiet_until:%H:%M}"


def _on(wanted: bool) -> str:
    return "on" if wanted else "off"
