"""A DataFrame as a table to be trained on, which is read as those in files are."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flows.errors import InputError
from flows.notebook.frames import as_arrow, first_present, in_row, several_kinds, unusable
from tasks.errors import ExperimentError
from tasks.learning.config.data import TableData
from tasks.learning.config.split import Split, column_apart

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

#: Stands for the name of a file in messages.
NAME = Path("the DataFrame (rows counted from 0)")


def read_frame(frame: "pd.DataFrame", data: TableData, impute: Sequence[str], split: Split) -> "pa.Table":
    """What is chosen of a DataFrame to be trained on, checked as `ingest` checks a file.

    Returns:
        The features in their order and the target, each of them float32 and finite, but for NaN where a feature is
        missing that may be; last the column by which the rows are divided, if it is none of these.

    Raises:
        InputError: it is no DataFrame, or it or a value cannot be used; all problems are named.
    """
    import pandas as pd

    from tasks.learning.data.ingestion import read_dataset
    from tasks.learning.data.schema import ROW
    from tasks.learning.data.tables import to_numpy
    from tasks.learning.splitting.values import as_read, read_split_values

    if not isinstance(frame, pd.DataFrame):
        raise InputError(f"data must be a pandas DataFrame, not {type(frame)}")
    if not len(frame):
        raise InputError("the DataFrame has no rows")
    try:
        table = FrameTable(frame, data, split.by_column)
        dataset = read_dataset(table, data, NAME, impute, column_apart(split.method, split.column))
        if (name := split.by_column) is not None and name not in dataset.column_names:
            values = read_split_values(table, NAME, name, split.method, to_numpy(dataset[ROW]))
            dataset = dataset.append_column(name, as_read(values))
        return dataset.drop_columns([ROW])
    except ExperimentError as error:
        raise InputError(str(error)) from error


class FrameTable:
    """A DataFrame as a `tasks.learning.data.table_files.TableFile`."""

    #: As iloc counts them.
    first_row = 0

    def __init__(self, frame: "pd.DataFrame", data: TableData, split_column: str | None = None) -> None:
        """Takes the columns that may be chosen, and that by which the rows are divided.

        Raises:
            InputError: a label of a column is no text, or a column holds values of several kinds.
        """
        import pyarrow as pa

        names = list(frame.columns)
        if foreign := [repr(name) for name in names if not isinstance(name, str)]:
            raise unusable([f"columns must be labelled by texts, not by {', '.join(foreign)}"])
        chosen = {data.target, split_column, *(data.features or set(names).difference(data.exclude))}
        self._arrays: dict[str, pa.Array] = {}
        problems = []
        for at, name in enumerate(names):
            if name in chosen and (array := as_arrow(frame.iloc[:, at])) is not None:
                self._arrays[name] = array
            elif name in chosen:
                problems.append(f"column {name!r} holds {several_kinds(frame.iloc[:, at])}")
        if problems:
            raise unusable(problems)
        self.columns = [pa.field(name, self._arrays[name].type if name in chosen else pa.null()) for name in names]

    def batches(self, names: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        """All rows of some columns at once; see `TableFile.batches`."""
        import pyarrow as pa

        from tasks.learning.data.table_files import as_numbers

        yield pa.RecordBatch.from_arrays([as_numbers(self._arrays[name]) for name in names], list(names))

    def values(self, name: str, kind: "pa.DataType") -> "Iterator[pa.RecordBatch]":
        """All rows of one column at once; see `TableFile.values`."""
        import pyarrow as pa

        from tasks.learning.data.table_files import as_kind

        yield pa.RecordBatch.from_arrays([as_kind(self._arrays[name], kind)], [name])

    def first_texts(self, names: Sequence[str]) -> dict[str, str]:
        """The first value of some columns that hold no numbers; see `TableFile.first_texts`."""
        found = {name: first_present(self._arrays[name]) for name in names}
        return {name: in_row(self._arrays[name][row].as_py(), row) for name, row in found.items() if row is not None}
