"""The linear probe of the MAE paper: features batch-normalised without weights, then a linear layer trained by SGD."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from maebench.seeding import number
from maebench.tasks.readouts.descent import descend
from maebench.training.batches import indices
from maebench.training.budget import peak_rate
from maebench.training.optimiser import learning_rates

EPS = 1e-6  # added to the variance; He et al. 2022 (MAE), as are the next two
MOMENTUM = 0.9
WARMUP = 10 / 90  # share of the steps


@dataclass(frozen=True)
class BatchNormLinear:
    """The class of the largest logit, by the running mean and variance of train."""

    classes: Tensor
    """int64 [K], the labels that train has"""
    model: nn.Sequential

    @torch.inference_mode()
    def __call__(self, features: Tensor) -> Tensor:
        """[N, D] -> int64 [N], labels."""
        return self.classes[self.model(features).argmax(1)]


def fit(features: Tensor, labels: Tensor, seed: int, epochs: int, batch: int, base_lr: float) -> BatchNormLinear:
    """features [N, D], N > 1, labels int64 [N] -> the classifier after the last step; no choice is made on val.

    Batch statistics while it trains, no weight decay, linear warm-up, cosine. Source: He et al. 2022 (MAE), Table 10.
    Ours: SGD in place of LARS, which is for batches of thousands; weights start at 0, as the loss is convex.
    Raises ArithmeticError when the loss is not finite.
    """
    classes, wanted = torch.unique(labels, return_inverse=True)
    head = nn.Linear(features.shape[1], len(classes), device="meta").to_empty(device="cpu")  # draws no default weights
    for weight in head.parameters():
        nn.init.zeros_(weight)
    model = nn.Sequential(nn.BatchNorm1d(features.shape[1], eps=EPS, affine=False), head)
    batch = min(batch, len(features))
    order = indices(len(features), batch, number(seed, "batchnorm"))

    def loss_of() -> Tensor:
        rows = next(order)
        return functional.cross_entropy(model(features[rows]), wanted[rows])

    optimiser = torch.optim.SGD([{"params": list(head.parameters()), "share": 1.0}], lr=0.0, momentum=MOMENTUM)
    rates = learning_rates(math.ceil(epochs * len(features) / batch), peak_rate(base_lr, batch), WARMUP)
    descend(loss_of, optimiser, rates)
    return BatchNormLinear(classes, model.eval())
