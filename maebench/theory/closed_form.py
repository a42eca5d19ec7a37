"""The best linear autoencoder in closed form, for clean, noisy or masked input.

One image is a centred vector x [d] with covariance C [d, d] = E[x x']. The model sees x~, x with noise or with hidden
patches set to 0, and returns A x~, where A = decoder @ encoder has rank k and every pixel is scored:

    E ||x - A x~||^2 = tr C - 2 q tr(A C) + tr(A S A'),   E[x~ x'] = q C,   S = E[x~ x~'].

So q and S are all there is to know of a corruption. All tensors are float64 on the CPU.
Source: "From Linearity to Non-Linearity" (arXiv 2508.15404), Eq. 1 and 2, Lemmas 1 and 2, Theorem 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.linalg import eigh
from torch import Tensor

EPS = 1e-10
"""S gets EPS * tr(C) / d on its diagonal before it is inverted, since a constant pixel, or fewer images than d, makes C
singular. Ours: 1e-10 shifts the minimum by less than that share of tr C, and float64 can still factor S."""


@dataclass(frozen=True)
class Law:
    """How patches are hidden: E[x~ x'] = q C and S = shared C + within B, B = C inside each patch and 0 between."""

    q: float
    shared: float
    within: float


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


def independent(ratio: float) -> Law:
    """Each patch hidden by itself with probability `ratio`, in [0, 1). Source: Lemma 1."""
    q = 1 - ratio
    return Law(q, q**2, q * ratio)


def counted(visible: int, patches: int) -> Law:
    """Exactly `visible` >= 1 of the patches seen, each set of them as likely.

    Ours: the paper treats independent patches; here two are both seen with probability v (v - 1) / (N (N - 1)).
    """
    q = visible / patches
    pair = (visible - 1) / max(1, patches - 1)  # of one patch, given another; a lone patch has no pair
    return Law(q, q * pair, q * (1 - pair))


def masked(C: Tensor, patch_index: Tensor, law: Law) -> Corruption:
    """Covariance [d, d] -> patches hidden by a law; `patch_index` int64 [d] (`patches.patch_of_pixel`) has them."""
    return Corruption(law.q, law.shared * C + law.within * block_diagonal(C, patch_index))


def bernoulli(C: Tensor, patch_index: Tensor, ratio: float) -> Corruption:
    """Covariance [d, d] -> each patch hidden by itself with probability `ratio`."""
    return masked(C, patch_index, independent(ratio))


def fixed_count(C: Tensor, patch_index: Tensor, visible: int) -> Corruption:
    """Covariance [d, d] -> exactly `visible` >= 1 patches seen."""
    return masked(C, patch_index, counted(visible, int(patch_index.max()) + 1))


def block_diagonal(C: Tensor, patch_index: Tensor) -> Tensor:
    """Covariance [d, d], patch_index int64 [d] -> B [d, d]: C inside each patch, 0 between patches."""
    return C * (patch_index[:, None] == patch_index[None, :])


def loss(A: Tensor, C: Tensor, corruption: Corruption) -> float:
    """E ||x - A x~||^2 of any linear map A [d, d], a sum over the d values of an image."""
    S = corruption.second_moment
    return float(C.trace() - 2 * corruption.q * (A * C).sum() + (A @ S * A).sum())


def optimum(C: Tensor, corruption: Corruption, k: int) -> Optimum:
    """Covariance [d, d] -> the best encoder and decoder of rank k <= d: the critical point of the first k eigenvectors.

    Source: Theorem 1. Raises ValueError where C is zero or not finite.
    """
    return critical_point(C, corruption, range(k))


def critical_point(C: Tensor, corruption: Corruption, chosen: Sequence[int]) -> Optimum:
    """Covariance [d, d] -> encoder and decoder where the gradient is zero, for k eigenvectors of M, the strongest is 0.

    M = q^2 C S^-1 C; U = the chosen eigenvectors; decoder = U T^-1, encoder = T U' q C S^-1; the loss is tr C less the
    k eigenvalues. Every critical point of full rank is one of these, and only the first k are a minimum.
    Source: Lemma 2 and Theorem 1, which leave T free. Ours: T = I, so that a code is in pixel units, the encoder of
    the autoencoder is the transpose of its decoder, and no direction is blown up by a small eigenvalue.
    Raises ValueError where C is zero or not finite.
    """
    d, last = len(C), max(chosen)
    ridge = ridge_of(C)
    factor = torch.linalg.cholesky(corruption.second_moment + ridge * torch.eye(d, dtype=C.dtype))
    half = corruption.q * torch.linalg.solve_triangular(factor, C, upper=False)
    # Only the top ones are computed: at d = 3072 that takes two fifths of the time of a full decomposition.
    values, vectors = eigh((half.T @ half).numpy(), subset_by_index=(d - 1 - last, d - 1), check_finite=False)
    places = [last - one for one in chosen]
    U = torch.from_numpy(vectors[:, places])
    encoder = corruption.q * torch.cholesky_solve(C @ U, factor).T
    # The eigenvalues are those of the ridged problem, whose loss has ridge * ||A||^2 = ridge * ||encoder||^2 on top.
    gained = float(values[places].sum()) + ridge * float(encoder.square().sum())
    return Optimum(encoder, U, float(C.trace()) - gained)


def full_rank(C: Tensor, corruption: Corruption) -> Tensor:
    """Covariance [d, d] -> the best linear map without a bottleneck, q C S^-1 [d, d]: the optimum for k = d.

    Raises ValueError where C is zero or not finite.
    """
    S = corruption.second_moment + ridge_of(C) * torch.eye(len(C), dtype=C.dtype)
    return corruption.q * torch.cholesky_solve(C, torch.linalg.cholesky(S)).T


def ridge_of(C: Tensor) -> float:
    """Covariance [d, d] -> EPS * tr(C) / d. Raises ValueError where C is zero or not finite."""
    total = float(C.trace())
    if not 0 < total < torch.inf:
        raise ValueError(f"the total variance of the images is {total:g}; a linear model needs images that vary")
    return EPS * total / len(C)


def masked_only(C: Tensor, patch_index: Tensor, others: Law, hidden: float) -> tuple[Tensor, float]:
    """Covariance [d, d] -> the best W [d, d] that fills each patch in from the others, and its loss on hidden patches.

    Of full rank; `others` is how the other patches are hidden when one is, and `hidden` the probability that one is:
    `independent(m)` and m, or `counted(v, N - 1)` and 1 - v / N. Patch j is filled in by q C_jo S_oo^-1, o = the other
    patches. One inverse P = S^-1 serves all j: W = q (C P - blkdiag(C P) blkdiag(P)^-1 P), 0 within each patch. The
    loss is the expected squared error of the hidden pixels, a sum over an image. Ours: the paper scores every pixel.
    Raises ValueError where C is zero or not finite.
    """
    S = masked(C, patch_index, others).second_moment
    P = torch.linalg.inv(S + ridge_of(C) * torch.eye(len(C), dtype=C.dtype))
    CP = C @ P
    within = torch.linalg.solve(block_diagonal(P, patch_index), block_diagonal(CP, patch_index), left=False)
    W = others.q * (CP - within @ P)
    return W, hidden * float(C.trace() - others.q * (W * C).sum())
