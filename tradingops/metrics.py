"""``/metrics`` for Prometheus: read from the database, so that every web process of every host tells the same.

It costs what is open and what is new, and never history: totals are kept up by a chore (``bots.tallies``). Without the database
it answers all the same, and says so.
"""

import logging
from collections.abc import Callable
from datetime import datetime

from django.db import InterfaceError, OperationalError, connection
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import NinjaAPI
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from tradingops import __version__
from tradingops.api import auth
from tradingops.api.errors import add_error_handlers
from tradingops.metrics_autopilot import write_autopilot
from tradingops.metrics_house import write_leases, write_processes, write_queues, write_requests
from tradingops.metrics_notifications import write_notifications
from tradingops.metrics_sheet import Sheet
from tradingops.metrics_trading import write_audit, write_bots, write_halts, write_orders, write_state, write_venues

log = logging.getLogger(__name__)

RIGHTS = ("audit.view_orderevent", "audit.view_operatorevent", "bots.view_bot", "safety.view_tradingstate")
WRITERS: tuple[Callable[[Sheet, datetime], None], ...] = (
    write_state,
    write_orders,
    write_halts,
    write_bots,
    write_autopilot,
    write_venues,
    write_audit,
    write_processes,
    write_leases,
    write_queues,
    write_notifications,
    write_requests,
)

metrics_api = NinjaAPI(title="tradingops metrics", urls_namespace="metrics", docs_url=None, openapi_url=None)
add_error_handlers(metrics_api)


@metrics_api.get("/metrics", auth=auth.caller, summary="Metrics for Prometheus")
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer with every metric of docs/monitoring.md, as text."""
    auth.caller_of(request).require(*RIGHTS)
    return HttpResponse(read_metrics(now=timezone.now()).text(), content_type=CONTENT_TYPE_PLAIN_0_0_4)


def read_metrics(*, now: datetime) -> Sheet:
    """Return all metrics as they stand; where the database does not answer, those that need none."""
    sheet = _bare(is_up=True)
    try:
        for write in WRITERS:
            write(sheet, now)
    except (OperationalError, InterfaceError) as error:
        log.warning("metrics without the database: %s", type(error).__name__)
        if not connection.in_atomic_block:
            connection.close()
        # Half of the figures would look like the whole.
        return _bare(is_up=False)
    return sheet


def _bare(*, is_up: bool) -> Sheet:
    sheet = Sheet()
    sheet.set("database_up", is_up)
    sheet.set("info", 1, __version__)
    return sheet
