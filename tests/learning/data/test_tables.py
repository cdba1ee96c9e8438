import io
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.learning.data import tables
from tasks.learning.data.tables import count_rows, read_columns, read_table, to_arrow, write_table
from tests.support.hostile_files import bounded_memory

FLOATS = st.floats(width=32, allow_nan=False)
ROWS = st.lists(
    st.tuples(st.integers(-(2**63), 2**63 - 1), FLOATS, st.one_of(st.none(), st.floats(allow_nan=False)), st.text())
)


def table_of(rows):
    kinds = {"row": pa.int64(), "x": pa.float32(), "loss": pa.float64(), "split": pa.string()}
    values = list(zip(*rows, strict=True)) if rows else [[]] * 4
    return pa.table([pa.array(column, kind) for column, kind in zip(values, kinds.values(), strict=True)], list(kinds))


def parquet(table):
    sink = io.BytesIO()
    write_table(table, sink)
    return sink.getvalue()


@pytest.fixture
def line():
    return pa.table({"row": np.arange(1000), "x": np.linspace(0, 1, 1000, dtype=np.float32)})


@pytest.fixture
def noise():
    """Mantissas of chance, which zstd stores as they are: it does not notice damage to them."""
    return pa.table({"row": np.arange(1000), "x": np.random.default_rng(0).random(1000, dtype=np.float32)})


@given(ROWS)
def test_reads_what_was_written(rows):
    table = table_of(rows)
    assert read_table(parquet(table)) == table


@given(ROWS)
def test_equal_tables_give_equal_bytes(rows):
    assert parquet(table_of(rows)) == parquet(table_of(list(rows)))


def test_chunks_and_metadata_do_not_show(line):
    chunked = pa.concat_tables([line[:300], line[300:]]).replace_schema_metadata({"pandas": "{}"})
    assert parquet(chunked) == parquet(line)


def test_another_process_gives_the_same_bytes(line):
    code = """if True:
        import hashlib, io, numpy as np, pyarrow as pa
        from tasks.learning.data.tables import write_table
        sink = io.BytesIO()
        write_table(pa.table({"row": np.arange(1000), "x": np.linspace(0, 1, 1000, dtype=np.float32)}), sink)
        print(hashlib.sha256(sink.getvalue()).hexdigest())"""
    found = {subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(2)}
    assert len(found) == 1


def test_settings_of_the_file(line):
    file = pq.ParquetFile(io.BytesIO(parquet(line)))
    column = file.metadata.row_group(0).column(1)
    assert column.compression == "ZSTD"
    assert "BYTE_STREAM_SPLIT" in column.encodings
    assert not column.has_dictionary_page
    assert file.metadata.metadata is None
    assert file.metadata.format_version == "2.6"


def test_row_groups_have_a_fixed_size(line, monkeypatch):
    monkeypatch.setattr(tables, "ROW_GROUP", 300)
    assert pq.ParquetFile(io.BytesIO(parquet(line))).num_row_groups == 4


def test_columns_come_as_contiguous_writable_arrays(line, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ROW_GROUP", 300)
    path = tmp_path / "line.parquet"
    write_table(line, path)
    x = read_columns(path, ["x"])["x"]
    assert (x.dtype, x.shape, x.flags.c_contiguous, x.flags.writeable) == (np.float32, (1000,), True, True)
    assert x.tobytes() == line["x"].to_numpy().tobytes()


def test_no_rows_are_a_table_too(line):
    assert read_columns(parquet(line[:0]), ["x"])["x"].shape == (0,)


def test_names_a_missing_column(line):
    with pytest.raises(ValueError, match=r"no column 'y'; its columns are row, x"):
        read_columns(parquet(line), ["x", "y"])


def test_names_a_column_of_another_type(line):
    with pytest.raises(ValueError, match=r"'row' of the table must be float32, not int64"):
        read_columns(parquet(line), ["row"])


def test_names_a_column_with_missing_values():
    with pytest.raises(ValueError, match=r"'x' of the table has 1 missing values"):
        read_columns(parquet(pa.table({"x": pa.array([1.0, None], pa.float32())})), ["x"])


def damaged(data):
    """The file with one bit of its second column changed, in the middle of a page."""
    column = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(1)
    place = column.data_page_offset + column.total_compressed_size // 2
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize("read", [read_table, lambda data: read_columns(data, ["x"])])
def test_notices_a_flipped_bit_in_a_page(noise, read):
    with pytest.raises(ValueError, match=r"no readable Parquet file.*CRC"):
        read(damaged(parquet(noise)))


def test_notices_it_in_a_table_with_texts_too(noise):
    texts = noise.append_column("split", pa.array(["train"] * noise.num_rows))
    with pytest.raises(ValueError, match=r"no readable Parquet file.*CRC"):
        read_table(damaged(parquet(texts)))


def test_without_checksums_a_flipped_bit_passes(noise):
    """What the checksums are for: the same file without them gives another number, and no error."""
    sink = io.BytesIO()
    pq.write_table(noise, sink, use_dictionary=False, compression="zstd", use_byte_stream_split=["x"])
    assert read_table(damaged(sink.getvalue())) != noise


@pytest.mark.parametrize("data", [b"", b"PAR1", b"not parquet at all"])
def test_refuses_what_is_no_parquet(data, tmp_path):
    path = tmp_path / "bad.parquet"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"bad\.parquet is no readable Parquet file"):
        read_table(path)


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "none.parquet")


@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=False))))
def test_arrow_arrays_as_pyarrow_makes_them(values):
    present = np.array([value is not None for value in values], bool)
    filled = np.array([value or 0.0 for value in values], np.float64)
    assert to_arrow(filled, present) == pa.array(values, pa.float64())
    assert to_arrow(filled) == pa.array(filled)


def test_arrow_arrays_of_every_other_value():
    assert to_arrow(np.arange(10)[::2]).to_pylist() == [0, 2, 4, 6, 8]


BILLION = 10**9


def any_parquet(table, **options):
    """A table as anybody may write it."""
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def x(rows=3, kind=None):
    """The column that the tests ask for, beside what is wrong with a file."""
    return pa.array(range(rows), kind or pa.float32())


def declaring(rows, places):
    """A file of 1000 rows whose footer says that it has so many: in the head, or in the row group too."""
    return with_footer(parquet(pa.table({"x": x(1000)})), {1000: rows}, places)


def with_footer(data, changes, places=-1):
    """A file with other numbers in its footer, for each of its own."""
    length = int.from_bytes(data[-8:-4], "little")
    footer = data[-8 - length : -8]
    for own, other in changes.items():
        # A field of a structure, 64 bits, one or two after the last: Thrift's compact form of a number.
        before = footer
        footer = footer.replace(b"\x16" + zigzag(own), b"\x16" + zigzag(other), places)
        assert footer != before
    return data[: -8 - length] + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def unpacking_to(own, rows, **options):
    """A file of `own` rows, all the same and in one page, whose footer says that it has `rows`."""
    table = pa.table({"x": np.full(own, 0.5, np.float32)})
    settings = {"use_dictionary": False, "compression": "zstd", "data_page_size": 2**30, "max_rows_per_page": own}
    return with_footer(any_parquet(table, **settings | options), {own: rows})


def zigzag(number):
    """A number as Thrift's compact form has it."""
    number, content = number << 1, b""
    while number > 127:
        number, content = number >> 7, content + bytes([number & 127 | 128])
    return content + bytes([number])


FOREIGN = {
    "list": pa.array([[1.0]] * 3),
    "struct": pa.array([{"a": 1}] * 3),
    "map": pa.array([[("a", 1)]] * 3, pa.map_(pa.string(), pa.int64())),
    "bool": pa.array([True] * 3),
    "bytes": pa.array([b"a"] * 3),
    "time": pa.array([0] * 3, pa.timestamp("us")),
    "decimal": pa.array([1] * 3, pa.decimal128(30, 2)),
    "dictionary": pa.array(["a"] * 3).dictionary_encode(),
    "extension uuid": pa.array([b"a" * 16] * 3, pa.uuid()),
    "extension json": pa.array(["{}"] * 3, pa.json_()),
    "extension tensor": pa.ExtensionArray.from_storage(
        pa.fixed_shape_tensor(pa.float32(), [1]), pa.array([[1.0]] * 3, pa.list_(pa.float32(), 1))
    ),
}


@pytest.mark.parametrize("column", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("read", [read_table, lambda data: read_columns(data, ["x"])], ids=["table", "columns"])
def test_a_column_of_a_type_that_is_never_written_is_refused(column, read):
    with pytest.raises(ValueError, match=r"column 'more' of the table holds .*: only numbers and texts are read"):
        read(any_parquet(pa.table({"x": x(), "more": column})))


@pytest.mark.parametrize("read", [read_table, lambda data: read_columns(data, ["x"])], ids=["table", "columns"])
class TestHostile:
    def test_two_columns_of_one_name_are_refused(self, read):
        with pytest.raises(ValueError, match="two columns of one name"):
            read(any_parquet(pa.Table.from_arrays([x(), x()], ["x", "x"])))

    @pytest.mark.parametrize("places", [1, -1], ids=["in the head", "in the row group too"])
    @pytest.mark.parametrize("rows", [BILLION, 2**62])
    def test_a_huge_number_of_rows_is_refused_before_memory_is_taken(self, read, rows, places):
        with bounded_memory(), pytest.raises(ValueError, match=f"declares {rows:,} rows; at most 100,000,000 are read"):
            read(declaring(rows, places))

    @pytest.mark.parametrize("rows", [999, 1001, 100_000_000])
    def test_another_number_of_rows_than_there_are_is_refused(self, read, rows):
        with pytest.raises(ValueError, match=f"declares {rows:,} rows and holds 1,000"):
            read(declaring(rows, 1))

    def test_a_number_of_rows_that_the_row_groups_have_not_either_is_refused(self, read):
        with bounded_memory(), pytest.raises(ValueError, match=r"declares|no readable Parquet file"):
            read(declaring(90_000_000, -1))

    @pytest.mark.parametrize("options", [{}, {"use_dictionary": True}, {"data_page_version": "2.0"}], ids=str)
    @pytest.mark.parametrize("rows", [50, 999_999])
    def test_a_page_that_unpacks_to_more_than_its_rows_is_refused(self, read, rows, options):
        with (
            bounded_memory(),
            pytest.raises(ValueError, match=rf"column 'x': its pages declare more than {rows:,} rows"),
        ):
            read(unpacking_to(1_000_000, rows, **options))

    def test_a_footer_that_contradicts_itself_is_refused_before_memory_is_taken(self, read):
        data = with_footer(parquet(pa.table({"x": np.zeros(20_000_000, np.float32)})), {20_000_000: 50}, 1)
        with bounded_memory(1 << 24), pytest.raises(ValueError, match="declares 50 rows and holds 20,000,000"):
            read(data)

    @pytest.mark.parametrize("change", [-1, 1])
    def test_a_column_that_does_not_end_with_a_page_is_refused(self, read, change):
        data = parquet(pa.table({"x": x(1000)}))
        size = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(0).total_compressed_size
        with pytest.raises(ValueError, match=r"column 'x': a page is longer than|column 'x': the header of a page"):
            read(with_footer(data, {size: size + change}))

    def test_columns_that_share_pages_are_refused(self, read):
        """A few kB could have the pages of a million columns."""
        data = parquet(pa.table({"x": x(1000), "row": range(1000)}))
        one, other = (pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(place) for place in (0, 1))
        own, both = one.total_compressed_size, one.total_compressed_size + other.total_compressed_size
        with pytest.raises(ValueError, match="no readable Parquet file: the footer has columns that overlap"):
            read(with_footer(data, {own: both}))

    def test_pages_without_values_are_refused(self, read):
        """Each takes five bytes in the file, and the time of a whole page."""
        data = parquet(pa.table({"x": x(1000)}))
        size = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(0).total_compressed_size
        padded = data[:4] + 3 * b"\x25\x00\x15\x00\x00" + data[4:]
        with pytest.raises(ValueError, match="column 'x': it has pages without values"):
            read(with_footer(padded, {size: size + 15}))

    def test_rows_for_which_there_is_no_memory_are_refused(self, read, monkeypatch):
        data = parquet(pa.table({"x": x(1000), "row": range(1000)}))
        monkeypatch.setattr(tables, "available_memory", lambda: 11_999)
        with pytest.raises(
            ValueError, match=r"declares 1,000 rows, which take 0\.0 GB of memory, and 0\.0 GB are available"
        ):
            read(data)
        for enough in (12_000, None):
            monkeypatch.setattr(tables, "available_memory", lambda enough=enough: enough)
            read(data)

    def test_an_encrypted_file_is_refused(self, read):
        with pytest.raises(ValueError, match=r"no readable Parquet file: .*encrypt"):
            read(encrypted(pa.table({"x": x()})))


def encrypted(table):
    """A file that can be read with a key only."""
    import pyarrow.parquet.encryption as pe

    class Keys(pe.KmsClient):
        def wrap_key(self, key_bytes, master_key_identifier):
            return key_bytes.hex()

    factory = pe.CryptoFactory(lambda configuration: Keys())
    settings = pe.EncryptionConfiguration(footer_key="footer", column_keys={"column": ["x"]})
    sink = io.BytesIO()
    properties = factory.file_encryption_properties(pe.KmsConnectionConfig(), settings)
    with pq.ParquetWriter(sink, table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)
    return sink.getvalue()


def test_a_table_of_another_number_of_rows_than_expected_is_refused_before_it_is_read():
    data = parquet(pa.table({"x": np.zeros(20_000_000, np.float32)}))
    assert len(data) < 200_000
    with bounded_memory(1 << 24), pytest.raises(ValueError, match="declares 20,000,000 rows, and 50 are expected"):
        read_table(data, 50)
    assert read_table(parquet(pa.table({"x": x(50)})), 50).num_rows == 50


@pytest.mark.parametrize("text", [b"x" * 70_000, b"x" * 30_000_000], ids=len)
def test_a_text_that_is_longer_than_any_is_refused(text):
    data = any_parquet(pa.table({"split": [text.decode()]}), store_schema=False, compression="zstd")
    assert len(data) < 10_000
    with (
        bounded_memory(1 << 24),
        pytest.raises(ValueError, match="'split': its pages declare more than 1 rows can take"),
    ):
        read_table(data)


def test_all_texts_of_a_column_together_are_limited(monkeypatch):
    data = any_parquet(pa.table({"split": ["x" * 100] * 1000}), store_schema=False, use_dictionary=False)
    assert read_table(data).num_rows == 1000
    monkeypatch.setattr(tables, "MOST_TEXT", 100_000)
    with pytest.raises(ValueError, match="'split': its pages declare more than 1,000 rows can take"):
        read_table(data)


def test_rows_are_counted_without_being_read():
    assert count_rows(parquet(pa.table({"x": x(1000)}))) == 1000
    with pytest.raises(ValueError, match="is no readable Parquet file"):
        count_rows(b"PAR1")


def test_a_text_that_stands_for_many_rows_is_refused_before_it_is_written_out():
    rows, text = 100_000, "x" * 1_000_000
    once = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([text]))
    data = any_parquet(pa.table({"split": once}), store_schema=False)
    assert len(data) < 200_000
    with bounded_memory(), pytest.raises(ValueError, match="texts of 1,000,000 bytes in 100,000 rows: too much"):
        read_table(data)


def test_texts_that_stand_once_are_written_out():
    once = pa.array(["train", None, "test", "train"]).dictionary_encode()
    table = read_table(any_parquet(pa.table({"split": once}), store_schema=False))
    assert table == pa.table({"split": ["train", None, "test", "train"]})
