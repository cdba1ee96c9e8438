"""Stage `evaluate`: what the trained model predicts, and how good it is."""

import json
from collections.abc import Mapping
from functools import partial

from tasks.caching.stage import StageConfig, StageContext, stage
from tasks.caching.storage.reference import Outputs, Reference
from tasks.learning.config.split import PARTS


class Scoring(StageConfig):
    """The part of the training section that shapes predictions and metrics; device and threads are resolved ones."""

    loss: str
    device: str
    threads: int


class EvaluateConfig(StageConfig):
    """What shapes the evaluation; the model itself comes with its description."""

    training: Scoring


@stage(
    EvaluateConfig,
    inputs=("train", "validation?", "test", "weights", "model"),
    outputs=("predictions", "metrics"),
    libraries=("torch", "numpy", "pyarrow"),
    run_files={"metrics": "metrics.json"},
)
def evaluate(config: EvaluateConfig, inputs: Mapping[str, Reference], context: StageContext) -> Outputs:
    """Predicts every row of every part, and computes the metrics by part."""
    import torch

    from tasks.learning.data.tables import read_table, write_table
    from tasks.learning.evaluation.metrics import metrics_by_part
    from tasks.learning.evaluation.predictions import predict_parts
    from tasks.learning.models.saved_weights import load_network

    scoring = config.training
    torch.set_num_threads(scoring.threads)
    parts = {name: read_table(context.store.path(inputs[name])) for name in PARTS if name in inputs}
    network = load_network(
        context.store.read_object(inputs["model"]), context.store.read(inputs["weights"]), scoring.device
    )
    predictions = predict_parts(network, parts, scoring.device)
    metrics = metrics_by_part(predictions, scoring.loss)
    return {
        "predictions": context.publish("predictions.parquet", partial(write_table, predictions)),
        "metrics": context.publish("metrics.json", json.dumps(metrics, indent=2).encode()),
    }
