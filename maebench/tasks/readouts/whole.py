"""The whole flattened feature map by its principal components: the one read-out of every encoder.

Features are centred, not scaled, so that a rotation of them changes nothing, and a code of k values is read just as the
first k components of a richer one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from maebench.contracts import Encode, Split
from maebench.tasks.readouts.dense import chunks
from maebench.tasks.readouts.ridge import conjugate_gradients

PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)  # Ours: of the variance read; maps choose from 1e-3 on
DOUBLE = 1024  # Ours: up to so many components are found in float64, as then it costs next to nothing
NOISE = {
    torch.float64: 1e-11,
    torch.float32: 1e-6,
}  # of the largest variance: less is rounding, of features or products


@dataclass(frozen=True)
class Components:
    """Principal components of feature maps, those of the largest variance first. P = D*h*w features, K components."""

    encode: Encode
    centre: Tensor
    """[P], the mean"""
    basis: Tensor
    """[P, K], orthonormal columns"""
    variances: Tensor
    """[K], falling, over the images that the components come from"""

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 images [N, C, H, W] -> [N, K], how much of each component they have."""
        parts = (self.encode(part.images).flatten(1) - self.centre for part in chunks(Split(images)))
        return torch.cat([part @ self.basis for part in parts])

    def up_to(self, ks: Sequence[int | None]) -> "Components":
        """As many of them, from the first on, as the largest of ks asks for (None: all)."""
        counts = [len(self.variances) if k is None else k for k in ks]
        return replace(self, basis=self.basis[:, : max(counts)], variances=self.variances[: max(counts)])


Whole = Callable[[Tensor], Components]
"""uint8 images [N, C, H, W] -> the components of their feature maps; worked out once for the same images."""


def remembered(encode: Encode) -> Whole:
    """`components` of an encoder that remembers its answers, for tasks that are fitted on the same images."""
    known: dict[tuple[int, tuple[int, ...], int], tuple[Tensor, Components]] = {}

    def whole(images: Tensor) -> Components:
        key = (images.data_ptr(), tuple(images.shape), images._version)
        if key not in known:
            known[key] = images, components(encode, images)  # the images too, so that their address is not used again
        return known[key][1]

    return whole


def components(encode: Encode, images: Tensor) -> Components:
    """All components of the feature maps of uint8 images [N, C, H, W], at most N - 1 and P of them.

    By the smaller of two eigenproblems: the covariance [P, P], or the inner products of the images [N, N]. At no time
    are there more than two chunks of features in memory beside that matrix and the basis.
    """
    parts = list(chunks(Split(images)))
    first = encode(parts[0].images).flatten(1)
    centre = torch.zeros(first.shape[1], dtype=torch.float64)
    for part in parts:
        centre += encode(part.images).flatten(1).sum(0, dtype=torch.float64) / len(images)
    mean = centre.float()

    def centred(number: int) -> Tensor:
        return encode(parts[number].images).flatten(1) - mean

    if len(mean) <= len(images):
        second = torch.zeros(len(mean), len(mean), dtype=torch.float64)
        for number in range(len(parts)):
            rows = _precise(centred(number), len(mean))
            second += rows.T @ rows
        values, basis = _eigen(_precise(second, len(mean)))
    else:
        values, vectors = _eigen(_inner(lambda number: _precise(centred(number), len(images)), len(parts)))
        basis = torch.zeros(len(mean), len(values))
        for number, rows in enumerate(torch.split(vectors, [len(part.images) for part in parts])):
            basis.addmm_(centred(number).T, rows)
        basis /= values.sqrt()
    return Components(encode, mean, basis, values / len(images))


def _precise(rows: Tensor, size: int) -> Tensor:
    """In float64 where the eigenproblem [size, size] is small, else in float32."""
    return rows.double() if size <= DOUBLE else rows.float()


def _inner(centred: Callable[[int], Tensor], count: int) -> Tensor:
    """Inner products [N, N] of the centred features of `count` chunks, each pair of chunks once."""
    blocks: list[list[Tensor]] = []
    for row in range(count):
        here = centred(row)
        blocks.append([here @ (here if column == row else centred(column)).T for column in range(row + 1)])
    full = [
        torch.cat(
            [
                blocks[max(row, column)][min(row, column)].T if column > row else blocks[row][column]
                for column in range(count)
            ],
            1,
        )
        for row in range(count)
    ]
    return torch.cat(full)


def _eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues [K], falling, above the noise, and their vectors [n, K], of a symmetric matrix [n, n]."""
    values, vectors = (part.flip(-1) for part in torch.linalg.eigh(matrix))
    count = int((values > NOISE[matrix.dtype] * values[0]).sum()) if values[0] > 0 else 0
    return values[:count].float(), vectors[:, :count].float().contiguous()


@dataclass(frozen=True)
class Reading:
    """One ridge read-out of the first k components: scores[:, :k] @ weight + bias."""

    weight: Tensor
    """[k, O]"""
    bias: Tensor
    """[O]"""
    penalty: Tensor
    """[O], as chosen"""

    def __call__(self, scores: Tensor) -> Tensor:
        """[N, K] -> [N, O]."""
        return torch.addmm(self.bias, scores[:, : len(self.weight)], self.weight)


def read(
    found: Components,
    train: tuple[Tensor, Tensor],
    val: tuple[Tensor, Tensor],
    ks: Sequence[int | None],
    penalties: Sequence[float] = PENALTIES,
) -> list[Reading]:
    """For each k (None: all) the ridge read-out of the first k components, penalty of each output chosen on val.

    train, val: images [N, C, H, W] and targets [N, O], NaN = unknown. For each output, over the n images, those
    of them where it is known, it minimises sum (y - w.z - b)^2 + n * penalty * v * |w|^2, v = the variance of the first
    k components together. Penalties are tried from the strongest on, for each output until one helps it no more. Ours:
    the penalties, and that each output chooses its own.
    """
    (train_images, targets), (val_images, wanted) = train, val
    scores, val_scores = found(train_images), found(val_images)
    problem = _Problem(scores, targets, found.variances)
    counts = [len(found.variances) if k is None else min(k, len(found.variances)) for k in ks]
    by_count = {count: _chosen(problem, count, val_scores, wanted, penalties) for count in sorted(set(counts))}
    return [by_count[count] for count in counts]


def _chosen(problem: "_Problem", count: int, val_scores: Tensor, wanted: Tensor, penalties: Sequence[float]) -> Reading:
    """The read-out of the first `count` components; an output is solved until a weaker penalty helps it no more."""
    most, outputs = max(penalties), problem.mean.shape[0]
    weight, bias = torch.zeros(count, outputs), torch.zeros(outputs)
    chosen, least = torch.full((outputs,), most), torch.full((outputs,), torch.inf)
    left = torch.arange(outputs)
    for penalty in sorted(penalties, reverse=True):
        one = problem.solve(count, penalty, left, weight[:, left])
        error = (one(val_scores) - wanted[:, left]).square().nansum(0)
        better = error < least[left]
        left, error = left[better], error[better]
        weight[:, left], bias[left] = one.weight[:, better], one.bias[better]
        chosen[left], least[left] = penalty, error
        if not len(left):
            break
    return Reading(weight, bias, chosen)


class _Problem:
    """Scores [N, K] and targets [N, O], and the products of the two that every penalty needs."""

    def __init__(self, scores: Tensor, targets: Tensor, variances: Tensor) -> None:
        self.variances, self.unknown = variances, targets.isnan()
        self.gaps = self.unknown.any(0)
        self.mean = targets.nanmean(0).nan_to_num(0)
        self.filled = (targets - self.mean).nan_to_num(0)
        self.scores = scores
        self.product = scores.T @ self.filled / len(scores)

    def solve(self, count: int, penalty: float, outputs: Tensor, start: Tensor) -> Reading:
        """The read-out of the first `count` components to these outputs, int64 [G], at one penalty.

        `start` [count, G] is a weight to begin with where targets are unknown.
        """
        variances = self.variances[:count, None]
        damping = penalty * variances.sum()
        weight, bias = self.product[:count, outputs] / (variances + damping), self.mean[outputs].clone()
        gaps = self.gaps[outputs]
        if gaps.any() and count:
            begin = start[:, gaps] if start.any() else weight[:, gaps]
            weight[:, gaps], shift = self._with_gaps(outputs[gaps], begin, variances, damping)
            bias[gaps] += shift
        return Reading(weight, bias, torch.full_like(bias, penalty))

    def _with_gaps(self, outputs: Tensor, start: Tensor, variances: Tensor, damping: Tensor) -> tuple[Tensor, Tensor]:
        """weight [k, G], bias [G] of outputs with gaps, unknown targets left out, from `start` on."""
        count, rows = len(start), len(self.scores)
        scores, unknown = self.scores[:, :count], self.unknown[:, outputs]
        filled = self.filled[:, outputs]
        product = torch.cat([self.product[:count, outputs], filled.mean(0, keepdim=True)])

        def normal(w: Tensor) -> Tensor:
            fitted = torch.addmm(w[-1], scores, w[:-1]).masked_fill_(unknown, 0)
            return torch.cat([scores.T @ fitted / rows + damping * w[:-1], fitted.mean(0, keepdim=True)])

        def nearly(right: Tensor) -> Tensor:
            return torch.cat([right[:-1] / (variances + damping), right[-1:]])

        found = conjugate_gradients(normal, nearly, product, torch.cat([start, torch.zeros_like(start[:1])]))
        return found[:-1], found[-1]
