"""The figure on influence: what it measures of linear models, and its verdicts both ways."""

import pandas as pd
import pytest
import torch

from maebench.papers.figures.influence import CLAIMS, DRAWN, PATCH, RATIO, SIGMAS, draw, judge, measured

SIZE = 16


@pytest.fixture(name="table", scope="module")
def measures() -> pd.DataFrame:
    """Of one covariance that falls with the distance, as in photographs, with and without a bottleneck."""
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    place = torch.stack([y.flatten(), x.flatten()], 1).double()
    C = torch.exp(-torch.cdist(place, place) / 4)
    rows = measured(C, (1, SIZE, SIZE), ks=(32, SIZE * SIZE), patches=(2, 4, 8), ratios=(0.1, 0.9))
    return pd.DataFrame(list(rows))


def test_without_a_bottleneck_the_autoencoder_is_the_identity(table):
    identity = table[(table["k"] == SIZE * SIZE) & (table["model"] == "AE")]
    assert identity["mean_distance"].max() < 1e-9
    assert identity["inside"].min() == pytest.approx(1)
    assert identity.loc[identity["distance"] == 0, "weight"].item() == pytest.approx(1)


def test_noise_and_masks_make_a_model_look_further(table):
    whole = table[(table["k"] == SIZE * SIZE) & (table["distance"] == 0)].set_index("model")["mean_distance"]
    assert 0 < whole[f"DAE {min(SIGMAS)}"] < whole[f"DAE {max(SIGMAS)}"] < whole["MAE"].min()


def test_a_weight_is_shared_among_the_pixels_of_a_patch(table):
    assert (table["inside_pixel"] * table["patch"] ** 2).to_list() == pytest.approx(table["inside"].to_list())
    assert table["inside"].between(0, 1 + 1e-9).all()
    shares = table[(table["model"] == "MAE") & (table["distance"] == 0)]
    assert len(shares) == 2 * (2 + 3), "patch 2 and 4 at one ratio, patch 8 at three, for both k"


def laws(sign: int) -> pd.DataFrame:
    """Rows as the paper has it for sign 1, the reverse for -1, the same for each k and third."""
    models = [("AE", PATCH, 0.0, 0), *((f"DAE {sigma}", PATCH, 0.0, 1) for sigma in SIGMAS), ("MAE", PATCH, RATIO, 5)]
    models += [("MAE", PATCH, ratio, 5 + ratio) for ratio in (0.1, 0.9)]
    models += [("MAE", patch, RATIO, 5 + patch / 10) for patch in (2, 16)]
    return pd.DataFrame(
        {
            **{"channels": channels, "k": k, "part": part, "model": model, "patch": patch, "ratio": ratio},
            **{"distance": distance, "weight": 0.01 / (1 + distance), "mean_distance": 10 + sign * far + 0.001 * part},
            **{"inside": 0.5 - sign * far / 100, "inside_pixel": 0.1 - sign * far / 1000},
        }
        for channels, k in DRAWN
        for part in range(3)
        for model, patch, ratio, far in models
        for distance in range(5)
    )


@pytest.mark.parametrize(("sign", "verdict"), [(1, "holds"), (-1, "contradicted"), (0, "not shown")])
def test_both_ways(sign, verdict):
    assert {key: finding.verdict for key, finding in judge(laws(sign)).items()} == dict.fromkeys(CLAIMS, verdict)


def test_it_is_drawn(tmp_path):
    (figure,) = draw(laws(1)).values()
    figure.savefig(tmp_path / "figure.png")
    assert len(figure.axes) == 6
