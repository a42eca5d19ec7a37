"""A run that is killed after two of six tasks, then completed: each image is encoded once."""

import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
import yaml
from builders.plugins import DENSE, LABELS, images, write

from maebench.contracts import Split, standardise
from maebench.runs.scoring.features import kept

COUNTED = DENSE.replace(
    "        return self.inner(",
    """        with open("encoded.txt", "a") as file:
            print(len(images), file=file)
        return self.inner(""",
).replace("    def encode(", "    def fit(self, images):\n        pass\n\n    def encode(")
WAIT = LABELS.replace(
    "    return lambda images:",
    """    import time
    from pathlib import Path
    Path("here").touch()
    while not Path("go").exists():
        time.sleep(0.1)
    return lambda images:""",
)
CONFIG = {
    "tracks": [
        {
            "dataset": {"scenes": {"train": 1200, "val": 60, "test": 40, "size": 16}},
            "tasks": ["linear_probe", "knn", "toy_wait", "gabor_frequency", "component_probe", "latents"],
        }
    ],
    "variants": "toy_counted",
}


def run(folder: Path) -> "subprocess.Popen[bytes]":
    words = ["run", "c.yaml", "--out", "r", "--plugins", str(folder), "--threads", "1"]
    return subprocess.Popen([sys.executable, "-m", "maebench", *words], cwd=folder)


def test_features_are_extracted_once(tmp_path: Path) -> None:
    write(tmp_path, "variants", "toy_counted", COUNTED)
    write(tmp_path, "tasks", "toy_wait", WAIT)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(CONFIG))
    first = run(tmp_path)
    while not (tmp_path / "here").exists():
        assert first.poll() is None
        time.sleep(0.05)
    first.kill()
    first.wait()
    assert {path.name.split("@")[0] for path in tmp_path.glob("r/*/*.jsonl")} == {"linear_probe", "knn"}
    (tmp_path / "go").touch()
    assert run(tmp_path).wait() == 0
    assert len(list(tmp_path.glob("r/*/*.jsonl"))) == 7
    batches = [int(line) for line in (tmp_path / "encoded.txt").read_text().split()]
    assert sum(size for size in batches if size > 1) == 1300, "single images tell the grid before the work begins"
    assert not list(tmp_path.glob("r/*/features"))


def test_features_that_find_no_room_are_made_each_time(tmp_path: Path) -> None:
    split = Split(images(20))
    look = kept(standardise, {"train": split}, tmp_path / "features")
    limits, signals = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
    try:
        found = look(split.images)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, signals)
    assert torch.equal(found, standardise(split.images))
    assert not list((tmp_path / "features").iterdir())
