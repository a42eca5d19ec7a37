"""The folder of a run -> its encoder as a module: the features that were scored, and one line where there are none."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from builders.commands import VIT, call
from builders.plugins import DENSE, images, write
from torch import Tensor

from maebench.contracts import standardise
from maebench.runs.build import assemble
from maebench.runs.config import read_config
from maebench.runs.encoders import load
from maebench.runs.plan import RunSpec, make

CONFIG = f"""
tracks: [{{dataset: {{scenes: {{train: 120, val: 40, test: 40, size: 16}}}}, tasks: []}}]
variants: [raw_pixels, linear_mae: {{k: 16}}, vit_mae: {VIT}, vit_dae: {VIT}, own_dense]
masks: {{strategy: uniform, ratio: 0.75}}
pretrain: {{steps: 5, batch: 16}}
seeds: [3]
"""
SHAPE = (3, 16, 16)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with plug-ins in `plugins`, a config, and its results in `r`."""
    here = tmp_path_factory.mktemp("made")
    write(here / "plugins", "variants", "own_dense", DENSE)
    (here / "c.yaml").write_text(CONFIG)
    assert call("run", here / "c.yaml", "--out", here / "r", "--plugins", here / "plugins") == 0
    return here


def specs(made: Path) -> dict[str, RunSpec]:
    """Each run of the config by a name of its own."""
    planned = make(read_config(made / "c.yaml"), "c.yaml", made / "plugins")
    return {f"{spec.encoder.variant.name}{' untrained' if spec.floor else ''}": spec for spec in planned}


def folder(made: Path, name: str) -> Path:
    return made / "r" / specs(made)[name].run_id


def scored(made: Path, name: str, pixels: Tensor) -> Tensor:
    """The features by which the run was scored."""
    variant = assemble(specs(made)[name].encoder, SHAPE, made / "plugins").eval()
    weights = folder(made, name) / "weights.pt"
    if weights.exists():
        variant.load_state_dict(torch.load(weights)["weights"])
    return variant.encode(standardise(pixels))


NAMES = ["raw_pixels untrained", "linear_mae", "vit_mae", "vit_dae", "own_dense", "vit_mae untrained"]


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_the_features_are_those_that_were_scored(made: Path, name: str) -> None:
    encoder, pixels = load(folder(made, name), made / "plugins"), images(6, SHAPE)
    wanted = scored(made, name, pixels)
    assert not encoder.training
    assert torch.equal(encoder.encode(pixels), wanted)
    assert torch.equal(encoder(pixels), wanted)
    for floats in (pixels / 255, pixels.double() / 255):
        torch.testing.assert_close(encoder.encode(floats), wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))


def test_trained_and_untrained_are_two(made: Path) -> None:
    first, second = (load(folder(made, name)).encode(images(2, SHAPE)) for name in ("vit_mae", "vit_mae untrained"))
    assert not torch.allclose(first, second, atol=1e-3)


def test_gradients_flow_to_weights_and_images(made: Path) -> None:
    encoder = load(folder(made, "vit_mae"))
    floats = (images(2, SHAPE) / 255).requires_grad_()
    encoder.encode(floats).square().sum().backward()
    assert floats.grad is not None
    assert floats.grad.any()
    weights = dict(encoder.variant.named_parameters())
    assert all(weight.grad.any() for name, weight in weights.items() if name.startswith("encoder."))


def test_what_is_no_plain_image_is_refused(made: Path) -> None:
    encoder, pixels = load(folder(made, "vit_mae")), images(2, SHAPE)
    for wrong, message in {
        "shape": (pixels[:, :1], r"images must be \[B, 3, 16, 16\], not \[2, 1, 16, 16\]"),
        "axes": (pixels[0], r"images must be \[B, 3, 16, 16\], not \[3, 16, 16\]"),
        "type": (pixels.long(), r"images must be uint8, or floats in \[0, 1\], not torch.int64"),
        "0..255": (pixels.float(), r"float images must be in \[0, 1\], not 0 to 255; divide by 255, .*"),
        "normal": (standardise(pixels), r"float images must be in \[0, 1\], not -2 to 2; .*"),
        "nan": (torch.full((1, *SHAPE), torch.nan), r"float images must be in \[0, 1\], not nan to nan; .*"),
    }.values():
        with pytest.raises(ValueError, match=f"^{message}$"):
            encoder.encode(wrong)


def edited(path: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    known = json.loads(path.read_text())
    edit(known)
    path.write_text(json.dumps(known))


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of the run of vit_mae, to be spoilt."""
    return Path(shutil.copytree(folder(made, "vit_mae"), tmp_path / "run"))


def refusal(run: Path, plugins: Path | None = None) -> str:
    with pytest.raises((ValueError, LookupError)) as caught:
        load(run, plugins)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(str(run))
    return line.removeprefix(str(run))


def test_a_folder_that_is_no_run_is_one_line(made: Path, tmp_path: Path) -> None:
    assert refusal(tmp_path / "away") == ": is not the folder of a run; name that of a run, RESULTS/RUN_ID"
    runs = sorted(path.parent for path in made.glob("r/*/run.json"))
    assert refusal(made / "r") == f": is not the folder of a run; name one of its runs, such as {runs[0]}"


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"encoder": {"variant": "vit_mae"}}'])
def test_a_damaged_declaration_is_one_line(run: Path, text: str) -> None:
    (run / "run.json").write_text(text)
    line = refusal(run)
    assert line.startswith("/run.json: is damaged (")
    assert line.endswith("); remove it, then the same config makes the run again")


def test_a_run_without_weights_is_one_line(run: Path) -> None:
    (run / "weights.pt").unlink()
    again = f"remove {run}, then the same config makes the run again"
    assert refusal(run) == f"/weights.pt: is not there; {again}"
    (run / "weights.pt").write_bytes(b"PK")
    assert refusal(run).startswith("/weights.pt: is damaged (")
    torch.save({"weights": {"encoder.embed.weight": torch.zeros(16, 47)}}, run / "weights.pt")
    assert refusal(run) == f"/weights.pt: its 'mask_token' does not fit; {again}"


@pytest.mark.parametrize("lost", ["shape", "training"])
def test_a_run_of_an_older_maebench_is_one_line(run: Path, lost: str) -> None:
    edited(run / "run.json", lambda known: (known if lost == "shape" else known["encoder"]).pop(lost))
    line = "/run.json: maebench 0.2.0 or older made this run; carry it out again, or load it with that"
    assert refusal(run) == line


@pytest.mark.parametrize("change", [{"training": 0}, {"variant": "0123456789ab"}])
def test_other_code_is_refused(run: Path, change: dict[str, Any]) -> None:
    def edit(known: dict[str, Any]) -> None:
        for name, value in change.items():
            known["encoder"][name] = {**known["encoder"][name], "version": value} if name == "variant" else value

    edited(run / "run.json", edit)
    line = refusal(run)
    assert line.startswith(": variant vit_mae, a file that it reads, or maebench itself has changed since this run (")
    assert line.endswith("; load it with the code of then, or carry the run out again")


def test_a_plugin_is_found_by_its_name_and_must_be_the_same_code(made: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(folder(made, "own_dense"), tmp_path / "run"))
    with pytest.raises(LookupError, match=r"^no variant is called 'own_dense'"):
        load(run)
    assert load(run, made / "plugins").encode(images(1, SHAPE)).shape == (1, 4, 1, 1)
    write(tmp_path, "variants", "own_dense", DENSE.replace("* self.gain", "* self.gain * 2"))
    assert refusal(run, tmp_path).startswith(
        ": variant own_dense, a file that it reads, or maebench itself has changed"
    )


FOREIGN = """
tracks: [{dataset: {scenes: {train: 120, val: 40, test: 40, size: 16}}, tasks: [linear_probe]}]
variants: [pretrained: {path: w.pt, format: maebench, heads: 2}]
"""


def test_weights_of_maebench_are_a_row_and_load_as_long_as_they_are_the_same(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source, pixels = folder(made, "vit_mae"), images(3, SHAPE)
    shutil.copy(source / "weights.pt", "w.pt")
    Path("c.yaml").write_text(FOREIGN)
    assert call("run", "c.yaml", "--out", "r") == 0
    (run,) = (path.parent for path in tmp_path.glob("r/*/run.json"))
    with torch.no_grad():
        assert torch.allclose(load(run).encode(pixels), load(source).encode(pixels), rtol=0, atol=1e-5)
    Path("w.pt").write_bytes(b"another")
    assert "a file that it reads, or maebench itself has changed since this run" in refusal(run)
    Path("w.pt").unlink()
    assert refusal(run).startswith(": pretrained.path: is no file; ")
