"""The books: positions and deals, to look at only."""

from datetime import datetime

from django.contrib import admin
from django.utils import timezone
from django.utils.safestring import SafeString

from audit import figures
from audit.admin import HistoryAdmin
from audit.admin_base import ReadOnlyModelAdmin, display
from audit.admin_filters import BotFilter, IsLiveFilter
from audit.templatetags.figures import pnl
from bots.models import Deal, Position

BOOK_COLOURS = {"Paper": "info", "Live": "danger"}


@admin.register(Position)
class PositionAdmin(ReadOnlyModelAdmin):
    """What each bot holds, by book. Values are at the last stored price; a bot's page has them at the current one."""

    list_display = (
        "bot",
        "book",
        "symbol",
        "quantity_shown",
        "average",
        "mark",
        "realised",
        "unrealised",
        "fees_shown",
    )
    list_filter = (IsLiveFilter, BotFilter)
    list_select_related = ("bot",)
    ordering = ("bot__name", "is_live")
    fieldsets = (
        (None, {"fields": ("bot", "book", "symbol", "quantity_shown", "average", "cost_shown", "mark")}),
        ("Since the book began", {"fields": ("realised", "unrealised", "fees_shown", "cash", "filled_shown")}),
        ("What the limits look at", {"fields": ("bought", "sold", "losses", "rejects")}),
    )
    readonly_fields = (
        "bot", "book", "symbol", "quantity_shown", "average", "cost_shown", "mark", "realised", "unrealised", "fees_shown",
        "cash", "filled_shown", "bought", "sold", "losses", "rejects",
    )  # fmt: skip

    @display(description="Book", label=BOOK_COLOURS)
    def book(self, position: Position) -> str:
        """Return whether it is real money."""
        return "Live" if position.is_live else "Paper"

    @display(description="Symbol")
    def symbol(self, position: Position) -> str:
        """Return the bot's symbol, with the mark of recorded data."""
        return f"{position.bot.symbol}{' (REPLAY)' if position.bot.venue == 'replay' else ''}"

    @display(description="Quantity")
    def quantity_shown(self, position: Position) -> str:
        """Return the quantity in full."""
        return figures.quantity(position.quantity) if position.quantity else "flat"

    @display(description="Average cost")
    def average(self, position: Position) -> str:
        """Return the average cost of one unit, without fees."""
        return "–" if position.average_price is None else figures.price(position.average_price)

    @display(description="Last stored price")
    def mark(self, position: Position) -> str:
        """Return the price of the last valuation and its age."""
        if position.mark_price is None:
            return "none yet"
        return f"{figures.price(position.mark_price)} ({figures.age(position.marked_at, timezone.now())})"

    @display(description="Realised P&L")
    def realised(self, position: Position) -> SafeString:
        """Return what is gained or lost for good, net of fees."""
        return pnl(position.realised_pnl)

    @display(description="Unrealised P&L")
    def unrealised(self, position: Position) -> SafeString:
        """Return what would be gained or lost at the stored price, before fees."""
        return pnl(position.unrealised_pnl)

    @display(description="Fees")
    def fees_shown(self, position: Position) -> str:
        """Return all fees since the book began."""
        return figures.money(position.fees)

    @display(description="Cost of what is held")
    def cost_shown(self, position: Position) -> str:
        """Return what the held quantity was bought for, without fees."""
        return figures.money(position.cost)

    @display(description="Money in less money out")
    def cash(self, position: Position) -> SafeString:
        """Return what sales brought less what purchases and fees took."""
        return pnl(position.cash_flow)

    @display(description="Orders that filled")
    def filled_shown(self, position: Position) -> str:
        """Return how many orders of the book filled."""
        return str(position.filled_orders)

    @display(description="Last purchase (UTC)")
    def bought(self, position: Position) -> str:
        """Return when an entry filled last."""
        return _moment(position.last_entry_at, "none yet")

    @display(description="Last sale (UTC)")
    def sold(self, position: Position) -> str:
        """Return when an exit filled last."""
        return _moment(position.last_exit_at, "none yet")

    @display(description="Deals in a row with a loss")
    def losses(self, position: Position) -> str:
        """Return how many of the last deals in a row lost, and when the last did."""
        last = position.last_loss_at
        return f"{position.losing_streak}" + ("" if last is None else f" (the last loss: {_moment(last, '')})")

    @display(description="Orders in a row that were rejected")
    def rejects(self, position: Position) -> str:
        """Return how many orders in a row the venue rejected."""
        return str(position.reject_streak)


@admin.register(Deal)
class DealAdmin(HistoryAdmin):
    """Round trips, newest first."""

    list_display = ("opened", "closed", "bot", "book", "symbol", "legs", "bought", "sold", "fees_shown", "result")
    list_filter = (IsLiveFilter, BotFilter)
    list_select_related = ("bot",)
    fields = ("bot", "book", "symbol", "opened", "closed", "entries", "bought", "sold", "fees_shown", "result", "peak")
    readonly_fields = fields

    @display(description="Opened (UTC)")
    def opened(self, deal: Deal) -> str:
        """Return when the first entry filled."""
        return _moment(deal.opened_at, "")

    @display(description="Closed (UTC)")
    def closed(self, deal: Deal) -> str:
        """Return when the bot was flat again."""
        return _moment(deal.closed_at, "open")

    @display(description="Book", label=BOOK_COLOURS)
    def book(self, deal: Deal) -> str:
        """Return whether it was real money."""
        return "Live" if deal.is_live else "Paper"

    @display(description="Bought")
    def bought(self, deal: Deal) -> str:
        """Return what was bought, in money and units."""
        return f"{figures.quantity(deal.bought_quantity)} for {figures.money(deal.bought_notional)}"

    @display(description="Sold")
    def sold(self, deal: Deal) -> str:
        """Return what was sold, in money and units."""
        return f"{figures.quantity(deal.sold_quantity)} for {figures.money(deal.sold_notional)}"

    @display(description="Fees")
    def fees_shown(self, deal: Deal) -> str:
        """Return the deal's fees."""
        return figures.money(deal.fees)

    @display(description="P&L, net of fees")
    def result(self, deal: Deal) -> SafeString | str:
        """Return what the deal brought; an open one has no result yet."""
        return "open" if deal.closed_at is None else pnl(deal.pnl)

    @display(description="Entry orders that filled")
    def entries(self, deal: Deal) -> str:
        """Return how many purchases the deal is made of."""
        return str(deal.legs)

    @display(description="Highest bid while it was open")
    def peak(self, deal: Deal) -> str:
        """Return the price that trailing exits follow."""
        return "–" if deal.peak_price is None else figures.price(deal.peak_price)


def _moment(when: datetime | None, otherwise: str) -> str:
    return otherwise if when is None else f"{when:%Y-%m-%d %H:%M:%S}"
