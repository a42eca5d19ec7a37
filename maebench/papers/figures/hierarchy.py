"""Masking ratio and mask unit decide which latents an encoder recovers"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from maebench.papers import drawing
from maebench.papers.claims import Finding, all_of, by_choice, gap, learned, mean, taught
from maebench.papers.experiments import Experiments
from maebench.papers.scales import Scale
from maebench.plugins import find, load

FIGURES = ("Kong et al.",)
CLAIMS = {
    "ratio": "Recovery of high-level latents peaks at an intermediate masking ratio.",
    "low_level": "At extreme masking ratios low-level latents are recovered better relative to high-level ones.",
    "unit": "Hiding in units larger than the patch recovers high-level latents better.",
    "largest_unit": "The largest unit recovers them better still (so the table of Kong et al.; their text says worse).",
}
CHOICES = (
    "Kong et al. 2023 pretrain ViT-B on ImageNet and judge by linear probes and attention maps. Here the latents are "
    "known: R^2 of each on the test images of the data set scenes, 10,000 train images (--budget full: 50,000).",
    "Levels, from high to low: layout and class; position, size and pose; texture and colour; each the mean R^2 of its "
    "latents. Read-out: that of the task latents, ridge regression from all principal components of the whole map, the "
    "penalty of each latent chosen on val; to compare, top-1 of the task linear_probe.",
    "vit_mae under coarse masks: the ratios of Kong et al. at unit 1; units of 1, 2 and 4 patches at ratio 0.75. These "
    "are 1/8, 1/4 and 1/2 of the image's side at quick, 1/16, 1/8 and 1/4 at full; theirs 1/28, 1/14 and 1/7.",
    "Quick is very small: width 64, 2 blocks, patch 4, 800 steps of 32 images, 3 seeds, read-outs of 4,000 images; "
    "model and rate were chosen at ratio 0.75, unit 1, on scenes of another seed. Full: width 192, 12 blocks, patch 2, "
    "5,000 steps of 512 images, 3 seeds, read-outs of 10,000. Both: normalised targets, as in He et al. 2022.",
    "Where the best trained encoder is not above the untrained one by the measure that is judged, nothing is told of "
    "training: not shown. An intermediate peak: the best of the three inner ratios is above 0.1 and above 0.9.",
    "Relative: R^2 of texture and colour less that of the higher level is at 0.1 and 0.9 above its mean between.",
    "Units: the second is compared with the first, the last with the one before. About their largest unit the table of "
    "Kong et al. (linear probe 62.6, 69.0, 73.3) and their text (it falls) disagree; the claim is the table's.",
)
HIGH, MIDDLE, LOW = LEVELS = ("layout and class", "position, size and pose", "texture and colour")
PROBE = "linear probe"
RELATIVE = {"texture less layout": HIGH, "texture less position": MIDDLE}
RATIOS, RATIO, UNITS = (0.1, 0.25, 0.5, 0.75, 0.9), 0.75, (1, 2, 4)
TRAINED, UNTRAINED, PIXELS = "trained", "untrained", "raw pixels"
Curve = Mapping[float, Mapping[int, float]]  # ratio or unit -> seed -> value
SETTINGS: dict[Scale, Mapping[str, Any]] = {
    "quick": {
        "data": {},
        "model": {"width": 64, "depth": 2, "decoder_width": 32, "decoder_depth": 1, "target": "normalised"},
        "pretrain": {"steps": 800, "batch": 32, "base_lr": 3.2e-2},
        **{"seeds": [0, 1, 2], "fit_images": 4_000},
    },
    "full": {
        "data": {"train": 50_000},
        "model": {"patch": 2, "width": 192, "depth": 12, "heads": 3, "decoder_width": 96, "target": "normalised"},
        "pretrain": {"steps": 5_000, "batch": 512, "base_lr": 1e-3, "precision": "bfloat16"},
        **{"seeds": [0, 1, 2], "fit_images": 10_000},
    },
}


def compute(experiments: Experiments, scale: Scale) -> pd.DataFrame:
    """Rows: those of `recovered`."""
    return recovered(experiments, SETTINGS[scale])


def recovered(experiments: Experiments, settings: Mapping[str, Any]) -> pd.DataFrame:
    """Rows: encoder (trained, untrained, raw pixels), ratio, unit, seed, level, latent, value (R^2; top-1 in %).

    Ratio and unit are those of training, none for the floors.
    """
    names: dict[str, tuple[str, ...]] = load(find("datasets", "scenes", experiments.runner.plugins)).LATENTS
    latents = [(level, latent) for level in names for latent in names[level]]
    frame = pd.concat([experiments.table(config) for config in configs(settings)], ignore_index=True)
    rows = []
    for row in frame.drop_duplicates(["run_id", "task", "metric"]).itertuples():
        base, _, column = str(row.metric).partition("@column=")
        if not column and base != "top1":
            continue
        level, latent = latents[int(column)] if column else (PROBE, "class")
        encoder = PIXELS if row.variant == "raw_pixels" else UNTRAINED if row.floor else TRAINED
        rows.append((encoder, row.ratio, row.masking_unit, row.seed, level, latent, row.value))
    columns = ["encoder", "ratio", "unit", "seed", "level", "latent", "value"]
    table: pd.DataFrame = pd.DataFrame(rows, columns=columns)
    return table


def configs(settings: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The runs as configs: the ratios at unit 1, then the larger units at one ratio."""
    fit = {"fit_images": settings["fit_images"]}
    tasks = [{"latents": {**fit, "axis": []}}, {"linear_probe": fit}]
    masks: tuple[tuple[Sequence[int], Sequence[float]], ...] = ((UNITS[:1], RATIOS), (UNITS[1:], (RATIO,)))
    for units, ratios in masks:
        yield {
            "tracks": [{"dataset": {"scenes": settings["data"]}, "tasks": tasks}],
            "variants": ["raw_pixels", {"vit_mae": settings["model"]}],
            "masks": {"strategy": [{"coarse": {"unit": unit}} for unit in units], "ratio": list(ratios)},
            "pretrain": settings["pretrain"],
            "seeds": settings["seeds"],
        }


def measures(table: pd.DataFrame) -> pd.DataFrame:
    """Rows: encoder, ratio, unit, seed (0 where there is none), mean R^2 of each level, differences, PROBE."""
    keys = ["encoder", "ratio", "unit", "seed"]
    known = table.fillna({"ratio": 0, "unit": 0, "seed": 0})
    wide: pd.DataFrame = known.pivot_table(index=keys, columns="level", values="value", aggfunc="mean").reset_index()
    for name, level in RELATIVE.items():
        wide[name] = wide[LOW] - wide[level]
    return wide


def trained(wide: pd.DataFrame, x: str) -> pd.DataFrame:
    """Rows of `measures` of the trained encoders that differ in x alone: "ratio", at unit 1, or "unit", at RATIO."""
    other, fixed = ("unit", UNITS[0]) if x == "ratio" else ("ratio", RATIO)
    rows: pd.DataFrame = wide[(wide["encoder"] == TRAINED) & (wide[other] == fixed)]
    return rows


def curve(wide: pd.DataFrame, x: str, measure: str) -> Curve:
    """Rows of `measures` -> ratio or unit -> seed -> value."""
    return {
        float(str(at)): dict(zip(part["seed"].astype(int), part[measure].astype(float), strict=True))
        for at, part in trained(wide, x).groupby(x)
    }


def judge(table: pd.DataFrame) -> Mapping[str, Finding]:
    """Where on the ratios recovery is best, what the extreme ones favour, and each step of the unit."""
    wide = measures(table)
    ratios = {measure: curve(wide, "ratio", measure) for measure in (HIGH, MIDDLE, PROBE, *RELATIVE, LOW)}
    units = {measure: curve(wide, "unit", measure) for measure in (HIGH, MIDDLE, PROBE)}

    def judged(measure: str, finding: Finding) -> Finding:
        level = RELATIVE.get(measure, measure)
        after, before = (wide[wide["encoder"] == encoder] for encoder in (TRAINED, UNTRAINED))
        return taught(finding, learned(after, before, level, ["ratio", "unit"]))

    steps = {"unit": UNITS[:2], "largest_unit": UNITS[-2:]}
    return {
        "ratio": by_choice({measure: judged(measure, _peak(ratios[measure])) for measure in units}),
        "low_level": by_choice({measure: judged(measure, _dip(ratios[measure])) for measure in (*RELATIVE, LOW)}),
        **{
            claim: by_choice({measure: judged(measure, _step(line, *pair)) for measure, line in units.items()})
            for claim, pair in steps.items()
        },
    }


def _peak(values: Curve) -> Finding:
    """Over ratios: whether the best inner one is above both extreme ones."""
    best = max(RATIOS[1:-1], key=lambda ratio: mean(list(values[ratio].values())).value)
    gaps = {end: gap(values[best], values[end]) for end in (RATIOS[0], RATIOS[-1])}
    words = ", ".join(f"above {end:g} by {ahead}" for end, ahead in gaps.items())
    top = mean(list(values[best].values()))
    return Finding(all_of(ahead.positive for ahead in gaps.values()), f"best inner ratio {best:g}: {top}, {words}")


def _dip(values: Curve) -> Finding:
    """Over ratios: whether both extreme ones are above the mean of the inner ones."""
    inner = {seed: mean([values[ratio][seed] for ratio in RATIOS[1:-1]]).value for seed in values[RATIO]}
    gaps = {end: gap(values[end], inner) for end in (RATIOS[0], RATIOS[-1])}
    words = ", ".join(f"at {end:g} by {ahead}" for end, ahead in gaps.items())
    return Finding(all_of(ahead.positive for ahead in gaps.values()), f"above the inner ratios {words}")


def _step(values: Curve, smaller: int, larger: int) -> Finding:
    """Over units: whether the larger is above the smaller."""
    change = gap(values[larger], values[smaller])
    return Finding(change.positive, f"unit {larger} less unit {smaller}: {change}")


def draw(table: pd.DataFrame) -> Mapping[str, Figure]:
    """Recovery by level, against the ratio and against the unit, with the floors."""
    wide = measures(table)
    return {
        "hierarchy_ratio": _sheet(wide, "ratio", "masking ratio"),
        "hierarchy_unit": _sheet(wide, "unit", "mask unit, patches a side"),
    }


def _sheet(wide: pd.DataFrame, x: str, label: str) -> Figure:
    figure, panels = drawing.sheet(2, 3, 2.5, 2.2)
    *shown, last = panels.flat
    points = trained(wide, x)
    ticks = sorted(points[x].unique())
    for panel, measure in zip(shown, (*LEVELS, next(iter(RELATIVE)), PROBE), strict=True):
        drawing.lines(panel, points, x, measure, "encoder", "{}, mean ± sd")
        panel.get_legend().remove()
        for floor, style in ((UNTRAINED, "--"), (PIXELS, ":")):
            value = wide.loc[wide["encoder"] == floor, measure].mean()
            panel.axhline(value, color="black", lw=0.9, ls=style, label=floor)
        if x == "unit":
            panel.set_xscale("log", base=2)
        panel.set_xticks(ticks, [f"{value:g}" for value in ticks], minor=False)
        unit = {PROBE: "top-1, %"}.get(measure, "difference of R²" if measure in RELATIVE else "R²")
        drawing.dress(panel, measure[0].upper() + measure[1:], label, unit)
    last.set_axis_off()
    last.legend(*shown[0].get_legend_handles_labels(), fontsize=8, frameon=False, loc="center")
    return figure
