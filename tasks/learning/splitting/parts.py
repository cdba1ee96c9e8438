"""The parts of the dataset: train, validation (if any) and test."""

import numpy as np
import pyarrow as pa

from tasks.errors import ExperimentError
from tasks.learning.config.split import Split
from tasks.learning.data.tables import to_arrow
from tasks.learning.splitting.methods import places_by_value


def split_rows(table: pa.Table, split: Split, values: pa.Table | None = None) -> dict[str, pa.Table]:
    """The parts of a table, in the order train, validation (if any), test.

    Sequential parts keep the order of the table and share its memory; shuffled ones keep the order in which the seeded
    permutation drew them. Rows that are divided by a column keep their order in each part.

    Args:
        table: the dataset.
        split: how it is divided.
        values: of the column by which it is divided; see `tasks.learning.splitting.values`. None for other methods.

    Raises:
        ValueError: a part of so many rows would be empty.
        ExperimentError: a part would be empty, as the values are.
    """
    if values is not None:
        return parts_by_value(table, split, values)
    sizes = split.sizes(table.num_rows)
    if split.method == "shuffled":
        table = table.take(to_arrow(np.random.default_rng(split.seed).permutation(table.num_rows)))
    parts, start = {}, 0
    for part, size in sizes.items():
        parts[part] = table.slice(start, size)
        start += size
    return parts


def parts_by_value(table: pa.Table, split: Split, values: pa.Table) -> dict[str, pa.Table]:
    """The parts of a table whose rows are divided by the values of a column.

    Raises:
        ExperimentError: a part would be empty.
    """
    places = places_by_value(split, values)
    parts = {part: table.take(to_arrow(np.flatnonzero(places == place))) for place, part in enumerate(split.parts)}
    if empty := [part for part, held in parts.items() if not held.num_rows]:
        bounds = "split.cut" if split.is_cut else "split.train and split.validation"
        raise ExperimentError(
            f"split.method {split.method} leaves the {empty[0]} part empty, as the values of column {split.column!r} "
            f"are: change {bounds}, or choose another column or method"
        )
    return parts
