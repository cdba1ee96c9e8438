"""Parquet tables: written so that equal tables give equal bytes, read with every page's checksum verified."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

#: Rows of a row group: 4 MiB of float32 a column, the unit in which readers hold a file in memory.
ROW_GROUP = 1 << 20

#: Whether Arrow's own threads read columns. One that still lets go of a Python object while the interpreter ends aborts
#: the process (apache/arrow issues 34314 and 50482), after everything was done and told.
IN_THREADS = False

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


def read_table(source: Source) -> pa.Table:
    """Read a whole table from a path or from the bytes of a file.

    Raises:
        ValueError: the source is no Parquet file, or a page of it is damaged.
        FileNotFoundError: there is no such file.
    """
    with _open(source) as file:
        return _verified(source, partial(file.read, use_threads=IN_THREADS))


def read_columns(source: Source, names: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
    """Read float columns into contiguous, writable float32 arrays of shape [rows], one row group at a time.

    Memory beyond the arrays is bounded by a row group, whatever the size of the file.

    Raises:
        ValueError: the source is no Parquet file, a page of it is damaged, or a column is missing, is not float32,
            or has missing values.
        FileNotFoundError: there is no such file.
    """
    with _open(source) as file:
        _require_floats(source, file.schema_arrow, names)
        arrays = {name: np.empty(file.metadata.num_rows, np.float32) for name in names}
        start = 0
        for group in range(file.num_row_groups):
            table = _verified(source, partial(file.read_row_group, group, columns=list(names), use_threads=IN_THREADS))
            for name in names:
                _fill(source, arrays[name][start : start + table.num_rows], name, table[name])
            start += table.num_rows
    return arrays


def _open(source: Source) -> pq.ParquetFile:
    stream = pa.BufferReader(source) if isinstance(source, bytes) else str(source)
    return _verified(source, partial(pq.ParquetFile, stream, page_checksum_verification=True))


def _verified(source: Source, read: Callable[[], _T]) -> _T:
    """What `read` gives; whatever pyarrow finds wrong with the bytes becomes a ValueError that names the source."""
    try:
        return read()
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{_name(source)} is no readable Parquet file: {error}") from error


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
