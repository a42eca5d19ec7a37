"""What encoder and decoder layers buy: reconstruction error, time, and accuracy"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from maebench.papers import drawing
from maebench.papers.claims import Finding, Verdict, by_choice, gap, mean, no_proxy, per_doubling
from maebench.papers.experiments import Experiments
from maebench.papers.scales import PRETRAIN, PROBE, TUNE, VIT, Scale, Settings

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
    "The quick budget is far from the paper's: 48 wide, patch 4, 1 to 4 encoder layers, 500 steps of 32 images; probe "
    "fitted on 2,000 images, fine-tuning on them for 3 epochs. Full: the paper's model and epochs, rates as He et al. "
    "2022. Both: ratio 0.75; each encoder with the smallest decoder, each decoder with the deepest encoder.",
    "Reconstruction error: mean squared error of the hidden pixels of 1,000 test images, the same masks for all.",
    "A trend is the slope of a least-squares line over a seed's cells, per doubling of the layers (time: per layer). "
    "Does not imply: their rank correlation is above -0.71, so less than half of the ranks' variance is explained. "
    "Small: the best of 2 to 4 layers beats the best other. Labels alone: untrained.",
)
TASKS = {"linear_probe": "probe", "fine_tune": "tuned"}
SMALL, CLOSE = range(2, 5), 0.3
NAMES = {
    **{"depth": "encoder layers", "decoder_depth": "decoder layers", "seconds": "training time, s"},
    **{"error": "reconstruction error, test", "probe": "linear probe, top-1, %", "tuned": "fine-tuned, top-1, %"},
}
SWEEPS: Settings = {
    "quick": {"encoders": (1, 2, 4), "decoders": (1, 2, 6), "seeds": [0, 1, 2]},
    "full": {"encoders": (2, 4, 8, 12), "decoders": (1, 2, 4, 8), "seeds": [0, 1, 2]},
}
SETTINGS: Settings = {
    scale: {
        **{"dataset": {"cifar10": {}}, "vit": VIT[scale], "pretrain": PRETRAIN[scale]},
        **{"linear_probe": PROBE[scale], "fine_tune": {"tune": "whole", **TUNE[scale]}, **sweep},
    }
    for scale, sweep in SWEEPS.items()
}


def compute(experiments: Experiments, scale: Scale) -> pd.DataFrame:
    """Rows: those of `measured`."""
    return measured(experiments, SETTINGS[scale])


def configs(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The smallest decoder with every encoder, and the other decoders with the deepest encoder."""
    encoders, (least, *others) = settings["encoders"], sorted(settings["decoders"])
    return [
        {
            "tracks": [{"dataset": settings["dataset"], "tasks": [{task: settings[task]} for task in TASKS]}],
            "variants": [{"vit_mae": {**settings["vit"], "depth": one, "decoder_depth": other}} for one, other in some],
            "masks": {"strategy": "uniform", "ratio": 0.75},
            **{key: settings[key] for key in ("pretrain", "seeds")},
        }
        for some in ([(one, least) for one in encoders], [(max(encoders), other) for other in others])
    ]


def measured(experiments: Experiments, settings: Mapping[str, Any]) -> pd.DataFrame:
    """Rows, a run each: depth, decoder_depth, seed, floor, seconds, flops (an image, forward), error, probe, tuned."""
    thin, deep = configs(settings)
    table = pd.concat(
        [experiments.table(thin), experiments.table(deep, "without")]
    )  # the floor does not hang on the decoder
    found = {
        "seconds": _values(table, "cost", "pretrain_seconds"),
        "flops": _values(table, "cost", "flops_per_image"),
        "error": pd.concat(experiments.errors(config) for config in (thin, deep)).set_index("run_id")["error"],
        **{name: _values(table, task, "top1") for task, name in TASKS.items()},
    }
    about = table.drop_duplicates("run_id").set_index("run_id")[["depth", "decoder_depth", "seed", "floor"]]
    joined: pd.DataFrame = pd.DataFrame(found).join(about)
    return joined


def _values(table: pd.DataFrame, task: str, metric: str) -> "pd.Series[float]":
    """Run -> the metric of a task."""
    rows = table[(table["task"] == task) & (table["metric"] == metric)]
    values: pd.Series[float] = rows.set_index("run_id")["value"]
    return values


def judge(table: pd.DataFrame) -> Mapping[str, Finding]:
    """Slopes over the layers, rank correlations, and differences between decoders and from the floor."""
    table = table.assign(less=-table["error"])
    trained, floors = table[~table["floor"]], table[table["floor"]]
    thin = trained[trained["decoder_depth"] == trained["decoder_depth"].min()]
    deep = trained[trained["depth"] == trained["depth"].max()]
    slopes = {"linear probe": per_doubling(thin, "depth", "probe"), "fine-tuning": per_doubling(thin, "depth", "tuned")}
    steeper = gap(slopes["fine-tuning"], per_doubling(floors, "depth", "tuned"))
    above = gap(thin.groupby("seed")["tuned"].mean().to_dict(), floors.groupby("seed")["tuned"].mean().to_dict())
    lower = "{} lower per doubling of the layers"
    return {
        "error_encoder": Finding(*_positive(per_doubling(thin, "depth", "less"), lower)),
        "error_decoder": Finding(*_positive(per_doubling(deep, "decoder_depth", "less"), lower)),
        "time": by_choice({"seconds": _time(trained, "seconds"), "operations": _time(trained, "flops")}),
        "proxy": _proxy(trained),
        "encoder": by_choice({name: _positive(one, "{} points per doubling") for name, one in slopes.items()}),
        **_decoders(deep),
        "floor": Finding(above.positive, f"pretraining adds {above} points"),
        "plateau": Finding(steeper.positive, f"{steeper} points more per doubling of the layers"),
    }


def _positive(values: Mapping[int, float], words: str) -> tuple[Verdict, str]:
    found = mean(list(values.values()))
    return found.positive, words.format(found)


def _time(trained: pd.DataFrame, value: str) -> tuple[Verdict, str]:
    """value = a + b encoder layers + c decoder layers, for each seed: whether c > b."""
    fits = []
    for _, rows in trained.groupby("seed"):
        layers = np.column_stack([np.ones(len(rows)), rows["depth"], rows["decoder_depth"]])
        fits.append(np.linalg.lstsq(layers, rows[value].to_numpy(dtype=float), rcond=None)[0])
    encoder, decoder = (mean([float(fit[place]) for fit in fits]) for place in (1, 2))
    return mean([float(c - b) for _, b, c in fits]).positive, f"{value} a layer: encoder {encoder}, decoder {decoder}"


def _proxy(trained: pd.DataFrame) -> Finding:
    found = {}
    for name, column in (("linear probe", "probe"), ("fine-tuning", "tuned")):
        found[name] = no_proxy([rows for _, rows in trained.dropna(subset=column).groupby("seed")], column)
    return by_choice(found)


def _decoders(deep: pd.DataFrame) -> dict[str, Finding]:
    probes, tuned = (deep.pivot_table(value, "decoder_depth", "seed") for value in ("probe", "tuned"))
    small, other = (probes[probes.index.isin(SMALL) == inside].mean(axis=1).idxmax() for inside in (True, False))
    ahead = mean((probes.loc[small] - probes.loc[other]).to_list())
    better = Finding(ahead.positive, f"{small} decoder layers are {ahead} points better than {other}")
    best = tuned.mean(axis=1).idxmax()
    lost = (tuned.loc[best] - tuned.loc[1]).to_list()
    words = f"the best has {best} layers; 1 layer is {mean(lost)} points lower"
    return {"decoder": better, "one": Finding(mean([CLOSE - one for one in lost]).positive, words)}


def draw(table: pd.DataFrame) -> Mapping[str, Figure]:
    """Time; reconstruction error and linear probe; fine-tuning: each over encoder and over decoder layers."""
    table = table.assign(start=table["floor"].map({False: "pretrained", True: "untrained"}))
    table = table.sort_values(["floor", "depth", "decoder_depth"])
    trained = table[~table["floor"]]
    deep, thin = trained["depth"] == trained["depth"].max(), table["decoder_depth"] == table["decoder_depth"].min()
    drawn = {}
    for name, values in (("figure_10", ("seconds",)), ("figure_14", ("error", "probe")), ("figure_15", ("tuned",))):
        drawn[name], panels = drawing.sheet(len(values), 2)
        for line, y in zip(panels, values, strict=True):
            for panel, rows, x in zip(line, (table[thin], trained[deep]), ("depth", "decoder_depth"), strict=True):
                shown = rows.dropna(subset=y) if y != "seconds" else rows[~rows["floor"]]
                drawing.lines(panel, shown, x, y, "start")
                held = "smallest decoder" if x == "depth" else f"{trained['depth'].max()} encoder layers"
                drawing.dress(panel, f"{NAMES[y].split(',')[0].capitalize()}, {held}", NAMES[x], NAMES[y])
                panel.set_xticks(rows[x].unique())
    return drawn
