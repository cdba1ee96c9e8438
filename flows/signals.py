"""Signal handling: Ctrl-C, SIGTERM and SIGHUP make a command clean up, print one line and exit with its code."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from tasks.caching.interruption import SIGNALS, Handler, interruptions, noted


class Interrupted(KeyboardInterrupt):
    """A signal that ends the command has arrived."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    @property
    def exit_code(self) -> int:
        """The exit code shells use for a process ended by a signal: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + self.number


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Runs a command so that signals interrupt it. Afterwards, with nothing left to clean up, a signal exits at once.

    Raises:
        Interrupted: A signal arrived. It is raised at the end at the latest, in case the interrupted code swallowed it
            or turned it into another error, as Prefect does while it reports the final state of a flow run.
    """
    interruptions.clear()
    install_handler(noted(interrupt))
    sys.unraisablehook = resend_signal
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
        install_handler(exit_now)
        sys.unraisablehook = sys.__unraisablehook__


def install_handler(handler: Handler) -> None:
    """Installs a handler for every signal that ends a command."""
    for number in handled_signals():
        signal.signal(number, handler)


def handled_signals() -> list[signal.Signals]:
    """Returns the signals that end a command, except those that are ignored, such as SIGHUP under nohup."""
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


@contextlib.contextmanager
def blocked(*numbers: signal.Signals) -> Iterator[None]:
    """Blocks signals in this thread, and in the processes it starts, which inherit the signal mask."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def interrupt(number: int, frame: FrameType | None) -> None:
    """Signal handler: interrupts the command."""
    raise Interrupted(number)


def resend_signal(unraisable: "sys.UnraisableHookArgs") -> None:
    """Resends a signal whose exception Python ignored, as it does in finalizers; reports other errors as usual."""
    if isinstance(unraisable.exc_value, Interrupted):
        # From another thread: sent from here, its exception would be ignored as well.
        threading.Timer(0.01, os.kill, (os.getpid(), unraisable.exc_value.number)).start()
    else:
        sys.__unraisablehook__(unraisable)


def exit_now(number: int, frame: FrameType | None) -> None:
    """Signal handler: exits at once."""
    os._exit(128 + number)
