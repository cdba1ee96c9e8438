"""The pages of a Parquet file as its footer and their headers declare them, without reading the pages themselves.

A Parquet reader allocates what the header of a page declares: up to 2 GB, in a file of a few kB whose footer need not
mention it. Where the pages lie is read here too: pyarrow 26 ends the process if it is asked for a column of a footer
whose statistics contradict each other (an exception of C++ that its `column` does not expect).
"""

import io
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

#: Bytes that are read to parse a header, at first and at most: it can contain the smallest and the largest text of its
#: page.
FIRST, LAST = 1 << 8, 1 << 20

#: Nested structures: a header, in it that of its kind of page, in it the statistics; or a footer, in it row groups,
#: columns, their metadata, statistics and histograms.
DEEPEST = 8

#: Types of fields in Thrift's compact protocol. Of a list with fifteen elements or more, their number follows.
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _STRUCT, _MANY = 1, 2, 3, 7, 8, 9, 12, 15
_INTEGERS = (4, 5, 6)

#: Numbers of the fields of a header that are read; the last one is a field of the header of each kind of page.
_UNPACKED, _PACKED, _KINDS, _VALUES = 2, 3, (5, 7, 8), 1

#: Numbers of the fields of a footer that are read: its row groups, their columns, the metadata of one, and in it the
#: bytes of its pages and the offsets of the first page with data and of the page with a dictionary.
_GROUPS, _COLUMNS, _METADATA, _SIZE, _DATA, _DICTIONARY = 4, 1, 3, 7, 9, 11

#: What ends a file, after four bytes with the length of its footer.
_MAGIC = b"PAR1"


class Page(NamedTuple):
    """What the header of a page declares.

    Attributes:
        unpacked: bytes of its content after decompression.
        packed: bytes of its content in the file.
        values: number of values.
    """

    unpacked: int
    packed: int
    values: int


def read_ranges(file: BinaryIO) -> list[list[tuple[int, int]]]:
    """Where the pages of each column lie, by row group: the offsets of their begin and of their end.

    No byte is in two of the ranges, so that reading the pages of all of them takes no longer than reading the file.

    Args:
        file: opened for reading; its position changes.

    Raises:
        ValueError: the file has no footer, it does not say, or pages of two columns overlap.
    """
    file.seek(-8, io.SEEK_END)
    end = file.read(8)
    if end[4:] != _MAGIC:
        raise ValueError("the file does not end as Parquet files do")
    length = int.from_bytes(end[:4], "little")
    if length + 8 > file.tell():
        raise ValueError("the footer is longer than the file")
    file.seek(-8 - length, io.SEEK_END)
    try:
        footer, _ = _read_struct(file.read(length), 0, DEEPEST)
        ranges = [[_range_of(column[_METADATA]) for column in group[_COLUMNS]] for group in footer[_GROUPS]]
    except (IndexError, KeyError, TypeError) as error:
        raise ValueError("the footer does not say where the columns lie") from error
    _require_apart([place for columns in ranges for place in columns])
    return ranges


def _require_apart(ranges: list[tuple[int, int]]) -> None:
    """Refuses ranges that overlap: a small file could have the same pages in each of thousands of columns."""
    end = 0
    for start, stop in sorted(ranges):
        if not end <= start <= stop:
            raise ValueError("the footer has columns that overlap")
        end = stop


def _range_of(metadata: dict[int, Any]) -> tuple[int, int]:
    """Where the pages of a column lie, by its metadata in the footer."""
    start = metadata.get(_DICTIONARY) or metadata[_DATA]
    return start, start + metadata[_SIZE]


def read_pages(file: BinaryIO, start: int, stop: int) -> Iterator[Page]:
    """The pages in a range of a file.

    Args:
        file: opened for reading; its position changes.
        start: offset of the header of the first page.
        stop: offset of the end of the last page.

    Raises:
        ValueError: the range does not consist of pages.
    """
    while start < stop:
        page, length = _read_page(file, start)
        yield page
        start += length + page.packed
    if start != stop:
        raise ValueError("a page is longer than the footer of the file declares")


def _read_page(file: BinaryIO, start: int) -> tuple[Page, int]:
    """The header of a page, and its own length in bytes."""
    size = FIRST
    while True:
        file.seek(start)
        data = file.read(size)
        try:
            fields, length = _read_struct(data, 0, DEEPEST)
            break
        except IndexError:
            if len(data) < size or size >= LAST:
                raise ValueError("the header of a page has no end") from None
            size *= 8
    kinds = [fields[kind] for kind in _KINDS if isinstance(fields.get(kind), dict)]
    page = Page(fields.get(_UNPACKED, -1), fields.get(_PACKED, -1), kinds[0].get(_VALUES, -1) if kinds else 0)
    if not all(isinstance(number, int) and number >= 0 for number in page):
        raise ValueError("the header of a page declares no size")
    return page, length


def _read_struct(data: bytes, at: int, deepest: int) -> tuple[dict[int, Any], int]:
    """The fields of a structure by their numbers, without the texts, and the offset of its end.

    Raises:
        IndexError: the data ends before the structure does.
        ValueError: it is not a header of a page.
    """
    if not deepest:
        raise ValueError("the header of a page is nested too deeply")
    fields: dict[int, Any] = {}
    number = 0
    while head := data[at]:
        at += 1
        kind, step = head & 15, head >> 4
        if step:
            number += step
        else:
            number, at = _read_integer(data, at)
        # Whether it is true is part of the type of a field, but a byte of its own in a list.
        fields[number], at = (None, at) if kind in (_TRUE, _FALSE) else _read_value(data, at, kind, deepest)
    return fields, at + 1


def _read_value(data: bytes, at: int, kind: int, deepest: int) -> tuple[Any, int]:
    """A value, None in place of a text or a fraction, and the offset of its end."""
    if kind in _INTEGERS:
        return _read_integer(data, at)
    if kind == _STRUCT:
        return _read_struct(data, at, deepest - 1)
    if kind == _LIST:
        return _read_list(data, at, deepest - 1)
    if kind == _BINARY:
        size, at = _read_varint(data, at)
        return None, at + size
    if kind in (_TRUE, _FALSE, _BYTE, _DOUBLE):
        return None, at + (8 if kind == _DOUBLE else 1)
    raise ValueError("the header of a page is of an unknown form")


def _read_list(data: bytes, at: int, deepest: int) -> tuple[list[Any], int]:
    """The elements of a list, and the offset of its end."""
    if not deepest:
        raise ValueError("the header of a page is nested too deeply")
    head, at = data[at], at + 1
    count, kind = head >> 4, head & 15
    if count == _MANY:
        count, at = _read_varint(data, at)
    elements = []
    for _ in range(count):
        element, at = _read_value(data, at, kind, deepest)
        if at > len(data):
            raise IndexError("the list has no end")
        elements.append(element)
    return elements, at


def _read_integer(data: bytes, at: int) -> tuple[int, int]:
    """A signed integer, and the offset of its end."""
    value, at = _read_varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned integer in groups of seven bits, lowest first, and the offset of its end."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("the header of a page contains a number without end")
