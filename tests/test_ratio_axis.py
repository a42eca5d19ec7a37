"""The ratio axis against one solve per ratio."""

import re
from pathlib import Path

import pytest
import torch

from maebench.models.patches import patch_of_pixel
from maebench.seeding import stream
from maebench.theory.closed_form import counted, independent, loss, masked, optimum
from maebench.theory.ratio_axis import axis

SHAPE, PATCH, K = (3, 16, 16), 4, 24
INDEX, PATCHES = patch_of_pixel(SHAPE, PATCH), 16
LAWS = {
    "independent": [independent(m) for m in (0.0, 0.1, 0.5, 0.75, 0.9)],
    "counted": [counted(v, PATCHES) for v in (16, 12, 4, 1)],
    "far apart": [independent(0.9), counted(15, PATCHES), independent(0.01)],
}


@pytest.fixture(name="C", scope="module")
def covariance():
    """Of smooth images: it falls with the distance, as in photographs, and the channels go together."""
    y, x = torch.meshgrid(*(torch.arange(size, dtype=torch.float64) for size in SHAPE[1:]), indexing="ij")
    place = torch.stack([y.flatten(), x.flatten()], 1)
    colours = torch.tensor([[1, 0.9, 0.8], [0.9, 1, 0.9], [0.8, 0.9, 1]], dtype=torch.float64)
    rng = stream(0, "weights")
    scale = 0.5 + torch.rand(
        SHAPE[0] * len(place), generator=rng, dtype=torch.float64
    )  # no symmetry, no equal eigenvalues
    return torch.kron(colours, torch.exp(-torch.cdist(place, place) / 6)) * scale * scale[:, None]


@pytest.mark.parametrize("name", LAWS)
def test_each_optimum_is_that_of_its_own_solve(C, name):
    for law, best in zip(LAWS[name], axis(C, INDEX).optima(LAWS[name], K), strict=True):
        alone = optimum(C, masked(C, INDEX, law), K)
        assert best.loss == pytest.approx(alone.loss, rel=1e-6)
        assert best.loss >= alone.loss - 1e-9 * alone.loss
        found, wanted = (one.decoder @ one.encoder for one in (best, alone))
        assert float((found - wanted).norm() / wanted.norm()) < 2e-3
        torch.testing.assert_close(best.decoder.T @ best.decoder, torch.eye(K, dtype=C.dtype), rtol=0, atol=1e-10)


def test_the_loss_is_that_of_the_map_it_comes_with(C):
    law = independent(0.75)
    (best,) = axis(C, INDEX).optima([law], K)
    assert best.loss == pytest.approx(loss(best.decoder @ best.encoder, C, masked(C, INDEX, law)), rel=1e-10)
    rows = best.encoder @ masked(C, INDEX, law).second_moment @ best.encoder.T
    assert (rows.diagonal().diff() <= 0).all(), "the strongest direction comes first"


@pytest.mark.parametrize("k", [1, 255, 256])
def test_any_rank(C, k):
    index = patch_of_pixel((1, 16, 16), PATCH)
    C, laws = C[:256, :256], [independent(0.5), independent(0.6)]
    for law, best in zip(laws, axis(C, index).optima(laws, k), strict=True):
        assert best.encoder.shape == (k, 256)
        assert best.loss == pytest.approx(optimum(C, masked(C, index, law), k).loss, rel=1e-6)


def test_constant_pixels_and_fewer_images_than_pixels():
    few = torch.randn(9, 64, generator=stream(0, "few"), dtype=torch.float64)
    few[:, 5] = 0
    C, index = few.T @ few / 9, patch_of_pixel((1, 8, 8), 2)
    laws = [independent(m) for m in (0.0, 0.5)]
    for law, best in zip(laws, axis(C, index).optima(laws, 4), strict=True):
        assert best.encoder.isfinite().all()
        assert best.loss == pytest.approx(optimum(C, masked(C, index, law), 4).loss, rel=1e-6)


def test_images_that_do_not_vary_are_refused():
    with pytest.raises(ValueError, match="images that vary"):
        axis(torch.zeros(16, 16, dtype=torch.float64), patch_of_pixel((1, 4, 4), 2))


def test_the_example_of_the_docs(capsys):
    text = (Path(__file__).parents[1] / "docs/theory.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(code, "docs/theory.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in lines]
    assert len(lines) == 3
    assert losses == sorted(losses), "the more is hidden, the more is lost"
