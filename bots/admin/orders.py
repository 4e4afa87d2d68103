"""Orders and fills: to look at, and to cancel what still rests."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from audit import figures
from audit.admin import HistoryAdmin, market_shown
from audit.admin_base import display
from audit.admin_filters import BotFilter, DayFilter, IsLiveFilter, SymbolFilter
from audit.models import OrderEvent
from bots import shadows, sweep
from bots.admin.actions import OPERATE, cancel_orders
from bots.admin.order_story import Care, story
from bots.executor.venue import GRACE
from bots.models import Fill, Order
from bots.order_states import RESTING_STATES, OrderStatus
from bots.reconciliation import vanished

#: No venue fills one order in so many parts; a page has to end somewhere.
EVENTS_MAX = 2_000
ID_DIGITS_MAX = 18
#: What the sweep does for an order at a venue; the page says when it comes next.
CARE = Care(
    sweep.UNKNOWN_AGAIN, sweep.CANCEL_EVERY, GRACE, sweep.EMPTY_LOOK_UPS_MIN, sweep.NOT_SENT_AFTER, vanished.MISSED_MIN
)
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


def get_order(order_id: str) -> Order:
    """Return an order with its bot. Raises Http404."""
    if not order_id.isdecimal() or len(order_id) > ID_DIGITS_MAX:
        raise Http404
    return get_object_or_404(Order.objects.select_related("bot"), pk=order_id)


def story_context(order: Order, *, may_cancel: bool) -> dict[str, Any]:
    """Return what moves on an order's page, all as of one moment."""
    now = timezone.now()
    events = list(OrderEvent.objects.filter(client_order_id=order.client_order_id).order_by("id")[:EVENTS_MAX])
    return {
        "now": now,
        "order": order,
        "status": OrderStatus(order.status).label,
        "twin": shadows.compared_one(order) if order.is_live else None,
        "story": story(order, events, list(order.fills.all()), now, CARE),
        "can_cancel": may_cancel and order.bot_id is not None and order.status in RESTING_STATES,
    }


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

    list_display = ("made", "book", "bot", "market", "what", "state", "filled_shown", "reason")
    list_filter = (
        ("status", admin.ChoicesFieldListFilter), IsLiveFilter, BotFilter,
        ("side", admin.ChoicesFieldListFilter), SymbolFilter, CreatedFilter,
    )  # fmt: skip
    list_select_related = ("bot",)
    search_fields = ("=client_order_id",)
    search_help_text = "A client order id, in full"
    actions = [cancel_selected]

    def has_operate_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return whether this person may cancel orders."""
        return request.user.has_perm(OPERATE)

    def get_urls(self) -> list[URLPattern]:
        """Return the pages, with the one that cancels and the moving part of an order's page."""
        wrap = self.admin_site.admin_view
        own = [
            path("<int:order_id>/cancel/", wrap(self.cancel_view), name="bots_order_cancel"),
            path("<int:order_id>/live/", wrap(self.live_view), name="bots_order_live"),
        ]
        return [*own, *super().get_urls()]

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
            "original": None if is_bulk else orders[0],
            "orders": orders,
            "is_bulk": is_bulk,
            "back": reverse("admin:bots_order_changelist") if is_bulk else one,
        }
        return TemplateResponse(request, "admin/bots/order/confirm_cancel.html", context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show the order's page: what became of it, step by step, with the way to cancel it while it rests."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        order = get_order(object_id)
        context = {
            **self.admin_site.each_context(request),
            **story_context(order, may_cancel=self.has_operate_permission(request)),
            "title": f"Order {order.client_order_id}",
            "opts": self.opts,
            "original": order,
        }
        return TemplateResponse(request, "admin/bots/order/page.html", context)

    def live_view(self, request: HttpRequest, order_id: int) -> HttpResponse:
        """Answer with the moving part of an order's page."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = story_context(get_order(str(order_id)), may_cancel=self.has_operate_permission(request))
        return TemplateResponse(request, "admin/bots/order/live.html", context)

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
    def what(self, order: Order) -> SafeString:
        """Return side, quantity, price and our id."""
        at = "at the market" if order.limit_price is None else f"at {figures.price(order.limit_price)}"
        return _two_lines(f"{order.side} {figures.quantity(order.quantity)}", f"{at} · {order.client_order_id}")

    @display(description="Status", label=STATUS_COLOURS)
    def state(self, order: Order) -> str:
        """Return where the order stands."""
        return OrderStatus(order.status).label

    @display(description="Filled")
    def filled_shown(self, order: Order) -> SafeString | str:
        """Return the filled quantity, and the mean price of the fills."""
        if order.average_price is None:
            return figures.quantity(order.filled_quantity)
        return _two_lines(figures.quantity(order.filled_quantity), f"at {figures.price(order.average_price)}")


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
    fields = (
        "of_order",
        "bot",
        "book",
        "market",
        "when",
        "side",
        "quantity_shown",
        "price_shown",
        "fee_shown",
        "maker",
        "trade_id",
    )
    readonly_fields = fields
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
    return _two_lines(f"{moment:%Y-%m-%d %H:%M:%S}", figures.age(moment, timezone.now()))


def _two_lines(main: str, beside: str) -> SafeString:
    # One block: on a phone the cell lays what it holds side by side.
    return format_html(
        '<div><span class="tc-nowrap">{}</span><br><span class="tc-subtle">{}</span></div>', main, beside
    )
