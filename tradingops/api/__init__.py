"""The API under ``/api/``: ``auth`` decides who may ask; the answers come from the services that the admin uses too."""

from dataclasses import asdict
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse
from ninja import Schema

from tradingops import __version__
from tradingops.api import auth, autopilot, bot_acts, events, figures, notifications, order_acts, safety, stream
from tradingops.api.documentation import ConsoleAPI
from tradingops.api.errors import add_error_handlers, error
from tradingops.api.paging import answer
from tradingops.health import shared_health

api = ConsoleAPI(
    title="tradingops",
    version=__version__,
    urls_namespace="api",
    description="Money and quantities are decimal texts, times are UTC. Errors have one shape, with every reason.",
)


class HealthOut(Schema):
    """The console's health. Ages are in seconds; null means never seen, or not to be read."""

    status: str
    version: str
    uptime_s: int
    database: str
    worker_heartbeat_age_s: float | None
    autopilot_heartbeat_age_s: float | None
    trading_state: str
    mode: str


@api.get("/health", auth=None, response={200: HealthOut, 503: HealthOut}, summary="Is the console fit to serve?")
def health(request: HttpRequest) -> HttpResponse:
    """Answer 200 when the database answers and a worker was seen in the last 30 s, else 503. Halted is healthy."""
    found = shared_health.get()
    return answer(asdict(found), HTTPStatus.OK if found.is_healthy else HTTPStatus.SERVICE_UNAVAILABLE)


def no_such_endpoint(request: HttpRequest, rest: str) -> HttpResponse:
    """Answer for a path under ``/api/`` that is nobody's."""
    return error(HTTPStatus.NOT_FOUND, "There is no such endpoint.")


add_error_handlers(api)
api.add_router("", safety.router, auth=auth.caller)
api.add_router("", bot_acts.router, auth=auth.caller)
api.add_router("", order_acts.router, auth=auth.caller)
api.add_router("", events.router, auth=auth.caller)
api.add_router("", figures.router, auth=auth.caller)
api.add_router("", notifications.router, auth=auth.caller)
api.add_router("", stream.router, auth=auth.caller)
api.add_router("", autopilot.router, auth=auth.caller)
