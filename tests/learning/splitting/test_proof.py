"""The proof of a split: each kind of leak is found when it is planted, and duplicates are counted."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tasks.learning.config.split import Split
from tasks.learning.reporting.split_summary import describe_split
from tasks.learning.splitting.proof import duplicates, prove_split, repeated_rows, row_hashes


def dataset(**columns: Any) -> pa.Table:
    """A dataset with these features and target."""
    floats = {name: pa.array(values, pa.float32()) for name, values in columns.items()}
    return pa.table({"row": pa.array(range(len(next(iter(columns.values())))), pa.int64()), **floats})


def prove(parts: Mapping[str, list[int]], split: Split, **values: Any) -> Any:
    rows = dataset(x=range(6), y=range(6))
    held = pa.table({"row": pa.array(range(6), pa.int64()), **values})
    taken = {part: rows.take(pa.array(places)) for part, places in parts.items()}
    return prove_split(rows, taken, split, held, count_duplicates=False)


TWO = {"train": [0, 1, 2, 3], "test": [4, 5]}


@pytest.mark.parametrize("method", ["grouped", "hash"])
def test_a_value_in_two_parts_is_found(method: Any) -> None:
    split = Split(method=method, column="by")
    assert prove(TWO, split, text=list("aabbcc")).values == {"train": 2, "test": 1}
    with pytest.raises(ValueError, match="the split leaks: 'b' is in train and in test"):
        prove(TWO, split, text=list("aabbbc"))


def test_a_row_that_is_later_than_one_of_the_next_part_is_found() -> None:
    split = Split(method="time", column="by")
    assert prove(TWO, split, number=[0.0, 3.0, 2.0, 1.0, 5.0, 4.0]).last == {"train": "3", "test": "5"}
    for number, shown in ((3.0, "3"), (2.5, "2.5")):
        with pytest.raises(ValueError, match=f"the split leaks: {shown} is in test, and train reaches later"):
            prove(TWO, split, number=[0.0, 3.0, 2.0, 1.0, 5.0, number])


def test_the_largest_difference_between_shares_is_measured() -> None:
    split = Split(method="stratified", column="by")
    # a is half of all rows, three quarters of train, and nothing of test.
    assert prove(TWO, split, text=list("aaabbb")).largest_difference == pytest.approx(0.5)
    assert prove({"train": [0, 3], "test": [1, 2, 4, 5]}, split, text=list("aaabbb")).largest_difference == 0


def test_rows_that_are_in_two_parts_are_counted() -> None:
    nan = float("nan")
    rows = dataset(a=[1, 2, nan, 1, nan, 2, 1], b=[1, 0, 5, 1, 5, 1, 1], y=[3, 3, 3, 3, 3, 3, 4])
    split = Split(train=0.4, validation=0.2)
    parts = {"train": rows.slice(0, 3), "validation": rows.slice(3, 1), "test": rows.slice(4)}
    assert duplicates(parts) == {"validation": 1, "test": 1}
    proof = prove_split(rows, parts, split, None, count_duplicates=True)
    assert proof.duplicates == {"validation": 1, "test": 1}
    assert list(repeated_rows(proof)) == [
        "1 of 1 rows of validation have the very values of a row of train",
        "1 of 3 rows of test have the very values of a row of train or validation",
    ]
    assert "duplicates" not in prove_split(rows, parts, split, None, count_duplicates=False).to_json()


def test_rows_with_equal_values_in_other_columns_are_no_duplicates() -> None:
    grid = np.arange(100, dtype=np.float32)
    one, other = (columns.ravel() for columns in np.meshgrid(grid, grid))
    assert len(set(row_hashes(dataset(a=one, y=other)).tolist())) == 10_000


@pytest.mark.parametrize(
    ("proof", "sentences"),
    [
        (
            {"method": "shuffled", "rows": {"train": 8000, "test": 2000}},
            ["Split shuffled: 8,000 train, 2,000 test rows; each row is in exactly one part."],
        ),
        (
            {
                "method": "grouped", "column": "patient", "rows": {"train": 8, "test": 2},
                "values": {"train": 4, "test": 1},
            },
            [
                "Split grouped, by column patient: 8 train, 2 test rows; each row is in exactly one part.",
                "No value of patient is in two parts: 4 in train, 1 in test.",
            ],
        ),
        (
            {
                "method": "time", "column": "day", "rows": {"train": 8, "test": 2},
                "first": {"train": "1", "test": "3"}, "last": {"train": "2", "test": "4"},
            },
            [
                "Split time, by column day: 8 train, 2 test rows; each row is in exactly one part.",
                "Every row is later than all rows of the parts before its own: train from 1 to 2, test from 3 to 4.",
            ],
        ),
        (
            {
                "method": "stratified", "column": "sex", "rows": {"train": 8, "test": 2}, "largest_difference": 0.0123,
                "duplicates": {"test": 1},
            },
            [
                "Split stratified, by column sex: 8 train, 2 test rows; each row is in exactly one part.",
                "The share of each value in a part differs from its share in all rows by at most 0.012.",
                "Rows with the very values of a row in a part before: 1 of test.",
            ],
        ),
    ],
    ids=lambda value: value["method"] if isinstance(value, dict) else "",
)  # fmt: skip
def test_a_split_is_described(proof: dict[str, Any], sentences: list[str]) -> None:
    assert describe_split(proof) == sentences
