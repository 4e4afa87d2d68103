"""Template filters that show figures to people; see ``audit.figures``."""

from datetime import datetime
from decimal import Decimal

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from audit import figures

register = template.Library()
ARROWS = {"gain": "▲", "loss": "▼", "even": "", "unknown": ""}

register.filter("money", figures.money)
register.filter("fee", figures.fee)
register.filter("percent", figures.percent)
register.filter("quantity", figures.quantity)
register.filter("price", figures.price)
register.filter("worse", figures.worse)
register.filter("cost", figures.cost)
register.filter("later", figures.later)


@register.filter
def ago(then: datetime | None, now: datetime) -> str:
    """Return how long before ``now`` something was."""
    return figures.age(then, now)


@register.filter
def pnl(value: Decimal | None) -> SafeString:
    """Return a gain or a loss with its sign and an arrow, so that colour is never the only sign."""
    way = figures.direction(value)
    return format_html(
        '<span class="tc-pnl tc-{}"><span aria-hidden="true">{}</span> {}</span>',
        way,
        ARROWS[way],
        figures.money(value, signed=True),
    )


@register.filter
def label(value: object) -> str:
    """Return an enum's or a code's word for people: ``partially_filled`` becomes ``partially filled``."""
    return str(getattr(value, "value", value)).replace("_", " ")
