"""Stage `predict`: what the reloaded model predicts for every row that training recorded."""

from collections.abc import Mapping
from functools import partial

from tasks.caching.runs.manifest import Manifest
from tasks.caching.runs.verification import Check, VerificationError, write_checks
from tasks.caching.stage import StageConfig, StageContext, stage
from tasks.caching.storage.reference import Outputs, Reference
from tasks.learning.config.experiment import rows_by_part
from tasks.learning.config.split import PARTS


class PredictConfig(StageConfig):
    """Which run is verified, and where."""

    run: str
    device: str


@stage(
    PredictConfig,
    inputs=("checkpoint", "model", "train", "validation?", "test"),
    outputs=("repeated", "predict_checks"),
    libraries=("torch", "numpy", "pyarrow"),
    cached=False,
)
def predict(config: PredictConfig, inputs: Mapping[str, Reference], context: StageContext) -> Outputs:
    """Predicts every row of every part, and shows `inference_mode` and `no_grad` to agree."""
    import torch

    from tasks.learning.data.tables import read_table, same_table, write_table
    from tasks.learning.evaluation.predictions import predict_parts
    from tasks.learning.models.saved_weights import load_network

    manifest = Manifest.read(context.store.runs / config.run)
    # As many as in training: the last bit of a sum may depend on how many threads share it.
    torch.set_num_threads(manifest.environment.threads)
    network = load_network(
        context.store.read_object(inputs["model"]), context.store.read(inputs["checkpoint"]), config.device
    )
    rows = expected_rows(manifest)
    parts = {
        name: read_table(context.store.path(inputs[name]), None if rows is None else rows.get(name, 0))
        for name in PARTS
        if name in inputs
    }
    repeated = predict_parts(network, parts, config.device)
    if not same_table(repeated, predict_parts(network, parts, config.device, torch.no_grad)):
        raise VerificationError("the model predicts otherwise under no_grad than under inference_mode")
    checks = (Check("modes", True, f"inference_mode and no_grad predict the same for {repeated.num_rows:,} rows"),)
    return {
        "repeated": context.publish("repeated.parquet", partial(write_table, repeated)),
        "predict_checks": write_checks(context, "predict_checks.json", checks),
    }


def expected_rows(manifest: Manifest) -> dict[str, int] | None:
    """Rows of each part of a run, according to its experiment; None if it does not say.

    Raises:
        VerificationError: the experiment has no valid `data` or `split`.
    """
    try:
        return rows_by_part(manifest.experiment)
    except ValueError as error:
        raise VerificationError(f"the manifest of run {manifest.run} does not describe its rows: {error}") from error
