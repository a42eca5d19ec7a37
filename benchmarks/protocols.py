"""Do probe protocols agree? The scores of ten encoders under each, and Kendall's tau of their orders.

    OMP_NUM_THREADS=1 python benchmarks/protocols.py DATA OUT

CIFAR-10 in DATA; runs and board in OUT, and a second call only reads them. 2 CPU cores: see `docs/tasks.md`, which has
the tables that it prints.
"""

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import kendalltau

import maebench
from maebench.leaderboard.results import Results

VIT: dict[str, Any] = {"width": 64, "depth": 1, "decoder_width": 32, "decoder_depth": 1}
FEW = {"fit_images": 10_000}
TASKS: list[dict[str, dict[str, Any]]] = [
    {"linear_probe": FEW},
    {"linear_probe": {**FEW, "pooling": "cells"}},
    {"linear_probe": {**FEW, "pooling": "cells", "cells": 4}},
    {"linear_probe": {**FEW, "protocol": "batchnorm_sgd"}},
    {"knn": FEW},
    {"knn": {**FEW, "pooling": "cells"}},
    {"low_shot": FEW},
    {"robustness": FEW},
    {"component_probe": {}},
    {"attentive_probe": {}},
]
CONFIG: dict[str, Any] = {
    "tracks": [{"dataset": "cifar10", "tasks": TASKS}],
    "variants": [
        *("raw_pixels", "linear_ae", "linear_mae"),
        {"vit_mae": {**VIT, "target": "normalised"}},
        {"vit_mae": {**VIT, "target": "pixels"}},
        *({name: VIT} for name in ("vit_ae", "vit_dae")),
    ],
    "masks": {"strategy": ["uniform", "block"], "ratio": 0.75},
    "pretrain": {"steps": 2400, "batch": 32, "base_lr": 3.2e-2},  # the demo's recipe, twice as long
    "seeds": [0],
}


def scores(results: Results) -> pd.DataFrame:
    """A row an encoder, a column a protocol: per cent of test."""
    details = results.details
    heads = details[details["headline"] & (details["task"] != "cost") & (details["status"] == "ok")]
    words = [_words(row) for row in heads.to_dict("records")]
    table = heads.assign(encoder=[one for one, _ in words], protocol=[one for _, one in words])
    known = table.drop_duplicates(["encoder", "protocol"])  # all ViTs are alike untrained
    wide: pd.DataFrame = known.pivot(index="encoder", columns="protocol", values="value")
    return wide


def _words(row: dict[str, Any]) -> tuple[str, str]:
    settings, task = json.loads(row["settings"]), json.loads(row["task_settings"])
    encoder = " ".join(one for one in (row["variant"], settings.get("target"), row["masking"]) if isinstance(one, str))
    if row["floor"] and row["variant"].startswith("vit"):
        encoder = "untrained"
    changed = [task["protocol"]] if task.get("protocol", "logistic") != "logistic" else []
    changed += [f"{task['cells']} x {task['cells']} cells"] if task.get("pooling") == "cells" else []
    return encoder, " ".join([row["task"], *changed])


def tau(table: pd.DataFrame) -> pd.DataFrame:
    """Kendall's tau-b of the order of the encoders, for each pair of protocols."""
    found: pd.DataFrame = pd.DataFrame(1.0, table.columns, table.columns)
    for one, other in itertools.combinations(table.columns, 2):
        found.loc[one, other] = found.loc[other, one] = kendalltau(table[one], table[other]).statistic
    return found


def main() -> None:
    """Run, or read, and print as CSV."""
    data, out = map(Path, sys.argv[1:])
    table = scores(maebench.run(CONFIG, out, data_root=data))
    spread = table.max(axis=1) - table.min(axis=1)
    print(table.assign(spread=spread).round(1).to_csv(), tau(table).round(2).to_csv(), sep="\n")


if __name__ == "__main__":
    main()
