"""What a run shows in the Prefect UI: its plan, its metrics and its plots, as Markdown."""

import base64
import hashlib
import html
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.runs.wording import figure, in_one_line
from tasks.caching.decision import Decision

#: Plots on the page of a run, in order, with their captions.
PLOTS = {
    "trained": "Predictions of the trained model",
    "loss": "Loss curves",
    "residuals": "Residuals",
    "untrained": "Predictions of the untrained model",
    "data": "Data",
}


def artifact_key(experiment: str, page: str) -> str:
    """The key of a page, the same from run to run and another for every experiment.

    Prefect allows lower-case letters, digits and dashes: a name with anything else is made unique by its hash.
    """
    name = re.sub(r"[^a-z0-9]+", "-", experiment.lower())
    if name != experiment:
        name += f"-{hashlib.sha256(experiment.encode()).hexdigest()[:8]}"
    return f"{name}-{page}"


def plan_page(experiment: str, decisions: Iterable[Decision], notes: str = "") -> str:
    """The plan as a Markdown table: what becomes of each stage, and why; with the notes of the person who asked."""
    rows = [(decision.stage, decision.status, "; ".join(map(str, decision.reasons))) for decision in decisions]
    noted = "".join(f"{cell(line)}\n\n" for line in notes.splitlines() if line.strip())
    return f"# Plan for {cell(experiment)}\n\n{noted}" + markdown_table(("stage", "plan", "why"), rows)


def plan_summary(decisions: Iterable[Decision]) -> str:
    """The plan in a line, such as `2 reused, 1 will run, 3 depends`."""
    counts = Counter(decision.status for decision in decisions)
    return ", ".join(f"{count} {status}" for status, count in counts.items())


def metrics_rows(metrics: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The metrics as a table: a row for each, a column for each part of the rows."""
    names = dict.fromkeys(name for values in metrics.values() for name in values)
    return [{"metric": name} | {part: figure(values.get(name)) for part, values in metrics.items()} for name in names]


def metrics_summary(run: str, metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """The metrics of a run's test rows in a line."""
    figures = ", ".join(f"{name} {figure(metrics['test'].get(name), 4)}" for name in ("loss", "mae", "r2"))
    return f"{run}, test rows: {figures}"


def run_status(created: str, *, trained: bool, rejections: Sequence[str] | None) -> str:
    """Whether a flow run trained its run or found it unchanged, and whether the run is accepted, in a line.

    Args:
        created: when the run was saved, in ISO 8601.
        trained: whether this flow run trained the model.
        rejections: why the run is not accepted; None if its experiment demands nothing.
    """
    origin = "trained now" if trained else f"nothing to train, as on {created[:16].replace('T', ' ')} UTC"
    if rejections is None:
        return origin
    return f"{origin}; not accepted: {'; '.join(rejections)}" if rejections else f"{origin}; accepted"


def report_page(folder: Path, digest: str, url: str | None, status: str) -> str:
    """Where the report and the other files of a run are; the report as a link if it is served.

    Args:
        folder: of the run.
        digest: SHA-256 of its manifest.
        url: of the report.
        status: of the run, in a line.
    """
    report = f"[Open the report]({url})" if url else "`workflow serve` would serve it, so that it can be opened here."
    files = (f"- {cell(str(path.relative_to(folder)))}" for path in sorted(folder.rglob("*")) if path.is_file())
    expect = f"run.json has SHA-256 `{digest}`, which `workflow verify --expect` takes."
    title, where = f"# {cell(folder.name)}", f"Files in {cell(str(folder))}:"
    return "\n".join((title, "", cell(status), "", report, "", expect, "", where, "", *files))


def plots_page(run: str, folder: Path) -> str:
    """The plots of a run, carried inside the page so that the UI needs no access to files."""
    sections = [f"# Plots of {cell(run)}"]
    for name, caption in PLOTS.items():
        sections.append(f"## {caption}\n\n{embedded((folder / 'plots' / f'{name}.png').read_bytes(), caption)}")
    return "\n\n".join(sections)


def embedded(png: bytes, caption: str) -> str:
    """A picture that the page itself carries."""
    return f"![{caption}](data:image/png;base64,{base64.b64encode(png).decode()})"


def verification_page(run: str, verification: Mapping[str, Any]) -> str:
    """The outcome of a verification, in Markdown."""
    rows = [
        (check["name"], "passed" if check["passed"] else "FAILED", check["detail"]) for check in verification["checks"]
    ]
    title = cell(verification_summary(run, verification))
    return f"# {title}\n\n" + markdown_table(("check", "outcome", "detail"), rows)


def verification_summary(run: str, verification: Mapping[str, Any]) -> str:
    """The outcome of a verification in a line."""
    return f"{run} is {'verified' if verification['passed'] else 'NOT verified'}"


def markdown_table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table whose texts are shown as they are, whatever they hold."""
    lines = [[cell(text) for text in header]]
    lines.append(["---"] * len(lines[0]))
    lines += [[cell(text) for text in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell(text: str) -> str:
    """A text made inert for Markdown and HTML."""
    shown = in_one_line(" ".join(text.split()))
    return re.sub(r"([\\`*_{}\[\]()#+!|~$])", r"\\\1", html.escape(shown, quote=False))
