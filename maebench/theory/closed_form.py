"""The best linear autoencoder in closed form, for clean, noisy or masked input.

One image is a centred vector x [d] with covariance C [d, d] = E[x x']. The model sees x~, x with noise or with hidden
patches set to 0, and returns A x~, where A = decoder @ encoder has rank k and every pixel is scored:

    E ||x - A x~||^2 = tr C - 2 q tr(A C) + tr(A S A'),   E[x~ x'] = q C,   S = E[x~ x~'].

So q and S are all there is to know of a corruption. All tensors are float64 on the CPU.
Source: "From Linearity to Non-Linearity" (arXiv 2508.15404), Eq. 1 and 2, Lemma 1, Theorem 1.
"""

from dataclasses import dataclass

import torch
from scipy.linalg import eigh
from torch import Tensor

EPS = 1e-10
"""S gets EPS * tr(C) / d on its diagonal before it is inverted, since a constant pixel, or fewer images than d, makes C
singular. Ours: 1e-10 shifts the minimum by less than that share of tr C, and float64 can still factor S."""


@dataclass(frozen=True)
class Corruption:
    """What the loss needs to know of how x becomes x~."""

    q: float
    """E[x~ x'] = q C"""
    second_moment: Tensor
    """S = E[x~ x~'] [d, d]"""


@dataclass(frozen=True)
class Optimum:
    """The best model of rank k."""

    encoder: Tensor
    """[k, d], the strongest direction first"""
    decoder: Tensor
    """[d, k], orthonormal columns"""
    loss: float
    """the minimum of E ||x - A x~||^2, a sum over the d values of an image"""


def clean(C: Tensor) -> Corruption:
    """Covariance [d, d] -> nothing changed: the autoencoder, which is PCA."""
    return Corruption(1.0, C)


def noisy(C: Tensor, sigma: float) -> Corruption:
    """Covariance [d, d] -> white noise of standard deviation sigma, in pixel units: the denoising autoencoder."""
    return Corruption(1.0, C + sigma**2 * torch.eye(len(C), dtype=C.dtype))


def bernoulli(C: Tensor, patch_index: Tensor, ratio: float) -> Corruption:
    """Covariance [d, d] -> each patch hidden by itself with probability `ratio`, in [0, 1).

    `patch_index` int64 [d] is the patch in which each value lies (`patches.patch_of_pixel`). Source: Lemma 1.
    """
    q = 1 - ratio
    return Corruption(q, q**2 * C + q * ratio * block_diagonal(C, patch_index))


def fixed_count(C: Tensor, patch_index: Tensor, visible: int) -> Corruption:
    """Covariance [d, d] -> exactly `visible` >= 1 patches seen, each set of them as likely.

    `patch_index` int64 [d] is the patch in which each value lies. Ours: the paper treats independent patches; here two
    patches are both seen with probability v (v - 1) / (N (N - 1)) for v of N.
    """
    patches = int(patch_index.max()) + 1
    q = visible / patches
    pair = (visible - 1) / max(1, patches - 1)  # of one patch, given another; a lone patch has no pair
    return Corruption(q, q * (pair * C + (1 - pair) * block_diagonal(C, patch_index)))


def block_diagonal(C: Tensor, patch_index: Tensor) -> Tensor:
    """Covariance [d, d], patch_index int64 [d] -> B [d, d]: C inside each patch, 0 between patches."""
    return C * (patch_index[:, None] == patch_index[None, :])


def loss(A: Tensor, C: Tensor, corruption: Corruption) -> float:
    """E ||x - A x~||^2 of any linear map A [d, d], a sum over the d values of an image."""
    S = corruption.second_moment
    return float(C.trace() - 2 * corruption.q * (A * C).sum() + (A @ S * A).sum())


def optimum(C: Tensor, corruption: Corruption, k: int) -> Optimum:
    """Covariance [d, d] -> the best encoder and decoder of rank k <= d.

    U = top-k eigenvectors of M = q^2 C S^-1 C; decoder = U T^-1, encoder = T U' q C S^-1; the minimum is tr C less the
    k eigenvalues. Source: Theorem 1, which leaves T free. Ours: T = I, so that a code is in pixel units, the encoder of
    the autoencoder is the transpose of its decoder, and no direction is blown up by a small eigenvalue.
    Raises ValueError where C is zero or not finite.
    """
    d, total = len(C), C.trace()
    if not 0 < total < torch.inf:
        raise ValueError(f"the total variance of the images is {float(total):g}; a linear model needs images that vary")
    ridge = EPS * float(total) / d
    factor = torch.linalg.cholesky(corruption.second_moment + ridge * torch.eye(d, dtype=C.dtype))
    half = corruption.q * torch.linalg.solve_triangular(factor, C, upper=False)
    # Only the top k are computed: at d = 3072 that takes two fifths of the time of a full decomposition.
    values, vectors = eigh((half.T @ half).numpy(), subset_by_index=(d - k, d - 1), check_finite=False)
    U = torch.from_numpy(vectors).flip(1)
    encoder = corruption.q * torch.cholesky_solve(C @ U, factor).T
    # The eigenvalues are those of the ridged problem, whose loss has ridge * ||A||^2 = ridge * ||encoder||^2 on top.
    return Optimum(encoder, U, float(total) - float(values.sum()) - ridge * float(encoder.square().sum()))
