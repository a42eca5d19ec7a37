"""Hide inside of every part of an image at first, whole parts later; parts are clusters of a teacher's features."""

import torch
from torch import Generator, Tensor

ROUNDS = 10  # of k-means. Ours


def scores(
    features: Tensor,
    rng: Generator,
    progress: float,
    count: int,
    *,
    parts: int = 6,  # Li et al. 2022 (SemMAE)
    power: float = 2.0,  # of progress, by which whole parts take over; SemMAE: 2
) -> Tensor:
    """features [B, D, h, w] -> [B, h, w].

    A share s = 1 - progress^power of what is hidden is hidden inside of every part alike, at random; the rest is whole
    parts, in a random order. Source: Li et al. 2022 (SemMAE), with parts of the teacher's own features as in Evolved
    Part masking. Ours: k-means of each image for itself, from patches at random; a quota that is no whole number is
    rounded up or down by chance, so that it is right in the mean. Raises ValueError for parts below 1 or a power of 0
    or less.
    """
    if parts < 1 or power <= 0:
        raise ValueError(f"parts needs at least 1 part and a power above 0, not {parts} and {power}")
    shape = (len(features), *features.shape[2:])
    noise, order, chance = torch.rand(3, *shape, generator=rng).to(features.device).flatten(2)
    part = _clusters(features.flatten(2).transpose(1, 2), min(parts, noise.shape[1]), rng)
    alike = part[:, :, None] == part[:, None, :]
    size = alike.sum(2)
    rank = (alike & (noise[:, None, :] > noise[:, :, None])).sum(2)  # in its part
    quota = (1 - progress**power) * count / noise.shape[1] * size
    whole, chance = (one.gather(1, part) for one in (order, chance))  # one number a part
    return torch.where(rank + chance < quota, 2 + noise, whole + 1e-3 * noise).view(shape)


def _clusters(rows: Tensor, parts: int, rng: Generator) -> Tensor:
    """[B, N, D] -> int64 [B, N], the cluster of each row, by k-means from rows at random."""
    first = torch.rand(rows.shape[:2], generator=rng).topk(parts, dim=1).indices.to(rows.device)
    centres = rows.gather(1, first[:, :, None].expand(-1, -1, rows.shape[2]))
    for _ in range(ROUNDS):
        part = torch.cdist(rows, centres).argmin(2)
        mine = torch.nn.functional.one_hot(part, parts).to(rows.dtype)
        size = mine.sum(1)[:, :, None]
        centres = torch.where(size > 0, mine.transpose(1, 2) @ rows / size.clamp_min(1), centres)
    return part
