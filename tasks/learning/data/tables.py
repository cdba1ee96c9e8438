"""Parquet tables: written so that equal tables give equal bytes, read with every page's checksum verified.

Before any rows are read, the footer and the page headers are checked against the number of rows: a file of a few kB can
declare millions of rows, or pages of gigabytes.
"""

import io
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.learning.config.bounds import MOST_ROWS
from tasks.learning.data.memory import available_memory
from tasks.learning.data.parquet_pages import Page, read_pages, read_ranges

#: Rows of a row group: 4 MiB of float32 a column, the unit in which readers hold a file in memory.
ROW_GROUP = 1 << 20

#: Whether Arrow's own threads read columns. One that still lets go of a Python object while the interpreter ends aborts
#: the process (apache/arrow issues 34314 and 50482), after all work was done and reported.
IN_THREADS = False

#: Types of columns, each with the most bytes that a value takes: numbers and short texts. All other types are refused.
WIDTHS = {pa.int64(): 8, pa.float32(): 4, pa.float64(): 8, pa.string(): 1 << 16}

#: Bytes that a column of texts may take. A file in which each text stands once, and a number in its place in every row,
#: can be millions of times smaller.
MOST_TEXT = 1 << 31

#: Bytes beside the values themselves: for each value, such as its index in a dictionary, and for the whole column.
OVERHEAD, COLUMN_OVERHEAD = 8, 1 << 10

#: Pages without values that a column can have: a dictionary of missing texts, and the page of a group without rows. Of
#: more, a small file could have thousands: each takes five bytes.
MOST_EMPTY = 2

Source = Path | bytes
_T = TypeVar("_T")


def to_arrow(values: npt.NDArray[Any], present: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """Values as an Arrow array that shares their memory; null where `present` is False.

    Takes the place of pa.array, which imports pandas to ask whether the values are a Series: 0.3 s.
    """
    validity = None if present is None else pa.py_buffer(np.packbits(present, bitorder="little"))
    data = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [validity, data])


def repeat_text(text: str, rows: int) -> pa.Array:
    """A string column of one text; made from its bytes, because pa.scalar imports pandas like pa.array."""
    content = text.encode()
    ends = np.array([0, len(content)], np.int32)
    once = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(ends), pa.py_buffer(content)])
    return pa.repeat(once[0], rows)


def to_numpy(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """The values of a numeric column without nulls, read-only and, if they lie in one piece, without a copy.

    Takes the place of pyarrow's own to_numpy, which imports pandas.
    """
    return np.from_dlpack(column.combine_chunks())


def same_table(one: pa.Table, other: pa.Table) -> bool:
    """Whether two tables have the same columns with the same values, NaN included."""
    names = one.column_names
    return names == other.column_names and all(same_column(one[name], other[name]) for name in names)


def same_column(one: pa.ChunkedArray, other: pa.ChunkedArray) -> bool:
    """Whether two columns have the same values; NaN, which equals nothing, is the same as NaN."""
    if pa.types.is_floating(one.type) and one.type == other.type and len(one) == len(other):
        return np.array_equal(to_numpy(one), to_numpy(other), equal_nan=True)
    return bool(one.equals(other))


def write_table(table: pa.Table, sink: BinaryIO | Path) -> None:
    """Write a table as Parquet; the bytes depend on its columns and on pyarrow's version alone.

    Floating-point columns are split by byte, and integers stored as differences, before zstd: no dictionary,
    which numbers without repetition would only pay for.
    """
    pq.write_table(
        table,
        sink,
        row_group_size=ROW_GROUP,
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=1,
        use_dictionary=False,
        column_encoding={field.name: _encoding(field.type) for field in table.schema},
        write_page_checksum=True,
        store_schema=False,  # and with it whatever pandas or others attached
    )


def _encoding(kind: pa.DataType) -> str:
    if pa.types.is_floating(kind):
        return "BYTE_STREAM_SPLIT"
    return "DELTA_BINARY_PACKED" if pa.types.is_integer(kind) else "PLAIN"


def read_table(source: Source, rows: int | None = None) -> pa.Table:
    """Read a whole table from a path or from the bytes of a file.

    Args:
        source: the file.
        rows: the expected number of rows; any number when not given.

    Raises:
        ValueError: the source is no Parquet file, a page of it is damaged, it holds what this project never writes, or
            it has another number of rows.
        FileNotFoundError: there is no such file.
    """
    with _open(source) as file:
        _require_declared(source, file.metadata.num_rows, rows)
        table = _verified(source, partial(file.read, use_threads=IN_THREADS))
        _require_rows(source, table.num_rows, file.metadata.num_rows)
    for place, name in enumerate(table.column_names):
        if pa.types.is_dictionary(table[name].type):
            table = table.set_column(place, name, _texts(source, name, table[name]))
    return table


def count_rows(source: Source) -> int:
    """The number of rows that the footer of a table declares.

    Raises:
        ValueError: the source is no Parquet file, or it holds what this project never writes.
        FileNotFoundError: there is no such file.
    """
    with _open(source) as file:
        rows: int = file.metadata.num_rows
    return rows


def read_names(source: Source) -> list[str]:
    """The names of the columns of a table, in their order.

    Raises:
        ValueError: the source is no Parquet file, or it holds what this project never writes.
        FileNotFoundError: there is no such file.
    """
    with _open(source) as file:
        names: list[str] = file.schema_arrow.names
    return names


def read_columns(source: Source, names: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
    """Read float columns into contiguous, writable float32 arrays of shape [rows], one row group at a time.

    Memory beyond the arrays is bounded by a row group, whatever the size of the file.

    Raises:
        ValueError: the source is no Parquet file, a page of it is damaged, it holds what this project never writes, or
            a column is missing, is not float32, or has missing values.
        FileNotFoundError: there is no such file.
    """
    with _open(source) as file:
        _require_floats(source, file.schema_arrow, names)
        rows = file.metadata.num_rows
        arrays = {name: _verified(source, lambda: np.empty(rows, np.float32)) for name in names}
        stop = 0
        for group in range(file.num_row_groups):
            table = _verified(source, partial(file.read_row_group, group, columns=list(names), use_threads=IN_THREADS))
            start, stop = stop, stop + table.num_rows
            if stop > rows:
                break
            for name in names:
                _fill(source, arrays[name][start:stop], name, table[name])
        _require_rows(source, stop, rows)
    return arrays


def _open(source: Source) -> pq.ParquetFile:
    """A file that was found to declare nothing but modest numbers of rows and plain columns.

    Texts come as the numbers that stand for them: how much memory they take in full is for `_texts` to ask before.
    """
    stream = pa.BufferReader(source) if isinstance(source, bytes) else str(source)
    file = _verified(source, partial(pq.ParquetFile, stream, page_checksum_verification=True))
    schema = _verified(source, lambda: file.schema_arrow)
    _require_modest(source, schema, file.metadata)
    _require_pages(source, schema, file.metadata)
    if not (texts := [field.name for field in schema if field.type == pa.string()]):
        return file
    return _verified(
        source,
        partial(pq.ParquetFile, stream, metadata=file.metadata, page_checksum_verification=True, read_dictionary=texts),
    )


def _verified(source: Source, read: Callable[[], _T]) -> _T:
    """What `read` gives; whatever pyarrow finds wrong with the bytes becomes a ValueError that names the source."""
    try:
        return read()
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, MemoryError) as error:
        raise ValueError(f"{_name(source)} is no readable Parquet file: {error}") from error


def _require_modest(source: Source, schema: pa.Schema, metadata: pq.FileMetaData) -> None:
    if len(set(schema.names)) < len(schema.names):
        raise ValueError(f"{_name(source)} has two columns of one name")
    for field in schema:
        if field.type not in WIDTHS:
            raise ValueError(
                f"column {field.name!r} of {_name(source)} holds {field.type}: only numbers and texts are read"
            )
    if metadata.num_rows > MOST_ROWS:
        raise ValueError(f"{_name(source)} declares {metadata.num_rows:,} rows; at most {MOST_ROWS:,} are read")
    needed = metadata.num_rows * sum(WIDTHS[field.type] for field in schema if field.type != pa.string())
    if (available := available_memory()) is not None and needed > available:
        raise ValueError(
            f"{_name(source)} declares {metadata.num_rows:,} rows, which take {needed / 1e9:.1f} GB of memory, "
            f"and {available / 1e9:.1f} GB are available"
        )


def _require_pages(source: Source, schema: pa.Schema, metadata: pq.FileMetaData) -> None:
    """Refuses pages that declare more bytes or values than the rows of their row group can take."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    _require_rows(source, sum(group.num_rows for group in groups), metadata.num_rows)
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        try:
            ranges = read_ranges(file)
            if [len(columns) for columns in ranges] != [len(schema)] * len(groups):
                raise ValueError("its footer contradicts itself")
        except ValueError as error:
            raise ValueError(f"{_name(source)} is no readable Parquet file: {error}") from error
        for group, columns in zip(groups, ranges, strict=True):
            for field, (start, stop) in zip(schema, columns, strict=True):
                try:
                    _require_fitting(read_pages(file, start, stop), field.type, group.num_rows)
                except ValueError as error:
                    raise ValueError(
                        f"{_name(source)} is no readable Parquet file: column {field.name!r}: {error}"
                    ) from error


def _require_fitting(pages: Iterable[Page], kind: pa.DataType, rows: int) -> None:
    """Refuses the pages of a column that take more than its rows can, or of which many hold nothing."""
    most, empty = _most_unpacked(kind, rows), MOST_EMPTY
    for page in pages:
        most, empty = most - page.unpacked, empty - (not page.values)
        if most < 0 or page.values > rows:
            raise ValueError(f"its pages declare more than {rows:,} rows can take")
        if empty < 0:
            raise ValueError("it has pages without values")


def _most_unpacked(kind: pa.DataType, rows: int) -> int:
    """The most bytes that all pages of a column of a row group can take."""
    most = rows * (WIDTHS[kind] + OVERHEAD) + COLUMN_OVERHEAD
    return min(most, MOST_TEXT) if kind == pa.string() else most


def _require_declared(source: Source, declared: int, expected: int | None) -> None:
    if expected not in (None, declared):
        raise ValueError(f"{_name(source)} declares {declared:,} rows, and {expected:,} are expected")


def _require_rows(source: Source, found: int, declared: int) -> None:
    if found != declared:
        raise ValueError(f"{_name(source)} declares {declared:,} rows and holds {found:,}")


def _texts(source: Source, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of numbers that stand for texts as the texts themselves."""
    longest = max((_longest(chunk.dictionary) for chunk in column.chunks), default=0)
    if longest * len(column) > MOST_TEXT:
        raise ValueError(
            f"column {name!r} of {_name(source)} has texts of {longest:,} bytes in {len(column):,} rows: too much"
        )
    return pa.chunked_array([chunk.dictionary_decode() for chunk in column.chunks], pa.string())


def _longest(texts: pa.StringArray) -> int:
    """Bytes of the longest of some texts."""
    ends = np.frombuffer(texts.buffers()[1] or b"", np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return int(np.max(np.diff(ends), initial=0))


def _require_floats(source: Source, schema: pa.Schema, names: Sequence[str]) -> None:
    for name in names:
        if name not in schema.names:
            raise ValueError(f"{_name(source)} has no column {name!r}; its columns are {', '.join(schema.names)}")
        kind = schema.field(name).type
        if kind != pa.float32():
            raise ValueError(f"column {name!r} of {_name(source)} must be float32, not {kind}")


def _fill(source: Source, target: npt.NDArray[np.float32], name: str, column: pa.ChunkedArray) -> None:
    if column.null_count:
        raise ValueError(f"column {name!r} of {_name(source)} has {column.null_count:,} missing values")
    start = 0
    for chunk in column.chunks:
        target[start : start + len(chunk)] = np.from_dlpack(chunk)
        start += len(chunk)


def _name(source: Source) -> str:
    return "the table" if isinstance(source, bytes) else str(source)
