"""The base URL: valid values, and the links that start with it."""

import os
from pathlib import Path

import pytest

from flows.environment.base_url import VARIABLE, base_url
from flows.environment.settings import Api, server_environment, use_api
from flows.errors import InputError
from flows.services.prefect_server.sign_in import UiPage, write_opener

OWN = Api("http://127.0.0.1:4200/api", password="workflow:word", is_random=True)  # noqa: S106


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("https://train.example.org", "https://train.example.org"),
        ("https://Train.Example.org:443/", "https://train.example.org"),
        ("http://10.0.0.1:80", "http://10.0.0.1"),
        ("https://host:8443", "https://host:8443"),
        ("http://host:443", "http://host:443"),
        ("https://[fe80::1]:8443", "https://[fe80::1]:8443"),
    ],
)
def test_a_base_url_is_normalized_as_in_browsers(text: str, base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, text)
    assert str(base_url()) == base


@pytest.mark.parametrize(
    "text",
    [
        "train.example.org",
        "ftp://host",
        "https://",
        "https://host/path",
        "https://host:99999",
        "https://host?x",
        "https://ada:secret@host",
        "https://hö.st",
        "https://host\n",
    ],
)
def test_any_other_is_rejected(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(InputError, match=f"{VARIABLE} must be like https://train.example.org"):
        base_url()


def test_links_to_the_own_server_start_with_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PREFECT_UI_URL", raising=False)
    page = UiPage(OWN, "/runs")
    assert (page.address, page.sign_in_url) == (
        "http://127.0.0.1:4200/runs",
        "http://127.0.0.1:4200/open/runs#workflow:word",
    )
    monkeypatch.setenv(VARIABLE, "https://train.test:8443")
    assert (page.address, page.sign_in_url) == (
        "https://train.test:8443/runs",
        "https://train.test:8443/open/runs#workflow:word",
    )
    assert UiPage(Api("http://other/api", "a profile"), "/runs").address == "http://other/runs"
    # A page opened on this machine does not need the proxy.
    assert "http://127.0.0.1:4200/open/runs#workflow:word" in write_opener(page, tmp_path).read_text()


def test_so_do_prefects_own_links(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PREFECT_UI_URL", "PREFECT_API_URL", "PREFECT_API_AUTH_STRING"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    assert server_environment(tmp_path, 4200)["PREFECT_UI_URL"] == "http://127.0.0.1:4200"
    monkeypatch.setenv(VARIABLE, "https://train.test")
    assert server_environment(tmp_path, 4200)["PREFECT_UI_URL"] == "https://train.test"
    use_api(OWN)
    assert os.environ["PREFECT_UI_URL"] == "https://train.test"
