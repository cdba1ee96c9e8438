"""Limits on requests of Prefect's clients: a total timeout and a maximum response size.

A client's timeouts apply to single reads, so a server that sends a byte now and then blocks a request forever, and one
that never stops sending fills the memory. Importing this module gives every request a deadline and every response a
maximum size, in every client of the process. Exceeding either counts as no response.
"""

import asyncio
import contextlib
import functools
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextvars import ContextVar
from typing import Any

from httpcore import NetworkBackend, NetworkStream, ReadTimeout
from httpx import HTTPTransport, Response, TimeoutException, TransportError
from prefect.client.base import PrefectHttpxAsyncClient, PrefectHttpxSyncClient
from prefect.settings import PREFECT_API_REQUEST_TIMEOUT

from flows.prefect_internals import replace_backend, set_content, transports, wrap_requests

#: The maximum size of a decompressed response. The largest ones of Prefect's server have a few million bytes.
MAX_BYTES = 64 * 2**20

#: The timeout of a whole request, including redirects, as a multiple of the timeout of a single read. A run that is
#: being stopped waits for its current request and then reports its final state: both together must fit into the 90
#: seconds that systemd allows.
TIMEOUT_FACTOR = 2.0

#: The deadline of the request of this context, by the monotonic clock.
deadline: ContextVar[float] = ContextVar("deadline", default=math.inf)


class ResponseLimitError(TransportError):
    """A response is too large or takes too long. Not one of the errors after which Prefect's client retries."""


def request_timeout() -> float:
    """Returns the timeout of a whole request in seconds."""
    return TIMEOUT_FACTOR * float(PREFECT_API_REQUEST_TIMEOUT.value())


def remaining_seconds() -> float:
    """Returns the seconds until the deadline.

    Raises:
        ReadTimeout: The deadline has passed.
    """
    left = deadline.get() - time.monotonic()
    if left <= 0:
        raise ReadTimeout("the deadline of the whole request has passed")
    return left


@contextlib.contextmanager
def request_deadline() -> Iterator[None]:
    """Sets the deadline of a request, whose reads wait no longer than the remaining seconds.

    Raises:
        ResponseLimitError: The deadline passed.
    """
    token = deadline.set(time.monotonic() + request_timeout())
    try:
        yield
    except TimeoutException as error:
        if time.monotonic() < deadline.get():
            raise
        raise deadline_error() from error
    finally:
        deadline.reset(token)


@contextlib.asynccontextmanager
async def request_deadline_async() -> AsyncIterator[None]:
    """Cancels an asynchronous request at its deadline.

    Raises:
        ResponseLimitError: The deadline passed.
    """
    try:
        async with asyncio.timeout(request_timeout()) as waiting:
            yield
    except TimeoutError as error:
        if not waiting.expired():
            raise
        raise deadline_error() from error


def deadline_error() -> ResponseLimitError:
    """Returns the error for a response that did not arrive in time."""
    return ResponseLimitError(f"its response did not end within {request_timeout():g} s")


class ResponseBuffer:
    """The body of a response while it is being read."""

    def __init__(self, response: Response) -> None:
        self._response, self._parts, self._size = response, list[bytes](), 0
        # Each encoding could blow up a chunk a thousandfold before its size is known.
        if "," in response.headers.get("Content-Encoding", ""):
            raise ResponseLimitError("its response is compressed more than once")

    def add(self, part: bytes) -> None:
        """Appends a chunk.

        Raises:
            ResponseLimitError: The body is too large.
        """
        self._size += len(part)
        if self._size > MAX_BYTES:
            raise ResponseLimitError(f"its response has more than {MAX_BYTES:,} bytes")
        self._parts.append(part)

    def keep(self) -> None:
        """Makes this the content of the response, as reading it would."""
        set_content(self._response, b"".join(self._parts))


def read(response: Response) -> Response:
    """Reads a response.

    Raises:
        ResponseLimitError: It is too large.
    """
    try:
        held = ResponseBuffer(response)
        for part in response.iter_bytes():
            held.add(part)
        held.keep()
    except BaseException:
        response.close()
        raise
    return response


async def read_async(response: Response) -> Response:
    """Reads a response.

    Raises:
        ResponseLimitError: It is too large.
    """
    try:
        held = ResponseBuffer(response)
        async for part in response.aiter_bytes():
            held.add(part)
        held.keep()
    except BaseException:
        await response.aclose()
        raise
    return response


class TimedStream(NetworkStream):
    """A connection whose reads respect the deadline, including those for headers."""

    def __init__(self, stream: NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Reads what is available; waits no longer than until the deadline."""
        return self._stream.read(max_bytes, min(remaining_seconds(), math.inf if timeout is None else timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Writes, as it is."""
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        """Closes the connection."""
        self._stream.close()

    def start_tls(self, *arguments: Any, **options: Any) -> NetworkStream:
        """Returns the same connection, encrypted."""
        return TimedStream(self._stream.start_tls(*arguments, **options))

    def get_extra_info(self, info: str) -> Any:
        """Returns what the underlying connection knows about itself."""
        return self._stream.get_extra_info(info)


class TimedBackend(NetworkBackend):
    """Wraps a network backend so that its connections are timed."""

    def __init__(self, backend: NetworkBackend) -> None:
        self._backend = backend

    def connect_tcp(self, *arguments: Any, **options: Any) -> NetworkStream:
        """Connects to a TCP port."""
        return TimedStream(self._backend.connect_tcp(*arguments, **options))

    def connect_unix_socket(self, *arguments: Any, **options: Any) -> NetworkStream:
        """Connects to a Unix socket."""
        return TimedStream(self._backend.connect_unix_socket(*arguments, **options))

    def sleep(self, seconds: float) -> None:
        """Waits."""
        self._backend.sleep(seconds)


def time_connections(client: object) -> None:
    """Times the connections of a client, whose requests cannot be cancelled as asyncio's can."""
    for transport in transports(client):
        if isinstance(transport, HTTPTransport):
            replace_backend(transport, TimedBackend)


def install_sync() -> None:
    """Patches Prefect's synchronous client."""
    init = PrefectHttpxSyncClient.__init__

    @functools.wraps(init)
    def make(self: PrefectHttpxSyncClient, *arguments: Any, **options: Any) -> None:
        init(self, *arguments, **options)
        time_connections(self)

    def whole(send: Callable[..., Response]) -> Callable[..., Response]:
        @functools.wraps(send)
        def send_in_time(*arguments: Any, **options: Any) -> Response:
            with request_deadline():
                return send(*arguments, **options)

        return send_in_time

    def single(send: Callable[..., Response]) -> Callable[..., Response]:
        @functools.wraps(send)
        def send_and_read(*arguments: Any, **options: Any) -> Response:
            return read(send(*arguments, **options))

        return send_and_read

    PrefectHttpxSyncClient.__init__ = make  # type: ignore[method-assign]
    wrap_requests(PrefectHttpxSyncClient, whole, single)


def install_async() -> None:
    """Patches Prefect's asynchronous client."""

    def whole(send: Callable[..., Awaitable[Response]]) -> Callable[..., Awaitable[Response]]:
        @functools.wraps(send)
        async def send_in_time(*arguments: Any, **options: Any) -> Response:
            async with request_deadline_async():
                return await send(*arguments, **options)

        return send_in_time

    def single(send: Callable[..., Awaitable[Response]]) -> Callable[..., Awaitable[Response]]:
        @functools.wraps(send)
        async def send_and_read(*arguments: Any, **options: Any) -> Response:
            return await read_async(await send(*arguments, **options))

        return send_and_read

    wrap_requests(PrefectHttpxAsyncClient, whole, single)


install_sync()
install_async()
