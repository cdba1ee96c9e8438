"""The report server: the files of the runs, on this machine, and nothing else."""

import contextlib
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.environment.settings import ServerError
from flows.services.report_server import REPORTS_URL_VARIABLE, ReportServer, RunFiles, report_url, served_reports
from tasks.caching.storage.store import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with a run, and a secret beside the runs."""
    store = Store(tmp_path_factory.mktemp("reports"))
    runs = store.runs
    (runs / "line-1").mkdir(parents=True)
    (runs / "line-1" / "report.html").write_text("<p>a report</p>")
    (runs / "latest").symlink_to("line-1")
    (runs.parent / "secret.txt").write_text("secret")
    (runs / "line-1" / "way-out").symlink_to(runs.parent / "secret.txt")
    (runs / "line-1" / "circle").symlink_to("circle")
    (runs / "line-1" / "plots").mkdir()
    (runs / "line-1" / "plots" / "a <b> & c:d.svg").write_text("<svg/>")
    (runs / "elsewhere").symlink_to("..")
    return store


@pytest.fixture
def trained_store(first_home: Path) -> Store:
    """A store in which `line` was trained and verified once; not to be modified."""
    return Store(first_home)


@pytest.fixture(scope="module")
def address(store: Store) -> Iterator[str]:
    with served_reports(store, [0]) as address:
        yield address


@pytest.mark.parametrize("path", ["line-1/report.html", "latest/report.html"])
def test_a_report_is_served_and_may_load_nothing(address: str, path: str) -> None:
    answer = httpx.get(f"{address}/{path}")
    assert (answer.status_code, answer.text) == (200, "<p>a report</p>")
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none';")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "nothing.html",
        "nothing/",
        "line-1/plots/",
        "../",
        "%2e%2e/",
        "line-1/../../",
        "%2e%2e/secret.txt",
        "..%2fsecret.txt",
        "line-1/way-out",
        "elsewhere/",
    ],
)
def test_nothing_else_is_served(address: str, path: str) -> None:
    assert httpx.get(f"{address}/{path}").status_code == 404


@pytest.mark.parametrize("name", ["line-1", "latest"])
def test_the_files_of_a_run_are_links(address: str, name: str) -> None:
    page = httpx.get(f"{address}/{name}", follow_redirects=True)
    assert page.status_code == 200
    assert page.url.path.endswith(f"/{name}/")
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none';")
    links = re.findall(r'href="([^"]+)"', page.text)
    assert links == ["./../", "./plots/a%20%3Cb%3E%20%26%20c%3Ad.svg", "./report.html"], "and none that leads out"
    assert "<b>" not in page.text
    for link in links:
        assert httpx.get(page.url.join(link)).status_code == 200


def test_the_index_links_to_every_run(trained_store: Store) -> None:
    name = (trained_store.runs / "latest").readlink().name
    with served_reports(trained_store, [0]) as address:
        page = httpx.get(address, follow_redirects=True)
        assert page.url.path.endswith("/")
        assert re.findall(r'href="([^"]+)"', page.text) == [f"./{name}/report.html", f"./{name}/"]
        assert ">yes<" in page.text
        assert httpx.get(page.url.join(f"./{name}/report.html")).status_code == 200


def test_only_the_files_of_a_damaged_run_are_linked(address: str, store: Store) -> None:
    assert "There is no run yet" in httpx.get(f"{address}/").text
    (store.runs / "line-1" / "run.json").write_text("{")
    page = httpx.get(f"{address}/").text
    (store.runs / "line-1" / "run.json").unlink()
    assert "damaged" in page
    assert re.findall(r'href="([^"]+)"', page) == ["./line-1/"]


def test_requests_for_the_base_url_are_served(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with served_reports(store, [0]) as address:
        monkeypatch.setenv("WORKFLOW_BASE_URL", "https://Train.test:8443/")
        for host, status in (("train.test:8443", 200), ("train.test", 404), ("evil.test:8443", 404)):
            assert httpx.get(f"{address}/line-1/report.html", headers={"Host": host}).status_code == status
        assert httpx.get(f"{address}/line-1/report.html").status_code == 200
        with served_reports(store, [0]) as proxied:
            assert proxied == f"https://train.test:8443/reports/{address.rpartition('/')[2]}"


def test_a_report_is_served_with_its_additions(trained: Store, train: Callable[..., Any]) -> None:
    first = (trained.runs / "latest").readlink().name
    second = train("line", {"training": {"epochs": 20}}).run
    file = (trained.runs / second / "report.html").read_text()
    assert "when this page was written, not yet" in file
    with served_reports(trained, [0]) as address:
        earlier, later = (httpx.get(f"{address}/{name}/report.html").text for name in (first, second))
    assert re.search(
        r"<dt>Verified</dt><dd><!--verified--><a href=\"./verification.json\">yes, 20[-0-9]+ [:0-9]+ UTC</a>", earlier
    )
    assert "There is no earlier run of this experiment" in earlier
    assert "<!--verified-->not yet<!--/verified-->" in later
    assert f'<a href="./../{first}/report.html">{first}</a>' in later
    assert "<tr><td>training.epochs</td><td>180</td><td>20</td></tr>" in later
    assert re.search(r"<tr><td>test.mae</td><td>0.02529</td><td>[.0-9]+</td><td>\+[.0-9]+</td></tr>", later)
    changed = set(file.splitlines()) - set(later.splitlines())
    assert sorted("<!--before-->" in line for line in changed) == [False, True], "the two that are marked, and no other"
    assert (trained.runs / second / "report.html").read_text() == file


def test_a_damaged_run_and_an_older_report_are_served_as_they_are(trained: Store) -> None:
    folder = (trained.runs / "latest").resolve()
    (folder / "report.html").write_text("<p>older</p><!--verified-->")
    with served_reports(trained, [0]) as address:
        assert httpx.get(f"{address}/latest/report.html").text == "<p>older</p><!--verified-->"
        (folder / "run.json").write_text("{")
        assert httpx.get(f"{address}/latest/report.html").text == "<p>older</p><!--verified-->"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser_pictures_enlarge_and_follow_the_scheme_and_files_are_downloaded(
    trained_store: Store, browser: Any, scheme: Any
) -> None:
    context = browser.new_context(color_scheme=scheme, viewport={"width": 1280, "height": 900})
    with served_reports(trained_store, [0]) as address:
        page = context.new_page()
        page.goto(f"{address}/latest/report.html")
        picture = page.locator("#plot-predicted img")
        assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
        assert (picture.evaluate("image => getComputedStyle(image).filter") != "none") == (scheme == "dark")
        before = picture.bounding_box()["width"]
        picture.click()
        assert picture.bounding_box()["width"] > 1.5 * before
        page.mouse.click(640, 450)
        assert picture.bounding_box()["width"] == before
        with page.expect_download() as file:
            page.get_by_role("link", name="01_workflow_model_0.pth").click()
        assert Path(file.value.path()).stat().st_size > 1000
        page.get_by_role("link", name="yes, ").click()
        assert page.url.endswith("/verification.json")
    context.close()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example:4300", ""])
def test_requests_for_another_host_are_rejected(address: str, host: str) -> None:
    assert httpx.get(f"{address}/line-1/report.html", headers={"Host": host}).status_code == 404


@pytest.mark.parametrize("word", ["", "0" * 32, "..", "%00", "\u00e9"])
def test_requests_without_the_token_are_rejected(address: str, word: str) -> None:
    beginning = address.rpartition("/")[0]
    assert httpx.get(f"{beginning}/{word}/line-1/report.html").status_code == 404
    assert httpx.get(f"{beginning}/line-1/report.html").status_code == 404


def test_the_url_is_stable_and_differs_between_projects(store: Store, tmp_path: Path) -> None:
    words = set()
    for _ in range(2):
        with served_reports(store, [0]) as address:
            words.add(address.rpartition("/")[2])
    with served_reports(Store(tmp_path / "other"), [0]) as other:
        assert other.rpartition("/")[2] not in words
    assert len(words) == 1


#: Requests that no browser sends, and the responses. {word} is the secret path segment.
ODD = {
    "a very long name": ("GET /{word}/" + "x" * 5000 + " HTTP/1.1", 404),
    "a very long path": ("GET /{word}/" + "x/" * 20000 + " HTTP/1.1", 404),
    "a line without an end": ("GET /{word}/" + "x" * 70000 + " HTTP/1.1", 414),
    "NUL": ("GET /{word}/line-1/%00 HTTP/1.1", 404),
    "no UTF-8": ("GET /{word}/%ff%fe HTTP/1.1", 404),
    "half a character": ("GET /{word}/%ed%a0%80 HTTP/1.1", 404),
    "no percent": ("GET /{word}/%zz%%% HTTP/1.1", 404),
    "a circle of links": ("GET /{word}/line-1/circle/report.html HTTP/1.1", 404),
    "a file as a folder": ("GET /{word}/line-1/report.html/x HTTP/1.1", 404),
    "no path": ("GET * HTTP/1.1", 404),
    "a whole address": ("GET http://else.example/{word}/line-1/report.html HTTP/1.1", 404),
    "bytes": ("\x16\x03\x01\x02\xff", 400),
    "no version": ("GET /{word}/line-1/report.html HTTP/x", 400),
    "a bad host": ("GET /{word}/line-1/report.html HTTP/1.1\r\nHost: \xff\x01:[", 404),
    "two hundred headers": ("GET /{word}/line-1/report.html HTTP/1.1" + "\r\nA: b" * 200, 431),
    "a header that is none": ("GET /{word}/line-1/report.html HTTP/1.1\r\n: \x00\r\n:::", 200),
    "a bad date": ("HEAD /{word}/line-1/report.html HTTP/1.1\r\nIf-Modified-Since: \xff 99 Foo 0", 200),
}


@pytest.mark.parametrize(("request_text", "status"), ODD.values(), ids=ODD)
def test_no_request_prints_a_traceback(
    address: str, request_text: str, status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    url = httpx.URL(address)
    head = request_text.replace("{word}", url.path.strip("/"))
    if "Host:" not in head:
        head = re.sub(r"(\r\n|$)", rf"\r\nHost: {url.host}:{url.port}\1", head, count=1)
    with socket.create_connection((url.host, url.port or 0), timeout=10) as line:
        line.sendall(f"{head}\r\n\r\n".encode("latin-1"))
        with contextlib.suppress(ConnectionResetError):
            answer = line.recv(65536).decode("latin-1")
    assert re.search(rf"\A(?:HTTP/1.0 {status} |.*Error code: {status})", answer, re.DOTALL), answer
    assert httpx.get(f"{address}/line-1/report.html").status_code == 200, "it serves the next one"
    assert capfd.readouterr() == ("", "")


def test_nor_does_a_client_that_disconnects(
    store: Store, address: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, handle_error = threading.Event(), ReportServer.handle_error

    def handle(*arguments: Any) -> None:
        handle_error(*arguments)
        ended.set()

    monkeypatch.setattr(ReportServer, "handle_error", handle)
    (store.runs / "line-1" / "large.svg").write_bytes(bytes(50_000_000))
    url = httpx.URL(address)
    with socket.create_connection((url.host, url.port or 0)) as line:
        line.sendall(f"GET {url.path}/line-1/large.svg HTTP/1.1\r\nHost: {url.host}:{url.port}\r\n\r\n".encode())
        line.recv(1000)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # it ends with a reset
    assert ended.wait(10)
    assert capfd.readouterr() == ("", "")


def test_an_internal_error_is_logged_in_one_line(
    address: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunFiles, "translate_path", lambda handler, path: 1 / 0)
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{address}/line-1/report.html")
    assert caplog.messages == ["a report could not be served (ZeroDivisionError: division by zero)"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_uploaded(address: str, method: str) -> None:
    assert httpx.request(method, f"{address}/line-1/report.html").status_code == 501


def test_it_listens_on_this_machine_only(address: str) -> None:
    assert httpx.URL(address).host == "127.0.0.1"
    with pytest.raises(httpx.ConnectError):
        httpx.get(address.replace("127.0.0.1", "127.0.0.2") + "/line-1/report.html")


def test_the_next_free_port_is_used(store: Store, address: str) -> None:
    taken = httpx.URL(address).port or 0
    with pytest.raises(ServerError, match="no port is free"), served_reports(store, [taken]):
        pass
    with served_reports(store, [taken, 0]) as other:
        assert httpx.URL(other).port != taken


def test_the_link_exists_only_if_the_report_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert report_url("line-1", tmp_path) is None
    monkeypatch.setenv(REPORTS_URL_VARIABLE, "https://reports.example/runs/")
    assert report_url("a b", tmp_path) == "https://reports.example/runs/a%20b/report.html"
