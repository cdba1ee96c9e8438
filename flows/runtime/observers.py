"""What sees a flow run besides the UI's pages and its caller: its log, and the automations in Prefect."""

from collections.abc import Sequence

from prefect.logging import get_run_logger

from flows.environment.identity import identity
from flows.runs.folders import find_run
from flows.runtime import repetition
from flows.runtime.connection import try_request
from flows.runtime.events import DRIFTED, REJECTED, REVERIFIED, VERIFIED, emit
from tasks.caching.decision import Decision
from tasks.caching.observer import Observer, SavedRun, Verification
from tasks.caching.reasons import Reason
from tasks.caching.stage import StageReport
from tasks.caching.storage.store import project_store


class RunLog(Observer):
    """Writes to the flow run's log, which the UI shows."""

    def __init__(self, *remarks: str) -> None:
        """Takes lines that the log begins with; empty ones are left out."""
        self._log, self._remarks = get_run_logger(), remarks

    def on_plan(self, plan: Sequence[Decision]) -> None:
        """Logs what is to be said before the first stage."""
        for remark in filter(None, self._remarks):
            self._log.info("%s", remark)

    def on_stage_start(self, stage: str, reasons: tuple[Reason, ...]) -> None:
        """Logs why the stage runs."""
        self._log.info("%s runs: %s", stage, "; ".join(map(str, reasons)))

    def on_notice(self, stage: str, text: str) -> None:
        """Logs what the stage reports."""
        self._log.info("%s: %s", stage, text)

    def on_stage_end(self, report: StageReport) -> None:
        """Logs what became of the stage."""
        if report.status == "reused":
            self._log.info("%s is reused: %s", report.name, "; ".join(map(str, report.reasons)))
        else:
            self._log.info("%s took %.2f s", report.name, report.seconds)

    def on_saved(self, run: SavedRun) -> None:
        """Warns of a new run that is not as it should be."""
        if run.is_new and run.rejections:
            self._log.warning("the run is not accepted: %s", "; ".join(run.rejections))
        if run.drift:
            self._log.warning("the run drifts: %s", "; ".join(run.drift))


class RunEvents(Observer):
    """Emits the events on which automations act, such as alerts."""

    def on_saved(self, run: SavedRun) -> None:
        """Emits that a new run is not as it should be."""
        if run.is_new and run.rejections:
            emit_run_event(REJECTED, run.folder.name, "; ".join(run.rejections))
        if run.drift:
            emit_run_event(DRIFTED, run.folder.name, "; ".join(run.drift))

    def on_verified(self, verification: Verification) -> None:
        """Emits that a run has passed its verification; one that fails, fails the flow run."""
        if verification.outcome["passed"]:
            emit_run_event(REVERIFIED if verification.is_again else VERIFIED, verification.folder.name)


def emit_run_event(event: str, run: str, why: str = "") -> None:
    """Emits an event about a run, unless the flow run only repeats another."""
    if repetition.purpose.get():
        return
    store = project_store()
    experiment = find_run(run, store).manifest.experiment["name"]
    try_request(lambda: emit(event, experiment, run, identity(store.root), why))
