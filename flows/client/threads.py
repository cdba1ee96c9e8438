"""Threads of Prefect's that a process cannot do without: one that dies ends the process.

Prefect hands much of what it does to threads, with event loops or without, and waits for it without a limit. If one of
them dies, which happens when memory runs out, nothing that waits for it ever comes back: not the flow, not what SIGTERM
has it do, and not the interpreter at its end. What is finished is on the disk, as if the process had been killed.

The names that are touched here are Prefect's own; `tests/flows/client/test_threads.py` shows that they are still those.
"""

import asyncio
import os
from typing import Any, NoReturn

from prefect._internal.concurrency.cancellation import CancelledError
from prefect._internal.concurrency.threads import EventLoopThread, WorkerThread, get_global_loop, get_run_sync_loop

# Made before they are needed: where memory has run out, no text can be put together.
NO_MEMORY = (
    b"error: memory has run out, and a thread that Prefect needs has died of it. What is finished is kept: free some "
    b"memory or raise the limit (`ulimit -v`), and the same command goes on from there\n"
)
DIED = (
    b"error: a thread that Prefect needs has died. What is finished is kept, and the same command goes on from there\n"
)


def start_threads() -> None:
    """Starts the threads that every flow needs, while there is memory for them.

    Raises:
        RuntimeError: the system lets this process have no more threads.
        MemoryError: there is no memory for one.
    """
    get_global_loop()
    get_run_sync_loop()


def end_process(error: BaseException) -> NoReturn:
    """Ends the process at once, with one message."""
    os.write(2, NO_MEMORY if isinstance(error, MemoryError) else DIED)
    os._exit(1)


def run_loop(thread: Any) -> None:
    """What a thread with an event loop does, but for the log that Prefect's own would write of its death."""
    try:
        asyncio.run(thread._run_until_shutdown())
    except BaseException as error:
        end_process(error)


def run_calls(thread: Any) -> None:
    """What a thread without one does, likewise."""
    try:
        thread._run_until_shutdown()
    except CancelledError:
        pass  # it is no longer wanted
    except BaseException as error:
        end_process(error)


EventLoopThread._entrypoint = run_loop  # type: ignore[method-assign]
WorkerThread._entrypoint = run_calls  # type: ignore[assignment, method-assign]
