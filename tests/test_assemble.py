"""Names and numbers -> a built variant and its masks."""

from pathlib import Path

import pytest
import torch
from builders.plugins import DENSE, encoder, images, write, write_all

from maebench.contracts import Variant, standardise
from maebench.runs.build import assemble, hide_by
from maebench.runs.plan import EncoderSpec, Plugin
from maebench.seeding import stream

SHAPE = (3, 8, 8)
DENSE_PART = Plugin("toy_dense", {"width": 4, "gain": 1.0}, "")
MASKED = Plugin("toy_masked", {"patch": 2}, "")
UNIFORM = Plugin("toy_random", {"tilt": 0.0}, "")


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    return write_all(tmp_path)


def weights(variant: Variant) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in variant.parameters()])


def build(plugins: Path, spec: EncoderSpec) -> torch.Tensor:
    return weights(assemble(spec, SHAPE, plugins))


def test_the_seed_alone_decides_the_weights(plugins: Path) -> None:
    first = build(plugins, encoder(DENSE_PART, seed=5))
    with torch.random.fork_rng(devices=[]):
        torch.rand(3)  # whatever happens to the global generator in between
        assert torch.equal(first, build(plugins, encoder(DENSE_PART, seed=5, steps=7)))
    assert not torch.equal(first, build(plugins, encoder(DENSE_PART, seed=6)))


def test_the_global_generator_is_untouched(plugins: Path) -> None:
    before = torch.get_rng_state()
    build(plugins, encoder(DENSE_PART))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_global_generator_is_untouched_by_a_build_that_fails(plugins: Path) -> None:
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match=r"^variant toy_masked: patch 3 does not divide an image of 8 x 8 pixels$"):
        build(plugins, encoder(Plugin("toy_masked", {"patch": 3}, "")))
    assert torch.equal(torch.get_rng_state(), before)


def test_settings_reach_the_build(plugins: Path) -> None:
    built = assemble(encoder(Plugin("toy_dense", {"width": 9, "gain": 0.5}, "")), SHAPE, plugins)
    assert built.inner.out_features == 9
    assert built.gain == 0.5


def test_a_build_that_gives_no_variant_is_refused(plugins: Path) -> None:
    write(plugins, "variants", "toy_module", DENSE.replace("return Dense(shape, width, gain)", "return nn.ReLU()"))
    with pytest.raises(ValueError, match=r"^variant toy_module: build returned ReLU, no maebench Variant$"):
        build(plugins, encoder(Plugin("toy_module", {}, "")))


@pytest.mark.parametrize(("ratio", "count"), [(0.0, 0), (0.5, 8), (0.75, 12), (0.99, 15)])
def test_the_strategy_hides_at_the_ratio(plugins: Path, ratio: float, count: int) -> None:
    batch = standardise(images(6))
    variant = assemble(encoder(MASKED, masking=UNIFORM, ratio=ratio), SHAPE, plugins)
    hidden = variant.hide(batch, (4, 4), stream(0, "masking", 0))
    assert hidden.flatten(1).sum(1).tolist() == [count] * 6
    assert torch.equal(hidden, variant.hide(batch, (4, 4), stream(0, "masking", 0)))


def test_without_a_mask_nothing_is_hidden(plugins: Path) -> None:
    floor = assemble(encoder(MASKED), SHAPE, plugins)
    batch = standardise(images(6))
    assert floor.reconstruct(batch, stream(0)).scored.all()
    assert torch.equal(floor.reconstruct(batch, stream(0)).seen, batch)


def test_masking_settings_reach_the_strategy(plugins: Path) -> None:
    hide = hide_by(Plugin("toy_random", {"tilt": 10.0}, ""), 0.5, plugins)
    hidden = hide(standardise(images(6)), (4, 4), stream(0))
    assert hidden[:, :, 2:].all()
    assert not hidden[:, :, :2].any()


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ("torch.full((len(images), *grid), torch.nan)", "scores hold NaN; a score must be a number, high = hide"),
        ("torch.zeros(len(images), 16)", r"scores must be \[B, h, w\] = \[6, 4, 4\], not \[6, 16\]"),
        ("torch.zeros(*grid)", r"scores must be \[B, h, w\] = \[6, 4, 4\], not \[4, 4\]"),
        ("[[0.5] * 4] * 4", r"scores must be \[B, h, w\] = \[6, 4, 4\], not list"),
        ("None", r"scores must be \[B, h, w\] = \[6, 4, 4\], not NoneType"),
    ],
)
def test_scores_that_break_the_contract_are_named(tmp_path: Path, result: str, expected: str) -> None:
    write(tmp_path, "maskings", "toy_wrong", f"import torch\ndef scores(images, grid):\n    return {result}\n")
    with pytest.raises(ValueError, match=f"^masking toy_wrong: {expected}$"):
        hide_by(Plugin("toy_wrong", {}, ""), 0.5, tmp_path)(standardise(images(6)), (4, 4), stream(0))


def test_whole_and_infinite_scores_are_numbers(tmp_path: Path) -> None:
    code = "import torch\ndef scores(images, grid):\n    return torch.eye(4).long().expand(len(images), 4, 4)\n"
    write(tmp_path, "maskings", "toy_whole", code)
    write(tmp_path, "maskings", "toy_endless", code.replace(".long()", ".log()"))
    for name in ("toy_whole", "toy_endless"):
        hidden = hide_by(Plugin(name, {}, ""), 0.25, tmp_path)(standardise(images(6)), (4, 4), stream(0))
        assert torch.equal(hidden, torch.eye(4, dtype=torch.bool).expand(6, 4, 4))
