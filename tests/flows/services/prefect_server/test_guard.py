"""Which requests the guard of the project's own server rejects, passes on and responds to itself."""

import asyncio
import re
from typing import Any

import httpx
import pytest
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse, PlainTextResponse

from flows.environment.base_url import BaseUrl
from flows.services.prefect_server.guard import Guard
from flows.services.prefect_server.sign_in import HTML, SCRIPT

URL = "http://127.0.0.1:4200"

BASE = BaseUrl("https", "train.test:8443")


class Server:
    """Stands in for Prefect's server; records what gets through to it."""

    def __init__(self) -> None:
        self.got: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.got.append(scope["type"] if scope["type"] != "http" else f"{scope['method']} {scope['path']}")
        if scope["type"] == "http":
            await PlainTextResponse("Prefect's")(scope, receive, send)


def ask(
    method: str = "GET",
    path: str = "/api/flows/",
    headers: dict[str, str] | None = None,
    base: BaseUrl | None = None,
    **options: Any,
) -> httpx.Response:
    """Returns the guard's response to a request; checks that the server does not see rejected ones."""
    server = Server()

    async def request() -> httpx.Response:
        transport = httpx.ASGITransport(Guard(server, lambda challenge: f"proof of {challenge}", base))
        async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
            return await client.request(method, path, headers=headers, **options)

    answer = asyncio.run(request())
    assert (answer.text == "Prefect's") == bool(server.got)
    return answer


@pytest.mark.parametrize("host", ["127.0.0.1:4200", "127.0.0.1", "127.0.0.1:15000", "localhost:4200", "LOCALHOST"])
def test_requests_for_this_machines_names_pass(host: str) -> None:
    assert ask(headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "rebound.test",
        "rebound.test:4200",
        "127.0.0.1.rebound.test:4200",
        "localhost.rebound.test",
        "127.0.0.1:4200.rebound.test",
        "127.0.0.1:4200@rebound.test",
        "rebound.test/127.0.0.1",
        "127.0.0.1:",
        "127.0.0.2",
        "127.1",
        "2130706433",
        "[::1]:4200",
        "0.0.0.0:4200",
        "localhost.",
        "127.0.0.1\n",
    ],
)
def test_requests_for_other_names_do_not(host: str) -> None:
    for path in ("/api/flows/", "/", "/open", f"/proof/{'0' * 32}"):
        assert ask(path=path, headers={"Host": host}).status_code == 403


def test_nor_do_requests_without_a_host_or_with_two() -> None:
    for hosts in ([], [(b"host", b"127.0.0.1:4200"), (b"host", b"rebound.test")]):
        messages = converse({"type": "http", "method": "GET", "path": "/api/flows/", "headers": hosts})
        assert messages[0]["status"] == 403


def test_requests_from_the_uis_origin_pass() -> None:
    answer = ask("POST", headers={"Origin": URL}, json={})
    assert answer.status_code == 200
    assert ask(headers={"Host": "127.0.0.1:15000", "Origin": "http://127.0.0.1:15000"}).status_code == 200


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:4200", "http://127.0.0.1:8000"),
        ("127.0.0.1:4200", "http://127.0.0.1"),
        ("127.0.0.1:4200", "https://127.0.0.1:4200"),
        ("127.0.0.1:4200", "http://127.0.0.1:4200.rebound.test"),
        ("127.0.0.1:4200", "http://rebound.test:4200"),
        ("127.0.0.1:4200", "null"),
        ("127.0.0.1:4200", ""),
        ("127.0.0.1:4200", "http://localhost:4200"),
        # On ::1, another program may be listening.
        ("localhost:4200", "http://localhost:4200"),
    ],
)
def test_requests_from_other_origins_do_not(host: str, origin: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        assert ask(method, headers={"Host": host, "Origin": origin}).status_code == 403


def test_requests_for_the_base_url_pass() -> None:
    for host in ("train.test:8443", "Train.Test:8443"):
        assert ask(headers={"Host": host}, base=BASE).status_code == 200
        assert ask("POST", headers={"Host": host, "Origin": "https://train.test:8443"}, base=BASE, json={}).is_success
        assert ask(headers={"Host": host}).status_code == 403, "without a base URL, it is no name of this machine's"
    assert ask(headers={"Origin": URL}, base=BASE).status_code == 200, "nor do the names of this machine's count less"


@pytest.mark.parametrize("host", ["train.test", "train.test:443", "x.train.test:8443", "train.test:84431", "evil.test"])
def test_a_base_url_allows_no_other_host(host: str) -> None:
    assert ask(headers={"Host": host}, base=BASE).status_code == 403


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("train.test:8443", "http://train.test:8443"),
        ("train.test:8443", "https://train.test"),
        ("train.test:8443", "https://evil.test"),
        ("train.test:8443", URL),
        ("train.test:8443", "null"),
        ("127.0.0.1:4200", "https://train.test:8443"),
        ("127.0.0.1:4200", "https://127.0.0.1:4200"),
        ("localhost:4200", "http://localhost:4200"),
    ],
)
def test_nor_another_origin(host: str, origin: str) -> None:
    assert ask(headers={"Host": host, "Origin": origin}, base=BASE).status_code == 403


@pytest.mark.parametrize(
    ("host", "api_url"),
    [
        ("127.0.0.1:4200", "http://127.0.0.1:4200/api"),
        ("127.0.0.1:14200", "http://127.0.0.1:14200/api"),
        ("train.test:8443", "https://train.test:8443/api"),
    ],
)
def test_pages_get_the_api_url_of_their_own_origin(host: str, api_url: str) -> None:
    async def prefect(scope: Any, receive: Any, send: Any) -> None:
        app = GZipMiddleware(JSONResponse({"api_url": "http://127.0.0.1:4200/api", "auth": "BASIC"}), minimum_size=1)
        await app(scope, receive, send)

    async def request() -> httpx.Response:
        transport = httpx.ASGITransport(Guard(prefect, str, BASE))
        async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
            return await client.get("/ui-settings", headers={"Host": host})

    assert asyncio.run(request()).json() == {"api_url": api_url, "auth": "BASIC"}


def test_invalid_settings_are_passed_on_unchanged() -> None:
    assert ask(path="/ui-settings").text == "Prefect's"


@pytest.mark.parametrize("content_type", [None, "", "text/plain", "application/x-www-form-urlencoded", "text/json"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_body_must_be_declared_as_json(method: str, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    assert ask(method, headers=headers, content=b"{}").status_code == 415


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8"])
def test_json_is_passed_on(content_type: str) -> None:
    assert ask("POST", headers={"Content-Type": content_type}, content=b"{}").status_code == 200


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_so_is_a_request_without_a_body(method: str) -> None:
    assert ask(method).status_code == 200
    assert ask(method, headers={"Content-Length": "0"}).status_code == 200


def test_a_body_of_unknown_length_counts() -> None:
    async def chunks() -> Any:
        yield b"{}"

    assert ask("POST", content=chunks()).status_code == 415


def test_no_response_may_be_framed() -> None:
    for path in ("/api/flows/", "/", "/open"):
        assert "frame-ancestors 'none'" in ask(path=path).headers["Content-Security-Policy"]


def test_the_sign_in_page_may_only_run_its_own_script() -> None:
    policy = ask(path="/open/runs").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert re.findall(r"<script>(.*?)</script>", HTML, re.DOTALL) == [SCRIPT]


@pytest.mark.parametrize("path", ["/docs", "/docs/oauth2-redirect", "/redoc", "/api/docs", "/api/redoc"])
def test_no_page_has_third_party_scripts(path: str) -> None:
    """Since the origin of the UI stores the password in the browser."""
    assert ask(path=path).status_code == 404


@pytest.mark.parametrize(
    "path",
    ["/opened", "/docsx", "/api/documents", "/openapi.json", "/proof/", f"/proof/{'0' * 31}", f"/proof/{'0' * 32}x"],
)
def test_similar_paths_are_prefects(path: str) -> None:
    assert ask(path=path).text == "Prefect's"


def test_a_challenge_is_signed() -> None:
    assert ask(path=f"/proof/{'0f' * 16}").text == f"proof of {'0f' * 16}"


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/", "/"),
        ("/runs?a=b%20c", "/runs?a=b%20c"),
        ("/open/runs", "/open/runs"),
        ("//else.example/ü", "//else.example/%C3%BC"),
    ],
)
def test_a_browser_at_localhost_is_redirected(path: str, location: str) -> None:
    answer = ask(path=f"http://127.0.0.1:4200{path}", headers={"Host": "localhost:4200"})
    assert (answer.status_code, answer.headers["Location"]) == (307, f"{URL}{location}")


def converse(scope: dict[str, Any], server: Server | None = None) -> list[dict[str, Any]]:
    """Returns what the guard sends for a connection."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Guard(server or Server(), str)(scope, receive, send))
    return sent


@pytest.mark.parametrize(
    ("headers", "may_pass"),
    [
        ({"host": "127.0.0.1:4200"}, True),
        ({"host": "127.0.0.1:4200", "origin": URL}, True),
        ({"host": "localhost:4200"}, True),
        ({"host": "rebound.test:4200"}, False),
        ({"host": "rebound.test:4200", "origin": "http://rebound.test:4200"}, False),
        ({"host": "127.0.0.1:4200", "origin": "http://127.0.0.1:8000"}, False),
        ({"host": "127.0.0.1:4200", "origin": "null"}, False),
    ],
)
def test_websockets_are_checked_likewise(headers: dict[str, str], may_pass: bool) -> None:
    server = Server()
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    sent = converse({"type": "websocket", "path": "/api/events/out", "headers": pairs}, server)
    assert server.got == (["websocket"] if may_pass else [])
    assert sent == ([] if may_pass else [{"type": "websocket.close", "code": 1008}])


def test_the_lifespan_is_passed_on() -> None:
    server = Server()
    converse({"type": "lifespan"}, server)
    assert server.got == ["lifespan"]
