"""Who is told what becomes of the stages while a flow runs: the flow run's log, and whom the flow's caller adds."""

from collections.abc import Mapping
from contextvars import ContextVar

from prefect.logging import get_run_logger

from tasks.caching.reasons import Reason
from tasks.caching.stage import Observer, StageReport

#: Watchers that the caller of a flow adds, such as a terminal's. They are no flow parameters: they change no result,
#: and no form in the UI could fill them in.
extra_observers: ContextVar[tuple[Observer, ...]] = ContextVar("extra_observers", default=())


class RunLog:
    """Tells the flow run's log, which the UI shows."""

    def __init__(self) -> None:
        self._log = get_run_logger()

    def started(self, name: str, reasons: tuple[Reason, ...]) -> None:
        """Logs why the stage runs."""
        self._log.info("%s runs: %s", name, "; ".join(map(str, reasons)))

    def progress(self, done: int, total: int, figures: Mapping[str, float]) -> None:
        """Logs nothing: `flows.ui.progress` tells it."""

    def notice(self, name: str, text: str) -> None:
        """Logs what the stage has to say."""
        self._log.info("%s: %s", name, text)

    def finished(self, report: StageReport) -> None:
        """Logs what became of the stage."""
        if report.status == "reused":
            self._log.info("%s is reused: %s", report.name, "; ".join(map(str, report.reasons)))
        else:
            self._log.info("%s took %.2f s", report.name, report.seconds)
