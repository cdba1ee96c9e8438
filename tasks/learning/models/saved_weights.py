"""Saved weights, the .pth file of a run, and the JSON with what is needed to rebuild the model around them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from tasks.learning.data.schema import Columns
from tasks.learning.models.networks import describe, rebuild
from tasks.learning.models.weights import WeightsError, apply_weights, load_weights, specify

if TYPE_CHECKING:
    # For types alone: code that loads saved weights does not depend on the code that trained them.
    from tasks.learning.config.model import Model
    from tasks.learning.config.training import Training

#: Characters of a list of tensors in a message, at most: a file can list hundreds of thousands.
MOST_SHOWN = 500


def describe_weights(
    network: nn.Module, columns: Columns, model: "Model", training: "Training", ending: Mapping[str, Any]
) -> dict[str, Any]:
    """What is needed to rebuild and use a fitted network, as JSON.

    Args:
        network: that was fitted.
        columns: that it reads and predicts.
        model: its section of the experiment.
        training: likewise.
        ending: how the training ended; see `tasks.learning.training.loop.Fit`.

    Returns:
        Its architecture and arguments; its tensors by name, with shape and dtype; the columns that it reads and
        predicts; how they are scaled (not at all: null); the loss; and how its training ended.
    """
    return describe(model, columns) | {
        "tensors": specify(network),
        "loss": training.loss,
        **ending,
    }


def load_network(description: Mapping[str, Any], weights: bytes, device: str) -> nn.Module:
    """A fresh network on the device, built from its description, with saved weights.

    Raises:
        WeightsError: the description names no known architecture or other tensors than it has, or the weights
            are damaged or not exactly the network's.
    """
    try:
        network = rebuild(description, device)
    except ValueError as error:
        raise WeightsError(str(error)) from error
    expected = specify(network)
    if description.get("tensors") != expected:
        listed = str(description.get("tensors"))[:MOST_SHOWN]
        raise WeightsError(f"the description lists the tensors {listed}, the model has {str(expected)[:MOST_SHOWN]}")
    apply_weights(network, load_weights(weights, expected))
    return network
