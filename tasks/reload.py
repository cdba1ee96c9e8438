"""Stage `reload`: a run's saved weights in a fresh model, once everything about the run was found unchanged."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.caching.key import flatten
from tasks.caching.runs.manifest import MANIFEST, Manifest, ManifestError, manifest_digest
from tasks.caching.runs.verification import Check, VerificationError, write_checks
from tasks.caching.stage import StageConfig, StageContext, stage
from tasks.caching.storage.reference import Outputs, Reference
from tasks.caching.storage.store import DamagedArtifactError, Store
from tasks.learning.config.split import PARTS
from tasks.learning.reporting.plots import PLOTS

#: Files that every run folder has beside its checkpoint, its manifest and its report. It has more where a stage that
#: was added since keeps a file in it.
EXPECTED = ("model.json", "metrics.json", *(f"plots/{file}" for file in PLOTS.values()))


class ReloadConfig(StageConfig):
    """What is verified, and where; with the digest that its manifest must have, if one is expected."""

    run: str
    device: str
    expect: str | None


@stage(
    ReloadConfig,
    outputs=("checkpoint", "model", "metrics", "train", "validation?", "test", "predictions", "reload_checks"),
    libraries=("torch", "numpy", "pyarrow"),
    cached=False,
)
def reload(config: ReloadConfig, inputs: Mapping[str, Reference], context: StageContext) -> Outputs:
    """Checks the manifest and every digest that it names, and loads the checkpoint strictly into a fresh model."""
    from tasks.learning.models.saved_weights import load_network

    folder = context.store.runs / config.run
    manifest = Manifest.read(folder)
    expected = check_expected(folder, config.expect)
    require_consistent(manifest)
    first = (manifest.checkpoint, *EXPECTED)
    files = [manifest.file(name) for name in (*first, *sorted(manifest.files.keys() - set(first)))]
    artifacts = {"predictions": manifest.made("predictions")}
    named = {name for entry in manifest.stages for name in entry.outputs}
    artifacts |= {part: manifest.made(part) for part in PARTS if part in named}
    for reference in (*files, *artifacts.values()):
        require_intact_artifact(context.store, reference)
    checkpoint, model, metrics, *_ = files
    description = context.store.read_object(model)
    require_description(description)
    require_digests(description, checkpoint, artifacts["predictions"])
    load_network(description, context.store.read(checkpoint), config.device)
    checks = (
        *expected,
        Check("digests", True, f"{len(files) + len(artifacts)} files are as the manifest and model.json say"),
        Check("checkpoint", True, f"{len(description['tensors'])} tensors loaded strictly into a fresh model"),
    )
    return {
        "checkpoint": checkpoint,
        "model": model,
        "metrics": metrics,
        "reload_checks": write_checks(context, "reload_checks.json", checks),
        **artifacts,
    }


def check_expected(folder: Path, digest: str | None) -> tuple[Check, ...]:
    """Checks that a run is the very one that is expected, by the digest of its manifest; nothing if none is given.

    Raises:
        VerificationError: it is another one, or was altered.
    """
    if digest is None:
        return ()
    found = manifest_digest(folder)
    if found != digest:
        why = f"{folder.name} is not the run that was expected: its {MANIFEST} has SHA-256 {found} instead of {digest}"
        raise VerificationError(why, (Check("expected digest", False, why),))
    return (Check("expected digest", True, f"{MANIFEST} has the SHA-256 that was expected"),)


def require_consistent(manifest: Manifest) -> None:
    """Checks that a manifest does not contradict itself.

    Raises:
        ManifestError: it does.
    """
    require_equal(manifest, "seed", manifest.seed, flatten(manifest.experiment).get("training.seed"))
    expected = {manifest.checkpoint, *EXPECTED}
    require_equal(manifest, "files", sorted(expected & manifest.files.keys()), sorted(expected))
    trained = manifest.made("weights").digest
    require_equal(manifest, "the digest of its checkpoint", manifest.file(manifest.checkpoint).digest, trained)


def require_equal(manifest: Manifest, field: str, value: object, expected: object) -> None:
    """Checks a field of a manifest.

    Raises:
        ManifestError: it has another value than the rest of the manifest implies.
    """
    if value != expected:
        raise ManifestError(
            f"the manifest of run {manifest.run} was altered: {field} is {value!r} instead of {expected!r}"
        )


def require_intact_artifact(store: Store, reference: Reference) -> None:
    """Checks an artifact of the run.

    Raises:
        VerificationError: it is missing or altered; says what to do.
    """
    try:
        store.path(reference)
    except DamagedArtifactError as error:
        raise VerificationError(f"{error}: train the experiment again") from error


def require_description(description: Mapping[str, Any]) -> None:
    """Checks that model.json has what the verification needs of it.

    Raises:
        VerificationError: it does not.
    """
    for field, kind in (("tensors", dict), ("metrics", dict), ("loss", str)):
        if not isinstance(description.get(field), kind):
            raise VerificationError(f"model.json lacks the {field}: it was altered")


def require_digests(description: Mapping[str, Any], checkpoint: Reference, predictions: Reference) -> None:
    """Checks that model.json has the digests of these weights and predictions.

    Raises:
        VerificationError: it speaks of others: one of the files was swapped.
    """
    for name, reference in (("checkpoint", checkpoint), ("predictions", predictions)):
        if description.get(f"{name}_sha256") != reference.digest:
            raise VerificationError(f"model.json was saved with another {name} than {reference.path}: one was swapped")
