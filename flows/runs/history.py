"""The runs of one experiment in their order: their test metrics, what changed from one to the next, and which drift."""

import contextlib
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from flows.errors import InputError, list_problems
from flows.runs.folders import RunFolder, find_run
from flows.runs.wording import figure
from flows.train import STAGES, pipeline
from tasks.caching.ingredients import Ingredient, Ingredients, labelled, of_kinds
from tasks.caching.key import flatten
from tasks.caching.reasons import differences
from tasks.caching.records import UnreadableRecordError, read_record
from tasks.caching.runs.manifest import MANIFEST, Manifest, ManifestError
from tasks.caching.stage import stages
from tasks.caching.storage.run_name import RunName
from tasks.caching.storage.store import Store
from tasks.learning.config.acceptance import Accept, shortfalls
from tasks.learning.evaluation.drift import FEWEST_BEFORE, MOST_BEFORE, Band, band_after, is_outside, known

#: The metrics of the test rows that are watched, and what people call them.
METRICS = {"loss": "loss", "mae": "MAE", "rmse": "RMSE", "r2": "R²", "largest_error": "largest error"}

#: The artifacts whose digests show whether two runs came to the same.
DIGESTS = ("dataset", "weights", "predictions")

#: The stages that shape the metrics: those up to the one that computes them.
SCORED = STAGES[: next(at for at, stage in enumerate(stages(pipeline), 1) if "metrics" in stage.outputs)]

#: How many runs are shown unless more are asked for: the newest.
SHOWN = 30


@dataclass(frozen=True)
class Row:
    """A run in the history of its experiment.

    Attributes:
        run: its name.
        created: when, in UTC, ISO 8601.
        device: that the model was trained on.
        changed: since the run before, in words; None if there is none before.
        metrics: of the test rows, by the names in `METRICS`; None where there is no finite value.
        bands: of each metric, as the runs before make it; None where they are too few.
        outside: the metrics that are outside their band.
        flags: the same in words; for example `mae 0.0312 is outside 0.0249 … 0.0257`.
        digests: SHA-256 of the artifacts in `DIGESTS`.
        verified: whether it passed its last verification; None if it was not verified.
        rejections: why it is not accepted, in words; None if its experiment demands nothing.
    """

    run: str
    created: str
    device: str
    changed: tuple[str, ...] | None
    metrics: dict[str, float | None]
    bands: dict[str, Band | None]
    outside: tuple[str, ...]
    flags: tuple[str, ...]
    digests: dict[str, str]
    verified: bool | None
    rejections: tuple[str, ...] | None

    @property
    def accepted(self) -> bool | None:
        """Whether it reaches what its experiment demands; None if that demands nothing."""
        return None if self.rejections is None else not self.rejections

    @property
    def changes(self) -> str:
        """What changed, for a table."""
        return "first run" if self.changed is None else "; ".join(self.changed) or "nothing"

    @property
    def when(self) -> str:
        """The minute in which it was made, in UTC."""
        return self.created[:16].replace("T", " ")

    def as_json(self) -> dict[str, Any]:
        """The row for a program."""
        bands = {name: band and {"low": band.low, "high": band.high} for name, band in self.bands.items()}
        return vars(self) | {"bands": bands, "accepted": self.accepted}


@dataclass(frozen=True)
class RunHistory:
    """The newest runs of an experiment.

    Attributes:
        experiment: its name.
        rows: the runs, oldest first.
        damaged: those that cannot be read: what is wrong, by name.
    """

    experiment: str
    rows: tuple[Row, ...]
    damaged: dict[str, str]

    @property
    def drifts(self) -> bool:
        """Whether the newest run is outside a band."""
        return bool(self.rows and self.rows[-1].outside)

    @property
    def verdict(self) -> str:
        """What is to be said of the newest run."""
        if not self.rows:
            return "There is no run that can be read"
        newest = self.rows[-1]
        if newest.outside:
            return f"The newest run drifts: {', '.join(METRICS[name] for name in newest.outside)}"
        if not any(newest.bands.values()):
            return f"There is no band yet: it takes {FEWEST_BEFORE} runs before"
        return "The newest run is within the band of the runs before"

    def as_json(self) -> dict[str, Any]:
        """The history for a program."""
        rows = [row.as_json() for row in self.rows]
        return {"experiment": self.experiment, "drifts": self.drifts, "runs": rows, "damaged": self.damaged}


class Scores(BaseModel):
    """What is read of a run's metrics.json."""

    test: dict[str, float | None]


@dataclass(frozen=True)
class ScoredRun:
    """A run with what its history is made of, all of it found in good order.

    Attributes:
        folder: of the run, with its manifest.
        metrics: see `Row`.
        digests: see `Row`.
        keys: of the stages that shape the metrics.
        accept: what the experiment demands of its runs.
        store: where the records of those stages lie.
    """

    folder: RunFolder
    metrics: dict[str, float | None]
    digests: dict[str, str]
    keys: dict[str, str]
    accept: Accept
    store: Store

    @property
    def circumstances(self) -> Ingredients:
        """The settings of the run and where it took place, named as in a stage's ingredients."""
        environment = self.folder.manifest.environment
        libraries = {"python": environment.python, "machine": environment.machine, **environment.versions}
        return flatten(self.folder.manifest.experiment) | labelled("library", libraries)

    @functools.cached_property
    def code(self) -> Ingredients | None:
        """The code that shaped the metrics, as the records of the stages have it; None if one cannot be read."""
        code: Ingredients = {}
        for stage, key in self.keys.items():
            try:
                record = read_record(self.store.records / stage / f"{key}.json")
            except (OSError, UnreadableRecordError):
                return None
            code |= of_kinds(record.ingredients, ("code",))
        return code


def read_history(experiment: str, store: Store, last: int = SHOWN) -> RunHistory:
    """The last runs of an experiment, each judged by the runs before it, even where those are not shown.

    Raises:
        InputError: it has no run; names the experiments that have.
    """
    names = runs_by_experiment(store)
    if experiment not in names:
        others = f"there are runs of {', '.join(sorted(names))}" if names else "`workflow train` makes one"
        raise InputError(f"there is no run of an experiment {experiment!r}: {others}")
    runs, damaged = [], {}
    for name in names[experiment][-last - MOST_BEFORE :]:
        try:
            runs.append(read_run(name, store))
        except (InputError, ManifestError) as error:
            damaged[name] = str(error)
    newest = range(max(len(runs) - last, 0), len(runs))
    return RunHistory(experiment, tuple(judge(runs[place], runs[:place]) for place in newest), damaged)


def read_row(run: RunFolder, store: Store) -> Row:
    """One run in the history of its experiment, judged by the runs before it.

    Raises:
        InputError: the run or its metrics cannot be read.
        ManifestError: its manifest lacks a stage or an artifact.
    """
    before = []
    for other in names_before(run, store)[-MOST_BEFORE:]:
        with contextlib.suppress(InputError, ManifestError):
            before.append(read_run(other, store))
    return judge(read_run(run.manifest.run, store), before)


def names_before(run: RunFolder, store: Store) -> list[str]:
    """The names of the runs of the same experiment that were made before a run, oldest first."""
    names, name = runs_by_experiment(store).get(run.manifest.experiment["name"], []), run.manifest.run
    return names[: names.index(name)] if name in names else []


def rejections_of(run: RunFolder, store: Store) -> tuple[str, ...] | None:
    """Why a run is not accepted, in words; None if its experiment demands nothing, and no other run is read then.

    Raises:
        InputError: the run or its metrics cannot be read, or what it must reach is no such thing.
        ManifestError: its manifest lacks a stage or an artifact.
    """
    return read_row(run, store).rejections if accept_of(run.manifest).demands else None


def runs_by_experiment(store: Store) -> dict[str, list[str]]:
    """The names of each experiment's runs, oldest first."""
    runs: dict[str, list[tuple[str, int, str]]] = {}
    for path in store.runs.glob(f"*/{MANIFEST}"):
        name = RunName.parse(path.parent.name)
        if name is not None and not path.parent.is_symlink():
            runs.setdefault(name.experiment, []).append((name.moment, name.number, path.parent.name))
    return {experiment: [name for _, _, name in sorted(found)] for experiment, found in runs.items()}


def read_run(name: str, store: Store) -> ScoredRun:
    """A run with its test metrics and its digests.

    Raises:
        InputError: the run or its metrics cannot be read, or what it must reach is no such thing.
        ManifestError: its manifest lacks a stage or an artifact.
    """
    folder = find_run(name, store)
    manifest = folder.manifest
    if manifest.run != name:
        raise InputError(f"run {name} is damaged: its manifest is that of {manifest.run!r}")
    try:
        scores = Scores.model_validate(folder.metrics).test
    except ValidationError as error:
        raise InputError(f"run {name} is damaged: its metrics.json has no metrics of test rows; train again") from error
    return ScoredRun(
        folder,
        {metric: known(scores.get(metric)) for metric in METRICS},
        {artifact: manifest.made(artifact).digest for artifact in DIGESTS},
        # A run that was made before a stage was added does not have it.
        {entry.name: entry.key for entry in manifest.stages if entry.name in SCORED},
        accept_of(manifest),
        store,
    )


def accept_of(manifest: Manifest) -> Accept:
    """What the experiment of a run demands.

    Raises:
        InputError: the manifest has something else there.
    """
    try:
        return Accept.model_validate(manifest.experiment.get("accept", {}))
    except ValidationError as error:
        raise list_problems(error, f"the manifest of run {manifest.run}", "[accept] table") from error


def judge(run: ScoredRun, before: Sequence[ScoredRun]) -> Row:
    """The row of a run, with the bands that the runs before it make."""
    earlier = {metric: [other.metrics[metric] for other in before] for metric in METRICS}
    manifest = run.folder.manifest
    bands = {metric: band_after(earlier[metric]) for metric in METRICS}
    outside = tuple(metric for metric in METRICS if is_outside(run.metrics[metric], earlier[metric]))
    drifts = tuple(describe_flag(name, run.metrics[name], band) for name in outside if (band := bands[name]))
    return Row(
        run=manifest.run,
        created=manifest.created,
        device=manifest.environment.device,
        changed=what_changed(before[-1], run) if before else None,
        metrics=run.metrics,
        bands=bands,
        outside=outside,
        flags=drifts,
        digests=run.digests,
        verified=run.folder.verified,
        rejections=rejections(run, drifts),
    )


def rejections(run: ScoredRun, drifts: tuple[str, ...]) -> tuple[str, ...] | None:
    """Why a run is not accepted, in words; None if its experiment demands nothing.

    Args:
        run: any.
        drifts: its metrics that are outside their band, in words.
    """
    if not run.accept.demands:
        return None
    return shortfalls(run.accept, run.metrics) + (() if run.accept.allow_drift else drifts)


def what_changed(before: ScoredRun, now: ScoredRun) -> tuple[str, ...]:
    """What differs between two runs, in words: settings, libraries, code, and the data where no setting shows it."""
    old, new = before.circumstances, now.circumstances
    if all(old.get(name) == new.get(name) for name in old.keys() | new.keys() if name.startswith("data.")):
        data = str(Ingredient("input", "data"))
        old[data], new[data] = before.digests["dataset"], now.digests["dataset"]
    may_differ = before.keys != now.keys and not have_same_checkout(before, now)
    if may_differ and before.code is not None and now.code is not None:
        old |= before.code
        new |= now.code
    changes = differences(old, new)
    if may_differ and not changes:
        return ("code changed",)  # what else is in a key is the same; the records that could say more are gone
    return tuple(map(str, changes))


def have_same_checkout(*runs: ScoredRun) -> bool:
    """Whether the runs have the same clean commit, so that their records need not be read."""
    commits = {run.folder.manifest.environment.git_commit for run in runs}
    return len(commits) == 1 and not any(commit is None or commit.endswith("+changes") for commit in commits)


def describe_flag(metric: str, value: float | None, band: Band) -> str:
    """That a metric is outside its band, in words, and with as many digits as it takes to see it."""
    for digits in range(3, 18):  # 17 distinguish any two numbers
        shown, low, high = (figure(number, digits) for number in (value, band.low, band.high))
        if shown not in (low, high) and (low != high or band.low == band.high):
            break
    if value is None:
        return f"{metric} has no value; it was in {low} … {high}"
    return f"{metric} {shown} is outside {low} … {high}"
