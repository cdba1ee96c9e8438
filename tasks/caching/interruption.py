"""Interruptions (Ctrl-C, SIGTERM, SIGHUP), postponed until the work reaches a point where it can stop without loss."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

#: Signals that ask a process to end: Ctrl-C, what `kill`, systemd and Kubernetes send, and a terminal that is closed.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: The signals that have interrupted the running command. What one of them interrupted may continue regardless: an
#: exception that is raised inside a callback of a library, as pydantic has them, can be swallowed there.
interruptions: list[int] = []

Handler = Callable[[int, FrameType | None], None]


def noted(handler: Handler) -> Handler:
    """A signal handler that notes each signal in `interruptions` before it calls `handler`."""

    def handle(number: int, frame: FrameType | None) -> None:
        interruptions.append(number)
        handler(number, frame)

    return handle


def require_uninterrupted() -> None:
    """Raises the last signal once more, in a command that continues although it was interrupted."""
    if interruptions:
        signal.raise_signal(interruptions[-1])


@contextlib.contextmanager
def postponed_interruption() -> Iterator[Callable[[], bool]]:
    """Yields a function that returns whether an interruption has come; the interruption itself is raised at the end.

    The work inside calls it now and then, and stops at a point of its choice. A second signal is raised at once.
    Outside the main thread, which alone can handle signals, nothing is postponed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    received: list[int] = []
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    # A handler that is None was not set by Python and could not be restored; ignored signals, as under nohup, stay so.
    handlers = {number: handler for number, handler in handlers.items() if handler not in (None, signal.SIG_IGN)}

    def restore() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def postpone(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            restore()
            signal.raise_signal(number)

    for number in handlers:
        signal.signal(number, postpone)
    try:
        yield lambda: bool(received)
    finally:
        restore()
        if len(received) == 1:
            signal.raise_signal(received[0])
