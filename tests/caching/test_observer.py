"""What observers see: an observer has only what it needs, and several of them see the same."""

import inspect
from pathlib import Path
from typing import Any

import pytest

from tasks.caching.observer import Observer, Observers, SavedRun, Verification
from tasks.caching.stage import StageReport

#: Each method, with something that it may be called with.
SEEN: dict[str, tuple[Any, ...]] = {
    "on_plan": ((),),
    "on_stage_start": ("train", ("forced",)),
    "on_progress": ("train", 1, 180, {"training loss": 0.5}),
    "on_notice": ("train", "resumed"),
    "on_resume": ("train", 750, "epoch 750"),
    "on_stage_end": (StageReport("train", "key", "run", (), 1.0, {}),),
    "on_saved": (SavedRun(Path("line-1"), trained=True, is_new=True, rejections=None, drift=()),),
    "on_verified": (Verification(Path("line-1"), {"passed": True}, is_again=False),),
    "on_failure": (ValueError("wrong"),),
}


def recording(seen: list[tuple[str, tuple[Any, ...]]]) -> Observer:
    """An observer that keeps what it sees."""
    observer = Observer()
    for name in SEEN:
        setattr(observer, name, lambda *given, name=name: seen.append((name, given)))
    return observer


def test_these_are_all_methods() -> None:
    assert [name for name, _ in inspect.getmembers(Observer, inspect.isfunction)] == sorted(SEEN)


@pytest.mark.parametrize("name", SEEN)
def test_all_observers_see_it_in_their_order(name: str) -> None:
    seen: list[tuple[str, tuple[Any, ...]]] = []
    observers = Observers(recording(seen), Observer(), recording(seen))
    getattr(observers, name)(*SEEN[name])
    assert seen == [(name, SEEN[name])] * 2


def test_an_error_that_ends_the_work_is_shown_and_raised() -> None:
    seen: list[tuple[str, tuple[Any, ...]]] = []
    error = ValueError("wrong")
    with pytest.raises(ValueError, match="wrong"), Observers(recording(seen)).shown_failure():
        raise error
    assert seen == [("on_failure", (error,))]


def test_an_interruption_is_no_failure() -> None:
    seen: list[tuple[str, tuple[Any, ...]]] = []
    with pytest.raises(KeyboardInterrupt), Observers(recording(seen)).shown_failure():
        raise KeyboardInterrupt
    assert seen == []
