"""The browser opens the UI of the project's own server without asking for the password."""

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from flows.cli import ui
from flows.environment.settings import Api
from flows.services.prefect_server.sign_in import UiPage, write_opener
from tests.support.prefect_api import until_there

#: The URL of the list of runs.
RUNS = re.compile(r"^http://127\.0\.0\.1:\d+/runs$")

LOGIN = "admin:pass"  # what Prefect's page for the password shows in the field

YESTERDAYS = "workflow:yesterday's"


@pytest.fixture
def context(browser: Any, dashboard: UiPage) -> Iterator[BrowserContext]:
    """A browser that has never opened the UI."""
    context = browser.new_context(base_url=dashboard.api.ui_url)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


def require_runs(page: Page) -> None:
    """Checks that the list of runs is shown; returns the requests to the server."""
    page.wait_for_url(RUNS)
    expect(page.locator(".page-heading")).to_contain_text("Runs")
    expect(page.get_by_placeholder(LOGIN)).to_have_count(0)
    status = page.evaluate(
        "fetch('/api/admin/version', {headers: {Authorization: `Basic ${localStorage['prefect-password']}`}})"
        ".then(answer => answer.status)"
    )
    assert status == 200


def test_the_link_opens_any_page_and_the_browser_stores_the_password(page: Page, dashboard: UiPage) -> None:
    page.goto(UiPage(dashboard.api, "/runs").sign_in_url)
    require_runs(page)
    page.goto("/runs")
    require_runs(page)
    assert page.evaluate("history.length") <= 3
    assert dashboard.api.password not in page.content()


def test_what_workflow_ui_opens_needs_no_password_typed(
    page: Page, dashboard: UiPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    ui.open_page(UiPage(dashboard.api, "/runs"), tmp_path)
    (path,) = tmp_path.iterdir()
    assert (path.stat().st_mode & 0o777, opened) == (0o600, [path.as_uri()])
    assert "Basic" not in opened[0]

    page.goto(opened[0])
    require_runs(page)


def test_a_configured_server_is_opened_at_its_plain_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    ui.open_page(UiPage(Api("http://else.example/api", "the environment"), "/runs"), tmp_path)
    assert (list(tmp_path.iterdir()), opened) == ([], ["http://else.example/runs"])


def test_a_browser_without_the_password_is_asked_for_it(page: Page) -> None:
    """This is why the links are needed."""
    page.goto("/runs")
    expect(page.get_by_placeholder(LOGIN)).to_be_visible()


def test_an_outdated_link_says_how_to_get_a_new_one(page: Page, dashboard: UiPage) -> None:
    stale = UiPage(replace(dashboard.api, password=YESTERDAYS), "/runs").sign_in_url
    page.goto(stale)
    expect(page.get_by_text("`workflow ui` opens one that has")).to_be_visible()
    page.goto("/open/runs#%")
    expect(page.get_by_text("`workflow ui` opens one that has")).to_be_visible()
    assert page.evaluate("localStorage.length") == 0


def test_an_outdated_link_does_not_replace_the_stored_password(page: Page, dashboard: UiPage) -> None:
    page.goto(UiPage(dashboard.api, "/runs").sign_in_url)
    require_runs(page)
    page.goto("about:blank")
    page.goto(UiPage(replace(dashboard.api, password=YESTERDAYS), "/runs").sign_in_url)
    require_runs(page)


def test_localhost_redirects_to_the_origin_with_the_password(page: Page, dashboard: UiPage) -> None:
    page.goto(UiPage(dashboard.api, "/runs").sign_in_url.replace("127.0.0.1", "localhost"))
    require_runs(page)
    page.goto(f"{dashboard.api.ui_url.replace('127.0.0.1', 'localhost')}/runs")
    require_runs(page)


@pytest.mark.parametrize("path", ["//else.example/", "/\\else.example/", "///else.example"])
def test_the_link_does_not_redirect_elsewhere(page: Page, dashboard: UiPage, path: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(UiPage(dashboard.api, path).sign_in_url)
    until_there(lambda: (page.wait_for_timeout(50) or "/open" not in page.url) or None)
    # A page's worker has a blob URL, which contains the page's origin and is not requested from a server.
    places = [url.removeprefix("blob:") for url in asked]
    assert [url for url in places if not url.startswith(f"{dashboard.api.ui_url}/")] == []


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("api", "stream", "printed"),
    [
        (
            Api("http://127.0.0.1:1/api", None, "workflow:a", True),
            Terminal(),
            "http://127.0.0.1:1/open/runs#workflow:a",
        ),
        (Api("http://127.0.0.1:1/api", None, "workflow:a", True), io.StringIO(), "http://127.0.0.1:1/runs"),
        (Api("http://127.0.0.1:1/api", None, "my own"), Terminal(), "http://127.0.0.1:1/runs"),
        (Api("https://else.example/api", "a profile"), Terminal(), "https://else.example/runs"),
    ],
    ids=["a terminal", "a file", "the user's own password", "a server that others run"],
)
def test_the_password_is_printed_on_terminals_only(api: Api, stream: io.StringIO, printed: str) -> None:
    assert UiPage(api, "/runs").link(stream) == printed


def test_every_character_of_a_password_gets_through(page: Page, dashboard: UiPage) -> None:
    odd = "".join(map(chr, range(32, 127)))
    page.route("**/api/admin/version", lambda route: route.fulfill(status=200))
    page.goto(UiPage(replace(dashboard.api, password=odd), "/runs").sign_in_url)
    page.wait_for_url(RUNS)
    assert page.evaluate("atob(localStorage['prefect-password'])") == odd


def test_no_character_breaks_the_file(page: Page, dashboard: UiPage, tmp_path: Path) -> None:
    odd = "".join(map(chr, range(32, 127))) + "</script><script>alert(1)</script>"
    page.route("**/api/admin/version", lambda route: route.fulfill(status=200))
    page.goto(write_opener(UiPage(replace(dashboard.api, password=odd), "/runs"), tmp_path).as_uri())
    page.wait_for_url(RUNS)
    assert page.evaluate("atob(localStorage['prefect-password'])") == odd


def test_the_file_is_replaced_whole(tmp_path: Path) -> None:
    api = Api("http://127.0.0.1:1/api", None, "workflow:a", True)
    (tmp_path / "open.html").write_text("older")
    (tmp_path / "open.html").chmod(0o644)
    path = write_opener(UiPage(api), tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [found.name for found in tmp_path.iterdir()] == ["open.html"]
