"""Figures 4, E and 22: what is measured, on signals where it is known, and that each verdict can go either way."""

import io
import math

import numpy as np
import pandas as pd
import pytest
import torch

from maebench.papers import drawing
from maebench.papers.figures import ising, spectra
from maebench.seeding import stream


def read_back(table):
    return pd.read_csv(io.StringIO(table.to_csv(index=False)))


@pytest.fixture(name="chains", scope="module")
def computed_chains():
    return read_back(ising.compute())


@pytest.fixture(name="images", scope="module")
def computed_spectra():
    """Of images whose power falls with frequency."""
    return read_back(spectra.spectra(blurred(240)))


def blurred(count):
    noise = torch.randn(count, 24, 24, generator=stream(0, "noise"), dtype=torch.float64)
    return torch.nn.functional.avg_pool2d(noise, 9, 1)


def main(table):
    """Rows of Figure 4's own patch and k."""
    return table["name"].isna() & (table["patch"] == ising.PATCH) & (table["k"] == ising.K)


def test_a_wave_is_its_own_best_sinusoid():
    t = torch.arange(32, dtype=torch.float64) / 32
    wave = (2 * math.pi * 2.75 * t + 1).cos()
    noise = torch.randn(2000, 32, generator=stream(0, "noise"), dtype=torch.float64)
    r2, cycles = ising.sinusoids(torch.stack([wave, 3 * (2 * math.pi * 5 * t).sin() + (2 * math.pi * 9 * t).cos()]))
    assert r2.tolist() == pytest.approx([1, 0.9], abs=0.01)
    assert cycles.tolist() == pytest.approx([2.75, 5], abs=0.05)
    assert 0.1 < ising.sinusoids(noise)[0].mean() < 0.4


def test_orthonormal_rows_span_the_same_and_keep_their_direction():
    rows = torch.randn(4, 9, generator=stream(0, "rows"), dtype=torch.float64)
    got = ising.orthonormal(rows)
    eye = torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(got @ got.T, eye, rtol=0, atol=1e-12)
    torch.testing.assert_close(rows @ got.T @ got, rows, rtol=0, atol=1e-12)
    torch.testing.assert_close(ising.orthonormal(3 * eye), eye, rtol=0, atol=1e-12)


def test_the_chains_of_figure_4(chains):
    fit = chains[main(chains) & (chains["data"] == ising.EXACT) & (chains["J"] == 1)]
    alone, counted = (fit[fit["hidden"] == how].set_index("m") for how in (ising.ALONE, ising.COUNTED))
    assert alone["emphasis"][0.75] == pytest.approx(2.14, abs=0.01)
    assert counted["emphasis"][0.75] == pytest.approx(2.44, abs=0.01)
    assert alone["distance"][0.0] == pytest.approx(math.sqrt(26), rel=1e-9)
    assert alone["r2"][0.0] > 0.999 > 0.9 > alone["r2 other T"][0.0]
    columns = ["emphasis", "margin", "distance", "kept", "r2"]
    np.testing.assert_allclose(alone.loc[0.0, columns], counted.loc[0.0, columns], rtol=1e-6)  # both are the AE
    samples = chains[main(chains) & (chains["data"] == ising.SAMPLES) & (chains["J"] == 1) & (chains["m"] == 0.75)]
    assert set(samples["seed"]) == set(range(ising.SEEDS))
    near = samples[samples["hidden"] == ising.ALONE]["emphasis"]
    assert near.between(2.0, 2.3).all()
    assert near.nunique() == ising.SEEDS


def test_verdicts_on_the_chains(chains):
    found = ising.judge(chains)
    verdicts = {key: one.verdict for key, one in found.items()}
    assert set(verdicts) == set(ising.CLAIMS)
    assert verdicts.pop("J") == "contradicted"
    assert set(verdicts.values()) == {"holds"}
    assert len(found["m"].cases) == 18
    assert "of 18 choices: 15 holds" in found["m"].number


@pytest.mark.parametrize(
    ("claim", "column", "m", "value"),
    [
        ("identity", "distance", 0.0, 5.3),
        ("sinusoids", "r2", 0.0, 0.9),
        ("sinusoids", "apart", 0.0, 0.1),
        ("boundary", "margin", 0.75, 0.99),
        ("plain", "margin", 0.0, 1.01),
        ("plain", "emphasis", 0.0, 1.2),
        ("m", "emphasis", 0.5, 1.0),
    ],
)
def test_each_claim_about_chains_can_fail(chains, claim, column, m, value):
    changed = chains.copy()
    changed.loc[main(chains) & (chains["m"] == m), column] = value
    assert ising.judge(changed)[claim].verdict == "contradicted"


def test_growth_with_the_coupling_can_hold(chains):
    changed = chains.assign(emphasis=chains["emphasis"] + chains["J"])
    found = ising.judge(changed)["J"]
    assert found.verdict == "holds"
    assert found.number.startswith("20 of 20 steps up")


def test_growth_on_samples_must_exceed_its_error(chains):
    changed, rows = chains.copy(), (chains["data"] == ising.SAMPLES) & (chains["m"] == 0.5) & (chains["J"] == 1)
    changed.loc[rows, "emphasis"] += 2.0 * (changed.loc[rows, "seed"] - 2)
    cases = ising.judge(changed)["m"].cases
    assert cases[f"patch 8, k = 6, {ising.SAMPLES}, {ising.ALONE}"].startswith("not shown: 23 of 25")


def test_spectra_hold_exactly_where_they_must(images):
    fits = images[images["name"].isna()]
    assert len(fits) == 2 * 3 * 2 * 3  # hidden as, part, ratio, patch
    assert fits[["kernel", "convolution"]].max().max() < 1e-12
    assert fits["coherence"].between(0, 1).all()
    for patch, share in fits.groupby("patch")["zeros"].first().items():
        assert share == 1 - ((16 - patch + 1) / 16) ** 2
    found = spectra.judge(images)
    verdicts = {key: one.verdict for key, one in found.items()}
    assert verdicts == {**dict.fromkeys(spectra.CLAIMS, "holds"), "zeroing": "contradicted"}


def test_masked_noise_is_less_noise():
    noise = torch.randn(1500, 16, 16, generator=stream(0, "noise"), dtype=torch.float64)
    table = spectra.spectra(noise)
    fit = table[table["name"].isna() & (table["hidden"] == spectra.MEAN) & (table["patch"] == 2)]
    for ratio, visible in ((0.2, 51 / 64), (0.75, 16 / 64)):
        rise = fit[fit["ratio"] == ratio]["rise"]
        assert rise.mean() == pytest.approx(visible, rel=0.02)
    assert spectra.judge(table)["smoothing"].verdict in ("contradicted", "not shown")  # it was flat before


@pytest.mark.parametrize(
    ("claim", "column", "value", "verdict"),
    [
        ("kernel", "kernel", 1e-9, "contradicted"),
        ("convolution", "convolution", 1e-9, "contradicted"),
        ("grating", "grating", 1e-6, "contradicted"),
        ("smoothing", "flat_after", 0.0, "contradicted"),
        ("zeroing", "kept", 0.005, "holds"),
    ],
)
def test_each_claim_about_spectra_can_turn(images, claim, column, value, verdict):
    changed = images.copy()
    changed.loc[images["name"].isna() & (images["patch"] == 4) & (images["ratio"] == 0.2), column] = value
    assert spectra.judge(images)[claim].verdict != verdict
    assert spectra.judge(changed)[claim].verdict == verdict


def test_a_wave_shows_at_its_frequency():
    y = torch.arange(16)[:, None].expand(16, 16)
    phases = 2 * math.pi * torch.rand(60, 1, 1, generator=stream(0, "phases"), dtype=torch.float64)
    table = spectra.spectra((2 * math.pi * 3 * y / 16 + phases).cos() + 0.01 * blurred(60))
    power = table[(table["name"] == "image") & table["x"].notna()].pivot(index="y", columns="x", values="power")
    top = power.stack().nlargest(2)
    assert set(top.index) == {(3, 0), (13, 0)}
    assert top.sum() > 0.95 * power.to_numpy().sum()


def test_they_draw(chains, images, tmp_path):
    figures = {**ising.draw(chains), **spectra.draw(images)}
    assert set(figures) == {"figure_4", "appendix_e", "figure_22"}
    for name, figure in figures.items():
        drawing.save(figure, tmp_path / name)
        assert all((tmp_path / f"{name}.{kind}").stat().st_size > 1000 for kind in ("png", "svg"))
