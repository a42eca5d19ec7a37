"""Fine-tuning a few blocks instead of all: accuracy, time, and memory"""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from maebench.papers import drawing
from maebench.papers.claims import Finding, above, below, learned, mean, taught
from maebench.papers.experiments import Experiments
from maebench.papers.scales import PRETRAIN, TUNE, VIT, Scale, Settings, mae_config

FIGURES = ("12",)
CLAIMS = {
    "accuracy": "Tuning one block comes within 2 points of tuning the whole encoder.",
    "speed": "Tuning one block is nearly 2 times as fast.",
    "memory": "Tuning one block needs less memory.",
}
CHOICES = (
    "The quick budget is far from the paper's: an encoder 48 wide with 4 layers, pretrained for 500 steps of 32 images "
    "at patch 4, ratio 0.75, and tuned on 2,000 images for 3 epochs. Full: the paper's model and epochs.",
    "One block: the last one with the final norm, and a new linear head. The whole learns at rates that fall by 0.75 a "
    "block towards the input, as in He et al. 2022; head: a new linear head alone.",
    "Within 2 points: the loss is below 2. Nearly 2 times: at least 1.5, nearer to 2 than to 1. Less memory: the share "
    "that is saved is above 0.",
    "Seconds and memory are those of the tuning alone. On a CPU no memory is compared: its peak is the resident set of "
    "the process, which keeps what was needed before.",
    "Labels alone: the same from the untrained encoder. The accuracy is judged where the best tuning is better after "
    "pretraining.",
)
WITHIN, NEARLY = 2.0, 1.5
METRICS = {"top1": "top-1, %", "tune_seconds": "seconds", "tune_peak_memory": "MiB"}
BLOCKS: dict[Scale, tuple[int, ...]] = {"quick": (1, 2), "full": (1, 2, 4, 8, 12)}
SETTINGS: Settings = {
    scale: {
        **{"dataset": {"cifar10": {}}, "vit": VIT[scale], "blocks": blocks},
        **{"pretrain": PRETRAIN[scale], "fine_tune": TUNE[scale], "seeds": [0, 1, 2]},
    }
    for scale, blocks in BLOCKS.items()
}


def compute(experiments: Experiments, scale: Scale) -> pd.DataFrame:
    """Rows: those of `measured`."""
    return measured(experiments, SETTINGS[scale])


def tunings(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What is tuned -> settings of the task."""
    last = {f"last {count}": {"tune": "last", "blocks": count} for count in settings["blocks"]}
    ways: dict[str, dict[str, Any]] = {"head": {"tune": "head"}, **last, "whole": {"tune": "whole"}}
    return {name: {**settings["fine_tune"], **way} for name, way in ways.items()}


def configs(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One encoder, tuned in every way."""
    return [
        mae_config(settings, [settings["vit"]], tasks=[{"fine_tune": asked} for asked in tunings(settings).values()])
    ]


def measured(experiments: Experiments, settings: Mapping[str, Any]) -> pd.DataFrame:
    """Rows, a tuning each: seed, floor, tuned ("head", "last 1", ..., "whole"), the task's metrics, device."""
    (config,) = configs(settings)
    table = experiments.table(config)
    table = table[(table["task"] == "fine_tune") & table["metric"].isin([*METRICS, "tuned_parameters"])]
    parts = []
    for name, asked in tunings(settings).items():
        rows = table[[asked.items() <= json.loads(text).items() for text in table["task_settings"]]]
        wide = rows.pivot(index=["seed", "floor"], columns="metric", values="value").reset_index()
        parts.append(wide.assign(tuned=name, device=experiments.device.type))
    joined: pd.DataFrame = pd.concat(parts, ignore_index=True)
    return joined


def judge(table: pd.DataFrame) -> Mapping[str, Finding]:
    """One block against the whole, for each seed."""
    gain = learned(table[~table["floor"]], table[table["floor"]], "top1", ["tuned"], ["tuned"])
    trained = table[~table["floor"]].set_index(["tuned", "seed"])
    block, whole = trained.loc["last 1"], trained.loc["whole"]
    lost = (whole["top1"] - block["top1"]).to_list()
    faster = (whole["tune_seconds"] / block["tune_seconds"]).to_list()
    saved = (1 - block["tune_peak_memory"] / whole["tune_peak_memory"]).to_list()
    memory = Finding(above(saved, 0), f"{mean(saved)} of the peak memory saved")
    if (table["device"] == "cpu").any():
        memory = Finding("not run", "the peak of a process on a CPU says little of the tuning; it takes a GPU")
    return {
        "accuracy": taught(Finding(below(lost, WITHIN), f"{mean(lost)} points less than the whole"), gain),
        "speed": Finding(above(faster, NEARLY), f"{mean(faster)} times as fast"),
        "memory": memory,
    }


def draw(table: pd.DataFrame) -> Mapping[str, Figure]:
    """Accuracy, time and, from a GPU, memory against what is tuned."""
    start = table["floor"].map({False: "pretrained", True: "labels alone"})
    ways = list(dict.fromkeys(table["tuned"]))
    placed = table.assign(start=start, place=table["tuned"].map(ways.index)).sort_values("floor")
    shown = [name for name in METRICS if name != "tune_peak_memory" or (table["device"] != "cpu").all()]
    figure, (panels,) = drawing.sheet(1, len(shown))
    for panel, name in zip(panels, shown, strict=True):
        drawing.lines(panel, placed, "place", name, "start")
        title = {"top1": "Accuracy", "tune_seconds": "Time of tuning", "tune_peak_memory": "Peak memory"}[name]
        drawing.dress(panel, title, "blocks tuned", METRICS[name])
        panel.set_xticks(range(len(ways)), ways)
        panel.set_ylim(bottom=0)
    return {"figure_12": figure}
