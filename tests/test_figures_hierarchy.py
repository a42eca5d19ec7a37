"""Hierarchical latents: the claims hold on tables made to show them and fail on others; a tiny run end to end."""

import io
import itertools
from collections.abc import Callable

import pandas as pd
import pytest
import torch
from rich.console import Console

from maebench.papers.experiments import Experiments
from maebench.papers.figures.hierarchy import (
    CLAIMS,
    HIGH,
    LEVELS,
    LOW,
    MIDDLE,
    PIXELS,
    PROBE,
    RATIO,
    RATIOS,
    TRAINED,
    UNITS,
    UNTRAINED,
    draw,
    judge,
    measures,
    recovered,
)
from maebench.plugins import find, load
from maebench.runs.progress import Progress
from maebench.runs.runner import Runner

Law = Callable[[str, float, int], float]
TINY = {
    "data": {"train": 120, "val": 40, "test": 60, "size": 16},
    "model": {"patch": 2, "width": 16, "depth": 1, "decoder_width": 16, "decoder_depth": 1},
    "pretrain": {"steps": 1, "batch": 4},
    "seeds": [3],
    "fit_images": 100,
}


def peaked(level: str, ratio: float, unit: int) -> float:
    """High levels peak at ratio 0.5 and rise with the unit, the low one is best at the extremes."""
    bump = 0.25 - (ratio - 0.5) ** 2
    return 0.5 - bump if level == LOW else 0.2 + bump + 0.05 * unit


def flipped(level: str, ratio: float, unit: int) -> float:
    return 1 - peaked(level, ratio, unit)


def rising(level: str, ratio: float, unit: int) -> float:
    """All levels alike, better with the ratio; the last unit is too large."""
    return 0.2 + 0.3 * ratio + {1: 0.0, 2: 0.1, 4: 0.05}[unit]


def table(law: Law, noise: float = 0.001) -> pd.DataFrame:
    """Two latents a level, three seeds; the noise is the same at every call and of another sign with each seed."""
    experiments = [(ratio, 1) for ratio in RATIOS] + [(RATIO, unit) for unit in UNITS[1:]]
    signs = itertools.cycle((1.0, -0.6, 0.3, -0.9, 0.1))
    rows = [
        (TRAINED, ratio, unit, seed, level, latent, law(level, ratio, unit) + noise * next(signs))
        for seed in range(3)
        for ratio, unit in experiments
        for level in (*LEVELS, PROBE)
        for latent in ("one", "other")
    ]
    for floor, seeds in {UNTRAINED: (0, 1, 2), PIXELS: (None,)}.items():
        rows += [(floor, None, None, seed, level, "one", 0.1) for seed in seeds for level in (*LEVELS, PROBE)]
    frame = pd.DataFrame(rows, columns=["encoder", "ratio", "unit", "seed", "level", "latent", "value"])
    return pd.read_csv(io.StringIO(frame.to_csv(index=False)))


def verdicts(law: Law, noise: float = 0.001) -> dict[str, str]:
    return {key: finding.verdict for key, finding in judge(table(law, noise)).items()}


def test_every_claim_can_hold():
    assert verdicts(peaked) == dict.fromkeys(CLAIMS, "holds")


def test_every_claim_can_fail():
    assert verdicts(flipped) == dict.fromkeys(CLAIMS, "contradicted")


def test_a_rise_is_no_peak_and_a_last_unit_can_be_too_large():
    wanted = {"ratio": "contradicted", "low_level": "not shown", "unit": "holds", "largest_unit": "contradicted"}
    assert verdicts(rising) == wanted


def test_what_differs_by_less_than_chance_is_not_shown():
    assert set(verdicts(peaked, noise=5).values()) == {"not shown"}


def test_without_any_learning_nothing_can_be_told():
    frame = table(peaked)
    frame.loc[frame["encoder"] == UNTRAINED, "value"] = 0.9
    assert {(finding.verdict, finding.training) for finding in judge(frame).values()} == {("not shown", "too little")}


def test_findings_say_where_the_peak_is_and_judge_other_levels_too():
    found = judge(table(peaked))
    assert found["ratio"].number.startswith("best inner ratio 0.5: 0.5")
    assert set(found["ratio"].cases) == {HIGH, MIDDLE, PROBE}
    assert found["largest_unit"].number.startswith("unit 4 less unit 2: 0.1 ")


def test_a_level_is_the_mean_of_its_latents():
    frame = table(peaked, noise=0)
    frame.loc[frame["latent"] == "other", "value"] += 0.5
    wide = measures(frame)
    row = wide[(wide["encoder"] == TRAINED) & (wide["ratio"] == 0.5) & (wide["seed"] == 1)].iloc[0]
    assert row[HIGH] == pytest.approx(peaked(HIGH, 0.5, 1) + 0.25)
    assert row["texture less layout"] == pytest.approx(peaked(LOW, 0.5, 1) - peaked(HIGH, 0.5, 1))


def test_levels_are_those_of_the_data_set():
    assert tuple(load(find("datasets", "scenes")).LATENTS) == LEVELS


def test_a_tiny_run_gives_every_encoder_and_latent_and_is_drawn(tmp_path):
    progress = Progress(Console(file=io.StringIO()))
    experiments = Experiments(Runner(tmp_path / "runs", tmp_path, None, torch.device("cpu"), progress, "test"))
    frame = recovered(experiments, TINY)
    assert not frame.duplicated(["encoder", "ratio", "unit", "seed", "latent", "level"]).any()
    assert frame["value"].notna().all()
    trained = frame[frame["encoder"] == TRAINED]
    encoders = trained.groupby(["ratio", "unit"])["seed"].agg(lambda seeds: sorted(set(seeds)))
    assert dict(encoders) == {key: [3] for key in [*((one, 1) for one in RATIOS), (RATIO, 2), (RATIO, 4)]}
    names = [*(one for names in load(find("datasets", "scenes")).LATENTS.values() for one in names), "class"]
    for encoder, count in {TRAINED: 7, UNTRAINED: 1, PIXELS: 1}.items():
        assert (frame.loc[frame["encoder"] == encoder, "latent"].value_counts() == count).all()
        assert set(frame.loc[frame["encoder"] == encoder, "latent"]) == set(names)
    frame = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
    assert set(judge(frame)) == set(CLAIMS)
    figures = draw(frame)
    assert set(figures) == {"hierarchy_ratio", "hierarchy_unit"}
    by_ratio, by_unit = (figure.axes[0].lines[0].get_xdata() for figure in figures.values())
    assert list(by_ratio) == list(RATIOS)
    assert list(by_unit) == list(UNITS)
