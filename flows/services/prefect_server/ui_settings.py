"""The settings that Prefect's pages request first, with the URL of the API that fits the browser.

Prefect always returns the same URL. A browser that loads the pages through a tunnel or a reverse proxy only reaches the
API at the address from which it loaded the pages.
"""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.responses import JSONResponse, Response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

PATH = "/ui-settings"


def with_api_url(app: App, url: str) -> App:
    """Wraps a server to return another URL of the API.

    Args:
        app: The server.
        url: Of the API, as the browser reaches it.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        status, body = 500, bytearray()

        async def keep(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            body.extend(message.get("body", b""))

        plain = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        await app({**scope, "headers": plain}, receive, keep)
        await with_url_in_body(status, bytes(body), url)(scope, receive, send)

    return answer


def with_url_in_body(status: int, body: bytes, url: str) -> Response:
    """Returns the settings with the URL; a response that is not a JSON object stays as it is."""
    try:
        return JSONResponse(json.loads(body) | {"api_url": url}, status)
    except (ValueError, TypeError):
        return Response(body, status)
