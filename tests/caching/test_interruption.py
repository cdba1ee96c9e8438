"""Interruptions wait until the work inside says so, and are never lost."""

import os
import signal
import threading

import pytest

from tasks.caching import interruption
from tasks.caching.interruption import SIGNALS, postponed_interruption, require_uninterrupted


class Ended(BaseException):
    """What the handler of these tests raises, as Prefect's and Python's own do."""


@pytest.fixture(params=SIGNALS, ids=lambda number: number.name)
def number(request):
    def end(number, frame):
        raise Ended(number)

    before = signal.signal(request.param, end)
    yield request.param
    signal.signal(request.param, before)


def work(number, done, *, signals=1, fails=False):
    """Work during which so many signals come."""
    with postponed_interruption() as is_interrupted:
        done.append(is_interrupted())
        for _ in range(signals):
            os.kill(os.getpid(), number)
        done.append(is_interrupted())
        if fails:
            raise ValueError("stopped")


def test_waits_until_the_work_stops(number):
    done = []
    with pytest.raises(Ended):
        work(number, done)
    assert done == [False, True]


def test_takes_place_although_the_work_fails(number):
    with pytest.raises(Ended):
        work(number, [], fails=True)


def test_a_second_one_does_not_wait(number):
    done = []
    with pytest.raises(Ended):
        work(number, done, signals=2)
    assert done == [False]


def test_afterwards_nothing_is_put_off(number):
    before = signal.getsignal(number)
    with postponed_interruption():
        assert signal.getsignal(number) is not before
    assert signal.getsignal(number) is before


def test_what_is_ignored_stays_ignored(number):
    signal.signal(number, signal.SIG_IGN)
    with postponed_interruption() as is_interrupted:
        os.kill(os.getpid(), number)
        assert not is_interrupted()


def test_in_another_thread_nothing_is_put_off():
    answers = []

    def ask():
        with postponed_interruption() as is_interrupted:
            answers.append(is_interrupted())

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert answers == [False]


def test_one_that_was_lost_takes_place_again(number, monkeypatch):
    require_uninterrupted()
    monkeypatch.setattr(interruption, "interruptions", [number])
    with pytest.raises(Ended):
        require_uninterrupted()
