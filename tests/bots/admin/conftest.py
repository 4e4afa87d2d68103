"""A console with a person signed in, on a database where commits are real."""

from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.messages import get_messages
from django.http import HttpResponse
from django.test import Client

from tests.bots.builders import Floor
from tests.conftest import CommittedDatabase


@dataclass
class Desk:
    """A browser without a browser: a client, who is signed in, and the market that the bots see."""

    client: Client
    user: User
    floor: Floor

    def get(self, url: str, status: int = 200) -> str:
        """Return the page, which has to answer with this status."""
        response: Any = self.client.get(url)
        assert response.status_code == status, response
        return str(response.content.decode())

    def post(self, url: str, data: dict[str, Any] | None = None) -> HttpResponse:
        """Send a form and return the answer as it comes, redirects not followed."""
        return self.client.post(url, data or {})  # type: ignore[return-value]

    def told(self, url: str, data: dict[str, Any] | None = None) -> list[str]:
        """Send a form, expect a redirect, and return the messages that the next page would show."""
        response: Any = self.client.post(url, data or {})
        assert response.status_code == 302, response.content.decode()[:2000]
        return [str(message) for message in get_messages(response.wsgi_request)]

    def as_staff(self, *permissions: str) -> None:
        """Sign in as someone who may do only this."""
        user = User.objects.create_user(f"staff-{User.objects.count()}", password="x", is_staff=True)
        for permission in permissions:
            app, code = permission.split(".")
            user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=code))
        self.user = user
        self.client.force_login(user)


@pytest.fixture
def desk(committed_db: CommittedDatabase, floor: Floor) -> Desk:
    """Return a desk with an administrator signed in."""
    user = User.objects.create_superuser("operator", password="x")
    client = Client()
    client.force_login(user)
    return Desk(client, user, floor)
