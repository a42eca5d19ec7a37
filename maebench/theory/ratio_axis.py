"""The linear masked autoencoder at many masking ratios, from one decomposition per patch size.

Every law of hiding patches has S = a C + b B (`closed_form.Law`). With B = L L', a Cholesky factor of small blocks, and
L^-1 C L^-T = Q T Q', T tridiagonal, S = L Q (a T + b I) Q' L' for all of them, so that M = q^2 C S^-1 C is
q^2 F T (a T + b I)^-1 T F' with F = L Q: a product with F', one with F, and cheap work in between. The top k
eigenvectors of M are found by subspace iteration, which goes on from those of the law before. Ours: T tridiagonal,
not diagonal as in an eigendecomposition, since that serves as well and takes half of the time.
All tensors are on the CPU; results are float64.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import solveh_banded
from scipy.linalg.lapack import dorgqr, dsytrd
from torch import Tensor

from maebench.theory.closed_form import EPS, Law, Optimum, ridge_of

SPARE = 0.5  # Ours: directions beyond k that an iteration carries along, as a share of k; they make it converge
STEADY = 1e-5  # Ours: an iteration that changes the captured variance by less, as a share of the rest, is the last
STEPS = 100
LAPACK_BLOCK = 64  # columns; its work space per row of the matrix


@dataclass(frozen=True)
class Axis:
    """A covariance and a patch size, decomposed. Values are in the order of the patches, as `order` lists them."""

    order: Tensor
    """int64 [d], the values of the first patch, then those of the second ..."""
    blocks: Tensor
    """[N, s, s], the Cholesky factors of the N patches of s values: L"""
    rotation: Tensor
    """Q [d, d]"""
    diagonal: Tensor
    """of T [d]"""
    beside: Tensor
    """what is next to the diagonal of T [d - 1]"""
    total: float
    """tr C"""
    ridge: float
    """what was added to the diagonal of B"""

    def optima(self, laws: Iterable[Law], k: int) -> Iterator[Optimum]:
        """The optimum of rank k <= d for each law, as `closed_form.optimum` has it; fastest where neighbours are alike.

        The loss is never below the minimum, and on CIFAR-10 within 1e-6 of it (benchmarks/test_ratio_axis.py): its
        error is the square of that of the directions, which the spare ones keep small.
        """
        size = min(len(self.order), k + round(SPARE * k) + 8)
        basis = torch.randn(len(self.order), size, generator=torch.Generator().manual_seed(0))
        basis, low = torch.linalg.qr(basis).Q, (self.blocks.float(), self.rotation.float())
        for law in laws:
            basis = self._iterated(law, k, basis, *low)
            best, basis = self._projected(law, k, basis)
            yield best

    def _iterated(self, law: Law, k: int, basis: Tensor, blocks: Tensor, rotation: Tensor) -> Tensor:
        """Subspace iteration with M, in float32, whose rounding the projection in float64 takes out again."""
        before = 0.0
        for step in range(STEPS):
            if step:  # what it begins with is orthonormal
                basis, _ = torch.linalg.qr(basis)
            image = self._tridiagonal(rotation.T @ _blockwise(blocks.mT, basis))
            inner = self._solved(law, image)
            captured = law.q**2 * float(torch.linalg.eigvalsh(image.T @ inner)[-k:].sum())
            basis = _blockwise(blocks, rotation @ self._tridiagonal(inner))
            if abs(captured - before) < STEADY * abs(self.total - captured):
                break
            before = captured
        return basis

    def _projected(self, law: Law, k: int, basis: Tensor) -> tuple[Optimum, Tensor]:
        """The best of rank k within a subspace, and the subspace turned to its eigenvectors, float32 [d, k + spare]."""
        basis, _ = torch.linalg.qr(basis.double())
        image = self._tridiagonal(self.rotation.T @ _blockwise(self.blocks.mT, basis))
        inner = self._solved(law, image)
        gains, turn = torch.linalg.eigh(image.T @ inner)
        basis, inner = basis @ turn.flip(1), inner @ turn[:, -k:].flip(1)
        lifted = (law.q * (self.rotation @ inner)).reshape(*self.blocks.shape[:2], k)
        encoder = torch.linalg.solve_triangular(self.blocks.mT, lifted, upper=True).flatten(0, 1).T
        gained = law.q**2 * float(gains[-k:].sum()) + law.within * self.ridge * float(encoder.square().sum())
        back = self.order.argsort()
        return Optimum(encoder[:, back], basis[back, :k], self.total - gained), basis.float()

    def _tridiagonal(self, columns: Tensor) -> Tensor:
        """T times [d, p]."""
        diagonal, beside = self.diagonal.to(columns), self.beside.to(columns)[:, None]
        result = diagonal[:, None] * columns
        result[1:] += beside * columns[:-1]
        result[:-1] += beside * columns[1:]
        return result

    def _solved(self, law: Law, columns: Tensor) -> Tensor:
        """(a T + b I)^-1 times [d, p], in float64 within."""
        bands = np.zeros((2, len(self.diagonal)))
        bands[0] = law.shared * self.diagonal.numpy() + (law.within or EPS)
        bands[1, :-1] = law.shared * self.beside.numpy()
        return torch.from_numpy(solveh_banded(bands, columns.double().numpy(), lower=True)).to(columns)


def _blockwise(blocks: Tensor, columns: Tensor) -> Tensor:
    """Block-diagonal [N, s, s] times [d, p]."""
    return (blocks @ columns.reshape(*blocks.shape[:2], -1)).flatten(0, 1)


def axis(C: Tensor, patch_index: Tensor) -> Axis:
    """Covariance [d, d], patch_index int64 [d] (`patches.patch_of_pixel`) -> what serves every law of hiding.

    Raises ValueError where C is zero or not finite.
    """
    ridge, order = ridge_of(C), patch_index.argsort(stable=True)
    patches, total = int(patch_index.max()) + 1, float(C.trace())
    size = len(C) // patches
    C = C[order][:, order]
    own = torch.stack([C[i : i + size, i : i + size] for i in range(0, len(C), size)])
    own.diagonal(dim1=1, dim2=2).add_(ridge)
    blocks = torch.linalg.cholesky(own)
    for _ in range(2):  # L^-1 C, then its transpose from the left again
        C = torch.linalg.solve_triangular(blocks, C.reshape(patches, size, len(order)), upper=False).flatten(0, 1).T
    return Axis(order, blocks, *_reduced(C.contiguous()), total, ridge)


def _reduced(G: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Symmetric [d, d] -> Q [d, d] and the diagonal and the values beside it of T, G = Q T Q'. G is used up."""
    d = len(G)
    reflectors, diagonal, beside, scales, _ = dsytrd(G.numpy().T, lower=1, lwork=LAPACK_BLOCK * d, overwrite_a=1)
    rotation = np.eye(d)
    # LAPACK leaves the rotation as reflectors below the values beside the diagonal, as a QR decomposition would.
    rotation[1:, 1:] = dorgqr(reflectors[1:, :-1], scales, lwork=LAPACK_BLOCK * d)[0]
    return tuple(map(torch.from_numpy, (rotation, diagonal, beside)))  # type: ignore[return-value]
