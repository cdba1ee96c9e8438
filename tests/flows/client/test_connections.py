"""An idle connection is not reused once the server may be about to close it."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.environment.settings import server_environment

#: Seconds after which the client drops an idle connection here, and after which the server closes it.
KEPT, CLOSED = 0.1, 0.3

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\ntrue"


@pytest.fixture
def closing() -> Iterator[str]:
    """Runs a server that closes a connection just when a request arrives after a pause; yields its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/api"
        listener.shutdown(socket.SHUT_RDWR)


def accept(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()


def answer(caller: socket.socket) -> None:
    with contextlib.suppress(OSError), caller:
        answered = time.monotonic()
        while caller.recv(65536) and time.monotonic() < answered + CLOSED:
            caller.sendall(ANSWER)
            answered = time.monotonic()


def test_a_request_after_a_pause_arrives(prefect: None, closing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.client.orchestration import SyncPrefectClient

    import flows.client.connections
    from flows.runtime.connection import once_only

    monkeypatch.setattr(flows.client.connections, "KEEPALIVE_SECONDS", KEPT)
    with once_only(), SyncPrefectClient(closing) as client:
        for pause in (0.0, CLOSED + 0.1, 0.0):
            time.sleep(pause)
            assert client._client.get("/health").json() is True


def test_clients_drop_connections_before_servers_do(prefect: None) -> None:
    from prefect.settings.models.server.api import ServerAPISettings

    from flows.client.connections import KEEPALIVE_SECONDS

    assert ServerAPISettings.model_fields["keepalive_timeout"].default - KEEPALIVE_SECONDS >= 2


def test_the_own_server_keeps_connections_longer_than_any_client(tmp_path: Path) -> None:
    assert int(server_environment(tmp_path, 4200)["PREFECT_SERVER_API_KEEPALIVE_TIMEOUT"]) > 25
