"""A command that ends with the process that started it; see `flows.maintenance.isolated_training`."""

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence

from flows.cli import main
from flows.maintenance.training_messages import MessageWriter
from flows.runtime import repetition
from tasks.caching.observer import extra_observers

#: Seconds between two looks at whether the process that started this one still lives.
LOOK_SECONDS = 0.2


def run_for(parent: int, purpose: str, words: Sequence[str]) -> None:
    """Runs a command, and ends in good order when the process that wanted it is gone.

    Standard output carries the messages for that process; what the command prints is dropped.
    """
    repetition.purpose.set(purpose)
    extra_observers.set((MessageWriter(os.fdopen(os.dup(sys.stdout.fileno()), "w")),))
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    main(words)


def end_with(parent: int) -> None:
    """Waits until the parent of this process is another than this one; then ends this process, as `kill` does."""
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    run_for(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
