"""Stage `save`: the run folder, with everything that a trained model needs to be used, judged and repeated."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tasks.caching.runs.environment import describe_environment
from tasks.caching.runs.manifest import MANIFEST, REPORT, ArtifactEntry, Manifest, StageEntry
from tasks.caching.runs.sums import SUMS, list_sums
from tasks.caching.stage import RUN_FILES, StageConfig, StageContext, stage
from tasks.caching.storage.reference import Outputs, Reference
from tasks.caching.storage.run_name import RunName
from tasks.caching.storage.store import Store, run_path
from tasks.learning.config.acceptance import Accept
from tasks.learning.config.data import Data
from tasks.learning.config.devices import fallback_notice
from tasks.learning.config.model import Model
from tasks.learning.config.split import Split
from tasks.learning.config.training import SettledTraining
from tasks.learning.reporting.plots import PLOTS
from tasks.split import PROOF

MODEL, METRICS = "model.json", "metrics.json"

#: What the run folder is made of, beside the files that the stages before keep in it as they are. With the dataset and
#: the parts, so that the manifest of a run always names the rows that it was made of.
INPUTS = ("dataset", "train", "validation?", "test", "weights", "model", "predictions")


class SaveConfig(StageConfig):
    """All of the experiment: the manifest and the report show it."""

    immaterial = frozenset({"training.checkpoint_every"})
    writes_settings = True

    name: str
    checkpoint: str | None
    data: Data
    split: Split
    model: Model
    training: SettledTraining
    accept: Accept
    device_asked_for: str


@stage(
    SaveConfig,
    inputs=(*INPUTS, RUN_FILES),
    outputs=("checkpoint", MODEL, RUN_FILES, MANIFEST, REPORT, SUMS),
    libraries=("jinja2", "markupsafe"),
)
def save(config: SaveConfig, inputs: Mapping[str, Reference], context: StageContext) -> Outputs:
    """Publishes the run folder: checkpoint, model.json, metrics.json, plots, manifest, report and their digests."""
    now = datetime.now(UTC)
    with context.store.reserved_run(RunName.at(config.name, now)) as run:
        files = compose_files(config, inputs, context, run, now)
        saved = context.store.publish_run(run, files | {SUMS: list_sums(files)})
    checkpoint = checkpoint_name(config)
    return {"checkpoint" if file == checkpoint else file: reference for file, reference in saved.items()}


def checkpoint_name(config: SaveConfig) -> str:
    """File name of the checkpoint in the run folder."""
    return config.checkpoint or f"{config.name}.pth"


def compose_files(
    config: SaveConfig, inputs: Mapping[str, Reference], context: StageContext, run: str, now: datetime
) -> dict[str, bytes]:
    """The content of the run folder, by file."""
    from tasks.learning.data.tables import read_table
    from tasks.learning.evaluation.predicted import draw_predicted, worst_rows
    from tasks.learning.models.learned import read_learned
    from tasks.learning.reporting.report import render_report

    files = kept_files(config, inputs, context.store)
    files[checkpoint_name(config)] = context.store.read(inputs["weights"])
    metrics = context.store.read_object(inputs[METRICS])
    files[MODEL] = complete_description(inputs, context.store, checkpoint_name(config), metrics)
    manifest = write_manifest(config, context, run, now, files)
    plots = {name.removesuffix("_svg"): files[f"plots/{PLOTS[name]}"] for name in PLOTS if name.endswith("_svg")}
    predictions = read_table(context.store.path(inputs["predictions"]))
    plots["predicted"] = draw_predicted(predictions)
    learned = read_learned(files[checkpoint_name(config)], context.store.read_object(inputs["model"])["tensors"])
    proof = json.loads(files[PROOF])
    report = render_report(manifest.model_dump(mode="json"), metrics, proof, plots, learned, worst_rows(predictions))
    return files | {MANIFEST: manifest.model_dump_json(indent=2).encode(), REPORT: report.encode()}


def kept_files(config: SaveConfig, inputs: Mapping[str, Reference], store: Store) -> dict[str, bytes]:
    """The files that the stages before keep in the run folder as they are.

    Raises:
        RuntimeError: one of them has the name of a file that this stage makes.
    """
    own = {name.removesuffix("?") for name in INPUTS}
    kept = {file: store.read(reference) for file, reference in inputs.items() if file not in own}
    if taken := kept.keys() & {checkpoint_name(config), MODEL, MANIFEST, REPORT, SUMS}:
        raise RuntimeError(
            f"{min(taken)} of the run folder is made by stage save: no other stage can keep a file there"
        )
    return kept


def complete_description(
    inputs: Mapping[str, Reference], store: Store, checkpoint: str, metrics: Mapping[str, Any]
) -> bytes:
    """model.json: how to rebuild the model, and the digests and metrics that it must have."""
    description = store.read_object(inputs["model"]) | {
        "checkpoint": checkpoint,
        "checkpoint_sha256": inputs["weights"].digest,
        "predictions_sha256": inputs["predictions"].digest,
        "metrics": metrics,
    }
    return json.dumps(description, indent=2).encode()


def write_manifest(
    config: SaveConfig, context: StageContext, run: str, now: datetime, files: Mapping[str, bytes]
) -> Manifest:
    """The manifest of a run that holds these files."""
    training = config.training
    entries = {file: Reference.of_content(run_path(run, file), files[file]) for file in sorted(files)}
    return Manifest(
        run=run,
        created=now.isoformat(timespec="seconds"),
        checkpoint=checkpoint_name(config),
        experiment=config.model_dump(mode="json", exclude={"device_asked_for"}),
        seed=training.seed,
        environment=describe_environment(
            training.device, fallback_notice(config.device_asked_for, training.device) or "", training.threads
        ),
        stages=[StageEntry.of(report) for report in context.lineage],
        files={file: ArtifactEntry(**reference.to_json()) for file, reference in entries.items()},
    )
