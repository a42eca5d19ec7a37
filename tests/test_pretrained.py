"""Encoders that were trained elsewhere: the features of the library they come from, and a row of the board."""

import argparse
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from builders.commands import VIT, call
from builders.encoders import SHAPE, SMALL, built, features, jostled, vit
from builders.plugins import CPU, images
from safetensors.torch import save_file
from torch import Tensor
from torchvision.transforms.v2 import functional as pictures
from transformers import ViTMAEConfig, ViTMAEForPreTraining, ViTMAEModel

from maebench.contracts import standardise
from maebench.runs.calibration import measured_pretraining
from maebench.runs.config import read_config
from maebench.runs.plan import make
from maebench.runs.records import read_rows
from maebench.tasks.fine_tune import learning_parts

IMAGENET = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def vitmae(kind: type, **changes: Any) -> torch.nn.Module:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    sizes |= {f"decoder_{name}": size for name, size in sizes.items()}
    settings = ViTMAEConfig(**{**sizes, "image_size": 16, "patch_size": 4, "mask_ratio": 0.0, **changes})
    with torch.random.fork_rng(devices=[]):
        return jostled(kind(settings))


def normal(pixels: Tensor) -> Tensor:
    """uint8 [B, 3, H, W] as ImageNet's models take them."""
    mean, std = (values[:, None, None] for values in IMAGENET)
    return (pixels / 255 - mean) / std


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def near(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("token", [True, False])
@torch.no_grad()
def test_timm_gives_the_same_features(tmp_path: Path, token: bool) -> None:
    model, pixels = vit(class_token=token, global_pool="token" if token else "", num_classes=3), images(5, SHAPE)
    path, wanted = saved(tmp_path / "w.pth", model.state_dict()), model.forward_features(normal(pixels))
    assert near(features(path, "timm", pixels), wanted[:, 1 if token else 0 :])
    assert wanted.std() > 0.5
    if token:
        assert near(features(path, "timm", pixels, pool="class"), wanted[:, :1])
    else:
        with pytest.raises(ValueError, match=r"w.pth has no class token; set `pool` to patches$"):
            built(path, "timm", pool="class")


@torch.no_grad()
def test_a_checkpoint_of_mae_with_its_decoder_and_options_gives_the_same_features(tmp_path: Path) -> None:
    model, pixels = vit(), images(5, SHAPE)
    decoder = vit(embed_dim=8)
    weights = {**model.state_dict(), "mask_token": torch.zeros(1, 1, 8), "decoder_pos_embed": decoder.pos_embed}
    weights |= {f"decoder_{name}": weight for name, weight in decoder.blocks.state_dict(prefix="blocks.").items()}
    options = argparse.Namespace(batch_size=64, lr=1e-3, output_dir="./output")
    path = saved(tmp_path / "c.pth", {"model": weights, "epoch": 3, "args": options})
    wanted = model.forward_features(normal(pixels))
    assert near(features(path, "facebookresearch/mae", pixels), wanted[:, 1:])
    with pytest.raises(ValueError, match=r"c.pth as timm: 'mask_token' has no place in a plain ViT$"):
        built(path, "timm")


# names of transformers 4, and in the files of 5, and of transformers 5 in memory
NAMES = {
    "encoder.layer.": "layers.",
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}


def named(weights: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """A state dict with parts of its names replaced, the encoder's at least."""
    found = dict(weights)
    for old, new in names.items():
        found = {name.replace(old, new): weight for name, weight in found.items()}
    return found


@pytest.mark.parametrize("kind", [ViTMAEModel, ViTMAEForPreTraining])
@pytest.mark.parametrize("names", ["as saved", "of 4", "of 5"])
@torch.no_grad()
def test_transformers_gives_the_same_features(tmp_path: Path, kind: type, names: str) -> None:
    model, pixels = vitmae(kind), images(5, SHAPE)
    path, start = tmp_path / "model.safetensors", "" if kind is ViTMAEModel else "vit."
    model.save_pretrained(tmp_path)
    if names == "of 5":
        path = saved(tmp_path / "5.bin", named(model.state_dict(), NAMES))
        assert f"{start}layers.0.attention.q_proj.weight" in torch.load(path)
    if names == "of 4":
        path = saved(tmp_path / "4.bin", named(model.state_dict(), {new: old for old, new in NAMES.items()}))
        assert f"{start}encoder.layer.0.attention.attention.query.weight" in torch.load(path)
    encoder = model if kind is ViTMAEModel else model.vit
    order = torch.arange(16.0).expand(5, -1)  # by which the model shuffles: as they are
    wanted = encoder(normal(pixels), noise=order).last_hidden_state
    assert near(features(path, "transformers", pixels), wanted[:, 1:])
    assert near(features(path, "transformers", pixels, pool="class"), wanted[:, :1])


@torch.no_grad()
def test_half_precision_is_read_as_float32(tmp_path: Path) -> None:
    model, pixels = vit().bfloat16(), images(3, SHAPE)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    wanted = model.float().forward_features(normal(pixels))
    assert near(features(tmp_path / "w.safetensors", "timm", pixels), wanted[:, 1:])


@pytest.mark.parametrize("key", ["model", "state_dict", "weights"])
def test_a_checkpoint_is_unwrapped(tmp_path: Path, key: str) -> None:
    plain = features(saved(tmp_path / "a.pt", vit().state_dict()), "timm", images(2, SHAPE))
    packed = saved(tmp_path / "b.pt", {"epoch": 1, key: vit().state_dict()})
    assert torch.equal(features(packed, "timm", images(2, SHAPE)), plain)


@torch.no_grad()
def test_another_size_takes_the_positions_interpolated_as_timm_does(tmp_path: Path) -> None:
    model, pixels = vit(dynamic_img_size=True), images(3, (3, 24, 8))
    path = saved(tmp_path / "w.pt", model.state_dict())
    wanted = model.forward_features(normal(pixels))
    assert near(features(path, "timm", pixels, size=(24, 8)), wanted[:, 1:])
    square = model.forward_features(normal(images(3, (3, 24, 24))))
    assert near(features(path, "timm", images(3, (3, 24, 24)), size=24), square[:, 1:])


@torch.no_grad()
def test_positions_of_no_square_need_their_size(tmp_path: Path) -> None:
    model, pixels = vit(img_size=(8, 16)), images(3, (3, 8, 16))
    path = saved(tmp_path / "w.pt", model.state_dict())
    wanted = model.forward_features(normal(pixels))
    assert near(features(path, "timm", pixels, size=(8, 16)), wanted[:, 1:])
    with pytest.raises(ValueError, match=r"^its 8 positions are no square; set `size` to \[height, width\]$"):
        built(path, "timm")
    with pytest.raises(ValueError, match=r"^its 8 positions are no square, nor the 4 x 4 patches of `size`$"):
        built(path, "timm", size=16)


@pytest.mark.parametrize("side", [8, 40])
@torch.no_grad()
def test_images_of_another_size_are_resized_as_torchvision_does(tmp_path: Path, side: int) -> None:
    squares = 255 * (images(3, (3, 4, 4)) > 127).to(torch.uint8)
    model, pixels = vit(), squares.repeat_interleave(side // 4, 2).repeat_interleave(side // 4, 3)
    path = saved(tmp_path / "w.pt", model.state_dict())
    resized = pictures.resize(pixels / 255, [16, 16], pictures.InterpolationMode.BICUBIC, antialias=True)
    assert resized.max() > 1, "bicubic interpolation oversteps, and what does is cut off"
    wanted = model.forward_features(normal(255 * resized.clamp(0, 1)))
    assert near(features(path, "timm", pixels), wanted[:, 1:])


@torch.no_grad()
def test_a_grey_image_is_grey_in_every_channel(tmp_path: Path) -> None:
    path, grey = saved(tmp_path / "w.pt", vit().state_dict()), images(3, (1, 16, 16))
    assert near(features(path, "timm", grey), features(path, "timm", grey.expand(-1, 3, -1, -1)))
    with pytest.raises(ValueError, match=r"w.pt is for images of 3 channels, but these have 4$"):
        built(path, "timm", (4, 16, 16))


@torch.no_grad()
def test_mean_and_std_are_settings(tmp_path: Path) -> None:
    model, pixels = vit(in_chans=1), images(3, (1, 16, 16))
    path = saved(tmp_path / "w.pt", model.state_dict())
    wanted = model.forward_features((pixels / 255 - 0.2) / 0.4)
    assert near(features(path, "timm", pixels, mean=[0.2], std=[0.4]), wanted[:, 1:])
    for wrong in ({}, {"mean": [0.2]}, {"mean": [0.2], "std": [0.0]}):
        with pytest.raises(ValueError, match=r"^`mean` and `std` must have 1 numbers each, and std be above 0$"):
            built(path, "timm", (1, 16, 16), **wrong)


def test_heads_are_those_of_the_published_vit_or_a_setting(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pt", vit(embed_dim=192, num_heads=3).state_dict())
    assert built(path, "timm", heads=None).blocks[0].heads == 3
    path = saved(tmp_path / "v.pt", vit().state_dict())
    with pytest.raises(ValueError, match=r"v.pt: no tensor tells the heads of its 16 features; set `heads`$"):
        built(path, "timm", heads=None)
    with pytest.raises(ValueError, match=r"^5 heads do not divide a width of 16$"):
        built(path, "timm", heads=5)


def dropped(*names: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda weights: {name: one for name, one in weights.items() if name not in names}


FAULTS: dict[str, Callable[[dict[str, Tensor]], Mapping[str, Any]]] = {
    "there is no tensor 'patch_embed.proj.weight'": lambda weights: {"a": torch.zeros(1)},
    "there is no tensor 'blocks.0.mlp.fc2.bias'": dropped("blocks.0.mlp.fc2.bias", "norm.bias"),
    "there is no tensor 'blocks.0.norm1.weight'": lambda w: {k: v for k, v in w.items() if "blocks.0" not in k},
    "there is no tensor 'norm.weight'": dropped("norm.weight"),  # what a model with global_pool="avg" lacks
    "there is no tensor 'pos_embed'": dropped("pos_embed"),
    "'blocks.1.attn.qkv.weight' has the shape [48, 8], not [48, 16]": lambda weights: {
        **weights,
        "blocks.1.attn.qkv.weight": torch.zeros(48, 8),
    },
    "'pos_embed' has the shape [17, 16], not [1, any, 16]": lambda weights: {
        **weights,
        "pos_embed": weights["pos_embed"][0],
    },
    "'patch_embed.proj.weight' embeds patches of 4 x 2 pixels, which are no squares": lambda weights: {
        **weights,
        "patch_embed.proj.weight": weights["patch_embed.proj.weight"][..., :2],
    },
    "'blocks.0.ls1.gamma' has no place in a plain ViT": lambda weights: {
        **weights,
        "blocks.0.ls1.gamma": torch.ones(16),
    },
    "'norm.bias' holds NaN or infinity": lambda weights: {**weights, "norm.bias": torch.full((16,), torch.nan)},
}


@pytest.mark.parametrize("message", FAULTS)
def test_a_state_dict_that_does_not_fit_is_one_line_with_its_first_tensor(tmp_path: Path, message: str) -> None:
    path = saved(tmp_path / "w.pt", FAULTS[message](vit().state_dict()))
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path} as timm: {message}')}$"):
        built(path, "timm")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"holds no weights \(EOFError\)"),
        (b"weights", r"holds no weights \(UnpicklingError\)"),
        (b"PK\x03\x04 and then nothing", r"holds no weights \(RuntimeError\)"),
        (torch.nn.Linear(1, 1), r"holds torch.nn.modules.linear.Linear, no plain value; .* \(UnpicklingError\)"),
        ([1, 2], "holds no state dict, nor one under model or state_dict or weights"),
        ({"model": {"a": 1}}, "holds no state dict, nor one under model or state_dict or weights"),
    ],
)
def test_a_file_without_a_state_dict_is_one_line(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "w.pt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))}: {message}$"):
        built(path, "timm")
    if isinstance(content, bytes):
        path = path.rename(tmp_path / "w.safetensors")
        with pytest.raises(ValueError, match=r"w.safetensors: holds no weights \(SafetensorError\)$"):
            built(path, "timm")


BOARD = """
tracks: [{{dataset: {{scenes: {{train: 120, val: 40, test: 40, size: 16}}}}, tasks: [linear_probe, monocular_depth]}}]
variants: [blank, vit_mae: {vit}, pretrained: {{{settings}}}]
masks: {{strategy: uniform, ratio: 0.75}}
pretrain: {{steps: 3, batch: 16}}
seeds: [0, 1]
"""
ALONE = BOARD.replace("blank, vit_mae: {vit}, ", "").replace(", monocular_depth", "")


def sources(folder: Path) -> dict[str, str]:
    """A file of each library -> the settings that put it on a board."""
    torch.save(vit().state_dict(), folder / "timm.pth")
    torch.save({"model": {**vit().state_dict(), "mask_token": torch.zeros(1, 1, 8)}}, folder / "mae.pth")
    vitmae(ViTMAEForPreTraining).save_pretrained(folder / "hub")
    return {
        "path: timm.pth, format: timm, heads: 2": "per patch",
        "path: timm.pth, format: timm, heads: 2, pool: class": "global",
        "path: mae.pth, format: facebookresearch/mae, heads: 2": "per patch",
        "path: hub/model.safetensors, format: transformers, heads: 2": "per patch",
    }


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a file of each library in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("number", range(4))
def test_every_format_is_a_ranked_row_of_unknown_cost(here: Path, number: int) -> None:
    settings, readout = list(sources(here).items())[number]
    (here / "c.yaml").write_text(BOARD.format(vit=VIT, settings=settings))
    assert call("run", "c.yaml", "--out", "r") == 0
    board = pd.read_csv("r/leaderboard.csv").set_index("variant")
    assert set(board.index[board["overall"].notna() & ~board["floor"]]) == {"pretrained", "vit_mae"}
    row = board.loc["pretrained"]
    assert row["deterministic"]
    assert not row["floor"]
    assert row[["pretrain s", "FLOPs/image", "peak MiB"]].isna().all(), "unknown is not nothing"
    assert row["parameters"] == sum(weight.numel() for name, weight in vit().named_parameters() if name != "pos_embed")
    (folder,) = (path.parent for path in here.glob("r/*/run.json") if '"pretrained"' in path.read_text())
    (depth,) = folder.glob("monocular_depth@*.jsonl")
    rows = list(read_rows(depth))
    assert {one.readout for one in rows} == {"whole map"}
    assert any(one.metric.name == "r2_log@local" for one in rows) == (readout == "per patch")
    assert not (folder / "reconstruction.png").exists(), "there is no decoder"


def test_the_file_is_looked_for_when_the_runs_are_planned(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "c.yaml").write_text(BOARD.format(vit=VIT, settings="path: away.pth, format: timm"))
    assert call("plan", "c.yaml") == 2
    assert capsys.readouterr().err == (
        f"maebench: c.yaml: pretrained.path: is no file; a relative path starts at the working folder, {here} "
        "(found: 'away.pth')\n"
    )


def test_another_content_is_another_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "c.yaml").write_text(ALONE.format(settings="path: w.pt, format: timm, heads: 2"))
    torch.save(vit().state_dict(), "w.pt")
    assert call("run", "c.yaml", "--out", "r") == 0
    capsys.readouterr()
    assert call("run", "c.yaml", "--out", "r") == 0
    assert "1 runs planned, 1 of them complete" in capsys.readouterr().err
    torch.save(vit(class_token=False, global_pool="").state_dict(), "w.pt")
    assert call("run", "c.yaml", "--out", "r") == 0
    assert "1 runs planned, 0 of them complete" in capsys.readouterr().err


def test_a_file_that_does_not_fit_is_found_before_any_work(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "c.yaml").write_text(BOARD.format(vit=VIT, settings="path: w.pt, format: maebench, heads: 2"))
    torch.save(vit().state_dict(), "w.pt")
    assert call("run", "c.yaml", "--out", "r") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    reason = "w.pt as maebench: there is no tensor 'encoder.embed.weight'"
    assert line == f"maebench: c.yaml: scenes, variant pretrained: {reason}"
    assert not list(here.glob("r/*/*.jsonl"))


def test_a_forecast_counts_no_training(here: Path) -> None:
    torch.save(vit().state_dict(), "w.pt")
    (here / "c.yaml").write_text(ALONE.format(settings="path: w.pt, format: timm, heads: 2"))
    assert call("plan", "c.yaml", "--out", "r", "--forecast") == 0
    assert call("run", "c.yaml", "--out", "r") == 0
    (spec,) = make(read_config(Path("c.yaml")), "c.yaml")
    need = measured_pretraining(Path("r"), spec.encoder, CPU)
    assert need is not None
    assert (need.seconds, need.basis) == (0.0, "measured")


def test_fine_tuning_reaches_every_weight(tmp_path: Path) -> None:
    variant = built(saved(tmp_path / "w.pt", vit().state_dict()), "timm")
    learning = {id(weight) for part, _ in learning_parts(variant, "whole", 1, 0.75) for weight in part.parameters()}
    assert learning == {id(weight) for weight in variant.parameters()}
    assert len(variant.stages()) == 1 + SMALL["depth"]
    variant.encode(standardise(images(2, SHAPE))).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in variant.parameters())
