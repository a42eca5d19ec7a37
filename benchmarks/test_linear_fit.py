"""The linear MAE of grey 32x32 images in closed form: d = 1024, k = 256, patch 8, four of 16 patches visible."""

import pytest
import torch

from maebench.patches import patch_of_pixel
from maebench.theory.closed_form import fixed_count, loss, optimum


def test_linear_mae_optimum(benchmark):
    place = torch.arange(32, dtype=torch.float64)
    line = 0.95 ** (place[:, None] - place).abs()
    C = torch.kron(line, line)  # a first-order Markov field, which is near the covariance of natural images
    index = patch_of_pixel((1, 32, 32), 8)
    best = benchmark(lambda: optimum(C, fixed_count(C, index, visible=4), 256))
    A = best.decoder @ best.encoder
    assert 0 < best.loss < float(C.trace())
    assert best.loss == pytest.approx(loss(A, C, fixed_count(C, index, visible=4)), rel=1e-9)
