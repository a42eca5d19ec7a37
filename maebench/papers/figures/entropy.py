"""How widely an output pixel looks: patch size and masking ratio"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from maebench.contracts import Variant, standardise
from maebench.leaderboard.panels import COLOURS
from maebench.papers import drawing
from maebench.papers.claims import Finding, by_choice, learned, mean, per_doubling, taught
from maebench.papers.experiments import Experiments, values
from maebench.papers.scales import BRIEF, PROBE, TINY_VIT, Scale, mae_config
from maebench.seeding import stream
from maebench.theory.jacobian import jacobian, rebuilding
from maebench.theory.spatial import entropy, shares

FIGURES = ("9", "13")
CLAIMS = {
    "patch": "The spatial entropy of the Jacobian rises with the patch size.",
    "ratio": "The masking ratio changes it much less than the patch size does.",
    "patch_64": "On images of 64 x 64 pixels, too, it rises with the patch size.",
    "ratio_64": "On images of 64 x 64 pixels, too, the masking ratio changes it much less.",
}
CHOICES = (
    "The quick budget is far from the paper's: 32 wide, 2 encoder layers and 1 decoder layer, 250 steps of 32 images; "
    "64 random output values of 6 test images. Full: the paper's model and epochs, 256 values of 32 images.",
    "Ratios 0.1, 0.5, 0.75 and 0.9 (those of figure 11; full: and 0.25). In place of ImageNet-64, which may not be "
    "passed on: crops of 64 x 64 pixels of street photographs (KITTI and others), patch 4, 8 and 16, ratio 0.1 and "
    "0.9 (full: and 0.5).",
    "The main choice has the trained model see everything, since a row of the Jacobian is 0 on hidden pixels; another "
    "has a random mask for each image, as in training. The untrained model shows what is due to its form alone.",
    "A pixel's share is |J| summed over its channels; to compare, each channel by itself. Entropies in nats.",
    "Rises: the slope of a least-squares line over all cells of a seed, per doubling of the patch, is clearly above 0. "
    "Much less: the mean of a ratio (over patches) ranges over clearly less than half of what that of a patch does.",
    "Judged where the best trained encoder beats its untrained self: by linear probe, and on street photographs, which "
    "have no classes, by R^2 of log depth of the task monocular_depth, from the first 64 principal components of "
    "the whole map; all of them take minutes a run, since LiDAR leaves a third of the pixels unknown.",
)
SEEN, MASKED, APART = "everything seen", "masked as in training", "everything seen, channels apart"
STREET = {"rgbd": {"path": "rgbd-street.zip", "size": 64, "stride": 16, "valid": 0.0}}
BIN, MUCH = 0.25, 0.5  # nats; the share of the other's range that is no longer "much less"
# Figure 9 has the runs of ratio_patch, setting by setting, so that they are made once for both.
SWEEPS: dict[Scale, dict[str, dict[str, Any]]] = {
    "quick": {
        "9": {"ratios": (0.1, 0.5, 0.75, 0.9), "images": 6, "outputs": 64},
        "13": {
            "ratios": (0.1, 0.9),
            "images": 6,
            "outputs": 64,
            "task": {"monocular_depth": {"fit_images": 500, "k": 64, "axis": []}},
        },
    },
    "full": {
        "9": {"ratios": (0.1, 0.25, 0.5, 0.75, 0.9), "images": 32, "outputs": 256},
        "13": {
            "ratios": (0.1, 0.5, 0.9),
            "images": 32,
            "outputs": 256,
            "task": {"monocular_depth": {"k": 64, "axis": []}},
        },
    },
}
SETTINGS: dict[Scale, dict[str, dict[str, Any]]] = {
    scale: {
        "9": {
            **{"dataset": {"cifar10": {}}, "patches": (2, 4, 8)},
            **{"vit": TINY_VIT[scale], "pretrain": BRIEF[scale], "seeds": [0, 1, 2], **sweep["9"]},
            **{"task": {"linear_probe": PROBE[scale]}, "metric": "top1"},
        },
        "13": {
            **{"dataset": STREET, "patches": (4, 8, 16)},
            **{"vit": TINY_VIT[scale], "pretrain": BRIEF[scale], "seeds": [0, 1, 2], **sweep["13"]},
            "metric": "r2_log",
        },
    }
    for scale, sweep in SWEEPS.items()
}


def compute(experiments: Experiments, scale: Scale) -> pd.DataFrame:
    """Rows: figure ("9" or "13"), and those of `measured`."""
    tables = [measured(experiments, settings).assign(figure=figure) for figure, settings in SETTINGS[scale].items()]
    table: pd.DataFrame = pd.concat(tables, ignore_index=True)
    return table


def measured(experiments: Experiments, settings: Mapping[str, Any]) -> pd.DataFrame:
    """Rows, a histogram's bin each: patch, ratio (none: untrained), seed, score, input, mean (of all bins), low, share.

    `score` is the metric of the settings' task; `low` is where the bin starts, in nats, BIN wide; empty bins have no
    row.
    """
    models, (task,) = [{**settings["vit"], "patch": patch} for patch in settings["patches"]], settings["task"]
    config = mae_config(settings, models, settings["ratios"], [settings["task"]])
    scores = values(experiments.table(config), task, settings["metric"])
    rows = []
    for spec, states in experiments.trained(config):
        data, variant = spec.encoder.dataset, states[max(states)]
        if spec.floor:  # the first run of its patch and seed; it hides nothing
            whole = variant
        whole.load_state_dict(variant.state_dict())
        images = experiments.splits(data.name, data.settings)["test"].images
        chosen = torch.linspace(0, len(images) - 1, settings["images"]).long()
        inputs = standardise(images[chosen].to(experiments.device))
        head = {"patch": spec.encoder.variant.settings["patch"], "ratio": spec.encoder.ratio}
        head |= {"seed": spec.encoder.seed, "score": scores[spec.run_id]}
        for way, entropies in _entropies(whole, None if spec.floor else variant, inputs, settings["outputs"]):
            counts = (entropies / BIN).floor().long().bincount() / len(entropies)
            bins = [{"low": BIN * place, "share": float(counts[place])} for place in counts.nonzero()[:, 0].tolist()]
            rows += [{**head, "input": way, "mean": float(entropies.mean()), **bar} for bar in bins]
    table: pd.DataFrame = pd.DataFrame(rows)
    return table


def _entropies(whole: Variant, masked: Variant | None, images: Tensor, outputs: int) -> Iterator[tuple[str, Tensor]]:
    """Input -> entropies [N * outputs] of random output values, the same of each image."""
    C, H, W = images.shape[1:]
    chosen = torch.randperm(C * H * W, generator=stream(0, "figure", "outputs"))[:outputs]
    J = _jacobians(whole, images, chosen)
    yield SEEN, entropy(shares(J, (C, H, W))).flatten()
    yield APART, entropy(shares(J, (1, C * H, W))).flatten()
    if masked:
        yield MASKED, entropy(shares(_jacobians(masked, images, chosen), (C, H, W))).flatten()


def _jacobians(variant: Variant, images: Tensor, outputs: Tensor) -> Tensor:
    """-> [N, outputs, d] on the CPU; each image has its own mask, the same for every model of one patch and ratio."""
    each = enumerate(images)
    return torch.stack([jacobian(rebuilding(variant, "figure", n), image, rows=outputs).cpu() for n, image in each])


def judge(table: pd.DataFrame) -> Mapping[str, Finding]:
    """The slope over the patch, and the ranges of the means, for each figure and input."""
    cells = table.drop_duplicates(["figure", "patch", "ratio", "seed", "input"])
    findings = {}
    for figure, end in ((9, ""), (13, "_64")):
        own = cells[cells["figure"] == figure]
        trained, floor = own.dropna(subset="ratio"), own[own["ratio"].isna()]
        gain = learned(trained, floor, "score", ["patch", "ratio"], ["patch"])
        ways = {way: trained[trained["input"] == way] for way in (SEEN, MASKED, APART)}
        rises = {way: taught(_rises(rows), gain) for way, rows in ways.items()}
        rises[f"untrained, {SEEN}"] = _rises(floor[floor["input"] == SEEN])
        findings[f"patch{end}"] = by_choice(rises)
        findings[f"ratio{end}"] = by_choice({way: taught(_less(rows), gain) for way, rows in ways.items()})
    return findings


def _rises(cells: pd.DataFrame) -> Finding:
    slope = mean(list(per_doubling(cells, "patch", "mean").values()))
    return Finding(slope.positive, f"{slope} nats per doubling of the patch")


def _less(cells: pd.DataFrame) -> Finding:
    """Ranges of the means over ratio and over patch, for each seed."""
    ranges = {
        over: [float(np.ptp(rows.groupby(over)["mean"].mean())) for _, rows in cells.groupby("seed")]
        for over in ("patch", "ratio")
    }
    left = mean([MUCH * patch - ratio for patch, ratio in zip(ranges["patch"], ranges["ratio"], strict=True)])
    words = "the mean ranges over {} nats with the patch, {} with the ratio"
    return Finding(left.positive, words.format(mean(ranges["patch"]), mean(ranges["ratio"])))


def draw(table: pd.DataFrame) -> Mapping[str, Figure]:
    """A histogram for each patch and ratio, and the means; for the main choice."""
    return {f"figure_{figure}": _sheet(rows[rows["input"] == SEEN]) for figure, rows in table.groupby("figure")}


def _sheet(table: pd.DataFrame) -> Figure:
    trained = table.dropna(subset="ratio")
    ratios, patches = sorted(trained["ratio"].unique()), sorted(trained["patch"].unique())
    figure, (panels,) = drawing.sheet(1, len(ratios) + 1, 2.4, 2.4)
    edges = np.arange(table["low"].min(), table["low"].max() + 1.5 * BIN, BIN)
    seeds = table["seed"].nunique()
    for panel, ratio in zip(panels, ratios, strict=False):
        for patch, colour in zip(patches, COLOURS, strict=False):
            bars = trained[(trained["ratio"] == ratio) & (trained["patch"] == patch)]
            heights, _ = np.histogram(bars["low"] + BIN / 2, edges, weights=bars["share"] / seeds / BIN)
            panel.stairs(heights, edges, color=colour, lw=1.2, label=f"patch {patch}")
            panel.stairs(heights, edges, color=colour, alpha=0.2, fill=True)
        drawing.dress(panel, f"Ratio {ratio:g}", "spatial entropy, nats", "density, 1/nat")
        panel.sharey(panels[0])
    cells = trained.drop_duplicates(["patch", "ratio", "seed"])
    drawing.lines(panels[-1], cells, "ratio", "mean", "patch", "patch {}")
    for line, (_, rows) in zip(panels[-1].lines, table[table["ratio"].isna()].groupby("patch"), strict=False):
        panels[-1].axhline(rows["mean"].mean(), color=line.get_color(), lw=0.8, ls=":")
    drawing.dress(panels[-1], "Mean (dotted: untrained)", "masking ratio", "mean entropy, nats")
    panels[-1].get_legend().remove()
    figure.legend(
        *panels[0].get_legend_handles_labels(), fontsize=7, frameon=False, loc="outside lower center", ncols=3
    )
    return figure
