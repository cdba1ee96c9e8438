"""The index pages of the report server: all runs, and the files of one run."""

from collections.abc import Iterable
from html import escape
from pathlib import Path
from urllib.parse import quote

from flows.runs.folders import RunFolder, list_runs
from flows.runs.wording import figure, in_one_line
from tasks.caching.storage.store import Store
from tasks.learning.reporting.report_style import STYLE

#: The most runs that the index lists; the newest ones.
MAX_RUNS = 500

#: How the index shows whether a run was verified.
VERIFIED = {None: "not yet", True: "yes", False: "FAILED"}

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""


def runs_page(store: Store) -> str:
    """Returns the page of all runs, newest first, with links to their reports and files."""
    runs, damaged = list_runs(store)
    rows = [run_row(run) for run in runs[: -MAX_RUNS - 1 : -1]]
    rows += [[text(name), "damaged", *[""] * 4, link(f"{name}/", "files")] for name in damaged]
    if not rows:
        return page("Runs", "<p>There is no run yet.</p>")
    return page("Runs", table(("Run", "Experiment", "When", "Device", "Test R²", "Verified", "Files"), rows))


def run_row(run: RunFolder) -> list[str]:
    """Returns a run's row in the index."""
    name, manifest = run.folder.name, run.manifest
    return [
        link(f"{name}/report.html", name),
        text(str(manifest.experiment["name"])),
        text(manifest.created[:16].replace("T", " ")),
        text(manifest.environment.device),
        text(figure(run.metrics["test"]["r2"], 4)),
        text(VERIFIED[run.verified]),
        link(f"{name}/", "files"),
    ]


def files_page(folder: Path) -> str:
    """Returns the page that lists a run's files as links."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.resolve().is_relative_to(folder))
    rows = [[link(str(path.relative_to(folder))), f"{path.stat().st_size:,} B"] for path in paths]
    return page(folder.name, f"<p>{link('../', 'All runs')}</p>{table(('File', 'Size'), rows)}")


def page(title: str, body: str) -> str:
    """Returns a page in the style of the reports.

    Args:
        title: As plain text.
        body: As HTML.
    """
    return PAGE.format(title=text(title), style=STYLE, body=body)


def table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Returns a table whose cells are HTML."""
    head = "".join(f'<th scope="col">{text(heading)}</th>' for heading in headings)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def link(path: str, shown: str = "") -> str:
    """Returns a link to a relative path as HTML; `./` keeps a name with a colon from being parsed as a scheme."""
    return f'<a href="./{quote(path, errors="surrogateescape")}">{text(shown or path)}</a>'


def text(value: str) -> str:
    """Returns text escaped for HTML, on one line."""
    return escape(in_one_line(value))
