"""The console served over HTTP, and a real Chromium in front of it.

Without Chromium these tests are skipped, and say so; where CI is set to 1 they fail instead.
"""

import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.handlers.wsgi import WSGIHandler
from django.core.servers.basehttp import ThreadedWSGIServer
from django.core.wsgi import get_wsgi_application
from django.test import Client
from django.test.testcases import QuietWSGIRequestHandler
from playwright.sync_api import Browser, Page, Playwright, Request, sync_playwright

from bots.market_data import feeds
from bots.market_data.replay import ReplayFeed
from tests.conftest import CommittedDatabase

PASSWORD = "correct horse battery staple"
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return where Chromium is; without it, skip, or fail in CI."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None and os.environ.get("CI") == "1":
        pytest.fail("Chromium is not installed, and CI=1 asks for the browser tests")
    if found is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    return found


@pytest.fixture(scope="package")
def browser(chromium: str) -> Iterator[Browser]:
    """Return a Chromium, whose windows share nothing. It ends with this room: its event loop would bother other tests."""
    # The loop runs in this thread while the tests use the database, one after the other.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    driver: Playwright
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        yield opened
        opened.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@dataclass
class Console:
    """A running console and one page that looks at it. ``complaints`` is whatever a browser's user should never see."""

    url: str
    page: Page
    complaints: list[str] = field(default_factory=list)
    is_forgiving: bool = False

    def watch(self) -> None:
        """Note script errors, violations of the content policy, failed answers and requests to other hosts."""
        self.page.on("console", lambda message: self._note(message.type in ("error", "warning"), message.text))
        self.page.on("pageerror", lambda error: self._note(True, f"script error: {error}"))
        self.page.on("request", self._outside)
        self.page.on("response", lambda answer: self._note(answer.status >= 500, f"{answer.status} {answer.url}"))

    def open(self, path: str) -> Page:
        """Go to a page of the console."""
        self.page.goto(f"{self.url}{path}")
        return self.page

    def sign_in(self) -> None:
        """Be signed in as the administrator, as by the form that ``sign_in_by_form`` fills in, and look at the dashboard."""
        visitor = Client()
        visitor.force_login(User.objects.get(username="operator"))
        cookie = settings.SESSION_COOKIE_NAME
        self.page.context.add_cookies([{"name": cookie, "value": visitor.cookies[cookie].value, "url": self.url}])
        self.open("/admin/")

    def sign_in_by_form(self) -> None:
        """Sign in as the administrator does."""
        self.open("/admin/login/?next=/admin/")
        self.page.fill("#id_username", "operator")
        self.page.fill("#id_password", PASSWORD)
        self.page.click("#login-form button[type=submit]")
        self.page.wait_for_url(f"{self.url}/admin/")

    def _outside(self, request: Request) -> None:
        self._note(not request.url.startswith((self.url, "data:", "blob:")), f"request to {request.url}")

    def _note(self, is_bad: bool, text: str) -> None:
        if is_bad and not self.is_forgiving:
            self.complaints.append(f"{self.page.url}: {text}")


@pytest.fixture(scope="session")
def application() -> WSGIHandler:
    """Return the console, loaded once."""
    return get_wsgi_application()


@pytest.fixture
def server(committed_db: CommittedDatabase, application: WSGIHandler, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve the console from threads of this process, on the test's own database; yield its address."""
    # A feed of its own: the replay's clock is kept in the database, and the last test's is gone.
    monkeypatch.setattr(feeds, "_REPLAY", ReplayFeed())
    User.objects.create_superuser("operator", password=PASSWORD)
    served = ThreadedWSGIServer(("127.0.0.1", 0), QuietWSGIRequestHandler)
    served.set_app(application)
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    thread.join(10)
    served.server_close()


@pytest.fixture
def console(server: str, browser: Browser) -> Iterator[Console]:
    """Return the console in a fresh browser window; afterwards there must be no complaint."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    opened = Console(server, context.new_page())
    opened.watch()
    yield opened
    context.close()
    assert opened.complaints == []
