"""Ctrl-C and SIGTERM end a command alike: through everything that cleans up, with one line and with its exit code."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

from tasks.caching.interruption import SIGNALS, interruptions, noted


class Interrupted(KeyboardInterrupt):
    """A signal came that ends the command."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    @property
    def exit_code(self) -> int:
        """As shells tell a process that ended by a signal: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + self.number


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Surrounds a command. After it, when there is nothing left to clean up, a signal ends the process at once.

    Raises:
        Interrupted: a signal came; at the latest at the end, if what it interrupted went on regardless, as Prefect does
            with a flow that was just telling that it had ended, or made another error of it.
    """
    interruptions.clear()
    # What is ignored, as Ctrl-C is under nohup, stays ignored.
    numbers = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    for number in numbers:
        signal.signal(number, noted(interrupt))
    try:
        yield
        if interruptions:
            raise Interrupted(interruptions[0])
    except Exception as error:
        if interruptions:
            raise Interrupted(interruptions[0]) from error
        raise
    finally:
        interruptions.clear()
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        for number in numbers:
            signal.signal(number, leave)


def interrupt(number: int, frame: FrameType | None) -> None:
    """Interrupts the command."""
    raise Interrupted(number)


def leave(number: int, frame: FrameType | None) -> None:
    """Ends the process at once."""
    os._exit(128 + number)
