"""The look of the admin (django-unfold): colours, sidebar, our own style sheet and script. Nothing comes from another host."""

from functools import lru_cache
from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import get_script_prefix, reverse_lazy


def _own(file: str) -> Any:
    # Called for each page: the static files are not known yet when the settings are read.
    return lambda request: static(f"tradingops/{file}")


def _may(permission: str) -> Any:
    def allowed(request: HttpRequest) -> bool:
        return request.user.has_perm(permission)

    return allowed


def _is_shown(link: Any) -> Any:
    # The theme lights up every entry that the address begins with: Safety, too, on pages below it that have their own.
    def nearest(request: HttpRequest) -> bool:
        home, *links = _links(get_script_prefix())
        above = [
            one for one in (home, *links) if request.path.startswith(one) and (one != home or request.path == home)
        ]
        return bool(above) and max(above, key=len) == str(link)

    return nearest


@lru_cache(maxsize=4)
def _links(script_prefix: str) -> tuple[str, ...]:
    """Return the addresses of all entries under this prefix, home first. They are asked for once per entry of each page."""
    items = [item for group in UNFOLD["SIDEBAR"]["navigation"] for item in group["items"]]
    return (str(reverse_lazy("admin:index")), *(str(item["link"]) for item in items))


def _item(title: str, icon: str, url: str, permission: str | None = None) -> dict[str, Any]:
    link = reverse_lazy(f"admin:{url}")
    item: dict[str, Any] = {"title": title, "icon": icon, "link": link, "active": _is_shown(link)}
    if permission is not None:
        item["permission"] = _may(permission)
    return item


def _list(title: str, icon: str, model: str) -> dict[str, Any]:
    app, name = model.split(".")
    return _item(title, icon, f"{app}_{name}_changelist", f"{app}.view_{name}")


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "tradingops",
    "SITE_HEADER": "tradingops",
    "SITE_SUBHEADER": "Trading bots console",
    "SITE_URL": None,
    "SITE_SYMBOL": "candlestick_chart",
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "BORDER_RADIUS": "6px",
    "ENVIRONMENT": "tradingops.mode.environment",
    "ENVIRONMENT_TITLE_PREFIX": "tradingops.mode.title_prefix",
    "GLOBAL_CALLBACK": "tradingops.mode.page_context",
    "DASHBOARD_CALLBACK": "tradingops.dashboard.add_context",
    "STYLES": [_own("console.css"), _own("bots.css")],
    "SCRIPTS": [_own("console.js")],
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": _own("favicon.svg")}],
    "ACCOUNT": {
        "navigation": [
            {"title": "Change password", "link": reverse_lazy("admin:password_change")},
            {"title": "Second factor", "link": reverse_lazy("admin:console_second_factor")},
        ],
    },
    "COLORS": {
        "primary": {
            "50": "oklch(97% .014 254.604)",
            "100": "oklch(93.2% .032 255.585)",
            "200": "oklch(88.2% .059 254.128)",
            "300": "oklch(80.9% .105 251.813)",
            "400": "oklch(70.7% .165 254.624)",
            "500": "oklch(62.3% .214 259.815)",
            "600": "oklch(54.6% .245 262.881)",
            "700": "oklch(48.8% .243 264.376)",
            "800": "oklch(42.4% .199 265.638)",
            "900": "oklch(37.9% .146 265.522)",
            "950": "oklch(28.2% .091 267.935)",
        },
    },
    "SIDEBAR": {
        "show_search": False,
        "show_all_applications": False,
        "navigation": [
            {
                "items": [
                    _item("Dashboard", "dashboard", "index"),
                    _list("Bots", "smart_toy", "bots.bot"),
                    _item("Autopilot", "autoplay", "console_autopilot", "bots.view_autopilotconfig"),
                    _item("Set up a bot", "add_circle", "console_setup", "bots.add_bot"),
                    _item("Safety", "shield", "console_safety", "safety.view_tradingstate"),
                ],
            },
            {
                "title": "Trading",
                "separator": True,
                "items": [
                    _list("Orders", "receipt_long", "bots.order"),
                    _list("Fills", "done_all", "bots.fill"),
                    _list("Positions", "account_balance_wallet", "bots.position"),
                    _list("Deals", "swap_horiz", "bots.deal"),
                ],
            },
            {
                "title": "Audit",
                "separator": True,
                "items": [
                    _list("Order events", "history", "audit.orderevent"),
                    _list("Operator events", "person_search", "audit.operatorevent"),
                ],
            },
            {
                "title": "Safety settings",
                "separator": True,
                "items": [
                    _item("What if", "help", "console_what_if", "safety.view_tradingstate"),
                    _item("Reconciliation", "balance", "console_reconciliation", "bots.view_account"),
                    _item("Notifications", "notifications", "console_notifications", "safety.view_notification"),
                    _list("Trading state", "traffic", "safety.tradingstate"),
                    _list("Settings", "settings", "safety.setting"),
                    _item("Replay speed", "fast_forward", "console_replay", "bots.operate_bot"),
                    _list("Risk limits", "speed", "safety.risklimits"),
                    _list("Venue access", "vpn_key", "bots.venueaccess"),
                    _list("Notification prefs", "tune", "safety.notificationprefs"),
                ],
            },
            {
                "title": "People",
                "separator": True,
                "items": [
                    _list("Users", "person", "auth.user"),
                    _list("Groups", "group", "auth.group"),
                    _list("API tokens", "key", "safety.apitoken"),
                ],
            },
        ],
    },
}
