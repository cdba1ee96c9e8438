"""Tables that people bring: each ends in the right dataset, or in one message that names the place."""

import datetime
import decimal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import ExperimentError
from tasks.learning.config.data import TableData
from tasks.learning.data import ingestion, table_files
from tasks.learning.data.ingestion import Notify, read_dataset

Ingest = Callable[..., dict[str, list[Any]]]


def ingest_table(
    path: Path, data: TableData, impute: Sequence[str] = (), notify: Notify = lambda text: None
) -> pa.Table:
    """The dataset in a file."""
    return read_dataset(table_files.open_table(path, data), data, path, impute, notify=notify)


@pytest.fixture
def ingest(tmp_path: Path) -> Ingest:
    """The dataset of a table that is given as the content of its file, column by column."""

    def ingest(content: bytes | str | pa.Table, **settings: Any) -> dict[str, list[Any]]:
        path = tmp_path / ("table.parquet" if isinstance(content, pa.Table) else "table.csv")
        if isinstance(content, pa.Table):
            pq.write_table(content, path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        table = ingest_table(path, TableData(path=str(path), **{"target": "y", **settings}))
        assert [str(kind) for kind in table.schema.types] == ["int64", *["float"] * (table.num_columns - 1)]
        found: dict[str, list[Any]] = table.to_pydict()
        assert found.pop("row") == list(range(table.num_rows))
        return found

    return ingest


#: What becomes of a CSV file with the target y: its content, settings, and the dataset.
READ: dict[str, tuple[bytes | str, dict[str, Any], dict[str, list[float]]]] = {
    "plain": ("a,y\n1,2\n3,4.5\n", {}, {"a": [1, 3], "y": [2, 4.5]}),
    "target first": ("y,a\n1,2\n3,4\n", {}, {"a": [2, 4], "y": [1, 3]}),
    "chosen features": (
        "a,b,c,y\n1,2,3,4\n5,6,7,8\n",
        {"features": ["c", "a"]},
        {"c": [3, 7], "a": [1, 5], "y": [4, 8]},
    ),
    "excluded": ("a,name,y\n1,Ann,2\n3,Bob,4\n", {"exclude": ["name"]}, {"a": [1, 3], "y": [2, 4]}),
    "byte-order mark": (b"\xef\xbb\xbfa,y\n1,2\n3,4\n", {}, {"a": [1, 3], "y": [2, 4]}),
    "lines of Windows": ("a,y\r\n1,2\r\n3,4\r\n", {}, {"a": [1, 3], "y": [2, 4]}),
    "no end of the last line": ("a,y\n1,2\n3,4", {}, {"a": [1, 3], "y": [2, 4]}),
    "empty lines": ("a,y\n1,2\n\n3,4\n\n", {}, {"a": [1, 3], "y": [2, 4]}),
    "quotes": ('"a","y"\n"1","2"\n3,4\n', {}, {"a": [1, 3], "y": [2, 4]}),
    "spaces": ("a,y\n1, 2\n 3,4\n", {}, {"a": [1, 3], "y": [2, 4]}),
    "a line break in a text": ('a,t,y\n1,"x\ny",2\n3,z,4\n', {"exclude": ["t"]}, {"a": [1, 3], "y": [2, 4]}),
    "semicolons": ("a;y\n1;2\n3;4\n", {"delimiter": ";"}, {"a": [1, 3], "y": [2, 4]}),
    "tabs": ("a\ty\n1\t2\n3\t4\n", {"delimiter": "\t"}, {"a": [1, 3], "y": [2, 4]}),
    "decimal commas": ("a;y\n1,5;2\n3;4\n", {"delimiter": ";", "decimal": ","}, {"a": [1.5, 3], "y": [2, 4]}),
    "truth values": ("a,y\ntrue,2\nFALSE,4\n", {}, {"a": [1, 0], "y": [2, 4]}),
    "exponents": ("a,y\n1e3,2\n-3E-1,4\n", {}, {"a": [1000, np.float32(-0.3)], "y": [2, 4]}),
    "names of any kind": (
        "price in €,$y^2$,y\n1,2,3\n4,5,6\n",
        {},
        {"price in €": [1, 4], "$y^2$": [2, 5], "y": [3, 6]},
    ),
    "a target that is named target": ("a,target\n1,2\n3,4\n", {"target": "target"}, {"a": [1, 3], "target": [2, 4]}),
    "the largest whole number": (f"a,y\n{2**24},2\n1,4\n", {}, {"a": [2**24, 1], "y": [2, 4]}),
}


@pytest.mark.parametrize(("content", "settings", "expected"), READ.values(), ids=READ)
def test_a_file_that_people_have_is_read(ingest: Ingest, content: Any, settings: Any, expected: Any) -> None:
    assert ingest(content, **settings) == expected


#: CSV files with the target y that cannot be used: content, settings, and what is said.
REFUSED: dict[str, tuple[bytes | str, dict[str, Any], str]] = {
    "empty": ("", {}, "table.csv is no readable CSV file: Empty CSV file"),
    "header alone": ("a,y\n", {}, "table.csv has no rows below its header"),
    "UTF-16": ("a,y\n1,2\n".encode("utf-16"), {}, "is in UTF-16: save it as CSV in UTF-8"),
    "Latin-1": (b"\xe4,y\n1,2\n", {}, "is not in UTF-8: save it as CSV in UTF-8"),
    "ragged": ("a,y\n1,2\n3\n", {}, "row 3: Expected 2 columns, got 1: 3"),
    "semicolons": ("a;y\n1;2\n", {}, "its only column is 'a;y': set data.delimiter, which is ','"),
    "no such target": ("a,Price\n1,2\n", {"target": "prize"}, "no column 'prize' (is 'Price' meant?); it has a, Price"),
    "no such features": (
        "a,y\n1,2\n",
        {"features": ["b", "c"]},
        "no column 'b'; it has a, y\n  there is no column 'c'",
    ),
    "nothing but the target": ("y\n1\n2\n", {}, "no column but the target 'y' is left to predict it by"),
    "two columns of one name": ("a,a,y\n1,2,3\n", {}, "two columns are named 'a' and 'a': rename one"),
    "names that differ in case": ("a,A,y\n1,2,3\n", {}, "two columns are named 'a' and 'A': rename one"),
    "a name that is taken": ("split,y\n1,2\n2,3\n", {}, "column 'split' has a name that predictions use: rename it"),
    "a name that is none": ("a\x1b[2J,y\n1,2\n", {}, r"'a\x1b[2J' is no name of a column"),
    "no name": (",y\n1,2\n", {}, "'' is no name of a column"),
    "text": ("a,y\n1,2\nq,3\n", {}, "column 'a' holds text, such as 'q' in row 3, not numbers: leave it out"),
    "text in two columns": ("a,b,y\nu,1,2\n2,v,3\n", {}, "such as 'u' in row 2, not numbers: leave it out with data"),
    "decimal commas": ('a,y\n"1,5",2\n3,4\n', {}, "column 'a' holds text, such as '1,5' in row 2"),
    "thousands separators": ('a,y\n"1,234",2\n3,4\n', {}, "column 'a' holds text, such as '1,234' in row 2"),
    "points with decimal commas": ("a;y\n1.5;2\n", {"delimiter": ";", "decimal": ","}, "such as '1.5' in row 2"),
    "dates": ("a,y\n2026-01-01,2\n2026-01-02,3\n", {}, "column 'a' holds dates or times"),
    "hexadecimal": ("a,y\n0x10,2\n3,4\n", {}, "column 'a': '0x10' in row 2 is no number"),
    "a gap": ("a,y\n1,2\n,3\n", {}, "column 'a': the value in row 3 is missing"),
    "gaps": ("a,y\n1,2\n,3\n,4\n", {}, "column 'a': the value in row 3 is missing (2 values are)"),
    "a column of gaps": ("a,y\n,2\n,3\n", {}, "column 'a': the value in row 2 is missing (2 values are)"),
    "N/A": ("a,y\n1,2\nN/A,3\n", {}, "column 'a': the value in row 3 is missing"),
    "NaN": ("a,y\n1,2\nNaN,3\n", {}, "column 'a': the value in row 3 is missing"),
    "infinite": ("a,y\n1,2\n-inf,3\n", {}, "column 'a': the value in row 3 is not finite"),
    "beyond float64": ("a,y\n1,2\n1e400,3\n", {}, "column 'a': the value in row 3 is not finite"),
    "beyond float32": ("a,y\n1,2\n1e39,3\n", {}, "column 'a': the value in row 3 is too large for float32"),
    "inexact": (f"a,y\n1,2\n{2**24 + 1},3\n", {}, "value in row 3 is a whole number that float32 cannot hold exactly"),
    "a long identifier": (f"a,y\n{2**53 + 1},2\n3,3\n", {}, "value in row 2 is a whole number that float32 cannot"),
    "equal targets": (
        "a,y\n1,2\n3,2\n",
        {},
        "the target 'y' has the same value in every row: there is nothing to learn",
    ),
}


@pytest.mark.parametrize(("content", "settings", "said"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_cannot_be_used_is_refused(ingest: Ingest, content: Any, settings: Any, said: str) -> None:
    with pytest.raises(ExperimentError) as error:
        ingest(content, **settings)
    assert said in str(error.value)
    assert str(error.value).startswith("table.csv ")


def test_all_problems_are_named_at_once(ingest: Ingest) -> None:
    with pytest.raises(ExperimentError) as error:
        ingest("a,b,c,y\n1,,inf,2\n3,4,1e39,\n5,6,7,8\n")
    assert str(error.value).splitlines() == [
        "table.csv cannot be used as it is:",
        "  column 'b': the value in row 2 is missing",
        "  column 'c': the value in row 2 is not finite",
        "  column 'c': the value in row 3 is too large for float32",
        "  column 'y': the value in row 3 is missing",
        "  data.drop_missing leaves out rows in which a value is missing, model.impute fills features in",
    ]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read in many small pieces, as large ones are."""
    monkeypatch.setattr(table_files, "BLOCK", 1 << 12)
    monkeypatch.setattr(table_files, "BATCH", 100)


@pytest.mark.usefixtures("small_blocks")
class TestAFileOfManyBlocks:
    """What the first block of a file shows need not hold for the others."""

    @staticmethod
    def content(late: str) -> str:
        return "a,y\n" + "".join(f"{number},{number}\n" for number in range(3_000)) + f"{late},1\n"

    def test_whole_numbers_may_become_real_ones(self, ingest: Ingest) -> None:
        assert ingest(self.content("0.5"))["a"][-2:] == [2_999, 0.5]

    @pytest.mark.parametrize(
        ("late", "said"),
        [
            ("x", "column 'a': 'x' in row 3002 is no number"),
            ("1_0", "column 'a': '1_0' in row 3002 is no number"),
            ("", "column 'a': the value in row 3,002 is missing"),
            ("1,2", "row 3002: Expected 2 columns, got 3"),
            ("9" * 60 + "x", f"column 'a': {'9' * 40 + '…'!r} in row 3002 is no number"),
        ],
    )
    def test_a_late_value_is_found_by_its_row(self, ingest: Ingest, late: str, said: str) -> None:
        with pytest.raises(ExperimentError) as error:
            ingest(self.content(late))
        assert said.replace("3002", "3,002") in str(error.value).replace("3002", "3,002")

    def test_a_parquet_file_likewise(self, ingest: Ingest) -> None:
        values = [*range(250), None]
        with pytest.raises(ExperimentError, match="column 'a': the value in row 251 is missing"):
            ingest(pa.table({"a": values, "y": range(251)}))


#: Columns of a Parquet file beside the target, and their values in the dataset.
TYPES: dict[str, tuple[pa.Array, list[float]]] = {
    "int8": (pa.array([1, -2], pa.int8()), [1, -2]),
    "uint64": (pa.array([1, 2], pa.uint64()), [1, 2]),
    "float16": (pa.array(np.array([0.5, 1], np.float16)), [0.5, 1]),
    "float32": (pa.array([0.1, 1], pa.float32()), [np.float32(0.1), 1]),
    "float64": (pa.array([0.1, 1], pa.float64()), [np.float32(0.1), 1]),
    "bool": (pa.array([True, False]), [1, 0]),
    "decimal": (pa.array([decimal.Decimal("1.25"), decimal.Decimal("-3.00")]), [1.25, -3]),
}


@pytest.mark.parametrize(("values", "expected"), TYPES.values(), ids=TYPES)
def test_a_parquet_file_with_numbers_of_any_type_is_read(ingest: Ingest, values: pa.Array, expected: Any) -> None:
    assert ingest(pa.table({"a": values, "y": [1, 2]})) == {"a": expected, "y": [1, 2]}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (pa.array(["u", "v"]), "column 'a' holds text, not numbers"),
        (pa.array(["u", "v"]).dictionary_encode(), "column 'a' holds text, not numbers"),
        (pa.array([datetime.date(2026, 1, 1)] * 2), "column 'a' holds dates or times, not numbers"),
        (pa.array([datetime.timedelta(1)] * 2), "column 'a' holds dates or times, not numbers"),
        (pa.array([[1], [2]]), "column 'a' holds values of type list"),
        (pa.array([2**60, 1]), "column 'a': the value in row 1 is a whole number that float32 cannot hold exactly"),
        (pa.array([float("nan"), 1.0]), "column 'a': the value in row 1 is missing"),
    ],
)
def test_a_parquet_file_that_cannot_be_used_is_refused(ingest: Ingest, values: pa.Array, said: str) -> None:
    with pytest.raises(ExperimentError) as error:
        ingest(pa.table({"a": values, "y": [1, 2]}))
    assert said in str(error.value)


GAPS = "a,b,y\n1,,2\n,3,4\n5,6,7\n8,9,\n10,NaN,12\n13,14,15\n"


class TestRowsWithGaps:
    @pytest.fixture
    def read(self, tmp_path: Path) -> Callable[..., tuple[pa.Table, list[str]]]:
        """The dataset of a table with gaps, and what is said of the rows that are left out."""

        def read(content: str = GAPS, impute: Sequence[str] = (), **settings: Any) -> tuple[pa.Table, list[str]]:
            path, lines = tmp_path / "table.csv", list[str]()
            path.write_text(content)
            data = TableData(path=str(path), target="y", **settings)
            return ingest_table(path, data, impute, lines.append), lines

        return read

    @pytest.mark.parametrize(
        ("settings", "rows", "line"),
        [
            ({"drop_missing": ["*"]}, [2, 5], "4 of 6 rows are left out: a value is missing in a, b, y"),
            ({"drop_missing": ["a", "b", "y"]}, [2, 5], "4 of 6 rows are left out: a value is missing in a, b, y"),
            (
                {"drop_missing": ["a", "y"], "exclude": ["b"]},
                [0, 2, 4, 5],
                "2 of 6 rows are left out: a value is missing in a, y",
            ),
        ],
    )
    def test_they_are_left_out_and_the_others_keep_their_numbers(
        self, read: Any, settings: Any, rows: list[int], line: str
    ) -> None:
        table, lines = read(**settings)
        assert table["row"].to_pylist() == rows
        assert table["a"].to_pylist() == [[1, None, 5, 8, 10, 13][row] for row in rows]
        assert lines == [line]

    def test_they_are_left_out_of_every_batch(self, read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(table_files, "BLOCK", 24)
        lines = [f"{row if row % 5 else ''},{row}" for row in range(200)]
        table, said = read("a,y\n" + "\n".join(lines), drop_missing=["a"])
        assert table["a"].to_pylist() == table["row"].to_pylist() == [row for row in range(200) if row % 5]
        assert said == ["40 of 200 rows are left out: a value is missing in a"]

    def test_nothing_is_said_where_none_is_left_out(self, read: Any) -> None:
        assert read("a,y\n1,2\n3,4\n", drop_missing=["*"])[1] == []

    def test_a_problem_after_one_is_named_by_its_own_row(self, read: Any) -> None:
        with pytest.raises(ExperimentError, match="column 'a': the value in row 4 is not finite"):
            read("a,y\n1,2\n,3\ninf,4\n", drop_missing=["*"])

    def test_a_gap_elsewhere_is_refused_and_the_remedy_named(self, read: Any) -> None:
        with pytest.raises(ExperimentError) as error:
            read(drop_missing=["a"])
        assert str(error.value).splitlines() == [
            "table.csv cannot be used as it is:",
            "  column 'b': the value in row 2 is missing (2 values are)",
            "  column 'y': the value in row 5 is missing",
            "  data.drop_missing leaves out rows in which a value is missing, model.impute fills features in",
        ]

    def test_a_table_of_which_no_row_is_left_is_refused(self, read: Any) -> None:
        with pytest.raises(ExperimentError, match=r"in each row of table\.csv a value is missing"):
            read("a,y\n,2\n3,\n", drop_missing=["*"])

    def test_a_feature_that_may_be_missing_is_nan(self, read: Any) -> None:
        table, lines = read(impute=["b"], drop_missing=["*"])
        assert table["row"].to_pylist() == [0, 2, 4, 5]
        assert (table["a"].to_pylist(), str(table["b"].to_pylist())) == ([1, 5, 10, 13], "[nan, 6.0, nan, 14.0]")
        assert lines == ["2 of 6 rows are left out: a value is missing in a, y"]
        assert read(impute=["*"], drop_missing=["y"])[0].num_rows == 5

    @pytest.mark.parametrize(
        ("column", "expected"),
        [
            (pa.array([True, None, False, True]), "[1.0, nan, 0.0, 1.0]"),
            (pa.array([1, None, 3, 4]), "[1.0, nan, 3.0, 4.0]"),
            (pa.array([1.5, None, float("nan"), 2.0]), "[1.5, nan, nan, 2.0]"),
            (pa.array([None, None, None, None]), "[nan, nan, nan, nan]"),
        ],
    )
    def test_columns_of_every_type_may_have_gaps(self, tmp_path: Path, column: pa.Array, expected: str) -> None:
        path = tmp_path / "table.parquet"
        pq.write_table(pa.table({"a": column, "y": [1, 2, 3, 4]}), path)
        table = ingest_table(path, TableData(path=str(path), target="y"), ["a"])
        assert str(table["a"].to_pylist()) == expected

    def test_what_is_wrong_beside_gaps_is_still_refused(self, read: Any) -> None:
        with pytest.raises(ExperimentError) as error:
            read(f"a,b,y\n,1,1\n2,inf,2\n3,,3\n{2**24 + 1},1e39,4\n", impute=["*"])
        assert str(error.value).splitlines()[1:] == [
            "  column 'a': the value in row 5 is a whole number that float32 cannot hold exactly",
            "  column 'b': the value in row 3 is not finite",
            "  column 'b': the value in row 5 is too large for float32",
        ]

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"drop_missing": ["c"]}, "there is no column 'c'"),
            ({"drop_missing": ["b"], "exclude": ["b"]}, "names 'b', which is neither the target nor a feature"),
            ({"impute": ["c"]}, "there is no column 'c'"),
            ({"impute": ["y"]}, "model.impute names 'y', which is no feature"),
            ({"impute": ["b"], "exclude": ["b"]}, "model.impute names 'b', which is no feature"),
            ({"impute": ["b"], "drop_missing": ["b"]}, "data.drop_missing and model.impute both name 'b'"),
        ],
    )
    def test_a_column_that_is_not_read_is_refused(self, read: Any, settings: Any, said: str) -> None:
        with pytest.raises(ExperimentError, match=said):
            read(**settings)


@pytest.mark.parametrize(("limit", "rows"), [(1, 1), (3, 3), (150, 150), (200, 200), (1000, 200)])
def test_a_limit_reads_the_first_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, rows: int) -> None:
    monkeypatch.setattr(table_files, "BLOCK", 64)
    monkeypatch.setattr(table_files, "BATCH", 64)
    values = pa.table({"a": pa.array(range(200)), "y": pa.array(range(1, 201))})
    pq.write_table(values, tmp_path / "t.parquet")
    pa.csv.write_csv(values, tmp_path / "t.csv")
    for name in ("t.parquet", "t.csv"):
        path = tmp_path / name
        if limit == 1:
            with pytest.raises(ExperimentError, match="the same value in every row"):
                ingest_table(path, TableData(path=str(path), target="y", limit=limit))
        else:
            found = ingest_table(path, TableData(path=str(path), target="y", limit=limit))
            assert found["a"].to_pylist() == list(range(rows))


def test_nothing_is_read_beyond_a_limit(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingestion, "MOST_ROWS", 2)
    assert ingest("a,y\n1,2\n3,4\n5,6\n", limit=2) == {"a": [1, 3], "y": [2, 4]}


def test_a_truncated_parquet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"a": [1, 2], "y": [1, 2]}), path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ExperimentError, match=r"table\.parquet is no readable Parquet file"):
        ingest_table(path, TableData(path=str(path), target="y"))


def test_too_many_rows_are_refused(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingestion, "MOST_ROWS", 2)
    assert ingest("a,y\n1,2\n3,4\n")
    with pytest.raises(ExperimentError, match=r"table\.csv has more than 2 rows: set data\.limit to read fewer"):
        ingest("a,y\n1,2\n3,4\n5,6\n")


@given(st.lists(st.tuples(st.floats(width=32, allow_nan=False, allow_infinity=False), st.booleans()), min_size=2))
def test_every_float32_survives_a_csv_file(tmp_path_factory: pytest.TempPathFactory, rows: Any) -> None:
    path = tmp_path_factory.mktemp("any") / "table.csv"
    path.write_text("a,b,y\n" + "".join(f"{a!r},{b},{place}\n" for place, (a, b) in enumerate(rows)))
    found = ingest_table(path, TableData(path=str(path), target="y"))
    assert found["a"].to_pylist() == [a for a, _ in rows]
    assert found["b"].to_pylist() == [float(b) for _, b in rows]


def test_a_table_that_does_not_fit_in_memory_is_refused(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({"a": [1.0, 2.0] * 50_000, "y": [1.0, 2.0] * 50_000})  # 16 bytes a row, twice
    monkeypatch.setattr(ingestion, "available_memory", lambda: 3_200_000)
    assert len(ingest(table)["a"]) == 100_000
    monkeypatch.setattr(ingestion, "available_memory", lambda: 3_199_999)
    with pytest.raises(ExperimentError, match=r"table\.parquet does not fit in memory: 100,000 rows of 2 columns"):
        ingest(table)
    assert len(ingest(table, limit=90_000)["a"]) == 90_000


def test_rows_that_are_left_out_take_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"a": [1.0, None] * 50_000, "y": [1.0, 2.0, 3.0, 4.0] * 25_000}), path)
    monkeypatch.setattr(ingestion, "available_memory", lambda: 1_600_000)  # for half of the rows
    data = TableData(path=str(path), target="y", drop_missing=["a"])
    assert ingest_table(path, data).num_rows == 50_000
    with pytest.raises(ExperimentError, match=r"does not fit in memory"):
        ingest_table(path, data.model_copy(update={"drop_missing": []}), ["a"])
