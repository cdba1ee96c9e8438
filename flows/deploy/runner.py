"""`workflow serve`: one process that serves the deployments and executes their runs.

It differs from Prefect's runner in three ways. The processes of the runs are forked from one that has imported Prefect:
a run starts within half a second instead of two. For that reason none is started before it is due, and of those that
are due, the ones requested by people come first (`flows.deploy.run_order`). And on Ctrl-C, SIGTERM or SIGHUP the runs
may shut down gracefully, where the runner of Prefect 3.8 kills them at once and leaves them Running forever.
"""

import asyncio
import logging
import multiprocessing
import signal
from collections.abc import Callable, Iterable
from multiprocessing import resource_tracker
from typing import Any, Self

import anyio
import anyio.abc
from prefect.client.schemas.objects import FlowRun
from prefect.deployments.runner import RunnerDeployment
from prefect.runner import Runner

from flows.deploy.run_order import runs_to_start
from flows.executing import PRELOADED, execute_in_fork
from flows.prefect_internals import ControlChannel, order_polled_runs, process_handle, replace_starter
from flows.signals import blocked, handled_signals

#: Seconds between two queries for due runs.
QUERY_SECONDS = 0.5

#: Seconds between two calls of the housekeeping function.
HOUSEKEEPING_SECONDS = 30.0

#: The signals that a terminal or a service manager sends to every process of `workflow serve` at once.
SHUTDOWN_SIGNALS = (signal.SIGTERM, signal.SIGHUP)

#: The logger of the port at which runs report to their runner, and which every user of the machine can reach.
PORT_LOGGER = "prefect.runner.control_channel"


class ForkingRunner(Runner):
    """A runner that forks its runs from a process that has imported Prefect."""

    async def __aenter__(self) -> Self:
        """Starts serving."""
        await super().__aenter__()
        forks = multiprocessing.get_context("forkserver")
        forks.set_forkserver_preload(PRELOADED)
        with blocked(*SHUTDOWN_SIGNALS):  # and now, since it unblocks SIGTERM when it starts
            resource_tracker.ensure_running()
        logging.getLogger(PORT_LOGGER).addFilter(shorten_traceback)
        replace_starter(self, ForkingStarter(forks, ControlChannel(self)))
        order_polled_runs(self, runs_to_start)
        return self


def shorten_traceback(record: logging.LogRecord) -> bool:
    """Log filter that shortens messages about malformed requests to one line; other errors keep their traceback."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, OSError | ValueError):
        record.msg, record.args, record.exc_info = f"{record.getMessage()}: {error}", (), None
    return True


class ForkingStarter:
    """Starts the process of a flow run; has the interface of the runner's own starters."""

    def __init__(self, forks: multiprocessing.context.ForkServerContext, channel: ControlChannel) -> None:
        self._forks, self._channel = forks, channel

    async def start(
        self, flow_run: FlowRun, task_status: anyio.abc.TaskStatus[Any] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Starts the process, reports it, and waits for its end."""
        environment = self._channel.register(flow_run.id)
        process = self._forks.Process(target=execute_in_fork, args=(flow_run.id, environment))
        try:
            # Blocked in the new process until it can shut down gracefully: it takes up to a second to start, and the
            # runner considers it crashed if a signal ends it in that time. Blocked forever in the process it is forked
            # from: a closed terminal sends SIGHUP to all of them, and orphaned runs would be considered crashed.
            with blocked(*SHUTDOWN_SIGNALS):
                process.start()
        except BaseException:
            self._channel.unregister(flow_run.id)
            raise
        task_status.started(process_handle(process))
        await anyio.to_thread.run_sync(process.join)


async def serve(
    deployments: Iterable[RunnerDeployment], limit: int, on_ready: Callable[[], None], housekeeping: Callable[[], None]
) -> None:
    """Serves deployments until a signal stops it; active runs then have half a minute to save training checkpoints.

    Args:
        deployments: To serve.
        limit: The most runs at a time.
        on_ready: Called as soon as runs are accepted.
        housekeeping: Called periodically, in a thread.
    """
    runner = ForkingRunner(
        name="workflow", query_seconds=QUERY_SECONDS, prefetch_seconds=0, limit=limit, pause_on_shutdown=False
    )
    for deployment in deployments:
        await runner.aadd_deployment(deployment)
    serving = asyncio.create_task(runner.start())
    while not (runner.started or serving.done()):
        await asyncio.sleep(0.01)
    stopping = asyncio.Event()
    # After the runner has started, since it installs a handler of its own.
    for number in handled_signals():
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    on_ready()
    chores = asyncio.create_task(run_periodically(housekeeping))
    stopped = asyncio.create_task(stopping.wait())
    await asyncio.wait((serving, stopped, chores), return_when=asyncio.FIRST_COMPLETED)
    chores.cancel()
    if stopping.is_set():
        await runner.astop()
        await cancel_late_runs(runner, serving)
    stopped.cancel()
    await serving


async def cancel_late_runs(runner: Runner, serving: "asyncio.Task[None]") -> None:
    """Cancels the runs that were about to start when the runner stopped, until it has ended.

    The runner cancels those that have a process, and then waits for all: without this, until such a run completes.
    """
    while not serving.done():
        await runner.cancel_all()
        await asyncio.wait([serving], timeout=QUERY_SECONDS)


async def run_periodically(housekeeping: Callable[[], None]) -> None:
    """Calls a function periodically, in a thread."""
    while True:
        await asyncio.to_thread(housekeeping)
        await asyncio.sleep(HOUSEKEEPING_SECONDS)
