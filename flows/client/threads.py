"""Prefect's background threads: if one dies, the process ends.

Prefect hands much of its work to threads, with and without event loops, and waits for them without a timeout. If one of
them dies, which happens when memory runs out, nothing that waits for it ever returns: not the flow, not the handling of
SIGTERM, and not the interpreter's shutdown. What is finished is on disk, as if the process had been killed.

The names patched here are private to Prefect; `tests/flows/client/test_threads.py` checks that they still exist.
"""

import asyncio
import os
from typing import Any, NoReturn

from prefect._internal.concurrency.cancellation import CancelledError
from prefect._internal.concurrency.threads import EventLoopThread, WorkerThread, get_global_loop, get_run_sync_loop

# Built in advance: once memory has run out, no text can be built.
NO_MEMORY = (
    b"error: memory has run out, and a thread that Prefect needs has died of it. What is finished is kept: free some "
    b"memory or raise the limit (`ulimit -v`); the same command then resumes\n"
)
DIED = b"error: a thread that Prefect needs has died. What is finished is kept; the same command resumes\n"


def start_threads() -> None:
    """Starts the threads that every flow needs while there is memory for them.

    Raises:
        RuntimeError: The system does not allow this process any more threads.
        MemoryError: There is no memory for one.
    """
    get_global_loop()
    get_run_sync_loop()


def end_process(error: BaseException) -> NoReturn:
    """Exits at once with one message."""
    os.write(2, NO_MEMORY if isinstance(error, MemoryError) else DIED)
    os._exit(1)


def run_loop(thread: Any) -> None:
    """Runs the event loop of a thread, without the log that Prefect's own entry point would write if it dies."""
    try:
        asyncio.run(thread._run_until_shutdown())
    except BaseException as error:
        end_process(error)


def run_calls(thread: Any) -> None:
    """Runs the calls of a thread without an event loop, likewise."""
    try:
        thread._run_until_shutdown()
    except CancelledError:
        pass  # no longer needed
    except BaseException as error:
        end_process(error)


EventLoopThread._entrypoint = run_loop  # type: ignore[method-assign]
WorkerThread._entrypoint = run_calls  # type: ignore[assignment, method-assign]
