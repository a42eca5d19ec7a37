"""Masking ratio and patch size: reconstruction error, linear probe, and time"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from maebench.papers import drawing
from maebench.papers.claims import Finding, Mean, above, all_of, by_choice, learned, mean, per_doubling, taught
from maebench.papers.experiments import Experiments
from maebench.papers.scales import BRIEF, PROBE, TINY_VIT, Scale, Settings, mae_config

FIGURES = ("11",)
CLAIMS = {
    "ratio": "Reconstruction improves as the masking ratio falls.",
    "patch": "Reconstruction improves as the patch becomes smaller.",
    "best": "A small patch with a large masking ratio gives the best linear probe.",
    "faster": "Training is faster with a larger patch, and with a larger masking ratio.",
    "hours": "From ratio 0.9 to 0.1, training takes longer (in the paper 4 and 10 hours, 2.5 times).",
}
CHOICES = (
    "The quick budget is far from the paper's: 32 wide, 2 encoder layers and 1 decoder layer, 250 steps of 32 images "
    "for every cell; the probe is fitted on 2,000 images. Full: the paper's model and epochs, 4 decoder layers.",
    "Uniform masks. Reconstruction error: mean squared error of the hidden pixels of 1,000 test images; the same masks "
    "for every model of one patch and ratio.",
    "The paper's text names no values for this figure; ours include both ends of its training times, 0.1 and 0.9.",
    "A trend is the slope of a least-squares line over all cells of a seed, per doubling of the visible share of the "
    "patches, or of the patch; the time is in doublings too. It holds with the right sign.",
    "Best: the best cell (by the mean over seeds) with the smallest patch and a ratio of at least 0.75 beats the best "
    "of all others.",
    "Operations: those of the forward pass of the loss of one image, which no machine changes. Hours: at the smallest "
    "patch, equal steps; it holds where it is longer.",
)
LARGE = 0.75
NAMES = {"visible": "visible share", "patch": "patch"}
RATIOS: dict[Scale, tuple[float, ...]] = {"quick": (0.1, 0.5, 0.75, 0.9), "full": (0.1, 0.25, 0.5, 0.75, 0.9)}
SETTINGS: Settings = {
    scale: {
        **{"dataset": {"cifar10": {}}, "vit": TINY_VIT[scale], "patches": (2, 4, 8), "ratios": ratios},
        **{"pretrain": BRIEF[scale], "linear_probe": PROBE[scale], "seeds": [0, 1, 2]},
    }
    for scale, ratios in RATIOS.items()
}


def compute(experiments: Experiments, scale: Scale) -> pd.DataFrame:
    """Rows: those of `measured`."""
    return measured(experiments, SETTINGS[scale])


def configs(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every patch at every ratio."""
    models = [{**settings["vit"], "patch": patch} for patch in settings["patches"]]
    return [mae_config(settings, models, settings["ratios"], [{"linear_probe": settings["linear_probe"]}])]


def measured(experiments: Experiments, settings: Mapping[str, Any]) -> pd.DataFrame:
    """Rows, a run each: patch, ratio (none of an untrained floor), seed, seconds, flops (forward), probe, error."""
    (config,) = configs(settings)
    table = experiments.table(config)
    names = {"pretrain_seconds": "seconds", "flops_per_image": "flops", "top1": "probe"}
    wide = table[table["metric"].isin(names)].pivot(index="run_id", columns="metric", values="value")
    rows = table.drop_duplicates("run_id").set_index("run_id")[["patch", "ratio", "seed", "floor"]]
    errors = experiments.errors(config).set_index("run_id")["error"]
    joined: pd.DataFrame = pd.concat([rows, wide.rename(columns=names), errors], axis=1).sort_values(["patch", "ratio"])
    return joined


def judge(table: pd.DataFrame) -> Mapping[str, Finding]:
    """Slopes over the cells, the best corner, and the time at both ends of the ratio."""
    trained = table[~table["floor"]].assign(visible=lambda rows: 1 - rows["ratio"])
    by_ratio = {"all patches": trained, **{f"patch {patch}": rows for patch, rows in trained.groupby("patch")}}
    by_patch = {"all ratios": trained, **{f"ratio {ratio}": rows for ratio, rows in trained.groupby("ratio")}}
    costs, floors = {"seconds": "seconds", "operations": "flops"}, table[table["floor"]]

    def judged(rows: pd.DataFrame, finding: Finding) -> Finding:
        return taught(finding, learned(rows, floors, "probe", ["patch", "ratio"], ["patch"]))

    return {
        "ratio": by_choice({name: judged(rows, _error(rows, "visible", -1)) for name, rows in by_ratio.items()}),
        "patch": by_choice({name: judged(rows, _error(rows, "patch", 1)) for name, rows in by_patch.items()}),
        "best": judged(trained, _corner(trained)),
        "faster": by_choice({name: _faster(trained, column) for name, column in costs.items()}),
        "hours": by_choice({name: _longer(trained, column) for name, column in costs.items()}),
    }


def _slope(trained: pd.DataFrame, over: str, value: str, sign: int) -> Mean:
    """Of a line through the cells of each seed, per doubling, times the sign."""
    return mean([sign * slope for slope in per_doubling(trained, over, value).values()])


def _error(trained: pd.DataFrame, over: str, sign: int) -> Finding:
    more, slope = "fall" if sign < 0 else "rise", _slope(trained, over, "error", sign)
    return Finding(slope.positive, f"{more} of the error per doubling of the {NAMES[over]}: {slope}")


def _corner(trained: pd.DataFrame) -> Finding:
    """The best cell of small patch and large ratio, less the best of all others."""
    cells = trained.pivot_table(index=["patch", "ratio"], columns="seed", values="probe")
    patches, ratios = (cells.index.get_level_values(name) for name in ("patch", "ratio"))
    inside = (patches == patches.min()) & (ratios >= LARGE)
    (corner, other) = (cells[mask].mean(axis=1).idxmax() for mask in (inside, ~inside))
    ahead = mean((cells.loc[corner] - cells.loc[other]).to_list())
    words = "patch {}, ratio {}".format
    return Finding(ahead.positive, f"{words(*corner)} is {ahead} points better than {words(*other)}")


def _faster(trained: pd.DataFrame, column: str) -> Finding:
    doublings = trained.assign(doublings=np.log2(trained[column]))
    patch, visible = _slope(doublings, "patch", "doublings", -1), _slope(doublings, "visible", "doublings", 1)
    words = (
        f"log2 of the {column} falls by {patch} per doubling of the patch, {visible} per halving of the visible share"
    )
    return Finding(all_of([patch.positive, visible.positive]), words)


def _longer(trained: pd.DataFrame, column: str) -> Finding:
    """How many times what it takes at the largest ratio it takes at the smallest."""
    small = trained[trained["patch"] == trained["patch"].min()]
    cells = small.pivot_table(index="ratio", columns="seed", values=column).sort_index()
    times = (cells.iloc[0] / cells.iloc[-1]).to_list()
    words = f"{column} at ratio {cells.index[0]} are {mean(times)} times those at {cells.index[-1]}"
    return Finding(above(times, 1), words)


def draw(table: pd.DataFrame) -> Mapping[str, Figure]:
    """Error, linear probe and time against the ratio, a line for each patch; the untrained floor dotted."""
    trained = table[~table["floor"]]
    figure, ((error, probe, time),) = drawing.sheet(1, 3)
    for panel, column in ((error, "error"), (probe, "probe"), (time, "seconds")):
        drawing.lines(panel, trained, "ratio", column, "patch", "patch {}")
        panel.set_xticks(sorted(trained["ratio"].unique()))
    drawing.dress(error, "Reconstruction error", "masking ratio", "mean squared error, test")
    for line, (_, rows) in zip(probe.lines, table[table["floor"]].groupby("patch"), strict=False):
        probe.axhline(rows["probe"].mean(), color=line.get_color(), lw=0.8, ls=":")
    drawing.dress(probe, "Linear probe (dotted: untrained)", "masking ratio", "top-1, %")
    time.set_yscale("log", base=2)
    time.yaxis.set_major_formatter("{x:g}")
    drawing.dress(time, "Training time, equal steps", "masking ratio", "seconds")
    for panel in (probe, time):  # the colours are those of the first
        panel.get_legend().remove()
    return {"figure_11": figure}
