"""Where a number comes from: versions, commit, device, data checksum. No host names, user names or paths."""

import hashlib
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import maebench
from maebench.contracts import Split


def checksum(split: Split) -> str:
    """SHA-256 over images and targets, as hex."""
    total = hashlib.sha256()
    for tensor in (split.images, *(split.targets[name] for name in sorted(split.targets))):
        total.update(repr((tensor.dtype, tuple(tensor.shape))).encode())
        total.update(tensor.contiguous().numpy().data)
    return total.hexdigest()


def describe(device: torch.device) -> dict[str, Any]:
    """What a record says about date, software and hardware."""
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"date": date, **_software(), **hardware(device)}


@cache
def _software() -> dict[str, Any]:
    packages = ("torch", "numpy", "scikit-learn")
    versions = {name: version(name) for name in packages}
    return {"maebench": maebench.__version__, **_commit(), "python": platform.python_version(), **versions}


def _commit() -> dict[str, Any]:
    """The commit of this code and whether it is changed, where it runs from a git checkout of its own."""
    home = Path(__file__).parents[2]
    if not (home / ".git").exists():
        return {"commit": None, "dirty": None}

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(home), *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return {"commit": git("rev-parse", "--short=12", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}


def hardware(device: torch.device) -> dict[str, Any]:
    """What times and memory are compared within."""
    if device.type == "cuda":
        return {
            "device": "cuda",
            "device_name": torch.cuda.get_device_name(),
            "cuda": torch.version.cuda,
            "threads": None,
        }
    return {"device": "cpu", "device_name": _processor(), "cuda": None, "threads": torch.get_num_threads()}


def joint(machines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The hardware of a training that began on the first of these and went on on the others: none that is compared."""
    if len(machines) < 2:
        return dict(machines[0]) if machines else {}
    names = [f"{one['device_name']}" + (f", {one['threads']} threads" if one["threads"] else "") for one in machines]
    return {"device": "several", "device_name": " then ".join(names), "cuda": None, "threads": None}


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.machine())
