"""What if: each control's verdict on an order that nobody sends."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from bots import what_if
from bots.market_data.base import MarketDataError
from bots.models import Bot, BotStatus
from safety.intents import OrderType, Side
from tradingops.halt import SEE_STATE

SEE_BOTS = "bots.view_bot"
FIGURE_MAX = Decimal(1_000_000_000_000)
DIGITS_MAX, PLACES_MAX = 38, 18


def _figure(label: str, help_text: str, *, required: bool) -> forms.DecimalField:
    widget = UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal", "autocomplete": "off"})
    return forms.DecimalField(
        label=label,
        help_text=help_text,
        required=required,
        max_value=FIGURE_MAX,
        max_digits=DIGITS_MAX,
        decimal_places=PLACES_MAX,
        widget=widget,
    )


class WhatIfForm(forms.Form):
    """The order to judge."""

    bot = forms.ModelChoiceField(
        queryset=Bot.objects.exclude(status=BotStatus.ARCHIVED).order_by("name"),
        label="Bot",
        widget=UnfoldAdminSelectWidget,
    )
    side = forms.ChoiceField(label="Side", choices=Side.choices, widget=UnfoldAdminSelectWidget)
    type = forms.ChoiceField(label="Type", choices=OrderType.choices, widget=UnfoldAdminSelectWidget)
    quantity = _figure("Quantity", "In units of the base asset, such as 0.01 for BTC/USD.", required=True)
    price = _figure("Limit price", "In the quote currency. Only for a limit order.", required=False)

    def clean_quantity(self) -> Decimal:
        """Refuse what no order can be for."""
        quantity: Decimal = self.cleaned_data["quantity"]
        return _positive(quantity)

    def clean_price(self) -> Decimal | None:
        """Refuse a price of nothing."""
        price: Decimal | None = self.cleaned_data["price"]
        return None if price is None else _positive(price)

    def clean(self) -> dict[str, Any]:
        """A limit order has a price and a market order has none."""
        cleaned = super().clean() or {}
        kind, price = cleaned.get("type"), cleaned.get("price")
        if kind == OrderType.LIMIT and price is None and "price" not in self.errors:
            self.add_error("price", "A limit order needs its price.")
        if kind == OrderType.MARKET and price is not None:
            self.add_error("price", "A market order has no price: leave it empty.")
        return cleaned


def _positive(figure: Decimal) -> Decimal:
    if figure <= 0:
        raise forms.ValidationError("It has to be above zero.")
    return figure


def what_if_page(request: HttpRequest) -> HttpResponse:
    """Ask for an order, and show what every control says of it. Nothing is placed and nothing is changed."""
    if not request.user.has_perms((SEE_STATE, SEE_BOTS)):
        raise PermissionDenied
    form = WhatIfForm(request.GET if "quantity" in request.GET else None, initial={"bot": request.GET.get("bot")})
    context = {**admin.site.each_context(request), "title": "What if", "form": form}
    if form.is_bound and form.is_valid():
        context |= _judged(form.cleaned_data)
    return TemplateResponse(request, "admin/safety/what_if.html", context)


def _judged(order: dict[str, Any]) -> dict[str, Any]:
    try:
        found = what_if.judge(
            order["bot"], Side(order["side"]), OrderType(order["type"]), order["quantity"], order["price"]
        )
    except MarketDataError as error:
        return {"problem": str(error)}
    return {"found": found, "order": order}
