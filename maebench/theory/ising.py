"""The one-dimensional Ising chain: data with a known correlation, on which a linear model's features can be read.

d spins of -1 or 1 in a row with open ends, of probability proportional to exp(J sum_i s_i s_(i+1)), J the coupling.
Source: "From Linearity to Non-Linearity" (arXiv 2508.15404), section 3 and Figure 4.
"""

import math

import torch
from torch import Generator, Tensor


def correlation(d: int, coupling: float) -> Tensor:
    """E[s_i s_j] = tanh(J)^|i - j|, float64 [d, d]; also the covariance, since the mean of a spin is 0.

    Source: the paper takes it as the limit of a long chain. With open ends it is exact for every d.
    """
    place = torch.arange(d, dtype=torch.float64)
    return math.tanh(coupling) ** (place[:, None] - place).abs()


def samples(count: int, d: int, coupling: float, rng: Generator) -> Tensor:
    """Independent chains, float32 [count, d] of -1 and 1, exactly of the distribution.

    An open chain is a Markov chain: the first spin is fair, and each next one equals the one before it with probability
    1 / (1 + exp(-2 J)), whatever the others are; so the spins are the running product of independent signs.
    """
    equal = torch.full((d,), 2 * coupling, dtype=torch.float64).sigmoid()
    equal[0] = 0.5
    draws = torch.rand(count, d, generator=rng, dtype=torch.float64)
    return torch.where(draws < equal, 1.0, -1.0).cumprod(1)


def boundary_ratio(encoder: Tensor, patch: int) -> float:
    """Encoder [k, d] -> its mean weight on spins next to another patch over that on spins inside a patch.

    The rows are made orthonormal first, since an optimal encoder is known only up to an invertible matrix T on its
    left; the weight of a spin is then the norm of its column. Patches are of `patch` spins in a row. The two ends of
    the chain border on no other patch and are left out. Ours: the paper shows the weights and no number.
    Raises ValueError where there is no border between patches, or no spin inside one.
    """
    d = encoder.shape[1]
    if d % patch or not 2 < patch < d:
        raise ValueError(f"patch {patch} on a chain of {d} spins: it must divide {d}, be at least 3 and less than {d}")
    weight = torch.linalg.qr(encoder.T).Q.norm(dim=1)[1:-1]
    place = torch.arange(1, d - 1) % patch
    border = (place == 0) | (place == patch - 1)
    return float(weight[border].mean() / weight[~border].mean())
