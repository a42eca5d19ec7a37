"""What every data set must hold, refused in one line by `run`, `check` and `data verify` alike, before any work."""

from pathlib import Path

import pytest
import torch
from builders.commands import call
from builders.plugins import images, write, write_all

from maebench.contracts import Split
from maebench.data.reading.splits import class_counts, hold, hold_classes, load_splits
from maebench.plugins import find

SOUND = '''"""Random pixels with all targets."""
import torch
from maebench.contracts import Split
from maebench.seeding import stream

VERSION = 1
TARGETS = ("label", "depth", "latents")

def load(split, *, count: int = 20):
    rng = stream(0, "sound", split)
    images = torch.randint(256, (count, 3, 8, 8), generator=rng).to(torch.uint8)
    label, last = torch.arange(count) % 4, split == "test"
    depth, latents = torch.rand(count, 1, 8, 8, generator=rng) + 1, torch.rand(count, 5, generator=rng)
    depth[:, :, 0] = torch.nan
    # changes
    return Split(images, {"label": label, "depth": depth, "latents": latents})
'''

# a line more in load -> words of the line that refuses it
BROKEN = {
    "images = images / 255": ["toy, train: images must be uint8 [N, C, H, W], 0 to 255, but are float32 [20, 3, 8, 8]"],
    "images = images.long()": ["images must be uint8", "but are int64 [20, 3, 8, 8], 0 to 255"],
    "images = images.numpy()": ["images must be uint8", "but are ndarray, no tensor"],
    "images = images[:, 0]": ["images must be uint8 [N, C, H, W]", "uint8 [20, 8, 8]"],
    "images = images[:0]": ["images must be uint8 [N, C, H, W]", "uint8 [0, 3, 8, 8]"],
    "images = images.permute(0, 2, 3, 1)": ["toy, train: images", "[20, 8, 8, 3] has its channels last"],
    "images = (images / 255).to(torch.uint8)": ["toy, train: images", "no value is above 1; multiply them by 255"],
    "images = images[:, :1] if last else images": ["toy: images", "[3, 8, 8] in val, [1, 8, 8] in test"],
    "images = images[..., :4, :] if last else images": ["toy, test: 'depth' must be", "[20, 1, 8, 8]", "[20, 3, 4, 8]"],
    "label = label.float()": ["toy, train: 'label' must be int64 [N], 0 or more, but is float32 [20], 0 to 3"],
    "label = torch.full([count], torch.nan)": ["'label' must be int64", "float32 [20], 20 NaN"],
    "label = label[:, None]": ["'label' must be int64 [N]", "int64 [20, 1]"],
    "label = label - int(last)": ["toy, test: 'label' must be", "0 or more", "-1 to 2"],
    "label = label[:-1] if last else label": ["toy, test: 'label' must be", "[19]", "images are [20, 3, 8, 8]"],
    "label = label.tolist()": ["'label' must be", "is list, no tensor"],
    "label = label + last": ["toy, label: class 0 needs images in train and in test", "5 in val, 0 in test"],
    "label = label % 3 if split == 'train' else label": ["class 3 needs", "0 in train, 5 in val, 5 in test"],
    "label = label + 4 if split == 'val' else label": ["class 4 needs", "0 in train, 5 in val, 0 in test (4 classes"],
    "label = label * 0 + 7": ["toy, label: all images are of one class, 7"],
    "depth = depth[:, 0]": ["toy, train: 'depth' must be float32 [N, 1, H, W]", "float32 [20, 8, 8]", "160 NaN"],
    "depth = depth.double()": ["'depth' must be float32", "float64 [20, 1, 8, 8]"],
    "depth = depth[..., :4]": ["'depth' must be float32 [N, 1, H, W]", "[20, 1, 8, 4]"],
    "depth = depth - 1.5": ["'depth' must be", "above 0", "-0.4", " to 0.4"],
    "depth = depth * torch.nan": ["'depth' must be", "some known", "1280 NaN"],
    "depth = depth / 0": ["'depth' must be", "inf to inf"],
    "depth = depth[:-1] if last else depth": ["toy, test: 'depth'", "[19, 1, 8, 8]"],
    "latents[3, 2] = torch.nan": ["toy, train: 'latents' must be float32 [N, L], finite", "1 NaN"],
    "latents[3, 2] = torch.inf": ["'latents' must be", "to inf"],
    "latents = latents[:, 0]": ["'latents' must be float32 [N, L]", "float32 [20]"],
    "latents = latents.long()": ["'latents' must be float32", "int64 [20, 5]"],
    "latents = latents[:, :4] if last else latents": ["toy: 'latents'", "[5] in train, [5] in val, [4] in test"],
    "return images, label": ["toy, train: load must give a contracts.Split, but gave a tuple"],
    "return Split(images, {})": ["toy, train: targets must be those in TARGETS (depth, label, latents), but are none"],
    "return Split(images, {'label': label})": ["targets must be those in TARGETS", "but are label"],
}  # fmt: skip


def toy(folder: Path, change: str = "") -> Path:
    """A folder of plug-ins with a data set `toy`, `change` a line of its `load`."""
    write_all(folder)
    write(folder, "datasets", "toy", SOUND.replace("# changes", change))
    return folder


@pytest.mark.parametrize("change", BROKEN)
def test_a_data_set_that_breaks_the_contract_is_one_clear_line(tmp_path: Path, change: str) -> None:
    found = find("datasets", "toy", toy(tmp_path, change))
    with pytest.raises(ValueError, match=r"^toy[,:] ") as error:
        load_splits(found, {"count": 20}, tmp_path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200
    assert all(word in str(error.value) for word in BROKEN[change]), error.value


@pytest.mark.parametrize("change", ["", "label[0] = 9", "depth[1:] = torch.nan", "latents = latents[:, :1]"])
def test_a_sound_one_is_loaded(tmp_path: Path, change: str) -> None:
    """Sound too: a class of its own label, depth of one image alone, one latent."""
    splits = load_splits(find("datasets", "toy", toy(tmp_path, change)), {"count": 20}, tmp_path)
    assert list(splits) == ["train", "val", "test"]
    assert {len(split.images) for split in splits.values()} == {20}


def test_a_class_may_be_missing_from_val_alone() -> None:
    labels = {"train": [0, 1, 2], "val": [0], "test": [2, 1, 0]}
    splits = {name: Split(images(len(given)), {"label": torch.tensor(given)}) for name, given in labels.items()}
    hold("toy", ("label",), splits)
    assert class_counts(splits["test"]) == {0: 1, 1: 1, 2: 1}
    with pytest.raises(ValueError, match=r"class 'b' needs .* has 3 in train, 1 in val, 0 in test"):
        hold_classes("photos", {"train": {"a": 4, "b": 3}, "val": {"b": 1}, "test": {"a": 2, "b": 0}})


CONFIG = """
tracks: [{dataset: toy, tasks: toy_labels}]
variants: [toy_dense]
pretrain: {steps: 2, batch: 4}
"""


@pytest.mark.parametrize("change", ["images = images / 255", "label = label + last", "latents[3, 2] = torch.nan"])
def test_run_check_and_verify_say_the_same_and_run_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    monkeypatch.chdir(toy(tmp_path, change))
    Path("c.yaml").write_text(CONFIG)
    assert call("run", "c.yaml", "--out", "r", "--plugins", ".") == 2
    line = " ".join(capsys.readouterr().err.split("maebench: ")[-1].split())
    assert all(word in line for word in BROKEN[change])
    assert not list(Path("r").rglob("*.json*"))
    assert call("data", "verify", "toy", "--plugins", ".") == 2
    assert " ".join(capsys.readouterr().err.split()) == f"maebench: {line}"
    assert call("check", "toy", "--plugins", ".") == 1
    assert f"splits are as declared: {line}" in " ".join(capsys.readouterr().out.split())


def test_verify_lists_classes_and_their_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = '\n\ndef class_names():\n    return ["[ant]", "bee", "cow", "dog"]\n'
    for code, first in ((SOUND, "0"), (SOUND + names, "[ant]")):
        change = "label[: 3 + last] = 0"  # two labels of 20 that were not, three in test
        write(tmp_path, "datasets", "toy", code.replace("# changes", change))
        assert call("data", "verify", "toy", "--plugins", tmp_path) == 0
        lines = capsys.readouterr().out.splitlines()
        for split, line in zip(("train", "val", "test"), lines, strict=False):
            assert line.startswith(f"{split:5}  20 x 3 x 8 x 8  label, depth, latents  sha256 ")
        assert lines[3:5] == ["4 classes, images in train / val / test:", f"  {first}  7 / 7 / 8"]
        assert len(lines) == 8


def test_verify_counts_many_classes_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change = "label = torch.arange(count) % (count // 2 + 1 + (split != 'val'))"
    write(tmp_path, "datasets", "toy", SOUND.replace("# changes", change))
    assert call("data", "verify", "toy", "--plugins", tmp_path, "--set", "count=60") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[3:] == ["32 classes, images of each: train 1 to 2, val 0 to 2, test 1 to 2"]


def test_the_built_in_data_sets_name_their_classes(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {"train": 500, "val": 60, "test": 60, "size": 16}
    assert call("data", "verify", "scenes", *(f"--set={name}={size}" for name, size in sizes.items())) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[3] == "10 classes, images in train / val / test:"
    assert lines[4].startswith("  sphere  50 / ")
    assert lines[-1].startswith("  arch  50 / ")
