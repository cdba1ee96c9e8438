"""Contact with Prefect's server while a flow runs. The work needs none, so that no request holds it up for long.

What only shows something, such as a page or a progress bar, is tried once. If the server does not answer, a person is
notified in one line, and for a while nothing of the kind is tried again. How a flow ended is reported by its engine
(`flows.runtime.engine`), or else at the next start (`flows.runtime.zombie_runs`).
"""

import asyncio
import concurrent.futures
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar, cast

from httpx import HTTPError, HTTPStatusError
from prefect.context import SettingsContext, get_settings_context
from prefect.exceptions import PrefectException
from prefect.logging import get_run_logger

import flows.client.connections  # these patch Prefect's clients: connections without a proxy on this machine,
import flows.client.foreign_responses  # responses that are not Prefect's,
import flows.client.request_limits  # limits on time and size,
import flows.client.threads  # noqa: F401 - and the end of the process if one of their threads dies
from flows.prefect_internals import senders, start_loops

T = TypeVar("T")

#: The services that have sent everything, and the others.
Drained = tuple[set["concurrent.futures.Future[bool]"], set["concurrent.futures.Future[bool]"]]

#: What Prefect's client raises when its server does not answer, or not as it should.
UNANSWERED = (HTTPError, PrefectException)

#: Seconds without another try after one in vain, for every second that this took: a server that hangs costs the work a
#: twentieth of its time at the most. And so many at the least.
PAUSE_FACTOR, PAUSE_SECONDS = 20.0, 10.0

#: Seconds allowed for Prefect's threads to send what is left at the end; and if the server has stopped answering.
DRAIN_SECONDS, LOST_DRAIN_SECONDS = 30.0, 1.0


@dataclass
class Contact:
    """How this process gets on with the server.

    Attributes:
        notify: prints a line for a person.
        is_lost: whether the server did not answer when it was last asked.
        paused_until: by the monotonic clock; nothing that only shows something is tried before.
    """

    notify: Callable[[str], None] | None = None
    is_lost: bool = False
    paused_until: float = 0.0

    def fail(self, error: BaseException, seconds: float) -> None:
        """Takes note of a request that failed after so many seconds."""
        if not is_silence(error):
            return
        if self.notify is not None and not self.is_lost:
            self.notify(
                f"Prefect's server does not answer ({reason(error)}). The work continues without it; how it ends "
                "is reported to Prefect at the next start if not before."
            )
        self.is_lost = True
        self.paused_until = time.monotonic() + max(PAUSE_SECONDS, PAUSE_FACTOR * seconds)


contact: ContextVar[Contact] = ContextVar("contact", default=Contact())  # noqa: B039 - one for the whole process


@contextlib.contextmanager
def keeping_contact(notify: Callable[[str], None] | None) -> Iterator[None]:
    """Surrounds flows that are called directly; what they still have to send is sent in the end, or dropped."""
    start_loops()
    mine = Contact(notify)
    token = contact.set(mine)
    # Else a thread that cannot send the log prints so in the midst of what the command prints.
    raising, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        yield
    finally:
        contact.reset(token)
        try:
            drain(LOST_DRAIN_SECONDS if mine.is_lost else DRAIN_SECONDS)
        finally:
            logging.raiseExceptions = raising


def try_request(request: Callable[[], T]) -> T | None:
    """Makes a request that the work can do without; None if the server does not answer, or did not a moment ago."""
    mine, started = contact.get(), time.monotonic()
    if started < mine.paused_until:
        return None
    try:
        with once_only():
            answer = request()
    except UNANSWERED as error:
        get_run_logger().warning("this could not be reported to Prefect: %s", reason(error))
        mine.fail(error, time.monotonic() - started)
        return None
    mine.is_lost = False
    return answer


def once_only() -> contextlib.AbstractContextManager[object]:
    """Surrounds requests that are not repeated if they fail."""
    current = get_settings_context()
    # Prefect's own `temporary_settings` reads the whole environment again, which takes longer than most requests.
    client = current.settings.client.model_copy(update={"max_retries": 0})
    return SettingsContext(profile=current.profile, settings=current.settings.model_copy(update={"client": client}))


def is_silence(error: BaseException) -> bool:
    """Whether the server gave no answer, or one that says that it cannot; others are about the request itself."""
    return isinstance(error, HTTPError) and not (
        isinstance(error, HTTPStatusError) and error.response.status_code < 500
    )


def is_refusal(error: Exception) -> bool:
    """Whether the server wants to know first who asks."""
    return isinstance(error, HTTPStatusError) and error.response.status_code in (401, 403)


def reason(error: BaseException) -> str:
    """An error of Prefect's client in a few words."""
    if isinstance(error, HTTPStatusError):
        return f"HTTP {error.response.status_code}"
    return (str(error) or type(error).__name__).splitlines()[0]


def silence_behind(error: BaseException) -> HTTPError | None:
    """The error that the server does not answer, which Prefect wraps when it first looks for it; None for others."""
    found = error.__cause__ if isinstance(error, RuntimeError) else error
    return found if isinstance(found, HTTPError) else None


def drain_events(seconds: float) -> Drained:
    """Lets Prefect's threads send the events that wait, for so many seconds at the most."""
    from prefect.events.worker import EventsWorker

    if not is_in_event_loop():
        return cast(Drained, EventsWorker.drain_all(timeout=seconds))
    # As in a notebook, where Prefect would give a coroutine instead, which nothing could wait for.
    with concurrent.futures.ThreadPoolExecutor(1) as outside:
        return cast(Drained, outside.submit(EventsWorker.drain_all, timeout=seconds).result())


def is_in_event_loop() -> bool:
    """Whether an event loop of asyncio runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def drain(seconds: float) -> None:
    """Lets Prefect's threads send the events and logs that wait, for so many seconds at the most, and then ends them.

    Left to themselves they would, at the interpreter's end, try each event for some ten seconds.
    """
    sending = senders()
    pending: set[concurrent.futures.Future[bool]] = set()
    try:
        _, pending = drain_events(seconds)
    finally:
        for _ in range(2):  # the first ends the sending, the second a farewell to a server that hangs
            for sender in sending:
                sender.get_loop().call_soon_threadsafe(sender.cancel)
            concurrent.futures.wait(pending, timeout=1.0)
