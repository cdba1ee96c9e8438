"""What a model has learned: how many parameters it has and, if they are few, their values."""

import math
from dataclasses import dataclass

from tasks.learning.models.imputation import FILL
from tasks.learning.models.scaling import INNER, MEASURED
from tasks.learning.models.weights import Specification, load_weights

#: What batch normalization measures, beside its parameters.
RUNNING = ("running_mean", "running_var", "num_batches_tracked")

#: Parameters whose values are listed, at most.
MOST_LISTED = 20


@dataclass(frozen=True)
class Learned:
    """The parameters of a trained model.

    Attributes:
        count: of the single numbers, without those that are measured: of features and target, to scale them, and of
            batches, to normalize them.
        values: by name, such as `bias` or `layer.weight[0, 1]`; empty if there are too many to list.
    """

    count: int
    values: dict[str, float]


def read_learned(weights: bytes, tensors: Specification) -> Learned:
    """The learned parameters of a checkpoint.

    Args:
        weights: the state_dict as it was saved.
        tensors: shape and dtype of each tensor by name, as the model's description has them.

    Raises:
        WeightsError: the weights are not what the description says.
    """
    count = sum(math.prod(tensor["shape"]) for name, tensor in tensors.items() if is_learned(name))
    if count > MOST_LISTED:
        return Learned(count, {})
    values: dict[str, float] = {}
    learned = {name: tensor for name, tensor in load_weights(weights, tensors).items() if is_learned(name)}
    for name, tensor in learned.items():
        numbers = tensor.flatten().tolist()
        places = [""] if len(numbers) == 1 else [f"[{place}]" for place in indices(tensor.shape)]
        values |= {f"{own_name(name)}{place}": float(number) for place, number in zip(places, numbers, strict=True)}
    return Learned(count, values)


def is_learned(name: str) -> bool:
    """Whether a tensor of a state_dict is a parameter, and not measured."""
    return own_name(name) not in (*MEASURED, FILL) and name.rpartition(".")[2] not in RUNNING


def own_name(name: str) -> str:
    """The name that a tensor has in the network itself, without what is around it."""
    while name.startswith(INNER):
        name = name.removeprefix(INNER)
    return name


def indices(shape: tuple[int, ...]) -> list[str]:
    """The places of a tensor in their order, such as `0, 1`."""
    places = [""]
    for size in shape:
        places = [f"{place}, {index}" if place else str(index) for place in places for index in range(size)]
    return places
