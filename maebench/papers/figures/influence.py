"""How far an output pixel of a linear model looks, by model, masking ratio and patch size"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from maebench.models.patches import patch_of_pixel
from maebench.papers import drawing
from maebench.papers.claims import Finding, all_of, by_choice, gap, mean
from maebench.papers.experiments import Experiments
from maebench.theory.closed_form import bernoulli, full_rank, independent
from maebench.theory.moments import moments
from maebench.theory.ratio_axis import axis
from maebench.theory.spatial import influence, mean_distance, shares

FIGURES = ("5", "6")
CLAIMS = {
    "order": "A linear AE looks least far, a linear DAE slightly further, a linear MAE furthest.",
    "ratio": "A higher masking ratio makes the linear MAE look further.",
    "patch": "A larger patch makes the linear MAE look further.",
    "inside ratio": "A higher masking ratio takes weight from the pixels of the output's own patch.",
    "inside patch": "A larger patch takes weight from the pixels of the output's own patch.",
}
CHOICES = (
    "CIFAR-10, Bernoulli masks, closed forms. Main: RGB (d = 3072), k = 256; also RGB with no bottleneck (k = d), and "
    "grey (d = 1024) with k = 256, 64 and d.",
    "Rows of the full map decoder x encoder, absolute, summed over input channels and scaled to sum 1; how far is "
    "the mean distance of a row in pixels, averaged over all output values.",
    "Fig. 5: MAE with patch 8, ratio 0.75; DAE with sigma 0.8 in standard units (0.2 of the white level), also 0.2.",
    "Weight inside: for ratios the share of a row inside its own patch; for patches of several sizes the weight of one "
    "such pixel, since a larger patch has more of them.",
    "Fig. 6 compares ratio 0.9 with 0.1 at patch 8, and patch 16 with 2 at ratio 0.75; uncertainty over three disjoint "
    "thirds of the train images.",
)
PATCH, RATIO, SIGMAS = 8, 0.75, (0.8, 0.2)
DRAWN = {
    ("rgb", 256): 24,
    ("rgb", 3072): 24,
}  # channels and k of which the table has all distances up to so many pixels
LEAST = 2e-4  # of what is drawn; the AE without a bottleneck is the identity, 0 but at distance 0
SWEEPS: dict[str, dict[str, Any]] = {
    "rgb": {"k": (256, 3072), "patches": (2, 8, 16), "ratios": (0.1, 0.4, 0.9)},
    "grey": {
        "k": (256, 64, 1024),
        "patches": (1, 2, 4, 8, 16),
        "ratios": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    },
}


def compute(experiments: Experiments) -> pd.DataFrame:
    """Rows: channels, part (third of the images) and those of `measured`, of which most keep distance 0 alone."""
    rows = []
    with experiments.progress.steps("influence") as step:
        for number, (channels, sweep) in enumerate(SWEEPS.items()):
            images = experiments.splits("cifar10", {"channels": channels})["train"].images
            for part in range(3):
                _, C = moments(images[part::3])
                for row in measured(C, tuple(images.shape[1:]), sweep["k"], sweep["patches"], sweep["ratios"]):
                    if row["distance"] <= DRAWN.get((channels, row["k"]), 0):
                        rows.append({"channels": channels, "part": part, **row})
                step(3 * number + part + 1, 3 * len(SWEEPS))
    table: pd.DataFrame = pd.DataFrame(rows)
    return table


def measured(
    C: Tensor, shape: tuple[int, ...], ks: Sequence[int], patches: Sequence[int], ratios: Sequence[float]
) -> Iterator[dict[str, Any]]:
    """Covariance [d, d] of images (C, H, W) -> a row per model and distance: weight, and the scalars of the model.

    `mean_distance` in pixels; `inside`: share of a row in its own patch; `inside_pixel`: that over the patch's area.
    """
    channels, height, width = shape
    size, d = (channels, height, width), len(C)
    values, vectors = torch.linalg.eigh(C)
    for k in ks:
        U, variance = vectors[:, -k:], values[-k:]
        for sigma in (0.0, *SIGMAS):  # the AE is PCA, the DAE shrinks its directions (tests/test_closed_form.py)
            what = {"model": f"DAE {sigma}" if sigma else "AE", "k": k, "patch": PATCH, "ratio": 0.0}
            yield from _rows(U * (variance / (variance + sigma**2)) @ U.T, size, what)
    for patch in patches:
        index = patch_of_pixel(size, patch)
        wanted = sorted({RATIO, *(ratios if patch == PATCH else ())})
        narrow = axis(C, index) if min(ks) < d else None
        for k in ks:
            if k == d or narrow is None:
                maps = (full_rank(C, bernoulli(C, index, ratio)) for ratio in wanted)
            else:
                maps = (best.decoder @ best.encoder for best in narrow.optima(map(independent, wanted), k))
            for ratio, A in zip(wanted, maps, strict=True):
                yield from _rows(A, size, {"model": "MAE", "k": k, "patch": patch, "ratio": ratio})


def _rows(A: Tensor, shape: tuple[int, int, int], what: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    outputs, patch = torch.arange(len(A)), what["patch"]
    row_shares = shares(A, shape)
    own = patch_of_pixel((1, *shape[1:]), patch)
    inside = float((row_shares * (own[outputs % len(own), None] == own)).sum(1).mean())
    scalars = {
        "mean_distance": float(mean_distance(row_shares, outputs, shape).mean()),
        "inside": inside,
        "inside_pixel": inside / patch**2,
    }
    for distance, weight in zip(*influence(row_shares, outputs, shape), strict=True):
        yield {**what, "distance": int(distance), "weight": float(weight), **scalars}


def judge(table: pd.DataFrame) -> Mapping[str, Finding]:
    """Paired differences over the parts of the images, for each choice of channels and k."""
    findings: dict[str, dict[str, Finding]] = {key: {} for key in CLAIMS}
    scalars = table[table["distance"] == 0]
    for (channels, k), rows in scalars.groupby(["channels", "k"], sort=False):
        choice = f"{channels}, k = {k}"
        mae = rows[rows["model"] == "MAE"]
        usual = mae[(mae["patch"] == PATCH) & (mae["ratio"] == RATIO)]
        for sigma in SIGMAS:
            models = [rows[rows["model"] == "AE"], rows[rows["model"] == f"DAE {sigma}"], usual]
            order = _rising(models, "mean_distance", "px", ("AE", "DAE", "MAE"))
            findings["order"][f"{choice}, sigma = {sigma}"] = order
        ratios = mae[mae["patch"] == PATCH]
        by_ratio = [part for _, part in ratios.groupby("ratio") if part["ratio"].iloc[0] != RATIO]
        patches = mae[(mae["ratio"] == RATIO) & (mae["patch"] > 1)]
        by_patch = [part for _, part in patches.groupby("patch")]
        ratios, sizes = [by_ratio[0], by_ratio[-1]], [by_patch[0], by_patch[-1]]
        for key, groups, column, unit, names in (
            ("ratio", ratios, "mean_distance", "px", ("ratio 0.1", "ratio 0.9")),
            ("patch", sizes, "mean_distance", "px", ("patch 2", "patch 16")),
            ("inside ratio", ratios[::-1], "inside", "", ("ratio 0.9", "ratio 0.1")),
            ("inside patch", sizes[::-1], "inside_pixel", "", ("patch 16", "patch 2")),
        ):
            findings[key][choice] = _rising(groups, column, unit, names)
    return {key: by_choice(choices) for key, choices in findings.items()}


def _rising(groups: Sequence[pd.DataFrame], column: str, unit: str, names: Sequence[str]) -> Finding:
    """Whether the column rises from each group of rows to the next, and by how much."""
    values = [dict(zip(rows["part"], rows[column], strict=True)) for rows in groups]
    steps = [gap(after, before) for before, after in pairwise(values)]
    levels = ", ".join(f"{name}: {mean(list(parts.values()))}" for name, parts in zip(names, values, strict=True))
    return Finding(all_of(step.positive for step in steps), f"{levels} {unit}".strip())


def draw(table: pd.DataFrame) -> Mapping[str, Figure]:
    """Weight against distance by model, ratio and patch, and the mean distance of all of them."""
    figure, panels = drawing.sheet(2, 3)
    for line, (channels, k) in zip(panels, DRAWN, strict=True):
        own = table[(table["channels"] == channels) & (table["k"] == k)]
        mae = own[own["model"] == "MAE"]
        main = (mae["patch"] == PATCH) & (mae["ratio"] == RATIO)
        sweeps = {
            "model": (
                pd.concat([own[own["model"].isin(["AE", f"DAE {SIGMAS[0]}"])], mae[main]]),
                "{}",
                "Fig. 5: model",
            ),
            "ratio": (mae[(mae["patch"] == PATCH) & (mae["ratio"] != RATIO)], "ratio {}", "Fig. 6: ratio, patch 8"),
            "patch": (mae[mae["ratio"] == RATIO], "patch {}", "Fig. 6: patch, ratio 0.75"),
        }
        for panel, (column, (rows, names, title)) in zip(line, sweeps.items(), strict=True):
            shown = rows.sort_values(column if column != "model" else "mean_distance")
            drawing.lines(panel, shown, "distance", "weight", column, names)
            panel.set_yscale("log")
            panel.set_ylim(bottom=LEAST)
            drawing.dress(panel, f"{title}, k = {k}", "distance, pixels", "mean share of a pixel")
    return {"figure_5_6": figure}
