"""The split of the rows into train, validation and test, and the proof that it is one."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.learning.config.split import Split
from tasks.learning.data.schema import ROW
from tasks.learning.data.tables import to_arrow, to_numpy

Rows = npt.NDArray[np.int64]

_FAILED = "the split is no partition of the dataset"


def split_rows(table: pa.Table, split: Split) -> dict[str, pa.Table]:
    """The parts of a table, in the order train, validation (if any), test.

    Sequential parts keep the order of the table and share its memory; shuffled ones keep the order in which
    the seeded permutation drew them.

    Raises:
        ValueError: a part would be empty.
    """
    sizes = split.sizes(table.num_rows)
    if split.method == "shuffled":
        table = table.take(to_arrow(np.random.default_rng(split.seed).permutation(table.num_rows)))
    parts, start = {}, 0
    for part, size in sizes.items():
        parts[part] = table.slice(start, size)
        start += size
    return parts


def prove_partition(table: pa.Table, parts: Mapping[str, pa.Table]) -> None:
    """Prove that every row of a table is in exactly one of its parts, by the column of their numbers.

    Raises:
        ValueError: a row is in two parts, twice in one, in none, or in a part alone; the row is named.
    """
    rows = {part: to_numpy(held[ROW]) for part, held in parts.items()}
    found = np.sort(np.concatenate(list(rows.values())))
    expected = np.sort(to_numpy(table[ROW]))
    if np.array_equal(found, expected):
        return
    repeated = found[1:][found[1:] == found[:-1]]
    if len(repeated):
        raise ValueError(f"{_FAILED}: row {repeated[0]} is held more than once, by {_holders(repeated[0], rows)}")
    missing = np.setdiff1d(expected, found)
    if len(missing):
        raise ValueError(f"{_FAILED}: row {missing[0]} is in no part, like {len(missing) - 1:,} others")
    foreign = np.setdiff1d(found, expected)
    raise ValueError(f"{_FAILED}: row {foreign[0]}, held by {_holders(foreign[0], rows)}, is not in the dataset")


def _holders(row: np.int64, rows: Mapping[str, Rows]) -> str:
    """The parts that hold a row, such as "train and test"; a part that holds it twice is named twice."""
    return " and ".join(part for part, held in rows.items() for _ in range(np.count_nonzero(held == row)))
