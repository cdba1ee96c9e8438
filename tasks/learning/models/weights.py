"""Weights as bytes: a state_dict, saved so that equal weights give equal bytes and loaded without trusting them."""

import io
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tasks.learning.models.plain_file import PlainFileError, load_plain

#: What a file may hold beside the tensors' own bytes: the pickle that names them and torch's small records.
_OVERHEAD = 64 * 1024

#: Likewise for each tensor: its entry in that pickle, with its name.
_OVERHEAD_A_TENSOR = 512

#: Names, shapes and dtypes, such as {"bias": {"shape": [1], "dtype": "float32"}}; JSON.
Specification = Mapping[str, Mapping[str, Any]]


class WeightsError(ValueError):
    """Weights that are not those of the model."""


def specify(module: nn.Module) -> dict[str, dict[str, Any]]:
    """What `load_weights` must find to suit a module: shape and dtype of every tensor of its state_dict; JSON."""
    return {
        name: {"shape": list(tensor.shape), "dtype": _dtype_name(tensor)}
        for name, tensor in module.state_dict().items()
    }


def dump_weights(module: nn.Module) -> bytes:
    """The state_dict as `torch.save` writes it, moved to the CPU; the same bytes for the same weights."""
    # Clones, because torch.save writes the whole storage that a view looks into.
    tensors = {name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()}
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    return buffer.getvalue()


def load_weights(data: bytes, expected: Specification) -> dict[str, Tensor]:
    """Load a state_dict onto the CPU, after showing that it is exactly what is expected.

    Args:
        data: the file. No code in it is ever run, and no more is allocated than the expected tensors need.
        expected: name, shape and dtype of every tensor, as from `specify`.

    Raises:
        WeightsError: the file is damaged, holds anything but tensors, or a tensor is missing, not expected, of another
            shape or dtype, or not finite.
    """
    try:
        tensors = load_plain(data, _expected_bytes(expected) + _OVERHEAD + len(expected) * _OVERHEAD_A_TENSOR)
    except PlainFileError as error:
        raise WeightsError(f"weights: {error}") from error
    _require_tensors(tensors)
    require_specified(tensors, expected)
    return tensors


def require_specified(tensors: Mapping[str, Tensor], expected: Specification) -> None:
    """Show that tensors are what is expected of them.

    Raises:
        WeightsError: one is missing, not expected, of another shape or dtype, or not finite.
    """
    _require_names(tensors, expected)
    for name, tensor in tensors.items():
        _require_tensor(name, tensor, expected[name])


def apply_weights(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a module, on any device, every one of its weights.

    Raises:
        WeightsError: the tensors are not the module's.
    """
    try:
        module.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise WeightsError(f"the weights do not suit the model: {error}") from error


def _expected_bytes(expected: Specification) -> int:
    return sum(torch.Size(spec["shape"]).numel() * _dtype(name, spec).itemsize for name, spec in expected.items())


def _dtype(name: str, spec: Mapping[str, Any]) -> torch.dtype:
    dtype = getattr(torch, str(spec["dtype"]), None)
    if not isinstance(dtype, torch.dtype):
        raise WeightsError(f"{name}: the description asks for the unknown dtype {spec['dtype']!r}")
    return dtype


def _require_tensors(content: Mapping[Any, Any]) -> None:
    for name, value in content.items():
        if not (isinstance(name, str) and isinstance(value, Tensor)):
            raise WeightsError(f"{name}: the weights contain a {type(value).__name__}, not a tensor")


def _require_names(tensors: Mapping[str, Tensor], expected: Specification) -> None:
    missing = [name for name in expected if name not in tensors]
    foreign = [name for name in tensors if name not in expected]
    problems = [
        f"{', '.join(names)} {what}" for names, what in ((missing, "missing"), (foreign, "not expected")) if names
    ]
    if problems:
        raise WeightsError(f"the tensors are not the model's: {'; '.join(problems)}")


def _require_tensor(name: str, tensor: Tensor, spec: Mapping[str, Any]) -> None:
    if list(tensor.shape) != list(spec["shape"]):
        raise WeightsError(f"{name}: has shape {list(tensor.shape)} where the model has {list(spec['shape'])}")
    if tensor.dtype != _dtype(name, spec):
        raise WeightsError(f"{name}: has dtype {_dtype_name(tensor)} where the model has {spec['dtype']}")
    wrong = torch.nonzero(~torch.isfinite(tensor))
    if len(wrong):
        index = tuple(wrong[0].tolist())
        raise WeightsError(f"{name}: the value at index {list(index)} is {tensor[index].item()}, not a finite number")


def _dtype_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
