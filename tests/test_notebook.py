"""docs/notebook.ipynb: its code runs as it stands, with fewer steps, and its outputs are there."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

CELLS = json.loads((Path(__file__).parents[1] / "docs/notebook.ipynb").read_text())["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]


def test_it_plans_runs_loads_and_probes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    few = {
        '"steps": 400': '"steps": 5',
        '"train": 2000, "val": 500, "test": 500': '"train": 200, "val": 50, "test": 50',
    }
    code = "\n".join(CODE)
    for whole, less in few.items():
        assert code.count(whole) == 1
        code = code.replace(whole, less)
    names: dict[str, Any] = {}
    with torch.random.fork_rng(devices=[]):
        exec(compile(code, "docs/notebook.ipynb", "exec"), names)
    assert len(names["runs"]) == 7
    assert {row.masking for row in names["results"].boards[0].rows} == {"uniform", "block", ""}
    assert names["features"].shape == (1797, 64, 8, 8)
    assert names["accuracy"](names["pixels"].flatten(1)) > 0.9


def test_it_was_executed_from_top_to_bottom() -> None:
    cells = [cell for cell in CELLS if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert all(cell["outputs"] for cell in cells[1:])
    shown = json.dumps([cell["outputs"] for cell in cells])
    assert "<table" in shown
    assert "Traceback" not in shown
