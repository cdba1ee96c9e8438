"""The pages of a Parquet file, as their headers declare them: what reading one takes is known before it is read.

A reader takes the memory for a page that the page's own header asks for. That can be 2 GB in a file of a few kB, of
whose pages the footer tells nothing.
"""

from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

#: Bytes in which a header is looked for, at first and at last: it may hold the smallest and the largest text of its
#: page.
FIRST, LAST = 1 << 8, 1 << 20

#: Structures in one another: a header, that of its kind of page, and the statistics in it.
DEEPEST = 4

#: Thrift's compact form: what the four low bits before a field say that it is.
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _STRUCT = 1, 2, 3, 7, 8, 12
_INTEGERS = (4, 5, 6)

#: The fields of a header that are asked for, by their numbers; the last, in the header of any kind of page.
_UNPACKED, _PACKED, _KINDS, _VALUES = 2, 3, (5, 7, 8), 1


class Page(NamedTuple):
    """What the header of a page declares.

    Attributes:
        unpacked: bytes of its content once it is unpacked.
        packed: bytes of its content in the file.
        values: in it.
    """

    unpacked: int
    packed: int
    values: int


def read_pages(file: BinaryIO, start: int, stop: int) -> Iterator[Page]:
    """The pages in a part of a file; of their content, nothing is read.

    Args:
        file: open, and free to be moved about in.
        start: offset of the first header.
        stop: offset of the end of the last page.

    Raises:
        ValueError: there is something else, or it does not end there.
    """
    while start < stop:
        page, length = _read_page(file, start)
        yield page
        start += length + page.packed
    if start != stop:
        raise ValueError("a page is longer than the file's footer tells")


def _read_page(file: BinaryIO, start: int) -> tuple[Page, int]:
    """The header of a page, and how many bytes it has itself."""
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
        raise ValueError("the header of a page does not tell its size")
    return page, length


def _read_struct(data: bytes, at: int, deepest: int) -> tuple[dict[int, Any], int]:
    """The fields of a structure by their numbers, texts left out, and where it ends.

    Raises:
        IndexError: it goes on beyond the data.
        ValueError: it holds what no header of a page does.
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
    """An integer with a sign, and where it ends."""
    value, at = _read_varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """An integer in groups of seven bits, the lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("the header of a page holds a number without end")
