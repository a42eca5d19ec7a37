"""A trained variant as the frozen function that tasks see."""

from pathlib import Path

import pytest
import torch
from builders.plugins import CPU, images, write
from torch import Tensor, nn

from maebench.contracts import Variant, standardise
from maebench.plugins import find, load
from maebench.runs.scoring import evaluate
from maebench.runs.scoring.evaluate import BATCH, frozen

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


def test_the_same_images_are_encoded_once(variant: Variant) -> None:
    data, encode = images(30), frozen(variant, CPU)
    first = [encode(data), encode(data[:10]), encode(data[10:])]
    second = [encode(data), encode(data[:10]), encode(data[10:])]
    assert variant.seen == 60
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


def test_images_changed_in_place_are_encoded_anew(variant: Variant) -> None:
    data, encode = images(4), frozen(variant, CPU)
    before = encode(data).clone()
    data[2] = 255 - data[2]
    assert torch.allclose(encode(data), direct(variant, data), atol=1e-6)
    assert not torch.equal(encode(data)[2], before[2])
    assert torch.equal(encode(data)[:2], before[:2])


def test_a_reused_address_is_not_mistaken_for_the_same_images(variant: Variant) -> None:
    encode = frozen(variant, CPU)
    for seed in range(30):  # each tensor is freed before the next of its size is made
        assert torch.allclose(encode(images(4, seed=seed)), direct(variant, images(4, seed=seed)), atol=1e-6)


def test_views_of_the_same_memory_are_told_apart(variant: Variant) -> None:
    data, encode = images(6), frozen(variant, CPU)
    for view in (data, data[:3], data[::2], data.transpose(2, 3), data[:1].expand(6, -1, -1, -1)):
        assert torch.allclose(encode(view), direct(variant, view), atol=1e-6)


def test_two_variants_do_not_share_features(variant: Variant) -> None:
    data = images(4)
    first = frozen(variant, CPU)(data).clone()
    with torch.no_grad():
        variant.layer.weight.mul_(2)
    assert not torch.equal(frozen(variant, CPU)(data), first)


def test_a_full_cache_only_costs_time(variant: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "CACHE_BYTES", 4 * 5 * 16 * 4)  # four images
    encode, data = frozen(variant, CPU), images(12)
    for _ in range(2):
        for start in range(0, 12, 4):
            part = data[start : start + 4]
            assert torch.allclose(encode(part), direct(variant, part), atol=1e-6)
    assert variant.seen == 4 + 2 * 8


def test_a_task_that_changes_its_features_spoils_nobody_elses(variant: Variant) -> None:
    data, encode = images(4), frozen(variant, CPU)
    encode(data).sub_(100)
    assert torch.allclose(encode(data), direct(variant, data), atol=1e-6)


def test_images_made_in_inference_mode_are_welcome(variant: Variant) -> None:
    data, encode = images(4), frozen(variant, CPU)
    with torch.inference_mode():
        features = encode(data[torch.tensor([2, 0])])
    assert torch.allclose(features, direct(variant, data[[2, 0]]), atol=1e-6)
