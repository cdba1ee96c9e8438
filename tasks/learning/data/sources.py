"""The sources of data: for each kind of dataset, what makes its rows."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from tasks.learning.config.data import Data
from tasks.learning.data.lines import line_table

#: By the name that `data.kind` gives: a function of the settings of that kind that makes the columns of
#: `tasks.learning.data.schema`, and as many rows as `row_count` says.
SOURCES: dict[str, Callable[[Any], pa.Table]] = {
    "line": line_table,
}


def make_table(data: Data) -> pa.Table:
    """The dataset that the settings describe."""
    return SOURCES[data.kind](data)
