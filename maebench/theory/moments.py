"""Exact mean and covariance of uint8 images."""

import torch
from torch import Tensor

from maebench.contracts import CENTRE, SPREAD


def moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """uint8 [N, C, H, W] -> mean [d] and covariance [d, d] of the standardised images, float64, d = C*H*W.

    One pass. Sums of 1024 products of (value - 128) stay within 2**24, so float32 products are exact and float64 adds
    them: the result is that of exact sums, rounded. It takes 12 bytes d^2 of memory, and as much again at the end.
    """
    flat = images.flatten(1)
    d, device = flat.shape[1], flat.device
    total = torch.zeros(d, dtype=torch.float64, device=device)
    products = torch.zeros(d, d, dtype=torch.float64, device=device)
    for start in range(0, len(flat), 1024):
        shifted = flat[start : start + 1024].float() - 128
        total += shifted.sum(0)
        for left in range(0, d, 1024):  # below the diagonal only: the rest is its mirror image
            products[left:, left : left + 1024] += shifted[:, left:].T @ shifted[:, left : left + 1024]
    mean, scale = total / len(flat), 1 / (255 * SPREAD)
    products = products.tril_() + products.tril(-1).T
    covariance = products.div_(len(flat)).addr_(mean, mean, alpha=-1).mul_(scale**2)
    return (mean + 128) * scale - CENTRE / SPREAD, covariance
