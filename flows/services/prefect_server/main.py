"""The process of the project's own server: Prefect's, but for its transactions on SQLite, its guard and its V2 pages.

Prefect begins most transactions as readers. If another process writes between what such a one reads and what it
writes, SQLite refuses it at once, however long it may wait: of 60 flow runs that are asked for at once, two are lost to
"database is locked". A transaction that begins as a writer waits its turn.
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
from flows.services.prefect_server.password import make_secret, own_password, server_proof
from flows.services.prefect_server.server_process import TEMPORARY

begin_transaction = AioSqliteConfiguration.begin_transaction


def begin_as_writer(
    configuration: AioSqliteConfiguration,
    session: AsyncSession,
    with_for_update: bool = False,
) -> AbstractAsyncContextManager[AsyncSessionTransaction]:
    """Begins a transaction that may write."""
    return begin_transaction(configuration, session, with_for_update=True)


def end_with_starter() -> None:
    """Ends this process when the one that started it does, which closes the other end of the pipe at its input."""

    def wait_for_end() -> None:
        sys.stdin.buffer.read()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait_for_end, name="starter", daemon=True).start()


def main() -> None:
    """Serves until the process is ended."""
    if TEMPORARY.items() <= os.environ.items():
        end_with_starter()
    # They query a server of Amplitude's as soon as they are opened.
    leave_out_v2_pages()
    AioSqliteConfiguration.begin_transaction = begin_as_writer  # type: ignore[assignment, method-assign]
    home = Path(os.environ["PREFECT_HOME"])
    settings = get_current_settings().server
    config = uvicorn.Config(
        # Around it and not inside: the server asks itself too, under a name that leads nowhere.
        Guard(create_app(final=True), partial(server_proof, make_secret(home), home, own_password(home)), base_url()),
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
