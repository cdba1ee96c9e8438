"""The pages of a Parquet file as their headers declare them, without reading the pages themselves.

A Parquet reader allocates what the header of a page declares: up to 2 GB, in a file of a few kB whose footer need not
mention it.
"""

from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

#: Bytes that are read to parse a header, at first and at most: it can contain the smallest and the largest text of its
#: page.
FIRST, LAST = 1 << 8, 1 << 20

#: Nested structures: a header, in it that of its kind of page, in it the statistics.
DEEPEST = 4

#: Types of fields in Thrift's compact protocol.
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _STRUCT = 1, 2, 3, 7, 8, 12
_INTEGERS = (4, 5, 6)

#: Numbers of the fields of a header that are read; the last one is a field of the header of each kind of page.
_UNPACKED, _PACKED, _KINDS, _VALUES = 2, 3, (5, 7, 8), 1


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
        value: Any = None
        if kind in _INTEGERS:
            value, at = _read_integer(data, at)
        elif kind == _STRUCT:
            value, at = _read_struct(data, at, deepest - 1)
        elif kind == _BINARY:
            size, at = _read_varint(data, at)
            at += size
        elif kind in (_BYTE, _DOUBLE):
            at += 1 if kind == _BYTE else 8
        elif kind not in (_TRUE, _FALSE):
            raise ValueError("the header of a page is of an unknown form")
        fields[number] = value
    return fields, at + 1


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
