"""The basis that a masked autoencoder rebuilds an image from, over training"""

import copy
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from maebench.contracts import Variant, standardise
from maebench.papers import drawing
from maebench.papers.claims import Finding, below, by_choice, gap, learned, mean, taught
from maebench.papers.experiments import Experiments, values
from maebench.papers.scales import BRIEF, PROBE, TINY_VIT, Scale, Settings, mae_config
from maebench.seeding import stream
from maebench.theory.jacobian import jacobian, rebuilding
from maebench.theory.spatial import entropy, mean_distance, shares

FIGURES = ("8",)
CLAIMS = {
    "local": "At the start of training each output pixel is rebuilt from pixels near it.",
    "diffuse": "Over training the basis comes to take in distant pixels.",
    "adaptive": "The basis differs from image to image, while a linear model has one for all.",
}
CHOICES = (
    "The quick budget is far from the paper's: 32 wide, 2 encoder layers and 1 decoder layer, 240 steps of 32 images. "
    "Both have the paper's ratio 0.8 and patch 2. Checkpoints: untrained, then four, evenly; the paper names none.",
    "The basis of an output value is its row of the Jacobian. Measures: means over 32 random output values (full: 64) "
    "of 3 test images (full: 16), of the distance in pixels and the spatial entropy in nats; |J| summed over channels.",
    "The main choice has the model see everything, since a row is 0 on hidden pixels; the other takes the mean over 2 "
    "random masks (full: 8) as in training, the same for every image.",
    "Local: the mean distance is clearly less than half of what it were if all pixels counted alike. Diffuse: mean "
    "distance, or entropy, at the end is clearly above the untrained model's. Adaptive: the cosine similarity of rows "
    "of one output in different images is at the end clearly below 1, that of a linear model; also shown, below 0.71, "
    "where half of the square differs. The last two are judged where the probe at the end is above the untrained one.",
    "Drawn, first seed: a pixel's share in the circled one's green value, from 1 (dark) to 32 times an equal share.",
)
SEEN, MASKED, ALIKE, NEAR, FULL = "everything seen", "masked as in training", 0.5**0.5, 0.5, 5
PLACES = ((0.28, 0.31), (0.66, 0.6))  # of the two outputs that are drawn, as shares of height and width
INKS = ((0.84, 0.37, 0.0), (0.0, 0.62, 0.9))  # orange and blue, which all readers tell apart; the paper: red and green
NAMES = {"distance": "mean distance, pixels", "entropy": "spatial entropy, nats", "similarity": "cosine similarity"}
PROBED: Settings = {
    "quick": {"steps": 240, "probe_every": 60},
    "full": {"steps": 22_000, "probe_every": 5_500},  # about the paper's epochs, in steps as snapshots are
}
SETTINGS: Settings = {
    scale: {
        **{"dataset": {"cifar10": {}}, "vit": {**TINY_VIT[scale], "patch": 2}, "ratio": 0.8, "seeds": [0, 1, 2]},
        "pretrain": {key: value for key, value in {**BRIEF[scale], **probed}.items() if key != "epochs"},
        **{"images": images, "outputs": outputs, "masks": masks, "linear_probe": PROBE[scale]},
    }
    for (scale, probed), images, outputs, masks in zip(PROBED.items(), (3, 16), (32, 64), (2, 8), strict=True)
}


def compute(experiments: Experiments, scale: Scale) -> pd.DataFrame:
    """Rows: those of `measured`."""
    return measured(experiments, SETTINGS[scale])


def measured(experiments: Experiments, settings: Mapping[str, Any]) -> pd.DataFrame:
    """Rows: seed, step, input, distance, entropy, similarity (between images), uniform (the distance of all alike).

    Or seed, step, probe, at the start and at the end. Or, to be drawn, seed, step, image, place (of the output; none:
    the image itself), pixels (text of 0 to 255).
    """
    probed = [{"linear_probe": settings["linear_probe"]}]
    config = mae_config(settings, [settings["vit"]], settings["ratio"], probed)
    rows: list[dict[str, Any]] = []
    drawn = experiments.splits(*next(iter(settings["dataset"].items())))["test"].images[: settings["images"]]
    images = standardise(drawn.to(experiments.device))
    probes = values(experiments.table(config), "linear_probe", "top1")
    for spec, states in experiments.trained(config):
        rows.append({"seed": spec.encoder.seed, "step": max(states), "probe": probes[spec.run_id]})
        if spec.floor:  # comes first; it hides nothing, and its weights are those that training starts from
            whole, weights = states[0], {0: copy.deepcopy(states[0].state_dict())}
            continue
        masked = states[max(states)]
        weights |= {step: copy.deepcopy(variant.state_dict()) for step, variant in states.items()}
        for step, state in weights.items():
            head = {"seed": spec.encoder.seed, "step": step}
            for way, variant, masks in ((SEEN, whole, 1), (MASKED, masked, settings["masks"])):
                variant.load_state_dict(state)
                rows.append({**head, "input": way, **_measures(variant, images, settings["outputs"], masks)})
            if spec.encoder.seed == settings["seeds"][0]:
                rows += [{**head, **row} for row in _maps(whole, images[:2])]
    rows += [{"image": number, "pixels": _text(image)} for number, image in enumerate(drawn[:2])]
    table: pd.DataFrame = pd.DataFrame(rows)
    return table


def _jacobians(variant: Variant, images: Tensor, outputs: Tensor, mask: int) -> Tensor:
    """-> [N, outputs, d] on the CPU, under the same mask for each image."""
    return torch.stack([jacobian(rebuilding(variant, "figure", mask), image, rows=outputs).cpu() for image in images])


def _measures(variant: Variant, images: Tensor, count: int, masks: int) -> dict[str, float]:
    C, H, W = images.shape[1:]
    outputs = torch.randperm(C * H * W, generator=stream(0, "figure", "outputs"))[:count]
    J = torch.stack([_jacobians(variant, images, outputs, mask) for mask in range(masks)])
    p, alike = shares(J, (C, H, W)), torch.ones(count, H * W) / (H * W)
    left, right = functional.normalize(J, dim=3)[:, torch.combinations(torch.arange(len(images))).T].unbind(1)
    measures = {"distance": mean_distance(p, outputs, (C, H, W)), "uniform": mean_distance(alike, outputs, (C, H, W))}
    measures |= {"entropy": entropy(p), "similarity": (left * right).sum(3)}
    return {name: float(measure.mean()) for name, measure in measures.items()}


def _maps(whole: Variant, images: Tensor) -> Iterator[dict[str, Any]]:
    C, H, W = images.shape[1:]
    outputs = torch.tensor([C // 2 * H * W + int(y * H) * W + int(x * W) for y, x in PLACES])
    p = shares(_jacobians(whole, images, outputs, 0), (C, H, W))
    light = ((p * H * W).log2() / FULL).clamp(0, 1) * 255
    for image, place in product(range(len(images)), range(len(PLACES))):
        yield {"image": image, "place": place, "pixels": _text(light[image, place])}


def _text(pixels: Tensor) -> str:
    return " ".join(str(int(value)) for value in pixels.round().flatten())


def judge(table: pd.DataFrame) -> Mapping[str, Finding]:
    """Distance at the start, its change and that of the entropy, and the similarity at the end."""
    rows, probes = table.dropna(subset="distance"), table.dropna(subset="probe")
    gain = learned(probes[probes["step"] > 0], probes[probes["step"] == 0], "probe", ["step"])
    ways = {way: rows[rows["input"] == way] for way in (SEEN, MASKED)}
    rises = {f"{way}, {column}": _rise(ways[way], column) for way in ways for column in ("distance", "entropy")}
    differs = {f"{way}, below {most:.2g}": _adaptive(ways[way], most) for way in ways for most in (1.0, ALIKE)}
    return {
        "local": by_choice({way: _local(measures) for way, measures in ways.items()}),
        "diffuse": by_choice({choice: taught(finding, gain) for choice, finding in rises.items()}),
        "adaptive": by_choice({choice: taught(finding, gain) for choice, finding in differs.items()}),
    }


def _local(rows: pd.DataFrame) -> Finding:
    first = rows[rows["step"] == 0]
    nearer = NEAR * first["uniform"] - first["distance"]
    words = f"mean distance {mean(list(first['distance']))} pixels, if all counted alike {first['uniform'].mean():.3g}"
    return Finding(mean(list(nearer)).positive, words)


def _rise(rows: pd.DataFrame, column: str) -> Finding:
    first, last = (rows[rows["step"] == step].set_index("seed")[column] for step in (0, rows["step"].max()))
    change = gap(last.to_dict(), first.to_dict())
    words = f"{NAMES[column]}: from {mean(list(first))} to {mean(list(last))}, a change of {change}"
    return Finding(change.positive, words)


def _adaptive(rows: pd.DataFrame, most: float) -> Finding:
    first, last = (list(rows.loc[rows["step"] == step, "similarity"]) for step in (0, rows["step"].max()))
    return Finding(below(last, most), f"cosine similarity {mean(last)}, untrained {mean(first)}")


def draw(table: pd.DataFrame) -> Mapping[str, Figure]:
    """Two rows of the Jacobian on two images at each checkpoint; the measures against the steps."""
    measures = table.dropna(subset="distance")
    figure, (panels,) = drawing.sheet(1, len(NAMES), 2.8, 2.4)
    for panel, (column, label) in zip(panels, NAMES.items(), strict=True):
        drawing.lines(panel, measures, "step", column, "input")
        drawing.dress(panel, "Between images" if column == "similarity" else "Of the basis", "training step", label)
        panel.get_legend().remove()
    figure.legend(*panel.get_legend_handles_labels(), fontsize=7, frameon=False, loc="outside lower center", ncols=2)
    return {"figure_8": _gallery(table.dropna(subset="pixels")), "figure_8_measures": figure}


def _gallery(maps: pd.DataFrame) -> Figure:
    steps = sorted(maps["step"].dropna().astype(int).unique())
    pictures = {int(row["image"]): _grid(row["pixels"], 3) for _, row in maps[maps["place"].isna()].iterrows()}
    figure, panels = drawing.sheet(len(pictures), len(steps) + 1, 1.35, 1.45)
    for line, (number, picture) in zip(panels, pictures.items(), strict=True):
        for panel, step in zip(line, [None, *steps], strict=True):
            rows = maps[(maps["image"] == number) & (maps["step"] == step)].sort_values("place")
            inked = [np.array(ink) * _grid(text, 1) for ink, text in zip(INKS, rows["pixels"], strict=False)]
            light = sum(inked, 0.3 * picture.mean(2, keepdims=True)) if inked else picture
            panel.imshow(np.clip(light, 0, 1), interpolation="nearest")
            for ink, (y, x) in zip(INKS, PLACES, strict=True):
                panel.plot(int(x * len(picture)), int(y * len(picture)), "o", ms=6, mfc="none", mec=ink, mew=1.2)
            panel.set_axis_off()
            if number == 0:
                panel.set_title({None: "image", 0: "untrained"}.get(step, f"step {step}"), fontsize=8)
    return figure


def _grid(text: str, channels: int) -> NDArray[np.float64]:
    """0 to 255 as text -> [H, W, channels] of 0 to 1; images are square."""
    values = np.array(text.split(), dtype=np.float64) / 255
    side = round((len(values) / channels) ** 0.5)
    pixels: NDArray[np.float64] = values.reshape(channels, side, side).transpose(1, 2, 0)
    return pixels
