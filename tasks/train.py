"""Stage `train`: fits the model on the training rows."""

import json
from collections.abc import Mapping
from functools import partial

from tasks.caching.stage import StageConfig, StageContext, stage
from tasks.caching.storage.reference import Outputs, Reference
from tasks.learning.config.model import Model
from tasks.learning.config.training import SettledTraining, require_batch

#: What the progress of a fit shows beside its epochs.
TRAINING_LOSS = "training loss"


class TrainConfig(StageConfig):
    """What shapes the fit."""

    immaterial = frozenset({"training.checkpoint_every"})

    model: Model
    training: SettledTraining


@stage(
    TrainConfig,
    inputs=("train", "validation?", "test"),
    outputs=("weights", "model", "history", "untrained"),
    libraries=("torch", "numpy", "pyarrow"),
)
def train(config: TrainConfig, inputs: Mapping[str, Reference], context: StageContext) -> Outputs:
    """Makes the weights (a state_dict), the model's description, the loss history and the untrained predictions."""
    import torch

    from tasks.learning.data.columns import read_batch
    from tasks.learning.data.schema import columns_of
    from tasks.learning.data.tables import read_names, read_table, write_table
    from tasks.learning.evaluation.predictions import predict_parts
    from tasks.learning.models.networks import build_network, measure_rows
    from tasks.learning.models.saved_weights import describe_weights
    from tasks.learning.models.weights import dump_weights
    from tasks.learning.training.history import history_table
    from tasks.learning.training.loop import fit

    model, training = config.model, config.training
    torch.set_num_threads(training.threads)
    paths = {name: context.store.path(reference) for name, reference in inputs.items()}
    batches = {name: read_batch(path, training.device) for name, path in paths.items()}
    require_batch(training.batch_size, len(batches["train"][0]), model.normalizes_batches)
    columns = columns_of(read_names(paths["train"]))
    network = build_network(model, training.placement, training.device, training.seed, columns)
    measure_rows(network, *batches["train"], model, columns)
    untrained = predict_parts(network, {name: read_table(path) for name, path in paths.items()}, training.device)

    def show(done: int, total: int, loss: float) -> None:
        context.progress(done, total, {TRAINING_LOSS: loss})

    with context.resumable() as checkpointer:
        fitted = fit(network, training, batches.pop("train"), batches, show, checkpointer)
    description = describe_weights(network, columns, model, training, fitted.ending())
    return {
        "weights": context.publish("weights.pth", dump_weights(network)),
        "model": context.publish("model.json", json.dumps(description, indent=2).encode()),
        "history": context.publish("history.parquet", partial(write_table, history_table(fitted.history))),
        "untrained": context.publish("untrained.parquet", partial(write_table, untrained)),
    }
