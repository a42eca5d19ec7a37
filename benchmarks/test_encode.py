"""Features of 500 images by a frozen encoder, as every task asks for them."""

import pytest
import torch
from step import DEVICE, images, note_rate, vit_mae

from maebench.contracts import standardise
from maebench.runs.scoring.features import frozen

COUNT = 500
SIZES = {"small": {"width": 128, "depth": 6, "heads": 4}, "base": {"width": 192, "depth": 12, "heads": 3}}


@pytest.mark.parametrize("size", SIZES)
def test_encode(benchmark, size):
    variant = vit_mae(**SIZES[size])
    encode = frozen(variant, DEVICE)
    with torch.inference_mode():
        batch = images(COUNT).clone()  # an inference tensor is never remembered: each call encodes again
        features = benchmark(lambda: encode(batch))
        alone = variant.encode(standardise(batch[-8:].to(DEVICE))).cpu()
    note_rate(benchmark, COUNT)
    assert features.shape == (COUNT, SIZES[size]["width"], 8, 8)
    torch.testing.assert_close(features[-8:], alone, rtol=1e-3, atol=1e-4)
