"""`workflow worker`: Prefect's own process worker, but for its end.

At SIGTERM the worker of Prefect 3.8 kills its flow runs at once and leaves them Running for ever. Here they may end in
good order first, and Prefect learns how they ended.
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

from flows.deploy.reaper import keep_watch
from flows.deploy.run_order import without_superfluous
from flows.deploy.runner import repeat
from flows.prefect_internals import order_worker_runs
from flows.signals import heeded

#: Seconds that flow runs have to keep where they are, and then the worker to tell of it.
GRACE_SECONDS, TELLING_SECONDS = 60.0, 1.0


class OrderlyWorker(ProcessWorker):
    """A worker that takes runs in our order (`flows.deploy.run_order`), and no more of them once it is to end."""

    stopping = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        order_worker_runs(self, without_superfluous)

    @classmethod
    def __dispatch_key__(cls) -> str:
        """Its name among Prefect's workers; under that of its base it would take its place there, with a warning."""
        return "workflow"

    async def get_and_submit_flow_runs(self) -> list[Any]:
        """The runs that are due."""
        return [] if self.stopping else await super().get_and_submit_flow_runs()


async def work(pool: str, name: str | None, limit: int, root: Path, notify: Callable[[str], None]) -> None:
    """Carries out the flow runs of a work pool until Ctrl-C or SIGTERM.

    Args:
        pool: of type process.
        name: of the worker.
        limit: runs that go on at once, at most.
        root: of the project.
        notify: is told of runs that are found to have ended without telling.
    """
    worker = OrderlyWorker(work_pool_name=pool, name=name, limit=limit, create_pool_if_not_found=True)
    stopping = asyncio.Event()
    for number in heeded():
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    working = asyncio.create_task(worker.start())
    watching = asyncio.create_task(repeat(lambda: keep_watch(root, notify)))
    stopped = asyncio.create_task(stopping.wait())
    await asyncio.wait((working, watching, stopped), return_when=asyncio.FIRST_COMPLETED)
    watching.cancel()
    stopped.cancel()
    if stopping.is_set():
        worker.stopping = True
        await end_children()
        working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working


async def end_children() -> None:
    """Has every flow run end, and waits for it. One that SIGTERM would end before it handles it would have crashed."""
    deadline = asyncio.get_running_loop().time() + GRACE_SECONDS
    ended: set[int] = set()
    while (left := children()) and asyncio.get_running_loop().time() < deadline:
        for child in set(left) - ended:
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                if handles(child, signal.SIGTERM):
                    os.kill(child, signal.SIGTERM)
                    ended.add(child)
        await asyncio.sleep(0.1)
    await asyncio.sleep(TELLING_SECONDS)


def handles(process: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal.

    Raises:
        FileNotFoundError: it has ended.
    """
    (caught,) = re.findall(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    return bool(int(caught, 16) >> (number - 1) & 1)


def children() -> list[int]:
    """The processes that this one has started and that have not ended."""
    tasks = Path(f"/proc/{os.getpid()}/task").glob("*")  # none where there is no /proc, as on macOS
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]
