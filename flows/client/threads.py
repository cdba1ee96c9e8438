"""Threads of Prefect's that a process cannot do without: one that dies ends the process.

Prefect hands much of what it does to threads, with event loops or without, and waits for it without a limit. If one of
them dies, which happens when memory runs out, nothing that waits for it ever comes back: not the flow, not what SIGTERM
has it do, and not the interpreter at its end. What is finished is on the disk, as if the process had been killed.
"""

import os
from typing import NoReturn

from flows.prefect_internals import end_with_threads

# Made before they are needed: where memory has run out, no text can be put together.
NO_MEMORY = (
    b"error: memory has run out, and a thread that Prefect needs has died of it. What is finished is kept: free some "
    b"memory or raise the limit (`ulimit -v`), and the same command continues from there\n"
)
DIED = b"error: a thread that Prefect needs has died. What is finished is kept: the same command continues from there\n"


def end_process(error: BaseException) -> NoReturn:
    """Ends the process at once, with one message."""
    os.write(2, NO_MEMORY if isinstance(error, MemoryError) else DIED)
    os._exit(1)


end_with_threads(end_process)
