"""Orders and fills: to look at, and to cancel what still rests."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import TabularInline

from audit import figures
from audit.admin import HistoryAdmin, market_shown, why_shown
from audit.admin_base import display
from audit.admin_filters import BotFilter, DayFilter, IsLiveFilter, SymbolFilter
from audit.models import OrderEvent
from bots.admin.actions import OPERATE, cancel_orders
from bots.models import Fill, Order
from bots.order_states import RESTING_STATES, OrderStatus

EVENTS_MAX = 100
STATUS_COLOURS = {
    OrderStatus(status).label: colour
    for status, colour in {
        OrderStatus.FILLED: "success",
        OrderStatus.PARTIALLY_FILLED: "success",
        OrderStatus.ACCEPTED: "info",
        OrderStatus.DENIED: "warning",
        OrderStatus.REJECTED: "danger",
        OrderStatus.UNKNOWN: "danger",
        OrderStatus.NOT_SENT: "danger",
    }.items()
}


class CreatedFilter(DayFilter):
    """A stretch of UTC days up to now, by when the order was made."""

    field = "created_at"


class FilledFilter(DayFilter):
    """A stretch of UTC days up to now, by when the fill was."""

    field = "filled_at"


class FillInline(TabularInline):  # type: ignore[misc]
    """The fills of an order."""

    model = Fill
    fields = readonly_fields = ("filled_at", "quantity", "price", "fee", "is_maker", "trade_id")
    extra = 0
    can_delete = False
    hide_title = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Fills come from brokers only."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Fills are history."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Fills are history."""
        return False


@admin.action(description="Cancel…", permissions=["operate"])
def cancel_selected(model_admin: "OrderAdmin", request: HttpRequest, queryset: QuerySet[Order]) -> HttpResponse | None:
    """Ask, then cancel the chosen orders, each by itself."""
    orders = list(queryset)
    if not orders:
        return None
    if "confirmed" not in request.POST:
        return model_admin.confirm_cancel(request, orders, is_bulk=True)
    cancel_orders(request, orders)
    return None


@admin.register(Order)
class OrderAdmin(HistoryAdmin):
    """Every order, newest first."""

    list_display = ("made", "client_order_id", "book", "bot", "market", "what", "state", "filled", "average", "reason")
    list_filter = (
        ("status", admin.ChoicesFieldListFilter), IsLiveFilter, BotFilter,
        ("side", admin.ChoicesFieldListFilter), SymbolFilter, CreatedFilter,
    )  # fmt: skip
    list_select_related = ("bot",)
    search_fields = ("=client_order_id",)
    search_help_text = "A client order id, in full"
    actions = [cancel_selected]
    inlines = [FillInline]
    change_form_outer_before_template = "admin/bots/order/cancel_bar.html"
    fieldsets = (
        (None, {"fields": ("client_order_id", "bot", "book", "state", "reason", "actor")}),
        ("The order", {"fields": ("venue", "symbol", "side", "type", "quantity", "limit_price", "reduce_only", "leg")}),
        ("What became of it", {"fields": ("filled_quantity", "average", "fees", "venue_order_id", "events")}),
        ("When (UTC)", {"fields": ("created_at", "submitting_at", "updated_at", "cancel_requested_at")}),
    )
    readonly_fields = ("book", "state", "average", "events")

    def has_operate_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return whether this person may cancel orders."""
        return request.user.has_perm(OPERATE)

    def get_urls(self) -> list[URLPattern]:
        """Return the pages, with the one that cancels."""
        cancel = self.admin_site.admin_view(self.cancel_view)
        return [path("<int:order_id>/cancel/", cancel, name="bots_order_cancel"), *super().get_urls()]

    def cancel_view(self, request: HttpRequest, order_id: int) -> HttpResponse:
        """Ask on a GET, cancel on a confirmed POST."""
        if not self.has_operate_permission(request):
            raise PermissionDenied
        order = get_object_or_404(Order, pk=order_id)
        if request.method != "POST" or "confirmed" not in request.POST:
            return self.confirm_cancel(request, [order], is_bulk=False)
        cancel_orders(request, [order])
        return HttpResponseRedirect(reverse("admin:bots_order_change", args=[order.pk]))

    def confirm_cancel(self, request: HttpRequest, orders: list[Order], *, is_bulk: bool) -> HttpResponse:
        """Ask before orders are cancelled, naming each."""
        one = reverse("admin:bots_order_change", args=[orders[0].pk])
        context = {
            **self.admin_site.each_context(request),
            "title": "Cancel orders" if is_bulk else "Cancel order",
            "opts": self.opts,
            "orders": orders,
            "is_bulk": is_bulk,
            "back": reverse("admin:bots_order_changelist") if is_bulk else one,
        }
        return TemplateResponse(request, "admin/bots/order/confirm_cancel.html", context)

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> Any:
        """Show the order, with the way to cancel it while it rests."""
        resting = Order.objects.filter(pk=object_id, status__in=RESTING_STATES) if object_id.isdecimal() else None
        can_cancel = resting is not None and self.has_operate_permission(request) and resting.exists()
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "can_cancel": can_cancel})

    @display(description="Made (UTC)")
    def made(self, order: Order) -> SafeString:
        """Return when the order was made."""
        return _when(order.created_at)

    @display(description="Book", label={"Paper": "info", "Live": "danger"})
    def book(self, order: Order) -> str:
        """Return whether it is for real money."""
        return "Live" if order.is_live else "Paper"

    @display(description="Market")
    def market(self, order: Order) -> SafeString:
        """Return symbol and venue."""
        return market_shown(order.symbol, order.venue)

    @display(description="Order")
    def what(self, order: Order) -> str:
        """Return side, quantity and price."""
        at = "at the market" if order.limit_price is None else f"at {figures.price(order.limit_price)}"
        return f"{order.side} {figures.quantity(order.quantity)} {at}"

    @display(description="Status", label=STATUS_COLOURS)
    def state(self, order: Order) -> str:
        """Return where the order stands."""
        return OrderStatus(order.status).label

    @display(description="Step by step")
    def events(self, order: Order) -> SafeString:
        """Return the order's events, oldest first, with the reasons of a denial."""
        rows = OrderEvent.objects.filter(client_order_id=order.client_order_id).order_by("id")[:EVENTS_MAX]
        lines = [
            (
                reverse("admin:audit_orderevent_change", args=[row.pk]),
                f"{row.ts:%H:%M:%S}",
                row.event.replace("_", " "),
                why_shown(row),
            )
            for row in rows
        ]
        return format_html_join("", '<div><a class="tc-link" href="{}">{} {}</a> {}</div>', lines)

    @display(description="Filled")
    def filled(self, order: Order) -> str:
        """Return the filled quantity."""
        return figures.quantity(order.filled_quantity)

    @display(description="Average price")
    def average(self, order: Order) -> str:
        """Return the mean price of the fills."""
        return "–" if order.average_price is None else figures.price(order.average_price)


@admin.register(Fill)
class FillAdmin(HistoryAdmin):
    """Every execution, newest first."""

    list_display = (
        "when",
        "book",
        "bot",
        "market",
        "side",
        "quantity_shown",
        "price_shown",
        "fee_shown",
        "maker",
        "of_order",
    )
    list_filter = (IsLiveFilter, FilledFilter)
    list_select_related = ("order__bot",)
    search_fields = ("=order__client_order_id",)
    search_help_text = "A client order id, in full"

    @display(description="When (UTC)")
    def when(self, fill: Fill) -> SafeString:
        """Return when it was."""
        return _when(fill.filled_at)

    @display(description="Book", label={"Paper": "info", "Live": "danger"})
    def book(self, fill: Fill) -> str:
        """Return whether it was real money."""
        return "Live" if fill.is_live else "Paper"

    @display(description="Bot")
    def bot(self, fill: Fill) -> str:
        """Return the bot's name."""
        return "–" if fill.order.bot is None else fill.order.bot.name

    @display(description="Market")
    def market(self, fill: Fill) -> SafeString:
        """Return symbol and venue."""
        return market_shown(fill.order.symbol, fill.venue)

    @display(description="Side")
    def side(self, fill: Fill) -> str:
        """Return which way it traded."""
        return fill.order.side

    @display(description="Quantity")
    def quantity_shown(self, fill: Fill) -> str:
        """Return the quantity in full."""
        return figures.quantity(fill.quantity)

    @display(description="Price")
    def price_shown(self, fill: Fill) -> str:
        """Return the price."""
        return figures.price(fill.price)

    @display(description="Fee")
    def fee_shown(self, fill: Fill) -> str:
        """Return the fee, in the quote currency."""
        return figures.fee(fill.fee)

    @display(description="Kind")
    def maker(self, fill: Fill) -> str:
        """Return whether the order rested when it met the other side."""
        return "maker" if fill.is_maker else "taker"

    @display(description="Order")
    def of_order(self, fill: Fill) -> SafeString:
        """Return a link to the order."""
        url = reverse("admin:bots_order_change", args=[fill.order_id])
        return format_html('<a class="tc-link" href="{}">{}</a>', url, fill.order.client_order_id)


def _when(moment: Any) -> SafeString:
    return format_html(
        '<span class="tc-nowrap">{}</span><br><span class="tc-subtle">{}</span>',
        f"{moment:%Y-%m-%d %H:%M:%S}",
        figures.age(moment, timezone.now()),
    )
