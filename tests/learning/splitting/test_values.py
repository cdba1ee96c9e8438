"""The column by which rows are divided, as people have it: texts, numbers, dates and times, in CSV and Parquet."""

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.errors import ExperimentError
from tasks.learning.config.data import TableData
from tasks.learning.data.table_files import open_table
from tasks.learning.splitting.values import read_split_values

DAY = 24 * 60 * 60 * 1_000_000
UTC2 = datetime.timezone(datetime.timedelta(hours=2))


def read(folder: Path, content: str | pa.Table, method: str, column: str = "by", **chosen: Any) -> dict[str, list[Any]]:
    path = folder / ("table.csv" if isinstance(content, str) else "table.parquet")
    if isinstance(content, str):
        path.write_text(content)
    else:
        pq.write_table(content, path)
    rows = np.array(chosen.pop("rows", range(2)), np.int64)
    file = open_table(path, TableData(path=str(path), target="y", **chosen))
    found: dict[str, list[Any]] = read_split_values(file, path, column, method, rows).to_pydict()
    assert found.pop("row") == rows.tolist()
    return found


@pytest.mark.parametrize(
    ("lines", "method", "expected"),
    [
        ("Ann\nBob", "grouped", {"text": ["Ann", "Bob"]}),
        ("007\n7", "hash", {"text": ["007", "7"]}),
        ("true\nFALSE", "stratified", {"text": ["true", "FALSE"]}),
        ("2026-01-01\n2026-01-01", "grouped", {"text": ["2026-01-01", "2026-01-01"]}),
        ("2020\n2021.5", "time", {"number": [2020, 2021.5]}),
        ("1970-01-02\n1970-01-03", "time", {"time": [DAY, 2 * DAY]}),
        ("1970-01-02T00:00:00\n1970-01-03 12:00:00.5", "time", {"time": [DAY, 2 * DAY + DAY // 2 + 500_000]}),
        ("1970-01-02T00:00:00Z\n1970-01-02T01:00:00+01:00", "time", {"time": [DAY, DAY]}),
    ],
)
def test_a_column_of_a_csv_file_is_read(tmp_path: Path, lines: str, method: str, expected: Any) -> None:
    rows = "".join(f"{line},1\n" for line in lines.splitlines())
    assert read(tmp_path, f"by,y\n{rows}", method) == expected


def test_a_number_is_read_with_its_decimal_comma(tmp_path: Path) -> None:
    found = read(tmp_path, "by;y\n1,5;1\n2;2\n", "time", delimiter=";", decimal=",")
    assert found == {"number": [1.5, 2]}


@pytest.mark.parametrize(
    ("values", "method", "expected"),
    [
        (pa.array([7, 70]), "hash", {"text": ["7", "70"]}),
        (pa.array(["u", "v"], pa.large_string()), "grouped", {"text": ["u", "v"]}),
        (pa.array(["u", "v"]).dictionary_encode(), "stratified", {"text": ["u", "v"]}),
        (pa.array([True, False]), "stratified", {"text": ["true", "false"]}),
        (pa.array([7, 70]), "time", {"number": [7, 70]}),
        (pa.array([datetime.date(1970, 1, 2)] * 2), "time", {"time": [DAY, DAY]}),
        (pa.array([DAY * 1000, DAY * 1000 + 999], pa.timestamp("ns")), "time", {"time": [DAY, DAY]}),
        (pa.array([datetime.datetime(1970, 1, 2, 2, tzinfo=UTC2)] * 2), "time", {"time": [DAY, DAY]}),
        (pa.array(["1970-01-02", "1970-01-02T01:00:00"]), "time", {"time": [DAY, DAY + DAY // 24]}),
    ],
    ids=str,
)
def test_a_column_of_a_parquet_file_is_read(tmp_path: Path, values: pa.Array, method: str, expected: Any) -> None:
    assert read(tmp_path, pa.table({"by": values, "y": [1.0, 2.0]}), method) == expected


def test_rows_that_are_left_out_have_no_value(tmp_path: Path) -> None:
    content = "by,y\n" + "".join(f"K{number},1\n" for number in range(9))
    assert read(tmp_path, content, "hash", rows=[1, 4, 5]) == {"text": ["K1", "K4", "K5"]}


@pytest.mark.parametrize("rows", [[0], [0, 200_000]])
def test_rows_are_read_as_far_as_they_are_used(tmp_path: Path, rows: list[int]) -> None:
    values = pa.array([f"K{number}" for number in range(200_001)])
    found = read(tmp_path, pa.table({"by": values, "y": np.zeros(200_001)}), "hash", rows=rows)
    assert found == {"text": [f"K{row}" for row in rows]}


@pytest.mark.parametrize(
    ("content", "method", "reported"),
    [
        (
            "by,y\na,1\n,2\n",
            "grouped",
            "split.column 'by': the value in row 3 is missing, and nothing says",
        ),
        ("by,y\n,1\n,2\n", "hash", "the value in row 2 is missing (2 values are)"),
        ("by,y\n1,1\n,2\n", "time", "the value in row 3 is missing"),
        ("by,y\n1,1\nnan,2\n", "time", "the value in row 3 is missing"),
        ("day,y\n1,1\n2,2\n", "time", "split.column: there is no column 'by'"),
        ("bye,y\n1,1\n2,2\n", "time", "there is no column 'by' (is 'bye' meant?)"),
        ("by,y\nmonday,1\ntuesday,2\n", "time", "split.column 'by' holds text, and not only dates, times or"),
        ("by,y\n2026-01-01,1\n1.2.2026,2\n", "time", "'1.2.2026'"),
        (
            pa.table({"by": [[1], [2]], "y": [1, 2]}),
            "grouped",
            "holds values of type list<element: int64>, and not",
        ),
        (pa.table({"by": [[1], [2]], "y": [1, 2]}), "time", "holds values of type list<element: int64>, and not"),
    ],
)
def test_a_column_that_cannot_be_used_is_refused(tmp_path: Path, content: Any, method: str, reported: str) -> None:
    with pytest.raises(ExperimentError) as error:
        read(tmp_path, content, method)
    assert reported in str(error.value)
    assert str(error.value).startswith("table.")
