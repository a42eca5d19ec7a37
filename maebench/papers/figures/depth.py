"""Depth read from linear codes of few and of many values"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from maebench.contracts import Split, standardise
from maebench.models.patches import patch_of_pixel
from maebench.papers import drawing
from maebench.papers.claims import Finding, all_of, by_choice, mean
from maebench.papers.experiments import Experiments
from maebench.papers.scales import Scale
from maebench.plugins import find, load
from maebench.tasks.readouts.whole import remembered
from maebench.theory.closed_form import bernoulli, clean, optimum
from maebench.theory.moments import moments

FIGURES = ("7b",)
CLAIMS = {
    "small": "At small latent dimensions depth is read better from the codes of MAEs of all patch sizes than an AE's."
}
CHOICES = (
    "Images, each shown where its data are there, the first is the main one: cityscapes, the paper's; street (the "
    "archive rgbd-street.zip: 32 x 32 crops of driving scenes with LiDAR depth); tabletop (rgbd-tabletop.zip: Kinect); "
    "scenes (generated). Grey, the mean of the channels; --budget full adds RGB.",
    "Linear models in closed form, Bernoulli masks, m = 0.75 or 0.5, patch 2, 4, 8 and 16. Small: k = 2, 4, 8 and 16.",
    "Read-out: that of the task monocular_depth, ridge regression from all principal components of a code of k values "
    "to log depth, the penalty of each pixel chosen on val; targets are every 5th pixel in both directions, spread "
    "over places in a patch, unknown ones left out.",
    "Measures: R^2 of log depth about each pixel's mean over the test images, the task's headline, negative where the "
    "distances of test differ from those of train; and AbsRel, the mean of |guess - depth| / depth.",
    "The claim holds where, for each patch size, the mean over small k of MAE less AE is above 0, and is contradicted "
    "where for one of them it is below.",
    "Uncertainty: train and test are each cut into three consecutive thirds, and third i is tested on third i, so that "
    "near copies (crops overlap, frames follow each other) fall into one third and both sides vary. Street and "
    "tabletop have but a few places each; n = 3 says little of others.",
)
DATA: dict[str, tuple[str, dict[str, Any]]] = {
    "cityscapes": ("cityscapes", {}),
    "street": ("rgbd", {"path": "rgbd-street.zip"}),
    "tabletop": ("rgbd", {"path": "rgbd-tabletop.zip"}),
    "scenes": ("scenes", {"train": 4000, "val": 500, "test": 1000}),
}
RATIOS, PATCHES, KS, SMALL, STEP = (0.75, 0.5), (2, 4, 8, 16), (2, 4, 8, 16, 32, 64, 128, 256), 16, 5
CHANNELS: dict[Scale, tuple[str, ...]] = {"quick": ("grey",), "full": ("grey", "rgb")}
MEASURES = {"r2_log": "R^2 of log depth", "abs_rel": "AbsRel"}
MAIN = "r2_log"
BASELINES = ("mean map", "row mean")
ALL = 10**9  # images; more than there are


def compute(experiments: Experiments, scale: Scale) -> pd.DataFrame:
    """Rows: data, channels, and those of `measured`."""
    tables = []
    for name, (dataset, settings) in DATA.items():
        try:
            splits = experiments.splits(dataset, settings)
        except LookupError as error:
            experiments.progress.line(f"depth: left out: {error}")
            continue
        for channels in CHANNELS[scale]:
            tables.append(measured(splits, channels, PATCHES, KS).assign(data=name, channels=channels))
    table: pd.DataFrame = pd.concat(tables, ignore_index=True)
    return table


def measured(splits: Mapping[str, Split], channels: str, patches: tuple[int, ...], ks: tuple[int, ...]) -> pd.DataFrame:
    """Rows: part, model ("AE", "MAE" or a baseline), patch and ratio (0 = no MAE), k (0 = baseline), MEASURES."""
    train, val, test = (_prepared(splits[name], channels) for name in ("train", "val", "test"))
    rows: list[dict[str, object]] = []
    for part in range(3):
        parts = (_third(train, part), val, _third(test, part))
        average, C = moments(parts[0].images)
        for model, encoder in _encoders(C, parts[0].images.shape, patches, max(ks)):
            codes = [Split(_codes(split.images, average, encoder), split.targets) for split in parts]
            rows += [{"part": part, **model, "k": k, **_read(codes, k)[0]} for k in ks]
        nothing = [Split(torch.zeros(len(split.images), 1, 1, 1), split.targets) for split in parts]
        for name, scores in zip(BASELINES, _read(nothing, 1), strict=True):
            rows.append({"part": part, "model": name, "patch": 0, "ratio": 0.0, "k": 0, **scores})
    table: pd.DataFrame = pd.DataFrame(rows)
    return table


def _prepared(split: Split, channels: str) -> Split:
    """Images grey, if they are to be, and depth at every STEP-th pixel."""
    images = split.images
    if channels == "grey":
        images = images.float().mean(1, keepdim=True).round().to(torch.uint8)
    return Split(images, {"depth": split.targets["depth"][:, :, STEP // 2 :: STEP, STEP // 2 :: STEP]})


def _third(split: Split, part: int) -> Split:
    chosen = torch.arange(len(split.images)).tensor_split(3)[part]
    return Split(split.images[chosen], {name: target[chosen] for name, target in split.targets.items()})


def _encoders(
    C: Tensor, shape: torch.Size, patches: tuple[int, ...], k: int
) -> Iterator[tuple[dict[str, object], Tensor]]:
    """What a model is -> its encoder [k, d], whose first rows are the encoder of a smaller k."""
    yield {"model": "AE", "patch": 0, "ratio": 0.0}, optimum(C, clean(C), k).encoder
    for ratio in RATIOS:
        for patch in patches:
            index = patch_of_pixel((shape[1], shape[2], shape[3]), patch)
            yield {"model": "MAE", "patch": patch, "ratio": ratio}, optimum(C, bernoulli(C, index, ratio), k).encoder


def _codes(images: Tensor, average: Tensor, encoder: Tensor) -> Tensor:
    """uint8 [N, C, H, W] -> float32 [N, k, 1, 1]."""
    centred = standardise(images).flatten(1).double() - average
    return (centred @ encoder.T).float()[:, :, None, None]


def _read(codes: Sequence[Split], k: int) -> tuple[dict[str, float], dict[str, float]]:
    """Codes of train, val and test in place of images, of which k values are read -> scores of that, of the row mean.

    The task is handed the codes, and an encoder that does nothing, so that each image is encoded once for all k.
    """
    task = load(find("tasks", "monocular_depth"))
    train, val, test = (Split(split.images[:, :k], split.targets) for split in codes)
    predict = task.fit(_unchanged, remembered(_unchanged), train, val, fit_images=ALL, axis=())
    scores = task.measure(predict(test.images), test.targets, axis=(), scale="metric")
    here, by_row = ({name: scores[f"{name}{end}"] for name in MEASURES} for end in ("", f"@baseline={BASELINES[1]}"))
    return here, by_row


def _unchanged(codes: Tensor) -> Tensor:
    return codes


def judge(table: pd.DataFrame) -> Mapping[str, Finding]:
    """MAE less AE by patch size, for each data set, ratio and measure."""
    findings = {}
    for (data, channels), rows in table.groupby(["data", "channels"], sort=False):
        plain, blank = (rows[rows["model"] == model] for model in ("AE", BASELINES[0]))
        for ratio, masked in rows[rows["model"] == "MAE"].groupby("ratio", sort=False):
            for measure, words in MEASURES.items():
                gains = _gains(masked, plain, measure)
                if measure == "abs_rel":  # lower is better
                    gains["gain"] *= -1
                levels = (mean(list(rows[measure])) for rows in (plain[plain["k"] == SMALL], blank))
                ends = "AE at k = {} {}, mean map {}".format(SMALL, *levels)
                findings[f"{data}, {channels}, m = {ratio}, {words}"] = _better(gains, ends)
    return {"small": by_choice(findings)}


def _gains(masked: pd.DataFrame, plain: pd.DataFrame, measure: str) -> pd.DataFrame:
    """The rows of MAEs with what the AE has of the same part and k, and the column "gain", MAE less AE."""
    both: pd.DataFrame = masked.merge(plain, on=["part", "k"], suffixes=("", "_plain"))
    both["gain"] = both[measure] - both[f"{measure}_plain"]
    return both


def _better(gains: pd.DataFrame, ends: str) -> Finding:
    """How much better MAEs are for each patch size, and at which k they are."""
    verdicts, words = [], []
    for patch, rows in gains.groupby("patch"):
        small = mean(list(rows[rows["k"] <= SMALL].groupby("part")["gain"].mean()))
        ahead = [str(k) for k, parts in rows.groupby("k") if mean(list(parts["gain"])).positive == "holds"]
        verdicts.append(small.positive)
        words.append(f"{small} for patch {patch} (ahead at k = {', '.join(ahead) or 'none'})")
    return Finding(all_of(verdicts), f"MAE better than AE by {'; '.join(words)}; {ends}")


def draw(table: pd.DataFrame) -> Mapping[str, Figure]:
    """R^2 against k for each data set, and what MAEs add to it; for the first channels and ratio."""
    table = table[(table["channels"] == table["channels"].iloc[0]) & table["ratio"].isin([0, RATIOS[0]])]
    table = table.assign(
        name=[f"MAE, patch {p}" if p else m for m, p in zip(table["model"], table["patch"], strict=True)]
    )
    names = list(dict.fromkeys(table["data"]))
    figure, axes = drawing.sheet(2, len(names))
    for (above, below), name in zip(axes.T, names, strict=True):
        rows = table[table["data"] == name]
        coded = rows[rows["k"] > 0]
        drawing.lines(above, coded.groupby(["name", "k"], sort=False)[MAIN].mean().reset_index(), "k", MAIN, "name")
        for style, baseline in zip(("--", ":"), BASELINES, strict=True):
            level = rows[rows["model"] == baseline][MAIN].mean()
            above.axhline(level, color="grey", lw=1, ls=style, label=baseline)
        drawing.lines(below, _gains(coded, coded[coded["model"] == "AE"], MAIN), "k", "gain", "name")
        for panel, label in ((above, MEASURES[MAIN]), (below, "R^2 less the AE's")):
            panel.set_xscale("log", base=2)
            panel.set_xticks(KS, [str(k) for k in KS])
            drawing.dress(panel, f"{name}, m = {RATIOS[0]}", "k, values in the code", label)
            panel.get_legend().remove()
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), fontsize=7, frameon=False, loc="outside lower center", ncols=4
    )
    return {"figure_7b": figure}
