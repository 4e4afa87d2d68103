"""A client that asks the API as a script does: with the worker's token, and JSON in and out."""

import json
from dataclasses import replace
from typing import Any

import pytest
from django.test import Client
from pydantic import BaseModel
from pytest_django import Settings

from tests.bots.builders import forget_process_memory
from tests.conftest import CommittedDatabase
from tradingops.rates import buckets

TOKEN = "t" * 40


class Script:
    """Asks with one token, or with none. Each answer is its status and its body."""

    def __init__(self, token: str | None = TOKEN) -> None:
        self._client = Client()
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    def get(self, path: str, **query: Any) -> tuple[int, Any]:
        """Ask for something; what is None in the query is left out."""
        return _told(self._client.get(f"/api{path}", _plain(query), headers=self._headers))

    def ok(self, path: str, **query: Any) -> Any:
        """Return the body of an answer that has to be 200."""
        status, body = self.get(path, **query)
        assert status == 200, body
        return body

    def post(self, path: str, body: Any = None) -> tuple[int, Any]:
        """Send a body, or none at all."""
        return self._send("POST", path, body)

    def patch(self, path: str, **body: Any) -> tuple[int, Any]:
        """Change fields."""
        return self._send("PATCH", path, body)

    def delete(self, path: str) -> tuple[int, Any]:
        """Remove something."""
        return self._send("DELETE", path, None)

    def pages(self, path: str, **query: Any) -> list[list[Any]]:
        """Return the items of every page, from the first to the last."""
        found, cursor = [], None
        for _ in range(1_000):
            body = self.ok(path, **query, cursor=cursor)
            found.append(body["items"])
            cursor = body["next"]
            if cursor is None:
                return found
        raise AssertionError("the pages have no end")

    def _send(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        text = "" if body is None else json.dumps(body)
        return _told(self._client.generic(method, f"/api{path}", text, "application/json", headers=self._headers))


def _plain(query: dict[str, Any]) -> dict[str, Any]:
    return {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in query.items()
        if value is not None
    }


def _told(answer: Any) -> tuple[int, Any]:
    return answer.status_code, json.loads(answer.content)


def fits(schema: type[BaseModel], body: Any) -> None:
    """Fail unless a body is what its schema says, field by field."""
    assert json.loads(schema.model_validate(body).model_dump_json()) == body


@pytest.fixture
def script(settings: Settings, committed_db: CommittedDatabase) -> Script:
    """Return a script that holds the worker's token."""
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, worker_api_token=TOKEN)
    buckets.forget()
    forget_process_memory()
    return Script()
