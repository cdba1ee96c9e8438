"""A response without an end fills no memory and blocks no request forever."""

import asyncio
import contextlib
import gzip
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator

import httpx
import pytest

#: Timeouts of a single read and of a whole request here, in seconds, and the maximum size of a response.
READ, REQUEST, MOST = 0.5, 1.0, 2**20

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
BLANKS = b" " * (MOST + 2**16)


def forever(caller: socket.socket, first: bytes, then: bytes, pause: float = 0.0) -> None:
    caller.sendall(first)
    while True:
        caller.sendall(then)
        time.sleep(pause)


def packed(caller: socket.socket, body: bytes, coding: str) -> None:
    caller.sendall(HEAD + f"Content-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)


def redirected(caller: socket.socket) -> None:
    """Each redirect arrives in time, but there is always another one."""
    time.sleep(READ / 2)
    caller.sendall(b"HTTP/1.1 302 Found\r\nLocation: /api/again\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")


#: Responses of another program, and a part of the resulting error message.
ENDLESS: dict[str, tuple[Callable[[socket.socket], None], str]] = {
    "bytes": (lambda caller: forever(caller, CHUNKED, b"10000\r\n" + b" " * 65536 + b"\r\n"), "bytes"),
    "drops": (lambda caller: forever(caller, CHUNKED, b"1\r\n \r\n", 0.1), "did not end"),
    "headers": (lambda caller: forever(caller, HEAD, b"X: y\r\n", 0.1), "did not end"),
    "a status": (lambda caller: forever(caller, b"HTTP/1.1 200 ", b"O", 0.1), "did not end"),
    "patience": (lambda caller: forever(caller, b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.1), "did not end"),
    "ways": (redirected, "did not end"),
    "packed": (lambda caller: packed(caller, gzip.compress(BLANKS), "gzip"), "bytes"),
    "packed twice": (
        lambda caller: packed(caller, gzip.compress(zlib.compress(BLANKS)), "deflate, gzip"),
        "compressed",
    ),
    "too much": (
        lambda caller: caller.sendall(HEAD + f"Content-Length: {len(BLANKS)}\r\n\r\n".encode() + BLANKS),
        "bytes",
    ),
}


@pytest.fixture
def stranger(prefect: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[..., None]], str]]:
    """Runs another program as the server; returns a function that starts it and returns its URL."""
    from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    monkeypatch.setattr("flows.client.request_limits.MAX_BYTES", MOST)
    monkeypatch.setattr("flows.client.request_limits.TIMEOUT_FACTOR", REQUEST / READ)
    # If such requests were retried, each test would take that many times as long, plus seconds of backoff.
    settings = {PREFECT_API_REQUEST_TIMEOUT: READ, PREFECT_CLIENT_MAX_RETRIES: 2}
    with socket.create_server(("127.0.0.1", 0)) as listener, temporary_settings(settings):

        def begin(answer: Callable[..., None]) -> str:
            threading.Thread(target=accept, args=(listener, answer), daemon=True).start()
            return f"http://127.0.0.1:{listener.getsockname()[1]}/api"

        yield begin
        listener.shutdown(socket.SHUT_RDWR)


def accept(listener: socket.socket, answer: Callable[..., None]) -> None:
    with contextlib.suppress(OSError):
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0], answer), daemon=True).start()


def serve(caller: socket.socket, answer: Callable[..., None]) -> None:
    with contextlib.suppress(OSError), caller:
        caller.recv(65536)
        answer(caller)


def ask(url: str) -> httpx.Response:
    from prefect.client.orchestration import SyncPrefectClient

    with SyncPrefectClient(url) as client:
        return client._client.get("/health")


def ask_async(url: str) -> httpx.Response:
    from prefect.client.orchestration import PrefectClient

    async def get() -> httpx.Response:
        async with PrefectClient(url) as client:
            return await client._client.get("/health")

    return asyncio.run(get())


@pytest.mark.parametrize("request_", [ask, ask_async])
@pytest.mark.parametrize(("answer", "why"), ENDLESS.values(), ids=ENDLESS)
def test_it_counts_as_no_response(
    stranger: Callable[..., str], request_: Callable[[str], httpx.Response], answer: Callable[..., None], why: str
) -> None:
    from flows.runtime.connection import is_silence

    url, started = stranger(answer), time.monotonic()
    with pytest.raises(httpx.TransportError, match=why) as raised:
        request_(url)
    assert is_silence(raised.value)
    assert time.monotonic() < started + REQUEST + 1.0


@pytest.mark.parametrize("request_", [ask, ask_async])
def test_a_response_within_the_limits_is_read(
    stranger: Callable[..., str], request_: Callable[[str], httpx.Response]
) -> None:
    def answer(caller: socket.socket) -> None:
        time.sleep(READ / 2)
        packed(caller, gzip.compress(b'{"blanks": ' + BLANKS[: MOST // 2] + b"3}"), "gzip")

    assert request_(stranger(answer)).json() == {"blanks": 3}


@pytest.mark.parametrize("request_", [ask, ask_async])
def test_a_read_timeout_is_still_retried(
    stranger: Callable[..., str], request_: Callable[[str], httpx.Response]
) -> None:
    asked: list[socket.socket] = []

    def answer(caller: socket.socket) -> None:
        asked.append(caller)
        if len(asked) == 1:
            time.sleep(READ * 2)
        caller.sendall(HEAD + b"Content-Length: 4\r\n\r\ntrue")

    assert request_(stranger(answer)).json() is True
    assert len(asked) == 2


def test_encrypted_connections_are_timed_too(prefect: None) -> None:
    from httpcore import MockStream

    from flows.client.request_limits import TimedStream, deadline

    class Plain(MockStream):
        def start_tls(self, *arguments: object, **options: object) -> "Plain":
            return Plain([b"answer"])

    token = deadline.set(time.monotonic() - 1)
    try:
        with pytest.raises(Exception, match="deadline"):
            TimedStream(Plain([b"answer"])).start_tls(None, None).read(1)
    finally:
        deadline.reset(token)
