"""The report of a run: one HTML page that explains what was trained, how well it does, and how to repeat it.

The page stands alone: no scripts, and nothing is loaded from anywhere; its links lead to the run's files beside it.
Every text in it is escaped, and its Content-Security-Policy forbids everything but its own styles and embedded images.
"""

import math
import shlex
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from jinja2 import DictLoader, Environment, StrictUndefined, Template
from markupsafe import Markup

from tasks.learning.config.acceptance import Accept, shortfalls
from tasks.learning.data.schema import AFTER, ROW, predicted_features
from tasks.learning.losses.registry import loss_name
from tasks.learning.reporting.report_page import PAGE
from tasks.learning.reporting.report_settings import ABSENT, as_toml, sections_of, settings_shown
from tasks.learning.reporting.report_style import STYLE
from tasks.learning.reporting.split_summary import describe_split

if TYPE_CHECKING:
    from tasks.learning.models.learned import Learned  # which imports torch

#: What is known of a run only after its report was written, between marks, so that a server can replace it.
LATER = {
    "verified": Markup("when this page was written, not yet: see <a href='./verification.json'>verification.json</a>"),
    "before": Markup("<p class='soft'>`workflow serve` shows it here; in a terminal, `workflow compare` does.</p>"),
}

#: Significant digits of what was measured or learned. Settings are shown as they were given.
DIGITS = 4

#: Features of a row that are shown, at most.
MOST_FEATURES = 6

#: Shown of a SHA-256, the rest is in the title.
DIGEST_LENGTH = 12


class Figure(NamedTuple):
    """How a plot is shown: its caption, and what it shows in words for those who cannot see it."""

    caption: str
    alt: str


#: The plots that matter most, shown large.
HEADLINES = {
    "trained": Figure("Predictions after training", "Data of each split, with the trained model's predictions."),
    "loss": Figure(
        "Loss while training: of the training rows before each update, of the others after it",
        "Loss by epoch: on the training rows the mean over the batches, each before its update; on the held-out rows "
        "after the epoch's updates. The title has the losses with the final weights, as the metrics below do.",
    ),
    "predicted": Figure(
        "Predicted against actual", "The prediction of each row over its target; on the diagonal, equal."
    ),
    "residuals": Figure("Residuals", "Target minus prediction, row by row."),
}

#: The other plots, shown small.
DETAILS = {
    "data": Figure("Data", "The rows of the dataset, by split."),
    "untrained": Figure("Predictions before training", "Data of each split, with the untrained model's predictions."),
}

#: Headings of the metrics table. A metric that is not listed goes by its own name.
METRICS = {
    "rows": "Rows",
    "loss": "Loss",
    "mae": "MAE",
    "mse": "MSE",
    "rmse": "RMSE",
    "r2": "R²",
    "largest_error": "Largest error",
}


def render_report(
    manifest: Mapping[str, Any],
    metrics: Mapping[str, Mapping[str, Any]],
    split: Mapping[str, Any],
    plots: Mapping[str, bytes],
    learned: "Learned",
    worst: Sequence[Mapping[str, Any]],
) -> str:
    """The report of a run as one HTML page that stands alone; the same for the same arguments.

    Args:
        manifest: of the run, as JSON describes it.
        metrics: of the trained model, by split and name; None where one is undefined. Validation may be absent.
        split: the proof of the split, as JSON describes it.
        plots: SVG images by name: data, untrained, trained, loss, residuals and predicted.
        learned: the parameters of the trained model.
        worst: the rows that are predicted worst, the worst first, each with its split, number and values.

    Raises:
        KeyError: the manifest, the metrics, the proof or the plots lack a part; its name is the argument.
        ValueError: the manifest's time is not in ISO 8601.
    """
    experiment = manifest["experiment"]
    created = _moment(manifest["created"])
    stages = [_stage(entry) for entry in manifest["stages"]]
    named = loss_name(experiment["training"]["loss"])
    return _page().render(
        run=manifest["run"],
        experiment=experiment["name"],
        created=created,
        when=f"{created.day} {created:%B %Y, %H:%M:%S} UTC",
        device=_device(manifest["environment"]),
        time=_time(manifest["stages"]),
        verdicts=_verdicts(experiment, metrics["test"]),
        device_note=manifest["environment"]["device_note"],
        outcome=_outcome(metrics["test"], named),
        learned=_learned(learned),
        worst=_worst_table(worst),
        before=later("before"),
        headlines=_figures(HEADLINES, plots),
        details=_figures(DETAILS, plots),
        loss_name=named,
        metrics=_metrics_table(metrics),
        split=describe_split(split),
        effort=_effort(manifest["stages"]),
        stages=stages,
        sections=[(name, list(settings_shown(name, part))) for name, part in sections_of(experiment)],
        environment=_environment(manifest),
        files=_artifacts(manifest["files"]),
        checkpoint=manifest["checkpoint"],
        verify=f"workflow verify {shlex.quote(manifest['run'])}",
        toml=as_toml(experiment),
    )


def _page() -> Template:
    """The compiled page; a name that it lacks is an error, and all that is filled in is escaped."""
    environment = Environment(
        loader=DictLoader({"report.html": PAGE, "style.css": STYLE}), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("report.html")


def _moment(created: str) -> datetime:
    """A time in ISO 8601, in UTC; one without a time zone is taken as UTC."""
    moment = datetime.fromisoformat(created)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _outcome(test: Mapping[str, Any], loss_name: str) -> str:
    """The run in one line: how the trained model does on the test rows."""
    parts = [f"Test loss {_number(test['loss'])} ({loss_name})"]
    if test.get("r2") is not None:
        parts.append(f"R² {_number(test['r2'])}")
    if test.get("largest_error") is not None:
        parts.append(f"largest error {_number(test['largest_error'])}")
    return f"{', '.join(parts)}, on {_number(test['rows'])} rows that the model did not see in training."


def later(name: str) -> Markup:
    """What stands for something that is known later, between the marks by which it is found."""
    begin, end = marks(name)
    return Markup(begin + str(LATER[name]) + end)  # noqa: S704 - all of it is written here


def marks(name: str) -> tuple[str, str]:
    """What surrounds it: two comments of HTML."""
    return f"<!--{name}-->", f"<!--/{name}-->"


def _device(environment: Mapping[str, Any]) -> str:
    """Where it was trained: on a CPU, and with how many threads, or on a GPU, and on which."""
    device = str(environment["device"])
    if device == "cpu":
        return f"CPU, {environment['threads']} thread{'' if environment['threads'] == 1 else 's'}"
    return f"GPU, {device}"


def _time(stages: list[Mapping[str, Any]]) -> str:
    """How long the run took, and its training, in this run or in the one that it was taken from."""
    spent = sum(stage["seconds"] or 0.0 for stage in stages if _status(stage) == "run")
    training = next((stage for stage in stages if "weights" in stage["outputs"] and stage["seconds"] is not None), None)
    trained = "" if training is None else f"; training {_number(training['seconds'])} s"
    reused = ", reused" if training is not None and _status(training) == "reused" else ""
    return f"{_number(float(spent))} s{trained}{reused}"


def _verdicts(experiment: Mapping[str, Any], test: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was judged of the run, by name: whether it was verified, and whether it reaches what was demanded of it."""
    verdicts: list[tuple[str, str]] = [("Verified", later("verified"))]
    accept = Accept.model_validate(experiment.get("accept", {}))
    if accept.demands:
        missed = shortfalls(accept, test)
        drift = "" if accept.allow_drift else "; `workflow history` shows whether it drifts"
        verdicts.append(("Accepted", f"{'no: ' + '; '.join(missed) if missed else 'yes'}{drift}"))
    return verdicts


def _learned(learned: "Learned") -> str:
    """The number of the parameters, and the values of a few."""
    count = f"{learned.count:,} parameter{'' if learned.count == 1 else 's'} learned"
    values = ", ".join(f"{name} = {_number(value)}" for name, value in learned.values.items())
    return f"{count}: {values}." if values else f"{count}."


def _worst_table(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Headings and rows of the table of the rows that are predicted worst, with their first features."""
    features = predicted_features(list(rows[0]))[:MOST_FEATURES] if rows else ()
    names = (ROW, *features, *AFTER)
    headings = [name if name in features else name.capitalize() for name in names]
    return {"headings": headings, "rows": [(row["split"], [_number(row[name]) for name in names]) for row in rows]}


def _figures(figures: Mapping[str, Figure], plots: Mapping[str, bytes]) -> list[dict[str, str]]:
    """The plots with their images. An SVG inside <img> is inert: a browser runs no script in it and loads nothing."""
    return [
        {"name": name, "source": f"data:image/svg+xml;base64,{b64encode(plots[name]).decode()}", **figure._asdict()}
        for name, figure in figures.items()
    ]


def _metrics_table(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Headings and rows of the metrics table: the known metrics in their order, then any others."""
    present = dict.fromkeys(name for values in metrics.values() for name in values)
    names = [*(name for name in METRICS if name in present), *(name for name in present if name not in METRICS)]
    return {
        "headings": [METRICS.get(name, name) for name in names],
        "rows": [(split, [_number(values.get(name)) for name in names]) for split, values in metrics.items()],
    }


def _effort(stages: list[Mapping[str, Any]]) -> str:
    """How much of the work was reused, and what that saved."""
    seconds = {"run": 0.0, "reused": 0.0}
    for stage in stages:
        seconds[_status(stage)] += stage["seconds"] or 0.0
    count = sum(_status(stage) == "reused" for stage in stages)
    return (
        f"{count} of {len(stages)} stages were reused, which saved {seconds['reused']:,.3f} seconds; "
        f"the others took {seconds['run']:,.3f} seconds, without the writing of this report."
    )


def _status(stage: Mapping[str, Any]) -> str:
    """Whether a stage was run or reused. The last one, save, is still running while it writes this: it runs."""
    return "reused" if stage["status"] == "reused" else "run"


def _stage(stage: Mapping[str, Any]) -> dict[str, Any]:
    """A stage as the page shows it."""
    status, running = _status(stage), stage["status"] == "running"
    seconds = ABSENT if running or stage["seconds"] is None else f"{stage['seconds']:,.3f}"
    return {
        "name": stage["name"],
        "status": status,
        "spent": seconds if status == "run" else ABSENT,
        "saved": seconds if status == "reused" else ABSENT,
        "reasons": stage["reasons"] or [ABSENT],
        "artifacts": _artifacts(stage["outputs"]),
        "nothing": "the files of the run folder, listed below" if running else "no artifacts",
    }


def _artifacts(entries: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """Artifacts as the page shows them."""
    return [
        {
            "name": name,
            "path": entry["path"],
            "link": f"./{quote(name)}",
            "size": _size(entry["size"]),
            "digest": entry["digest"],
            "digest_shown": entry["digest"][:DIGEST_LENGTH] + "…",
        }
        for name, entry in entries.items()
    ]


def _environment(manifest: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Where the run took place, as titled lists of names and values."""
    environment = manifest["environment"]
    place = [
        ("Device", environment["device"]),
        ("CPU threads", str(environment["threads"])),
        ("Machine", environment["machine"]),
        ("Git commit", environment["git_commit"] or "none: not a git checkout"),
        ("Seed of the model", str(manifest["seed"])),
    ]
    versions = [("python", environment["python"]), *environment["versions"].items()]
    return [("Place", place), ("Versions", versions)]


def _number(value: float | None) -> str:
    """A number with a few significant digits; whole ones in full, in groups of three. NaN is a missing feature."""
    if value is None or math.isnan(value):
        return ABSENT
    return f"{value:,}" if isinstance(value, int) else f"{value:.{DIGITS}g}"


def _size(count: int) -> str:
    """Bytes in a unit that people read: 1 kB is 1000 bytes."""
    if count < 1000:
        return f"{count} B"
    amount = float(count)
    for unit in ("kB", "MB", "GB"):
        amount /= 1000
        if amount < 999.95:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1000:.1f} TB"
