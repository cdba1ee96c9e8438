"""What sees a flow run while it happens: the terminal, the log and the UI each do with it what they can."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.caching.decision import Decision
from tasks.caching.reasons import Reason
from tasks.caching.stage import StageReport


@dataclass(frozen=True)
class SavedRun:
    """The run that a flow run led to.

    Attributes:
        folder: of the run.
        trained: whether the model was trained by this flow run, or had been before.
        is_new: whether the run was saved by this flow run, or had been before.
        rejections: why it is not accepted; None if its experiment demands nothing.
        drift: in which respects it drifts; empty for a run that is not new.
    """

    folder: Path
    trained: bool
    is_new: bool
    rejections: Sequence[str] | None
    drift: Sequence[str]


@dataclass(frozen=True)
class Verification:
    """A verification that has ended.

    Attributes:
        folder: of the run.
        outcome: what is in its verification.json.
        is_again: whether the same run had passed one before.
    """

    folder: Path
    outcome: Mapping[str, Any]
    is_again: bool


class Observer:
    """Sees what a flow run does. Each method does nothing here: an observer overrides those that it needs."""

    def on_plan(self, plan: Sequence[Decision]) -> None:
        """The flow run is about to do this."""

    def on_stage_start(self, stage: str, reasons: tuple[Reason, ...]) -> None:
        """A stage is about to run, for these reasons."""

    def on_progress(self, stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        """The running stage has come this far: steps done, of how many; its newest figures by name."""

    def on_notice(self, stage: str, text: str) -> None:
        """The running stage reports something that a person should know."""

    def on_resume(self, stage: str, step: int, where: str) -> None:
        """The running stage resumes from its checkpoint at a step, left by an earlier run; a notice, if not more."""
        self.on_notice(stage, f"resumes after {where}, where an earlier run ended")

    def on_stage_end(self, report: StageReport) -> None:
        """A stage was reused, or ran to its end."""

    def on_saved(self, run: SavedRun) -> None:
        """The flow run has its run, saved now or found unchanged."""

    def on_verified(self, verification: Verification) -> None:
        """The flow run has verified a run, which passed or did not."""

    def on_failure(self, error: Exception) -> None:
        """The flow run fails with this error."""


class Observers(Observer):
    """Several observers as one; what it sees, each of them sees in their order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def on_plan(self, plan: Sequence[Decision]) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.on_plan(plan)

    def on_stage_start(self, stage: str, reasons: tuple[Reason, ...]) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.on_stage_start(stage, reasons)

    def on_progress(self, stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.on_progress(stage, done, total, figures)

    def on_notice(self, stage: str, text: str) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.on_notice(stage, text)

    def on_resume(self, stage: str, step: int, where: str) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.on_resume(stage, step, where)

    def on_stage_end(self, report: StageReport) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.on_stage_end(report)

    def on_saved(self, run: SavedRun) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.on_saved(run)

    def on_verified(self, verification: Verification) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.on_verified(verification)

    def on_failure(self, error: Exception) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.on_failure(error)

    @contextlib.contextmanager
    def shown_failure(self) -> Iterator[None]:
        """Surrounds the work of a flow run: an error that ends it is shown, and raised again."""
        try:
            yield
        except Exception as error:
            self.on_failure(error)
            raise


#: Observers that the caller of a flow adds, such as a terminal's. They are no flow parameters: they change no result,
#: and no form in the UI could fill them in.
extra_observers: ContextVar[tuple[Observer, ...]] = ContextVar("extra_observers", default=())
