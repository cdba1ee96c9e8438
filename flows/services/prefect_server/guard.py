"""What stands before Prefect's server in the project's own: it refuses what a foreign page makes a browser send.

Prefect asks for the password. But a browser asks this machine for any page that it shows: one whose name was made to
lead here, one that another user serves on another port, one that frames the UI. None of them gets as far as Prefect.
"""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response

from flows.environment.base_url import VARIABLE, BaseUrl
from flows.environment.settings import LOOPBACK
from flows.services.prefect_server import sign_in
from flows.services.prefect_server.ui_settings import PATH as UI_SETTINGS
from flows.services.prefect_server.ui_settings import with_api_url

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: By which names this machine may be asked, besides the base URL's. Not by which port: through a tunnel, it is another.
HOST = re.compile(rf"({re.escape(LOOPBACK)}|localhost)(?::(\d{{1,5}}))?", re.IGNORECASE)

#: Where the server shows which one it is: it signs what it is given there.
PROOF = re.compile(r"/proof/([0-9a-f]{32})")

#: Pages of Prefect's that describe its API with a script from a server of others, at the UI's own origin.
DOCUMENTATION = re.compile(r"(/api)?/(docs|redoc)(/.*)?")

#: What goes with every answer: no page of another origin may put this one into a frame and have its buttons clicked.
HEADERS = {"Content-Security-Policy": "frame-ancestors 'none'", "X-Content-Type-Options": "nosniff"}

#: Refuses a websocket.
CLOSED = {"type": "websocket.close", "code": 1008}


class Guard:
    """Refuses, answers by itself, or hands on what is asked of a server.

    Args:
        app: the server.
        prove: signs a challenge.
        base: where a reverse proxy has the server besides; None if nowhere.
    """

    def __init__(self, app: App, prove: Callable[[str], str], base: BaseUrl | None = None) -> None:
        self._app, self._prove, self._base = app, prove, base

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Takes one request, one connection of a websocket, or the server's life."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = why_refused(headers, self._base)
        if scope["type"] == "websocket":
            await (send(dict(CLOSED)) if refusal else self._app(scope, receive, send))
            return
        answer = refusal or self._answer(scope, headers) or self._app
        if answer is self._app and scope["path"] == UI_SETTINGS:
            answer = with_api_url(self._app, f"{origin_of(headers['host'], self._base)}/api")
        await answer(scope, receive, with_headers(send))

    def _answer(self, scope: Scope, headers: Headers) -> Response | None:
        """What is answered here: the page that takes the password along, and the proof; None for Prefect's own."""
        path = scope["path"]
        if at_localhost := moved_to_loopback(scope, headers):
            return at_localhost
        if path == sign_in.PATH or path.startswith(f"{sign_in.PATH}/"):
            return HTMLResponse(sign_in.HTML, headers={"Content-Security-Policy": sign_in.POLICY})
        if DOCUMENTATION.fullmatch(path):
            return refusal(404, "This server has no such page.")
        if challenge := PROOF.fullmatch(path):
            return PlainTextResponse(self._prove(challenge[1]), headers={"Cache-Control": "no-store"})
        return None


def why_refused(headers: Headers, base: BaseUrl | None = None) -> Response | None:
    """The refusal of what does not come from a program of this machine or from the UI; None if it may pass."""
    hosts = headers.getlist("host")
    if len(hosts) != 1 or not (HOST.fullmatch(hosts[0]) or is_at(base, hosts[0])):
        return refusal(403, f"This server answers only to the names {LOOPBACK} and localhost, and to {VARIABLE}'s.")
    # Of `localhost`, no page is taken for the UI: where that name leads to ::1 too, another program may serve it.
    own = None if hosts[0].lower().startswith("localhost") else origin_of(hosts[0], base)
    if any(origin != own for origin in headers.getlist("origin")):
        return refusal(403, "This server takes nothing from the pages of other servers.")
    if has_body(headers) and not is_json(headers):
        return refusal(415, "The Content-Type of what is sent must be application/json.")
    return None


def is_at(base: BaseUrl | None, host: str) -> bool:
    """Whether a host that was asked for is the base URL's."""
    return base is not None and host.lower() == base.host


def origin_of(host: str, base: BaseUrl | None) -> str:
    """The origin of the pages that were loaded from a host."""
    return str(base) if is_at(base, host) else f"http://{host}"


def has_body(headers: Headers) -> bool:
    """Whether a request brings anything but its headers."""
    return headers.get("content-length", "0").strip("0") != "" or "transfer-encoding" in headers


def is_json(headers: Headers) -> bool:
    """Whether a request says that what it brings is JSON, which no browser sends for a foreign page unasked."""
    return headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


def refusal(status: int, why: str) -> Response:
    """A refusal in the form of Prefect's own."""
    return JSONResponse({"exception_message": why}, status)


def moved_to_loopback(scope: Scope, headers: Headers) -> Response | None:
    """Sends a browser that has asked for a page of `localhost` to the one address of the UI, which has its password."""
    asked = HOST.fullmatch(headers["host"])
    if asked is None or asked[1].lower() != "localhost" or scope["path"].startswith("/api"):
        return None
    port = f":{asked[2]}" if asked[2] else ""
    query = f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else ""
    return RedirectResponse(f"http://{LOOPBACK}{port}{quote(scope['path'])}{query}")


def with_headers(send: Send) -> Send:
    """Sends what it is given, with the headers that go with every answer."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers
