"""Interruptions (Ctrl-C, SIGTERM, SIGHUP) put off until the work has come to a point where it can stop without loss."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

#: What ends a process in good order: Ctrl-C, what `kill`, systemd and Kubernetes send, and a terminal that is closed.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: The signals that have interrupted the command which goes on. What one of them interrupted may go on regardless: an
#: exception that is raised while a library calls back, as pydantic does, can be lost in there.
interruptions: list[int] = []

Handler = Callable[[int, FrameType | None], None]


def noted(handler: Handler) -> Handler:
    """A handler of signals that takes note of each one before it does what it does."""

    def handle(number: int, frame: FrameType | None) -> None:
        interruptions.append(number)
        handler(number, frame)

    return handle


def require_uninterrupted() -> None:
    """Interrupts once more what goes on although an interruption has come."""
    if interruptions:
        signal.raise_signal(interruptions[-1])


@contextlib.contextmanager
def postponed_interruption() -> Iterator[Callable[[], bool]]:
    """Yields a function that tells whether an interruption has come; the interruption itself takes place at the end.

    Whoever works inside asks now and then, and stops where it suits him. A second signal does not wait. Outside the
    main thread, which alone may handle signals, nothing is put off.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    come: list[int] = []
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    # None was not set by Python and could not be set again; what is ignored, as under nohup, stays ignored.
    handlers = {number: handler for number, handler in handlers.items() if handler not in (None, signal.SIG_IGN)}

    def restore() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def put_off(number: int, frame: FrameType | None) -> None:
        come.append(number)
        if len(come) > 1:
            restore()
            signal.raise_signal(number)

    for number in handlers:
        signal.signal(number, put_off)
    try:
        yield lambda: bool(come)
    finally:
        restore()
        if len(come) == 1:
            signal.raise_signal(come[0])
