"""The column by which rows are divided: read beside the dataset, because the model need not see it."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.errors import ExperimentError
from tasks.learning.data.ingestion import described, first_rows, is_numeric, without_column
from tasks.learning.data.schema import ROW
from tasks.learning.data.table_files import TableFile, listed
from tasks.learning.data.tables import to_arrow

#: The columns of which there is one beside the number of the row: values that are compared (string), numbers that are
#: ordered (float64), and times (int64, microseconds since 1970 in UTC).
TEXT, NUMBER, TIME = "text", "number", "time"


def read_split_values(file: TableFile, path: Path, column: str, method: str, rows: npt.NDArray[np.int64]) -> pa.Table:
    """The values by which rows are divided.

    Args:
        file: the table.
        path: of the file; errors have its name.
        column: its name.
        method: of the split.
        rows: the numbers of the rows of the dataset, from 0, ascending.

    Returns:
        Columns row (int64), and one of text, number and time.

    Raises:
        ExperimentError: there is no such column, a value is missing, or one cannot be ordered.
    """
    names = [field.name for field in file.columns]
    if column not in names:
        raise ExperimentError(listed(path, [f"split.column: {without_column(column, names)}"]))
    held = file.columns[names.index(column)].type
    kind = stored_kind(held, method)
    try:
        batches = list(first_rows(file.values(column, kind), int(rows[-1]) + 1))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        wanted = "dates, times or numbers" if method == "time" else "values that can be compared"
        problem = f"split.column {column!r} holds {described(held)}, and not only {wanted}: {error}"
        raise ExperimentError(listed(path, [problem])) from error
    values = pa.chunked_array([batch[column] for batch in batches], kind).take(to_arrow(rows))
    require_present(values, column, path, file.first_row + rows)
    return pa.Table.from_arrays([to_arrow(rows), as_stored(values)], [ROW, stored_name(kind)])


def stored_kind(held: pa.DataType, method: str) -> pa.DataType:
    """As what the values of a column are read: texts to be compared, and times or numbers to be ordered."""
    if method != "time":
        return pa.string()
    if is_numeric(held):
        return pa.float64()
    return pa.timestamp("us", held.tz if pa.types.is_timestamp(held) else None)


def stored_name(kind: pa.DataType) -> str:
    """The name of the column that holds values of a kind."""
    if pa.types.is_timestamp(kind):
        return TIME
    return TEXT if kind == pa.string() else NUMBER


def as_stored(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Values as they are written: times as integers."""
    return values.cast(pa.int64()) if pa.types.is_timestamp(values.type) else values


def as_read(values: pa.Table) -> pa.ChunkedArray:
    """The values as they were read: times as timestamps in UTC."""
    name = values.column_names[-1]
    return values[name].cast(pa.timestamp("us", "UTC")) if name == TIME else values[name]


def require_present(values: pa.ChunkedArray, name: str, path: Path, rows: npt.NDArray[np.int64]) -> None:
    """Checks that no value is missing.

    Raises:
        ExperimentError: one is; the first row is named.
    """
    missing = np.from_dlpack(values.is_null(nan_is_null=True).combine_chunks().cast(pa.uint8()))
    if count := int(missing.sum()):
        more = f" ({count:,} values are)" if count > 1 else ""
        where = f"the value in row {rows[np.argmax(missing)]:,} is missing{more}"
        raise ExperimentError(
            listed(path, [f"split.column {name!r}: {where}, and nothing says to which part the row belongs"])
        )
