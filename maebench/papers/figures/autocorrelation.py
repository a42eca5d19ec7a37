"""Pixels of natural images go together, less with distance"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from maebench.papers import drawing
from maebench.papers.claims import Finding, above, all_of, below, by_choice, exactly, mean
from maebench.papers.experiments import Experiments
from maebench.theory.spatial import autocorrelation

FIGURES = ("3",)
CLAIMS = {
    "strong": "Neighbouring pixels are strongly correlated, and the correlation falls with distance.",
    "inverse": "The strength of the correlation is inversely proportional to the distance.",
}
CHOICES = (
    "Grey CIFAR-10 (luma), the mean of each pixel over the images removed; also shown: the mean of each image removed,"
    " and street photographs 96 pixels high, in disjoint crops, where their archive is in the data root.",
    "Pairs at their distance rounded to whole pixels, up to 16.",
    "Strong: a neighbour explains over half of the variance, rho(1)^2 > 0.5.",
    "The exponent of rho(D) = D^-a is fitted on D = 1 to 16; the claim holds where it is within 0.1 of 1, and is "
    "contradicted where it is not, or where rho is negative and so no power.",
    "Uncertainty over three disjoint thirds of CIFAR-10's train images, and over the three splits of the street "
    "photographs, which share no place.",
)
REACH = 16
PIXEL, IMAGE = "pixel means removed", "image means removed"
STREET = {"path": "rgbd-street.zip", "stride": 32, "valid": 0.0}  # disjoint crops, whether or not their depth is known
LUMA = torch.tensor([0.299, 0.587, 0.114])  # Source: ITU-R 601


def compute(experiments: Experiments) -> pd.DataFrame:
    """What `curves` finds in CIFAR-10, and in street photographs where they are there."""
    images = experiments.splits("cifar10", {"channels": "grey"})["train"].images[:, 0]
    table = curves([images[part::3] for part in range(3)], "CIFAR-10")
    try:
        street = experiments.splits("rgbd", STREET).values()
    except LookupError:
        return table
    grey = [torch.einsum("nchw,c->nhw", split.images.float(), LUMA) for split in street]
    both: pd.DataFrame = pd.concat([table, curves(grey, "street")])
    return both


def curves(parts: Sequence[Tensor], data: str) -> pd.DataFrame:
    """Disjoint parts of a data set, [N, H, W] each -> rows: data, centring, part, distance, rho."""
    rows = []
    for part, images in enumerate(parts):
        maps = images.double()
        centred = {PIXEL: maps - maps.mean(0), IMAGE: maps - maps.mean((1, 2), keepdim=True)}
        for centring, values in centred.items():
            distance, rho = autocorrelation(values)
            about = {"data": data, "centring": centring, "part": part}
            rows += [{**about, "distance": int(d), "rho": float(r)} for d, r in zip(distance, rho, strict=True)]
    table: pd.DataFrame = pd.DataFrame(rows)
    return table


def judge(table: pd.DataFrame) -> Mapping[str, Finding]:
    """rho(1) and whether rho falls; the fitted exponent."""
    near = table[(table["distance"] >= 1) & (table["distance"] <= REACH)]
    strong, inverse = {}, {}
    for (data, centring), case in near.groupby(["data", "centring"], sort=False):
        lines = [part.set_index("distance")["rho"] for _, part in case.groupby("part")]
        strong[f"{data}, {centring}"], inverse[f"{data}, {centring}"] = _strong(lines), _inverse(lines)
    return {"strong": by_choice(strong), "inverse": by_choice(inverse)}


def _strong(curves: Sequence["pd.Series[float]"]) -> Finding:
    """rho over the distance, of each part."""
    first = [float(curve[1]) for curve in curves]
    steps = zip(*(-curve.diff().dropna() for curve in curves), strict=True)
    falls = all_of(mean(step).positive for step in steps)
    words = {"holds": "falls at every step", "contradicted": "rises at some step"}.get(falls, "may rise at some step")
    verdict = all_of([falls, above([rho**2 for rho in first], 0.5)])
    return Finding(verdict, f"rho(1) = {mean(first)}, {words} to {REACH} px")


def _inverse(curves: Sequence["pd.Series[float]"]) -> Finding:
    """Whether a of the least-squares line log rho = b - a log D is within 0.1 of 1."""
    if any((curve <= 0).any() for curve in curves):
        return Finding(exactly(right=False), f"rho is negative within {REACH} px, no power of the distance")
    logs = [(np.log(curve.index.to_numpy(dtype=float)), np.log(curve.to_numpy())) for curve in curves]
    powers = [-float(np.polyfit(x, y, 1)[0]) for x, y in logs]
    return Finding(all_of([above(powers, 0.9), below(powers, 1.1)]), f"rho ~ D^-a with a = {mean(powers)}")


def draw(table: pd.DataFrame) -> Mapping[str, Figure]:
    """rho against distance, on plain and on logarithmic axes beside a line of slope -1."""
    figure, ((plain, logarithmic),) = drawing.sheet(1, 2)
    shown = table[table["distance"] <= 2 * REACH].assign(case=table["data"] + ", " + table["centring"])
    drawing.lines(plain, shown, "distance", "rho", "case")
    plain.axhline(0, color="black", lw=0.6)
    drawing.dress(plain, "Autocorrelation of grey images", "distance, pixels", "rho")
    positive = shown[shown["distance"].between(1, REACH) & (shown["rho"] > 0)]
    drawing.lines(logarithmic, positive, "distance", "rho", "case")
    logarithmic.plot([1, REACH], [1, 1 / REACH], color="black", lw=0.8, ls=":", label="1 / distance")
    logarithmic.set(xscale="log", yscale="log")
    logarithmic.set_xticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "16"], minor=False)
    logarithmic.get_legend().remove()
    logarithmic.text(1.1, 0.25, "1 / distance", fontsize=7)
    drawing.dress(logarithmic, "The same, logarithmic", "distance, pixels", "rho")
    return {"figure_3": figure}
