import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.learning.data.parquet_pages import DEEPEST, FIRST, LAST, Page, read_pages


def file_of(values, **options):
    sink = io.BytesIO()
    pq.write_table(pa.table({"x": values}), sink, **{"use_dictionary": False, "compression": "none"} | options)
    chunk = pq.ParquetFile(sink).metadata.row_group(0).column(0)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    return sink, start, start + chunk.total_compressed_size


def test_every_page_is_reported_with_its_sizes_and_its_values():
    pages = list(read_pages(*file_of(np.zeros(1000), max_rows_per_page=300, compression="zstd")))
    assert [page.values for page in pages] == [300, 300, 300, 100]
    assert all(8 * page.values <= page.unpacked < 8 * page.values + 20 for page in pages)
    assert all(page.packed < 50 for page in pages)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_pages_of_every_kind_are_reported(version):
    pages = list(read_pages(*file_of(["a", "b"] * 500, use_dictionary=True, data_page_version=version)))
    assert [page.values for page in pages] == [2, 1000]


@pytest.mark.parametrize("length", [FIRST, 10 * FIRST, LAST // 3])
def test_a_header_may_hold_long_texts(length):
    pages = list(read_pages(*file_of(["x" * length])))
    assert [page.values for page in pages] == [1]


HEADER = b"\x15\x00\x15\x10\x15\x04\x2c\x15\x06\x00\x00"  # a page of 8 bytes, 2 packed, with 3 values


def test_a_header_as_it_is_written():
    assert list(read_pages(io.BytesIO(b"??" + HEADER + b"ab" + HEADER + b"cd"), 2, 2 + 2 * 13)) == [Page(8, 2, 3)] * 2


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "has no end"),
        (HEADER[:5], "has no end"),
        (b"\x18" + b"\xff" * 8 + b"\x01", "has no end"),
        (b"\x15" + b"\x80" * FIRST, "a number without end"),
        (b"\x1c" * (DEEPEST + 1), "nested too deeply"),
        (b"\x1c" * 1_000_000, "nested too deeply"),
        (b"\x1b\x00", "of an unknown form"),
        (b"\x1f\x00", "of an unknown form"),
        (b"\x00", "declares no size"),
        (HEADER.replace(b"\x10", b"\x0f", 1), "declares no size"),
        (HEADER.replace(b"\x04", b"\x03", 1), "declares no size"),
        (HEADER.replace(b"\x15\x06", b"\x15\x05", 1), "declares no size"),
        (HEADER.replace(b"\x15\x06", b"", 1), "declares no size"),
        (HEADER + b"abc", "longer than the footer of the file declares"),
    ],
)
def test_anything_else_is_refused(data, said):
    with pytest.raises(ValueError, match=said):
        list(read_pages(io.BytesIO(data), 0, 12))
