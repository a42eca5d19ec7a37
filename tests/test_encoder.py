"""A trained variant as the frozen function that tasks see."""

from pathlib import Path

import pytest
import torch
from builders.plugins import CPU, images, write
from torch import Tensor, nn

from maebench.contracts import Split, Variant, standardise
from maebench.plugins import find, load
from maebench.runs.scoring import features
from maebench.runs.scoring.features import BATCH, frozen, kept

COUNTED = '''"""Counts how often it encodes, and would drop features while training."""
import torch
from torch import nn
from maebench.contracts import Variant

class Counted(Variant):
    def __init__(self, shape):
        super().__init__()
        self.layer, self.drop, self.seen = nn.Conv2d(shape[0], 5, 2, 2), nn.Dropout(0.5), 0

    def reconstruct(self, images, rng):
        raise AssertionError

    def loss(self, images, rng):
        raise AssertionError

    def encode(self, images):
        self.seen += len(images)
        return self.drop(self.layer(images))

def build(shape):
    return Counted(shape)
'''


@pytest.fixture
def variant(tmp_path: Path) -> Variant:
    write(tmp_path, "variants", "toy_counted", COUNTED)
    with torch.random.fork_rng(devices=[]):
        return load(find("variants", "toy_counted", tmp_path)).build((3, 8, 8))


def direct(variant: nn.Module, data: Tensor) -> Tensor:
    """What the layer gives, written out."""
    return variant.layer(standardise(data)).detach()


def test_features_are_those_of_the_variant_at_rest(variant: Variant) -> None:
    data = images(7)
    features = frozen(variant.train(), CPU)(data)
    assert features.shape == (7, 5, 4, 4)
    assert features.dtype == torch.float32
    assert torch.allclose(features, direct(variant, data), atol=1e-6)


def test_features_are_plain_tensors_without_a_gradient(variant: Variant) -> None:
    features = frozen(variant, CPU)(images(3))
    assert not features.requires_grad
    assert not features.is_inference()
    weight = torch.ones(5, requires_grad=True)
    torch.einsum("ndhw,d->", features, weight).backward()  # a task may train a read-out on them
    assert weight.grad is not None


def test_half_precision_features_become_float32(variant: Variant) -> None:
    variant.drop.register_forward_hook(lambda module, given, output: output.half())
    assert frozen(variant, CPU)(images(3)).dtype == torch.float32


def test_batches_do_not_matter(variant: Variant) -> None:
    data = images(2 * BATCH["cpu"] + 3)
    encode = frozen(variant, CPU)
    whole = encode(data)
    assert torch.allclose(whole, direct(variant, data), atol=1e-6)
    parts = torch.cat([encode(data[:11]), encode(data[11:])])
    assert torch.allclose(parts, whole, atol=1e-6)


def data_of(**counts: int) -> dict[str, Split]:
    return {name: Split(images(count, seed=seed)) for seed, (name, count) in enumerate(counts.items())}


def test_slices_of_the_splits_are_encoded_once_by_all_who_use_the_folder(variant: Variant, tmp_path: Path) -> None:
    data = data_of(train=30, test=20)
    slices = [data["train"].images[:20], data["train"].images[20:], data["test"].images]
    for _ in range(2):  # the second is another process, after the first was killed
        encode = kept(frozen(variant, CPU), data, tmp_path / "features")
        for _ in range(2):
            for part in slices:
                assert torch.allclose(encode(part), direct(variant, part), atol=1e-6)
    assert variant.seen == 50


def test_other_images_are_encoded_each_time(variant: Variant, tmp_path: Path) -> None:
    data = data_of(train=6)
    encode, whole = kept(frozen(variant, CPU), data, tmp_path), data["train"].images
    for view in (whole, whole[:3], whole[::2], whole.transpose(2, 3), whole[:1].expand(6, -1, -1, -1), whole.clone()):
        assert torch.allclose(encode(view), direct(variant, view), atol=1e-6)
    assert sorted(path.name.split(".")[0] for path in tmp_path.glob("*.npy")) == ["train-0-3", "train-0-6"]


def test_images_changed_in_place_are_encoded_anew(variant: Variant, tmp_path: Path) -> None:
    data = data_of(train=4)
    encode = kept(frozen(variant, CPU), data, tmp_path)
    before = encode(data["train"].images).clone()
    data["train"].images[2] = 255 - data["train"].images[2]
    assert torch.allclose(encode(data["train"].images), direct(variant, data["train"].images), atol=1e-6)
    assert not torch.equal(encode(data["train"].images)[2], before[2])


@pytest.mark.parametrize("harm", ["cut", "zeros", "empty"])
def test_a_spoilt_file_is_made_again(variant: Variant, tmp_path: Path, harm: str) -> None:
    data = data_of(train=12)
    kept(frozen(variant, CPU), data, tmp_path)(data["train"].images)
    (path,) = tmp_path.glob("*.npy")
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[:-50], "zeros": whole[:200] + bytes(len(whole) - 200), "empty": b""}[harm])
    again = kept(frozen(variant, CPU), data, tmp_path)(data["train"].images)
    assert torch.allclose(again, direct(variant, data["train"].images), atol=1e-6)
    assert variant.seen == 24
    assert [one.read_bytes() for one in tmp_path.glob("*.npy")] == [whole]


def test_a_full_folder_only_costs_time(variant: Variant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "KEPT_BYTES", 4 * 5 * 16 * 4 + 200)  # four images, and the head of the file
    data = data_of(train=12)
    encode = kept(frozen(variant, CPU), data, tmp_path)
    for _ in range(2):
        for start in range(0, 12, 4):
            part = data["train"].images[start : start + 4]
            assert torch.allclose(encode(part), direct(variant, part), atol=1e-6)
    assert variant.seen == 4 + 2 * 8


def test_no_disk_is_filled_for_features(variant: Variant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "SPARE_BYTES", 2**62)
    data = data_of(train=4)
    kept(frozen(variant, CPU), data, tmp_path)(data["train"].images)
    assert not list(tmp_path.glob("*.npy"))


def test_a_task_that_changes_its_features_spoils_nobody_elses(variant: Variant, tmp_path: Path) -> None:
    data = data_of(train=4)
    encode = kept(frozen(variant, CPU), data, tmp_path)
    for _ in range(2):
        encode(data["train"].images).sub_(100)
    assert torch.allclose(encode(data["train"].images), direct(variant, data["train"].images), atol=1e-6)


def test_images_made_in_inference_mode_are_welcome(variant: Variant) -> None:
    data, encode = images(4), frozen(variant, CPU)
    with torch.inference_mode():
        features = encode(data[torch.tensor([2, 0])])
    assert torch.allclose(features, direct(variant, data[[2, 0]]), atol=1e-6)
