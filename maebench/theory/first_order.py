"""The masked loss of a non-linear model, to first order, and by drawing masks.

x [d] is one image and x~ = R x the same with hidden patches set to 0, each hidden by itself with probability m. f is
the model as a function of x~, and every pixel is scored. x~ has the mean q x, q = 1 - m, and the covariance
q m blkdiag(x x'), so with f replaced by its tangent at q x

    E ||x - f(x~)||^2 ~ ||x - f(q x)||^2 + q m sum_p ||J_p(q x) x_p||^2                      (about the mean, Lemma 4)

where J_p are the columns of the Jacobian J that belong to patch p, and at x

    E ||x - f(x~)||^2 ~ ||x - f(x) + m J(x) x||^2 + q m sum_p ||J_p(x) x_p||^2               (about the image, Lemma 5).

Both are exact for linear f. Else, since a hidden patch is no small step however rare it is, the error of both is of
first order in m: for small m it is m sum_p (||x - f(x - x_p)||^2 - ||x - f(x) + J(x) x_p||^2). They differ from one
another in second order.
Source: "From Linearity to Non-Linearity" (arXiv 2508.15404), Lemmas 4 and 5. Ours: the form of Lemma 5, derived from
x~ = x + e with E e = -m x; and the order of the error.
"""

from typing import Literal

import torch
from torch import Generator, Tensor

from maebench.theory.jacobian import MEMORY, Images, along_each, linearised, transposed

BATCH = 100
"""Masks at a time. Ours: as many images as a CPU encodes fastest."""


@torch.no_grad()
def first_order(
    f: Images,
    image: Tensor,
    patch_index: Tensor,
    ratio: float,
    *,
    about: Literal["mean", "image"] = "mean",  # Lemma 4, the one that the source paper builds on
    memory: float = MEMORY,  # MiB; see `jacobian.along_each`
) -> float:
    """image [C, H, W], patch_index int64 [d], ratio in [0, 1) -> the expected squared error, a sum over the d values.

    `patch_index` is the patch in which each flattened value lies (`patches.patch_of_pixel`). One product with the
    Jacobian for each patch.
    """
    x, q, patch_index = image.flatten(), 1 - ratio, patch_index.to(image.device)
    value, pull = linearised(f, q * image if about == "mean" else image)
    patches = torch.arange(int(patch_index.max()) + 1, device=x.device)
    moved = along_each(transposed(pull, value), lambda patch: x * (patch_index == patch), patches, memory)  # J_p x_p
    left = x - value if about == "mean" else x - value + ratio * moved.sum(0)
    return float(left.square().sum() + q * ratio * moved.square().sum())


@torch.no_grad()
def monte_carlo(
    f: Images, image: Tensor, patch_index: Tensor, ratio: float, draws: int, rng: Generator
) -> tuple[float, float]:
    """image [C, H, W], patch_index int64 [d], ratio in [0, 1) -> mean of ||x - f(R x)||^2, and its standard error.

    Each of the masks hides each patch by itself. f must treat the images of a batch one by one. Raises ValueError for
    fewer than 2 draws.
    """
    if draws < 2:
        raise ValueError(f"{draws} draws have no standard error; ask for at least 2")
    patches, losses = int(patch_index.max()) + 1, []
    for start in range(0, draws, BATCH):
        seen = torch.rand(min(BATCH, draws - start), patches, generator=rng) >= ratio
        masks = seen.to(image.device)[:, patch_index].view(-1, *image.shape)
        losses.append((image - f(image * masks)).flatten(1).square().sum(1).double())
    every = torch.cat(losses)
    return float(every.mean()), float(every.std() / draws**0.5)
