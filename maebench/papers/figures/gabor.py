"""Gabor responses read from linear codes, narrow and wide filters"""

from collections.abc import Iterator, Mapping
from itertools import product

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from maebench.contracts import Split
from maebench.models.patches import patch_of_pixel
from maebench.papers import drawing
from maebench.papers.claims import Finding, Mean, all_of, below, by_choice, mean
from maebench.papers.experiments import Experiments
from maebench.papers.scales import Scale
from maebench.plugins import find, load
from maebench.theory.closed_form import bernoulli, clean, optimum
from maebench.theory.moments import moments
from maebench.theory.readout import explained, variance

FIGURES = ("7a",)
CLAIMS = {
    "alike": "Gabor responses of a small sigma are read about equally well from the codes of all methods.",
    "wide": "As sigma grows, codes of high masking ratios are read better than those of low ones.",
}
CHOICES = (
    "CIFAR-10, grey; --budget full adds RGB. Linear models in closed form, Bernoulli masks, patch 8 or 4, k = 64, 16 "
    "or 256; the paper prints neither.",
    "Target: the task gabor_frequency, f = 0.05, 0.1, 0.2 cycles a pixel, sigma = 1, 2, 4, 8 pixels, 4 angles, at "
    "every 3rd pixel, so that all places in a patch count alike; R^2 over pixels and angles, averaged over f or for "
    "one f.",
    "Read-out: the least-squares one of train from a whole code of k values, which is that of the task from all its "
    "components at no penalty; its R^2 on test. Both are exact, from covariances, and see only which directions a code "
    "spans. Those of a DAE are the AE's at any noise, so their lines are one.",
    "Alike: at the smallest sigma the R^2 of the AE and all MAEs lie within 0.05, a twentieth of the "
    "target's variance.",
    "Better: the mean R^2 of m = 0.75 and 0.9 less that of m = 0 (AE) and 0.25; the claim holds where this is above 0 "
    "at the largest sigma and has grown since the smallest.",
    "Uncertainty over three disjoint thirds of the train images; the test images are the same.",
)
FREQUENCIES, SIGMAS, STRIDE = (0.05, 0.1, 0.2), (1.0, 2.0, 4.0, 8.0), 3
RATIOS, PATCHES, KS = (0.0, 0.25, 0.5, 0.75, 0.9), (8, 4), (64, 16, 256)
LOW, HIGH = RATIOS[:2], RATIOS[3:]
WITHIN = 0.05
CHANNELS: dict[Scale, tuple[str, ...]] = {"quick": ("grey",), "full": ("grey", "rgb")}


def compute(experiments: Experiments, scale: Scale) -> pd.DataFrame:
    """Rows: channels, part (third of train), patch, ratio (0 = AE), k, f, sigma, r2."""
    tables = []
    for channels in CHANNELS[scale]:
        splits = experiments.splits("cifar10", {"channels": channels})
        tables.append(measured(splits, PATCHES, KS).assign(channels=channels))
    table: pd.DataFrame = pd.concat(tables, ignore_index=True)
    return table


def measured(splits: Mapping[str, Split], patches: tuple[int, ...], ks: tuple[int, ...]) -> pd.DataFrame:
    """The rows of one data set."""
    images, test = splits["train"].images, moments(splits["test"].images)
    channels, height, width = images.shape[1:]
    shape = (channels, height, width)
    target = target_map(shape)
    total = _by_filter(variance(target, test))
    rows: list[dict[str, float]] = []
    for part in range(3):
        train = moments(images[part::3])
        for patch, ratio, encoder in _encoders(train[1], shape, patches, max(ks)):
            for k in ks:  # the first rows of an encoder are the encoder of a smaller k
                r2 = _by_filter(explained(encoder[:k], target, train, test)) / total
                about = {"part": part, "patch": patch, "ratio": ratio, "k": k}
                rows += [
                    {**about, "f": f, "sigma": sigma, "r2": float(score)}
                    for (f, sigma), score in zip(product(FREQUENCIES, SIGMAS), r2, strict=True)
                ]
    table: pd.DataFrame = pd.DataFrame(rows)
    return table


def _by_filter(values: Tensor) -> Tensor:
    """[T] -> [frequencies * sigmas], summed over angles and pixels."""
    return values.view(len(FREQUENCIES) * len(SIGMAS), -1).sum(1)


def target_map(shape: tuple[int, int, int]) -> Tensor:
    """Image shape (C, H, W) -> float64 [T, C*H*W]: the task's target as a linear map, up to a factor."""
    d = shape[0] * shape[1] * shape[2]
    units = torch.eye(d).mul(255).to(torch.uint8).view(d, *shape)
    responses: Tensor = load(find("tasks", "gabor_frequency")).responses(units, FREQUENCIES, SIGMAS, STRIDE)
    return responses.flatten(1).T.double()


def _encoders(
    C: Tensor, shape: tuple[int, int, int], patches: tuple[int, ...], k: int
) -> Iterator[tuple[int, float, Tensor]]:
    """patch, ratio, encoder [k, d]; the AE once for each patch."""
    plain = optimum(C, clean(C), k).encoder
    for patch in patches:
        index = patch_of_pixel(shape, patch)
        for ratio in RATIOS:
            yield patch, ratio, optimum(C, bernoulli(C, index, ratio), k).encoder if ratio else plain


def judge(table: pd.DataFrame) -> Mapping[str, Finding]:
    """The spread of all methods at the smallest sigma; what high ratios gain on low ones, there and at the largest."""
    alike, wide = {}, {}
    for (channels, k, patch), cell in table.groupby(["channels", "k", "patch"], sort=False):
        for name, rows in (("mean over f", cell), *((f"f = {f}", own) for f, own in cell.groupby("f"))):
            choice = f"{channels}, k = {k}, patch {patch}, {name}"
            scores = rows.groupby(["sigma", "part", "ratio"])["r2"].mean().unstack()
            spread, gain = (
                scores.max(axis=1) - scores.min(axis=1),
                scores[[*HIGH]].mean(axis=1) - scores[[*LOW]].mean(axis=1),
            )
            alike[choice] = _alike(spread.unstack())
            wide[choice] = _wide(gain.unstack())
    return {"alike": by_choice(alike), "wide": by_choice(wide)}


def _alike(spread: pd.DataFrame) -> Finding:
    """Largest less smallest R^2 of the methods, [sigma, part]."""
    narrow, broad = _ends(spread)
    words = f"R^2 differ by {narrow} at sigma = {spread.index[0]:g}, by {broad} at {spread.index[-1]:g}"
    return Finding(below(list(spread.iloc[0]), WITHIN), words)


def _wide(gain: pd.DataFrame) -> Finding:
    """R^2 of high ratios less that of low ones, [sigma, part]."""
    narrow, broad = _ends(gain)
    grown = mean(list(gain.iloc[-1] - gain.iloc[0]))
    numbers = f"{narrow} at sigma = {gain.index[0]:g}, {broad} at {gain.index[-1]:g}"
    return Finding(all_of([broad.positive, grown.positive]), f"high less low m: R^2 {numbers}")


def _ends(values: pd.DataFrame) -> tuple[Mean, Mean]:
    """[sigma, part] -> over the parts, at the smallest and the largest sigma."""
    return mean(list(values.iloc[0])), mean(list(values.iloc[-1]))


def draw(table: pd.DataFrame) -> Mapping[str, Figure]:
    """R^2 against sigma, a line a method: mean over f, and each f; for the first channels, k and patch."""
    first = table.iloc[0]
    shown = table[(table[["channels", "k", "patch"]] == first[["channels", "k", "patch"]]).all(axis=1)]
    shown = shown.assign(model=["AE, DAE" if m == 0 else f"MAE, m = {m:g}" for m in shown["ratio"]])
    figure, axes = drawing.sheet(2, 2)
    average = shown.groupby(["part", "model", "sigma"], sort=False)["r2"].mean().reset_index()
    titles = {"mean over f": average, **{f"f = {f} cycles/pixel": rows for f, rows in shown.groupby("f")}}
    for panel, (title, rows) in zip(axes.flat, titles.items(), strict=True):
        drawing.lines(panel, rows, "sigma", "r2", "model")
        panel.set_xscale("log", base=2)
        panel.set_xticks(SIGMAS, [f"{sigma:g}" for sigma in SIGMAS])
        drawing.dress(panel, title, "sigma, pixels", "R^2 on test")
        if panel is not axes[0, 0]:
            panel.get_legend().remove()
    figure.suptitle(f"Gabor responses from linear codes: k = {first['k']}, patch {first['patch']}", fontsize=9)
    return {"figure_7a": figure}
