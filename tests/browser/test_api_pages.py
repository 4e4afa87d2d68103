"""The API's pages and its tokens' pages in a real browser: no outside host, no complaint of the content policy."""

import re

import pytest
from playwright.sync_api import expect

from safety.models import ApiToken
from tests.browser.conftest import Console
from tests.tradingops.test_api_endpoints import Caller

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]
WITHIN_MS = 60_000


def test_docs_render_from_this_host_alone(console: Console) -> None:
    page = console.open("/api/docs")
    expect(page.locator("#swagger-ui")).to_contain_text("/api/safety/kill-switch", timeout=WITHIN_MS)
    page.wait_for_load_state("networkidle")


def test_redoc_renders_from_this_host_alone(console: Console) -> None:
    page = console.open("/api/redoc")
    expect(page.locator("#redoc-ui")).to_contain_text("Stop trading", timeout=WITHIN_MS)
    page.wait_for_load_state("networkidle")
    # Redoc's own mark, which its package would load from elsewhere.
    assert page.locator('img[src*="redoc.ly"]').count() == 0


def test_person_who_is_signed_in_tries_an_endpoint_from_the_docs(console: Console) -> None:
    console.sign_in()
    page = console.open("/api/docs")
    row = page.locator(".opblock", has=page.locator('[data-path="/api/safety/kill-switch"]'))
    row.locator(".opblock-summary-control").click(timeout=WITHIN_MS)
    row.get_by_role("button", name="Try it out").click()
    row.locator("textarea").fill('{"level": "reducing", "reason": "a try from the docs"}')
    row.get_by_role("button", name="Execute").click()
    expect(row.locator(".live-responses-table")).to_contain_text('"state": "reducing"', timeout=WITHIN_MS)


def test_token_is_made_copied_and_revoked_with_one_click(console: Console) -> None:
    console.sign_in()
    page = console.open("/admin/safety/apitoken/")
    page.goto(f"{console.url}/admin/safety/apitoken/add/")
    page.fill("#id_name", "night watch")
    page.locator('input[name="scope"][value="engage"]').check()
    page.fill("#id_reason", "halts when nobody is awake")
    page.get_by_role("button", name="Make it").click()
    text = page.locator("#token-text").inner_text().strip()
    assert re.fullmatch(r"top_[0-9a-f]{8}_[0-9a-f]{64}", text)
    assert Caller(text).get("/safety")[0] == 200
    page.get_by_role("link", name="I have copied it").click()
    page.wait_for_url(f"{console.url}/admin/safety/apitoken/")
    page.get_by_role("button", name="Revoke night watch").click()
    expect(page.locator("body")).to_contain_text("The token night watch is revoked")
    assert ApiToken.objects.get().revoked_by == "operator"
    assert Caller(text).get("/safety")[0] == 401
