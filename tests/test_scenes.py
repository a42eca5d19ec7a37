"""The built-in data set: same bytes, exact depth, natural textures, balanced labels, aligned latents."""

import dataclasses
import hashlib
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from maebench.contracts import Split
from maebench.data import scenes
from maebench.data.rendering.raycast import Scenes, render
from maebench.data.rendering.solids import BOUND, SOLIDS, trace
from maebench.data.rendering.textures import SIDE, sample, volumes
from maebench.seeding import stream

COUNTS = {"train": 40, "val": 20, "test": 20}


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("MAEBENCH_CACHE", str(tmp_path))
    return tmp_path


def digests(images: Tensor) -> set[str]:
    return {hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in images}


def same(one: Split, two: Split) -> bool:
    return torch.equal(one.images, two.images) and all(
        torch.equal(one.targets[name], two.targets[name]) for name in scenes.TARGETS
    )


def one_scene(solid: int = -1) -> Scenes:
    """A scene with one solid of half-size 1 m at (0, 4), or with none; level camera 1 m up, wall 9 m away."""
    drawn = scenes.draw(10, stream(0, "one"))[:1]
    return dataclasses.replace(
        drawn,
        camera=torch.tensor([[1.0, 0.0, 1.0]], dtype=torch.float64),
        wall=torch.tensor([[9.0, 0.0]], dtype=torch.float64),
        solid=torch.tensor([[solid, -1, -1, -1]]),
        place=torch.tensor([[[0.0, 4.0]] * 4], dtype=torch.float64),
        extent=torch.ones(1, 4, 3, dtype=torch.float64),
        yaw=torch.zeros(1, 4, dtype=torch.float64),
    )


@pytest.fixture(scope="module")
def bank() -> Tensor:
    return volumes(2, stream(0, "bank")).repeat(scenes.VOLUMES // 2, 1, 1, 1)


def test_shapes_and_types() -> None:
    split = scenes.load("val", **COUNTS)
    assert (split.images.shape, split.images.dtype) == ((20, 3, 32, 32), torch.uint8)
    assert (split.targets["depth"].shape, split.targets["depth"].dtype) == ((20, 1, 32, 32), torch.float32)
    assert (split.targets["label"].shape, split.targets["label"].dtype) == ((20,), torch.int64)
    assert set(split.targets) == set(scenes.TARGETS)
    assert scenes.load("val", val=2, size=16).images.shape == (2, 3, 16, 16)


def test_same_seed_same_bytes_and_another_seed_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    one = scenes.load("val", **COUNTS)
    other = scenes.load("val", **COUNTS, seed=1)
    monkeypatch.setenv("MAEBENCH_CACHE", str(tmp_path / "elsewhere"))
    assert same(one, scenes.load("val", **COUNTS))
    assert not digests(one.images) & digests(other.images)


def test_a_processor_of_other_instructions_makes_the_same_data() -> None:
    script = "from maebench.data import scenes; print(scenes._make('test', 60, 32, 0)['{}'].tobytes().hex())"
    here = scenes._make("test", 60, 32, 0)
    for name in here:
        plain = {**os.environ, "ATEN_CPU_CAPABILITY": "default", "OMP_NUM_THREADS": "1"}
        told = subprocess.run([sys.executable, "-c", script.format(name)], env=plain, capture_output=True, check=True)
        assert told.stdout.decode().strip() == here[name].tobytes().hex(), name


def test_the_number_of_threads_changes_no_byte_and_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    threads, splits = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            monkeypatch.setenv("MAEBENCH_CACHE", str(tmp_path / str(count)))
            splits.append(scenes.load("val", val=scenes.BATCH))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert same(*splits)


def test_a_longer_split_begins_with_the_shorter_one() -> None:
    short, long = scenes.load("train", train=30), scenes.load("train", train=scenes.BATCH + 5)
    assert torch.equal(long.images[:30], short.images)
    assert torch.equal(long.targets["depth"][:30], short.targets["depth"])


def test_splits_share_no_image_and_repeat_none() -> None:
    splits = [digests(scenes.load(split, **COUNTS).images) for split in COUNTS]
    assert len(set.union(*splits)) == sum(COUNTS.values())


def test_the_second_load_is_the_first_and_renders_nothing(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    first = scenes.load("val", **COUNTS)
    stamps = {path: path.stat().st_mtime_ns for path in cache.rglob("*.npy")}
    assert same(first, scenes.load("val", **COUNTS))
    assert stamps == {path: path.stat().st_mtime_ns for path in cache.rglob("*.npy")}


def test_only_the_asked_split_is_made(cache: Path) -> None:
    scenes.load("val", **COUNTS)
    assert len(list(cache.rglob("images.npy"))) == 1


@pytest.mark.parametrize(("split", "size", "word"), [("training", 32, "training"), ("val", 0, "size")])
def test_a_wrong_request_says_what(split: str, size: int, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        scenes.load(split, size=size)


def test_labels_are_balanced_and_not_told_by_place_size_or_colour() -> None:
    drawn = scenes.draw(5000, stream(0, "balance"))
    label = drawn.solid[:, 0]
    assert (label.bincount(minlength=10) == 500).all()
    rest = scenes.latents(drawn)[:, len(SOLIDS) :]
    spread = torch.stack([rest[label == kind].mean(0) for kind in range(10)]).sub(rest.mean(0)) / rest.std(0)
    assert spread.abs().max() < 5 / math.sqrt(500)


def test_latents_are_finite_vary_and_match_their_names() -> None:
    drawn = scenes.draw(500, stream(0, "latents"))
    values, names = scenes.latents(drawn), [name for level in scenes.LATENTS.values() for name in level]
    assert values.shape == (500, len(names))
    assert len(set(names)) == len(names)
    assert values.isfinite().all()
    assert (values.std(0) > 0.01).all()
    assert names[:10] == list(SOLIDS)
    column = dict(zip(names, values.T, strict=True))
    assert torch.equal(values[:, :10].argmax(1), drawn.solid[:, 0])
    assert torch.equal(column["z"], drawn.place[:, 0, 1].float())
    assert torch.equal(column["yaw"], drawn.yaw[:, 0].float())
    assert torch.equal(column["grain"], drawn.grain[:, 2].float())
    assert torch.equal(column["wall blue"], drawn.colour[:, 1, :, 2].mean(1).float())
    assert torch.equal(column["ambient"], drawn.ambient.float())


def test_depth_of_bare_ground_and_wall_is_camera_geometry(bank: Tensor) -> None:
    for pitch in (0.0, 0.3):
        bare = dataclasses.replace(one_scene(), camera=torch.tensor([[1.5, pitch, 1.1]], dtype=torch.float64))
        _, depth = render(bare, bank, 32)
        row = (torch.arange(32, dtype=torch.float64) + 0.5) / 32 - 0.5
        down = math.sin(pitch) + row / 1.1 * math.cos(pitch)  # metres down per metre along the optical axis
        ahead = math.cos(pitch) - row / 1.1 * math.sin(pitch)
        expected = torch.where(down * 9 / ahead > 1.5, 1.5 / down, 9 / ahead)
        torch.testing.assert_close(depth[0, 0].double(), expected[:, None].expand(32, 32), rtol=1e-5, atol=0)


def test_depth_of_a_sphere_is_exact(bank: Tensor) -> None:
    _, depth = render(one_scene(list(SOLIDS).index("sphere")), bank, 32)
    line = (torch.arange(32, dtype=torch.float64) + 0.5) / 32 - 0.5
    squared = 1 + line[:, None] ** 2 + line**2  # of the ray whose part along the axis is 1; the centre is at (0, 0, 4)
    root = 16 - squared * 15
    inside = root > 0.05  # clear of the silhouette
    expected = (4 - root.clamp_min(0).sqrt()) / squared
    assert inside.sum() > 100
    torch.testing.assert_close(depth[0, 0].double()[inside], expected[inside], rtol=0, atol=1e-3)
    beside = (root < 0) & (line[:, None] < 0)  # above the horizon, where only the wall is left
    assert (depth[0, 0][beside] == 9).all()


def test_every_solid_is_bounded_and_traced_to_its_surface() -> None:
    rng = stream(0, "trace")
    for name, distance in SOLIDS.items():
        outward = torch.nn.functional.normalize(torch.randn(3, 5000, generator=rng), dim=0)
        assert (distance(*(BOUND * outward)) > 0).all(), name
        origin, target = 4 * outward, 1.6 * torch.rand(3, 5000, generator=rng) - 0.8
        ray = (target - origin) / 2
        t, normal = trace(distance, origin, ray)
        hit = t.isfinite()
        assert 0.2 < hit.float().mean() < 1, name
        assert distance(*(origin + t * ray)[:, hit]).abs().max() < 2e-3, name
        assert ((normal * ray).sum(0)[hit] < 1e-3).float().mean() > 0.99, name  # it faces the viewer


def test_depth_is_positive_finite_and_in_range() -> None:
    depth = scenes.load("train", **COUNTS).targets["depth"]
    assert depth.isfinite().all()
    assert depth.min() > 1
    assert depth.max() < 20


def slope(sections: Tensor) -> float:
    """The exponent of the amplitude spectrum of images [N, side, side], by least squares over 3 octaves."""
    side = sections.shape[-1]
    line = torch.fft.fftfreq(side) * side
    radius = (line[:, None] ** 2 + line**2).sqrt().round().long()
    power = torch.fft.fft2(sections).abs().square().mean(0)
    rings = torch.arange(2, side // 4)
    amplitude = torch.stack([power[radius == ring].mean() for ring in rings]).sqrt()
    x, y = rings.float().log(), amplitude.log()
    return float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())


def test_sections_of_textures_have_amplitude_one_over_f(bank: Tensor) -> None:
    assert slope(bank[0]) == pytest.approx(-1, abs=0.15)
    white = torch.randn(SIDE, SIDE, SIDE, generator=stream(0, "white"))
    assert slope(white) == pytest.approx(0, abs=0.15)


def test_textures_repeat_after_a_side(bank: Tensor) -> None:
    texel = torch.rand(3, 50, generator=stream(0, "texel")) * 300 - 150
    volume = torch.zeros(50, dtype=torch.int64)
    here = sample(bank, volume, texel)
    assert here.std() > 0.3
    assert torch.equal(here, sample(bank, volume, texel.floor() + 0.5 + torch.tensor([SIDE, -SIDE, 2 * SIDE])[:, None]))
    assert torch.equal(sample(bank, volume, torch.full((3, 50), 5.5)), bank[0, 5, 5, 5].expand(50))


def test_light_from_above_leaves_the_ground_bright_and_casts_a_shadow(bank: Tensor) -> None:
    bare, cube = (
        dataclasses.replace(
            one_scene(solid), light=torch.tensor([[0.0, 1.0, 0.0]]).double(), ambient=torch.zeros(1).double()
        )
        for solid in (-1, list(SOLIDS).index("diamond"))  # it stands on its tip, over its shadow
    )
    without, with_solid = (render(scene, bank, 32)[0].float() for scene in (bare, cube))
    assert torch.equal(without[..., 31, :], with_solid[..., 31, :])  # near ground, out of the shadow
    assert (without[..., :12, :] == 0).all()  # the wall faces no light
    _, depth = render(cube, bank, 32)
    ground = (depth[0, 0, 23] * (23.5 / 32 - 0.5) - 1).abs() < 1e-3
    assert (with_solid[0, :, 23, ground] < 0.9 * without[0, :, 23, ground]).any()
