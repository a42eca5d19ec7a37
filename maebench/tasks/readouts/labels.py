"""What tasks of class labels share: accuracy in per cent, that of each image, and what it is worth."""

import torch
from torch import Tensor


def right(guess: Tensor, labels: Tensor) -> Tensor:
    """guess [N, ...] and labels [N] -> float64, 100 where they agree, 0 where not, of the guess's shape."""
    return 100 * (guess == labels.view(-1, *[1] * (guess.ndim - 1))).double()


def limits(labels: Tensor) -> dict[str, float]:
    """labels [N] -> "top1@floor", what always naming the most frequent class would score, and "top1@ceiling"."""
    most = int(torch.unique(labels, return_counts=True)[1].max())
    return {"top1@floor": 100 * most / len(labels), "top1@ceiling": 100.0}


def measure(guess: Tensor, targets: dict[str, Tensor]) -> dict[str, float]:
    """guess [N] and targets["label"] [N] -> the share that agrees, in per cent, with its `limits`."""
    labels = targets["label"]
    return {"top1": float(right(guess, labels).mean()), **limits(labels)}
