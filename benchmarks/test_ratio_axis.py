"""RGB CIFAR-10 (d = 3072), k = 256: nine masking ratios x five patch sizes, and the covariance of all train images.

The whole grid from one eigendecomposition per patch size, beside one solve for each of its 45 points, patch by patch in
turns so that both meet the same machine. Needs CIFAR-10 in the folder MAEBENCH_DATA.
"""

import os
import time
from pathlib import Path

import pytest
import torch

from maebench.models.patches import patch_of_pixel
from maebench.plugins import find, load
from maebench.theory.closed_form import independent, masked, optimum
from maebench.theory.moments import moments
from maebench.theory.ratio_axis import axis

SHAPE, K, PATCHES, RATIOS = (3, 32, 32), 256, (1, 2, 4, 8, 16), (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@pytest.fixture(name="images", scope="module")
def train_images() -> torch.Tensor:
    """uint8 [45000, 3, 32, 32]"""
    if not (root := os.environ.get("MAEBENCH_DATA")):
        pytest.skip("set MAEBENCH_DATA to a folder with CIFAR-10 (docs/data.md)")
    module = load(find("datasets", "cifar10"))
    return torch.as_tensor(module.load("train", root=Path(root)).images)


def test_covariance_of_every_train_image(benchmark, images):
    mean, C = benchmark.pedantic(lambda: moments(images), rounds=3)
    some = images.flatten(1)[:, ::96].double() / 255 / 0.25 - 2
    torch.testing.assert_close(mean[::96], some.mean(0), rtol=0, atol=1e-10)
    torch.testing.assert_close(C[::96, ::96], torch.cov(some.T, correction=0), rtol=0, atol=1e-10)


def test_grid_of_ratios_and_patches(benchmark, images):
    _, C = moments(images)
    laws = [independent(ratio) for ratio in RATIOS]
    seconds = {"grid": 0.0, "separate": 0.0}
    worst = 0.0

    def timed(name, work):
        start = time.perf_counter()
        result = work()
        seconds[name] += time.perf_counter() - start
        return result

    def grid():
        nonlocal worst
        for patch in PATCHES:
            index = patch_of_pixel(SHAPE, patch)
            shared = timed("grid", lambda index=index: list(axis(C, index).optima(laws, K)))
            for law, best in zip(laws, shared, strict=True):
                alone = timed("separate", lambda law=law, index=index: optimum(C, masked(C, index, law), K))
                worst = max(worst, abs(best.loss / alone.loss - 1))

    benchmark.pedantic(grid, rounds=1)
    benchmark.extra_info.update(seconds, ratio=seconds["separate"] / seconds["grid"], worst=worst)
    print(f"\ngrid {seconds['grid']:.1f} s, 45 solves {seconds['separate']:.1f} s, losses equal to {worst:.1e}")
    assert worst < 1e-6
