"""The API's schema and its pages, /api/docs and /api/redoc: all from this host, within the content policy."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.contrib.staticfiles import finders
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.templatetags.static import static
from django.urls import reverse
from django.views.decorators.http import require_safe
from ninja import NinjaAPI
from ninja.openapi.docs import Swagger
from ninja.openapi.schema import OpenAPISchema

from tradingops.api.bodies import StrictParser
from tradingops.api.links import add_links

#: What any endpoint that asks who calls may answer, besides what it says itself.
ALWAYS = {
    401: "No token or session, or a wrong one",
    403: "Not allowed",
    422: "Bad input",
    429: "Asked too often; Retry-After says how many seconds to wait",
    503: "Not safe to serve: the database does not answer",
}
#: What the server answers by itself, before anything of ours is asked.
TOO_LONG = {"description": "The address is longer than the server reads"}
ERROR = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorOut"}}}
REDOC_SCRIPT = "ninja/redoc.standalone.js"
#: The one address of another host that the script would load a picture from.
REDOC_LOGO = "https://cdn.redoc.ly/redoc/logo-mini.svg"
SCRIPT_AGE_S = 600


class SwaggerPage(Swagger):
    """Swagger UI. Nothing is asked of another host; a signed-in person's tries carry the CSRF token."""

    def __init__(self) -> None:
        # The validator is another host's.
        super().__init__({"validatorUrl": None})

    def render_page(self, request: HttpRequest, api: NinjaAPI, **kwargs: Any) -> HttpResponse:
        """Return the page."""
        context = {
            "swagger_settings": json.dumps({**self.settings, "url": self.get_openapi_url(api, kwargs)}),
            "api": api,
            "add_csrf": request.user.is_authenticated,
        }
        return render(request, self.template, context)


class ConsoleAPI(NinjaAPI):
    """The console's API: reads bodies strictly, and says in its schema what every endpoint may answer."""

    def __init__(self, **options: Any) -> None:
        super().__init__(parser=StrictParser(), docs=SwaggerPage(), **options)

    def get_openapi_schema(self, **options: Any) -> OpenAPISchema:
        """Return the schema, with the errors that every endpoint with a caller may answer."""
        schema = super().get_openapi_schema(**options)
        for operations in schema["paths"].values():
            for operation in operations.values():
                operation["responses"].setdefault(414, TOO_LONG)
                if operation.get("security"):
                    told = {int(status) for status in operation["responses"]}
                    for status, what in ALWAYS.items():
                        if status not in told:
                            operation["responses"][status] = {"description": what, "content": ERROR}
        add_links(schema)
        return schema


@require_safe
def redoc_page(request: HttpRequest) -> HttpResponse:
    """Show the schema with Redoc."""
    return render(request, "api/redoc.html", {"schema_url": reverse("api:openapi-json")})


@require_safe
def redoc_script(request: HttpRequest) -> HttpResponse:
    """Answer with Redoc's script as its package has it, but with a picture of this host for the one from another."""
    response = HttpResponse(_redoc(), content_type="text/javascript; charset=utf-8")
    response["Cache-Control"] = f"max-age={SCRIPT_AGE_S}"
    return response


@lru_cache(maxsize=1)
def _redoc() -> bytes:
    found = finders.find(REDOC_SCRIPT)
    if not isinstance(found, str):
        raise Http404(f"{REDOC_SCRIPT} is not among the static files")
    script = Path(found).read_text(encoding="utf-8")
    return script.replace(REDOC_LOGO, static("tradingops/favicon.svg")).encode()
