"""Every private name that the project touches of Prefect, and of httpx, which is Prefect's HTTP client.

Each of them is as in Prefect 3.8.8 and httpx 0.28; pyproject.toml allows no other minor version of Prefect. On an
update, compare each name below with Prefect's source. No other module imports or touches a private name
(`tests/test_architecture.py`), but for three that it lists: the cache does not import from `flows`.

It lies below all packages of `flows`, because those of them need it that do not import each other. It imports Prefect
only as its functions are called, since `workflow plan` has no time for that.
"""

import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import asyncio
    from uuid import UUID

    from httpcore import NetworkBackend
    from httpx import HTTPTransport, Response
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun
    from prefect.deployments.runner import RunnerDeployment
    from prefect.flow_engine import FlowRunEngine
    from prefect.runner import Runner
    from prefect.workers.process import ProcessWorker

#: Orders the flow runs that are due, and leaves out those that are not to be taken.
Choose = Callable[[Sequence["FlowRun"], "PrefectClient"], Awaitable[list["FlowRun"]]]

#: A module that every flow run imports, for the process that the others are forked from.
METRICS = "prefect._internal.metrics"


# ---- the engine of a flow run


def replace_sigterm_handler(make: Callable[[Any], Any]) -> None:
    """Replaces the handler of SIGTERM while a flow runs. Prefect asks whether the one that is set is its own."""
    from prefect.utilities import engine

    engine._prefect_sigterm_handler = make(engine._prefect_sigterm_handler)


def keep_flow_run_name(engine: "FlowRunEngine[..., Any]", *, keep: bool) -> None:
    """Has an engine keep the name of its flow run. It has no argument for that."""
    engine._flow_run_name_set = keep


def keep_error(engine: "FlowRunEngine[..., Any]", error: BaseException) -> None:
    """Has an engine raise an error when it is asked for its result, as it does with errors that it handles itself."""
    engine._raised = error  # type: ignore[assignment] # Prefect does the same with what is no Exception


def listen_to_runner() -> None:
    """Has the process of a flow run learn from its runner that it is cancelled, as `python -m prefect.engine` does."""
    from prefect._internal.control_listener import configure_from_env

    configure_from_env()


# ---- threads


def start_loops() -> None:
    """Starts the threads with event loops that every flow needs. Prefect starts them when they are first needed.

    Raises:
        RuntimeError: the system lets this process have no more threads.
        MemoryError: there is no memory for one.
    """
    from prefect._internal.concurrency.threads import get_global_loop, get_run_sync_loop

    get_global_loop()
    get_run_sync_loop()


def end_with_threads(end: Callable[[BaseException], NoReturn]) -> None:
    """Has `end` called when a thread of Prefect's dies. Prefect only logs it, and whatever waits, waits for ever."""
    import asyncio

    from prefect._internal.concurrency.cancellation import CancelledError
    from prefect._internal.concurrency.threads import EventLoopThread, WorkerThread

    def run_loop(thread: EventLoopThread) -> None:
        try:
            asyncio.run(thread._run_until_shutdown())  # type: ignore[no-untyped-call]
        except BaseException as error:
            end(error)

    def run_calls(thread: WorkerThread) -> None:
        try:
            thread._run_until_shutdown()  # type: ignore[no-untyped-call]
        except CancelledError:
            pass  # it is no longer needed
        except BaseException as error:
            end(error)

    EventLoopThread._entrypoint = run_loop  # type: ignore[method-assign]
    WorkerThread._entrypoint = run_calls  # type: ignore[assignment, method-assign]


def senders() -> "list[asyncio.Task[Any]]":
    """What sends logs and events in the background. Prefect has no other way to end it without sending everything."""
    from prefect.events.worker import EventsWorker

    # All services are kept in one place, those that send logs among them.
    services: Iterable[Any] = tuple(EventsWorker._instances.values())  # type: ignore[misc]
    return [service._task for service in services if service._task is not None]


# ---- the HTTP clients


def wrap_requests(client: type[Any], whole: Callable[[Any], Any], single: Callable[[Any], Any]) -> None:
    """Wraps how a class of clients sends a request, redirections included, and how it sends each part of it."""
    client._send_handling_auth = whole(client._send_handling_auth)
    client._send_single_request = single(client._send_single_request)


def transports(client: Any) -> list[Any]:
    """All through which a client connects."""
    return [client._transport, *client._mounts.values()]


def replace_backend(transport: "HTTPTransport", make: "Callable[[NetworkBackend], NetworkBackend]") -> None:
    """Replaces how a transport opens connections. httpx has no argument for it."""
    transport._pool._network_backend = make(transport._pool._network_backend)


def set_content(response: "Response", content: bytes) -> None:
    """Makes bytes that were read from a response its content, as `Response.read` does with all of them."""
    response._content = content


# ---- the runner and the worker


def replace_starter(runner: "Runner", starter: Any) -> None:
    """Has the processes of a runner's flow runs started by an object with a method `start`."""
    runner._scheduled_run_poller._resolve_starter = lambda flow_run: starter


def order_polled_runs(runner: "Runner", choose: Choose) -> None:
    """Has a runner take flow runs in another order than that of time: it gets them one by one, while it has room."""
    poller = runner._scheduled_run_poller
    submit = poller._submit_scheduled_flow_runs

    async def submit_in_order(flow_run_response: "list[FlowRun]", task_group: Any) -> None:
        due = [run for run in flow_run_response if run.id not in poller._submitting_flow_run_ids]
        for run in await choose(due, poller._client):
            await submit(flow_run_response=[run], task_group=task_group)
            if run.id not in poller._submitting_flow_run_ids:
                return

    poller._submit_scheduled_flow_runs = submit_in_order  # type: ignore[method-assign]


def order_worker_runs(worker: "ProcessWorker", choose: Choose) -> None:
    """Has a worker take flow runs in another order than that of time."""
    submit = worker._submit_scheduled_flow_runs

    async def submit_in_order(flow_run_response: list[Any]) -> "list[FlowRun]":
        taken = worker._submitting_flow_run_ids
        due = {entry.flow_run.id: entry for entry in flow_run_response if entry.flow_run.id not in taken}
        chosen = await choose([entry.flow_run for entry in due.values()], worker.client)
        return await submit([due[run.id] for run in chosen])

    worker._submit_scheduled_flow_runs = submit_in_order  # type: ignore[method-assign]


class ControlChannel:
    """Through it a runner says, before it ends a process, that the flow run is cancelled and has not crashed."""

    def __init__(self, runner: "Runner") -> None:
        self._channel = runner._control_channel

    def register(self, flow_run_id: "UUID") -> dict[str, str]:
        """Opens it for a flow run; returns the environment of its process."""
        port, token = self._channel.register(flow_run_id)
        return {
            "PREFECT__FLOW_RUN_ID": str(flow_run_id),
            "PREFECT__CONTROL_PORT": str(port),
            "PREFECT__CONTROL_TOKEN": token,
            # The runner calls them.
            "PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS": "false",
        }

    def unregister(self, flow_run_id: "UUID") -> None:
        """Closes it for a flow run whose process did not start."""
        self._channel.unregister(flow_run_id)


def process_handle(process: ForkServerProcess) -> Any:
    """A process as the runner wants to have it. It knows those that were spawned, which differ only in their start."""
    from prefect.runner._process_manager import ProcessHandle

    return ProcessHandle(process)  # type: ignore[arg-type]


# ---- deployments and schedules


def parameter_definitions(deployment: "RunnerDeployment") -> dict[str, Any]:
    """The schema of a deployment's parameters, to be changed. The constructor takes that of the flow."""
    return deployment._parameter_openapi_schema.definitions


def schedule_dates(rule: Any, count: int, start: datetime) -> list[datetime]:
    """The next moments of a schedule. `get_dates`, which is public, needs an event loop."""
    return list(rule._get_dates_generator(n=count, start=start))


# ---- the web pages


def leave_out_v2_pages() -> None:
    """Keeps this process from serving Prefect's V2 pages. No setting does."""
    import prefect

    # Pages whose files are not there are not served, and not offered by the others.
    prefect.__ui_v2_static_path__ = Path(os.devnull) / "ui-v2"


def web_pages() -> Path:
    """The folder with the files of Prefect's pages."""
    import prefect

    return Path(prefect.__ui_static_path__)
