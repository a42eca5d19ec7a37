"""Hide the object of an image, as a teacher's features part it from the rest."""

import torch
from torch import Generator, Tensor
from torch.nn import functional

FOLLOWS = "high"
LEAST = 1e-5  # of two patches' similarity. Ours: so that each patch hangs on the others


def scores(
    features: Tensor,
    rng: Generator,
    progress: float,
    *,
    hints: float = 0.1,  # the chance of a patch to be shown after all. Ours
    start: float = 0.12,  # share of the budget before which masks are uniform; SelfMAE: 50 of 400 epochs
) -> Tensor:
    """features [B, D, h, w] -> [B, h, w], the similarity to the mean feature of the object.

    The patches are parted in two by the normalised cut of their cosine similarities (Shi and Malik 2000), at the mean
    of its eigenvector; the object is the side with fewer patches at the rim of the image (Ours, as the sign of an
    eigenvector tells nothing). Source: SelfMAE, read in summaries only. Raises ValueError for hints or a start outside
    of [0, 1].
    """
    if not (0 <= hints <= 1 and 0 <= start <= 1):
        raise ValueError(f"object needs hints and start in 0 to 1, not {hints} and {start}")
    grid = features.shape[2:]
    noise, chance = torch.rand(2, len(features), *grid, generator=rng).to(features.device)
    if progress < start:
        return noise
    unit = functional.normalize(features.flatten(2), dim=1)
    side = _cut(unit)
    rim = torch.ones(grid, device=features.device, dtype=torch.bool)
    rim[1:-1, 1:-1] = False
    at_rim = rim.flatten()
    other = (side & at_rim).sum(1) > (~side & at_rim).sum(1)
    object_side = side ^ other[:, None]
    middle = (unit * object_side[:, None]).sum(2, keepdim=True)
    alike = (unit * functional.normalize(middle, dim=1)).sum(1).unflatten(1, grid)
    return alike.masked_fill(chance < hints, -torch.inf)


def _cut(unit: Tensor) -> Tensor:
    """Features of length 1 [B, D, N] -> bool [B, N], one side of the normalised cut."""
    weights = (unit.transpose(1, 2) @ unit).clamp_min(LEAST)
    root = weights.sum(2).rsqrt()
    _, vectors = torch.linalg.eigh(root[:, :, None] * weights * root[:, None, :])
    second = vectors[:, :, -2] * root
    return second > second.mean(1, keepdim=True)
