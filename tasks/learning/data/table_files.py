"""Tables in files that people bring, CSV and Parquet: their columns, and their rows batch by batch."""

import codecs
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from tasks.errors import ExperimentError
from tasks.learning.config.data import TableData, is_csv
from tasks.learning.data.tables import IN_THREADS

#: Bytes of a CSV file that are read at once, and from which the types of its columns are inferred.
BLOCK = 1 << 22

#: Rows of a Parquet file that are read at once.
BATCH = 1 << 16

#: Bytes of a header line, and characters of a value in a message, at most.
MOST_HEADER, MOST_SHOWN = 1 << 20, 40


class TableFile(Protocol):
    """A table in a file.

    Attributes:
        columns: its columns in their order; of a CSV file with the types that its first block suggests.
        first_row: the number of the first row, as people count.
    """

    columns: list[pa.Field]
    first_row: int

    def batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows of some columns of numbers: as float64, or bool where the column is of truth values.

        Raises:
            ExperimentError: the file is damaged, or a value is no number; names the column and the row.
        """

    def values(self, name: str, kind: pa.DataType) -> Iterator[pa.RecordBatch]:
        """The rows of one column as values of a kind: texts (as they stand in a CSV file), float64, or timestamps.

        Raises:
            ExperimentError: the file is damaged.
            pa.ArrowInvalid: a value is of another kind.
            pa.ArrowNotImplementedError: likewise.
        """

    def first_texts(self, names: Sequence[str]) -> dict[str, str]:
        """Of some columns, the first value that is no number, in words with its row; empty where that says no more."""


def open_table(path: Path, data: TableData) -> TableFile:
    """The table in a file, by how its name ends.

    Raises:
        ExperimentError: the file is no such table.
    """
    return CsvFile(path, data) if is_csv(path) else ParquetTable(path)


class CsvFile:
    """A CSV file: UTF-8, with a header line."""

    #: The header is row 1, as in a spreadsheet.
    first_row = 2

    def __init__(self, path: Path, data: TableData) -> None:
        """Reads the header, and infers the types of the columns from the first block.

        Raises:
            ExperimentError: the file is empty, not UTF-8, or no CSV.
        """
        self._path, self._data = path, data
        require_utf8(path)
        try:
            with self._reader(pa.csv.ConvertOptions(decimal_point=data.decimal)) as reader:
                self.columns = list(reader.schema)
        except (pa.ArrowInvalid, OSError) as error:
            raise self._unreadable(error) from error

    def batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows of some columns; see `TableFile.batches`."""
        booleans = {field.name for field in self.columns if pa.types.is_boolean(field.type)}
        types = {name: pa.bool_() if name in booleans else pa.float64() for name in names}
        options = pa.csv.ConvertOptions(
            include_columns=list(names), column_types=types, decimal_point=self._data.decimal
        )
        try:
            with self._reader(options) as reader:
                yield from reader
        except (pa.ArrowInvalid, OSError) as error:
            if texts := self.first_texts(names):
                raise ExperimentError(
                    listed(self._path, [f"column {name!r}: {text} is no number" for name, text in texts.items()])
                ) from error
            raise self._unreadable(error) from error

    def values(self, name: str, kind: pa.DataType) -> Iterator[pa.RecordBatch]:
        """The rows of one column; see `TableFile.values`."""
        options = pa.csv.ConvertOptions(
            include_columns=[name],
            column_types={name: kind},
            decimal_point=self._data.decimal,
            strings_can_be_null=True,
        )
        with self._reader(options) as reader:
            yield from reader

    def first_texts(self, names: Sequence[str]) -> dict[str, str]:
        """The first value of each column that is no number; see `TableFile.first_texts`."""
        first_row, found = self.first_row, dict[str, str]()
        texts = pa.csv.ConvertOptions(
            include_columns=list(names), column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True
        )
        with contextlib.suppress(pa.ArrowInvalid, OSError), self._reader(texts) as reader:
            for batch in reader:
                for name in names:
                    if name not in found and (wrong := self._first_text(batch[name])) is not None:
                        place, text = wrong
                        found[name] = f"{shortened(text)!r} in row {first_row + place:,}"
                first_row += batch.num_rows
        return found

    def _reader(self, options: pa.csv.ConvertOptions) -> pa.csv.CSVStreamingReader:
        return pa.csv.open_csv(
            str(self._path),
            read_options=pa.csv.ReadOptions(use_threads=IN_THREADS, block_size=BLOCK),
            parse_options=pa.csv.ParseOptions(delimiter=self._data.delimiter, newlines_in_values=True),
            convert_options=options,
        )

    def _first_text(self, values: pa.StringArray) -> tuple[int, str] | None:
        """The first of some texts that is no number, and its place."""
        with contextlib.suppress(pa.ArrowInvalid):
            if self._data.decimal == ".":
                pc.cast(values, pa.float64())
                return None
        for place, text in enumerate(values.to_pylist()):
            if text is not None and not is_number(text, self._data.decimal):
                return place, text
        return None

    def _unreadable(self, error: Exception) -> ExperimentError:
        """What pyarrow says of a file; like it, people count the header as row 1."""
        return ExperimentError(f"{self._path.name} is no readable CSV file: {str(error).replace('Row #', 'row ')}")


class ParquetTable:
    """A Parquet file of any origin."""

    first_row = 1

    def __init__(self, path: Path) -> None:
        """Reads the footer.

        Raises:
            ExperimentError: the file is no Parquet file.
        """
        self._path = path
        try:
            self._file = pq.ParquetFile(path)
        except (pa.ArrowException, OSError) as error:
            raise ExperimentError(f"{path.name} is no readable Parquet file: {error}") from error
        self.columns = list(self._file.schema_arrow)

    def batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows of some columns; see `TableFile.batches`."""
        try:
            for batch in self._file.iter_batches(BATCH, columns=list(names), use_threads=IN_THREADS):
                arrays = [batch[name] for name in names]
                yield pa.RecordBatch.from_arrays([as_numbers(array) for array in arrays], list(names))
        except (pa.ArrowException, OSError) as error:
            raise ExperimentError(f"{self._path.name} is no readable Parquet file: {error}") from error

    def values(self, name: str, kind: pa.DataType) -> Iterator[pa.RecordBatch]:
        """The rows of one column; see `TableFile.values`."""
        for batch in self._file.iter_batches(BATCH, columns=[name], use_threads=IN_THREADS):
            yield pa.RecordBatch.from_arrays([as_kind(batch[name], kind)], [name])

    def first_texts(self, names: Sequence[str]) -> dict[str, str]:
        """Nothing: the type of a column says what it holds."""
        return {}


def as_numbers(values: pa.Array) -> pa.Array:
    """Numbers as float64, each rounded to the nearest; truth values as they are."""
    return values if pa.types.is_boolean(values.type) else pc.cast(values, pa.float64(), safe=False)


def as_kind(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Values as texts, numbers or timestamps; of times, what is below a microsecond is dropped.

    Raises:
        pa.ArrowInvalid: a value cannot be converted.
        pa.ArrowNotImplementedError: values of this kind cannot.
    """
    plain = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
    return pc.cast(plain, kind, safe=False)


def is_number(text: str, decimal: str) -> bool:
    """Whether a text of a CSV file is a number."""
    if decimal != "." and "." in text:
        return False
    try:
        float(text.replace(decimal, "."))
    except ValueError:
        return False
    return "_" not in text


def shortened(text: str) -> str:
    """A value for a message."""
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


def require_utf8(path: Path) -> None:
    """Refuses a CSV file in UTF-16, which spreadsheets save as "Unicode text", or with a header in another encoding.

    Raises:
        ExperimentError: it is.
    """
    with path.open("rb") as file:
        header = file.readline(MOST_HEADER)
    if header.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ExperimentError(f"{path.name} is in UTF-16: save it as CSV in UTF-8")
    try:
        header.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ExperimentError(f"{path.name} is not in UTF-8: save it as CSV in UTF-8 ({error})") from error


def listed(path: Path, problems: Iterable[str]) -> str:
    """All problems of a file as one message."""
    return "\n  ".join((f"{path.name} cannot be used as it is:", *problems))
