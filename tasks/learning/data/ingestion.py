"""The dataset of a table that people bring: its columns are chosen, and every value is checked before any is used."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.errors import ExperimentError
from tasks.learning.config.bounds import LARGEST, MOST_ROWS
from tasks.learning.config.columns import EVERY_COLUMN, named_columns, require_column_name
from tasks.learning.config.data import TableData
from tasks.learning.data.memory import available_memory
from tasks.learning.data.schema import RESERVED, ROW, Columns
from tasks.learning.data.table_files import TableFile, listed
from tasks.learning.data.tables import to_arrow

#: Whole numbers below this are exact in float64, as which they are read; from here on, a digit may be lost.
EXACT = 2**53

#: Gets a line for people.
Notify = Callable[[str], None]


def read_dataset(
    file: TableFile,
    data: TableData,
    path: Path,
    impute: Sequence[str] = (),
    apart: str | None = None,
    notify: Notify = lambda text: None,
) -> pa.Table:
    """The dataset in a table.

    Args:
        file: the table.
        data: what is chosen of it.
        path: of the file; errors have its name.
        impute: features that may be missing; `*` stands for all.
        apart: a column that is no feature unless the settings name it as one.
        notify: gets a line on the rows that are left out, if any are.

    Returns:
        Columns row (its number in the table, int64, from 0), the features in their order and the target, each of them
        float32 and finite, but for NaN where a feature is missing that may be. Truth values are 0 and 1.

    Raises:
        ExperimentError: the table or a value cannot be used; all problems are named, each with its column and row.
    """
    columns = choose_columns(file, data, path, impute, apart)
    gappy = named_columns(impute, columns.features)
    chosen = {name: Checked(name, is_whole(file, name), name in gappy) for name in (*columns.features, columns.target)}
    complete = named_columns(data.drop_missing, [name for name in chosen if name not in gappy])
    kept, read, available = [np.empty(0, np.int64)], 0, available_memory()
    for batch in first_rows(file.batches(list(chosen)), data.limit):
        places = np.flatnonzero(have_values(batch, complete))
        whole = batch if len(places) == batch.num_rows else batch.take(to_arrow(places))
        for name, column in chosen.items():
            column.add(whole[name], file.first_row + read + places)
        kept.append(read + places)
        read += batch.num_rows
        require_modest(path, read, sum(map(len, kept)), len(chosen), available)
    rows = np.concatenate(kept)
    if read > len(rows):
        notify(f"{read - len(rows):,} of {read:,} rows are left out: a value is missing in {', '.join(complete)}")
    require_rows(path, read, len(rows), chosen, columns.target)
    return pa.Table.from_arrays(
        [to_arrow(rows), *(to_arrow(column.values()) for column in chosen.values())], [ROW, *chosen]
    )


def require_modest(path: Path, read: int, kept: int, columns: int, available: int | None) -> None:
    """Checks that no more rows were read than are allowed, and that those that are kept fit in memory.

    Args:
        path: of the file.
        read: rows that were read.
        kept: rows of them that are not left out.
        columns: that are read.
        available: bytes of memory when reading began, if they are known.

    Raises:
        ExperimentError: they do not.
    """
    if read > MOST_ROWS:
        raise ExperimentError(f"{path.name} has more than {MOST_ROWS:,} rows: set data.limit to read fewer")
    # A value takes 4 bytes, the number of a row 8; both twice, while the pieces are put together.
    if available is not None and kept * (4 * columns + 8) * 2 > available:
        raise ExperimentError(
            f"{path.name} does not fit in memory: {kept:,} rows of {columns} columns take more than the "
            f"{available / 1e9:.1f} GB that are available; set data.limit to read fewer rows, or data.features"
        )


def first_rows(batches: Iterable[pa.RecordBatch], limit: int | None) -> Iterator[pa.RecordBatch]:
    """The batches of the first so many rows; all of them if None."""
    left = limit
    for batch in batches:
        yield batch if left is None else batch.slice(0, left)
        if left is not None:
            left -= min(left, batch.num_rows)
            if not left:
                return


def have_values(batch: pa.RecordBatch, names: Iterable[str]) -> npt.NDArray[np.bool_]:
    """Which rows have a value in each of some columns; NaN is none."""
    found = np.ones(batch.num_rows, np.bool_)
    for name in names:
        found &= ~to_mask(batch[name].is_null(nan_is_null=True))
    return found


def choose_columns(
    file: TableFile, data: TableData, path: Path, impute: Sequence[str] = (), apart: str | None = None
) -> Columns:
    """The features and the target that the settings ask for.

    Args:
        file: the table.
        data: the settings.
        path: of the file; errors have its name.
        impute: features that may be missing.
        apart: a column that is no feature unless the settings name it as one.

    Raises:
        ExperimentError: the columns cannot be told apart, one is missing, or one holds no numbers.
    """
    types = {field.name: field.type for field in file.columns}
    require_distinct([field.name for field in file.columns], path)
    named = (*(data.features or ()), data.target, *(() if data.features else data.exclude), *data.drop_missing, *impute)
    wanted = [name for name in dict.fromkeys(named) if name != EVERY_COLUMN]
    if missing := [missing_column(name, types, data) for name in wanted if name not in types]:
        raise ExperimentError(listed(path, missing))
    features = data.features or [name for name in types if name not in (data.target, apart, *data.exclude)]
    problems = [] if features else [f"no column but the target {data.target!r} is left to predict it by"]
    problems += [problem for name in (*features, data.target) for problem in unusable_name(name, data)]
    problems += without_numbers([name for name in (*features, data.target) if not is_numeric(types[name])], data, file)
    problems += misnamed(data, impute, features)
    if problems:
        raise ExperimentError(listed(path, problems))
    return Columns(tuple(features), data.target)


def misnamed(data: TableData, impute: Sequence[str], features: Sequence[str]) -> Iterator[str]:
    """That settings on missing values name columns of which they cannot be."""
    for name in data.drop_missing:
        if name not in (*features, data.target, EVERY_COLUMN):
            yield f"data.drop_missing names {name!r}, which is neither the target nor a feature"
        elif name in impute and name != EVERY_COLUMN:
            yield f"data.drop_missing and model.impute both name {name!r}: choose one"
    for name in impute:
        if name not in (*features, EVERY_COLUMN):
            yield f"model.impute names {name!r}, which is no feature"


def require_distinct(names: Sequence[str], path: Path) -> None:
    """Checks that no two columns have the same name, or names that differ only in case.

    Raises:
        ExperimentError: two of them have.
    """
    first: dict[str, int] = {}
    places = [(first.setdefault(name.casefold(), place), place) for place, name in enumerate(names)]
    problems = [
        f"two columns are named {names[one]!r} and {names[other]!r}: rename one" for one, other in places if one < other
    ]
    if problems:
        raise ExperimentError(listed(path, problems))


def missing_column(name: str, types: dict[str, pa.DataType], data: TableData) -> str:
    """That there is no such column, and what may have been meant."""
    if len(types) == 1 and any(mark in next(iter(types)) for mark in ",;\t|"):
        return f"its only column is {next(iter(types))!r}: set data.delimiter, which is {data.delimiter!r}"
    return f"{without_column(name, list(types))}; it has {', '.join(types)}"


def without_column(name: str, names: Sequence[str]) -> str:
    """That there is no column of a name among those of a table, and which one may have been meant."""
    close = get_close_matches(name, names, 1, 0.5)
    return f"there is no column {name!r}{f' (is {close[0]!r} meant?)' if close else ''}"


def unusable_name(name: str, data: TableData) -> Iterator[str]:
    """Why the name of a column cannot be used, if it cannot."""
    try:
        require_column_name(name)
    except ValueError as error:
        yield str(error)
    if name in RESERVED and name != data.target:
        yield f"column {name!r} has a name that predictions use: rename it, or leave it out with data.exclude"


def is_numeric(kind: pa.DataType) -> bool:
    """Whether a column holds numbers or truth values; one without any value is taken for one of missing numbers."""
    types = pa.types
    checks = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal, types.is_null)
    return any(check(kind) for check in checks)


def without_numbers(names: Sequence[str], data: TableData, file: TableFile) -> Iterator[str]:
    """That columns hold no numbers, and what to do."""
    examples, types = file.first_texts(names) if names else {}, {field.name: field.type for field in file.columns}
    for name in names:
        example = f", such as {examples[name]}" if name in examples else ""
        remedy = "choose another target" if name == data.target else "leave it out with data.exclude or data.features"
        yield f"column {name!r} holds {described(types[name])}{example}, not numbers: {remedy}"


def described(kind: pa.DataType) -> str:
    """What a column holds that is not numeric, in words."""
    if pa.types.is_dictionary(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    return "dates or times" if pa.types.is_temporal(kind) else f"values of type {kind}"


def is_whole(file: TableFile, name: str) -> bool:
    """Whether a column is one of whole numbers."""
    return any(field.name == name and pa.types.is_integer(field.type) for field in file.columns)


@dataclass
class Checked:
    """A column: its values so far as float32, and the first value of each kind that cannot be used.

    Attributes:
        name: of the column.
        whole: whether it holds whole numbers, which must be exact.
        may_miss: whether values may be missing.
        problems: in words, by kind.
        missing: how many values are.
    """

    name: str
    whole: bool = False
    may_miss: bool = False
    problems: dict[str, str] = field(default_factory=dict)
    missing: int = 0
    _pieces: list[npt.NDArray[np.float32]] = field(default_factory=list)

    def add(self, values: pa.Array, rows: npt.NDArray[np.int64]) -> None:
        """Take the values of a batch, whose rows have these numbers; NaN is a missing value."""
        exact = to_floats(values)
        missing, infinite = np.isnan(exact), np.isinf(exact)
        if missing.any() and not self.may_miss:
            self.missing += int(missing.sum())
            self._note("missing", rows, missing, "is missing")
        self._note("infinite", rows, infinite, "is not finite")
        self._note("large", rows, ~infinite & (np.abs(exact) > LARGEST), "is too large for float32")
        with np.errstate(over="ignore"):
            rounded = exact.astype(np.float32)
        if self.whole:
            lossy = ~missing & ((rounded.astype(np.float64) != exact) | (np.abs(exact) >= EXACT))
            self._note("inexact", rows, lossy, "is a whole number that float32 cannot hold exactly")
        self._pieces.append(rounded)

    def values(self) -> npt.NDArray[np.float32]:
        """All values, of shape [rows]."""
        return np.concatenate(self._pieces)

    def found(self) -> list[str]:
        """All problems, each with the first row that has it."""
        more = f" ({self.missing:,} values are)" if self.missing > 1 else ""
        return [f"column {self.name!r}: {what}{more * (kind == 'missing')}" for kind, what in self.problems.items()]

    def _note(self, kind: str, rows: npt.NDArray[np.int64], wrong: npt.NDArray[np.bool_], what: str) -> None:
        if kind not in self.problems and wrong.any():
            self.problems[kind] = f"the value in row {rows[np.argmax(wrong)]:,} {what}"


def to_floats(values: pa.Array) -> npt.NDArray[np.float64]:
    """Numbers or truth values as float64; NaN where there is none."""
    present = to_mask(values.is_valid())
    floats = np.full(len(values), np.nan)
    found = values.drop_null() if values.null_count else values
    floats[present] = to_mask(found) if pa.types.is_boolean(found.type) else np.from_dlpack(found)
    return floats


def to_mask(values: pa.BooleanArray) -> npt.NDArray[np.bool_]:
    """Truth values without nulls as an array of numpy."""
    return np.from_dlpack(values.cast(pa.uint8())).astype(bool)


def require_rows(path: Path, read: int, kept: int, columns: dict[str, Checked], target: str) -> None:
    """Checks that there are rows, that all their values can be used, and that there is something to learn.

    Args:
        path: of the file.
        read: how many rows it has.
        kept: how many of them are not left out.
        columns: with their values.
        target: the name of the column to predict.

    Raises:
        ExperimentError: there are none, a value cannot be used, or all targets are equal.
    """
    if not read:
        raise ExperimentError(f"{path.name} has no rows below its header")
    if not kept:
        raise ExperimentError(f"in each row of {path.name} a value is missing: name fewer columns in data.drop_missing")
    problems = [problem for column in columns.values() for problem in column.found()]
    if any(column.missing for column in columns.values()):
        problems.append("data.drop_missing leaves out rows in which a value is missing, model.impute fills features in")
    if not problems and np.ptp(columns[target].values()) == 0:
        problems = [f"the target {target!r} has the same value in every row: there is nothing to learn"]
    if problems:
        raise ExperimentError(listed(path, problems))
