import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tasks.learning.config.data import LineData
from tasks.learning.config.split import Split
from tasks.learning.data.lines import line_table
from tasks.learning.splitting.parts import split_rows
from tasks.learning.splitting.proof import prove_partition


def rows(*numbers):
    return pa.table({"row": pa.array(numbers, pa.int64())})


@given(
    count=st.integers(3, 500), train=st.floats(0.1, 0.6), validation=st.sampled_from([0.0, 0.1, 0.3]),
    method=st.sampled_from(["sequential", "shuffled"]), seed=st.integers(0, 2**63 - 1),
)  # fmt: skip
def test_every_split_is_a_partition_of_the_right_sizes(count, train, validation, method, seed):
    split = Split(method=method, train=train, validation=validation, seed=seed)
    try:
        sizes = split.sizes(count)
    except ValueError:
        assume(False)
    table = line_table(LineData(rows=count))
    parts = split_rows(table, split)
    assert {part: held.num_rows for part, held in parts.items()} == sizes
    prove_partition(table, parts)
    for held in parts.values():
        assert held == table.take(held["row"])


def test_sequential_keeps_the_order():
    parts = split_rows(rows(*range(50)), Split(train=0.8))
    assert list(parts) == ["train", "test"]
    assert parts["train"]["row"].to_pylist() == list(range(40))
    assert parts["test"]["row"].to_pylist() == list(range(40, 50))


def test_shuffled_keeps_the_drawn_order():
    parts = split_rows(rows(*range(10)), Split(method="shuffled", train=0.5, validation=0.2, seed=3))
    assert list(parts) == ["train", "validation", "test"]
    drawn = [row for part in parts.values() for row in part["row"].to_pylist()]
    assert drawn == np.random.default_rng(3).permutation(10).tolist()


def test_seeds_shuffle_differently():
    first, again, other = (
        split_rows(rows(*range(100)), Split(method="shuffled", seed=seed))["train"] for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_refuses_an_empty_part():
    with pytest.raises(ValueError, match="leave the train part empty"):
        split_rows(rows(0), Split())


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"train": rows(0, 1), "test": rows(1, 2)}, "row 1 is held more than once, by train and test"),
        ({"train": rows(0, 1, 1), "test": rows(2)}, "row 1 is held more than once, by train and train"),
        ({"train": rows(0), "test": rows(2)}, "row 1 is in no part"),
        ({"train": rows(0, 1, 2), "test": rows(7)}, "row 7, held by test, is not in the dataset"),
    ],
)
def test_a_false_partition_is_found(parts, message):
    with pytest.raises(ValueError, match=message):
        prove_partition(rows(0, 1, 2), parts)


@given(st.permutations(range(8)), st.integers(1, 7), st.integers(0, 7))
def test_any_lost_row_is_found(order, border, lost):
    kept = [row for row in order if row != lost]
    with pytest.raises(ValueError, match=f"row {lost} is in no part"):
        prove_partition(rows(*range(8)), {"train": rows(*kept[:border]), "test": rows(*kept[border:])})
