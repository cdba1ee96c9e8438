"""Rows that are divided by the values of a column: what each method promises holds, whatever the values are."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import ExperimentError
from tasks.learning.config.split import Split
from tasks.learning.splitting.methods import places_by_value
from tasks.learning.splitting.parts import split_rows
from tasks.learning.splitting.proof import prove_split
from tasks.learning.splitting.values import NUMBER, TEXT, TIME

DAY = 24 * 60 * 60 * 1_000_000


def values_of(kind: str, values: Sequence[Any]) -> pa.Table:
    types = {TEXT: pa.string(), NUMBER: pa.float64(), TIME: pa.int64()}
    return pa.table({"row": pa.array(range(len(values)), pa.int64()), kind: pa.array(values, types[kind])})


def dataset(rows: int) -> pa.Table:
    x = pa.array(np.arange(rows, dtype=np.float32))
    return pa.table({"row": pa.array(range(rows), pa.int64()), "x": x, "y": x})


def divide(kind: str, values: Sequence[Any], **settings: Any) -> dict[str, list[Any]]:
    """The values of each part; the split is proved."""
    split = Split(column="by", **settings)
    held, rows = values_of(kind, values), dataset(len(values))
    parts = split_rows(rows, split, held)
    proof = prove_split(rows, parts, split, held, count_duplicates=False)
    assert proof.rows == {part: found.num_rows for part, found in parts.items()}
    for found in parts.values():
        assert found["row"].to_pylist() == sorted(found["row"].to_pylist()), "rows keep their order"
    return {part: [values[row] for row in found["row"].to_pylist()] for part, found in parts.items()}


@pytest.mark.parametrize("method", ["grouped", "hash"])
@given(values=st.lists(st.sampled_from("abcdefghijklmnop"), min_size=30), seed=st.integers(0, 2**53 - 1))
def test_no_value_is_in_two_parts(method: str, values: list[str], seed: int) -> None:
    split = Split(method=method, column="by", train=0.5, validation=0.2, seed=seed)  # type: ignore[arg-type]
    places = places_by_value(split, values_of(TEXT, values))
    assert all(len(set(places[np.array(values) == value])) == 1 for value in set(values))


def test_groups_come_near_the_fractions() -> None:
    groups = [f"group {number % 50}" for number in range(1000)]
    parts = divide(TEXT, groups, method="grouped", train=0.7, validation=0.1)
    assert {part: len(found) for part, found in parts.items()} == {"train": 700, "validation": 100, "test": 200}
    assert parts == divide(TEXT, groups, method="grouped", train=0.7, validation=0.1)
    assert parts != divide(TEXT, groups, method="grouped", train=0.7, validation=0.1, seed=1)


def test_a_row_keeps_its_side_when_rows_are_added() -> None:
    keys = [f"K{number}" for number in range(2000)]
    before = divide(TEXT, keys[:500], method="hash", validation=0.1)
    after = divide(TEXT, keys[::-1], method="hash", validation=0.1)
    assert all(set(before[part]) <= set(after[part]) for part in before)
    assert [len(found) / 2000 for found in after.values()] == pytest.approx([0.8, 0.1, 0.1], abs=0.02)
    assert after != divide(TEXT, keys[::-1], method="hash", validation=0.1, seed=1)


def test_the_side_of_a_key_is_the_same_on_every_machine_and_in_every_version() -> None:
    keys = [f"K{number}" for number in range(20)]
    assert divide(TEXT, keys, method="hash", train=0.5)["test"] == HASHED_TO_THE_TEST


#: Those whose digest is at least half of 2⁶⁴, by another implementation: printf '0:K0' | b2sum --length 64
HASHED_TO_THE_TEST = ["K0", "K1", "K3", "K4", "K5", "K7", "K11", "K14", "K19"]


@given(st.lists(st.sampled_from("aab"), min_size=40, max_size=200), st.integers(0, 2**53 - 1))
def test_each_value_has_the_same_share_of_every_part(values: list[str], seed: int) -> None:
    split = Split(method="stratified", column="by", train=0.6, validation=0.2, seed=seed)
    places = places_by_value(split, values_of(TEXT, values))
    for value, count in Counter(values).items():
        found = np.bincount(places[np.array(values) == value], minlength=3)
        assert np.abs(found - count * np.array([0.6, 0.2, 0.2])).max() <= 1


def test_strata_are_drawn_by_the_seed() -> None:
    values = ["rare" if number % 20 == 0 else "common" for number in range(400)]
    split, other = (Split(method="stratified", column="by", seed=seed) for seed in (0, 1))
    first, second = (places_by_value(chosen, values_of(TEXT, values)) for chosen in (split, other))
    assert (first != second).any()
    assert Counter(np.array(values)[first == 1]) == {"rare": 4, "common": 76}


@pytest.mark.parametrize("kind", [NUMBER, TIME])
@given(values=st.lists(st.integers(-5, 5), min_size=1, max_size=60))
def test_the_test_part_is_the_latest_and_rows_of_one_time_stay_together(kind: str, values: list[int]) -> None:
    split = Split(method="time", column="by", train=0.5, validation=0.25)
    places = places_by_value(split, values_of(kind, values))
    order = np.argsort(values, kind="stable")
    assert (np.diff(places[order]) >= 0).all()
    assert all(len(set(places[np.array(values) == value])) == 1 for value in set(values))


def test_times_that_differ_are_cut_at_the_fractions() -> None:
    parts = divide(TIME, [DAY * day for day in range(99, -1, -1)], method="time", train=0.7, validation=0.1)
    assert {part: (min(found) // DAY, max(found) // DAY) for part, found in parts.items()} == {
        "train": (0, 69),
        "validation": (70, 79),
        "test": (80, 99),
    }


@pytest.mark.parametrize(
    ("kind", "cut", "first"),
    [
        (TIME, "1970-03-01", 59 * DAY),
        (TIME, "1970-03-01T00:00:00+02:00", 59 * DAY),
        (TIME, "1970-02-28T22:30:00.000001", 59 * DAY),
        (NUMBER, "2020", 2020),
        (NUMBER, "1e1", 10),
    ],
)
def test_the_test_part_begins_at_the_cut(kind: str, cut: str, first: int) -> None:
    values = [DAY * day for day in range(100)] if kind == TIME else list(range(2000, 2030))
    if first == 10:
        values = list(range(20))
    parts = divide(kind, values, method="time", cut=cut, validation=0.5)
    assert min(parts["test"]) == first
    assert len(parts["train"]) == pytest.approx(len(parts["validation"]), abs=1)
    assert max(parts["train"]) < min(parts["validation"]) < first


@pytest.mark.parametrize(
    ("kind", "cut", "reported"),
    [
        (TIME, "soon", "split.cut 'soon' must be a date or time such as 2026-11-28"),
        (TIME, "2020", "split.cut '2020' must be a date or time"),
        (NUMBER, "2020-01-01", "split.cut '2020-01-01' must be a number, as column 'by' has"),
        (NUMBER, "nan", "split.cut 'nan' must be a number"),
    ],
)
def test_a_cut_that_is_no_value_of_the_column_is_refused(kind: str, cut: str, reported: str) -> None:
    with pytest.raises(ExperimentError, match=reported):
        divide(kind, [1, 2, 3], method="time", cut=cut)


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        ({"method": "grouped"}, ["only"] * 9),
        ({"method": "stratified"}, [str(number) for number in range(9)]),
        ({"method": "hash"}, ["only"] * 9),
    ],
)
def test_an_empty_part_is_refused(settings: dict[str, Any], values: list[str]) -> None:
    with pytest.raises(
        ExperimentError, match=f"split.method {settings['method']} leaves the .* part empty, as the values of"
    ):
        divide(TEXT, values, **settings)


def test_one_time_for_all_rows_is_refused() -> None:
    with pytest.raises(ExperimentError, match=r"split\.method time leaves the test part empty"):
        divide(NUMBER, [7] * 9, method="time")


def test_a_time_is_shown_in_utc() -> None:
    held = values_of(TIME, [int(datetime(2026, 11, day, 8, tzinfo=UTC).timestamp() * 1e6) for day in range(1, 11)])
    split, rows = Split(method="time", column="by"), dataset(10)
    proof = prove_split(rows, split_rows(rows, split, held), split, held, count_duplicates=False)
    assert proof.first == {"train": "2026-11-01T08:00:00Z", "test": "2026-11-09T08:00:00Z"}
    assert proof.last == {"train": "2026-11-08T08:00:00Z", "test": "2026-11-10T08:00:00Z"}
