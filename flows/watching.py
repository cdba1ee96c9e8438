"""Who is told what becomes of the stages while a flow runs: the flow run's log, the UI, and perhaps a terminal."""

import time
from contextvars import ContextVar
from typing import cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.logging import get_run_logger

from flows.contact import ask
from tasks.caching.prefect_run import Watcher
from tasks.caching.stage import StageReport

#: Watchers that the caller of a flow adds, such as a terminal's. They are no flow parameters: they change no result,
#: and no form in the UI could fill them in.
extra_watchers: ContextVar[tuple[Watcher, ...]] = ContextVar("extra_watchers", default=())

#: Seconds before a stage's progress first appears in the UI, and between two updates: each one is a request.
PROGRESS_SECONDS = 2.0


class RunLog:
    """Tells the flow run's log, which the UI shows."""

    def __init__(self) -> None:
        self._log = get_run_logger()

    def started(self, name: str, reasons: tuple[str, ...]) -> None:
        """Logs why the stage runs."""
        self._log.info("%s runs: %s", name, "; ".join(reasons))

    def progress(self, done: int, total: int, loss: float) -> None:
        """Logs nothing: the progress bar tells it."""

    def notice(self, name: str, text: str) -> None:
        """Logs what the stage has to say."""
        self._log.info("%s: %s", name, text)

    def finished(self, report: StageReport) -> None:
        """Logs what became of the stage."""
        if report.status == "reused":
            self._log.info("%s is reused: %s", report.name, "; ".join(report.reasons))
        else:
            self._log.info("%s took %.2f s", report.name, report.seconds)


class ProgressArtifact:
    """Shows the running stage's progress in the UI."""

    def __init__(self) -> None:
        self._artifact: UUID | None = None
        self._stage = ""
        self._next = 0.0
        self._started = 0.0

    def started(self, name: str, reasons: tuple[str, ...]) -> None:
        """Waits a while before it shows anything: a quick stage needs no bar."""
        self._artifact, self._stage = None, name
        self._started = time.monotonic()
        self._next = self._started + PROGRESS_SECONDS

    def progress(self, done: int, total: int, loss: float) -> None:
        """Shows how far the stage has come, at most every `PROGRESS_SECONDS`."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + PROGRESS_SECONDS
        rate = done / (now - self._started)
        text = f"{self._stage}: epoch {done:,} of {total:,}, loss {loss:.6g}, {rate:,.0f} epochs/s"
        self._show(100 * done / total, text)

    def notice(self, name: str, text: str) -> None:
        """Shows nothing: the log tells it."""

    def finished(self, report: StageReport) -> None:
        """Fills the bar of a stage that had one."""
        if self._artifact is not None:
            self._show(100.0, f"{self._stage}: done in {report.seconds:.1f} s")
        self._artifact = None

    def _show(self, percent: float, text: str) -> None:
        if (artifact := self._artifact) is not None:
            ask(lambda: update_progress_artifact(artifact, percent, description=text))
        else:
            key = f"{self._stage}-progress"
            self._artifact = ask(lambda: cast(UUID, create_progress_artifact(percent, key=key, description=text)))
