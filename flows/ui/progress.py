"""Shows how far a training has come: in lines of the log, which the UI follows, and on a page with its loss curve."""

import base64
import math
import time
from collections.abc import Mapping
from typing import cast
from uuid import UUID

from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.logging import get_run_logger

from flows.runs.wording import shown_figures
from flows.runtime.connection import try_request
from flows.ui.loss_curve import Curve, draw_curve
from flows.ui.page_keys import page_key
from flows.ui.pages import cell
from tasks.caching.observer import Observer
from tasks.caching.reasons import Reason
from tasks.caching.stage import StageReport
from tasks.train import TRAINING_LOSS

#: Seconds before a training first shows anything: a quick one need not.
FIRST_SECONDS = 2.0

#: Seconds between two updates of the page, each of which is a request, and between two lines of the log.
PAGE_SECONDS, LINE_SECONDS = 5.0, 5.0

#: What the curve shows, and the metrics of the run do not.
MEANING = "The training loss of an epoch is taken before each of its updates; the metrics are of the final weights."

#: Lines of the log that a training of up to 50 minutes gets at most; seconds after which a longer one has another line.
LINES, SILENCE_SECONDS = 10, 300.0


class Pace:
    """How fast a stage advances, from where this process began with it."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._first: int | None = None

    def words(self, done: int, total: int, figures: Mapping[str, float]) -> str:
        """Where the stage is, such as `epoch 3,000 of 10,000, training loss 0.0148, 1,200 epochs/s, 6 s left`."""
        place, now = with_figures(f"epoch {done:,} of {total:,}", figures), time.monotonic()
        if self._first is None:  # of a training that was resumed, another process did most
            self._first, self._began = done, now
        if done == self._first or now == self._began:
            return place
        rate = (done - self._first) / (now - self._began)
        return f"{place}, {rate:,.0f} epochs/s, {(total - done) / rate:,.0f} s left"


class TrainingProgress(Observer):
    """Shows how far a stage has come."""

    def __init__(self, experiment: str) -> None:
        self._experiment = experiment
        self._log = get_run_logger()
        self._stage, self._pace, self._curve = "", Pace(), Curve()
        self._page: UUID | None = None
        self._page_due = self._line_due = self._line_overdue = math.inf
        self._logged = 0.0
        self._last: tuple[int, Mapping[str, float]] = 0, {}

    def on_stage_start(self, stage: str, reasons: tuple[Reason, ...]) -> None:
        """Begins with nothing shown."""
        self._stage, self._pace, self._curve, self._page = stage, Pace(), Curve(), None
        self._page_due = self._line_due = time.monotonic() + FIRST_SECONDS
        self._line_overdue = time.monotonic() + SILENCE_SECONDS
        self._logged = 0.0

    def on_progress(self, stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        """Shows it if it is time to."""
        if TRAINING_LOSS in figures:
            self._curve.add(done, figures[TRAINING_LOSS])
        self._last = done, figures
        words, now = self._pace.words(done, total, figures), time.monotonic()
        if now >= self._line_due and (done / total >= self._logged + 1 / LINES or now >= self._line_overdue):
            self._log.info("%s: %s", stage, words)
            self._line_due, self._line_overdue, self._logged = now + LINE_SECONDS, now + SILENCE_SECONDS, done / total
        if now >= self._page_due:
            self._show(words, total)
            self._page_due = now + PAGE_SECONDS

    def on_stage_end(self, report: StageReport) -> None:
        """Shows the end of what had a page. A stage that is reused after it changes nothing there."""
        if self._page is not None and report.name == self._stage:
            last, figures = self._last
            self._show(f"{with_figures(f'done after epoch {last:,}', figures)}, in {report.seconds:,.1f} s", last)
            self._page = None

    def on_failure(self, error: Exception) -> None:
        """Shows where what had a page has failed."""
        if self._page is not None:
            last, figures = self._last
            self._show(with_figures(f"failed after epoch {last:,}", figures), last)

    def _show(self, words: str, epochs: int) -> None:
        markdown = f"# Training of {cell(self._experiment)}\n\n{cell(words)}"
        if self._curve.points:
            curve = draw_curve(self._curve.points, epochs, f"Training loss of {self._experiment}")
            image = base64.b64encode(curve.encode()).decode()
            markdown += f"\n\n![Training loss](data:image/svg+xml;base64,{image})\n\n{MEANING}"
        if self._page is None:
            key = page_key(self._experiment, "training")
            self._page = try_request(lambda: cast(UUID, create_markdown_artifact(markdown, key=key, description=words)))
        else:
            try_request(lambda: update_page(cast(UUID, self._page), markdown, words))


def with_figures(words: str, figures: Mapping[str, float]) -> str:
    """Where a stage is, followed by its newest figures."""
    return f"{words}, {shown_figures(figures)}" if figures else words


def update_page(page: UUID, markdown: str, summary: str) -> None:
    """Puts something else on a page of the UI."""
    with get_client(sync_client=True) as client:
        client.update_artifact(page, ArtifactUpdate(data=markdown, description=summary))
