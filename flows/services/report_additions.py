"""Additions to a run's report that are only known after it was written, inserted when the page is served.

They are whether the run was verified, and how it compares with the previous run. The file itself never changes, since
its digest is recorded.
"""

import contextlib
from typing import Any

from flows.errors import InputError
from flows.runs.comparison import compare_runs
from flows.runs.folders import RunFolder, find_run
from flows.runs.history import names_before
from flows.runs.wording import figure, setting
from flows.services.report_index import VERIFIED, link, table, text
from tasks.caching.storage.store import Store
from tasks.learning.reporting.report import marks

#: Significant digits of a metric.
DIGITS = 4


def with_additions(report: str, run: RunFolder, store: Store) -> str:
    """Returns a run's report with the additions inserted at its marks; a report without marks is returned as it is."""
    for name, addition in (("verified", verdict_html(run)), ("before", comparison(run, store))):
        begin, end = marks(name)
        before, found, rest = report.partition(begin)
        _, ended, after = rest.partition(end)
        if found and ended:
            report = before + begin + addition + end + after
    return report


def verdict_html(run: RunFolder) -> str:
    """Returns whether a run was verified, and when, as HTML."""
    when = (run.verification or {}).get("verified")
    timestamp = f", {when.replace('T', ' ').replace('+00:00', ' UTC')}" if isinstance(when, str) else ""
    shown = f"{VERIFIED[run.verified]}{timestamp}"
    return text(shown) if run.verification is None else link("verification.json", shown)


def comparison(run: RunFolder, store: Store) -> str:
    """Returns the comparison of a run with the previous one of the same experiment, as HTML."""
    before = run_before(run, store)
    if before is None:
        return "<p class='soft'>There is no earlier run of this experiment.</p>"
    compared = compare_runs([before, run])
    changed = [
        [text(name), *(text(setting(name, value)) for value in values)]
        for name, values in compared["configuration"].items()
    ]
    metrics = [metric_row(name, *values) for name, values in compared["metrics"].items() if is_shown(name)]
    earlier = link(f"../{before.folder.name}/report.html", before.folder.name)
    settings = table(("Setting", "Before", "Now"), changed) if changed else "<p>The settings are the same.</p>"
    return f"<p>Compared with {earlier}.</p>{table(('Metric', 'Before', 'Now', 'Change'), metrics)}{settings}"


def is_shown(metric: str) -> bool:
    """Whether a metric, whose name starts with its split, is compared: those of the test rows are."""
    return metric.startswith("test.") and metric != "test.rows"


def metric_row(name: str, before: Any, now: Any) -> list[str]:
    """Returns a table row with a metric in both runs and its change."""
    change = "–" if before is None or now is None else f"{now - before:+,.{DIGITS}g}"
    return [text(shown) for shown in (name, figure(before, DIGITS), figure(now, DIGITS), change)]


def run_before(run: RunFolder, store: Store) -> RunFolder | None:
    """Returns the newest earlier run of the same experiment that can be read; None if there is none."""
    for name in reversed(names_before(run, store)):
        with contextlib.suppress(InputError):
            before = find_run(name, store)
            before.metrics  # noqa: B018 (raises if they cannot be read)
            return before
    return None
