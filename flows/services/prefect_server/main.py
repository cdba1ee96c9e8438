"""The process of the project's own server: Prefect's, with other transactions on SQLite, the guard and no V2 UI.

Prefect begins most transactions as readers. If another process writes between a read and a write of such a transaction,
SQLite fails it at once, whatever the timeout: of 60 flow runs requested at once, two are lost to "database is locked".
A transaction that begins as a writer waits for its turn.
"""

import os
import signal
import sys
import threading
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import uvicorn
from prefect.server.api.server import create_app
from prefect.server.database.configurations import AioSqliteConfiguration
from prefect.settings import get_current_settings
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction

from flows.environment.base_url import base_url
from flows.prefect_internals import leave_out_v2_pages
from flows.services.prefect_server.guard import Guard
from flows.services.prefect_server.password import ensure_secret, own_password, server_proof
from flows.services.prefect_server.server_process import TEMPORARY

begin_transaction = AioSqliteConfiguration.begin_transaction


def begin_as_writer(
    configuration: AioSqliteConfiguration,
    session: AsyncSession,
    with_for_update: bool = False,
) -> AbstractAsyncContextManager[AsyncSessionTransaction]:
    """Begins a transaction that may write."""
    return begin_transaction(configuration, session, with_for_update=True)


def end_with_parent() -> None:
    """Ends this process when the one that started it does, which closes the other end of the pipe at stdin."""

    def wait_for_end() -> None:
        while os.read(sys.stdin.fileno(), 1024):  # a buffered read would abort an interpreter that ends first
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait_for_end, name="starter", daemon=True).start()


def main() -> None:
    """Serves until the process is stopped."""
    if TEMPORARY.items() <= os.environ.items():
        end_with_parent()
    # They query a server of Amplitude's as soon as they are opened.
    leave_out_v2_pages()
    AioSqliteConfiguration.begin_transaction = begin_as_writer  # type: ignore[assignment, method-assign]
    home = Path(os.environ["PREFECT_HOME"])
    settings = get_current_settings().server
    prove = partial(server_proof, ensure_secret(home), home, own_password(home), settings.api.port)
    config = uvicorn.Config(
        # Wrapped around the app rather than inside it: the server also sends itself requests, with a made-up Host.
        Guard(create_app(final=True), prove, base_url()),
        host=settings.api.host,
        port=settings.api.port,
        timeout_keep_alive=settings.api.keepalive_timeout,
        ws_ping_interval=settings.api.websocket_ping_interval,
        ws_ping_timeout=settings.api.websocket_ping_timeout,
        log_level=settings.logging_level.lower(),
    )
    sys.stdout.write(f"Prefect's server of {home}: http://{settings.api.host}:{settings.api.port}\n")
    sys.stdout.flush()
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
