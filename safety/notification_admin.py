"""Pages of the outbox, to look at only: what was told, and each channel's messages. They cost the same however many there are."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from audit import figures
from audit.admin import HistoryAdmin
from audit.admin_base import display
from audit.admin_filters import DayFilter
from safety.notification_models import Delivery, DeliveryStatus, Notification
from safety.notifications.messages import EVENTS, Severity
from safety.notifications.wording import heading, message_of

SEVERITY_COLOURS = {"Urgent": "danger", "Warning": "warning", "Info": "info"}
OUTCOME = ("tries", "tried_at", "delivered_at", "not_before", "event_id")
STATUS_WORDS = {
    DeliveryStatus.DELIVERED: "Delivered",
    DeliveryStatus.WAITING: "Waiting",
    DeliveryStatus.DEAD: "Given up",
    DeliveryStatus.DROPPED: "Not sent",
}
STATUS_COLOURS = {"Delivered": "success", "Waiting": "warning", "Given up": "danger"}


class CreatedFilter(DayFilter):
    """A stretch of UTC days, by when it was written."""

    field = "created_at"


class EventFilter(admin.SimpleListFilter):
    """One event, by its words."""

    title = "event"
    parameter_name = "event"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return every event that there is."""
        return [(name, heading(name)) for name in EVENTS]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Return the rows of one event."""
        return queryset.filter(event=self.value()) if self.value() in EVENTS else queryset


class SeverityFilter(admin.SimpleListFilter):
    """How much it matters."""

    title = "severity"
    parameter_name = "severity"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return every severity."""
        return [(one.value, one.value.capitalize()) for one in Severity]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Return the rows of one severity."""
        return queryset.filter(severity=self.value()) if self.value() in set(Severity) else queryset


class OutboxAdmin(HistoryAdmin):
    """What both lists share."""

    @display(description="Time (UTC)")
    def time(self, row: Any) -> SafeString:
        """Return when it was written, and how long ago."""
        return format_html(
            '<span class="tc-nowrap">{}</span><br><span class="tc-subtle">{}</span>',
            f"{row.created_at:%Y-%m-%d %H:%M:%S}",
            figures.age(row.created_at, timezone.now()),
        )

    @display(description="Severity", label=SEVERITY_COLOURS)
    def severity_shown(self, row: Any) -> str:
        """Return how much it matters."""
        return str(row.severity).capitalize()

    @display(description="Event")
    def event_shown(self, row: Any) -> str:
        """Return the event in words."""
        return heading(row.event)


@admin.register(Notification)
class NotificationAdmin(OutboxAdmin):
    """Everything that people were to be told, and who has seen what is urgent."""

    list_display = ("time", "severity_shown", "event_shown", "title_shown", "subject", "seen")
    list_filter = (SeverityFilter, EventFilter, CreatedFilter)
    fieldsets = (
        (None, {"fields": ("title", "severity_shown", "event_shown", "subject", "created_at", "text", "facts_shown")}),
        ("What became of it", {"fields": ("planned_at", "seen", "event_id")}),
    )
    readonly_fields = ("severity_shown", "event_shown", "facts_shown", "seen")

    @display(description="What")
    def title_shown(self, row: Notification) -> str:
        """Return its one line."""
        return row.title

    @display(description="Facts")
    def facts_shown(self, row: Notification) -> SafeString | str:
        """Return each fact on a line of its own."""
        return format_html_join("", "{}: {}<br>", ((name, value) for name, value in row.facts)) or "–"

    @display(description="Seen")
    def seen(self, row: Notification) -> str:
        """Return who has seen what is urgent, and when; nobody has to look at the rest."""
        if row.seen_at is not None:
            return f"by {row.seen_by}, {row.seen_at:%Y-%m-%d %H:%M:%S} UTC"
        return "not yet" if row.severity == Severity.URGENT else "–"


@admin.register(Delivery)
class DeliveryAdmin(OutboxAdmin):
    """The messages made for each channel, and what became of each."""

    list_display = ("time", "channel", "severity_shown", "title_shown", "count", "status_shown", "tries", "detail")
    list_filter = (("status", admin.ChoicesFieldListFilter), SeverityFilter, EventFilter, CreatedFilter)
    fieldsets = (
        (None, {"fields": ("title_shown", "channel", "severity_shown", "event_shown", "count", "text_shown")}),
        ("When its causes happened", {"fields": ("first_at", "last_at")}),
        ("What became of it", {"fields": ("status_shown", "detail", *OUTCOME)}),
    )
    readonly_fields = ("title_shown", "severity_shown", "event_shown", "text_shown", "status_shown", "tries")

    @display(description="What")
    def title_shown(self, row: Delivery) -> str:
        """Return the title under which it is sent."""
        return message_of(row).title

    @display(description="Text")
    def text_shown(self, row: Delivery) -> SafeString:
        """Return what it says, with its facts below."""
        message = message_of(row)
        facts = "\n".join(f"{name}: {value}" for name, value in message.facts)
        return format_html('<div class="tc-pre">{}</div>', f"{message.text}\n{facts}".strip() or "–")

    @display(description="State", label=STATUS_COLOURS)
    def status_shown(self, row: Delivery) -> str:
        """Return whether it waits, arrived or was given up."""
        return STATUS_WORDS[DeliveryStatus(row.status)]

    @display(description="Tries")
    def tries(self, row: Delivery) -> str:
        """Return how often it was sent."""
        return str(row.attempts)
