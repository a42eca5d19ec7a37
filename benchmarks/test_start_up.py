"""From the shell to the answer: commands that train nothing, each in a process of its own."""

import subprocess
import sys
from pathlib import Path

from maebench.declaration import KINDS
from maebench.plugins import names
from maebench.runs import config, plan

ROOT = Path(__file__).parents[1]
QUICK = ROOT / "configs" / "quick.yaml"


def maebench(*words: str) -> str:
    """What the command prints."""
    command = [sys.executable, "-m", "maebench", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_list(benchmark):
    text = benchmark(lambda: maebench("list"))
    names = {name for kind in KINDS for name in names(kind)}
    assert len(names) > 8
    assert names <= set(text.split())


def test_plan(benchmark):
    text = benchmark(lambda: maebench("plan", str(QUICK)))
    runs = plan.make(config.read_config(QUICK), str(QUICK))
    assert all(run.run_id in text for run in runs)
