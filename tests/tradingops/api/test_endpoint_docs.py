"""docs/api.md names every endpoint that there is, and none that is not; every field of the schema says what it means."""

import re
from pathlib import Path
from typing import Any

from django.conf import settings

from tradingops.api import api

PAGE = Path(settings.BASE_DIR) / "docs" / "api.md"
NAMED = re.compile(r"`(GET|POST|PATCH|DELETE|PUT) (/[a-z{}_/-]*)`")


def routes() -> set[tuple[str, str]]:
    paths: dict[str, Any] = api.get_openapi_schema()["paths"]
    return {(method.upper(), path.removeprefix("/api")) for path, some in paths.items() for method in some}


def documented() -> set[tuple[str, str]]:
    section = PAGE.read_text(encoding="utf-8").partition("\n## Endpoints\n")[2].partition("\n## ")[0]
    return set(NAMED.findall(section))


def test_every_route_is_in_the_endpoints_section_and_no_other() -> None:
    assert documented() == routes()


def test_every_parameter_of_a_list_is_named_in_its_row() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for path, some in api.get_openapi_schema()["paths"].items():
        names = {one["name"] for one in some.get("get", {}).get("parameters", ()) if one["in"] == "query"}
        if "cursor" in names:
            row = next(line for line in text.splitlines() if line.startswith(f"| `GET {path.removeprefix('/api')}` "))
            wanted = names - {"limit", "cursor"}
            if path == "/api/pnl":
                assert "the same filters" in row
            else:
                assert all(f"`{name}" in row for name in wanted), (path, wanted)


def test_every_route_has_a_summary_and_a_description_and_tells_its_errors() -> None:
    for path, some in api.get_openapi_schema()["paths"].items():
        for method, operation in some.items():
            assert operation.get("summary"), (method, path)
            assert operation.get("description"), (method, path)
            assert path == "/api/health" or "401" in {str(code) for code in operation["responses"]}, (method, path)
