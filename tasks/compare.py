"""Stage `compare`: the reloaded model's predictions against those that training recorded."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tasks.caching.key import flatten, version
from tasks.caching.records import DamagedArtifactError, check_record, record_of
from tasks.caching.runs.manifest import MANIFEST, REPORT, SAVED_BY, Environment, Manifest
from tasks.caching.runs.sums import SUMS, find_altered
from tasks.caching.runs.verification import Check, VerificationError, read_checks, write_checks
from tasks.caching.stage import StageConfig, StageContext, stage
from tasks.caching.storage.reference import Outputs, Reference
from tasks.caching.storage.store import Store, run_path

if TYPE_CHECKING:
    from tasks.learning.evaluation.comparison import Comparison, Difference

#: Libraries on whose versions the last bit of a prediction may depend.
EXACT_WITH = ("torch", "numpy")


class CompareConfig(StageConfig):
    """Which run is verified, and on which device it was predicted again."""

    run: str
    device: str


@stage(
    CompareConfig,
    inputs=("model", "metrics", "predictions", "repeated", "reload_checks", "predict_checks"),
    outputs=("checks",),
    libraries=(),
    cached=False,
)
def compare(config: CompareConfig, inputs: Mapping[str, Reference], context: StageContext) -> Outputs:
    """Compares predictions row by row and the metrics made of them: exactly where possible, else within a tolerance.

    Raises:
        VerificationError: they differ; names the first and the worst row with both values.
    """
    from tasks.learning.data.tables import read_table
    from tasks.learning.evaluation.comparison import ACROSS_DEVICES_ATOL, ACROSS_DEVICES_RTOL, compare_predictions
    from tasks.learning.evaluation.metrics import metrics_by_part

    manifest = Manifest.read(context.store.runs / config.run)
    exact = is_where_it_was_trained(config, manifest.environment)
    rtol, atol = (0.0, 0.0) if exact else (ACROSS_DEVICES_RTOL, ACROSS_DEVICES_ATOL)
    repeated = read_table(context.store.path(inputs["repeated"]))
    recorded = read_table(context.store.path(inputs["predictions"]), repeated.num_rows)
    before, description = (context.store.read_object(inputs[name]) for name in ("metrics", "model"))
    now = metrics_by_part(repeated, description["loss"])
    how = "exactly" if exact else f"within {rtol:g} of the value and {atol:g}"
    checks = (
        *(
            check
            for name in ("reload_checks", "predict_checks")
            for check in read_checks(context.store.read(inputs[name]))
        ),
        check_rows(compare_predictions(recorded, repeated, rtol, atol), how),
        check_metrics("metrics.json", flatten(before), flatten(now), rtol, atol, how),
        check_metrics("model.json", flatten(description["metrics"]), flatten(now), rtol, atol, how),
        check_folder(manifest, context.store),
    )
    if failed := [check.detail for check in checks if not check.passed]:
        raise VerificationError("; ".join(failed), checks)
    return {"checks": write_checks(context, "checks.json", checks)}


def is_where_it_was_trained(config: CompareConfig, environment: Environment) -> bool:
    """Whether predictions can be expected to agree to the last bit: same device and library versions."""
    versions = {name: version(name) for name in EXACT_WITH}
    return config.device == environment.device and versions.items() <= environment.versions.items()


def check_rows(comparison: "Comparison", how: str) -> Check:
    """Whether the predictions agree; names the first and the worst row that do not."""
    if comparison.agrees:
        largest = comparison.largest_difference or 0.0
        return Check("predictions", True, f"{comparison.rows:,} rows agree {how}; largest difference {largest:g}")
    first, worst = comparison.first_mismatch, comparison.worst
    detail = (
        f"{comparison.mismatches:,} of {comparison.rows:,} predictions do not agree {how}: "
        f"first {row_text(first)}, worst {row_text(worst)}"
    )
    return Check("predictions", False, detail)


def row_text(difference: "Difference | None") -> str:
    """A row with both of its predictions, in words."""
    if difference is None:
        return "none"
    where = f"row {difference.row} ({difference.split})"
    return f"{where} recorded {difference.expected!r}, now {difference.actual!r}"


def check_metrics(
    file: str, before: Mapping[str, Any], now: Mapping[str, Any], rtol: float, atol: float, how: str
) -> Check:
    """Whether the metrics, recomputed from the new predictions, are those that were saved in a file."""
    names = list(dict.fromkeys((*before, *now)))
    wrong = [name for name in names if not is_close(before.get(name), now.get(name), rtol, atol)]
    if wrong:
        first = f"{wrong[0]}, saved {before.get(wrong[0])!r}, now {now.get(wrong[0])!r}"
        return Check(f"metrics in {file}", False, f"{len(wrong)} metrics in {file} do not agree {how}: first {first}")
    return Check(f"metrics in {file}", True, f"{len(names)} metrics agree {how}")


def check_folder(manifest: Manifest, store: Store) -> Check:
    """Whether a run's folder is as it was saved: by its list of digests, and by the record of the save if there is one.

    The manifest is no evidence for itself: the record is looked for among all of them, and not under the key that the
    manifest gives.
    """
    if altered := find_altered(store, manifest.run, {*manifest.files, MANIFEST, REPORT}):
        return Check("record", False, "; ".join(f"{name}: {wrong}" for name, wrong in altered.items()))
    record = record_of(run_path(manifest.run, MANIFEST), SAVED_BY, store)
    if record is None:
        return Check("record", True, f"every file is as {SUMS} says; no record of the save is left to compare with")
    try:
        check_record(record, store)
    except DamagedArtifactError as error:
        return Check("record", False, f"not as it was saved: {error}")
    return Check("record", True, f"every file is as {SUMS} and the record of the save say")


def is_close(before: Any, now: Any, rtol: float, atol: float) -> bool:
    """Whether two values of a metric agree: numbers within the tolerance, anything else exactly."""
    if isinstance(before, float) and isinstance(now, float):
        return abs(now - before) <= atol + rtol * abs(before)
    return bool(before == now)
