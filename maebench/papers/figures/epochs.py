"""A longer training: linear probe and reconstruction error over the epochs"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from maebench.papers import drawing
from maebench.papers.claims import Finding, learned, mean, no_proxy, taught
from maebench.papers.experiments import Experiments
from maebench.papers.scales import PRETRAIN, PROBE, VIT, Scale, Settings, mae_config

FIGURES = ("epochs",)
CLAIMS = {
    "probe": "The linear probe still improves at the end of training.",
    "error": "The reconstruction error falls to the end of training.",
    "proxy": "The reconstruction error does not predict the linear probe.",
}
CHOICES = (
    "The quick budget is far from the paper's: 48 wide, 4 encoder layers and 1 decoder layer, 1,200 steps of 32 "
    "images, 0.85 epochs; probed every 300 steps, the probe fitted on 2,000 images. Full: the paper's model and "
    "epochs, 4 decoder layers, probed about every 100 epochs.",
    "Patch 4 (full: 2), ratio 0.75. Reconstruction error: mean squared error of the hidden pixels of 1,000 test "
    "images, the same masks at every step.",
    "To the end: the last snapshot against the one nearest to half of the training. "
    "The learning rate falls to 0 along a cosine, so the end of another budget is no snapshot of this one.",
    "Does not predict: over the snapshots of a seed, the rank correlation of error and accuracy is above -0.71, so "
    "that less than half of the variance of the ranks is explained. Step 0 is left out.",
)
PROBED: Settings = {"quick": {"steps": 1200, "probe_every": 300}, "full": {"probe_every": 1100}}
SETTINGS: Settings = {
    scale: {
        **{"dataset": {"cifar10": {}}, "vit": VIT[scale], "pretrain": {**PRETRAIN[scale], **probed}},
        **{"linear_probe": PROBE[scale], "seeds": [0, 1, 2]},
    }
    for scale, probed in PROBED.items()
}


def compute(experiments: Experiments, scale: Scale) -> pd.DataFrame:
    """Rows: those of `measured`."""
    return measured(experiments, SETTINGS[scale])


def configs(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One training, probed on the way."""
    return [mae_config(settings, [settings["vit"]], tasks=[{"linear_probe": settings["linear_probe"]}])]


def measured(experiments: Experiments, settings: Mapping[str, Any]) -> pd.DataFrame:
    """Rows, a snapshot each: seed, step, epoch, probe, error (none at step 0, where nothing was ever masked)."""
    (config,) = configs(settings)
    table, snapshots = experiments.table(config), experiments.errors(config)
    scores = table.set_index(["run_id", "metric"])["value"]
    last = snapshots.groupby("run_id")["step"].transform("max")
    metrics = snapshots["step"].map("top1@step={}".format).where(snapshots["step"] < last, "top1")
    snapshots["probe"] = [scores[place] for place in zip(snapshots["run_id"], metrics, strict=True)]
    floors = table[table["floor"] & (table["metric"] == "top1")].rename(columns={"value": "probe"})
    snapshots = pd.concat([snapshots, floors[["seed", "probe"]].assign(step=0)])
    dataset = experiments.specs(config)[0].encoder.dataset
    images = len(experiments.splits(dataset.name, dataset.settings)["train"].images)
    snapshots["epoch"] = snapshots["step"] * settings["pretrain"]["batch"] / images
    ordered: pd.DataFrame = snapshots.drop(columns="run_id").sort_values(["seed", "step"])
    return ordered


def judge(table: pd.DataFrame) -> Mapping[str, Finding]:
    """The end against the middle, and rank correlations, for each seed, if any snapshot has learned anything."""
    trained = table[table["step"] > 0]
    gain = learned(trained, table[table["step"] == 0], "probe", ["step"])
    seeds = [rows.set_index("step").sort_index() for _, rows in trained.groupby("seed")]
    end = max(trained["step"])
    half = min(trained["step"], key=lambda step: abs(step - end / 2))
    gained = mean([rows["probe"][end] - rows["probe"][half] for rows in seeds])
    fallen = mean([rows["error"][half] - rows["error"][end] for rows in seeds])
    findings = {
        "probe": Finding(gained.positive, f"{gained} points from step {half} to {end}"),
        "error": Finding(fallen.positive, f"{fallen} lower at step {end} than at {half}"),
        "proxy": no_proxy(seeds, "probe"),
    }
    return {claim: taught(finding, gain) for claim, finding in findings.items()}


def draw(table: pd.DataFrame) -> Mapping[str, Figure]:
    """Linear probe and reconstruction error over the epochs, a line for each seed, and one against the other."""
    trained = table[table["step"] > 0]
    figure, ((probe, error, both),) = drawing.sheet(1, 3)
    drawing.lines(probe, table, "epoch", "probe", "seed", "seed {}")
    drawing.dress(probe, "Linear probe", "epochs", "top-1, %")
    drawing.lines(error, trained, "epoch", "error", "seed", "seed {}")
    drawing.dress(error, "Reconstruction error", "epochs", "mean squared error, test")
    drawing.lines(both, trained, "error", "probe", "seed", "seed {}")
    both.invert_xaxis()
    drawing.dress(both, "In the order of training", "mean squared error, test", "linear probe, top-1, %")
    return {"figure_epochs": figure}
