"""A response that does not come from Prefect counts as no response; errors in a request are not affected."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
import pytest

from flows.runtime.zombie_runs import acquire_run_lease, leases_folder, mark_zombie_runs
from tests.support.prefect_api import Api
from tests.support.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

pytestmark = pytest.mark.usefixtures("prefect")

#: Responses of another program.
REPLIES: dict[str, Callable[[TcpProxy], None]] = {
    "HTML": lambda wire: wire.answer(200, "<html>It works!</html>", "text/html"),
    "JSON": lambda wire: wire.answer(200, '{"status": "ok"}'),
    "a list": lambda wire: wire.answer(200, "[1]"),
    "null": lambda wire: wire.answer(200, "null"),
    "a text": lambda wire: wire.answer(201, '"0d8"'),
    "a number": lambda wire: wire.answer(200, "3"),
    "cut off": lambda wire: wire.answer(200, '{"id": "'),
    "nested": lambda wire: wire.answer(200, "[" * 100_000),
    "no text": lambda wire: wire.say(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n\xff\xfe\x00"),
    "nothing": lambda wire: wire.answer(200),
    "no content": lambda wire: wire.say(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"),
    "another way": lambda wire: wire.answer(302, Location="/login"),
    "no way": lambda wire: wire.answer(304),
    "no page": lambda wire: wire.answer(404, "not found", "text/plain"),
    "no page, in JSON": lambda wire: wire.answer(404, '{"error": "not found"}'),
    "another program": lambda wire: wire.say(b"SSH-2.0-OpenSSH_9.2p1\r\n"),
    "garbage": lambda wire: wire.say(bytes(range(255, -1, -1))),
    "too little": lambda wire: wire.say(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}"),
}


@pytest.fixture
def wire(api_url: str) -> Iterator[TcpProxy]:
    """Proxies the session's server, and points Prefect at the proxy during the test."""
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    wire = TcpProxy(httpx.URL(api_url).port or 0)
    with temporary_settings({PREFECT_API_URL: wire.url, PREFECT_CLIENT_MAX_RETRIES: 0}):
        yield wire
    wire.cut()


def requests(run: UUID) -> "dict[str, Callable[[SyncPrefectClient], object]]":
    """The requests of a run whose responses are read."""
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.states import Completed

    from flows import orchestration

    chosen = FlowRunFilter.model_validate({"id": {"any_": [run]}})
    return {
        "look": lambda client: client.raise_for_api_version_mismatch(),
        "create": lambda client: client.create_flow_run(orchestration.verify),
        "read": lambda client: client.read_flow_run(run),
        "read tasks": lambda client: client.read_task_runs(flow_run_filter=chosen),
        "read runs": lambda client: client.read_flow_runs(flow_run_filter=chosen),
        "set state": lambda client: client.set_flow_run_state(run, Completed()),
        "read deployment": lambda client: client.read_deployment_by_name("train/line"),
    }


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
def test_it_counts_as_no_response(wire: TcpProxy, reply: Callable[[TcpProxy], None]) -> None:
    from prefect.client.orchestration import get_client

    from flows.runtime.connection import is_silence, silence_behind

    reply(wire)
    with get_client(sync_client=True) as client:
        for name, request in requests(uuid4()).items():
            with pytest.raises((httpx.HTTPError, RuntimeError)) as raised:
                request(client)
            silence = silence_behind(raised.value)
            assert silence is not None, name
            assert is_silence(silence), name


@pytest.mark.parametrize("reply", [REPLIES["HTML"], REPLIES["JSON"], REPLIES["no page"]])
def test_prefects_own_loops_get_a_transport_error(wire: TcpProxy, reply: Callable[[TcpProxy], None]) -> None:
    from prefect.client.orchestration import get_client

    reply(wire)

    async def read() -> None:
        async with get_client() as client:
            await client.read_flow_run(uuid4())

    with pytest.raises(httpx.TransportError, match="another program answers"):
        asyncio.run(read())


def test_prefects_own_errors_are_unchanged(wire: TcpProxy) -> None:
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

    with get_client(sync_client=True) as client:
        with pytest.raises(ObjectNotFound):
            client.read_flow_run(uuid4())
        with pytest.raises(PrefectHTTPStatusError, match="422"):
            client.request("POST", "/flow_runs/filter", json={"limit": -1})


@pytest.mark.parametrize("status", [401, 403])
def test_a_proxy_that_asks_for_credentials_is_a_rejection(wire: TcpProxy, status: int) -> None:
    from prefect.client.orchestration import get_client

    from flows.runtime.connection import is_refusal

    wire.answer(status, "<html>Please log in</html>", "text/html")
    with get_client(sync_client=True) as client, pytest.raises(httpx.HTTPStatusError) as raised:
        client.read_flow_run(uuid4())
    assert is_refusal(raised.value)


@pytest.mark.parametrize("parameters", [{"text": "\udcff"}, {"number": float("nan")}], ids=["no text", "no number"])
def test_errors_in_a_request_are_unchanged(
    api: Api, parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import orchestration
    from flows.client.foreign_responses import ForeignResponseError

    # As if Prefect's model accepted it: the error then occurs after the flow's response, in the run's request.
    monkeypatch.setattr("prefect.client.schemas.actions.FlowRunCreate.model_dump", lambda self, **_: parameters)
    with pytest.raises(ValueError, match=r"surrogates not allowed|not JSON compliant") as raised:
        api.client.create_flow_run(orchestration.verify)
    assert not isinstance(raised.value, ForeignResponseError)


def test_other_errors_are_unchanged(api: Api) -> None:
    from flows.client.foreign_responses import checked_parsing

    with pytest.raises(KeyError), checked_parsing():
        raise KeyError("of the work")


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
def test_zombie_runs_are_not_forgotten(wire: TcpProxy, tmp_path: Path, reply: Callable[[TcpProxy], None]) -> None:
    left = acquire_run_lease(tmp_path, uuid4())
    left.release()
    reply(wire)
    mark_zombie_runs(tmp_path)
    assert list(leases_folder(tmp_path).iterdir()) == [left.path]
