import math

import numpy as np
import pyarrow as pa
import pytest

from tasks.learning.evaluation.comparison import (
    ACROSS_DEVICES_ATOL,
    ACROSS_DEVICES_RTOL,
    Difference,
    compare_predictions,
)


def table(*values, **columns):
    count = len(values)
    return pa.table(
        {
            "row": pa.array(range(10, 10 + count), pa.int64()),
            "split": ["test"] * count,
            "x": pa.array(range(count), pa.float32()),
            "target": pa.array([0] * count, pa.float32()),
            "prediction": pa.array(values, pa.float32()),
        }
        | columns
    )


def test_equal_tables_agree():
    found = compare_predictions(table(1, 2, 3), table(1, 2, 3))
    assert found.agrees
    assert (found.rows, found.mismatches, found.first_mismatch, found.worst, found.largest_difference) == (
        (3, 0, None, None, 0)
    )


def test_no_rows_agree():
    assert compare_predictions(table(), table()).agrees


def test_the_last_bit_counts():
    found = compare_predictions(table(1, 2), table(1, np.nextafter(np.float32(2), np.float32(3))))
    assert (found.agrees, found.mismatches, found.largest_difference) == (False, 1, 2**-22)


def test_names_the_first_and_the_worst_row():
    found = compare_predictions(table(1, 2, 3, 4), table(1, 2.5, 1, 4.5))
    assert found.mismatches == 3
    assert found.first_mismatch == Difference(row=11, split="test", expected=2.0, actual=2.5)
    assert found.worst == Difference(row=12, split="test", expected=3.0, actual=1.0)
    assert found.largest_difference == 2


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_agrees_with_nothing(value):
    for expected, actual in [(value, value), (1, value), (value, 1)]:
        found = compare_predictions(table(0, expected), table(0, actual), rtol=1e9, atol=1e9)
        assert (found.mismatches, found.largest_difference) == (1, None)
        assert found.worst.row == found.first_mismatch.row == 11


def test_a_tolerance_lets_rounding_pass_and_no_more():
    def agree(expected, actual):
        return compare_predictions(table(expected), table(actual), ACROSS_DEVICES_RTOL, ACROSS_DEVICES_ATOL).agrees

    assert agree(100, 100 * (1 + 5e-6))
    assert not agree(100, 100 * (1 + 2e-5))
    assert agree(0, 5e-7)
    assert not agree(0, 2e-6)


def test_within_the_tolerance_the_largest_difference_is_still_reported():
    found = compare_predictions(table(1, 2), table(1, 2.25), atol=0.5)
    assert (found.agrees, found.first_mismatch, found.largest_difference) == (True, None, 0.25)
    assert found.worst.row == 11


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("row", pa.array([10, 12], pa.int64())),
        ("split", ["test", "train"]),
        ("x", pa.array([0, 5], pa.float32())),
        ("target", pa.array([0, 5], pa.float32())),
    ],
)
def test_refuses_tables_of_different_data(column, values):
    with pytest.raises(ValueError, match=f"differ in column {column}"):
        compare_predictions(table(1, 2), table(1, 2, **{column: values}))


def test_refuses_another_number_of_rows():
    with pytest.raises(ValueError, match="hold 2 and 3 rows"):
        compare_predictions(table(1, 2), table(1, 2, 3))
