"""The full Jacobian, [3072, 3072], of a small ViT MAE on one 32x32 RGB image, and one backward pass for each output.

Ratio 0.75: 768 of the columns are not 0. The backward passes share one forward pass, as in the loop of
torch.autograd.functional.jacobian; a sample of them is timed, and what all would take is noted beside it.
"""

import pytest
import torch
from step import DEVICE, SHAPE, images, vit_mae

from maebench.contracts import standardise
from maebench.seeding import stream
from maebench.theory.jacobian import jacobian, masked_by, rebuilding

SMALL = {"width": 64, "depth": 4, "heads": 4, "decoder_width": 64, "decoder_depth": 1, "decoder_heads": 4}
LARGE = {"width": 128, "depth": 6, "heads": 4, "decoder_width": 64, "decoder_depth": 2, "decoder_heads": 4}
sizes = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
VALUES = SHAPE[0] * SHAPE[1] * SHAPE[2]
SAMPLE = torch.randperm(VALUES, generator=stream(0, "rows"))[:64]
ROUNDS = 5


def model(size):
    """-> images [B, C, H, W] -> images [B, C, H, W], 48 of 64 patches hidden, and one image [C, H, W]."""
    variant = vit_mae(**size).eval()
    image = standardise(images(1).to(DEVICE))[0]
    hidden = variant.hide(image[None], variant.encoder.grid, stream(0, "mask"))[0]
    variant.hide = masked_by(hidden)
    return rebuilding(variant), image


def one_by_one(f, image):
    """Rows SAMPLE of the Jacobian."""
    image = image.clone().requires_grad_()
    outputs = f(image[None]).flatten()
    rows = [torch.autograd.grad(outputs[row], image, retain_graph=True)[0].flatten() for row in SAMPLE.tolist()]
    return torch.stack(rows).cpu()


@sizes
def test_full_jacobian(benchmark, size):
    f, image = model(size)
    J = benchmark.pedantic(lambda: jacobian(f, image).cpu(), rounds=ROUNDS, warmup_rounds=1)
    assert J.shape == (VALUES, VALUES)
    torch.testing.assert_close(J[SAMPLE], one_by_one(f, image), rtol=0, atol=1e-5)


@sizes
def test_one_backward_per_output(benchmark, size):
    f, image = model(size)
    rows = benchmark.pedantic(lambda: one_by_one(f, image), rounds=ROUNDS, warmup_rounds=1)
    torch.testing.assert_close(rows, jacobian(f, image, rows=SAMPLE).cpu(), rtol=0, atol=1e-5)
    if benchmark.stats is not None:  # None under --benchmark-disable
        benchmark.extra_info["seconds_for_every_output"] = benchmark.stats.stats.median * VALUES / len(SAMPLE)
