"""`workflow serve`: one process that offers the deployments and has their runs carried out.

Prefect's own runner, but for three things. The processes of the runs are forked from one that has imported Prefect:
a run begins within half a second, not two. For that reason none is taken before it is due, and of those that are due,
what people asked for comes first (`flows.deploy.run_order`). And at Ctrl-C, SIGTERM or SIGHUP the runs may end in good
order, where the runner of Prefect 3.8 kills them at once and leaves them Running for ever.
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

from flows.deploy.run_order import without_superfluous
from flows.executing import PRELOADED, execute
from flows.prefect_internals import ControlChannel, order_polled_runs, process_handle, replace_starter
from flows.signals import blocked, heeded

#: Seconds between two looks for runs that are due.
QUERY_SECONDS = 0.5

#: Seconds between two looks for what else has to be done.
CHORE_SECONDS = 30.0

#: The signals by which a terminal or a service manager ends every process of `workflow serve` at once.
ENDING = (signal.SIGTERM, signal.SIGHUP)

#: What logs of the port at which the runs report to their runner, and which every user of the machine can reach.
PORT_LOGGER = "prefect.runner.control_channel"


class ForkingRunner(Runner):
    """A runner whose runs are forked from a process that has imported Prefect."""

    async def __aenter__(self) -> Self:
        """Begins to serve."""
        await super().__aenter__()
        forks = multiprocessing.get_context("forkserver")
        forks.set_forkserver_preload(PRELOADED)
        with blocked(*ENDING):  # and now, as it unblocks SIGTERM when it begins
            resource_tracker.ensure_running()
        logging.getLogger(PORT_LOGGER).addFilter(without_traceback)
        replace_starter(self, ForkingStarter(forks, ControlChannel(self)))
        order_polled_runs(self, without_superfluous)
        return self


def without_traceback(record: logging.LogRecord) -> bool:
    """Lets a message about what a stranger has sent pass as one line; what else went wrong keeps its traceback."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, OSError | ValueError):
        record.msg, record.args, record.exc_info = f"{record.getMessage()}: {error}", (), None
    return True


class ForkingStarter:
    """Starts the process of a flow run; what the runner asks of the starters that come with it."""

    def __init__(self, forks: multiprocessing.context.ForkServerContext, channel: ControlChannel) -> None:
        self._forks, self._channel = forks, channel

    async def start(
        self, flow_run: FlowRun, task_status: anyio.abc.TaskStatus[Any] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Starts the process, reports it, and waits for its end."""
        environment = self._channel.register(flow_run.id)
        process = self._forks.Process(target=execute, args=(flow_run.id, environment))
        try:
            # In the process, until it can end in good order: it is being made for up to a second, and one that a
            # signal ends in that time has crashed, says the runner. In that which it is forked from, for good: a
            # closed terminal sends SIGHUP to all of them, and runs whose parent is gone would be taken for crashed.
            with blocked(*ENDING):
                process.start()
        except BaseException:
            self._channel.unregister(flow_run.id)
            raise
        task_status.started(process_handle(process))
        await anyio.to_thread.run_sync(process.join)


async def serve(
    deployments: Iterable[RunnerDeployment], limit: int, on_ready: Callable[[], None], chore: Callable[[], None]
) -> None:
    """Offers deployments until a signal ends it; the runs of that moment have half a minute to keep their states.

    Args:
        deployments: to offer.
        limit: runs that go on at once, at most.
        on_ready: called as soon as runs are taken.
        chore: called now and then, in a thread.
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
    # After the runner has begun, since it puts a handler of its own in place.
    for number in heeded():
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    on_ready()
    chores = asyncio.create_task(repeat(chore))
    stopped = asyncio.create_task(stopping.wait())
    await asyncio.wait((serving, stopped, chores), return_when=asyncio.FIRST_COMPLETED)
    chores.cancel()
    if stopping.is_set():
        await runner.astop()
    stopped.cancel()
    await serving


async def repeat(chore: Callable[[], None]) -> None:
    """Calls a function again and again, in a thread."""
    while True:
        await asyncio.to_thread(chore)
        await asyncio.sleep(CHORE_SECONDS)
