"""DataFrames that people bring: the columns that a model reads, their values checked as `ingest` checks them."""

from collections.abc import Sequence
from decimal import Decimal
from numbers import Real
from typing import TYPE_CHECKING

from flows.errors import InputError, truncate

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    import pyarrow as pa

    from tasks.learning.data.ingestion import Checked


def read_features(
    frame: "pd.DataFrame", features: Sequence[str], imputed: Sequence[str] = ()
) -> "npt.NDArray[np.float32]":
    """The features in a DataFrame, wherever its columns stand; columns that are no features are not looked at.

    Args:
        frame: has the features, each once.
        features: their names, in the order in which the model reads them.
        imputed: those of them that may be missing.

    Returns:
        float32 of shape [rows, features], in the order of `features`; all of it finite, but for NaN where a feature is
        missing that may be. Truth values are 0 and 1.

    Raises:
        InputError: it is no DataFrame, a column is missing or there twice, or a value cannot be used; all problems are
            named, each with its column and the first row that has it.
    """
    from tasks.learning.data.columns import side_by_side
    from tasks.learning.data.ingestion import Checked

    require_columns(frame, features)
    columns = {name: Checked(name, may_miss=name in imputed) for name in features}
    problems = [problem for name, column in columns.items() for problem in take(column, frame[name])]
    if problems:
        raise unusable(problems)
    return side_by_side({name: column.values() for name, column in columns.items()}, features)


def take(column: "Checked", values: "pd.Series") -> list[str]:
    """Has a column take its values; returns what is wrong with them."""
    import numpy as np
    import pyarrow as pa

    from tasks.learning.data.table_files import as_numbers

    array = as_arrow(values)
    if array is None:
        return [f"column {column.name!r} holds {several_kinds(values)}"]
    if what := other_than_numbers(array):
        return [f"column {column.name!r} holds {what}, not numbers"]
    column.whole = pa.types.is_integer(array.type)
    column.add(as_numbers(array), np.arange(len(array)))
    return column.found()


def unusable(problems: Sequence[str]) -> InputError:
    """The error with all problems of a DataFrame."""
    header = "the DataFrame cannot be used as it is (rows are counted from 0, as by iloc):"
    return InputError("\n  ".join((header, *problems)))


def require_columns(frame: "pd.DataFrame", features: Sequence[str]) -> None:
    """Checks that a DataFrame has each of some columns once.

    Raises:
        InputError: it has not, or is none.
    """
    import pandas as pd

    from tasks.learning.data.ingestion import without_column

    if not isinstance(frame, pd.DataFrame):
        raise InputError(f"a pandas DataFrame is needed, with the columns {', '.join(features)}; not {type(frame)}")
    names = list(frame.columns)
    problems = [f"{names.count(name)} columns are named {name!r}" for name in features if names.count(name) > 1]
    if missing := [name for name in features if name not in names]:
        others = [str(name) for name in names if name not in features]
        problems += [without_column(name, others) for name in missing]
        problems.append(f"its columns are {', '.join(map(str, names)) or 'none'}")
    if problems:
        raise unusable(problems)


def as_arrow(values: "pd.Series") -> "pa.Array | None":
    """The values of a column, missing ones as null; categories as what they stand for. None if it mixes kinds."""
    import pyarrow as pa

    try:
        array = pa.Array.from_pandas(values)
    except (pa.ArrowException, OverflowError):
        return None
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def other_than_numbers(values: "pa.Array") -> str:
    """What a column holds if that is not numbers or truth values, with the first of it; empty if it is."""
    from tasks.learning.data.ingestion import described, is_numeric

    if is_numeric(values.type):
        return ""
    first = first_present(values)
    return described(values.type) + ("" if first is None else f", such as {in_row(values[first].as_py(), first)}")


def first_present(values: "pa.Array") -> int | None:
    """The row of the first value that is not missing, if there is one."""
    return next((row for row, value in enumerate(values) if value.is_valid), None)


def several_kinds(values: "pd.Series") -> str:
    """What a column holds that Arrow has no type for, with the first value that is no number."""
    import numpy as np
    import pandas as pd

    for row, value in enumerate(values):
        if not (isinstance(value, Real | Decimal | np.bool_) or value is None or value is pd.NA):
            return f"more than numbers, such as {in_row(value, row)}"
    return "numbers of several kinds, or too large ones: convert it with astype(float)"


def in_row(value: object, row: int) -> str:
    """A value with its row, in words."""
    return f"{truncate(repr(value))} in row {row:,}"
