"""What Prefect's pages ask first: the settings of the UI, with the address of the API.

Prefect names one address, whoever asks. A browser that has the pages by a tunnel or by a reverse proxy reaches the API
only at the address that it has the pages from.
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
    """Answers as a server does, but with another address of the API.

    Args:
        app: the server.
        url: of the API, as the browser reaches it.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        status, body = 500, bytearray()

        async def keep(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            body.extend(message.get("body", b""))

        plain = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        await app({**scope, "headers": plain}, receive, keep)
        await changed(status, bytes(body), url)(scope, receive, send)

    return answer


def changed(status: int, body: bytes, url: str) -> Response:
    """The answer with the settings; one that is no JSON object, such as a refusal's text, as it is."""
    try:
        return JSONResponse(json.loads(body) | {"api_url": url}, status)
    except (ValueError, TypeError):
        return Response(body, status)
