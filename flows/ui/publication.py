"""Puts pages on a flow run in the UI, each under a key that is the same from run to run, so that it has a history."""

from collections.abc import Sequence
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.runs.folders import find_run
from flows.runs.history import read_history
from flows.runtime.connection import try_request
from flows.services.report_server import report_url
from flows.ui import pages
from flows.ui.history_page import history_page
from flows.ui.page_keys import page_key
from tasks.caching.decision import Decision
from tasks.caching.observer import Observer, SavedRun, Verification
from tasks.caching.storage.store import Store


class RunPages(Observer):
    """Puts pages on a flow run: the plan, the metrics, the plots, the report and the history, or the verification."""

    def __init__(self, experiment: str, store: Store, notes: str = "") -> None:
        self._experiment, self._store, self._notes = experiment, store, notes

    def on_plan(self, plan: Sequence[Decision]) -> None:
        """Shows the plan, with the notes of the person who asked for the run."""
        page = pages.plan_page(self._experiment, plan, self._notes)
        show_page(self._experiment, "plan", page, pages.plan_summary(plan))

    def on_saved(self, run: SavedRun) -> None:
        """Shows what came of the training; the history, without its plot, if there is a new run in it."""
        found = find_run(run.folder.name, self._store)
        name, metrics = found.folder.name, found.metrics
        show_table(self._experiment, "metrics", pages.metrics_rows(metrics), pages.metrics_summary(name, metrics))
        show_page(self._experiment, "plots", pages.plots_page(name, found.folder), f"Plots of {name}")
        status = pages.run_status(found.manifest.created, trained=run.trained, rejections=run.rejections)
        report = pages.report_page(found.folder, found.digest, report_url(name, self._store.root), status)
        show_page(self._experiment, "report", report, f"Report of {name}: {status}")
        if run.is_new:
            history = read_history(self._experiment, self._store)
            show_page(self._experiment, "history", history_page(history), history.verdict)

    def on_verified(self, verification: Verification) -> None:
        """Shows the checks that were made."""
        run, outcome = verification.folder.name, verification.outcome
        summary = pages.verification_summary(run, outcome)
        show_page(self._experiment, "verification", pages.verification_page(run, outcome), summary)


def show_page(experiment: str, page: str, markdown: str, summary: str) -> None:
    """Shows a page; the list of them has its summary."""
    key = page_key(experiment, page)
    try_request(lambda: create_markdown_artifact(markdown, key=key, description=pages.cell(summary)))


def show_table(experiment: str, page: str, rows: list[dict[str, Any]], summary: str) -> None:
    """Shows a table, whose rows have the same columns; the list of pages has its summary."""
    key = page_key(experiment, page)
    try_request(lambda: create_table_artifact(rows, key=key, description=pages.cell(summary)))
