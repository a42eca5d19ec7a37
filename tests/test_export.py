"""Encoders for elsewhere: timm's features are ours, our own file is read again, and one line where there is nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from builders.commands import VIT, call
from builders.encoders import features
from builders.plugins import images, write
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer

from maebench.runs.config import read_config
from maebench.runs.encoders import export, load
from maebench.runs.plan import make

CONFIG = f"""
tracks: [{{dataset: {{scenes: {{train: 120, val: 40, test: 40, size: 16}}}}, tasks: []}}]
variants: [raw_pixels, linear_mae: {{k: 16}}, vit_mae: {VIT}, vit_ae: {VIT}, vit_dae: {VIT}, shifted]
masks: {{strategy: uniform, ratio: 0.75}}
pretrain: {{steps: 40, batch: 32, base_lr: 3.0e-2}}
"""
SHIFTED = '''"""A ViT whose features are not its encoder's."""
from maebench.contracts import Reconstruction, Variant
from maebench.models.vit import ViTEncoder
import torch

class Shifted(Variant):
    def __init__(self, shape):
        super().__init__()
        self.encoder = ViTEncoder(shape, patch=4, width=8, depth=1, heads=1)

    def reconstruct(self, images, rng):
        return Reconstruction(images, torch.ones_like(images[:, :1], dtype=torch.bool), images)

    def loss(self, images, rng):
        return self.encode(images).square().mean()

    def encode(self, images):
        return self.encoder.encode(images) + 1

def build(shape):
    return Shifted(shape)
'''
SHAPE = (3, 16, 16)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plug-in in `plugins` and results in `r`."""
    here = tmp_path_factory.mktemp("made")
    write(here / "plugins", "variants", "shifted", SHIFTED)
    (here / "c.yaml").write_text(CONFIG)
    assert call("run", here / "c.yaml", "--out", here / "r", "--plugins", here / "plugins") == 0
    return here


def folder(made: Path, name: str, floor: str = "") -> Path:
    planned = make(read_config(made / "c.yaml"), "c.yaml", made / "plugins")
    (run,) = (one.run_id for one in planned if one.encoder.variant.name == name and bool(floor) == one.floor)
    return made / "r" / run


def timm_of(about: dict[str, Any], weights: Path) -> VisionTransformer:
    """What the docs say to do."""
    with torch.random.fork_rng(devices=[]):
        model = VisionTransformer(**about["arguments"])
    model.load_state_dict(load_file(weights), strict=True)
    model.norm.eps = about["norm_eps"]
    return model.eval()


@pytest.mark.parametrize("name", ["vit_mae", "vit_ae", "vit_dae"])
@torch.no_grad()
def test_timm_loads_it_strictly_and_gives_the_same_features(made: Path, tmp_path: Path, name: str) -> None:
    run, pixels = folder(made, name), images(50, SHAPE)
    assert call("export", run, "--to", "timm", "--out", tmp_path) == 0
    about = json.loads((tmp_path / "timm.json").read_text())
    how = about["preprocessing"]
    mean, std = (torch.tensor(how[key])[:, None, None] for key in ("mean", "std"))
    assert how["input_size"] == list(SHAPE)
    assert about["encoder"]["variant"]["name"] == name
    model = timm_of(about, tmp_path / "timm.safetensors")
    theirs = model.forward_features((pixels / 255 - mean) / std)
    ours = load(run).encode(pixels).flatten(2).transpose(1, 2)
    assert torch.allclose(theirs, ours, rtol=0, atol=1e-5)
    assert ours.std() > 0.5


@torch.no_grad()
def test_our_own_names_are_those_of_the_variant(made: Path, tmp_path: Path) -> None:
    for name in ("vit_mae", "linear_mae"):
        weights, about = export(folder(made, name), "safetensors", tmp_path / name)
        assert (weights, about) == (tmp_path / name / "weights.safetensors", tmp_path / name / "weights.json")
        found, own = load_file(weights), load(folder(made, name)).variant.state_dict()
        assert found.keys() == own.keys()
        assert all(torch.equal(found[key], own[key]) for key in own)
        assert json.loads(about.read_text())["preprocessing"]["input_size"] == list(SHAPE)
    pixels = images(3, SHAPE)
    again = features(tmp_path / "vit_mae/weights.safetensors", "maebench", pixels)
    ours = load(folder(made, "vit_mae")).encode(pixels).flatten(2).transpose(1, 2)
    assert torch.allclose(again, ours, rtol=0, atol=1e-5)


def test_files_lie_beside_the_run_unless_told_otherwise(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = folder(made, "vit_mae")
    before = set(run.iterdir())
    assert call("export", run, "--to", "timm") == 0
    assert set(run.iterdir()) - before == {run / "timm.safetensors", run / "timm.json"}
    assert capsys.readouterr().out == f"files: {run / 'timm.safetensors'}, {run / 'timm.json'}\n"
    assert call("run", made / "c.yaml", "--out", made / "r", "--plugins", made / "plugins") == 0
    assert "10 runs planned, 10 of them complete" in capsys.readouterr().err


@torch.no_grad()
def test_an_untrained_floor_is_an_encoder_too(made: Path, tmp_path: Path) -> None:
    run, pixels = folder(made, "vit_mae", "floor"), images(2, SHAPE)
    weights, about = export(run, "timm", tmp_path)
    how = json.loads(about.read_text())
    theirs = timm_of(how, weights).forward_features((pixels / 255 - 0.5) / 0.25)
    assert torch.allclose(theirs, load(run).encode(pixels).flatten(2).transpose(1, 2), rtol=0, atol=1e-5)


def test_what_cannot_be_written_is_one_line(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = "the encoder of {} is no plain ViT, which --to timm needs; try --to safetensors"
    raw, linear, shifted = folder(made, "raw_pixels", "floor"), folder(made, "linear_mae"), folder(made, "shifted")
    (tmp_path / "taken").write_text("a file")
    for words, message in {
        (
            tmp_path / "away",
            "--to",
            "timm",
        ): f"{tmp_path}/away: is not the folder of a run; name that of a run, RESULTS/RUN_ID",
        (linear, "--to", "onnx"): "--to onnx: is none of timm, safetensors",
        (linear, "--to", "timm"): f"{linear}: {plain.format('linear_mae')}",
        (raw, "--to", "timm"): f"{raw}: {plain.format('raw_pixels')}",
        (raw, "--to", "safetensors"): f"{raw}: raw_pixels has no weights to write",
        (shifted, "--to", "timm", "--plugins", made / "plugins"): f"{shifted}: {plain.format('shifted')}",
        (linear,): "Missing option '--to'",
    }.items():
        assert call("export", *words, "--out", tmp_path / "out") == 2, words
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"maebench: {message}"), line
    assert not (tmp_path / "out").exists()
    assert call("export", linear, "--to", "safetensors", "--out", tmp_path / "taken") == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
