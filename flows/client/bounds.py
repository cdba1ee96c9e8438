"""How much Prefect's clients take for an answer, and for how long: another program may answer without an end.

The timeouts of a client are those of single reads, so a byte now and then holds a request up for ever, and what never
stops coming fills the memory. Here a request has a deadline, and an answer a size, in every client of the process as
soon as this module is imported. What exceeds them counts as silence.
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

#: Bytes of an answer, unpacked. The largest ones of Prefect's server have a few million.
MOST_BYTES = 64 * 2**20

#: Seconds for a whole request, redirections included, for every second that a single read may take. A run that is ended
#: waits for what it is just telling, and tells how it ended: together that must be less than systemd's 90 seconds.
PATIENCE = 2.0

#: When the request of this context must have its answer, by the monotonic clock.
deadline: ContextVar[float] = ContextVar("deadline", default=math.inf)


class EndlessAnswerError(TransportError):
    """An answer is too large or takes too long. It is none of the errors after which Prefect's client asks again."""


def patience() -> float:
    """Seconds for a whole request."""
    return PATIENCE * float(PREFECT_API_REQUEST_TIMEOUT.value())


def seconds_left() -> float:
    """Seconds until the deadline.

    Raises:
        ReadTimeout: there are none.
    """
    left = deadline.get() - time.monotonic()
    if left <= 0:
        raise ReadTimeout("the time for the whole request is over")
    return left


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    """Surrounds a request whose reads ask for the seconds that are left.

    Raises:
        EndlessAnswerError: the deadline passed.
    """
    token = deadline.set(time.monotonic() + patience())
    try:
        yield
    except TimeoutException as error:
        if time.monotonic() < deadline.get():
            raise
        raise too_long() from error
    finally:
        deadline.reset(token)


@contextlib.asynccontextmanager
async def in_time_async() -> AsyncIterator[None]:
    """Surrounds a request that can be cancelled.

    Raises:
        EndlessAnswerError: the deadline passed.
    """
    try:
        async with asyncio.timeout(patience()) as waiting:
            yield
    except TimeoutError as error:
        if not waiting.expired():
            raise
        raise too_long() from error


def too_long() -> EndlessAnswerError:
    """The error for an answer that was not there in time."""
    return EndlessAnswerError(f"its answer did not end within {patience():g} s")


class Held:
    """The content of an answer that is being read."""

    def __init__(self, response: Response) -> None:
        self._response, self._parts, self._size = response, list[bytes](), 0
        # Each would multiply what one part of the answer becomes by up to a thousand before its size is known.
        if "," in response.headers.get("Content-Encoding", ""):
            raise EndlessAnswerError("its answer is packed more than once")

    def add(self, part: bytes) -> None:
        """Adds a part.

        Raises:
            EndlessAnswerError: it is too much.
        """
        self._size += len(part)
        if self._size > MOST_BYTES:
            raise EndlessAnswerError(f"its answer has more than {MOST_BYTES:,} bytes")
        self._parts.append(part)

    def keep(self) -> None:
        """Makes it the answer's, as reading it would."""
        set_content(self._response, b"".join(self._parts))


def read(response: Response) -> Response:
    """Reads an answer.

    Raises:
        EndlessAnswerError: it is too large.
    """
    try:
        held = Held(response)
        for part in response.iter_bytes():
            held.add(part)
        held.keep()
    except BaseException:
        response.close()
        raise
    return response


async def read_async(response: Response) -> Response:
    """Reads an answer.

    Raises:
        EndlessAnswerError: it is too large.
    """
    try:
        held = Held(response)
        async for part in response.aiter_bytes():
            held.add(part)
        held.keep()
    except BaseException:
        await response.aclose()
        raise
    return response


class TimedStream(NetworkStream):
    """A connection on which no read outlasts the deadline, not one for headers either."""

    def __init__(self, stream: NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Reads what is there; waits for it no longer than until the deadline."""
        return self._stream.read(max_bytes, min(seconds_left(), math.inf if timeout is None else timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Writes, as it is."""
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        """Closes it."""
        self._stream.close()

    def start_tls(self, *arguments: Any, **options: Any) -> NetworkStream:
        """The same connection, encrypted."""
        return TimedStream(self._stream.start_tls(*arguments, **options))

    def get_extra_info(self, info: str) -> Any:
        """What the connection tells of itself."""
        return self._stream.get_extra_info(info)


class TimedBackend(NetworkBackend):
    """Connects as another one does, to timed connections."""

    def __init__(self, backend: NetworkBackend) -> None:
        self._backend = backend

    def connect_tcp(self, *arguments: Any, **options: Any) -> NetworkStream:
        """A connection to a port."""
        return TimedStream(self._backend.connect_tcp(*arguments, **options))

    def connect_unix_socket(self, *arguments: Any, **options: Any) -> NetworkStream:
        """A connection to a socket of this machine."""
        return TimedStream(self._backend.connect_unix_socket(*arguments, **options))

    def sleep(self, seconds: float) -> None:
        """Waits."""
        self._backend.sleep(seconds)


def time_connections(client: object) -> None:
    """Has the connections of a client be timed. Its requests cannot be cancelled, as those of asyncio can."""
    for transport in transports(client):
        if isinstance(transport, HTTPTransport):
            replace_backend(transport, TimedBackend)


def install_sync() -> None:
    """Has every client that waits for its answers do it so."""
    init = PrefectHttpxSyncClient.__init__

    @functools.wraps(init)
    def make(self: PrefectHttpxSyncClient, *arguments: Any, **options: Any) -> None:
        init(self, *arguments, **options)
        time_connections(self)

    def whole(send: Callable[..., Response]) -> Callable[..., Response]:
        @functools.wraps(send)
        def send_in_time(*arguments: Any, **options: Any) -> Response:
            with in_time():
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
    """Has every client of asyncio do it so."""

    def whole(send: Callable[..., Awaitable[Response]]) -> Callable[..., Awaitable[Response]]:
        @functools.wraps(send)
        async def send_in_time(*arguments: Any, **options: Any) -> Response:
            async with in_time_async():
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
