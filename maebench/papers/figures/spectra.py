"""Masks spread the spectrum of an image; they remove no frequency"""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from torch import Tensor

from maebench.models.patches import hide_top, to_pixels
from maebench.papers import drawing
from maebench.papers.claims import Finding, all_of, below, by_choice, exactly, mean
from maebench.papers.experiments import Experiments
from maebench.seeding import stream
from maebench.theory.frequency import mask_spectrum, power_spectrum, radial

FIGURES = ("22",)
CLAIMS = {
    "kernel": "The spectrum of a mask is a Dirichlet (sinc-like) kernel times a sum of phases.",
    "grating": "The spectrum of a mask of square patches has a grating of zeros.",
    "convolution": "Masking an image convolves its spectrum with that of the mask.",
    "smoothing": "Masking smooths the spectrum.",
    "zeroing": "Masking zeroes out certain frequencies.",
}
CHOICES = (
    "Grey CIFAR-10 (luma), 9,000 train images in three disjoint parts, each with a mask of its own; patch 2, 4 and 8. "
    "20 % are hidden, as in the paper's text; also shown: 75 %.",
    "A hidden pixel has its mean over the images; also shown: it is black, 0 of 0 to 1, as a picture looks.",
    "Kernel and convolution: each value's error is below 1e-10 of the spectrum's largest, in 64-bit floats, for 100 "
    "masks of each part, ratio and patch; the convolution, a plain sum over all shifts, for five images of each.",
    "Grating: at whole multiples of 1/patch cycles per pixel along either axis, zero left out, the masks' power is "
    "below 1e-20 of its mean elsewhere.",
    "Smoother: spectral flatness, the geometric over the arithmetic mean of the power, rises for each patch.",
    "Zeroed: some frequency keeps less than 1 % of its mean power. Also shown, as coherence: at some frequency the "
    "clean image explains less than 1 % of the masked one's power, so that it drowns in what leaks in.",
)
PATCHES, RATIOS, PARTS, IMAGES, CHECKED, CONVOLVED = (2, 4, 8), (0.2, 0.75), 3, 9000, 100, 5
MEAN, BLACK = "mean", "black"


def compute(experiments: Experiments) -> pd.DataFrame:
    """What `spectra` finds in CIFAR-10."""
    return spectra(experiments.splits("cifar10", {"channels": "grey"})["train"].images[:IMAGES, 0].double() / 255)


def spectra(images: Tensor) -> pd.DataFrame:
    """Images [N, H, W] -> rows: hidden, part, ratio, patch and what was measured; with a `name`, curves and maps.

    `kept` and `coherence` are the least over all frequencies, `rise` is the power above 1/4 cycle per pixel over that
    before masking, `grating` the greatest power on the grating over the mean elsewhere, `zeros` the grating's share of
    all frequencies, `kept_there` what images keep of their power on it.
    """
    tables = []
    for (hidden, maps), part in product(((MEAN, images - images.mean(0)), (BLACK, images)), range(PARTS)):
        own = maps[part::PARTS]
        clean = power_spectrum(own)
        tables.append(_shown("image", clean).assign(hidden=hidden, part=part))
        for ratio, patch in product(RATIOS, PATCHES):
            mask = _masks(len(own), images.shape[1:], ratio, patch, part)
            seen = 1 - to_pixels(mask[:, None].double(), patch)[:, 0]
            power, masks = power_spectrum(own * seen), power_spectrum(seen)
            measures = {**_change(own, own * seen, clean, power), **_grating(masks, power / clean, patch)}
            measures |= _errors(own, mask, patch)
            frames = [pd.DataFrame([measures]), _shown("masked", power), _shown("mask", masks)]
            tables += [frame.assign(hidden=hidden, part=part, ratio=ratio, patch=patch) for frame in frames]
    table = pd.concat(tables)
    drawn = (table["hidden"] == MEAN) & (table["part"] == 0) & (table["ratio"] != RATIOS[1])
    kept: pd.DataFrame = table[table["x"].isna() | drawn].copy()
    kept["power"] = [float(f"{power:.4g}") for power in kept["power"]]
    return kept


def _masks(count: int, size: Sequence[int], ratio: float, patch: int, part: int) -> Tensor:
    """bool [count, h, w], as many patches hidden in each."""
    rng = stream(part, "masks", patch, str(ratio))
    return hide_top(torch.rand(count, size[0] // patch, size[1] // patch, generator=rng), ratio, rng)


def _shown(name: str, power: Tensor) -> pd.DataFrame:
    """Its map, one row a frequency, and its mean over rings."""
    y, x = np.indices(power.shape)
    rings, means = radial(power)
    whole = pd.DataFrame({"name": name, "y": y.ravel(), "x": x.ravel(), "power": power.flatten()})
    both: pd.DataFrame = pd.concat([whole, pd.DataFrame({"name": name, "frequency": rings, "power": means})])
    return both


def _change(clean: Tensor, masked: Tensor, before: Tensor, after: Tensor) -> dict[str, float]:
    y, x = (torch.fft.fftfreq(size, dtype=torch.float64) for size in before.shape)
    high = torch.hypot(y[:, None], x) > 0.25
    cross = (torch.fft.fft2(clean, norm="ortho").conj() * torch.fft.fft2(masked, norm="ortho")).mean(0)
    flat = [float(power.log().mean().exp() / power.mean()) for power in (before, after)]
    return {
        "flat_before": flat[0],
        "flat_after": flat[1],
        "rise": float(after[high].sum() / before[high].sum()),
        "kept": float((after / before).min()),
        "coherence": float((cross.abs() ** 2 / (before * after)).min()),
    }


def _grating(masks: Tensor, kept: Tensor, patch: int) -> dict[str, float]:
    """Where the Dirichlet kernel of a patch is 0: the power of masks, and what images keep of theirs."""
    y, x = (torch.arange(size) % (size // patch) == 0 for size in masks.shape)
    y[0], x[0] = False, False
    lines = y[:, None] | x
    elsewhere = masks[~lines][1:]  # without the zero frequency, the mean of the masks
    return {
        "grating": float(masks[lines].max() / elsewhere.mean()),
        "zeros": float(lines.double().mean()),
        "kept_there": float(kept[lines].mean()),
    }


def _errors(images: Tensor, hidden: Tensor, patch: int) -> dict[str, float]:
    """The largest error of the closed form over all masks, and of the convolution over some."""
    seen = 1 - to_pixels(hidden[:CHECKED, None].double(), patch)[:, 0]
    kernels = torch.stack([mask_spectrum(mask, patch) for mask in hidden[:CHECKED]])
    difference = kernels - torch.fft.fft2(seen)
    H, W = images.shape[1:]
    y, x = (torch.arange(size)[:, None] - torch.arange(size) for size in (H, W))
    errors = []
    for image, kernel, visible in zip(images[:CONVOLVED], kernels, seen, strict=False):
        shifted = kernel[y[:, None, :, None], x[None, :, None, :]]  # kernel at k - m; negative indices wrap round
        convolved = torch.einsum("klmn,mn->kl", shifted, torch.fft.fft2(image)) / (H * W)
        masked = torch.fft.fft2(image * visible)
        errors.append(float((convolved - masked).abs().max() / masked.abs().max()))
    return {"kernel": float(difference.abs().max() / kernels.abs().max()), "convolution": max(errors)}


def judge(table: pd.DataFrame) -> Mapping[str, Finding]:
    """Errors over everything; flatness, power kept and coherence for each ratio and each value of a hidden pixel."""
    fits = table[table["name"].isna()]
    smoothing, zeroing = {}, {}
    for (hidden, ratio), rows in fits.groupby(["hidden", "ratio"], sort=False):
        at = f"{ratio:.0%} hidden as {hidden}"
        smoothing[at] = _smoother(rows)
        kept, coherence, there = (list(rows.groupby("part")[key].min()) for key in ("kept", "coherence", "kept_there"))
        words = (
            f"every frequency keeps at least {mean(kept)} of its power, those of the grating {mean(there)} on average"
        )
        zeroing[at] = Finding(below(kept, 0.01), words)
        zeroing[f"{at}, coherence"] = Finding(below(coherence, 0.01), f"at least {mean(coherence)} explained")
    return {
        **{key: _equal(fits[key].max()) for key in ("kernel", "convolution")},
        "grating": _grated(fits),
        "smoothing": by_choice(smoothing),
        "zeroing": by_choice(zeroing),
    }


def _equal(error: float) -> Finding:
    return Finding(exactly(error < 1e-10), f"largest error {error:.1g} of the largest value")


def _grated(fits: pd.DataFrame) -> Finding:
    zeros, worst = fits.groupby("patch")["zeros"].first(), fits["grating"].max()
    shares = ", ".join(f"{share:.0%} (patch {patch:.0f})" for patch, share in zeros.items())
    return Finding(
        exactly(worst < 1e-20), f"at most {worst:.1g} of the power elsewhere, on {shares} of all frequencies"
    )


def _smoother(fits: pd.DataFrame) -> Finding:
    """Flatness before and after masking, for each patch."""
    patches = fits.assign(gain=fits["flat_after"] - fits["flat_before"]).groupby("patch")
    rises = ", ".join(f"{mean(list(rows['rise']))} (patch {patch:.0f})" for patch, rows in patches)
    after = ", ".join(f"{flat:.3f}" for flat in patches["flat_after"].mean())
    words = f"flatness {fits['flat_before'].mean():.3f} to {after}; power above 1/4 cycle per pixel times {rises}"
    return Finding(all_of(mean(list(rows["gain"])).positive for _, rows in patches), words)


def draw(table: pd.DataFrame) -> Mapping[str, Figure]:
    """Maps of the power of images, masks and masked images, and its mean over rings."""
    figure, panels = drawing.sheet(2, 4, 2.9, 2.6)
    maps = table[table["x"].notna()].fillna({"patch": 0}).groupby(["name", "patch"])
    image, *masked = (maps.get_group(key) for key in (("image", 0), *(("masked", patch) for patch in PATCHES)))
    scale = LogNorm(image["power"].min(), image["power"].max())
    masks = [maps.get_group(("mask", patch)) for patch in PATCHES]
    high = masks[-1]["power"].nlargest(2).iloc[1]  # after the zero frequency
    _map(panels[0, 0], image, "Images", scale)
    for column, (patch, mask, hidden) in enumerate(zip(PATCHES, masks, masked, strict=True), 1):
        _map(panels[0, column], mask, f"Masks of {RATIOS[0]:.0%}, patch {patch}", LogNorm(1e-3 * high, high, clip=True))
        _map(panels[1, column], hidden, f"Images masked, patch {patch}", scale)
    curves = table[table["frequency"].notna() & (table["hidden"] == MEAN) & (table["ratio"] != RATIOS[1])]
    curves = curves[(curves["name"] != "mask") & (curves["frequency"] > 0)]
    names = [f"patch {patch:.0f}" if patch else "not masked" for patch in curves["patch"].fillna(0)]
    drawing.lines(panels[1, 0], curves.assign(names=names), "frequency", "power", "names")
    panels[1, 0].set_yscale("log")
    drawing.dress(panels[1, 0], "Mean over rings", "frequency, cycles per pixel", "power")
    return {"figure_22": figure}


def _map(panel: Axes, rows: pd.DataFrame, title: str, norm: LogNorm) -> None:
    power = np.fft.fftshift(rows.pivot(index="y", columns="x", values="power").to_numpy())
    left, right, top, bottom = (end - 0.5 / side for side in power.shape[::-1] for end in (-0.5, 0.5))  # of whole cells
    drawing.dress(panel, title, "cycles per pixel", "cycles per pixel")
    picture = panel.imshow(power, norm=norm, extent=(left, right, bottom, top), cmap="viridis", interpolation="nearest")
    assert panel.figure is not None
    bar = panel.figure.colorbar(picture, ax=panel, fraction=0.05, pad=0.02)
    bar.set_label("power", fontsize=7)
    bar.ax.tick_params(labelsize=6)
    panel.grid(visible=False)
