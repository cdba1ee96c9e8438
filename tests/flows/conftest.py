"""Flows against one real Prefect server for the whole session: its start takes seconds, a flow some tenths."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from flows import server
from flows.settings import configure_prefect
from tasks.caching.store import Store, project_store


@pytest.fixture(scope="session")
def prefect_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stands for the project as the server knows it: its home, with its database, lies inside."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture(scope="session")
def api_url(prefect_root: Path) -> Iterator[str]:
    """The address of the session's server."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PREFECT_")]:
            patch.delenv(name)
        patch.setenv("WORKFLOW_SERVER_PORT", "4750")
        yield server.start(prefect_root).api.url
        server.stop(prefect_root)


@pytest.fixture(scope="session")
def prefect(prefect_root: Path, api_url: str) -> Iterator[None]:
    """Prefect as a flow that is called directly finds it, reporting to the session's server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_API_URL", api_url)
        patch.setenv("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
        configure_prefect(prefect_root)
        from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

        session: AbstractContextManager[object] = temporary_settings(
            {PREFECT_API_URL: api_url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
        )
        with session:
            yield


@pytest.fixture
def store(prefect: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty store of its own, which the flows take for the project's."""
    monkeypatch.setenv("WORKFLOW_HOME", str(tmp_path / "home"))
    project_store.cache_clear()
    yield project_store()
    project_store.cache_clear()
