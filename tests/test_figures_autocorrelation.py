"""Figure 3 on curves and images whose correlation is known."""

import numpy as np
import pandas as pd
import pytest
import torch

from maebench.papers import drawing
from maebench.papers.figures.autocorrelation import CLAIMS, REACH, curves, draw, judge
from maebench.seeding import stream


def table(rho, data="CIFAR-10"):
    """Three parts that hardly differ, with rho(0) = 1."""
    distance = np.arange(1, REACH + 1)
    rows = [
        {"data": data, "centring": "pixel means removed", "part": part, "distance": d, "rho": (1 + part / 1000) * r}
        for part in range(3)
        for d, r in [(0, 1.0), *zip(distance, rho(distance), strict=True)]
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("rho", "strong", "inverse"),
    [
        (lambda d: 0.9 / d, "holds", "holds"),
        (lambda d: 0.9 / d**0.5, "holds", "contradicted"),
        (lambda d: 0.9 / d**1.2, "holds", "contradicted"),
        (lambda d: 0.6 / d, "contradicted", "holds"),  # 0.6^2 is less than half
        (lambda d: 0.9 / d + 0.2 * (d == 9), "contradicted", "holds"),  # rises at one step
        (lambda d: np.minimum(0.9 / d, 0.9 / 5), "contradicted", "contradicted"),  # 0.18^2
        (lambda d: 0.9 / np.maximum(d, 2) ** 1.05 * 2**1.05, "not shown", "holds"),  # 1 and 2 pixels away alike
        (lambda d: 0.9 - 0.1 * d, "holds", "contradicted"),  # turns negative
    ],
)
def test_verdicts_follow_the_curve(rho, strong, inverse):
    found = judge(table(rho))
    assert {key: one.verdict for key, one in found.items()} == {"strong": strong, "inverse": inverse}
    assert set(found) == set(CLAIMS)


def test_each_data_set_is_a_case_and_cifar_comes_first():
    both = pd.concat([table(lambda d: 0.9 / d), table(lambda d: 0.9 / d**0.3, "street")])
    found = judge(both)["inverse"]
    assert found.verdict == "holds"
    assert [text.split(":")[0] for text in found.cases.values()] == ["holds", "contradicted"]
    assert "of 2 choices: 1 holds, 1 contradicted" in found.number


def test_parts_that_disagree_show_nothing():
    rows = table(lambda d: 0.9 / d)
    rows.loc[(rows["part"] == 0) & (rows["distance"] == 9), "rho"] = 0.5
    rows.loc[rows["distance"] == 1, "rho"] = 0.5**0.5 + (rows["part"] - 1) / 10
    assert judge(rows)["strong"].verdict == "not shown"


def test_curves_of_noise_and_of_wide_blobs():
    noise = torch.randn(60, 32, 32, generator=stream(0, "noise"))
    wide = torch.nn.functional.avg_pool2d(noise, 7, 1, 3)
    for images, verdict in ((noise, "contradicted"), (wide, "holds")):
        found = curves([images[part::3] for part in range(3)], "made up")
        assert list(found) == ["data", "centring", "part", "distance", "rho"]
        near = found[(found["distance"] == 1) & (found["centring"] == "pixel means removed")]["rho"]
        assert len(near) == 3
        assert near.mean() == pytest.approx(6 / 7 if verdict == "holds" else 0, abs=0.08)  # and diagonal neighbours
        start = found[found["distance"] <= 4]
        assert judge(start)["strong"].verdict == verdict


def test_what_is_removed_is_removed_in_each_part():
    images = torch.randn(40, 8, 8, generator=stream(0, "images"))
    ramp = torch.arange(8.0)[:, None].expand(8, 8)
    one, other = (curves([part], "made up") for part in (images, images + 5 * ramp))
    rho = [found[found["centring"] == "pixel means removed"]["rho"].to_numpy() for found in (one, other)]
    np.testing.assert_allclose(*rho, atol=1e-5)


def test_it_draws(tmp_path):
    for name, figure in draw(pd.concat([table(lambda d: 0.9 / d), table(lambda d: 0.5 - 0.1 * d, "street")])).items():
        drawing.save(figure, tmp_path / name)
        assert all((tmp_path / f"{name}.{kind}").stat().st_size > 1000 for kind in ("png", "svg"))
