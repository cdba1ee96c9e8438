"""The project's server: its transactions on SQLite wait for each other, and it has no V2 UI."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

pytestmark = pytest.mark.usefixtures("prefect")

Begin = Callable[..., AbstractAsyncContextManager[object]]

INCREASE = sa.text("UPDATE counter SET value = value + 1")
READ = sa.text("SELECT value FROM counter")


async def count_to_two(database: Path, begin: Begin) -> int:
    """Makes two concurrent transactions each read a number and write the next one; returns the result."""
    from prefect.server.database.configurations import AioSqliteConfiguration

    configuration = AioSqliteConfiguration(f"sqlite+aiosqlite:///{database}")
    engine = await configuration.engine()
    async with engine.begin() as connection:
        await connection.execute(sa.text("CREATE TABLE counter AS SELECT 0 AS value"))

    async def count() -> None:
        session = await configuration.session(engine)
        async with session, begin(configuration, session):
            await session.execute(READ)
            await asyncio.sleep(0.1)
            await session.execute(INCREASE)

    try:
        for outcome in await asyncio.gather(count(), count(), return_exceptions=True):
            if outcome is not None:
                raise outcome
        async with engine.connect() as connection:
            return int((await connection.execute(READ)).scalar_one())
    finally:
        await engine.dispose()


def test_transactions_wait_for_each_other(tmp_path: Path) -> None:
    from flows.services.prefect_server.main import begin_as_writer

    assert asyncio.run(count_to_two(tmp_path / "server.db", begin_as_writer)) == 2


def test_with_prefects_own_transactions_one_fails(tmp_path: Path) -> None:
    from flows.services.prefect_server.main import begin_transaction

    with pytest.raises(sa.exc.OperationalError, match="database is locked"):
        asyncio.run(count_to_two(tmp_path / "server.db", begin_transaction))


def test_the_v2_ui_is_neither_linked_nor_served(api_url: str) -> None:
    ui = api_url.removesuffix("/api")
    settings = httpx.get(f"{ui}/ui-settings").json()
    assert (settings["available_uis"], settings["default_ui"], settings["v2_base_url"]) == (["v1"], "v1", None)
    with httpx.Client(base_url=ui, headers={"Accept": "text/html"}, cookies={"prefect_ui_version": "v2"}) as browser:
        assert browser.get("/v2/runs").headers["Location"] == "/runs", "a bookmark leads to the same page"
        assert browser.get("/").status_code == 200, "nor does a browser get them that had chosen them"
