"""What encoder and decoder layers buy: reconstruction error, time, and accuracy"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from maebench import canvas
from maebench.claims import Finding, Verdict, by_choice, gap, mean
from maebench.panels import COLOURS
from maebench.runs import Runs
from maebench.scales import PRETRAIN, PROBE, TUNE, VIT, Budget, Settings

FIGURES = ("10", "14", "15")
CLAIMS = {
    "error_encoder": "The reconstruction error falls with encoder layers.",
    "error_decoder": "The reconstruction error falls with decoder layers.",
    "time": "Training time grows faster with decoder layers than with encoder layers.",
    "proxy": "A smaller reconstruction error does not imply a higher accuracy.",
    "encoder": "The linear probe improves with encoder layers.",
    "decoder": "The linear probe is best with a small decoder, of 2 to 4 layers.",
    "one": "After fine-tuning, a decoder of 1 layer is within 0.3 points of the best.",
    "floor": "Trained on the labels alone, the same encoder is less accurate than when it was pretrained before.",
    "plateau": "More encoder layers help a pretrained encoder more than one trained on the labels alone.",
}
CHOICES = (
    "The quick budget is far from the paper's: 48 wide, patch 4, 1 to 4 encoder layers, 150 steps of 64 images; probe "
    "fitted on 2,000 images, fine-tuning on them for 3 epochs, for each decoder at the deepest encoder and each "
    "encoder at the smallest decoder. Full: the paper's model and epochs, rates as He et al. 2022. Both: ratio 0.75.",
    "Reconstruction error: mean squared error of the hidden pixels of 1,000 test images, the same masks for all.",
    "A trend is the slope of a least-squares line over a seed's cells, per doubling of the layers (time: per layer). "
    "Does not imply: their rank correlation is above -0.71, so less than half of the ranks' variance is explained. "
    "Small: the best of 2 to 4 layers beats the best other. Labels alone: untrained.",
)
SMALL, CLOSE, HALF = range(2, 5), 0.3, 0.5**0.5  # beyond HALF, half of the variance
NAMES = {
    **{"depth": "encoder layers", "decoder_depth": "decoder layers", "seconds": "training time, s"},
    **{"error": "reconstruction error, test", "probe": "linear probe, top-1, %", "tuned": "fine-tuned, top-1, %"},
}
SWEEPS: Settings = {
    "quick": {"encoders": (1, 2, 4), "decoders": (1, 2, 6), "seeds": [0, 1, 2]},
    "full": {"encoders": (2, 4, 8, 12), "decoders": (1, 2, 4, 8), "seeds": [0, 1, 2]},
}
SETTINGS: Settings = {
    budget: {
        **{"dataset": {"cifar10": {}}, "vit": VIT[budget], "pretrain": PRETRAIN[budget]},
        **{"linear_probe": PROBE[budget], "fine_tune": {"tune": "whole", **TUNE[budget]}, **sweep},
    }
    for budget, sweep in SWEEPS.items()
}


def compute(runs: Runs, budget: Budget) -> pd.DataFrame:
    """Rows: those of `measured`."""
    return measured(runs, SETTINGS[budget])


def configs(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All cells, for the linear probe; the smallest decoder, and the others at the deepest encoder, for fine-tuning."""
    encoders, (least, *others) = settings["encoders"], sorted(settings["decoders"])
    asked = [
        ("linear_probe", [(one, other) for one in encoders for other in (least, *others)]),
        ("fine_tune", [(one, least) for one in encoders]),
        ("fine_tune", [(max(encoders), other) for other in others]),
    ]
    return [
        {
            "tracks": [{"dataset": settings["dataset"], "tasks": {task: settings[task]}}],
            "variants": [{"vit_mae": {**settings["vit"], "depth": one, "decoder_depth": other}} for one, other in some],
            "masks": {"strategy": "uniform", "ratio": 0.75},
            **{key: settings[key] for key in ("pretrain", "seeds")},
        }
        for task, some in asked
    ]


def measured(runs: Runs, settings: Mapping[str, Any]) -> pd.DataFrame:
    """Rows, a run each: depth, decoder_depth, seed, floor, seconds, flops (an image, forward), error, probe, tuned."""
    probing, thin, deep = configs(settings)
    table = runs.table(probing, "without")
    tuned = pd.concat([runs.table(thin), runs.table(deep, "without")])  # the floor does not hang on the decoder
    found = {
        "seconds": _values(table, "pretrain_seconds"),
        "flops": _values(table, "flops_per_image"),
        "error": runs.errors(probing).set_index("run_id")["error"],
        "probe": _values(table, "top1"),
        "tuned": _values(tuned, "top1"),
    }
    about = pd.concat([table, tuned]).drop_duplicates("run_id").set_index("run_id")
    joined: pd.DataFrame = pd.DataFrame(found).join(about[["depth", "decoder_depth", "seed", "floor"]])
    return joined


def _values(table: pd.DataFrame, metric: str) -> "pd.Series[float]":
    """Run -> the metric."""
    rows = table[table["metric"] == metric]
    values: pd.Series[float] = rows.set_index("run_id")["value"]
    return values


def judge(table: pd.DataFrame) -> Mapping[str, Finding]:
    """Slopes over the layers, rank correlations, and differences between decoders and from the floor."""
    trained, thin = table[~table["floor"]], table[table["decoder_depth"] == table["decoder_depth"].min()]
    floors, thin = thin[thin["floor"]], thin[~thin["floor"]]
    slopes = {"linear probe": _slopes(trained, "depth", "probe"), "fine-tuning": _slopes(thin, "depth", "tuned")}
    steeper = gap(slopes["fine-tuning"], _slopes(floors, "depth", "tuned"))
    above = gap(thin.groupby("seed")["tuned"].mean().to_dict(), floors.groupby("seed")["tuned"].mean().to_dict())
    lower = {over: _slopes(trained.assign(less=-trained["error"]), over, "less") for over in ("depth", "decoder_depth")}
    return {
        "error_encoder": Finding(*_positive(lower["depth"], "{} lower per doubling of the layers")),
        "error_decoder": Finding(*_positive(lower["decoder_depth"], "{} lower per doubling of the layers")),
        "time": by_choice({"seconds": _time(trained, "seconds"), "operations": _time(trained, "flops")}),
        "proxy": _proxy(trained),
        "encoder": by_choice({name: _positive(one, "{} points per doubling") for name, one in slopes.items()}),
        **_decoders(trained),
        "floor": Finding(above.positive, f"pretraining adds {above} points"),
        "plateau": Finding(steeper.positive, f"{steeper} points more per doubling of the layers"),
    }


def _positive(values: Mapping[int, float], words: str) -> tuple[Verdict, str]:
    found = mean(list(values.values()))
    return found.positive, words.format(found)


def _slopes(table: pd.DataFrame, over: str, value: str) -> dict[int, float]:
    """Seed -> slope of the value per doubling of the layers."""
    seeds = table.dropna(subset=value).groupby("seed")
    return {int(seed): float(np.polyfit(np.log2(rows[over]), rows[value], 1)[0]) for seed, rows in seeds}


def _time(trained: pd.DataFrame, value: str) -> tuple[Verdict, str]:
    """value = a + b encoder layers + c decoder layers, for each seed: whether c > b."""
    fits = []
    for _, rows in trained.groupby("seed"):
        layers = np.column_stack([np.ones(len(rows)), rows["depth"], rows["decoder_depth"]])
        fits.append(np.linalg.lstsq(layers, rows[value].to_numpy(dtype=float), rcond=None)[0])
    encoder, decoder = (mean([float(fit[place]) for fit in fits]) for place in (1, 2))
    return mean([float(c - b) for _, b, c in fits]).positive, f"{value} a layer: encoder {encoder}, decoder {decoder}"


def _proxy(trained: pd.DataFrame) -> Finding:
    """Rank correlations of error and accuracy, for each seed; 0 where all are equally accurate."""
    found: dict[str, tuple[Verdict, str]] = {}
    for name, column in (("linear probe", "probe"), ("fine-tuning", "tuned")):
        seeds = [rows for _, rows in trained.dropna(subset=column).groupby("seed")]
        rhos = [one["error"].corr(one[column], "spearman") if one[column].nunique() > 1 else 0.0 for one in seeds]
        found[name] = mean([rho + HALF for rho in rhos]).positive, f"rank correlation {mean(rhos)}"
    return by_choice(found)


def _decoders(trained: pd.DataFrame) -> dict[str, Finding]:
    probes = trained.pivot_table("probe", "decoder_depth", "seed")  # the mean over encoders
    small, other = (probes[probes.index.isin(SMALL) == inside].mean(axis=1).idxmax() for inside in (True, False))
    ahead = mean((probes.loc[small] - probes.loc[other]).to_list())
    better = Finding(ahead.positive, f"{small} decoder layers are {ahead} points better than {other}")
    tuned = trained[trained["depth"] == trained["depth"].max()].pivot_table("tuned", "decoder_depth", "seed")
    best = tuned.mean(axis=1).idxmax()
    lost = (tuned.loc[best] - tuned.loc[1]).to_list()
    words = f"the best has {best} layers; 1 layer is {mean(lost)} points lower"
    return {"decoder": better, "one": Finding(mean([CLOSE - one for one in lost]).positive, words)}


def draw(table: pd.DataFrame) -> Mapping[str, Figure]:
    """Time; reconstruction error and linear probe; fine-tuning."""
    start = table["floor"].map({False: "pretrained", True: "labels alone"})
    table = table.assign(start=start).sort_values(["floor", "depth", "decoder_depth"])
    trained = table[~table["floor"]]
    (time, ((a, b),)), (tuned, ((e, f),)) = canvas.sheet(1, 2), canvas.sheet(1, 2)
    frozen, ((c, d, dots),) = canvas.sheet(1, 3)
    deep, thin = trained["depth"] == trained["depth"].max(), table["decoder_depth"] == table["decoder_depth"].min()
    for panel, rows, x, y, by in (
        *((a, trained, "decoder_depth", "seconds", "depth"), (b, trained, "depth", "seconds", "decoder_depth")),
        *((c, trained, "decoder_depth", "error", "depth"), (d, trained, "decoder_depth", "probe", "depth")),
        *((e, trained[deep], "decoder_depth", "tuned", "depth"), (f, table[thin], "depth", "tuned", "start")),
    ):
        canvas.lines(panel, rows, x, y, by, f"{{}} {NAMES.get(by, '')}")
        canvas.dress(panel, NAMES[y].split(",")[0].capitalize(), NAMES[x], NAMES[y])
        panel.set_xticks(rows[x].unique())
    for number, (_, rows) in enumerate(trained.groupby("depth")):
        dots.scatter(rows["error"], rows["probe"], s=16, color=COLOURS[number], marker=canvas.MARKERS[number])
    canvas.dress(dots, "A dot for each model, colours as left", NAMES["error"], NAMES["probe"])
    return {"figure_10": time, "figure_14": frozen, "figure_15": tuned}
