"""The reports over HTTP: the files of the runs, for this machine, and nothing else."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from flows.reports import ADDRESS, report_url, served_reports
from flows.settings import ServerError


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """The folder of the runs, with a run in it and a secret beside it."""
    runs = tmp_path / "runs"
    (runs / "line-1").mkdir(parents=True)
    (runs / "line-1" / "report.html").write_text("<p>a report</p>")
    (runs / "latest").symlink_to("line-1")
    (tmp_path / "secret.txt").write_text("secret")
    (runs / "line-1" / "way-out").symlink_to(tmp_path / "secret.txt")
    return runs


@pytest.fixture
def address(runs: Path) -> Iterator[str]:
    with served_reports(runs, [0]) as address:
        yield address


@pytest.mark.parametrize("path", ["line-1/report.html", "latest/report.html"])
def test_a_report_is_handed_out_and_may_load_nothing(address: str, path: str) -> None:
    answer = httpx.get(f"{address}/{path}")
    assert (answer.status_code, answer.text) == (200, "<p>a report</p>")
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none';")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path", ["", "line-1", "line-1/", "nothing.html", "%2e%2e/secret.txt", "..%2fsecret.txt", "line-1/way-out"]
)
def test_anything_else_is_not(address: str, path: str) -> None:
    assert httpx.get(f"{address}/{path}").status_code == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example:4300", ""])
def test_whoever_asks_for_another_name_gets_nothing(address: str, host: str) -> None:
    assert httpx.get(f"{address}/line-1/report.html", headers={"Host": host}).status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_put_there(address: str, method: str) -> None:
    assert httpx.request(method, f"{address}/line-1/report.html").status_code == 501


def test_it_listens_on_this_machine_only(address: str) -> None:
    assert httpx.URL(address).host == "127.0.0.1"
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.2:{httpx.URL(address).port}/line-1/report.html")


def test_the_next_free_port_is_taken(runs: Path, address: str) -> None:
    taken = httpx.URL(address).port or 0
    with pytest.raises(ServerError, match="no port is free"), served_reports(runs, [taken]):
        pass
    with served_reports(runs, [taken, 0]) as other:
        assert httpx.URL(other).port != taken


def test_the_link_is_there_only_if_somebody_shows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert report_url("line-1", tmp_path) is None
    monkeypatch.setenv(ADDRESS, "https://reports.example/runs/")
    assert report_url("a b", tmp_path) == "https://reports.example/runs/a%20b/report.html"
