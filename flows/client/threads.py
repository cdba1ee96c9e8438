"""Prefect's background threads: if one dies, the process ends.

Prefect hands much of its work to threads, with and without event loops, and waits for them without a timeout. If one of
them dies, which happens when memory runs out, nothing that waits for it ever returns: not the flow, not the handling of
SIGTERM, and not the interpreter's shutdown. What is finished is on disk, as if the process had been killed.
"""

import os
from typing import NoReturn

from flows.prefect_internals import end_with_threads

# Built in advance: once memory has run out, no text can be built.
NO_MEMORY = (
    b"error: memory has run out, and a thread that Prefect needs has died of it. What is finished is kept: free some "
    b"memory or raise the limit (`ulimit -v`); the same command then resumes\n"
)
DIED = b"error: a thread that Prefect needs has died. What is finished is kept; the same command resumes\n"


def end_process(error: BaseException) -> NoReturn:
    """Exits at once with one message."""
    os.write(2, NO_MEMORY if isinstance(error, MemoryError) else DIED)
    os._exit(1)


end_with_threads(end_process)
