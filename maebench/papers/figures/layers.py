"""What encoder and decoder layers buy: reconstruction error, time, and accuracy"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from maebench.papers import drawing
from maebench.papers.claims import Finding, above, below, by_choice, gap, learned, mean, no_proxy, per_doubling, taught
from maebench.papers.experiments import Experiments, values
from maebench.papers.scales import PRETRAIN, PROBE, TUNE, VIT, Scale, Settings, mae_config

FIGURES = ("10", "14", "15")
CLAIMS = {
    "error_encoder": "The reconstruction error falls with encoder layers.",
    "error_decoder": "The reconstruction error falls with decoder layers.",
    "time": "Training time grows faster with decoder layers than with encoder layers.",
    "proxy": "A smaller reconstruction error does not imply a higher accuracy.",
    "encoder": "The linear probe improves with encoder layers.",
    "decoder": "The linear probe is best with a small decoder, of 2 to 4 layers.",
    "one_layer": "After fine-tuning, a decoder of 1 layer is within 0.3 points of the best.",
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
    "Small: the best of 2 to 4 layers beats the best other. Labels alone: untrained. What is said of fine-tuning is "
    "judged where it is better after pretraining.",
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
    thin, deep = [(encoder, least) for encoder in encoders], [(max(encoders), decoder) for decoder in others]
    tasks = [{task: settings[task]} for task in TASKS]
    return [
        mae_config(
            settings,
            [{**settings["vit"], "depth": encoder, "decoder_depth": decoder} for encoder, decoder in sizes],
            tasks=tasks,
        )
        for sizes in (thin, deep)
    ]


def measured(experiments: Experiments, settings: Mapping[str, Any]) -> pd.DataFrame:
    """Rows, a run each: depth, decoder_depth, seed, floor, seconds, flops (an image, forward), error, probe, tuned."""
    thin, deep = configs(settings)
    floors_once = [experiments.table(thin), experiments.table(deep, "without")]  # they do not depend on the decoder
    table = pd.concat(floors_once)
    columns = {
        "seconds": values(table, "cost", "pretrain_seconds"),
        "flops": values(table, "cost", "flops_per_image"),
        "error": pd.concat(experiments.errors(config) for config in (thin, deep)).set_index("run_id")["error"],
        **{name: values(table, task, "top1") for task, name in TASKS.items()},
    }
    about = table.drop_duplicates("run_id").set_index("run_id")[["depth", "decoder_depth", "seed", "floor"]]
    joined: pd.DataFrame = pd.DataFrame(columns).join(about)
    return joined


def judge(table: pd.DataFrame) -> Mapping[str, Finding]:
    """Slopes over the layers, rank correlations, and differences between decoders and from the floor."""
    table = table.assign(less=-table["error"])
    trained, floors = table[~table["floor"]], table[table["floor"]]
    thin = trained[trained["decoder_depth"] == trained["decoder_depth"].min()]
    deep = trained[trained["depth"] == trained["depth"].max()]
    gains = {
        score: learned(trained, floors, score, ["depth", "decoder_depth"], ["depth"]) for score in ("probe", "tuned")
    }
    ways = {"linear probe": "probe", "fine-tuning": "tuned"}
    slopes = {way: per_doubling(thin, "depth", score) for way, score in ways.items()}
    steeper = gap(slopes["fine-tuning"], per_doubling(floors, "depth", "tuned"))
    more = gap(thin.groupby("seed")["tuned"].mean().to_dict(), floors.groupby("seed")["tuned"].mean().to_dict())
    lower = "{} lower per doubling of the layers"
    probed = {
        "error_encoder": _positive(per_doubling(thin, "depth", "less"), lower),
        "error_decoder": _positive(per_doubling(deep, "decoder_depth", "less"), lower),
        "decoder": _small_decoder(deep),
    }
    tuned = {
        "one_layer": _one_layer(deep),
        "floor": Finding(more.positive, f"pretraining adds {more} points"),
        "plateau": Finding(steeper.positive, f"{steeper} points more per doubling of the layers"),
    }
    return {
        "time": by_choice({"seconds": _time(trained, "seconds"), "operations": _time(trained, "flops")}),
        "proxy": by_choice({way: taught(_proxy(trained, score), gains[score]) for way, score in ways.items()}),
        "encoder": by_choice(
            {way: taught(_positive(slopes[way], "{} points per doubling"), gains[score]) for way, score in ways.items()}
        ),
        **{claim: taught(finding, gains["probe"]) for claim, finding in probed.items()},
        **{claim: taught(finding, gains["tuned"]) for claim, finding in tuned.items()},
    }


def _positive(seeds: Mapping[int, float], words: str) -> Finding:
    average = mean(list(seeds.values()))
    return Finding(average.positive, words.format(average))


def _time(trained: pd.DataFrame, value: str) -> Finding:
    """value = a + b encoder layers + c decoder layers, for each seed: whether c > b."""
    fits = []
    for _, rows in trained.groupby("seed"):
        layers = np.column_stack([np.ones(len(rows)), rows["depth"], rows["decoder_depth"]])
        fits.append(np.linalg.lstsq(layers, rows[value].to_numpy(dtype=float), rcond=None)[0])
    encoder, decoder = (mean([float(fit[place]) for fit in fits]) for place in (1, 2))
    return Finding(
        above([float(c - b) for _, b, c in fits], 0), f"{value} a layer: encoder {encoder}, decoder {decoder}"
    )


def _proxy(trained: pd.DataFrame, score: str) -> Finding:
    return no_proxy([rows for _, rows in trained.dropna(subset=score).groupby("seed")], score)


def _small_decoder(deep: pd.DataFrame) -> Finding:
    probes = deep.pivot_table("probe", "decoder_depth", "seed")
    small, other = (probes[probes.index.isin(SMALL) == inside].mean(axis=1).idxmax() for inside in (True, False))
    ahead = mean((probes.loc[small] - probes.loc[other]).to_list())
    return Finding(ahead.positive, f"{small} decoder layers are {ahead} points better than {other}")


def _one_layer(deep: pd.DataFrame) -> Finding:
    tuned = deep.pivot_table("tuned", "decoder_depth", "seed")
    best = tuned.mean(axis=1).idxmax()
    lost = (tuned.loc[best] - tuned.loc[1]).to_list()
    return Finding(below(lost, CLOSE), f"the best has {best} layers; 1 layer is {mean(lost)} points lower")


def draw(table: pd.DataFrame) -> Mapping[str, Figure]:
    """Time; reconstruction error and linear probe; fine-tuning: each over encoder and over decoder layers."""
    table = table.assign(start=table["floor"].map({False: "pretrained", True: "untrained"}))
    table = table.sort_values(["floor", "depth", "decoder_depth"])
    trained = table[~table["floor"]]
    deep, thin = trained["depth"] == trained["depth"].max(), table["decoder_depth"] == table["decoder_depth"].min()
    drawn = {}
    for name, shown in (("figure_10", ("seconds",)), ("figure_14", ("error", "probe")), ("figure_15", ("tuned",))):
        drawn[name], panels = drawing.sheet(len(shown), 2)
        for line, y in zip(panels, shown, strict=True):
            for panel, rows, x in zip(line, (table[thin], trained[deep]), ("depth", "decoder_depth"), strict=True):
                known = rows.dropna(subset=y) if y != "seconds" else rows[~rows["floor"]]
                drawing.lines(panel, known, x, y, "start")
                held = "smallest decoder" if x == "depth" else f"{trained['depth'].max()} encoder layers"
                drawing.dress(panel, f"{NAMES[y].split(',')[0].capitalize()}, {held}", NAMES[x], NAMES[y])
                panel.set_xticks(rows[x].unique())
    return drawn
