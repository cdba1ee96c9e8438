"""DataFrames that people bring: each ends in the right features, or in one message that names the place."""

import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flows.errors import InputError
from flows.notebook.frames import read_features

#: Columns that hold 1 and 0 for the model.
READ: dict[str, Any] = {
    "float64": [1.0, 0.0],
    "float16": np.array([1, 0], np.float16),
    "integers": [1, 0],
    "unsigned": np.array([1, 0], np.uint64),
    "truth values": [True, False],
    "nullable integers": pd.array([1, 0], dtype="Int64"),
    "nullable truth values": pd.array([True, False], dtype="boolean"),
    "of Arrow": pd.Series([1, 0], dtype="int64[pyarrow]"),
    "decimals": [Decimal("1.0"), Decimal(0)],
    "objects": pd.Series([1, 0.0], dtype=object),
    "categories": pd.Categorical([1, 0]),
}


@pytest.mark.parametrize("column", READ.values(), ids=READ)
def test_numbers_of_any_type_are_read(column: Any) -> None:
    found = read_features(pd.DataFrame({"b": [5, 6], "a": column}), ["a", "b"])
    assert (found.dtype, found.tolist()) == (np.float32, [[1, 5], [0, 6]])


#: Columns that cannot be used, and what is said of them.
REFUSED: dict[str, tuple[Any, str]] = {
    "NaN": ([1, float("nan"), float("nan")], "column 'a': the value in row 1 is missing (2 values are)"),
    "None": ([1, 2, None], "column 'a': the value in row 2 is missing"),
    "NA": (pd.array([1, 2, pd.NA], dtype="Int64"), "column 'a': the value in row 2 is missing"),
    "NA of truth values": (pd.array([pd.NA, True, True], dtype="boolean"), "the value in row 0 is missing"),
    "nothing": ([None, None, None], "column 'a': the value in row 0 is missing (3 values are)"),
    "infinite": ([1, 2, -np.inf], "column 'a': the value in row 2 is not finite"),
    "beyond float32": ([1, 1e39, 2], "column 'a': the value in row 1 is too large for float32"),
    "inexact": ([1, 2**24 + 1, 2], "the value in row 1 is a whole number that float32 cannot hold exactly"),
    "inexact in float64": ([1, 2**60 + 1, 2], "the value in row 1 is a whole number that float32 cannot hold exactly"),
    "beyond any integer": ([1, 2**70, 2], "column 'a' holds numbers of several kinds, or too large ones"),
    "kinds of numbers": ([True, 2.5, 3], "column 'a' holds numbers of several kinds"),
    "text": (["x", "y", "z"], "column 'a' holds text, such as 'x' in row 0, not numbers"),
    "numbers as text": ([None, "1", "2"], "column 'a' holds text, such as '1' in row 1, not numbers"),
    "some text": ([1.5, "n/a", 2], "column 'a' holds more than numbers, such as 'n/a' in row 1"),
    "categories of text": (pd.Categorical(["x", "y", "x"]), "column 'a' holds text, such as 'x' in row 0"),
    "dates": ([datetime.date(2026, 1, 1)] * 3, "column 'a' holds dates or times, such as"),
    "times": (pd.to_datetime(["2026-01-01"] * 3), "column 'a' holds dates or times, such as"),
    "complex": ([1j, 2, 3], "column 'a' holds more than numbers, such as 1j in row 0"),
    "lists": ([[1], [2], [3]], "column 'a' holds values of type list<"),
}


@pytest.mark.parametrize(("column", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_used_is_refused_with_its_place(column: Any, said: str) -> None:
    with pytest.raises(InputError) as error:
        read_features(pd.DataFrame({"a": column}, index=[7, 7, 7]), ["a"])
    assert str(error.value).startswith("the DataFrame cannot be used as it is (rows are counted from 0, as by iloc):\n")
    assert said in str(error.value)


def test_all_missing_columns_are_named_at_once() -> None:
    with pytest.raises(InputError) as error:
        read_features(pd.DataFrame({"b": [1], "Area": [2], 3: [4]}), ["area", "b", "rooms"])
    assert str(error.value).splitlines()[1:] == [
        "  there is no column 'area' (is 'Area' meant?)",
        "  there is no column 'rooms'",
        "  its columns are b, Area, 3",
    ]


def test_all_values_that_cannot_be_used_are_named_at_once() -> None:
    frame = pd.DataFrame({"a": [1, np.inf], "b": [np.nan, 1], "c": ["x", "y"], "d": [1, 2]})
    with pytest.raises(InputError) as error:
        read_features(frame, ["d", "c", "b", "a"])
    assert str(error.value).splitlines()[1:] == [
        "  column 'c' holds text, such as 'x' in row 0, not numbers",
        "  column 'b': the value in row 0 is missing",
        "  column 'a': the value in row 1 is not finite",
    ]


@pytest.mark.parametrize("gap", [None, np.nan, pd.NA])
def test_a_feature_that_the_model_fills_in_may_be_missing(gap: Any) -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": pd.array([3, gap], "Int64" if gap is pd.NA else "object")})
    assert str(read_features(frame, ["a", "b"], imputed=["b"]).tolist()) == "[[1.0, 3.0], [2.0, nan]]"
    with pytest.raises(InputError, match="column 'b': the value in row 1 is missing"):
        read_features(frame, ["a", "b"], imputed=["a"])


def test_a_column_that_is_there_twice_is_refused() -> None:
    frame = pd.DataFrame([[1, 2, 3]], columns=["a", "b", "a"])
    assert read_features(frame, ["b"]).tolist() == [[2]]
    with pytest.raises(InputError, match="2 columns are named 'a'"):
        read_features(frame, ["a", "b"])


@pytest.mark.parametrize("frame", [[[1]], {"a": [1]}, np.ones((2, 1)), pd.Series([1], name="a"), None])
def test_what_is_no_frame_is_refused(frame: Any) -> None:
    with pytest.raises(InputError, match="a pandas DataFrame is needed, with the columns a; not"):
        read_features(frame, ["a"])


def test_the_frame_is_left_alone() -> None:
    frame = pd.DataFrame({"a": np.ones(3, np.float32)})
    read_features(frame, ["a"])[:] = 7
    assert frame["a"].tolist() == [1, 1, 1]
