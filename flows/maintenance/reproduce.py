"""`workflow reproduce`: repeats a run from its manifest in an empty store, and compares what each stage made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import ValidationError

from flows.config.experiments import merge, require_device
from flows.errors import InputError, list_problems
from flows.maintenance.isolated_training import homes_elsewhere, train_elsewhere, write_experiment
from flows.train import stages_of
from tasks.caching.key import flatten
from tasks.caching.reasons import differences
from tasks.caching.records import UnreadableRecordError, read_record
from tasks.caching.runs.manifest import MANIFEST, REPORT, ArtifactEntry, Manifest, ManifestError, StageEntry
from tasks.caching.runs.sums import find_altered
from tasks.caching.storage.store import DamagedArtifactError, Store
from tasks.learning.config.experiment import Experiment
from tasks.reload import require_consistent

#: What Prefect shows of the repeated training.
PURPOSE = "reproduce"

Outcome = Literal["identical", "within tolerance", "different"]


@dataclass(frozen=True)
class StageComparison:
    """How what a stage made compares with what it made in the run.

    Attributes:
        name: the stage.
        outcome: within tolerance if every number is close, and pictures differ only because their numbers do.
        largest: largest absolute difference of two numbers; None if there is none or they cannot be compared.
        unequal: names of the artifacts that are not the same to the last byte.
        reasons: what shaped the stage and was not the same; empty for one that is identical.
    """

    name: str
    outcome: Outcome
    largest: float | None
    unequal: tuple[str, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Reproduction:
    """How a repeated run compares with the run.

    Attributes:
        run: its name.
        stages: in order.
        environment: what differs between where the two took place, each in a few words.
    """

    run: str
    stages: list[StageComparison]
    environment: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether no stage is different."""
        return all(stage.outcome != "different" for stage in self.stages)

    def as_json(self) -> dict[str, Any]:
        """The report for programs."""
        return {"reproduced": self.passed, **asdict(self)}


def reproduce_run(manifest: Manifest, store: Store, device: str, notify: Callable[[str], None]) -> Reproduction:
    """Trains once more as a manifest says, in an empty store, and compares.

    Args:
        manifest: of the run.
        store: where it lies.
        device: to train on; the run's own if empty.
        notify: gets a line on what takes a while.

    Raises:
        InputError: the device is not there, or the run's folder is not as it was saved.
        TrainingError: the training failed.
    """
    experiment = experiment_to_repeat(manifest, device)
    require_device(experiment)
    stages = stages_of(experiment)
    require_intact_run(manifest, stages, store)
    with homes_elsewhere("reproduce") as home:
        source = home / "reproduce.toml"
        write_experiment(experiment, source)
        notify(f"training {experiment.name} on {experiment.training.device} once more, in an empty store")
        train_elsewhere(source, home, stages[-1], PURPOSE)
        return compare_with(manifest, store, Store(home))


def require_intact_run(manifest: Manifest, stages: Sequence[str], store: Store) -> None:
    """Checks that a run's folder is as it was saved: what is compared are the digests that its manifest names.

    Args:
        manifest: of the run.
        stages: that take part in its repetition, in order.
        store: where it lies.

    Raises:
        InputError: a stage or a file of it is missing or altered, or its manifest contradicts itself.
    """
    named = {stage.name for stage in manifest.stages}
    if added := [stage for stage in stages if stage not in named]:
        raise InputError(
            f"run {manifest.run} has no stage {added[0]}: it is from before that was added, or damaged; train again, "
            "and reproduce the new run"
        )
    altered = find_altered(store, manifest.run, {*manifest.files, MANIFEST, REPORT})
    for name, entry in manifest.files.items():
        try:
            store.path(entry.reference())
        except DamagedArtifactError as error:
            altered.setdefault(name, str(error))
    damage = next(iter(altered.values()), "") or find_contradiction(manifest, stages)
    if damage:
        raise InputError(f"run {manifest.run} is damaged, so there is nothing to compare with: {damage}")


def find_contradiction(manifest: Manifest, stages: Sequence[str]) -> str:
    """What a manifest lacks of a whole run, or where it contradicts itself; empty if nowhere.

    Every digest can be made to fit an altered file, and a stage that the manifest does not name would not be compared.
    """
    named = [stage.name for stage in manifest.stages]
    if named != list(stages):
        return f"its manifest names the stages {', '.join(named) or '(none)'} instead of {', '.join(stages)}"
    try:
        require_consistent(manifest)
    except ManifestError as error:
        return str(error)
    return ""


def experiment_to_repeat(manifest: Manifest, device: str) -> Experiment:
    """The experiment of a run, with the threads that it ran with.

    Raises:
        InputError: it is none that this version knows.
    """
    changes = {"training": {"device": device}} if device else {}
    try:
        return Experiment.model_validate(merge(manifest.experiment, changes))
    except ValidationError as error:
        raise list_problems(error, f"the manifest of {manifest.run}") from error


def compare_with(manifest: Manifest, store: Store, other: Store) -> Reproduction:
    """Compares a run with the only run of another store."""
    (folder,) = (path for path in other.runs.iterdir() if not path.is_symlink())
    repeated = Manifest.read(folder)
    stages: list[StageComparison] = []
    for again in repeated.stages:  # which stages are compared must not depend on the manifest that is doubted
        stage = manifest.stage(again.name)
        before, after = made_by(stage, manifest), made_by(again, repeated)
        moved = any(earlier.outcome == "within tolerance" for earlier in stages)
        outcome, largest, unequal = compare_outputs(before, after, store, other, moved=moved)
        reasons = why(stage, again, store, other) if unequal else ()
        stages.append(StageComparison(stage.name, outcome, largest, unequal, reasons))
    return Reproduction(manifest.run, stages, environment_changes(manifest, repeated))


def made_by(stage: StageEntry, manifest: Manifest) -> Mapping[str, ArtifactEntry]:
    """What a stage of a run made; of save, which writes the manifest, the files of the run folder."""
    return stage.outputs or manifest.files


def compare_outputs(
    before: Mapping[str, ArtifactEntry], after: Mapping[str, ArtifactEntry], store: Store, other: Store, *, moved: bool
) -> tuple[Outcome, float | None, tuple[str, ...]]:
    """Compares what a stage made with what it made in another store; see `StageComparison`.

    Args:
        before: in `store`.
        after: in `other`.
        store: the one.
        other: the other.
        moved: whether the stage had other numbers to work with, within tolerance.
    """
    if before.keys() != after.keys():
        return "different", None, tuple(sorted(before.keys() ^ after.keys()))
    unequal = tuple(name for name in before if before[name].digest != after[name].digest)
    found = [compare_artifacts(before[name], after[name], store, other, moved=moved) for name in unequal]
    largest = max((size for _, size in found if size is not None), default=None)
    outcome: Outcome = "identical" if not found else "within tolerance" if all(ok for ok, _ in found) else "different"
    return outcome, largest, unequal


def compare_artifacts(
    before: ArtifactEntry, after: ArtifactEntry, store: Store, other: Store, *, moved: bool
) -> tuple[bool, float | None]:
    """Whether two artifacts with other bytes are within tolerance, and their largest difference."""
    from tasks.learning.evaluation.closeness import closeness
    from tasks.learning.evaluation.comparison import ACROSS_DEVICES_ATOL, ACROSS_DEVICES_RTOL

    try:
        # `read` holds a whole file in memory, which a table can be too large for.
        first, second = (
            place.path(entry.reference()) if before.kind == "parquet" else place.read(entry.reference())
            for place, entry in ((store, before), (other, after))
        )
        found = closeness(before.kind, first, second, ACROSS_DEVICES_RTOL, ACROSS_DEVICES_ATOL)
    except (DamagedArtifactError, ValueError):
        return False, None
    return (moved, None) if found is None else (found.within, found.largest)


def why(stage: StageEntry, repeated: StageEntry, store: Store, other: Store) -> tuple[str, ...]:
    """What shaped a stage and was not the same when it was repeated."""
    if stage.key == repeated.key:
        return ("the same settings, inputs, code and libraries: the machine or its threads differ",)
    try:
        before, after = (
            read_record(place.records / entry.name / f"{entry.key}.json").ingredients
            for place, entry in ((store, stage), (other, repeated))
        )
    except (OSError, UnreadableRecordError):
        return ("its settings, inputs, code or libraries are others; the record that had them is gone",)
    return tuple(map(str, differences(before, after)))


def environment_changes(before: Manifest, after: Manifest) -> tuple[str, ...]:
    """Where two runs took place, as far as it differs."""
    environments = [flatten(manifest.environment.model_dump(exclude={"device_note"})) for manifest in (before, after)]
    named = ({name.removeprefix("versions."): value for name, value in part.items()} for part in environments)
    return tuple(map(str, differences(*named)))
