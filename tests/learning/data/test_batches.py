import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.learning.data.batches import Batches

X = torch.arange(10.0).unsqueeze(1)
Y = 2 * X


def visited(batches, epoch):
    return [x.flatten().tolist() for x, _ in batches.of_epoch(epoch)]


def test_a_full_batch_is_the_tensors_themselves_at_every_epoch():
    batches = Batches(X, Y, None, 3)
    (first,), (second,) = batches.of_epoch(0), batches.of_epoch(1)
    assert first is second
    assert [tensor.data_ptr() for tensor in first] == [X.data_ptr(), Y.data_ptr()]


def test_in_order_without_a_seed():
    assert visited(Batches(X, Y, 4, None), 5) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_inputs_stay_with_their_targets():
    for x, y in Batches(X, Y, 3, 1).of_epoch(2):
        assert x.shape == y.shape
        assert x.shape[1] == 1
        assert torch.equal(y, 2 * x)


@given(size=st.integers(1, 9), seed=st.integers(0, 2**63 - 1), epoch=st.integers(0, 10_000_000))
def test_every_epoch_visits_every_row_once(size, seed, epoch):
    rows = [row for batch in visited(Batches(X, Y, size, seed), epoch) for row in batch]
    assert sorted(rows) == X.flatten().tolist()


def test_the_order_depends_on_seed_and_epoch_alone():
    used = Batches(X, Y, 4, 1)
    orders = [visited(used, epoch) for epoch in (0, 1, 2)]
    assert orders[0] != orders[1] != orders[2]
    assert visited(Batches(X, Y, 4, 1), 2) == orders[2]
    assert visited(used, 1) == orders[1]


@pytest.mark.parametrize("seed", [2, 1 + 2**32, 1 + 2**40])
def test_seeds_give_orders_of_their_own(seed):
    assert visited(Batches(X, Y, 4, seed), 0) != visited(Batches(X, Y, 4, 1), 0)


def test_leaves_the_global_random_numbers_alone():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    visited(Batches(X, Y, 4, 1), 0)
    visited(Batches(X, Y, None, 1), 0)
    assert torch.rand(1) == expected
