"""History pages: order events and operator events. To look at only; a page costs the same however many rows there are."""

import json
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from audit import bot_names, figures
from audit.admin_base import BoundedPaginator, ReadOnlyModelAdmin, display
from audit.admin_filters import BotFilter, DayFilter, IsLiveFilter, SymbolFilter
from audit.models import EventKind, OperatorEvent, OrderEvent

EVENT_COLOURS = {
    EventKind.FILLED: "success",
    EventKind.PARTIALLY_FILLED: "success",
    EventKind.ACCEPTED: "info",
    EventKind.DENIED: "warning",
    EventKind.REJECTED: "danger",
    EventKind.UNKNOWN: "danger",
    EventKind.NOT_SENT: "danger",
}
REASON_CHARS_MAX = 160
REPLAY = "replay"


class HistoryAdmin(ReadOnlyModelAdmin):
    """Rows of a table that only grows: newest first, bounded count, and a link to what is older."""

    paginator = BoundedPaginator
    show_full_result_count = False
    list_per_page = 50
    sortable_by = ()
    ordering = ("-id",)
    list_after_template = "admin/console/older_rows.html"

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Return the list with the id of its last row, from which the older rows go on."""
        changelist: ChangeList = super().get_changelist_instance(request)
        if not changelist.has_active_filters and not changelist.query:
            # Without a count of all rows the theme would offer to "show all" of what is shown already.
            changelist.full_result_count = changelist.result_count
        rows = list(changelist.result_list)
        is_full = len(rows) >= self.list_per_page
        changelist.older_query = (  # type: ignore[attr-defined]
            changelist.get_query_string({"id__lt": rows[-1].pk}, remove=["p"]) if is_full else ""
        )
        return changelist

    @display(description="Time (UTC)")
    def time(self, event: Any) -> SafeString:
        """Return when it was, and how long ago."""
        return format_html(
            '<span class="tc-nowrap">{}</span><br><span class="tc-subtle">{}</span>',
            f"{event.ts:%Y-%m-%d %H:%M:%S}",
            figures.age(event.ts, timezone.now()),
        )


@admin.register(OrderEvent)
class OrderEventAdmin(HistoryAdmin):
    """What happened to every order: what was asked, denied, sent, filled and cancelled."""

    list_display = ("time", "book", "what", "bot", "market", "order", "price_shown", "why", "actor")
    list_filter = (IsLiveFilter, ("event", admin.ChoicesFieldListFilter), BotFilter, SymbolFilter, DayFilter)
    search_fields = ("client_order_id",)
    search_help_text = "A client order id or a symbol, in full"
    fieldsets = (
        (None, {"fields": ("what", "book", "ts", "bot", "client_order_id", "venue", "symbol", "actor")}),
        ("The order", {"fields": ("side", "ord_type", "amount", "price", "status", "venue_order_id")}),
        ("Why", {"fields": ("reason", "reasons", "details_shown")}),
        ("Its place in the audit chain", {"fields": ("seq", "prev_hash", "hash")}),
    )
    readonly_fields = ("what", "book", "bot", "reasons", "details_shown")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Look for a whole client order id or symbol: that is what the indexes answer."""
        term = search_term.strip()
        if not term:
            return queryset, False
        field = "symbol" if "/" in term or term.isupper() else "client_order_id"
        return queryset.filter(**{field: term}), False

    @display(description="Book", label={"Paper": "info", "Live": "danger"})
    def book(self, event: OrderEvent) -> str:
        """Return which book the order belongs to."""
        return "Live" if event.is_live else "Paper"

    @display(description="Event", label={EventKind(key).label: colour for key, colour in EVENT_COLOURS.items()})
    def what(self, event: OrderEvent) -> str:
        """Return the event's name."""
        return event.get_event_display()

    @display(description="Bot")
    def bot(self, event: OrderEvent) -> SafeString | str:
        """Return a link to the bot, or its number when it is not known any more."""
        if event.bot_id is None:
            return "–"
        known = event.known_bot if hasattr(event, "known_bot") else bot_names.by_id().get(event.bot_id)
        return f"bot {event.bot_id}" if known is None else format_html('<a href="{}">{}</a>', known.url, known.name)

    @display(description="Market")
    def market(self, event: OrderEvent) -> SafeString:
        """Return the symbol, with the mark of recorded data."""
        return market_shown(event.symbol, event.venue)

    @display(description="Order")
    def order(self, event: OrderEvent) -> SafeString:
        """Return side, amount and type."""
        return format_html(
            '<span class="tc-nowrap">{} {}</span><br><span class="tc-subtle">{} · {}</span>',
            event.side,
            figures.quantity(event.amount),
            event.ord_type,
            event.client_order_id,
        )

    @display(description="Price")
    def price_shown(self, event: OrderEvent) -> str:
        """Return the limit or the fill's price; a market order has none before it fills."""
        return "market" if event.price is None else figures.price(event.price)

    @display(description="Why")
    def why(self, event: OrderEvent) -> str:
        """Return what people read of the reason: the controls' sentences for a denial, else the reason."""
        return _cut(event.why)

    @display(description="Denied because")
    def reasons(self, event: OrderEvent) -> str:
        """Return every denial with its code, limit and actual figure."""
        return "\n".join(_denial(one) for one in event.denials) or "–"

    @display(description="Details")
    def details_shown(self, event: OrderEvent) -> SafeString:
        """Return the details as they are kept."""
        return format_html('<pre class="tc-pre">{}</pre>', json.dumps(event.details, indent=2, sort_keys=True))

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Return the list with the bots' names, read once for all rows."""
        changelist = super().get_changelist_instance(request)
        names = bot_names.by_id()
        for event in changelist.result_list:
            event.known_bot = names.get(event.bot_id)
        return changelist


@admin.register(OperatorEvent)
class OperatorEventAdmin(HistoryAdmin):
    """What people, the API and the automatic safety changed: from what, to what, and why."""

    list_display = ("time", "actor", "action_shown", "object", "change", "reason")
    list_filter = (DayFilter,)
    search_fields = ("actor",)
    search_help_text = "An actor or an action, in full"
    fields = ("ts", "actor", "action", "object", "old", "new", "reason", "seq", "prev_hash", "hash")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Look for a whole actor or action: that is what the indexes answer."""
        term = search_term.strip()
        if not term:
            return queryset, False
        return queryset.filter(actor=term) | queryset.filter(action=term.replace(" ", "_")), False

    @display(description="Action")
    def action_shown(self, event: OperatorEvent) -> str:
        """Return the action in words."""
        return event.action.replace("_", " ")

    @display(description="From → to")
    def change(self, event: OperatorEvent) -> SafeString:
        """Return the old and the new value, cut to what fits a row."""
        return format_html(
            '<span class="tc-wrap">{} → {}</span>', _cut(event.old) or "nothing", _cut(event.new) or "nothing"
        )


def market_shown(symbol: str, venue: str) -> SafeString:
    """Return symbol and venue for a list; recorded data is marked."""
    if venue == REPLAY:
        return format_html(
            '<span class="tc-nowrap">{} <span class="tc-chip tc-chip-replay">REPLAY</span></span>', symbol
        )
    return format_html('<span class="tc-nowrap">{} {}</span>', symbol, venue)


def _denial(reason: dict[str, str]) -> str:
    figures_kept = ", ".join(f"{name} {reason[name]}" for name in ("limit", "actual") if reason.get(name))
    return f"{reason.get('code', '')}: {reason.get('message', '')}" + (f" ({figures_kept})" if figures_kept else "")


def _cut(text: str) -> str:
    return text if len(text) <= REASON_CHARS_MAX else f"{text[:REASON_CHARS_MAX]}…"
