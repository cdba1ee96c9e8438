"""What others on this machine can do with the project's own server: another user, a foreign page, a rebound name."""

import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from flows.environment.settings import prefect_home
from flows.services.prefect_server import server, server_process
from flows.services.prefect_server.password import ensure_secret, secret_path
from flows.services.prefect_server.sign_in import UiPage, write_opener
from tests.support.serving_project import Finish

NOBODY = 65534

#: What another user tries; it prints what came of it. It knows where everything is.
STRANGER = """
import base64, http.client, json, os, sys
port, pid, *paths = sys.argv[1:]
came = {}
def attempt(name, work):
    try:
        came[name] = work()
    except Exception as error:
        came[name] = type(error).__name__
def ask(method, path, body=None, **headers):
    line = http.client.HTTPConnection("127.0.0.1", int(port), timeout=20)
    line.request(method, path, body, headers)
    return line.getresponse().status
for path in paths:
    attempt(f"reads {os.path.basename(path)}", lambda: open(path).read())
attempt("reads the environment", lambda: open(f"/proc/{pid}/environ").read())
JSON = {"Content-Type": "application/json"}
guess = {"Authorization": "Basic " + base64.b64encode(b"workflow:guess").decode()}
pull = [{"prefect.deployments.steps.run_shell_script": {"script": "id"}}]
deployment = json.dumps({"name": "mine", "flow_id": "00000000-0000-0000-0000-000000000000", "pull_steps": pull})
attempt("makes a deployment", lambda: ask("POST", "/api/deployments/", deployment, **JSON))
attempt("with a guess", lambda: ask("POST", "/api/deployments/", deployment, **JSON, **guess))
attempt("lists the runs", lambda: ask("POST", "/api/flow_runs/filter", "{}", **JSON))
attempt("asks for the settings", lambda: ask("GET", "/api/admin/settings"))
attempt("sends an event", lambda: ask("POST", "/api/events", "[]", **JSON))
attempt("is there", lambda: ask("GET", "/api/health"))
print(json.dumps(came))
"""


@pytest.fixture
def python() -> str:
    """A Python that another user may start."""
    if os.geteuid() != 0:
        pytest.skip("only root can be another user: run it as root")
    program = shutil.which("python3", path="/usr/bin:/bin:/usr/local/bin")
    if program is None:
        pytest.skip("needs a python3 outside of anybody's home: apt-get install python3")
    return program


@pytest.fixture
def passage() -> Iterator[Path]:
    """A folder that every user may look into: no folder above keeps others from what lies there."""
    folder = Path(tempfile.mkdtemp(prefix="workflow-strangers-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_another_user_cannot_read_the_password_nor_use_the_server(
    python: str, passage: Path, prefect_root: Path, dashboard: UiPage
) -> None:
    ensure_secret(passage)
    files = [secret_path(passage), write_opener(dashboard, passage)]
    running = server_process.find(prefect_home(prefect_root))
    assert running is not None
    command = [python, "-I", "-c", STRANGER, str(running.port), str(running.pid), *map(str, files)]
    done = subprocess.run(
        command, user=NOBODY, group=NOBODY, extra_groups=[], cwd="/", capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == {
        "reads password": "PermissionError",
        "reads open.html": "PermissionError",
        "reads the environment": "PermissionError",
        "makes a deployment": 401,
        "with a guess": 401,
        "lists the runs": 401,
        "asks for the settings": 401,
        "sends an event": 401,
        "is there": 200,
    }


def test_nor_does_the_folder_of_the_server_let_others_in(passage: Path, python: str) -> None:
    """What Prefect writes there itself, the database above all, is left open."""
    server.make_home(passage)
    (prefect_home(passage) / "prefect.db").write_text("what Prefect knows")
    (prefect_home(passage) / "prefect.db").chmod(0o644)
    command = [python, "-I", "-c", "print(open(__import__('sys').argv[1]).read())"]
    done = subprocess.run(
        [*command, str(prefect_home(passage) / "prefect.db")],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert "PermissionError" in done.stderr
    assert done.stdout == ""


#: Tries, as the owner and as a stranger, the server that lives as long as a session.
EPHEMERAL = """
import sys, urllib.error, urllib.request
from pathlib import Path
from flows.runtime.session import prefect_session
with prefect_session(Path(sys.argv[1]), ephemeral=True):
    from prefect.client.orchestration import get_client
    with get_client(sync_client=True) as client:
        print(client.read_flows())
        for headers in ({}, {"Host": "rebound.example"}):
            try:
                asked = urllib.request.Request(f"{client.api_url}admin/version", headers=headers)
                print(urllib.request.urlopen(asked).status)
            except urllib.error.HTTPError as error:
                print(error.code)
"""


def test_a_server_that_ends_with_its_run_asks_for_a_password_too(workflow: Finish, tmp_path: Path) -> None:
    done = workflow(str(tmp_path), code=EPHEMERAL, home=tmp_path, PREFECT_API_URL="")
    assert done.stdout.splitlines() == ["[]", "401", "403"], done.stderr


# ---- pages


#: What a foreign page tries against the server at URL, with what it would send in BODY; it says when it is done.
ATTACKS = """<!DOCTYPE html><title>A page</title>
<form method="post" enctype="text/plain" target="form" action="URL/api/flows/"><input name='{"name": "A form", "x": "'
 value='"}'></form><iframe name="form"></iframe><iframe name="ui" src="URL/runs"></iframe>
<script>
const send = (name, options) => fetch("URL/api/flows/", {method: "POST", mode: "no-cors",
  body: JSON.stringify({name}), ...options}).catch(() => {});
const body = name => new Blob([JSON.stringify({name})]);
const closed = new Promise(resolve => {
  const socket = new WebSocket("ws://HOST/api/events/in", "prefect");
  socket.onclose = () => resolve(true); socket.onopen = () => resolve(false)});
const read = fetch("URL/api/admin/version").then(answer => answer.text()).catch(() => "nothing");
document.forms[0].submit();
navigator.sendBeacon("URL/api/flows/", body("A beacon"));
window.done = Promise.all([
  send("Called text", {headers: {"Content-Type": "text/plain"}}),
  send("Called nothing", {body: body("Called nothing")}),
  send("With credentials", {credentials: "include"}),
  send("Called JSON", {mode: "cors", headers: {"Content-Type": "application/json"}}),
  closed, read,
]).then(answers => answers.slice(-2));
</script>
"""


@pytest.fixture
def foreign_page(api_url: str) -> Iterator[str]:
    """The address of a page that another program serves on this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = api_url.removesuffix("/api")
            page = ATTACKS.replace("URL", url).replace("HOST", url.removeprefix("http://"))
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_request(self, *arguments: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{http.server_address[1]}/"
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def page(start_browser: Callable[..., Any], dashboard: UiPage) -> Iterator[Page]:
    """A window of a browser in which the UI was opened before; the name rebound.test leads to this machine."""
    browser = start_browser("--host-resolver-rules=MAP rebound.test 127.0.0.1")
    page = browser.new_page()
    page.goto(UiPage(dashboard.api, "/runs").sign_in_url)
    expect(page.locator(".page-heading")).to_contain_text("Runs")
    yield page
    browser.close()


@pytest.fixture
def flows(dashboard: UiPage) -> Callable[[], set[str]]:
    """The names of the flows that Prefect knows."""
    assert dashboard.api.password is not None
    user, _, password = dashboard.api.password.partition(":")

    def names() -> set[str]:
        answer = httpx.post(f"{dashboard.api.url}/flows/filter", json={}, auth=(user, password))
        return {flow["name"] for flow in answer.raise_for_status().json()}

    return names


def test_a_foreign_page_starts_and_reads_nothing(
    page: Page, foreign_page: str, flows: Callable[[], set[str]], api_url: str
) -> None:
    before = flows()
    page.goto("about:blank")  # what an earlier page has asked for may still be answered
    answers: list[tuple[str, int]] = []
    page.on("response", lambda response: answers.append((response.request.method, response.status)))
    page.goto(foreign_page)
    came = page.evaluate("window.done")
    page.wait_for_function("frames.length === 2")
    page.wait_for_load_state("networkidle")

    assert flows() == before
    assert came == [True, "nothing"]
    assert {status for method, status in answers if method == "POST"} == {403}
    assert [method for method, _ in answers].count("POST") >= 5
    assert not page.frame("ui").get_by_text("Flow Runs").count()


def test_by_a_rebound_name_nothing_is_read(page: Page, api_url: str) -> None:
    rebound = api_url.removesuffix("/api").replace("127.0.0.1", "rebound.test")
    for path in ("/", "/runs", "/open/runs", "/ui-settings", "/api/health", "/api/admin/version"):
        answer = page.goto(f"{rebound}{path}")
        assert answer is not None
        assert answer.status == 403
    reported = page.evaluate(
        """async () => {
            const headers = {"Content-Type": "application/json"};
            const answers = await Promise.all(["flows", "flow_runs", "deployments"].map(
                kind => fetch(`/api/${kind}/filter`, {method: "POST", headers, body: "{}"})));
            const socket = await new Promise(resolve => {
                const socket = new WebSocket(`ws://${location.host}/api/events/out`, "prefect");
                socket.onclose = () => resolve("closed"); socket.onopen = () => resolve("open")});
            return [...answers.map(answer => answer.status), socket, localStorage.length];
        }"""
    )
    assert reported == [403, 403, 403, "closed", 0]
