"""What a run shows in the Prefect UI: its plan, its metrics and its plots, as Markdown."""

import base64
import hashlib
import html
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from flows.wording import figure
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

    Prefect allows lower-case letters, digits and dashes: a name with anything else is told apart by its hash.
    """
    name = re.sub(r"[^a-z0-9]+", "-", experiment.lower())
    if name != experiment:
        name += f"-{hashlib.sha256(experiment.encode()).hexdigest()[:8]}"
    return f"{name}-{page}"


def plan_page(experiment: str, decisions: Iterable[Decision]) -> str:
    """The plan as a Markdown table: what becomes of each stage, and why."""
    rows = [(decision.stage, decision.status, "; ".join(decision.reasons)) for decision in decisions]
    return f"# Plan for {cell(experiment)}\n\n" + markdown_table(("stage", "plan", "why"), rows)


def metrics_page(run: str, metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """The metrics as a Markdown table: a column for each part of the rows."""
    names = list(dict.fromkeys(name for values in metrics.values() for name in values))
    rows = [(name, *(figure(values.get(name)) for values in metrics.values())) for name in names]
    return f"# Metrics of {cell(run)}\n\n" + markdown_table(("metric", *metrics), rows)


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
    outcome = "verified" if verification["passed"] else "NOT verified"
    return f"# {cell(run)} is {outcome}\n\n" + markdown_table(("check", "outcome", "detail"), rows)


def markdown_table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table whose texts are shown as they are, whatever they hold."""
    lines = [[cell(text) for text in header]]
    lines.append(["---"] * len(lines[0]))
    lines += [[cell(text) for text in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell(text: str) -> str:
    """A text made inert for Markdown and HTML."""
    return re.sub(r"([\\`*_{}\[\]()#+!|~$])", r"\\\1", html.escape(" ".join(text.split()), quote=False))
