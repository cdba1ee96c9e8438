"""What a colleague without a shell does in the Prefect UI: asks for runs, watches them, and looks at what came of them.

With WORKFLOW_SCREENSHOTS=FOLDER the pages that are seen on the way are kept as pictures; `make screenshots` does that.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, Request, expect

from flows.services.prefect_server.sign_in import UiPage
from tests.flows.conftest import PATIENCE, STAGES
from tests.support.prefect_api import until_there
from tests.support.serving_project import ServingProject

#: Pixels of the window.
WIDTH, HEIGHT = 1280, 900

LOOPBACK = "127.0.0.1"

#: Read before the session's server, for which what a user may have set is put aside.
SCREENSHOTS = os.environ.get("WORKFLOW_SCREENSHOTS")

Keep = Callable[[str], None]


@pytest.fixture
def asked_hosts() -> set[str]:
    """The hosts that the browser has asked for something."""
    return set()


@pytest.fixture
def page(browser: Browser, dashboard: UiPage, asked_hosts: set[str]) -> Iterator[Page]:
    """A window with the UI, opened by its link, which asks nobody but this machine, and is refused nothing."""
    context = browser.new_context(base_url=dashboard.api.ui_url, viewport={"width": WIDTH, "height": HEIGHT})
    refused: list[str] = []

    def count(request: Request) -> None:
        if request.failure != "csp":  # the browser did not send it
            asked_hosts.add(urlsplit(request.url).hostname or LOOPBACK)

    for outcome in ("requestfinished", "requestfailed"):
        context.on(outcome, count)
    context.on("response", lambda response: response.status in (401, 403, 415) and refused.append(response.url))
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(dashboard.sign_in_url)
    expect(page.get_by_role("heading", name="Flow Runs")).to_be_visible()
    yield page
    context.close()
    assert asked_hosts == {LOOPBACK}
    assert refused == []


@pytest.fixture
def keep(page: Page) -> Keep:
    """Keeps a picture of the window, if pictures are wanted."""

    def shoot(name: str) -> None:
        if SCREENSHOTS is not None:
            page.wait_for_timeout(1000)  # for what moves in
            page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png")

    return shoot


def open_form(page: Page) -> None:
    """Opens the form for a run of `line`, from the list of the deployments."""
    page.goto("/deployments")
    page.get_by_role("link", name="line", exact=True).first.click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Custom run").click()
    expect(field(page, "retries")).to_be_visible()


#: The labels of the form's fields.
LABELS = ".schema-form-property__label"


def field(page: Page, label: str) -> Locator:
    """A field of the form by its label; of several with one label, the first."""
    named = page.locator(LABELS, has_text=re.compile(rf"^{label}( \(Optional\))?$"))
    return page.locator(".schema-form-property").filter(has=named).last


def submit(page: Page) -> None:
    """Asks for the run, and opens its page."""
    page.get_by_role("button", name="Submit").click()
    page.get_by_role("button", name="View run").last.click()  # there are two, the later first
    page.wait_for_url("**/runs/flow-run/*")


def expect_state(page: Page, state: str) -> None:
    """Waits until the run whose page is open is in a state."""
    expect(page.locator(".page-heading .state-badge")).to_have_text(state)


def open_tab(page: Page, name: str) -> None:
    """Opens one of the tabs of a run's page."""
    page.wait_for_load_state("networkidle")  # what comes later opens the first tab again
    page.locator(".p-tab", has_text=name).click()


def expect_stages(page: Page, computed: str) -> None:
    """Waits until the list of tasks shows one stage as computed and the others as taken from the cache."""
    open_tab(page, "Task Runs")
    for stage in STAGES:
        row = page.locator(".task-run-list-item", has=page.get_by_role("link", name=stage, exact=True))
        expect(row.locator(".state-badge")).to_have_text("Completed" if stage == computed else "Cached")


def open_artifact(page: Page, key: str) -> None:
    """Opens one of the pages that the run has put into the UI."""
    open_tab(page, "Artifacts")
    page.set_viewport_size({"width": WIDTH, "height": 3 * HEIGHT})  # what is out of sight is not there at all
    page.locator(
        "a[href*='/artifacts/artifact/']", has_text=re.compile(key.replace("-", "-(at-[0-9a-f]{12}-)?", 1))
    ).click()
    page.wait_for_url("**/artifacts/artifact/*")
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})


def expect_picture(page: Page) -> None:
    """Waits until the first picture of a page is there and has been drawn."""
    picture = page.locator(".artifact-data-markdown img, .markdown-renderer img").first
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0


def ask(page: Page, **fields: Any) -> None:
    """Asks for a run of `line` with some fields of the form filled in, and opens its page."""
    open_form(page)
    for label, value in fields.items():
        field(page, label).locator("input").fill(str(value))
    submit(page)


def test_a_training_is_asked_for_and_watched_to_its_end(page: Page, served: ServingProject, keep: Keep) -> None:
    open_form(page)
    labels = [label.removesuffix(" (Optional)") for label in page.locator(LABELS).all_inner_texts()]
    assert labels[:9] == [
        *("refresh", "until", "device", "notes", "if_running", "retries", "dated", "timezone"),
        "experiment",
    ]
    assert "Device" not in labels
    field(page, "notes").locator("input, textarea").fill("for Ada")
    field(page, "refresh").scroll_into_view_if_needed()
    keep("form")
    field(page, "Epochs").scroll_into_view_if_needed()
    field(page, "Epochs").locator("input").fill("60")
    submit(page)
    expect_state(page, "Completed")
    expect(page.get_by_text("notes: for Ada")).to_be_visible()
    expect(page.get_by_text("left empty")).to_have_count(0)
    expect(page.locator(".page-heading")).to_contain_text("line on cpu: training.epochs 180 → 60")
    keep("run")
    address = page.url
    for shown in ("plan", "metrics", "plots", "history"):
        page.goto(address)
        open_artifact(page, f"line-{shown}")
        keep(shown)
        if shown == "plots":
            expect_picture(page)
    page.goto(address)
    open_artifact(page, "line-report")
    with page.expect_popup() as report:
        page.get_by_role("link", name="Open the report").click()
    expect(report.value.get_by_role("heading", level=1)).to_be_visible()
    page.goto("/runs")
    run = (served.store.runs / "latest").readlink().name
    page.get_by_role("link", name=f"verify {run}").first.click()
    expect_state(page, "Completed")
    open_artifact(page, "line-verification")
    expect(page.get_by_role("heading", name=f"{run} is verified")).to_be_visible()
    keep("verification")


@pytest.mark.usefixtures("served")
def test_the_pages_that_ask_another_server_are_not_offered(page: Page) -> None:
    expect(page.locator(".context-sidebar").get_by_text("Settings")).to_be_visible()
    page.wait_for_load_state("networkidle")
    expect(page.get_by_text("V2 UI")).to_have_count(0)
    page.goto("/v2/dashboard")
    page.wait_for_url("**/dashboard")
    expect(page.get_by_role("heading", name="Flow Runs")).to_be_visible()
    assert "/v2/" not in page.url


@pytest.mark.parametrize("path", ["/blocks/catalog", "/work-pools/create"])
def test_pages_whose_logos_lie_elsewhere_load_none(page: Page, path: str) -> None:
    """Prefect has them on other hosts, which would learn the address of the UI; the page is shown without."""
    blocked: list[str] = []
    page.on("console", lambda message: blocked.append(message.text))
    page.goto(path)
    page.wait_for_load_state("networkidle")
    expect(page.locator(".context-sidebar")).to_be_visible()
    assert any("Content Security Policy" in text for text in blocked)


@pytest.mark.long
def test_a_long_training_shows_how_far_it_has_come(page: Page, served: ServingProject, keep: Keep) -> None:
    ask(page, **{"Epochs": 1_000_000, "Learning Rate": "0.000001"})
    expect_state(page, "Running")
    address = page.url
    until_there(lambda: "line-training" in served.api.artifacts(address.rpartition("/")[2]) or None)
    page.reload()  # the list of a run that is under way shows what there was when it was opened
    open_artifact(page, "line-training")
    expect_picture(page)
    reported = page.get_by_text(re.compile(r"epoch [\d,]+ of 1,000,000, training loss")).first
    before = reported.inner_text()
    until_there(lambda: (page.reload() and reported.inner_text() != before) or None)
    assert re.search(r" epochs/s, [\d,]+ s left$", reported.inner_text())
    keep("training")
    page.goto(address)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Confirm").click()
    expect_state(page, "Cancelled")


def test_one_stage_is_run_again(page: Page, served: ServingProject, keep: Keep) -> None:
    open_form(page)
    chosen = field(page, "refresh")
    chosen.scroll_into_view_if_needed()
    chosen.get_by_role("button").last.press("ArrowDown")
    page.get_by_role("option", name="evaluate").click()
    keep("refresh")
    page.get_by_text("Parameters", exact=True).click()  # the first click beside the open list only closes it
    submit(page)
    expect_state(page, "Completed")
    expect(page.locator(".page-heading")).to_contain_text("line on cpu: evaluate forced")
    expect_stages(page, "evaluate")
    keep("rerun")


@pytest.mark.long
def test_a_run_that_failed_is_retried(page: Page, served: ServingProject, keep: Keep) -> None:
    blocked = served.home / "artifacts" / "evaluate"
    aside = shutil.move(blocked, served.home / "aside")
    blocked.write_text("a file where a folder belongs")
    open_form(page)
    page.locator(".flow-run-name-input input").fill("second-try")
    field(page, "Epochs").locator("input").fill("61")
    field(page, "retries").locator("input").fill("0")
    submit(page)
    expect_state(page, "Failed")
    page.reload()  # for the graph
    expect_state(page, "Failed")
    keep("failed")
    blocked.unlink()
    shutil.move(aside, blocked)
    page.get_by_role("button", name="Retry").click()
    page.get_by_role("dialog").get_by_role("button", name="Retry").click()
    expect_state(page, "Completed")
    expect(page.locator(".page-heading")).to_contain_text("second-try")
    open_tab(page, "Task Runs")
    keep("retried")
