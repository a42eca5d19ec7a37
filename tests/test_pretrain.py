"""The training loop. The losses of a tiny ViT are kept step by step in golden/losses.json.

To write that file anew, in a commit of its own that says why the losses changed: `python tests/test_pretrain.py`.
"""

import itertools
import json
import math
import tempfile
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor
from toys import CPU, DENSE, MASKED, encoder, images, write, write_all

from maebench.assemble import assemble
from maebench.contracts import Reconstruction, Variant
from maebench.plan import Part
from maebench.pretrain import CHECK_EVERY, Training, learning_rate, pretrain

SHAPE = (3, 8, 8)
GOLDEN = Path(__file__).parent / "golden" / "losses.json"
TINY = {"patch": 4, "width": 16, "depth": 1, "heads": 4, "decoder_width": 16, "decoder_depth": 1, "decoder_heads": 4}
VIT = Part("vit_mae", {**TINY, "target": "pixels"}, "")
UNIFORM = Part("toy_random", {"tilt": 0.0}, "")


class Recorded(Variant):
    """A variant that keeps every loss it gives."""

    def __init__(self, inner: Variant) -> None:
        super().__init__()
        self.inner, self.losses = inner, []

    def reconstruct(self, images: Tensor, rng: Generator) -> Reconstruction:
        return self.inner.reconstruct(images, rng)

    def loss(self, images: Tensor, rng: Generator) -> Tensor:
        value = self.inner.loss(images, rng)
        self.losses.append(float(value.detach()))
        return value

    def encode(self, images: Tensor) -> Tensor:
        return self.inner.encode(images)


def train_vit(folder: Path, *, steps: int, seed: int = 0) -> Recorded:
    """A tiny ViT trained on images of one random colour each."""
    spec = encoder(VIT, masking=UNIFORM, ratio=0.5, steps=steps, seed=seed)
    variant = Recorded(assemble(spec, SHAPE, write_all(folder)))
    pretrain(variant, images(64, (3, 1, 1)).expand(-1, -1, 8, 8).contiguous(), spec, CPU, lambda done: None)
    return variant


def train_toy(folder: Path, name: str, *, steps: int, code: str = DENSE) -> tuple[Variant, Training, list[int]]:
    write(folder, "variants", name, code)
    spec = encoder(Part(name, {}, ""), steps=steps)
    variant, done = assemble(spec, SHAPE, folder), []
    return variant, pretrain(variant, images(40), spec, CPU, done.append), done


def test_the_losses_are_those_of_the_golden_file(tmp_path: Path) -> None:
    assert train_vit(tmp_path, steps=12).losses == pytest.approx(json.loads(GOLDEN.read_text()), rel=1e-5)


def test_the_loss_falls(tmp_path: Path) -> None:
    losses = train_vit(tmp_path, steps=60).losses
    assert len(losses) == 60
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_two_runs_are_equal_to_the_bit_and_another_seed_is_not(tmp_path: Path) -> None:
    first = train_vit(tmp_path, steps=8)
    with torch.random.fork_rng(devices=[]):
        torch.rand(7)  # whatever happens to the global generator in between
        second, other = train_vit(tmp_path, steps=8), train_vit(tmp_path, steps=8, seed=1)
    assert first.losses == second.losses
    assert first.losses != other.losses
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, second.state_dict()[name]), name


def test_the_rate_rises_in_a_line_then_falls_in_half_a_cosine() -> None:
    rates = [learning_rate(step, 100, 2.0, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert rates[10] == max(rates) == 2.0
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[10:]))
    assert rates[55] == pytest.approx(1.0)  # half-way down
    assert 0 < rates[-1] < 0.002


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0.0), (1, 0.9), (2, 0.99), (3, 0.5), (600, 0.0)])
def test_the_rate_is_sound_for_any_budget(steps: int, warmup: float) -> None:
    rates = [learning_rate(step, steps, 1.0, warmup) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)
    assert max(rates) == 1.0


STILL = MASKED.replace(
    "self.grey = nn.Parameter(torch.randn(shape[0]))",
    "self.grey, self.matrix = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2, 2))",
).replace(
    "return pixel_loss(self.reconstruct(images, rng), images)", "return 0 * (self.grey.sum() + self.matrix.sum())"
)


def test_matrices_decay_at_the_rate_and_vectors_do_not(tmp_path: Path) -> None:
    variant, _, _ = train_toy(tmp_path, "toy_still", steps=40, code=STILL)
    kept = math.prod(1 - 0.05 * learning_rate(step, 40, 3e-3, 0.1) for step in range(40))
    assert kept < 0.999
    assert variant.matrix.flatten().tolist() == pytest.approx([kept] * 4, abs=1e-6)
    assert variant.grey.tolist() == [1.0] * 3


def test_the_cost_is_measured_and_every_step_reported(tmp_path: Path) -> None:
    _, training, done = train_toy(tmp_path, "toy_dense", steps=3 * CHECK_EVERY)
    assert done == list(range(1, 3 * CHECK_EVERY + 1))
    assert training.seconds > 0
    assert training.images_per_second
    assert training.images_per_second_iqr is not None
    assert training.peak_memory
    assert training.loss is not None
    _, short, _ = train_toy(tmp_path, "toy_dense", steps=3)
    assert short.images_per_second is None
    assert short.loss is not None


@pytest.mark.parametrize("steps", [4, 25])
def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path, steps: int) -> None:
    endless = DENSE.replace("return pixel_loss(", "return torch.inf * pixel_loss(")
    at = min(steps, CHECK_EVERY)
    with pytest.raises(ArithmeticError, match=rf"^the loss became (inf|nan) at step {at}; lower pretrain\.lr or mend"):
        train_toy(tmp_path, "toy_endless", steps=steps, code=endless)


def test_a_closed_form_is_fitted_and_never_looped_over(tmp_path: Path) -> None:
    write_all(tmp_path)
    spec = encoder(Part("toy_closed", {"rank": 3}, ""), steps=9)
    variant, data = assemble(spec, SHAPE, tmp_path), images(50)
    training = pretrain(variant, data, spec, CPU, lambda done: pytest.fail("a step"))
    expected = (data.double().mean(0) / 255 - 0.5) / 0.25
    assert torch.allclose(variant.mean.double(), expected, atol=1e-5)
    assert training.seconds > 0
    assert training.peak_memory
    assert training.images_per_second is training.loss is None  # there were no steps


def test_a_floor_or_a_variant_without_weights_comes_back_as_it_was(tmp_path: Path) -> None:
    variant, training, done = train_toy(tmp_path, "toy_dense", steps=0)
    fresh = assemble(encoder(Part("toy_dense", {}, "")), SHAPE, tmp_path)
    assert training == Training()
    assert done == []
    assert torch.equal(variant.inner.weight, fresh.inner.weight)
    frozen = MASKED.replace("nn.Parameter(torch.randn(shape[0]))", "torch.zeros(shape[0])")
    assert train_toy(tmp_path, "toy_frozen", steps=5, code=frozen)[1] == Training()


def test_training_leaves_the_images_alone(tmp_path: Path) -> None:
    data = images(20)
    before = data.clone()
    spec = encoder(Part("toy_dense", {}, ""), steps=5)
    pretrain(assemble(spec, SHAPE, write_all(tmp_path)), data, spec, CPU, lambda done: None)
    assert torch.equal(data, before)


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(train_vit(Path(tempfile.mkdtemp()), steps=12).losses, indent=1) + "\n")
