"""The linear masked autoencoder at many masking ratios, from one eigendecomposition per patch size.

Every law of hiding patches has S = a C + b B (`closed_form.Law`). With B = L L', a Cholesky factor of small blocks, and
L^-1 C L^-T = Q diag(l) Q', S = L Q diag(a l + b) Q' L' for all of them, so that M = q^2 C S^-1 C of `closed_form` is
F diag(q^2 l^2 / (a l + b)) F' with F = L Q. Its top k eigenvectors are found by subspace iteration, which goes on from
those of the law before. All tensors are on the CPU; results are float64.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from maebench.theory.closed_form import EPS, Law, Optimum, ridge_of

SPARE = 0.5  # Ours: directions beyond k that an iteration carries along, as a share of k; they make it converge
STEADY = 1e-3  # Ours: an iteration that changes the captured variance by less, as a share of the rest, is the last
STEPS = 100


@dataclass(frozen=True)
class Axis:
    """A covariance and a patch size, diagonalised. Values are in the order of the patches, as `order` lists them."""

    order: Tensor
    """int64 [d], the values of the first patch, then those of the second ..."""
    blocks: Tensor
    """[N, s, s], the Cholesky factors of the N patches of s values"""
    vectors: Tensor
    """Q [d, d]"""
    values: Tensor
    """l [d]"""
    total: float
    """tr C"""
    ridge: float
    """what was added to the diagonal of B"""

    def optima(self, laws: Iterable[Law], k: int) -> Iterator[Optimum]:
        """The optimum of rank k <= d for each law, as `closed_form.optimum` has it; fastest where neighbours are alike.

        The loss is never below the minimum, and on CIFAR-10 within 1e-6 of it (benchmarks/test_ratio_axis.py): its
        error is the square of that of the directions, which the spare ones keep small.
        """
        start = torch.randn(len(self.order), min(len(self.order), k + round(SPARE * k) + 8), generator=_fixed())
        for law in laws:
            best, start = self._solve(law, k, start)
            yield best

    def _solve(self, law: Law, k: int, start: Tensor) -> tuple[Optimum, Tensor]:
        """Also the subspace that was found, float32 [d, k + spare]: where the next search begins."""
        inverse = 1 / (law.shared * self.values + law.within)
        weights = law.q**2 * self.values**2 * inverse
        basis = self._iterated(weights.float(), start)
        basis, _ = torch.linalg.qr(basis.double())
        image = self.vectors.T @ self._blockwise(self.blocks.mT, basis)  # F' W
        gains, turn = torch.linalg.eigh(image.T @ (weights[:, None] * image))
        basis, image = basis @ turn.flip(1), image @ turn.flip(1)
        lifted = self.vectors @ (law.q * (self.values * inverse)[:, None] * image[:, :k])
        encoder = torch.linalg.solve_triangular(self.blocks.mT, self._split(lifted), upper=True).flatten(0, 1).T
        loss = self.total - float(gains[-k:].sum()) - law.within * self.ridge * float(encoder.square().sum())
        back = self.order.argsort()
        return Optimum(encoder[:, back], basis[back, :k], loss), basis.float()

    def _iterated(self, weights: Tensor, basis: Tensor) -> Tensor:
        """Subspace iteration with M in float32, whose rounding the caller's float64 projection takes out again."""
        blocks, vectors, before = self.blocks.float(), self.vectors.float(), 0.0
        for _ in range(STEPS):
            image = weights[:, None] * (vectors.T @ self._blockwise(blocks.mT, basis))
            basis, upper = torch.linalg.qr(self._blockwise(blocks, vectors @ image))
            captured = float(upper.diagonal().abs().sum())
            if abs(captured - before) < STEADY * (self.total - min(captured, self.total)):
                break
            before = captured
        return basis

    def _blockwise(self, blocks: Tensor, columns: Tensor) -> Tensor:
        """Block-diagonal [N, s, s] times [d, p]."""
        return (blocks @ self._split(columns)).flatten(0, 1)

    def _split(self, columns: Tensor) -> Tensor:
        return columns.reshape(*self.blocks.shape[:2], -1)


def axis(C: Tensor, patch_index: Tensor) -> Axis:
    """Covariance [d, d], patch_index int64 [d] (`patches.patch_of_pixel`) -> what serves every law of hiding.

    Raises ValueError where C is zero or not finite.
    """
    ridge, order = ridge_of(C), patch_index.argsort(stable=True)
    patches = int(patch_index.max()) + 1
    size, total = len(C) // patches, float(C.trace())
    C = C[order][:, order]
    own = torch.stack([C[i : i + size, i : i + size] for i in range(0, len(C), size)])
    own.diagonal(dim1=1, dim2=2).add_(ridge)
    blocks = torch.linalg.cholesky(own)
    for _ in range(2):  # L^-1 C, then its transpose from the left again
        C = torch.linalg.solve_triangular(blocks, C.reshape(patches, size, len(order)), upper=False).flatten(0, 1).T
    values, vectors = torch.linalg.eigh(C)
    return Axis(order, blocks, vectors, values.clamp(min=EPS), total, ridge)


def _fixed() -> torch.Generator:
    return torch.Generator().manual_seed(0)
