"""Where a number comes from, and nothing about who made it."""

import getpass
import json
import re
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from builders.plugins import CPU, images

import maebench
from maebench.contracts import Split
from maebench.runs.provenance import checksum, describe
from maebench.training.devices import pick_device

SPLIT = Split(images(6), {"label": torch.arange(6), "depth": torch.rand(6, 1, 8, 8, generator=torch.Generator())})
SOFTWARE = {"maebench", "commit", "dirty", "python", "torch", "numpy", "scikit-learn"}


def test_software_and_hardware_are_described() -> None:
    facts = describe(CPU)
    assert set(facts) == SOFTWARE | {"date", "device", "device_name", "cuda", "threads"}
    assert facts["maebench"] == maebench.__version__
    assert facts["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert facts["device"] == "cpu"
    assert facts["threads"] == torch.get_num_threads()
    assert facts["device_name"]
    assert facts["commit"] is None or re.fullmatch("[0-9a-f]{12}", facts["commit"])
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts


def test_no_host_user_or_path_is_told() -> None:
    facts = describe(CPU)
    text = json.dumps({key: value for key, value in facts.items() if key != "device_name"})
    for secret in (socket.gethostname(), getpass.getuser(), str(Path.home()), str(Path.cwd()), "/home", "/root"):
        assert not re.search(rf"(?<!\w){re.escape(secret)}(?!\w)", text), secret
    assert "/" not in text
    assert socket.gethostname() != facts["device_name"]


def test_the_checksum_is_that_of_the_content() -> None:
    again = Split(SPLIT.images.clone(), {name: SPLIT.targets[name].clone() for name in ("depth", "label")})
    assert checksum(again) == checksum(SPLIT)
    turned = SPLIT.images.transpose(2, 3).contiguous().transpose(2, 3)
    assert not turned.is_contiguous()
    assert checksum(replace(SPLIT, images=turned)) == checksum(SPLIT)
    assert re.fullmatch("[0-9a-f]{64}", checksum(SPLIT))


def test_one_pixel_or_target_changes_the_checksum() -> None:
    pixel = SPLIT.images.clone()
    pixel[3, 1, 4, 5] ^= 1
    depth = SPLIT.targets["depth"].clone()
    depth[5, 0, 7, 7] = torch.nan
    changed = [
        replace(SPLIT, images=pixel),
        replace(SPLIT, images=SPLIT.images.view(6, 3, 4, 16)),
        replace(SPLIT, images=SPLIT.images.flip(0)),
        replace(SPLIT, targets={**SPLIT.targets, "depth": depth}),
        replace(SPLIT, targets={**SPLIT.targets, "label": SPLIT.targets["label"].float()}),
        replace(SPLIT, targets={"depth": SPLIT.targets["depth"]}),
    ]
    assert len({checksum(split) for split in [SPLIT, *changed]}) == 7


def test_a_device_is_picked_or_its_lack_is_said() -> None:
    assert pick_device("cpu") == CPU
    if torch.cuda.is_available():
        assert pick_device("auto") == pick_device("cuda") == torch.device("cuda")
    else:
        assert pick_device("auto") == CPU
        with pytest.raises(ValueError, match=r"^device cuda: torch sees no GPU here; use --device cpu, or auto$"):
            pick_device("cuda")
