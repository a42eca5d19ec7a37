"""Ridge regression in closed form from sums over rows, with a penalty per output chosen on validation rows."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Rows = Callable[[], Iterable[tuple[Tensor, Tensor]]]
"""Gives the rows chunk by chunk, from the start at every call: features [R, D], targets [R, O], NaN = unknown."""

PENALTIES = (10.0, 1.0, 0.1, 0.01, 1e-3, 1e-4)  # Ours: on each side of what pixels and codes choose; per row
TOLERANCE = 1e-4  # Ours: error left where targets are unknown, as a share of the first; far below what a probe resolves
STEPS = 200  # Ours: conjugate gradients stop here at the latest; with a fifth unknown they need about 5
CONSTANT = 1e-6  # a feature whose sd is a smaller share of its mean is rounding noise of float32
ROUNDING = torch.finfo(torch.float32).eps  # of a sum of products, as a share of all that is added up


@dataclass(frozen=True)
class Affine:
    """The read-out (features - centre) @ weight + bias: centre [D], weight [D, O], bias [O]; penalty [O] was chosen."""

    centre: Tensor
    weight: Tensor
    bias: Tensor
    penalty: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """[R, D] -> [R, O], float32."""
        return torch.addmm(self.bias, features - self.centre, self.weight)


class Sums:
    """What a fit needs to know of its rows, in float64, with unknown targets counted as 0."""

    def __init__(self, inputs: int, outputs: int) -> None:
        self.rows = 0
        self.x = torch.zeros(inputs, dtype=torch.float64)
        self.y = torch.zeros(outputs, dtype=torch.float64)
        self.xx = torch.zeros(inputs, inputs, dtype=torch.float64)
        self.xy = torch.zeros(inputs, outputs, dtype=torch.float64)
        self.gaps = torch.zeros(outputs, dtype=torch.bool)
        """[O], True where the output is unknown in some row"""

    def add(self, features: Tensor, targets: Tensor) -> None:
        """Count further rows: features [R, D], targets [R, O], NaN = unknown."""
        x, y = features.double(), targets.nan_to_num().double()
        self.rows += len(x)
        self.x += x.sum(0)
        self.y += y.sum(0)
        self.xx.addmm_(x.T, x)
        self.xy.addmm_(x.T, y)
        self.gaps |= targets.isnan().any(0)


def accumulate(rows: Iterable[tuple[Tensor, Tensor]]) -> Sums:
    """Add up chunks of rows, one of them in memory at a time. Raises ValueError where there are none."""
    total: Sums | None = None
    for features, targets in rows:
        total = total or Sums(features.shape[1], targets.shape[1])
        total.add(features, targets)
    if total is None:
        raise ValueError("a read-out needs at least one image to be fitted on; the train split has none")
    return total


def inverse_sd(mean: Tensor, variance: Tensor) -> Tensor:
    """Mean and variance of features [D] -> 1 / sd [D], or 0 for a constant feature, which leaves it out.

    Constant is what varies by less than float32 rounds, either its own mean or, Ours, a sum over all the features: as
    much as ROUNDING times the root of the sum of their variances. A code of k values of fewer than k images has such
    features; they are near 0 on these images, so their own mean does not tell, and a million sd from it on others.
    In linear codes of scenes and of noise such features had up to 0.6 of that, all others over 10,000 times as much.
    """
    sd = variance.sqrt()
    sd = sd.masked_fill(sd <= CONSTANT * mean.abs(), 0)
    return variance.rsqrt().masked_fill(sd <= ROUNDING * sd.norm(), 0)


def fit(train: Rows, val: Rows, penalties: Sequence[float] = PENALTIES) -> Affine:
    """The ridge read-out of standardised features: for each output the penalty with the least validation error.

    For each output, over the n rows and those of them where it is known, it minimises
    sum (y - w.z - b)^2 + n * penalty * |w|^2, z = the features with mean 0 and sd 1 on train, constant ones left out.
    Penalties are tried from the strongest on, until one helps no output; of equals the stronger one is kept. Unknown
    targets are left out exactly, by conjugate gradients.
    Ours: the penalties, and that each output chooses its own (it makes the units of the targets irrelevant).
    """
    sums = accumulate(train())
    system = _Standardised(sums)
    least = torch.full_like(sums.y, torch.inf)
    weight, chosen = torch.zeros_like(system.xy), torch.full_like(sums.y, max(penalties))
    for penalty in sorted(penalties, reverse=True):
        candidate = _solve(system, train, penalty)
        error = _error(val, system.affine(candidate, chosen))
        better = error < least
        if not better.any():
            break
        weight[:, better], least[better], chosen[better] = candidate[:, better], error[better], penalty
    return system.affine(weight, chosen)


class _Standardised:
    """The normal equations of standardised features and, last, a constant that carries the bias."""

    def __init__(self, sums: Sums) -> None:
        self.rows, self.gaps, self.centre = sums.rows, sums.gaps, sums.x / sums.rows
        self.scale = inverse_sd(self.centre, (sums.xx.diagonal() / sums.rows - self.centre**2).clamp(min=0))
        self.xx = sums.xx.addr(sums.x, -self.centre).mul_(self.scale).mul_(self.scale[:, None])
        self.xy = torch.cat([(sums.xy - torch.outer(self.centre, sums.y)) * self.scale[:, None], sums.y[None]])

    def affine(self, weight: Tensor, penalty: Tensor) -> Affine:
        """weight [D + 1, O] for standardised features and the constant -> the same for features as they come."""
        raw = weight[:-1] * self.scale[:, None]
        return Affine(self.centre.float(), raw.float(), weight[-1].float(), penalty.clone())


def _solve(system: _Standardised, train: Rows, penalty: float) -> Tensor:
    """-> weight [D + 1, O]."""
    damped = system.xx.clone()
    damped.diagonal().add_(system.rows * penalty)
    factor = torch.linalg.cholesky(damped)

    def direct(right: Tensor) -> Tensor:
        return torch.cat([torch.cholesky_solve(right[:-1], factor), right[-1:] / system.rows])

    weight = direct(system.xy)
    if system.gaps.any():
        right = system.xy[:, system.gaps]
        weight[:, system.gaps] = conjugate_gradients(
            lambda w: _normal(system, train, penalty, w), direct, right, weight[:, system.gaps]
        )
    return weight


def _normal(system: _Standardised, train: Rows, penalty: float, weight: Tensor) -> Tensor:
    """The normal equations of the known targets applied to weight [D + 1, G], G = the outputs with gaps."""
    raw = system.affine(weight, weight[0])
    total = torch.zeros_like(weight)
    for features, targets in train():
        known = raw(features).masked_fill_(targets[:, system.gaps].isnan(), 0)
        total[:-1] += (features - raw.centre).T @ known
        total[-1] += known.sum(0)
    total[:-1] = total[:-1] * system.scale[:, None] + system.rows * penalty * weight[:-1]
    return total


def conjugate_gradients(
    apply: Callable[[Tensor], Tensor], precondition: Callable[[Tensor], Tensor], right: Tensor, start: Tensor
) -> Tensor:
    """Solve apply(w) = right for each column, from the solution of the same rows with their gaps filled with 0."""
    weight, residual = start.clone(), right - apply(start)
    better = precondition(residual)
    direction, size = better, (residual * better).sum(0)
    enough = TOLERANCE**2 * (right * start).sum(0)
    for _ in range(STEPS):
        if (size <= enough).all():
            break
        image = apply(direction)
        step = (size / (direction * image).sum(0)).nan_to_num(0, 0, 0)
        weight += step * direction
        residual -= step * image
        better = precondition(residual)
        size, before = (residual * better).sum(0), size
        direction = better + (size / before).nan_to_num(0, 0, 0) * direction
    return weight


def _error(val: Rows, affine: Affine) -> Tensor:
    """Squared error of each output [O], summed over the rows where it is known."""
    parts = [(affine(x) - y).masked_fill_(y.isnan(), 0).square().sum(0, dtype=torch.float64) for x, y in val()]
    return torch.stack(parts).sum(0)
