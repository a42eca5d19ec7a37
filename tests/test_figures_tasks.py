"""Gabor and depth figures: claims that hold and that do not, the exact R^2 against the task's, and small runs."""

from itertools import product

import pandas as pd
import pytest
import torch
from rich.console import Console
from torch.nn import functional

from maebench.contracts import Split, standardise
from maebench.papers.experiments import Experiments
from maebench.papers.figures import depth, gabor
from maebench.runs.progress import Progress
from maebench.runs.runner import Runner
from maebench.seeding import stream
from maebench.tasks.gabor_frequency import measure, responses
from maebench.tasks.readouts import whole
from maebench.theory.closed_form import clean, optimum
from maebench.theory.moments import moments


def smooth(count, words, channels=1, size=16):
    """Images whose neighbouring pixels are alike, uint8 [N, C, size, size]."""
    rng = stream(0, "tasks", words)
    coarse = functional.interpolate(torch.randn(count, channels, 5, 5, generator=rng), size, mode="bilinear")
    noise = torch.randn(count, channels, size, size, generator=rng)
    return ((30 * coarse + 4 * noise) + 128).clamp(0, 255).to(torch.uint8)


SPLITS = {name: Split(smooth(count, name)) for name, count in {"train": 1500, "val": 200, "test": 200}.items()}
SETTINGS = {"frequencies": gabor.FREQUENCIES, "sigmas": gabor.SIGMAS, "stride": gabor.STRIDE}


@pytest.mark.parametrize("channels", [1, 3])
def test_the_gabor_target_is_a_linear_map(channels):
    images = smooth(5, "map", channels)
    wanted = responses(images, **SETTINGS).flatten(1).double()
    found = images.flatten(1).double() @ gabor.target_map((channels, 16, 16)).T / 255
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_the_exact_r2_is_the_one_measured_on_images():
    """By the task's own measure, of its own read-out without a penalty."""
    table = gabor.measured(SPLITS, (8,), (6,))
    assert table.groupby(["part", "ratio"]).size().eq(12).all()
    train, test = SPLITS["train"].images[::3], SPLITS["test"].images
    average, C = moments(train)
    encoder = optimum(C, clean(C), 6).encoder

    def encode(images):
        return ((standardise(images).flatten(1) - average) @ encoder.T).float()[:, :, None, None]

    wanted = responses(train, **SETTINGS)
    rows = train, wanted.flatten(1)
    found = whole.components(encode, train)
    (reading,) = whole.read(found, rows, rows, [None], penalties=(0.0,))
    guess = reading(found(test)).view(len(test), 1, *wanted.shape[1:])
    scores = measure(guess, test, **SETTINGS, k=None, axis=())
    own = table[(table["part"] == 0) & (table["ratio"] == 0)]
    for f, sigma, r2 in zip(own["f"], own["sigma"], own["r2"], strict=True):
        assert r2 == pytest.approx(scores[f"r2@f={f:g},sigma={sigma:g}"], abs=1e-4)
    assert own["r2"].max() - own["r2"].min() > 0.1


def test_longer_codes_and_no_mask_read_no_worse():
    table = gabor.measured(SPLITS, (8, 4), (4, 100)).assign(channels="grey")
    short, long = (table[table["k"] == k]["r2"].to_numpy() for k in (4, 100))
    assert (long > short).all()
    plain = table[table["ratio"] == 0]
    assert plain.groupby(["part", "k", "f", "sigma"])["r2"].nunique().eq(1).all(), "the AE has no patches"
    assert set(gabor.judge(table)) == set(gabor.CLAIMS)
    assert len(gabor.draw(table)["figure_7a"].axes) == 4


def gabor_table(of):
    """of(ratio, sigma) -> r2, with a little noise of the parts."""
    keys = product(range(3), gabor.RATIOS, gabor.FREQUENCIES, gabor.SIGMAS)
    rows = [(part, 8, m, 64, f, s, "grey", of(m, s) + 1e-4 * part * (1 + m)) for part, m, f, s in keys]
    return pd.DataFrame(rows, columns=["part", "patch", "ratio", "k", "f", "sigma", "channels", "r2"])


@pytest.mark.parametrize(
    ("of", "alike", "wide"),
    [
        (lambda m, s: 0.5 + 0.03 * m * s, "holds", "holds"),
        (lambda m, s: 0.5 - 0.03 * m * s, "holds", "contradicted"),
        (lambda m, s: 0.5 + 0.1 * m, "contradicted", "not shown"),  # high ratios win at every sigma alike
        (lambda m, s: 0.5 - 0.2 * m / s, "contradicted", "contradicted"),  # they catch up, and no more
        (lambda m, s: 0.5, "holds", "not shown"),
    ],
)
def test_gabor_claims(of, alike, wide):
    findings = gabor.judge(gabor_table(of))
    assert (findings["alike"].verdict, findings["wide"].verdict) == (alike, wide)
    assert len(findings["wide"].cases) == 4, "the mean over f, and each f"


def test_one_frequency_is_a_case():
    table = gabor_table(lambda m, s: 0.5 - 0.03 * m * s)
    table.loc[table["f"] == 0.2, "r2"] = 1 - table["r2"]
    found = gabor.judge(table)["wide"]
    assert found.verdict == "contradicted"
    assert [name for name, text in found.cases.items() if text.startswith("holds")] == [
        "grey, k = 64, patch 8, f = 0.2"
    ]


def depth_table(gain):
    """gain(patch, k) -> R^2 of MAE less AE, and half of that off AbsRel."""
    rows = []
    for part, k in product(range(3), depth.KS):
        level = 0.1 * part + 0.01 * k**0.5
        rows.append((part, "AE", 0, 0.0, k, level, 1 - level))
        for ratio, patch in product(depth.RATIOS, depth.PATCHES):
            better = gain(patch, k) * (1 + 0.1 * part)
            rows.append((part, "MAE", patch, ratio, k, level + better, 1 - level - better / 2))
    rows += [(part, name, 0, 0.0, 0, 0.0, 1.0) for part in range(3) for name in depth.BASELINES]
    table = pd.DataFrame(rows, columns=["part", "model", "patch", "ratio", "k", "r2_log", "abs_rel"])
    return table.assign(data="street", channels="grey")


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [
        (lambda patch, k: 0.1 if k <= 16 else -0.1, "holds"),
        (lambda patch, k: 0.1 if k > 16 else -0.1, "contradicted"),
        (lambda patch, k: 0.1 if patch < 16 else -0.1, "contradicted"),
        (lambda patch, k: 0.1 if patch < 16 else 0.0, "not shown"),
        (lambda patch, k: 0.0, "not shown"),
    ],
)
def test_depth_claim(gain, verdict):
    found = depth.judge(depth_table(gain))["small"]
    assert found.verdict == verdict
    assert len(found.cases) == 4
    assert {text.partition(":")[0] for text in found.cases.values()} == {verdict}, "by both measures"


def test_where_the_autoencoder_catches_up_is_named():
    number = depth.judge(depth_table(lambda patch, k: 0.1 if k < patch else -0.01))["small"].number
    assert "patch 4 (ahead at k = 2)" in number
    assert "patch 16 (ahead at k = 2, 4, 8)" in number
    assert "patch 2 (ahead at k = none)" in number


def test_depth_is_read_from_codes_and_unknown_pixels_are_left_out():
    """Log depth is the brightness of the image, which no code of many values can leave out."""
    splits = {}
    for name, count in {"train": 600, "val": 90, "test": 90}.items():
        images = smooth(count, f"depth {name}", 3)
        log = images.float().mean((1, 2, 3)).view(-1, 1, 1, 1).expand(-1, 1, 16, 16) / 30
        unknown = torch.rand(log.shape, generator=stream(0, "unknown", name)) < 0.2
        splits[name] = Split(images, {"depth": log.exp().masked_fill(unknown, torch.nan)})
    table = depth.measured(splits, "grey", (4,), (1, 40))
    read = table.pivot_table(index="model", columns="k", values="r2_log")
    assert read.loc["mean map", 0] == pytest.approx(0, abs=0.15)
    assert read.loc["AE", 40] > 0.8
    assert read.loc["MAE", 40] > 0.8
    assert len(table) == 3 * (2 * (1 + len(depth.RATIOS)) + 2)
    assert table.groupby("part")["r2_log"].first().nunique() == 3


def test_a_data_set_that_is_not_there_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(depth, "PATCHES", (8,))
    monkeypatch.setattr(depth, "KS", (2, 16))
    small = {"train": 120, "val": 30, "test": 60, "size": 16}
    monkeypatch.setitem(depth.DATA, "scenes", ("scenes", small))
    runner = Runner(tmp_path / "runs", tmp_path, None, torch.device("cpu"), Progress(Console(quiet=True)), "test")
    table = depth.compute(Experiments(runner), "quick")
    assert set(table["data"]) == {"scenes"}
    assert set(table["channels"]) == {"grey"}
    assert table["r2_log"].notna().all()
    assert set(depth.judge(table)) == set(depth.CLAIMS)
    assert len(depth.draw(table)["figure_7b"].axes) == 2
