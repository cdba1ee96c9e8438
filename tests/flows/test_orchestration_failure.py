"""A failure of the orchestration is no failure of the work."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest


def refuse(*arguments: Any, **options: Any) -> Any:
    raise httpx.ConnectError("connection refused")


def test_pages_that_cannot_be_shown_do_not_fail_the_run(
    store: Any, train: Any, api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.orchestration.create_markdown_artifact", refuse)
    monkeypatch.setattr("flows.watching.create_progress_artifact", refuse)
    monkeypatch.setattr("flows.watching.PROGRESS_SECONDS", 0.0)
    outcome = train()
    assert (store.runs / "latest").readlink().name == outcome.run
    assert api.flow_run(outcome.flow_run_id).state.name == "Completed"
    assert api.log(outcome.flow_run_id, "Prefect could not be told: connection refused")


def test_a_server_that_stops_answering_is_told_in_one_line(
    trained: Any, command: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.orchestration.train", refuse)
    code, _, error = command("train", "line")
    assert code == 1
    assert error.startswith("error: Prefect's server stopped answering (connection refused). What is finished is kept")
    assert "Traceback" not in error
