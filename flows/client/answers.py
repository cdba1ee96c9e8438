"""Answers that are not Prefect's: what its client cannot read counts as no answer.

Another program may have taken the port of a server that died, and a proxy may answer with a page of its own. Prefect's
client believes whatever comes with a status of success, and fails on it with an error of its parser, for which nobody
waits: not its own loops, which outlast a server that is gone, and not a flow, whose result is lost over it. This module
turns these errors into one of the transport, in every client of the process, as soon as it is imported.
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

#: What parsing and validation raise: of JSON and of pydantic's models, ValueError.
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, RecursionError)

#: The keys under which Prefect's server says why it does not do what it was asked for.
REASONS = ("detail", "exception_message")

#: Statuses with which a proxy, too, may ask for credentials.
REFUSALS = (401, 403, 407)

#: How many answers have come in this context.
answers: ContextVar[int] = ContextVar("answers", default=0)


class ForeignAnswerError(RemoteProtocolError):
    """An answer that Prefect's server does not give."""


@contextlib.contextmanager
def receiving() -> Iterator[None]:
    """Surrounds one request.

    Raises:
        ForeignAnswerError: it was turned down, and not in the way of Prefect's server.
    """
    try:
        yield
    except HTTPStatusError as error:
        if is_foreign(error.response):
            why = f"another program answers: HTTP {error.response.status_code}"
            raise ForeignAnswerError(why, request=error.request) from error
        raise
    answers.set(answers.get() + 1)


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Surrounds a method of a client, which may make several requests.

    Raises:
        ForeignAnswerError: an answer came that the method cannot read.
    """
    before = answers.get()
    try:
        yield
    except UNREADABLE as error:
        if answers.get() == before or is_of_a_request(error):
            raise
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise ForeignAnswerError(f"another program answers: {why}") from error


def is_foreign(response: Response) -> bool:
    """Whether an answer that is no success, and no fault of the server, is not from Prefect's."""
    if response.status_code >= 500 or response.status_code in REFUSALS:
        return False
    try:
        body = response.json()
    except UNREADABLE:
        return True
    return not (isinstance(body, dict) and any(key in body for key in REASONS))


def is_of_a_request(error: Exception) -> bool:
    """Whether an error arose from what was to be sent."""
    return any(frame.f_code.co_name == "build_request" for frame, _ in traceback.walk_tb(error.__traceback__))


def surround(owner: type[Any], name: str, surroundings: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
    """Has every call of a method take place in surroundings."""
    method = getattr(owner, name)

    @functools.wraps(method)
    def call(*arguments: Any, **options: Any) -> Any:
        with surroundings():
            return method(*arguments, **options)

    @functools.wraps(method)
    async def call_async(*arguments: Any, **options: Any) -> Any:
        with surroundings():
            return await method(*arguments, **options)

    setattr(owner, name, call_async if inspect.iscoroutinefunction(method) else call)


def methods(owner: type[Any]) -> list[str]:
    """The names of a class's public methods, inherited ones included."""
    return [name for name, _ in inspect.getmembers(owner, inspect.isfunction) if not name.startswith("_")]


def install() -> None:
    """Has all clients of Prefect's read their answers so."""
    transports: tuple[type[Client | AsyncClient], ...] = (PrefectHttpxSyncClient, PrefectHttpxAsyncClient)
    for transport in transports:
        surround(transport, "send", receiving)
    for client in (SyncPrefectClient, PrefectClient):
        for name in methods(client):
            surround(client, name, reading)


install()
