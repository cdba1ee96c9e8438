"""What the guard of the project's own server refuses, hands on and answers by itself."""

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
    """Stands in for Prefect's; keeps what gets through to it."""

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
    """What the guard makes of a request; of one that it does not hand on, the server must not learn."""
    server = Server()

    async def request() -> httpx.Response:
        transport = httpx.ASGITransport(Guard(server, lambda challenge: f"proof of {challenge}", base))
        async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
            return await client.request(method, path, headers=headers, **options)

    answer = asyncio.run(request())
    assert (answer.text == "Prefect's") == bool(server.got)
    return answer


@pytest.mark.parametrize("host", ["127.0.0.1:4200", "127.0.0.1", "127.0.0.1:15000", "localhost:4200", "LOCALHOST"])
def test_this_machine_may_be_asked_by_its_own_names(host: str) -> None:
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
def test_by_no_other(host: str) -> None:
    for path in ("/api/flows/", "/", "/open", f"/proof/{'0' * 32}"):
        assert ask(path=path, headers={"Host": host}).status_code == 403


def test_nor_by_none_or_by_two() -> None:
    for hosts in ([], [(b"host", b"127.0.0.1:4200"), (b"host", b"rebound.test")]):
        messages = converse({"type": "http", "method": "GET", "path": "/api/flows/", "headers": hosts})
        assert messages[0]["status"] == 403


def test_the_ui_may_ask_from_its_own_address() -> None:
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
        # On ::1, another program may be what the browser takes for it.
        ("localhost:4200", "http://localhost:4200"),
    ],
)
def test_the_pages_of_others_may_not(host: str, origin: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        assert ask(method, headers={"Host": host, "Origin": origin}).status_code == 403


def test_a_proxy_may_ask_under_the_name_of_the_base_url() -> None:
    for host in ("train.test:8443", "Train.Test:8443"):
        assert ask(headers={"Host": host}, base=BASE).status_code == 200
        assert ask("POST", headers={"Host": host, "Origin": "https://train.test:8443"}, base=BASE, json={}).is_success
        assert ask(headers={"Host": host}).status_code == 403, "without a base URL, it is no name of this machine's"
    assert ask(headers={"Origin": URL}, base=BASE).status_code == 200, "nor do the names of this machine's count less"


@pytest.mark.parametrize("host", ["train.test", "train.test:443", "x.train.test:8443", "train.test:84431", "evil.test"])
def test_a_base_url_admits_no_other_name(host: str) -> None:
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
def test_pages_are_told_of_the_api_where_they_were_loaded_from(host: str, api_url: str) -> None:
    async def prefect(scope: Any, receive: Any, send: Any) -> None:
        app = GZipMiddleware(JSONResponse({"api_url": "http://127.0.0.1:4200/api", "auth": "BASIC"}), minimum_size=1)
        await app(scope, receive, send)

    async def request() -> httpx.Response:
        transport = httpx.ASGITransport(Guard(prefect, str, BASE))
        async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
            return await client.get("/ui-settings", headers={"Host": host})

    assert asyncio.run(request()).json() == {"api_url": api_url, "auth": "BASIC"}


def test_settings_that_are_none_are_handed_on_as_they_are() -> None:
    assert ask(path="/ui-settings").text == "Prefect's"


@pytest.mark.parametrize("content_type", [None, "", "text/plain", "application/x-www-form-urlencoded", "text/json"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_what_is_sent_has_to_be_called_json(method: str, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    assert ask(method, headers=headers, content=b"{}").status_code == 415


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8"])
def test_json_is_handed_on(content_type: str) -> None:
    assert ask("POST", headers={"Content-Type": content_type}, content=b"{}").status_code == 200


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_so_is_what_has_no_body(method: str) -> None:
    assert ask(method).status_code == 200
    assert ask(method, headers={"Content-Length": "0"}).status_code == 200


def test_a_body_of_unknown_length_is_one() -> None:
    async def chunks() -> Any:
        yield b"{}"

    assert ask("POST", content=chunks()).status_code == 415


def test_no_answer_may_be_put_into_a_frame() -> None:
    for path in ("/api/flows/", "/", "/open"):
        assert "frame-ancestors 'none'" in ask(path=path).headers["Content-Security-Policy"]


def test_the_page_that_takes_the_password_may_run_its_own_script_only() -> None:
    policy = ask(path="/open/runs").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert re.findall(r"<script>(.*?)</script>", HTML, re.DOTALL) == [SCRIPT]


@pytest.mark.parametrize("path", ["/docs", "/docs/oauth2-redirect", "/redoc", "/api/docs", "/api/redoc"])
def test_no_page_has_a_script_of_others(path: str) -> None:
    """At the origin that keeps the password in the browser."""
    assert ask(path=path).status_code == 404


@pytest.mark.parametrize(
    "path",
    ["/opened", "/docsx", "/api/documents", "/openapi.json", "/proof/", f"/proof/{'0' * 31}", f"/proof/{'0' * 32}x"],
)
def test_what_is_like_its_own_pages_is_prefects(path: str) -> None:
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
def test_a_browser_at_localhost_is_sent_to_the_one_address(path: str, location: str) -> None:
    answer = ask(path=f"http://127.0.0.1:4200{path}", headers={"Host": "localhost:4200"})
    assert (answer.status_code, answer.headers["Location"]) == (307, f"{URL}{location}")


def converse(scope: dict[str, Any], server: Server | None = None) -> list[dict[str, Any]]:
    """What the guard sends for a connection."""
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
def test_a_websocket_is_held_to_the_same(headers: dict[str, str], may_pass: bool) -> None:
    server = Server()
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    sent = converse({"type": "websocket", "path": "/api/events/out", "headers": pairs}, server)
    assert server.got == (["websocket"] if may_pass else [])
    assert sent == ([] if may_pass else [{"type": "websocket.close", "code": 1008}])


def test_the_servers_own_life_is_handed_on() -> None:
    server = Server()
    converse({"type": "lifespan"}, server)
    assert server.got == ["lifespan"]
