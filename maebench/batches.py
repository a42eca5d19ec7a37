"""Whole splits as one uint8 tensor: standard units, batches in a named order, exact moments."""

from collections.abc import Iterator

import torch
from torch import Tensor

from maebench.seeding import stream


def indices(count: int, batch: int, seed: int, start: int = 0) -> Iterator[Tensor]:
    """Endless int64 [batch] index batches, beginning with the batch numbered `start`.

    One fresh permutation of all images follows another: none is left out, and a batch may straddle two.
    """
    epoch, place = divmod(start * batch, count)
    order = _permutation(count, seed, epoch)[place:]
    while True:
        while len(order) < batch:
            epoch += 1
            order = torch.cat([order, _permutation(count, seed, epoch)])
        yield order[:batch]
        order = order[batch:]


def _permutation(count: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(count, generator=stream(seed, "order", epoch))
