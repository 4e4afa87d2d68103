"""The banner for pages that are not the admin's own, such as "not found"."""

from typing import Any

from django import template

from tradingops.mode import page_context

register = template.Library()


@register.inclusion_tag("admin/console/banner.html", takes_context=True)
def console_banner(context: template.RequestContext) -> dict[str, Any]:
    """Show mode and trading state."""
    request = context["request"]
    return {**page_context(request), "console_private": False} if hasattr(request, "user") else {}
