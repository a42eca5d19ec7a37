"""How alike the layers of masked autoencoders of different depth are"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from maebench.contracts import Variant, standardise
from maebench.papers import drawing
from maebench.papers.claims import Finding, by_choice, learned, mean, taught
from maebench.papers.experiments import Experiments, values
from maebench.papers.scales import PRETRAIN, PROBE, VIT, Scale, Settings, mae_config
from maebench.theory.similarity import effective_rank, linear_cka

FIGURES = ("cka",)
CLAIMS = {
    "larger": "The deeper an encoder, the more alike its layers are to those of the deepest.",
    "last": "Shallow encoders fall behind at the last layer in particular.",
}
CHOICES = (
    "Features of each part of the encoder (embedding, blocks; the last with the final norm), nothing hidden: averaged "
    "over the patches, 1,000 test images; to compare, every patch of 100 images a row of its own.",
    "An encoder is compared with the deepest of another seed. Of the same seed, another choice, both start from the "
    "same weights where they have the same layers, and see the same images in the same order.",
    "A layer is compared with the one at the same relative depth: first with first, last with last. Another choice: "
    "the mean over all pairs of layers. The deepest itself, of another seed, is left out, or counted too.",
    "Larger: the slope of the mean similarity over the layers, per doubling of the depth, is clearly above 0. "
    "Last: the slope of the similarity at the last layer is clearly above that of the mean of the layers before.",
    "Quick, far from the paper's, has runs of figure 10: 48 wide, patch 4, 1, 2 and 4 encoder layers, 1 decoder layer, "
    "500 steps of 32 images. Full: the paper's model, 2, 4, 8 and 12 encoder and 4 decoder layers.",
)
PATCHES, POOLED = "every patch", "averaged over patches"
IMAGES, FEW, CHUNK = 1000, 100, 100
# Setting by setting those of layers, so that the runs are made once for both.
SWEEPS: Settings = {
    "quick": {"encoders": (1, 2, 4), "decoder": 1, "seeds": [0, 1, 2]},
    "full": {"encoders": (2, 4, 8, 12), "decoder": 4, "seeds": [0, 1, 2]},
}
SETTINGS: Settings = {
    scale: {
        **{"dataset": {"cifar10": {}}, "vit": VIT[scale], "pretrain": PRETRAIN[scale], **sweep},
        "linear_probe": PROBE[scale],
    }
    for scale, sweep in SWEEPS.items()
}


def compute(experiments: Experiments, scale: Scale) -> pd.DataFrame:
    """Rows: those of `measured`."""
    return measured(experiments, SETTINGS[scale])


def measured(experiments: Experiments, settings: Mapping[str, Any]) -> pd.DataFrame:
    """Rows: depth, seed, rows (what a row of the features is), layer, deepest, other_seed, other_layer, cka.

    Or depth, seed, rows, layer, rank: the effective rank of the features. Layer 0 is the embedding. Or depth, seed,
    floor, probe.
    """
    models = [
        {**settings["vit"], "depth": depth, "decoder_depth": settings["decoder"]} for depth in settings["encoders"]
    ]
    config = mae_config(settings, models, tasks=[{"linear_probe": settings["linear_probe"]}])
    probes = values(experiments.table(config), "linear_probe", "top1")
    features: dict[tuple[int, int], dict[str, list[Tensor]]] = {}
    rows: list[dict[str, object]] = []
    for spec, states in experiments.trained(config):
        depth, seed, data = spec.encoder.variant.settings["depth"], spec.encoder.seed or 0, spec.encoder.dataset
        rows.append({"depth": depth, "seed": seed, "floor": spec.floor, "probe": probes[spec.run_id]})
        if not spec.floor:
            images = experiments.splits(data.name, data.settings)["test"].images[:IMAGES].to(experiments.device)
            features[depth, seed] = _features(states[max(states)], images)
    table: pd.DataFrame = pd.DataFrame([*_alike(features, max(settings["encoders"])), *_ranks(features), *rows])
    return table


@torch.inference_mode()
def _features(variant: Variant, images: Tensor) -> dict[str, list[Tensor]]:
    """How features become rows -> one [rows, width] for each layer, on the CPU."""
    stages: list[nn.Module] = variant.stages()  # type: ignore[operator]
    layers = [stage[-1] if isinstance(stage, nn.ModuleList) else stage for stage in stages]
    outputs: list[list[Tensor]] = [[] for _ in layers]
    hooks = [
        layer.register_forward_hook(lambda _, __, output, kept=kept: kept.append(output.float().cpu()))
        for layer, kept in zip(layers, outputs, strict=True)
    ]
    for part in torch.split(images, CHUNK):
        variant.encode(standardise(part))
    for hook in hooks:
        hook.remove()
    return {
        POOLED: [torch.cat([part.mean(1) for part in kept]) for kept in outputs],
        PATCHES: [torch.cat(kept[: FEW // CHUNK]).flatten(0, 1) for kept in outputs],
    }


def _alike(features: Mapping[tuple[int, int], dict[str, list[Tensor]]], deepest: int) -> Iterator[dict[str, object]]:
    for (depth, seed), own in features.items():
        for (other_depth, other_seed), others in features.items():
            if other_depth == deepest and (depth, seed) != (other_depth, other_seed):
                head = {"depth": depth, "seed": seed, "deepest": deepest, "other_seed": other_seed}
                for rows, layers in own.items():
                    for layer, X in enumerate(layers):
                        for other, Y in enumerate(others[rows]):
                            yield {**head, "rows": rows, "layer": layer, "other_layer": other, "cka": linear_cka(X, Y)}


def _ranks(features: Mapping[tuple[int, int], dict[str, list[Tensor]]]) -> Iterator[dict[str, object]]:
    for (depth, seed), own in features.items():
        for layer, X in enumerate(own[POOLED]):
            yield {"depth": depth, "seed": seed, "rows": POOLED, "layer": layer, "rank": effective_rank(X)}


def matched(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of pairs of layers at the same relative depth."""
    pairs = table.dropna(subset="cka")
    nearest = (pairs["layer"] / pairs["depth"] * pairs["deepest"]).round()
    same: pd.DataFrame = pairs[pairs["other_layer"] == nearest]
    return same


def judge(table: pd.DataFrame) -> Mapping[str, Finding]:
    """Slopes over the depth, for each seed and choice, if the encoders have learned anything."""
    pairs, same, probes = table.dropna(subset="cka"), matched(table), table.dropna(subset="probe")
    floor = probes["floor"].astype(bool)
    gain = learned(probes[~floor], probes[floor], "probe", ["depth"], ["depth"])
    main = f"other seed, {POOLED}"

    def across(rows: pd.DataFrame) -> pd.DataFrame:
        kept: pd.DataFrame = rows[(rows["seed"] != rows["other_seed"]) & (rows["rows"] == POOLED)]
        return kept

    apart = same[(same["seed"] != same["other_seed"]) & (same["rows"] == PATCHES)]
    within = same[(same["seed"] == same["other_seed"]) & (same["rows"] == POOLED)]
    ways = {main: across(same), f"other seed, {PATCHES}": apart, "same seed": within}
    shallow = {way: rows[rows["depth"] < rows["deepest"]] for way, rows in ways.items()}
    counted = {
        "the deepest counted": across(same),
        "all pairs of layers": across(pairs[pairs["depth"] < pairs["deepest"]]),
    }
    ends = {**shallow, "the deepest counted": ways[main]}
    return {
        "larger": by_choice({way: taught(_larger(rows), gain) for way, rows in {**shallow, **counted}.items()}),
        "last": by_choice({way: taught(_last(rows), gain) for way, rows in ends.items()}),
    }


def _slopes(rows: pd.DataFrame) -> list[float]:
    """Of the mean similarity per doubling of the depth, for each seed."""
    means = [seed.groupby("depth")["cka"].mean() for _, seed in rows.groupby("seed")]
    return [float(np.polyfit(np.log2(line.index.to_numpy(dtype=float)), line.to_numpy(), 1)[0]) for line in means]


def _larger(rows: pd.DataFrame) -> Finding:
    slope = mean(_slopes(rows))
    levels = ", ".join(f"{level:.3g} at {depth}" for depth, level in rows.groupby("depth")["cka"].mean().items())
    return Finding(slope.positive, f"{slope} more per doubling of the layers ({levels})")


def _last(rows: pd.DataFrame) -> Finding:
    end = rows["layer"] == rows["depth"]
    last, before = _slopes(rows[end]), _slopes(rows[~end])
    steeper = mean([late - early for late, early in zip(last, before, strict=True)])
    return Finding(steeper.positive, f"per doubling {mean(last)} at the last layer, {mean(before)} before")


def draw(table: pd.DataFrame) -> Mapping[str, Figure]:
    """Maps of the similarity of all layers; similarity at the same relative depth, and effective rank."""
    pairs = table[(table["rows"] == POOLED) & (table["seed"] != table["other_seed"])].dropna(subset="cka")
    depths, deepest = sorted(pairs["depth"].unique()), int(pairs["deepest"].max())
    maps, (panels,) = drawing.sheet(1, len(depths), 2.6, 2.4)
    for panel, depth in zip(panels, depths, strict=True):
        wide = pairs[pairs["depth"] == depth].pivot_table(index="layer", columns="other_layer", values="cka")
        image = panel.imshow(wide.to_numpy(), vmin=pairs["cka"].min(), vmax=1, origin="lower", aspect="auto")
        drawing.dress(panel, f"Encoder layers: {depth}", f"layer, of {deepest}", f"layer, of {depth}")
        panel.set_yticks(range(depth + 1))
        panel.grid(visible=False)
    bar = maps.colorbar(image, ax=panels, fraction=0.05)
    bar.set_label("linear CKA", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    figure, ((alike, rank),) = drawing.sheet(1, 2)
    same = matched(pairs)
    ranks = table.dropna(subset="rank")
    for panel, rows, value in ((alike, same, "cka"), (rank, ranks, "rank")):
        drawing.lines(
            panel, rows.assign(place=rows["layer"] / rows["depth"]), "place", value, "depth", "encoder layers: {}"
        )
    drawing.dress(alike, "With the deepest, of another seed", "relative depth of the layer", "linear CKA")
    drawing.dress(rank, "Directions used", "relative depth of the layer", "effective rank")
    return {"cka_layers": maps, "cka": figure}
