import io
import json

import numpy as np
import pyarrow as pa
import pytest
import torch

from tasks.learning.data.tables import write_table
from tasks.learning.evaluation.closeness import Closeness, closeness
from tests.support.hostile_files import bounded_memory

RTOL, ATOL = 1e-5, 1e-6


def compare(kind, before, after):
    return closeness(kind, before, after, RTOL, ATOL)


def table(**columns):
    sink = io.BytesIO()
    write_table(pa.table(columns), sink)
    return sink.getvalue()


def weights(**tensors):
    sink = io.BytesIO()
    torch.save({name: torch.tensor(values) for name, values in tensors.items()}, sink)
    return sink.getvalue()


def text(value):
    return json.dumps(value).encode()


def test_the_same_numbers_are_close_whatever_holds_them():
    for kind, content in (
        ("parquet", table(x=[1.0, None], name=["a", "b"])),
        ("pth", weights(w=[[1.0, 2.0]], b=[0.5])),
        ("json", text({"a": {"b": 1.5}, "c": "text", "d": None})),
    ):
        assert compare(kind, content, content) == Closeness(True, 0.0)


@pytest.mark.parametrize(
    ("before", "after", "within"),
    [
        (100.0, 100.0009, True),
        (100.0, 100.0011, False),
        (0.0, 9e-7, True),
        (0.0, 1.1e-6, False),
        (-100.0, 100.0, False),
    ],
)
def test_the_tolerance_is_relative_and_absolute(before, after, within):
    found = compare("json", text({"loss": before}), text({"loss": after}))
    assert found.within is within
    assert found.largest == pytest.approx(abs(after - before))


def test_one_number_among_many_counts():
    before, after = [0.1] * 1000, [0.1] * 999 + [0.2]
    assert not compare("parquet", table(x=before), table(x=after)).within
    assert not compare("pth", weights(w=before), weights(w=after)).within
    assert compare("pth", weights(w=before), weights(w=after)).largest == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"loss": 1.0}, {"loss": float("nan")}),
        ({"loss": 1.0}, {"loss": float("inf")}),
        ({"loss": 1.0}, {"other": 1.0}),
        ({"loss": 1.0}, {}),
    ],
)
def test_numbers_without_a_pair_are_not_close(before, after):
    assert compare("json", text(before), text(after)) == Closeness(False, None)


@pytest.mark.parametrize(
    ("before", "after"), [({"kind": "linear"}, {"kind": "line"}), ({"x": True}, {"x": False}), ({"x": None}, {"x": []})]
)
def test_what_is_no_number_must_be_the_same(before, after):
    assert not compare("json", text(before), text(after)).within


def test_digests_are_not_compared():
    assert compare("json", text({"sha256": "a" * 64}), text({"sha256": "b" * 64})) == Closeness(True, 0.0)


def test_texts_and_missing_values_of_a_table_must_be_the_same():
    assert not compare("parquet", table(part=["train"]), table(part=["test"])).within
    assert not compare("parquet", table(x=[1.0, None]), table(x=[1.0, 2.0])).within
    assert not compare("parquet", table(x=[1.0]), table(x=[1.0, 1.0])).within


def test_pictures_hold_no_numbers():
    assert compare("png", b"one", b"other") is None


@pytest.mark.parametrize("kind", ["parquet", "pth", "json"])
def test_what_is_no_such_file_is_an_error(kind):
    with pytest.raises(ValueError, match=r".+"):
        compare(kind, b"garbage", b"garbage")


def test_a_table_of_other_rows_is_not_read():
    bomb = table(x=np.zeros(20_000_000, np.float32))
    assert len(bomb) < 200_000
    with bounded_memory(1 << 24):
        assert compare("parquet", bomb, table(x=[0.0])) == Closeness(False, None)


def test_tables_are_read_from_their_files_too(tmp_path):
    for name, content in (("a", table(x=[1.0])), ("b", table(x=[2.0]))):
        (tmp_path / name).write_bytes(content)
    assert compare("parquet", tmp_path / "a", tmp_path / "b") == Closeness(False, 1.0)
