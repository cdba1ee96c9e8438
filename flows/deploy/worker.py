"""`workflow worker`: Prefect's process worker, with a graceful shutdown.

On SIGTERM the worker of Prefect 3.8 kills its flow runs at once and leaves them Running forever. Here they may shut
down first, and Prefect records how they ended.
"""

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect.workers.process import ProcessWorker

from flows.deploy.reaper import reap
from flows.deploy.run_order import runs_to_start
from flows.deploy.runner import run_periodically
from flows.prefect_internals import order_worker_runs
from flows.signals import handled_signals

#: Seconds that flow runs have to save training checkpoints, and the worker to report their final states.
GRACE_SECONDS, REPORT_SECONDS = 60.0, 1.0


class GracefulWorker(ProcessWorker):
    """A worker that starts runs in our order (`flows.deploy.run_order`), and none while it shuts down."""

    stopping = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        order_worker_runs(self, runs_to_start)

    @classmethod
    def __dispatch_key__(cls) -> str:
        """Returns its own type, since under its base class's type it would replace that, with a warning."""
        return "workflow"

    async def get_and_submit_flow_runs(self) -> list[Any]:
        """Submits the runs that are due."""
        return [] if self.stopping else await super().get_and_submit_flow_runs()


async def work(pool: str, name: str | None, limit: int, root: Path, notify: Callable[[str], None]) -> None:
    """Executes the flow runs of a work pool until Ctrl-C or SIGTERM.

    Args:
        pool: Of type process.
        name: Of the worker.
        limit: The most runs at a time.
        root: Of the project.
        notify: Called with a line for each zombie run.
    """
    worker = GracefulWorker(work_pool_name=pool, name=name, limit=limit, create_pool_if_not_found=True)
    stopping = asyncio.Event()
    for number in handled_signals():
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    working = asyncio.create_task(worker.start())
    reaping = asyncio.create_task(run_periodically(lambda: reap(root, notify)))
    stopped = asyncio.create_task(stopping.wait())
    await asyncio.wait((working, reaping, stopped), return_when=asyncio.FIRST_COMPLETED)
    reaping.cancel()
    stopped.cancel()
    if stopping.is_set():
        worker.stopping = True
        await terminate_children()
        working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working


async def terminate_children() -> None:
    """Terminates every flow run, once it handles SIGTERM and would not crash, and waits for it.

    Those that were about to start are among them: the wait lasts until none was seen for REPORT_SECONDS.
    """
    now = asyncio.get_running_loop().time
    deadline, last_seen = now() + GRACE_SECONDS, now()
    ended: set[int] = set()
    while now() < min(deadline, last_seen + REPORT_SECONDS):
        left = set(children())
        if left:
            last_seen = now()
        for child in left - ended:
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                if handles(child, signal.SIGTERM):
                    os.kill(child, signal.SIGTERM)
                    ended.add(child)
        await asyncio.sleep(0.1)


def handles(process: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal.

    Raises:
        FileNotFoundError: It has ended.
    """
    (caught,) = re.findall(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    return bool(int(caught, 16) >> (number - 1) & 1)


def children() -> list[int]:
    """Returns the processes that this one has started and that are still running."""
    tasks = Path(f"/proc/{os.getpid()}/task").glob("*")  # none where there is no /proc, as on macOS
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]
