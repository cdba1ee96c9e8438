"""A failure of the orchestration is no failure of the work: whatever becomes of Prefect's server, nothing is lost.

The server is reached through a wire that is cut, goes dead or has somebody else answer in the midst of a run. The run
ends as it would have, in bounded time, and at the latest at the next start Prefect knows how.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tasks.caching.gc.inspection import inspect_store
from tasks.caching.storage.store import Store
from tests.flows.conftest import STAGES, artifacts
from tests.support.prefect_api import Api
from tests.support.tcp_proxy import TcpProxy

Command = Callable[..., tuple[int, str, str]]

#: Seconds that an answer is waited for in these tests, and how often a request is repeated.
ANSWER_SECONDS, RETRIES = 3.0, 1

#: What Prefect's server answers if a state is not to be, and what another program may answer to anything.
ABORT = '{"status": "ABORT", "details": {"type": "abort_details", "reason": "no"}, "state": null}'

#: What becomes of the server, and what is printed of it.
TROUBLE: dict[str, tuple[Callable[[TcpProxy], None], str]] = {
    "killed": (TcpProxy.cut, "Connection refused"),
    "hung": (TcpProxy.go_dead, "timed out"),
    "answers 500": (lambda wire: wire.answer(500), "HTTP 500"),
    "answers 503": (lambda wire: wire.answer(503), "HTTP 503"),
    "another: HTML": (lambda wire: wire.answer(200, "<html>It works!</html>", "text/html"), "another program answers"),
    "another: JSON": (lambda wire: wire.answer(200, '{"status": "ok"}'), "another program answers"),
    "another: not HTTP": (lambda wire: wire.say(b"SSH-2.0-OpenSSH_9.2p1\r\n"), "disconnected without sending"),
}


@pytest.fixture
def wire(api: Api, api_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[TcpProxy]:
    """The line that this process reaches the session's server through; `api` has another."""
    from prefect.settings import (
        PREFECT_API_REQUEST_TIMEOUT,
        PREFECT_API_URL,
        PREFECT_CLIENT_MAX_RETRIES,
        temporary_settings,
    )

    from flows.runtime.connection import drain

    wire = TcpProxy(httpx.URL(api_url).port or 0)
    monkeypatch.setenv("PREFECT_API_URL", wire.url)
    settings = {
        PREFECT_API_URL: wire.url,
        PREFECT_API_REQUEST_TIMEOUT: ANSWER_SECONDS,
        PREFECT_CLIENT_MAX_RETRIES: RETRIES,
    }
    drain(10.0)  # or else what sends events would go on with the line that it has
    with temporary_settings(settings):
        yield wire
        wire.cut()
        drain(0.0)


#: What is tried in every run of the suite; the rest, which differs in the words, in the long tests.
USUAL = ("killed", "hung", "another: JSON")


@pytest.fixture(
    params=[
        pytest.param(trouble, id=name, marks=() if name in USUAL else pytest.mark.long)
        for name, trouble in TROUBLE.items()
    ]
)
def trouble(request: pytest.FixtureRequest, wire: TcpProxy) -> tuple[Callable[[], None], str]:
    """Lets something become of the server, and what is printed of it."""
    befall, reported = request.param
    return lambda: befall(wire), reported


def require_as_ever(store: Store, like: Path) -> None:
    """A run is there and the latest, the same as one that had no trouble, and nothing is damaged."""
    assert artifacts(store.root) == artifacts(like)
    assert (store.runs / "latest" / "run.json").is_file()
    assert inspect_store(store).findings == []


def open_claims(store: Store) -> list[str]:
    """The flow runs of which Prefect does not know yet how they ended."""
    return [path.stem for path in (store.root / ".prefect/alive").glob("*.lock")]


def test_a_run_whose_server_fails_on_the_way_completes(
    store: Store, wire: TcpProxy, trouble: Any, at_stage: Any, command: Command, api: Api, first_home: Path
) -> None:
    befall, reported = trouble

    def befall_later() -> None:
        api.ended_stages(
            api.newest("line on cpu").id, count=STAGES.index("train")
        )  # an event that is lost is not sent again
        befall()

    at_stage("train.train", befall_later)
    code, out, error = command("train", "line")
    assert (code, error.count("\n")) == (0, 1), error
    assert error.startswith("Prefect's server does not answer (")
    assert reported in error
    assert "checkpoint" in out
    require_as_ever(store, first_home)
    (flow_run,) = open_claims(store)
    assert api.flow_run(flow_run).state.name == "Running"
    api.settled_tasks(flow_run)  # what was sent before the failure may be recorded after it
    wire.mend()
    code, out, error = command("train", "line")
    assert (code, out.count("Cached")) == (0, len(STAGES))
    assert error == f"An earlier run ended without reporting it; Prefect shows it as Completed now ({flow_run}).\n"
    assert api.flow_run(flow_run).state.name == "Completed"
    assert all(state in ("Completed", "Cached") for _, state in api.stages(flow_run, 0))
    assert open_claims(store) == []


def test_a_run_whose_server_fails_as_it_ends_completes(
    trained: Store, wire: TcpProxy, trouble: Any, monkeypatch: pytest.MonkeyPatch, command: Command, api: Api
) -> None:
    from prefect.flow_engine import FlowRunEngine

    befall, reported = trouble
    handle_success = FlowRunEngine.handle_success

    def end(engine: Any, result: Any) -> Any:
        befall()
        return handle_success(engine, result)

    monkeypatch.setattr(FlowRunEngine, "handle_success", end)
    code, _, error = command("train", "line")
    assert (code, error.count("\n")) == (0, 1), error
    assert reported in error
    (flow_run,) = open_claims(trained)
    monkeypatch.undo()
    wire.mend()
    monkeypatch.setenv("PREFECT_API_URL", wire.url)
    assert command("verify")[0] == 0
    assert api.flow_run(flow_run).state.name == "Completed"


def test_a_server_that_refuses_the_end_of_a_run_costs_it_nothing(
    store: Store, wire: TcpProxy, at_stage: Any, command: Command, api: Api, first_home: Path
) -> None:
    at_stage("train.train", lambda: wire.answer(200, ABORT))
    code, _, error = command("train", "line")
    assert (code, error.count("\n")) == (0, 1), error
    require_as_ever(store, first_home)
    (flow_run,) = open_claims(store)
    wire.mend()
    assert command("train", "line")[0] == 0
    assert api.flow_run(flow_run).state.name == "Completed"


def test_without_a_server_nothing_begins(
    store: Store, wire: TcpProxy, trouble: Any, monkeypatch: pytest.MonkeyPatch, command: Command, first_home: Path
) -> None:
    befall, reported = trouble
    monkeypatch.setattr("flows.runtime.session.mark_zombie_runs", lambda root, notify: befall())
    code, out, error = command("train", "line")
    assert code == 1
    assert error.count("\n") == 1, error
    assert error.startswith("error: Prefect's server stopped answering (")
    assert reported in error
    assert out == "train line\n"
    monkeypatch.undo()
    monkeypatch.setenv("PREFECT_API_URL", wire.url)
    monkeypatch.setenv("WORKFLOW_HOME", str(store.root))
    wire.mend()
    assert command("train", "line")[0] == 0
    require_as_ever(store, first_home)
