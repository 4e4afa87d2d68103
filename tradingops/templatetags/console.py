"""The banner for pages that are not the admin's own, such as "not found"."""

from pathlib import Path
from typing import Any

from django import template
from django.conf import settings

from tradingops.mode import page_context

register = template.Library()


@register.simple_tag
def kill_file(*, is_public: bool = False) -> str:
    """Return the file that halts this host, as it is typed in the console's folder. ``is_public``: without where that is."""
    path = Path(settings.KILL_FILE)
    if path.is_relative_to(settings.BASE_DIR):
        return str(path.relative_to(settings.BASE_DIR))
    return f"$TRADINGOPS_VAR_DIR/{path.name}" if is_public else str(path)


@register.inclusion_tag("admin/console/banner.html", takes_context=True)
def console_banner(context: template.RequestContext) -> dict[str, Any]:
    """Show mode and trading state."""
    request = context["request"]
    return {**page_context(request), "console_private": False} if hasattr(request, "user") else {}
