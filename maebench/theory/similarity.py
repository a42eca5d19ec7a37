"""How alike two representations of the same images are, and how many directions one of them uses.

Axes: N images, D features. Features are centred over the images here, and computed with in float64.
"""

import math

import torch
from torch import Tensor


def linear_cka(X: Tensor, Y: Tensor) -> float:
    """Features X [N, D1] and Y [N, D2] of the same N images, in one order -> their linear CKA in [0, 1].

    ||X' Y||^2 / (||X' X|| ||Y' Y||) in Frobenius norms. Rotating or scaling the whole of one changes nothing.
    It is computed from N x N Gram matrices only where a D is above N. Independent features are near 0 for many images
    only: for few, the value is of the order of D / N. Source: Kornblith et al. 2019, "Similarity of Neural Network
    Representations Revisited". Raises ValueError where all images have the same features.
    """
    X, Y = _centred(X), _centred(Y)
    if max(X.shape[1], Y.shape[1]) > len(X):
        K, L = X @ X.T, Y @ Y.T
        return float((K * L).sum() / (K.norm() * L.norm()))
    return float((X.T @ Y).norm() ** 2 / ((X.T @ X).norm() * (Y.T @ Y).norm()))


def effective_rank(X: Tensor) -> float:
    """Features X [N, D] -> exp of the entropy of the normalised singular values, from 1 to the rank of the centred X.

    Source: Roy and Vetterli 2007, "The effective rank: a measure of effective dimensionality". Ours: X is centred
    first, so that a large mean does not count as a direction. Raises ValueError where all images have equal features.
    """
    values = torch.linalg.svdvals(_centred(X))
    return math.exp(float(torch.special.entr(values / values.sum()).sum()))


def _centred(X: Tensor) -> Tensor:
    """Features [N, D] -> float64 [N, D] with a mean of 0 over the rows."""
    X = X.double()
    X = X - X[0]  # a constant feature becomes exactly 0, and no large offset takes digits from the mean
    if not X.any():
        raise ValueError(f"all {len(X)} rows of the features are equal; compare features that differ between images")
    return X - X.mean(0)
