"""A colleague on another machine, which a network namespace stands for: a reverse proxy and a tunnel in between.

The proxy's configuration is the one in docs/OPERATIONS.md.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from flows.environment.settings import prefect_home
from tests.flows.conftest import PATIENCE, PROJECT

pytestmark = pytest.mark.long

PROGRAMS = ("ip", "nginx", "sshd", "ssh", "ssh-keygen", "openssl", "curl", "chromium")

#: The namespace of the project, that of the colleague, and their addresses.
HOST, AWAY = f"wf-host-{os.getpid()}", f"wf-away-{os.getpid()}"
ADDRESS, ELSEWHERE = "10.213.77.1", "10.213.77.2"

NAME, PORT = "train.test", 8443
BASE = f"https://{NAME}:{PORT}"
USER, PASSWORD = "ada", "of the analytical engine"


def run(*command: str, **options: Any) -> str:
    """What a program prints, which must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, **options)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def inside(namespace: str, *command: str, **options: Any) -> str:
    return run("ip", "netns", "exec", namespace, *command, **options)


def answers(namespace: str, port: int, address: str = "127.0.0.1") -> bool:
    """Whether a port can be connected to from a namespace."""
    code = f"import socket; socket.create_connection(({address!r}, {port}), 2)"
    command = ("ip", "netns", "exec", namespace, sys.executable, "-c", code)
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def running(namespace: str, *command: str, port: int) -> Iterator[None]:
    """A program in a namespace, from when its port is listened on there."""
    process = subprocess.Popen(
        ("ip", "netns", "exec", namespace, *command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        deadline = time.monotonic() + 20
        while not answers(namespace, port):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=20)


@pytest.fixture(scope="module")
def network() -> Iterator[None]:
    """Two machines, joined by a cable."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for network namespaces")
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        pytest.skip(f"needs {', '.join(missing)}: apt-get install iproute2 nginx-light openssh-server curl chromium")
    if subprocess.run(("ip", "netns", "add", HOST), capture_output=True, check=False).returncode:
        pytest.skip("needs network namespaces, which `ip netns add` does not give here")
    try:
        run("ip", "netns", "add", AWAY)
        run("ip", "link", "add", "wf0", "netns", HOST, "type", "veth", "peer", "name", "wf1", "netns", AWAY)
        for namespace, device, address in ((HOST, "wf0", ADDRESS), (AWAY, "wf1", ELSEWHERE)):
            inside(namespace, "ip", "address", "add", f"{address}/24", "dev", device)
            inside(namespace, "ip", "link", "set", device, "up")
            inside(namespace, "ip", "link", "set", "lo", "up")
        yield
    finally:
        for namespace in (HOST, AWAY):
            subprocess.run(("ip", "netns", "delete", namespace), capture_output=True, check=False)


@dataclass(frozen=True)
class Afar:
    """A project that a colleague reaches.

    Attributes:
        home: of the project, on its machine.
        printed: by `workflow ui`, without a terminal.
        password: of the Prefect server.
    """

    home: Path
    printed: str
    password: str

    @property
    def report(self) -> str:
        """The address of the run's report."""
        found = re.search(r"^Report +(\S+)$", self.printed, re.MULTILINE)
        assert found is not None, self.printed
        return found[1]


@pytest.fixture(scope="module")
def afar(network: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Afar]:
    """The project on its machine, served, with a run."""
    folder = tmp_path_factory.mktemp("afar")
    home = folder / "home"
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "WORKFLOW_"))}
    own |= {"PYTHONPATH": str(PROJECT), "HOME": str(folder), "WORKFLOW_HOME": str(home), "WORKFLOW_BASE_URL": BASE}

    def workflow(*arguments: str) -> str:
        return inside(HOST, sys.executable, "-m", "flows.cli", *arguments, env=own, cwd=folder)

    try:
        printed = workflow("ui", "--no-browse")
        assert workflow("server", "status").split()[:2] == ["running", BASE]
        yield Afar(home, printed, (prefect_home(home) / "password").read_text())
    finally:
        workflow("server", "stop")


@pytest.fixture(scope="module")
def proxy(afar: Afar, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The reverse proxy of the documentation, under other names; its certificate."""
    folder = tmp_path_factory.mktemp("nginx")
    folder.chmod(0o755)
    certificate, key, users = folder / "train.crt", folder / "train.key", folder / "train.htpasswd"
    request = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={NAME}")
    run("openssl", *request, "-addext", f"subjectAltName=DNS:{NAME}", "-out", str(certificate), "-keyout", str(key))
    users.write_text(f"{USER}:{run('openssl', 'passwd', '-apr1', PASSWORD)}")
    documented = re.search(r"```nginx\n(.*?)```", (PROJECT / "docs/OPERATIONS.md").read_text(), re.DOTALL)
    assert documented is not None
    server = documented[1].replace("443 ssl", f"{PORT} ssl").replace("train.example.org", NAME)
    server = server.replace("/etc/nginx/train", f"{folder}/train")
    configuration = folder / "nginx.conf"
    surroundings = f"user root; daemon off; pid {folder}/pid; error_log stderr; events {{}}"
    configuration.write_text(f"{surroundings}\nhttp {{ access_log off;\n{server}}}\n")
    with running(HOST, "nginx", "-p", str(folder), "-c", str(configuration), port=PORT):
        yield certificate


@pytest.fixture(scope="module")
def colleague(
    network: None, start_browser: Callable[..., Browser], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """Her browser, on her machine."""
    wrapper = tmp_path_factory.mktemp("browser") / "chromium"
    wrapper.write_text(f'#!/bin/sh\nexec ip netns exec {AWAY} {shutil.which("chromium")} "$@"\n')
    wrapper.chmod(0o755)
    browser = start_browser(f"--host-resolver-rules=MAP {NAME} {ADDRESS}", program=str(wrapper))
    yield browser
    browser.close()


def window(browser: Browser, **options: Any) -> tuple[BrowserContext, Page, list[str]]:
    """A window of a browser that has never been here, and what it is refused."""
    context = browser.new_context(ignore_https_errors=True, **options)
    refused: list[str] = []
    context.on("response", lambda answer: answer.status in (401, 403, 415, 502) and refused.append(answer.url))
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    return context, page, refused


def curl(certificate: Path, path: str, *options: str) -> int:
    """The status with which the proxy answers on the colleague's machine."""
    resolved = ("--resolve", f"{NAME}:{PORT}:{ADDRESS}", "--cacert", str(certificate))
    shown = ("--silent", "--output", os.devnull, "--write-out", "%{http_code}")
    return int(inside(AWAY, "curl", *resolved, *shown, *options, f"{BASE}{path}"))


def test_without_the_proxy_nothing_answers(afar: Afar) -> None:
    for port in (4200, 4300):
        assert answers(HOST, port)
        assert not answers(AWAY, port, ADDRESS)


def test_every_printed_link_begins_with_the_base_url(afar: Afar) -> None:
    links = re.findall(r"https?://\S+", afar.printed)
    assert len(links) == 3
    assert all(link.startswith(BASE) for link in links)


def test_the_proxy_asks_for_its_password_and_the_api_for_the_servers(afar: Afar, proxy: Path) -> None:
    report = afar.report.removeprefix(BASE)
    for path in ("/", "/ui-settings", report):
        assert curl(proxy, path) == 401
        assert curl(proxy, path, "--user", f"{USER}:wrong") == 401
        assert curl(proxy, path, "--user", f"{USER}:{PASSWORD}") == 200
    assert curl(proxy, "/api/admin/version") == 401
    assert curl(proxy, "/api/admin/version", "--user", f"{USER}:{PASSWORD}") == 401
    assert curl(proxy, "/api/admin/version", "--user", afar.password) == 200


def test_behind_the_proxy_foreign_pages_and_names_are_refused(afar: Afar, proxy: Path) -> None:
    signed = ("--user", afar.password)
    assert curl(proxy, "/api/admin/version", *signed, "--header", f"Origin: {BASE}") == 200
    for header in ("Origin: https://evil.example", "Origin: http://127.0.0.1:4200", "Host: evil.example"):
        assert curl(proxy, "/api/admin/version", *signed, "--header", header) == 403


def test_alerts_link_to_the_base_url(afar: Afar, proxy: Path) -> None:
    resolved = ("--resolve", f"{NAME}:{PORT}:{ADDRESS}", "--cacert", str(proxy), "--silent", "--user", afar.password)
    settings = json.loads(inside(AWAY, "curl", *resolved, f"{BASE}/api/admin/settings"))
    assert settings["ui_url"] == BASE, "what `{{ flow_run|ui_url }}` in an alert begins with"


def test_she_watches_runs_and_reads_reports_through_the_proxy(afar: Afar, proxy: Path, colleague: Browser) -> None:
    context, page, refused = window(
        colleague, http_credentials={"username": USER, "password": PASSWORD, "origin": BASE}
    )
    page.goto(f"{BASE}/open/dashboard#{afar.password}")
    expect(page.get_by_role("heading", name="Flow Runs")).to_be_visible()
    page.goto(f"{BASE}/runs")
    page.get_by_role("link", name=re.compile("^line on cpu")).first.click()
    page.wait_for_load_state("networkidle")
    page.locator(".p-tab", has_text="Artifacts").click()
    page.locator("a[href*='/artifacts/artifact/']", has_text="line-report").click()
    with page.expect_popup() as opened:
        page.get_by_role("link", name="Open the report").click()
    report = opened.value
    expect(report.get_by_role("heading", level=1)).to_contain_text("line-")
    assert report.url == afar.report
    report.goto(afar.report.rpartition("/")[0])
    report.get_by_role("link", name="run.json").click()
    expect(report.locator("body")).to_contain_text('"experiment"')
    report.goto(afar.report.rsplit("/", 2)[0])
    report.get_by_role("link", name=re.compile("^line-")).first.click()
    assert report.url == afar.report
    assert [address for address in refused if "/api/" in address] == []
    context.close()


def test_she_does_so_through_a_tunnel_from_another_port(afar: Afar, colleague: Browser, tmp_path: Path) -> None:
    for name in ("host", "own"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name))
    keys = f"AuthorizedKeysFile={tmp_path}/own.pub"
    Path("/run/sshd").mkdir(exist_ok=True)
    options = ("StrictModes=no", "UsePAM=no", f"HostKey={tmp_path}/host", keys, "PidFile=none", "PermitRootLogin=yes")
    flags = [word for option in options for word in ("-o", option)]
    daemon = ("/usr/sbin/sshd", "-D", "-e", "-f", os.devnull, "-p", "2222", *flags)
    unknown = ("-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={os.devnull}", "-i", str(tmp_path / "own"))
    forwarded = ("-L", "14200:127.0.0.1:4200", "-L", "4300:127.0.0.1:4300")
    with (
        running(HOST, *daemon, port=2222),
        running(AWAY, "ssh", "-N", *unknown, *forwarded, "-p", "2222", f"root@{ADDRESS}", port=14200),
    ):
        context, page, refused = window(colleague)
        page.goto(f"http://127.0.0.1:14200/open/dashboard#{afar.password}")
        expect(page.get_by_role("heading", name="Flow Runs")).to_be_visible()
        page.goto(afar.report.replace(f"{BASE}/reports", "http://127.0.0.1:4300"))
        expect(page.get_by_role("heading", level=1)).to_contain_text("line-")
        assert refused == []
        context.close()
