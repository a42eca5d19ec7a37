"""docs/encoders.md is carried out as it stands, with the id of a run put in."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from builders.commands import call
from builders.encoders import vit

TEXT = (Path(__file__).parents[1] / "docs/encoders.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def commands(run: str) -> list[list[str]]:
    lines = "".join(blocks("sh")).replace("RUN_ID", run).splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines]


def test_its_examples_do_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sizes = {"img_size": 224, "patch_size": 16, "embed_dim": 192, "depth": 1, "num_heads": 3}
    torch.save({"model": {**vit(**sizes).state_dict(), "mask_token": torch.zeros(1, 1, 8)}}, "mae.pth")
    (config,) = blocks("yaml")
    Path("encoders.yaml").write_text(config)
    assert call(*commands("")[0]) == 0
    (run,) = (path.parent.name for path in tmp_path.glob("results/*/*/run.json") if '"uniform"' in path.read_text())
    for words in commands(run)[1:]:
        assert call(*words) == 0
    names: dict[str, Any] = {}
    with torch.random.fork_rng(devices=[]):
        for code in blocks("python"):
            exec(compile(code.replace("RUN_ID", run), "docs/encoders.md", "exec"), names)
    assert names["features"].shape == (8, 64, 8, 8)
    ours = names["features"].flatten(2).transpose(1, 2)
    assert torch.allclose(names["same"], ours, rtol=0, atol=1e-5)
    assert names["features"].requires_grad
