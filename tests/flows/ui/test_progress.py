"""How a training's progress is shown: seldom enough to cost nothing, and with what a person wants to know."""

import logging
from types import ModuleType
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from tasks.caching.stage import StageReport
from tasks.train import TRAINING_LOSS

if TYPE_CHECKING:
    from flows.ui.progress import Pace, TrainingProgress


class Clock:
    """The time, as the test wants it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def progress(prefect: None) -> ModuleType:
    from flows.ui import progress

    return progress


@pytest.fixture
def clock(progress: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.fixture
def shown(progress: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, UUID | None, str, str]]:
    """What is put on pages: the key or the page, the Markdown, and the summary."""
    shown: list[tuple[str, UUID | None, str, str]] = []

    def create(markdown: str, *, key: str, description: str) -> UUID:
        page = uuid4()
        shown.append((key, page, markdown, description))
        return page

    monkeypatch.setattr(progress, "get_run_logger", lambda: logging.getLogger("progress"))
    monkeypatch.setattr(progress, "create_markdown_artifact", create)
    # Which store has the plain keys depends on the tests that were run before.
    monkeypatch.setattr(progress, "page_key", lambda experiment, page: f"{experiment}-{page}")
    monkeypatch.setattr(
        progress, "update_page", lambda page, markdown, summary: shown.append(("", page, markdown, summary))
    )
    return shown


@pytest.fixture
def pace(progress: ModuleType, clock: Clock) -> "Pace":
    pace: Pace = progress.Pace()
    return pace


@pytest.fixture
def observer(progress: ModuleType, clock: Clock, shown: list[Any]) -> "TrainingProgress":
    """Watches a training of `line`, whose train stage has begun."""
    observer: TrainingProgress = progress.TrainingProgress("line")
    observer.on_stage_start("train", ())
    return observer


def go(observer: "TrainingProgress", clock: Clock, seconds: float, epochs: int) -> None:
    """A training of so many epochs, evenly over the time."""
    for epoch in range(1, epochs + 1):
        clock.now += seconds / epochs
        observer.on_progress("train", epoch, epochs, {TRAINING_LOSS: 1 / epoch})


def test_where_it_is_how_fast_and_how_long_it_takes(pace: "Pace", clock: Clock) -> None:
    assert pace.words(1, 10_000, {TRAINING_LOSS: 0.5}) == "epoch 1 of 10,000, training loss 0.5"
    clock.now += 2
    assert (
        pace.words(2_001, 10_000, {TRAINING_LOSS: 0.0148})
        == "epoch 2,001 of 10,000, training loss 0.0148, 1,000 epochs/s, 8 s left"
    )


def test_what_another_process_did_does_not_count_as_fast(pace: "Pace", clock: Clock) -> None:
    clock.now += 1
    pace.words(9_000, 10_000, {TRAINING_LOSS: 0.5})
    clock.now += 1
    assert pace.words(9_100, 10_000, {TRAINING_LOSS: 0.5}).endswith("100 epochs/s, 9 s left")


def test_a_quick_training_shows_nothing(
    observer: "TrainingProgress", clock: Clock, shown: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        go(observer, clock, 1.9, 180)
        observer.on_stage_end(StageReport("train", "key", "run", (), 1.9, {}))
    assert (shown, caplog.messages) == ([], [])


def test_a_long_one_has_one_page_that_is_kept_up(
    progress: ModuleType, observer: "TrainingProgress", clock: Clock, shown: list[Any]
) -> None:
    go(observer, clock, 60.0, 6000)
    observer.on_stage_end(StageReport("train", "key", "run", (), 60.0, {}))
    assert shown[0][0] == "line-training"
    assert {page for _, page, _, _ in shown} == {shown[0][1]}
    assert len(shown) <= 60 / progress.PAGE_SECONDS + 2
    assert shown[-1][3] == "done after epoch 6,000, training loss 0.000166667, in 60.0 s"
    assert all("data:image/svg+xml;base64," in markdown for _, _, markdown, _ in shown)


def test_a_stage_that_is_reused_after_it_changes_nothing(
    observer: "TrainingProgress", clock: Clock, shown: list[Any]
) -> None:
    go(observer, clock, 60.0, 6000)
    observer.on_stage_end(StageReport("train", "key", "run", (), 60.0, {}))
    pages = list(shown)
    observer.on_stage_end(StageReport("evaluate", "key", "reused", (), 1.0, {}))
    observer.on_failure(ValueError("of a later stage"))
    assert shown == pages


def test_one_that_fails_shows_where(observer: "TrainingProgress", clock: Clock, shown: list[Any]) -> None:
    go(observer, clock, 60.0, 6000)
    observer.on_failure(ValueError("wrong"))
    assert shown[-1][3] == "failed after epoch 6,000, training loss 0.000166667"


def test_the_log_has_ten_lines_at_most(
    progress: ModuleType, observer: "TrainingProgress", clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        go(observer, clock, 2400.0, 36_000)
    assert 9 <= len(caplog.messages) <= 10
    assert caplog.messages[0].startswith("train: epoch 3,600 of 36,000, training loss ")
    caplog.clear()
    observer.on_stage_start("train", ())
    with caplog.at_level(logging.INFO):
        go(observer, clock, 4 * progress.LINE_SECONDS, 1000)
    assert len(caplog.messages) <= 4


def test_the_log_of_a_long_one_is_never_silent_for_long(
    progress: ModuleType, observer: "TrainingProgress", clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    hours = 10
    with caplog.at_level(logging.INFO):
        go(observer, clock, hours * 3600.0, 36_000)
    lines = [message for message in caplog.messages if message.startswith("train: ")]
    assert hours * 12 - 2 <= len(lines) <= hours * 12


def test_a_stage_without_a_loss_shows_how_far_it_is(
    observer: "TrainingProgress", clock: Clock, shown: list[Any]
) -> None:
    observer.on_stage_start("rank", ())
    clock.now += 10
    observer.on_progress("train", 3, 9, {})
    assert shown[-1][3].startswith("epoch 3 of 9")
