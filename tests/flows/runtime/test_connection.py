"""A server that is silent is not asked again and again: what only reports costs the work next to nothing."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(prefect: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    from flows.runtime.connection import Contact, contact

    clock = Clock()
    monkeypatch.setattr("flows.runtime.connection.time", SimpleNamespace(monotonic=clock.monotonic))
    monkeypatch.setattr("flows.runtime.connection.get_run_logger", logging.getLogger)
    token = contact.set(Contact())
    yield clock
    contact.reset(token)


def silent(clock: Clock, seconds: float) -> tuple[Callable[[], str], list[float]]:
    """A request that fails after so many seconds; and when it was made."""
    from httpx import ConnectError

    tried: list[float] = []

    def request() -> str:
        tried.append(clock.now)
        clock.now += seconds
        raise ConnectError("nobody answers")

    return request, tried


@pytest.mark.parametrize(("seconds", "pause"), [(0.0, 10.0), (20.0, 400.0)])
def test_after_silence_nothing_is_tried_for_a_while(clock: Clock, seconds: float, pause: float) -> None:
    from flows.runtime.connection import try_request

    request, tried = silent(clock, seconds)
    assert try_request(request) is None
    failed = clock.now
    for clock.now in (failed, failed + pause - 1):
        assert try_request(request) is None
    assert len(tried) == 1
    clock.now = failed + pause + 1
    assert try_request(request) is None
    assert len(tried) == 2


def test_a_server_that_answers_again_is_asked_as_before(clock: Clock) -> None:
    from flows.runtime.connection import contact, try_request

    request, _ = silent(clock, 0.0)
    try_request(request)
    assert contact.get().is_lost
    clock.now += 11
    assert [try_request(lambda: "an answer"), try_request(lambda: "another")] == ["an answer", "another"]
    assert not contact.get().is_lost


def test_what_waits_is_sent_in_a_notebook_too(prefect: None) -> None:
    """There an event loop runs in the thread that trains, and Prefect would give a coroutine."""
    from prefect.events import emit_event
    from prefect.events.worker import EventsWorker

    from flows.runtime.connection import drain

    async def cell() -> int:
        emit_event("notebook.cell", {"prefect.resource.id": "notebook"})
        left = EventsWorker.instance()
        drain(20.0)
        return left._queue.qsize()

    assert asyncio.run(cell()) == 0
