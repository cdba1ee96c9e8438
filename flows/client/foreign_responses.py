"""Responses that do not come from Prefect's server: what its client cannot parse counts as no response.

Another program may have taken the port of a server that died, and a proxy may respond with a page of its own. Prefect's
client trusts every response with a success status and fails on it with a parsing error that no caller handles: not its
own loops, which survive a server that is gone, and not a flow, which loses its result. Importing this module turns
these errors into transport errors, in every client of the process.
"""

import contextlib
import functools
import inspect
import traceback
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from httpx import AsyncClient, Client, HTTPStatusError, RemoteProtocolError, Response
from prefect.client.base import PrefectHttpxAsyncClient, PrefectHttpxSyncClient
from prefect.client.orchestration import PrefectClient, SyncPrefectClient

#: What parsing and validation raise; JSON and pydantic's models raise ValueError.
PARSE_ERRORS = (ValueError, TypeError, LookupError, AttributeError, RecursionError)

#: The keys under which Prefect's server says why it rejects a request.
REASON_KEYS = ("detail", "exception_message")

#: Statuses with which a proxy may ask for credentials, too.
CREDENTIAL_STATUSES = (401, 403, 407)

#: The number of responses received in this context.
responses: ContextVar[int] = ContextVar("responses", default=0)


class ForeignResponseError(RemoteProtocolError):
    """A response that Prefect's server would not send."""


@contextlib.contextmanager
def checked_response() -> Iterator[None]:
    """Context manager around one request.

    Raises:
        ForeignResponseError: The request was rejected, but not in the format of Prefect's server.
    """
    try:
        yield
    except HTTPStatusError as error:
        if is_foreign(error.response):
            why = f"another program answers: HTTP {error.response.status_code}"
            raise ForeignResponseError(why, request=error.request) from error
        raise
    responses.set(responses.get() + 1)


@contextlib.contextmanager
def checked_parsing() -> Iterator[None]:
    """Context manager around a client method, which may send several requests.

    Raises:
        ForeignResponseError: The method could not parse a response.
    """
    before = responses.get()
    try:
        yield
    except PARSE_ERRORS as error:
        if responses.get() == before or is_from_building_request(error):
            raise
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise ForeignResponseError(f"another program answers: {why}") from error


def is_foreign(response: Response) -> bool:
    """Whether a response that is neither a success nor a server error does not come from Prefect's server."""
    if response.status_code >= 500 or response.status_code in CREDENTIAL_STATUSES:
        return False
    try:
        body = response.json()
    except PARSE_ERRORS:
        return True
    return not (isinstance(body, dict) and any(key in body for key in REASON_KEYS))


def is_from_building_request(error: Exception) -> bool:
    """Whether an error was raised while the request was being built."""
    return any(frame.f_code.co_name == "build_request" for frame, _ in traceback.walk_tb(error.__traceback__))


def wrap_method(owner: type[Any], name: str, context: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
    """Wraps a method so that every call runs inside a context manager."""
    method = getattr(owner, name)

    @functools.wraps(method)
    def call(*arguments: Any, **options: Any) -> Any:
        with context():
            return method(*arguments, **options)

    @functools.wraps(method)
    async def call_async(*arguments: Any, **options: Any) -> Any:
        with context():
            return await method(*arguments, **options)

    setattr(owner, name, call_async if inspect.iscoroutinefunction(method) else call)


def public_methods(owner: type[Any]) -> list[str]:
    """Returns the names of a class's public public_methods, including inherited ones."""
    return [name for name, _ in inspect.getmembers(owner, inspect.isfunction) if not name.startswith("_")]


def install() -> None:
    """Patches all of Prefect's clients."""
    transports: tuple[type[Client | AsyncClient], ...] = (PrefectHttpxSyncClient, PrefectHttpxAsyncClient)
    for transport in transports:
        wrap_method(transport, "send", checked_response)
    for client in (SyncPrefectClient, PrefectClient):
        for name in public_methods(client):
            wrap_method(client, name, checked_parsing)


install()
