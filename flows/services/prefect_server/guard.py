"""ASGI middleware in front of Prefect's server that rejects requests a foreign page makes a browser send.

Prefect asks for the password. But a browser sends requests to this machine on behalf of any page it displays: one whose
name was rebound to this machine, one that another user serves on another port, one that frames the UI. None of these
requests reaches Prefect.
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

#: Accepted Host headers besides the base URL's, with any port, since a tunnel may use another one.
HOST = re.compile(rf"({re.escape(LOOPBACK)}|localhost)(?::(\d{{1,5}}))?", re.IGNORECASE)

#: The path at which the server proves its identity by signing a challenge.
PROOF = re.compile(r"/proof/([0-9a-f]{32})")

#: Prefect's API documentation, which loads a third-party script into the origin of the UI.
DOCUMENTATION = re.compile(r"(/api)?/(docs|redoc)(/.*)?")

#: What the UI may load: nothing from other hosts. Prefect's pages of blocks and work pools take logos from two, which
#: would learn the address of the UI. And no page of another origin may embed the UI in a frame (clickjacking).
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: ws: wss:; worker-src 'self' blob:; "
    "frame-ancestors 'none'"
)

#: Headers of every response.
HEADERS = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}

#: Rejects a websocket.
CLOSED = {"type": "websocket.close", "code": 1008}


class Guard:
    """Rejects a request, responds to it, or passes it on to the server.

    Args:
        app: The server.
        prove: Signs a challenge.
        base: The base URL of a reverse proxy; None without one.
    """

    def __init__(self, app: App, prove: Callable[[str], str], base: BaseUrl | None = None) -> None:
        self._app, self._prove, self._base = app, prove, base

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request, a websocket connection, or the lifespan."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        rejection = rejection_of(headers, self._base)
        if scope["type"] == "websocket":
            await (send(dict(CLOSED)) if rejection else self._app(scope, receive, send))
            return
        answer = rejection or self._respond(scope, headers) or self._app
        if answer is self._app and scope["path"] == UI_SETTINGS:
            answer = with_api_url(self._app, f"{origin_of(headers['host'], self._base)}/api")
        await answer(scope, receive, with_headers(send))

    def _respond(self, scope: Scope, headers: Headers) -> Response | None:
        """Returns the sign-in page or the proof; None for requests that Prefect handles."""
        path = scope["path"]
        if at_localhost := redirect_to_loopback(scope, headers):
            return at_localhost
        if path == sign_in.PATH or path.startswith(f"{sign_in.PATH}/"):
            return HTMLResponse(sign_in.HTML, headers={"Content-Security-Policy": sign_in.POLICY})
        if DOCUMENTATION.fullmatch(path):
            return rejection(404, "This server has no such page.")
        if challenge := PROOF.fullmatch(path):
            return PlainTextResponse(self._prove(challenge[1]), headers={"Cache-Control": "no-store"})
        return None


def rejection_of(headers: Headers, base: BaseUrl | None = None) -> Response | None:
    """Returns the rejection of a request that is neither from a local program nor from the UI; None otherwise."""
    hosts = headers.getlist("host")
    if len(hosts) != 1 or not (HOST.fullmatch(hosts[0]) or is_base_host(base, hosts[0])):
        return rejection(403, f"This server only responds to the hosts {LOOPBACK}, localhost and that of {VARIABLE}.")
    # A page from `localhost` is not trusted to be the UI: that name may resolve to ::1, where another program listens.
    own = None if hosts[0].lower().startswith("localhost") else origin_of(hosts[0], base)
    if any(origin != own for origin in headers.getlist("origin")):
        return rejection(403, "This server rejects requests from the pages of other servers.")
    if has_body(headers) and not is_json(headers):
        return rejection(415, "The Content-Type of a request body must be application/json.")
    return None


def is_base_host(base: BaseUrl | None, host: str) -> bool:
    """Whether a Host header is that of the base URL."""
    return base is not None and host.lower() == base.host


def origin_of(host: str, base: BaseUrl | None) -> str:
    """Returns the origin of pages loaded from a host."""
    return str(base) if is_base_host(base, host) else f"http://{host}"


def has_body(headers: Headers) -> bool:
    """Whether a request has a body."""
    return headers.get("content-length", "0").strip("0") != "" or "transfer-encoding" in headers


def is_json(headers: Headers) -> bool:
    """Whether a request declares its body as JSON, which no browser sends for a foreign page without asking first."""
    return headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


def rejection(status: int, why: str) -> Response:
    """Returns a rejection in the format of Prefect's own."""
    return JSONResponse({"exception_message": why}, status)


def redirect_to_loopback(scope: Scope, headers: Headers) -> Response | None:
    """Redirects a browser from `localhost` to the one origin of the UI, for which it has stored the password."""
    host = HOST.fullmatch(headers["host"])
    if host is None or host[1].lower() != "localhost" or scope["path"].startswith("/api"):
        return None
    port = f":{host[2]}" if host[2] else ""
    query = f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else ""
    return RedirectResponse(f"http://{LOOPBACK}{port}{quote(scope['path'])}{query}")


def with_headers(send: Send) -> Send:
    """Wraps `send` to add the headers of every response."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers
