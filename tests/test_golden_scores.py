"""Golden results: every built-in variant by every built-in task, trained for next to nothing.

On one machine they are the same to 1e-6; with other instructions (ATEN_CPU_CAPABILITY=default OPENBLAS_CORETYPE=Nehalem
MKL_CBWR=COMPATIBLE, say) sums in another order move a score by up to 1.4e-5 of itself, and might move an image of 200
from wrong to right, half a point.

A change of these numbers is a change of what boards say: raise the VERSION of the task, or TRAINING, and write the file
again in a commit that says why, with `python tests/test_golden_scores.py`.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

import maebench
from maebench.plugins import names

GOLDEN = Path(__file__).parent / "golden" / "scores.json"
SMALL = {"width": 16, "depth": 2, "heads": 2, "decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2}
LABELS = {name for name, task in names("tasks").items() if task.constants["NEEDS"] == "label"}
SLOW = {"fine_tune": {"epochs": 1}, "attentive_probe": {"epochs": 1, "queries": 2}}
CONFIG = {
    "tracks": {
        "dataset": {"scenes": {"train": 300, "val": 100, "test": 200}},
        "tasks": [{name: SLOW.get(name, {})} for name in sorted(names("tasks"))],
    },
    "variants": [
        *("raw_pixels", "blank"),
        *({name: {"k": 32}} for name in ("linear_ae", "linear_dae", "linear_mae")),
        *({name: SMALL} for name in ("vit_mae", "vit_ae", "vit_dae")),
        {"vit_simmim": {name: value for name, value in SMALL.items() if "decoder" not in name}},
    ],
    "masks": {"strategy": ["uniform", "block"], "ratio": 0.75},
    "pretrain": {"steps": 5, "batch": 32, "base_lr": 8e-3},
}


def scores(folder: Path) -> dict[str, dict[str, float]]:
    """Row -> task@version -> headline metric, and that of each failed cell, "failed"."""
    found: dict[str, dict[str, Any]] = {}
    tracks = [CONFIG["tracks"]]
    try:
        results = maebench.run({**CONFIG, "tracks": tracks}, folder, device="cpu", threads=1)
    except maebench.RunsFailed:
        results = maebench.results(folder)
    details = results.details[results.details["task"] != "cost"]
    for row in details[details["headline"] | (details["status"] == "failed")].to_dict("records"):
        masking = row["masking"] if isinstance(row["masking"], str) else ""
        label = " ".join(
            word
            for word in (row["variant"], masking, "untrained" * bool(row["seed"] is not None and row["floor"]))
            if word
        )
        value = row["value"] if row["status"] == "ok" else f"failed: {row['reason']}"
        found.setdefault(label, {})[f"{row['task']}@{row['task_version']}"] = value
    return {label: dict(sorted(found[label].items())) for label in sorted(found)}


def test_every_variant_scores_what_it_did_on_every_task(tmp_path: Path) -> None:
    golden, here = json.loads(GOLDEN.read_text()), scores(tmp_path)
    assert here.keys() == golden.keys()
    for label, values in golden.items():
        for task, value in values.items():
            per_cent = task.split("@")[0] in LABELS
            assert here[label][task] == pytest.approx(value, rel=1e-4, abs=0.5 if per_cent else 1e-4), (label, task)
        assert here[label].keys() == values.keys()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        GOLDEN.write_text(json.dumps(scores(Path(place)), indent=1) + "\n")
    sys.stdout.write(f"{GOLDEN} written\n")
