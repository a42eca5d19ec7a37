"""The masked loss to first order: a good approximation for which masking ratios?"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from maebench.contracts import Variant, standardise
from maebench.leaderboard.panels import COLOURS, MARKERS
from maebench.models.patches import patch_of_pixel
from maebench.papers import drawing
from maebench.papers.claims import Finding, Mean, above, all_of, below, by_choice, learned, mean, taught
from maebench.papers.experiments import Experiments
from maebench.papers.scales import BRIEF, TINY_VIT, Scale, Settings
from maebench.seeding import stream
from maebench.theory.first_order import first_order, monte_carlo
from maebench.theory.jacobian import rebuilding

FIGURES = ("B",)
CLAIMS = {
    "vanishes": "The error of the first-order approximation vanishes as the masking ratio goes to 0.",
    "small_only": "The approximation is good for small masking ratios only.",
}
CHOICES = (
    "The paper states Lemmas 4 and 5 and checks no number. Here f is a trained vit_ae, since a vit_mae leaves hidden "
    "patches out, and so is no function of an image with zeros in them; patches of 4 hidden each by itself.",
    "Lemma 4 has the tangent at the mean of the masked image, so that it is exact for m = 1 too; Lemma 5 at the image. "
    "The exact loss is a mean over 500 masks for each of 4 test images (full: 20,000 and 16); relative error: "
    "|approximation - exact|, summed over the images, by the sum of the exact losses.",
    "The quick budget is small: 32 wide, 2 encoder layers and 1 decoder layer, 250 steps of 32 images. Full: the "
    "paper's encoder, 4 decoder layers, 100 epochs.",
    "Vanishes: a in error ~ m^a, a least-squares line on logarithmic axes through m up to 0.2, is clearly above 0, "
    "and the relative error at the smallest m clearly below 5 %. Small only: clearly below 5 % there, and clearly "
    "above 5 % at m = 0.75. Judged where the trained model rebuilds these images better than the untrained one.",
)
RATIOS, FIT, CLOSE = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.75), 0.2, 0.05
LEMMAS = {"lemma4": "Lemma 4, about the mean", "lemma5": "Lemma 5, about the image"}
SETTINGS: Settings = {
    "quick": {
        **{"dataset": {"cifar10": {}}, "vit": TINY_VIT["quick"]},
        **{"pretrain": BRIEF["quick"], "seeds": [0, 1, 2], "images": 4, "draws": 500},
    },
    "full": {
        **{"dataset": {"cifar10": {}}, "vit": TINY_VIT["full"]},
        **{"pretrain": {**BRIEF["full"], "epochs": 100}, "seeds": [0, 1, 2], "images": 16, "draws": 20_000},
    },
}


def compute(experiments: Experiments, scale: Scale) -> pd.DataFrame:
    """Rows: those of `measured`."""
    return measured(experiments, SETTINGS[scale])


def measured(experiments: Experiments, settings: Mapping[str, Any]) -> pd.DataFrame:
    """Rows: seed, image, ratio, exact (the loss, a sum over an image's values), its standard error, lemma4, lemma5.

    Or seed, floor, error (mean squared, of these images, nothing hidden).
    """
    config = {
        "tracks": [{"dataset": settings["dataset"], "tasks": []}],
        "variants": [{"vit_ae": {**settings["vit"], "patch": 4}}],
        **{key: settings[key] for key in ("pretrain", "seeds")},
    }
    rows = []
    for spec, states in experiments.trained(config):
        variant, data = states[max(states)], spec.encoder.dataset
        chosen = experiments.splits(data.name, data.settings)["test"].images[: settings["images"]]
        images = standardise(chosen.to(experiments.device))
        error = float(variant.loss(images, stream(0, "figure")))
        rows.append({"seed": spec.encoder.seed, "floor": spec.floor, "error": error})
        for number, image in enumerate(() if spec.floor else images):
            losses = _losses(variant, image, number, settings["draws"])
            rows += [{"seed": spec.encoder.seed, "image": number, **loss} for loss in losses]
    table: pd.DataFrame = pd.DataFrame(rows)
    return table


def _losses(variant: Variant, image: Tensor, number: int, draws: int) -> list[dict[str, float]]:
    """The losses at every ratio; masks are the same for all models."""
    f = rebuilding(variant)
    patches = patch_of_pixel((image.shape[0], image.shape[1], image.shape[2]), 4).to(image.device)
    rows = []
    for ratio in RATIOS:
        exact, error = monte_carlo(f, image, patches, ratio, draws, stream(0, "figure", number, str(ratio)))
        row = {"ratio": ratio, "exact": exact, "standard_error": error}
        row["lemma4"] = first_order(f, image, patches, ratio, about="mean")
        row["lemma5"] = first_order(f, image, patches, ratio, about="image")
        rows.append(row)
    return rows


def errors(table: pd.DataFrame) -> pd.DataFrame:
    """Rows: seed, ratio; sums over the images of exact, lemma4 and lemma5, and of sizes of errors, lemma4_off, .."""
    off = {f"{lemma}_off": (table[lemma] - table["exact"]).abs() for lemma in LEMMAS}
    columns = ["exact", *LEMMAS, *off]
    sums: pd.DataFrame = table.assign(**off).groupby(["seed", "ratio"])[columns].sum().reset_index()
    return sums


def judge(table: pd.DataFrame) -> Mapping[str, Finding]:
    """The exponent of the error, and the relative errors at both ends."""
    sums, whole = errors(table), table.dropna(subset="error").assign(better=lambda rows: -rows["error"])
    floor = whole["floor"].astype(bool)
    gain = learned(whole[~floor], whole[floor], "better", ["floor"])
    vanishes, small = {}, {}
    for lemma, name in LEMMAS.items():
        relative = (sums[f"{lemma}_off"] / sums["exact"]).groupby(sums["ratio"]).agg(list)
        low, high = relative[min(RATIOS)], relative[max(RATIOS)]
        worst = max(RATIOS, key=lambda ratio: mean(relative[ratio]).value)
        power = _exponent(sums[sums["ratio"] <= FIT], f"{lemma}_off")
        close = below(low, CLOSE)
        words = f"error ~ m^a with a = {power}; relative error at m = {min(RATIOS)}: {mean(low)}"
        vanishes[name] = taught(Finding(all_of([close, power.positive]), words), gain)
        words = f"relative error {mean(low)} at m = {min(RATIOS)}, {mean(high)} at m = {max(RATIOS)}"
        words += f"; largest at m = {worst}: {mean(relative[worst])}"
        small[name] = taught(Finding(all_of([close, above(high, CLOSE)]), words), gain)
    return {"vanishes": by_choice(vanishes), "small_only": by_choice(small)}


def _exponent(sums: pd.DataFrame, column: str) -> Mean:
    """a of error ~ m^a, for each seed."""
    seeds = sums.groupby("seed")
    return mean([float(np.polyfit(np.log(rows["ratio"]), np.log(rows[column]), 1)[0]) for _, rows in seeds])


def draw(table: pd.DataFrame) -> Mapping[str, Figure]:
    """The losses, and the relative errors, against the masking ratio."""
    sums, images = errors(table), table["image"].nunique()
    figure, ((losses, relative),) = drawing.sheet(1, 2)
    names = {"exact": "exact (masks drawn)", **LEMMAS}
    long = sums.melt(["seed", "ratio"], list(names), "which", "loss")
    long = long.assign(which=long["which"].map(names), loss=long["loss"] / images)
    drawing.lines(losses, long, "ratio", "loss", "which")
    drawing.dress(losses, "Masked loss", "masking ratio m", "squared error, sum over an image")
    for lemma, colour, marker in zip(LEMMAS, COLOURS[1:], MARKERS[1:], strict=False):
        for _, rows in sums.groupby("seed"):
            off = rows[f"{lemma}_off"] / rows["exact"]
            relative.plot(rows["ratio"], off, color=colour, marker=marker, ms=4, lw=1, alpha=0.8)
    noise = table.groupby("ratio")[["standard_error", "exact"]].sum()
    share = noise["standard_error"] / noise["exact"]
    relative.plot(share.index, share, color="grey", lw=0.9, ls=":", label="standard error of the exact losses")
    relative.axhline(CLOSE, color="black", lw=0.6)
    relative.set(xscale="log", yscale="log")
    relative.legend(fontsize=7, frameon=False, loc="lower left")
    drawing.dress(relative, "Error of the approximations, a line a seed", "masking ratio m", "relative error")
    return {"figure_b": figure}
