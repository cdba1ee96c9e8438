"""How far apart two artifacts are that were made the same way: number by number, whatever file holds the numbers."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from tasks.learning.data.tables import Source, count_rows, read_table
from tasks.learning.models.plain_file import load_plain


@dataclass
class Content:
    """What is in a file.

    Attributes:
        numbers: float64 arrays by name; NaN where there is none.
        rest: everything else, which can only be the same or not.
    """

    numbers: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    rest: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Closeness:
    """How far apart two files are.

    Attributes:
        within: whether every number is within the tolerance and everything else is the same.
        largest: largest absolute difference of two numbers; None if they cannot be paired, or are not finite.
    """

    within: bool
    largest: float | None


def closeness(kind: str, before: Source, after: Source, rtol: float, atol: float) -> Closeness | None:
    """How far apart two files are; None if files of this kind hold no numbers, as a picture.

    Two numbers are within the tolerance if |after − before| ≤ atol + rtol · |before|, or if neither is there.

    Args:
        kind: parquet, pth or json, and any other.
        before: one file, or its content.
        after: the other.
        rtol: relative tolerance.
        atol: absolute tolerance.

    Raises:
        ValueError: one of them is no such file.
    """
    if kind not in READERS:
        return None
    if kind == "parquet" and count_rows(before) != count_rows(after):
        return Closeness(False, None)  # known from the footers alone, before any rows take memory
    try:
        first, second = READERS[kind](before), READERS[kind](after)
    except RecursionError:
        raise ValueError(f"a file of kind {kind} is nested too deeply") from None
    shapes = [{name: array.shape for name, array in content.numbers.items()} for content in (first, second)]
    if shapes[0] != shapes[1]:
        return Closeness(False, None)
    within, largest = first.rest == second.rest, 0.0
    for name, array in first.numbers.items():
        difference, absent = _differences(array, second.numbers[name])
        within &= bool(np.all(absent | (difference <= atol + rtol * np.abs(array))))
        largest = max(largest, float(np.max(difference, initial=0.0)))
    return Closeness(within, largest if np.isfinite(largest) else None)


def _differences(
    before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """The absolute differences, and where neither number is there; infinite where only one is."""
    absent = np.isnan(before) & np.isnan(after)
    with np.errstate(invalid="ignore"):
        difference = np.where(before == after, 0.0, np.abs(after - before))
    difference[absent] = 0.0
    difference[np.isnan(difference)] = np.inf
    return difference, absent


def _read_parquet(source: Source) -> Content:
    table, read = read_table(source), Content()
    for name in table.column_names:
        values = table[name].to_pylist()
        if all(value is None or type(value) in (int, float) for value in values):
            read.numbers[name] = np.array([np.nan if value is None else value for value in values], np.float64)
        else:
            read.rest[name] = values
    return read


def _read_weights(source: Source) -> Content:
    content, read = _content(source), Content()
    for name, value in load_plain(content, len(content)).items():
        if isinstance(value, Tensor):
            read.numbers[name] = value.detach().double().numpy()
        else:
            read.rest[name] = value
    return read


def _read_json(source: Source) -> Content:
    content, read = _content(source), Content()

    def walk(value: Any, name: str) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                walk(inner, f"{name}.{key}")
        elif type(value) in (int, float):
            read.numbers[name] = np.array(value, np.float64)
        # A digest differs with the last bit of what it is of, which is compared itself.
        elif not (isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value)):
            read.rest[name] = value

    walk(json.loads(content), "")
    return read


def _content(source: Source) -> bytes:
    return source if isinstance(source, bytes) else source.read_bytes()


#: What reads the kinds of files that hold numbers.
READERS: dict[str, Callable[[Source], Content]] = {
    "parquet": _read_parquet,
    "pth": _read_weights,
    "json": _read_json,
}
