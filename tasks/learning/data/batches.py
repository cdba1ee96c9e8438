"""Batches: how the training rows reach the network."""

from collections.abc import Iterable
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

Batch = tuple[Tensor, Tensor]


class BatchDataset(Dataset[Batch]):
    """A dataset whose items are whole batches: slices of tensors that lie on the device already.

    An item a row would make a DataLoader collate row by row, at a tenth of the speed.
    """

    def __init__(self, x: Tensor, y: Tensor, size: int | None) -> None:
        self._x, self._y = x, y
        self._size = size or len(x)
        self._order: Tensor | None = None

    def __len__(self) -> int:
        """Batches of an epoch; the last one may be smaller."""
        return -(-len(self._x) // self._size)

    def __getitem__(self, index: int) -> Batch:
        """Inputs and targets of a batch, each of shape [rows, 1]."""
        rows = slice(index * self._size, (index + 1) * self._size)
        if self._order is None:
            return self._x[rows], self._y[rows]
        drawn = self._order[rows]
        return self._x[drawn], self._y[drawn]

    def shuffle(self, seed: int, epoch: int) -> None:
        """Put the rows in the order of an epoch, which depends on seed and epoch alone, not on earlier epochs."""
        # torch's CPU generator keeps 32 bits of a seed: mixed, near seeds and epochs still give unrelated orders.
        mixed = int(np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint32)[0])
        generator = torch.Generator().manual_seed(mixed)
        self._order = torch.randperm(len(self._x), generator=generator).to(self._x.device)


class Batches:
    """The batches of every epoch, through a DataLoader without workers."""

    def __init__(self, x: Tensor, y: Tensor, size: int | None, shuffle_seed: int | None) -> None:
        """Cut the rows into batches.

        Args:
            x: inputs, float32 of shape [rows, 1], on the device.
            y: targets, likewise.
            size: rows of a batch; all of them when None.
            shuffle_seed: seed of the rows' order in each epoch; always the order given when None. A full batch is
                never shuffled.
        """
        self._dataset = BatchDataset(x, y, size)
        # An own generator, because a DataLoader draws from it whenever it is iterated, shuffled or not.
        self._loader = DataLoader(self._dataset, batch_size=None, collate_fn=tuple, generator=torch.Generator())
        self._shuffle_seed = shuffle_seed
        # A full batch is the same at every epoch, and asking the loader for it costs as much as a forward pass.
        self._only: list[Batch] | None = list(self._loader) if len(self._dataset) == 1 else None

    def __len__(self) -> int:
        """Batches of an epoch."""
        return len(self._dataset)

    def of_epoch(self, epoch: int, first: int = 0) -> Iterable[Batch]:
        """The batches of an epoch, counted from 0, in their order, from the batch `first` on."""
        if self._only is not None:
            return self._only
        if self._shuffle_seed is not None:
            self._dataset.shuffle(self._shuffle_seed, epoch)
        return islice(self._loader, first, None) if first else self._loader
