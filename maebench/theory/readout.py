"""How well the best linear read-out of a linear code finds a linear target, exactly, from moments alone."""

import torch
from torch import Tensor


def variance(target: Tensor, test: tuple[Tensor, Tensor]) -> Tensor:
    """Target map [T, d], mean [d] and covariance [d, d] of test -> [T], the variance of each target on test."""
    return (target @ test[1] * target).sum(1)


def explained(encoder: Tensor, target: Tensor, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> Tensor:
    """Encoder [k, d], target map [T, d] -> [T], what a read-out takes off the variance of each target on test.

    Images are given by mean m and covariance C, `(m, C)` as in `batches.moments`, float64. The read-out is the
    least-squares one of train, W = G C E' (E C E')^-1 and an intercept, E the encoder and G the target map; on test
    its error is (G - W E)(x - m_train). Ours.
    """
    (mean, C), (test_mean, test_C) = train, test
    code, test_code = encoder @ C, encoder @ test_C
    weight = target @ code.T @ torch.linalg.pinv(code @ encoder.T, hermitian=True)
    shift = test_mean - mean
    bias = target @ shift - weight @ (encoder @ shift)
    # (G - W E) C (G - W E)' less G C G', multiplied out, as a matrix of [T, d] times C would take most of the time
    gain: Tensor = (weight * (2 * target @ test_code.T - weight @ (test_code @ encoder.T))).sum(1) - bias.square()
    return gain
