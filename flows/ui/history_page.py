"""What shows an experiment's history: its plot, and its page in the Prefect UI."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from flows.environment.settings import ServerError
from flows.errors import InputError
from flows.runs.history import DIGESTS, METRICS, RunHistory
from flows.runs.wording import figure
from flows.services.prefect_server.sign_in import UiPage
from flows.ui.pages import cell, embedded, markdown_table
from tasks.caching.storage.durable import replace_file
from tasks.caching.storage.store import Store
from tasks.learning.evaluation.drift import CUT, FEWEST_BEFORE, FLOOR, MOST_BEFORE, QUARTILE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = "history"

#: Whether a run was verified, in a word.
VERDICTS = {None: "not yet", True: "yes", False: "FAILED"}

#: What the band is.
BAND = (
    f"The band of a metric is the median ± {CUT} · MAD / {QUARTILE} of the last {MOST_BEFORE} runs before, "
    f"and at least ± {FLOOR:.1%}; there is none before {FEWEST_BEFORE} runs."
)


def draw(history: RunHistory) -> "Figure":
    """The metrics of the runs, of which there is at least one, with their bands."""
    from tasks.learning.reporting.drift_figure import Track, draw_drift

    rows = history.rows
    tracks = [
        Track(
            label,
            values=[row.metrics[name] for row in rows],
            bands=[row.bands[name] for row in rows],
            outside=[name in row.outside for row in rows],
        )
        for name, label in METRICS.items()
        if name != "rmse"  # which says what the others do, at the cost of another panel
    ]
    return draw_drift(tracks, [row.when.replace(" ", "\n") for row in rows], history.experiment, history.verdict)


def plot_paths(experiment: str, store: Store, wanted: Path | None) -> list[Path]:
    """Where the plot goes: where it is wanted, else into the store, as PNG and as SVG.

    Raises:
        InputError: it is wanted in another form, or where there is a folder.
    """
    if wanted is None:
        return [store.artifacts / "history" / f"{experiment}{suffix}" for suffix in (".png", ".svg")]
    if wanted.suffix not in (".png", ".svg") or os.path.isdir(wanted):  # noqa: PTH112 - takes a name that is too long
        raise InputError(f"--plot: {str(wanted)!r} is not the path of a .png or .svg file")
    return [wanted]


def write_plot(history: RunHistory, paths: list[Path]) -> bytes:
    """Draws the history into files, each of which is replaced atomically; returns the PNG."""
    from tasks.learning.reporting.figure_style import render

    png, svg = render(draw(history))
    for path in paths:
        replace_file(path, png if path.suffix == ".png" else svg)
    return png


def history_page(history: RunHistory, png: bytes | None = None) -> str:
    """The history in Markdown: the verdict, the flags, the plot if it was drawn, and the runs, newest first."""
    rows = history.rows[::-1]
    flags = [f"- {cell(row.run)}: {cell('; '.join(row.flags))}" for row in rows if row.outside]
    metrics = [
        (row.run, *(figure(value, digits=4) for value in row.metrics.values()), VERDICTS[row.verified], row.changes)
        for row in rows
    ]
    made = [(row.run, row.when, row.device, *(digest[:12] for digest in row.digests.values())) for row in rows]
    sections = [
        f"# Runs of {cell(history.experiment)}",
        f"**{cell(history.verdict)}.**",
        "\n".join(flags),
        "" if png is None else embedded(png, "Test metrics over the runs"),
        "## Test metrics",
        markdown_table(("run", *METRICS.values(), "verified", "changed"), metrics),
        "## What they made, by SHA-256",
        markdown_table(("run", "when", "device", *DIGESTS), made),
        f"Left out, as damaged: {cell(', '.join(history.damaged))}." if history.damaged else "",
        cell(BAND),
    ]
    return "\n\n".join(section for section in sections if section)


def publish(history: RunHistory, png: bytes, root: Path, notify: Callable[[str], None]) -> UiPage | None:
    """Puts the page into the Prefect UI, if the server that a run would use answers; returns where it is there.

    Starts no server. If the server rejects the page, `notify` is called and nothing is raised.
    """
    from flows.runtime.session import prefect_session
    from flows.services.prefect_server import server

    try:
        found = server.status(root)
        if found.state not in ("running", "stopped"):
            notify(found.describe())
        if found.state != "running":
            return None
        with prefect_session(root, notify=notify) as api:
            return UiPage(api, f"/artifacts/artifact/{create_page(history, png, root)}") if api else None
    except ServerError as error:
        notify(str(error))
        return None


def create_page(history: RunHistory, png: bytes, root: Path) -> str:
    """Creates the page in Prefect, on no flow run; returns its id."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import ArtifactCreate
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    from flows.ui.page_keys import page_key_now

    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}), get_client(sync_client=True) as client:
        key = page_key_now(client, history.experiment, PAGE, root)
        page = ArtifactCreate(key=key, type="markdown", description=history.verdict, data=history_page(history, png))
        # What `create_artifact` does, without its event, for which a command that is about to end would have to wait.
        created = client.request("POST", "/artifacts/", json=page.model_dump(mode="json", exclude_unset=True))
    return str(created.json()["id"])
