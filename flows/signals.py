"""Ctrl-C, SIGTERM and SIGHUP end a command alike: it cleans up, prints one line, and exits with the signal's code."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from tasks.caching.interruption import SIGNALS, Handler, interruptions, noted


class Interrupted(KeyboardInterrupt):
    """A signal came that ends the command."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    @property
    def exit_code(self) -> int:
        """The code by which shells show that a signal ended a process: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + self.number


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Surrounds a command. After it, when there is nothing left to clean up, a signal ends the process at once.

    Raises:
        Interrupted: a signal came; at the latest at the end, if what it interrupted went on regardless, as Prefect does
            with a flow that was just telling that it had ended, or made another error of it.
    """
    interruptions.clear()
    handle(noted(interrupt))
    sys.unraisablehook = send_again
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
        handle(leave)
        sys.unraisablehook = sys.__unraisablehook__


def handle(handler: Handler) -> None:
    """Handles every signal that ends a command."""
    for number in heeded():
        signal.signal(number, handler)


def heeded() -> list[signal.Signals]:
    """The signals that end a command, but for those that are ignored, as SIGHUP is under nohup."""
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


@contextlib.contextmanager
def blocked(*numbers: signal.Signals) -> Iterator[None]:
    """Blocks signals in this thread, and in the processes that it starts, which take the mask with them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def interrupt(number: int, frame: FrameType | None) -> None:
    """Interrupts the command."""
    raise Interrupted(number)


def send_again(unraisable: "sys.UnraisableHookArgs") -> None:
    """Sends a signal again whose exception Python ignored, as it does in a finalizer; other errors are reported."""
    if isinstance(unraisable.exc_value, Interrupted):
        # From another thread: here, its exception would be ignored like the first.
        threading.Timer(0.01, os.kill, (os.getpid(), unraisable.exc_value.number)).start()
    else:
        sys.__unraisablehook__(unraisable)


def leave(number: int, frame: FrameType | None) -> None:
    """Ends the process at once."""
    os._exit(128 + number)
