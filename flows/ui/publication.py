"""Puts pages on a flow run in the UI, each under a key that is the same from run to run, so that it has a history."""

from collections.abc import Sequence
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.runs.folders import RunFolder
from flows.runs.history import read_history
from flows.runtime.connection import ask
from flows.services.report_server import report_url
from flows.ui import pages
from flows.ui.history_page import history_page
from flows.ui.page_keys import page_key
from tasks.caching.storage.store import Store


def show_run(run: RunFolder, experiment: str, store: Store, *, trained: bool, rejections: Sequence[str] | None) -> None:
    """Shows what came of a training: its metrics, its plots, and where its report is.

    Args:
        run: that the training led to.
        experiment: that it is of.
        store: that it is in.
        trained: whether the model was trained by this flow run, or had been before.
        rejections: why the run is not accepted; None if its experiment demands nothing.
    """
    name, metrics = run.folder.name, run.metrics
    show_table(experiment, "metrics", pages.metrics_rows(metrics), pages.metrics_summary(name, metrics))
    show_page(experiment, "plots", pages.plots_page(name, run.folder), f"Plots of {name}")
    status = pages.run_status(run.manifest.created, trained=trained, rejections=rejections)
    report = pages.report_page(run.folder, run.digest, report_url(name, store.root), status)
    show_page(experiment, "report", report, f"Report of {name}: {status}")


def show_history(experiment: str, store: Store) -> None:
    """Shows the history of an experiment after a new run, without its plot."""
    history = read_history(experiment, store)
    show_page(experiment, "history", history_page(history), history.verdict)


def show_page(experiment: str, page: str, markdown: str, summary: str) -> None:
    """Shows a page; the list of them has its summary."""
    key = page_key(experiment, page)
    ask(lambda: create_markdown_artifact(markdown, key=key, description=pages.cell(summary)))


def show_table(experiment: str, page: str, rows: list[dict[str, Any]], summary: str) -> None:
    """Shows a table, whose rows have the same columns; the list of pages has its summary."""
    key = page_key(experiment, page)
    ask(lambda: create_table_artifact(rows, key=key, description=pages.cell(summary)))
