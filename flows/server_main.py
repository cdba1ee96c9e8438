"""The process of the project's own server: Prefect's, but for how its transactions on SQLite begin.

Prefect begins most of them as readers. If somebody writes between what such a one reads and what it writes, SQLite
refuses it at once, however long it may wait: of 60 flow runs that are asked for at once, two are lost to
"database is locked". A transaction that begins as a writer waits its turn.
"""

import sys
from contextlib import AbstractAsyncContextManager

from prefect.cli import app
from prefect.server.database.configurations import AioSqliteConfiguration
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction

begin_transaction = AioSqliteConfiguration.begin_transaction


def begin_as_writer(
    configuration: AioSqliteConfiguration,
    session: AsyncSession,
    with_for_update: bool = False,
) -> AbstractAsyncContextManager[AsyncSessionTransaction]:
    """Begins a transaction that may write."""
    return begin_transaction(configuration, session, with_for_update=True)


def main() -> None:
    """Serves until the process is ended."""
    AioSqliteConfiguration.begin_transaction = begin_as_writer  # type: ignore[assignment, method-assign]
    sys.argv[1:] = ["server", "start"]
    app()


if __name__ == "__main__":
    main()
