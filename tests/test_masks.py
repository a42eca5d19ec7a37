"""Pictures of masks: what is counted is what is hidden, and the map shows it on one scale."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders.commands import VIT, call
from builders.plugins import PICTURES, RANDOM, write
from matplotlib import colormaps
from PIL import Image
from torch import Generator, Tensor

from maebench.models.patches import hidden_count, seen_pixels
from maebench.plugins import find, names
from maebench.runs import drawing
from maebench.runs.build import hide_by
from maebench.runs.config import full_settings
from maebench.runs.drawing import Masked
from maebench.runs.masks import IMAGES, masked
from maebench.runs.plan import Plugin
from maebench.seeding import stream

GRID, PATCH = (8, 6), 2
PIXELS = torch.randint(256, (IMAGES + 50, 3, 16, 12), generator=stream(0, "pixels"), dtype=torch.uint8)


def drawn(name: str, ratio: float, **settings: Any) -> Masked:
    """The masks of a strategy."""
    full = full_settings(find("maskings", name), settings, "test")
    hide = hide_by(Plugin(name, full, ""), ratio)

    def see(images: Tensor, rng: Generator) -> Tensor:
        return seen_pixels(images, hide(images, GRID, rng), PATCH)

    return masked(see, PIXELS, name, full, ratio)


def by_patch(row: Masked) -> np.ndarray:
    """The frequency [h, w] of each patch, whose pixels must agree."""
    blocks = row.frequency.reshape(GRID[0], PATCH, GRID[1], PATCH)
    assert (blocks == blocks[:, :1, :, :1]).all()
    return blocks[:, 0, :, 0]


@pytest.mark.parametrize("name", ["block", "coarse", "grid", "uniform"])
def test_the_frequencies_add_up_to_the_count(name):
    """At 0.7 the nearest whole number of patches is hidden, and the title says which share that is."""
    row, count = drawn(name, 0.7), hidden_count(0.7, 48)
    assert by_patch(row).sum() == pytest.approx(count, rel=1e-12)
    assert row.title == f"{name}: masking ratio 0.7 asked, {count / 48:.3g} realised"
    assert row.count == IMAGES


def test_a_fixed_grid_hides_the_same_every_time():
    frequency = by_patch(drawn("grid", 0.75, phase="fixed"))
    tile = frequency[:2, :2]
    assert sorted(tile.flatten()) == [0, 1, 1, 1]
    assert (frequency == np.tile(tile, (4, 3))).all()


def test_uniform_is_flat_and_block_is_not():
    """Up to the sampling error of so many masks; block hides the middle more often, at every side alike."""
    error = (0.75 * 0.25 / IMAGES) ** 0.5
    assert np.abs(by_patch(drawn("uniform", 0.75)) - 0.75).max() < 5 * error
    block = by_patch(drawn("block", 0.75))
    assert block[3:5, 2:4].min() > block[[0, -1]].max() + 20 * error
    assert block[3:5, 2:4].min() > block[:, [0, -1]].max() + 5 * error
    assert (block > 0).all()
    assert np.abs(block - block[::-1, ::-1]).max() < 8 * error


def test_what_is_shown_is_the_image_but_for_the_hidden():
    row = drawn("block", 0.5)
    hidden = np.isnan(row.seen)
    assert (hidden.reshape(16, -1).mean(1) == 0.5).all()
    assert np.abs(row.seen - PIXELS[:16].numpy() / 255)[~hidden].max() < 1e-6
    assert np.array_equal(row.seen, drawn("block", 0.5).seen, equal_nan=True), "the same every time"


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")) / 255


def test_the_picture_has_the_pixels_and_the_frequencies_on_one_scale(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        Masked(f"$\\one {number}$", "k=1 " * 99, rng.random((16, 3, 8, 8)), frequency, 1000)
        for number, frequency in enumerate((np.full((8, 8), 0.4), rng.random((8, 8))))
    ]
    drawing.masks(tmp_path / "a.png", rows)
    image = read(tmp_path / "a.png")
    tile, gap, head = 96, 6, 56
    tall = 2 * tile + gap
    assert image.shape[0] == 2 * (head + tall) + 2 * gap
    at = gap + 8 * (tile + gap) + 2 * gap
    for number, row in enumerate(rows):
        top = head + number * (head + tall)
        last = image[top + tile + gap : top + tall, gap + 7 * (tile + gap) : gap + 7 * (tile + gap) + tile]
        assert np.abs(last[6::12, 6::12] - row.seen[15].transpose(1, 2, 0)).max() < 0.01
        half = tall / 16
        middles = (half * np.arange(1, 16, 2)).astype(int)
        shown = image[top + middles][:, at + middles]
        assert np.abs(shown - colormaps["viridis"](row.frequency)[..., :3]).max() < 0.01
        assert (image[top : top + tall, at - gap : at] == 1).all(), "nothing runs into the map"
    drawing.masks(tmp_path / "b.png", rows[:1])
    assert read(tmp_path / "b.png").shape == (head + tall + 2 * gap, *image.shape[1:])


def test_any_number_of_images_of_any_shape_can_be_drawn(tmp_path):
    for count, height, width in ((1, 4, 8), (11, 20, 5)):
        row = Masked("few", "", np.zeros((count, 1, height, width)), np.zeros((height, width)), count)
        drawing.masks(tmp_path / "a.png", [row])
        assert read(tmp_path / "a.png").std() > 0


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a data set and a strategy of its own."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "variants", "datasets", "toy_pictures", PICTURES)
    write(tmp_path / "variants", "maskings", "toy_random", RANDOM)
    return tmp_path


def test_show_masks_draws_every_strategy_without_training(here, capsys):
    assert call("show", "masks", "--dataset", "toy_pictures", "--out", "new/all.png") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "files: new/all.png"
    assert call("show", "masks", "block", "--dataset", "toy_pictures", "--ratio", "0.3", "--patch", "8") == 0
    every, one = (read(here / path).shape for path in ("new/all.png", "masks.png"))
    rows = len(names("maskings")) + 1
    assert every == (rows * (one[0] - 12) + 12, *one[1:]), "those that come with maebench, and toy_random"


def test_a_wrong_word_is_one_line_and_nothing_is_drawn(here, capsys):
    for words, message in {
        ("blok",): "no masking is called 'blok'; did you mean 'block'?",
        ("--dataset", "scene"): "no dataset is called 'scene'; did you mean 'scenes'?",
        ("--ratio", "1"): "--ratio 1: a masking ratio is 0 or more, and below 1",
        ("--ratio", "nan"): "--ratio nan: ",
        ("--out", "a.jpg"): "--out a.jpg: the picture is a PNG",
        ("--dataset", "toy_pictures", "--patch", "5"): "patch 5 does not divide an image of 16 x 16 pixels",
    }.items():
        assert call("show", "masks", *words) == 2, words
        assert message in capsys.readouterr().err.splitlines()[-1]
    assert not list(here.rglob("*.png"))


def test_a_run_draws_the_masks_that_its_variant_is_given(here):
    """Once for each masked run, the same for all seeds and variants; rows of one mask share it on the board."""
    (here / "c.yaml").write_text(
        f"""
tracks: [{{dataset: toy_pictures, tasks: []}}]
variants: [vit_ae: {VIT.replace("}", ", patch: 8}")}, vit_mae: {VIT}, vit_mae: {VIT.replace("width: 16", "width: 32")}]
masks: {{strategy: [grid, uniform], ratio: 0.75}}
pretrain: {{steps: 1, batch: 4}}
seeds: [0, 1]
"""
    )
    assert call("run", "c.yaml", "--out", "r") == 0
    paths = list(here.glob("r/*/masks.png"))
    assert len(paths) == 2 * 2 * 2, "two vit_mae, two strategies, two seeds"
    assert len({path.read_bytes() for path in paths}) == 2, "one a strategy"
    page = (here / "r/leaderboard.html").read_text()
    assert "<summary>Masks (2)</summary>" in page
    assert call("show", "masks", "grid", "--dataset", "toy_pictures") == 0
    assert (here / "masks.png").read_bytes() in {path.read_bytes() for path in paths}, "as trained"
