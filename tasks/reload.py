"""Stage `reload`: a run's checkpoint in a fresh model, once everything about the run was found as it was left."""

import json
from collections.abc import Mapping
from typing import Any

from tasks.caching.manifest import Manifest
from tasks.caching.reference import Outputs, Reference
from tasks.caching.stage import Desk, View, stage
from tasks.caching.verification import Check, VerificationError, write_checks

#: The artifacts that verification reads, and the stage that made each.
READ = {"train": "split", "validation": "split", "test": "split", "predictions": "evaluate"}


class ReloadView(View):
    """What is verified, and where."""

    run: str
    device: str


@stage(
    ReloadView,
    outputs=("checkpoint", "model", "metrics", "train", "validation?", "test", "predictions", "reload_checks"),
    libraries=(),
    cached=False,
)
def reload(view: ReloadView, inputs: Mapping[str, Reference], desk: Desk) -> Outputs:
    """Checks the manifest and every digest that it names, and loads the checkpoint strictly into a fresh model."""
    from tasks.learning.checkpoint import load_network

    folder = desk.store.runs / view.run
    manifest = Manifest.read(folder)
    files = {name: entry.reference() for name, entry in manifest.files.items()}
    used = {name: manifest.stage(made_by).outputs.get(name) for name, made_by in READ.items()}
    artifacts = {name: entry.reference() for name, entry in used.items() if entry is not None}
    for reference in (*files.values(), *artifacts.values()):
        desk.store.path(reference)
    description = json.loads(desk.store.read(files["model.json"]))
    require_digests(description, files[manifest.checkpoint], artifacts["predictions"])
    load_network(description, desk.store.read(files[manifest.checkpoint]), view.device)
    checks = (
        Check("digests", True, f"{len(files) + len(artifacts)} files are as the manifest and model.json say"),
        Check("checkpoint", True, f"{len(description['tensors'])} tensors loaded strictly into a fresh model"),
    )
    return {
        "checkpoint": files[manifest.checkpoint],
        "model": files["model.json"],
        "metrics": files["metrics.json"],
        "reload_checks": write_checks(desk, "reload_checks.json", checks),
        **artifacts,
    }


def require_digests(description: Mapping[str, Any], checkpoint: Reference, predictions: Reference) -> None:
    """Checks that model.json speaks of this checkpoint and of these predictions.

    Raises:
        VerificationError: it speaks of others: one of the files was swapped.
    """
    for name, reference in (("checkpoint", checkpoint), ("predictions", predictions)):
        if description.get(f"{name}_sha256") != reference.digest:
            raise VerificationError(f"model.json was saved with another {name} than {reference.path}: one was swapped")
