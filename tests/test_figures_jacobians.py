"""The figures that look into trained ViTs: verdicts both ways on small tables, and each from end to end, tiny."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from builders.plugins import CPU, images
from rich.console import Console

from maebench.contracts import standardise
from maebench.papers.experiments import Experiments
from maebench.papers.figures import basis, cka, entropy, first_order, layers, ratio_patch
from maebench.plugins import find
from maebench.runs.build import seeded
from maebench.runs.progress import Progress
from maebench.runs.runner import Runner

SCENES = {"scenes": {"train": 200, "val": 60, "test": 60, "size": 16}}
VIT = {"width": 16, "heads": 2, "decoder_width": 16, "decoder_heads": 2}
LOOKS = {"images": 2, "outputs": 5, "task": {"linear_probe": {"fit_images": 60}}, "metric": "top1"}
TINY: dict[str, Any] = {
    "dataset": SCENES,
    "pretrain": {"steps": 6, "batch": 16, "base_lr": 4e-3},
    "linear_probe": {"fit_images": 60},
    "seeds": [0, 1],
}


@pytest.fixture(scope="module")
def experiments(tmp_path_factory: pytest.TempPathFactory) -> Experiments:
    out = tmp_path_factory.mktemp("runs")
    return Experiments(Runner(out, Path("data"), None, CPU, Progress(Console(quiet=True)), "test"))


def judged(module: Any, table: pd.DataFrame) -> dict[str, str]:
    found = module.judge(table)
    assert set(found) == set(module.CLAIMS)
    return {key: finding.verdict for key, finding in found.items()}


def carried_out(module: Any, table: pd.DataFrame, folder: Path) -> dict[str, str]:
    """What a figure finds in its table once that went through a file, drawn too: key -> verdict."""
    table.to_csv(folder / "table.csv", index=False, float_format="%.6g")
    table = pd.read_csv(folder / "table.csv")
    for name, figure in module.draw(table).items():
        figure.savefig(folder / f"{name}.png")
    return judged(module, table)


def test_basis_from_end_to_end(experiments: Experiments, tmp_path: Path):
    settings = {
        **{**TINY, "pretrain": {**TINY["pretrain"], "probe_every": 3}, "vit": {**VIT, "patch": 2, "depth": 1}},
        **{"ratio": 0.8, "images": 3, "outputs": 5, "masks": 2},
    }
    table = basis.measured(experiments, settings)
    carried_out(basis, table, tmp_path)
    probes = table.dropna(subset="probe")
    assert probes[["seed", "step"]].to_numpy().tolist() == [[0, 0], [0, 6], [1, 0], [1, 6]]
    measures = table.dropna(subset="distance")
    assert sorted(measures["step"].unique()) == [0, 3, 6]
    assert len(measures) == 3 * 2 * 2  # steps, seeds, inputs
    assert measures["distance"].between(0, 16 * 2**0.5).all()
    assert measures["entropy"].between(0, np.log(256)).all()
    assert measures["similarity"].between(-1, 1).all()
    seen = measures[measures["input"] == basis.SEEN].set_index(["seed", "step"])["entropy"]
    assert not np.isclose(seen[0, 0], seen[0, 6]), "weights of a checkpoint were not loaded"
    drawn = table.dropna(subset="pixels")
    assert len(drawn) == 2 + 2 * 2 * 3  # images; and for each two outputs at three steps
    assert {len(text.split()) for text in drawn["pixels"]} == {256, 768}


def test_a_linear_model_has_one_basis_for_all_images():
    """What the similarity between images is compared with."""
    variant = seeded(find("variants", "linear_ae"), {"shape": (3, 8, 8), "k": 5}, 0)
    variant.fit(images(200))
    found = basis._measures(variant, standardise(images(3)), 20, 1)
    assert np.isclose(found["similarity"], 1)
    assert 0 < found["distance"] < 7 * 2**0.5


def test_masked_rows_look_at_fewer_pixels(experiments: Experiments):
    """At ratio 0.8 a row is 0 on four of five pixels, which bounds its entropy."""
    settings = {**TINY, "vit": {**VIT, "depth": 1}, "patches": (4,), "ratios": (0.5, 0.8), **LOOKS}
    table = entropy.measured(experiments, settings)
    means = table[table["ratio"] == 0.8].drop_duplicates(["seed", "input"]).groupby("input")["mean"].mean()
    assert means[entropy.MASKED] <= np.log(0.2 * 256) < means[entropy.SEEN]
    assert means[entropy.SEEN] < means[entropy.APART], "three channels apart have more to spread over"


def test_entropy_from_end_to_end(experiments: Experiments, tmp_path: Path):
    settings = {**TINY, "vit": {**VIT, "depth": 1}, "ratios": (0.5, 0.8), **LOOKS}
    depths = {"task": {"monocular_depth": {"fit_images": 60}}, "metric": "r2_log"}
    table = pd.concat(
        [
            entropy.measured(experiments, {**settings, **changes}).assign(figure=figure)
            for figure, changes in (("9", {"patches": (2, 4)}), ("13", {"patches": (4, 8), **depths}))
        ]
    )
    assert table["score"].notna().all()
    carried_out(entropy, table, tmp_path)
    assert np.allclose(table.groupby(["figure", "patch", "ratio", "seed", "input"], dropna=False)["share"].sum(), 1)
    assert (table["mean"] <= np.log(3 * 256)).all()
    untrained = table[table["ratio"].isna()]
    assert set(untrained["input"]) == {entropy.SEEN, entropy.APART}


def entropies(by_patch: float, by_ratio: float, untrained: float = 5.0) -> pd.DataFrame:
    """Means that change by so much per doubling of the patch, and from one ratio to the next.

    Untrained encoders score so much less.
    """
    rows = [
        {"figure": figure, "patch": patch, "ratio": ratio, "seed": seed, "input": way, "low": 4.0, "share": 1.0}
        | {"mean": 4 + by_patch * np.log2(patch) + by_ratio * place + 0.001 * seed * np.log2(patch)}
        | {"score": 30 - untrained * (ratio is None) + 0.1 * seed * place}
        for figure in (9, 13)
        for patch in (2, 4, 8)
        for place, ratio in enumerate((0.1, 0.5, 0.9, None))
        for seed in (0, 1)
        for way in (entropy.SEEN, entropy.MASKED, entropy.APART)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("by_patch", "by_ratio", "rises", "less"),
    [
        (0.3, 0.1, "holds", "holds"),
        (0.3, -0.1, "holds", "holds"),
        (0.3, 0.2, "holds", "contradicted"),
        (-0.3, 0.1, "contradicted", "holds"),
        (0.0, 0.1, "not shown", "contradicted"),
    ],
)
def test_entropy_is_judged_both_ways(by_patch: float, by_ratio: float, rises: str, less: str):
    found = judged(entropy, entropies(by_patch, by_ratio))
    assert found == {"patch": rises, "ratio": less, "patch_64": rises, "ratio_64": less}


def test_an_untrained_encoder_is_judged_as_such():
    found = entropy.judge(entropies(0.3, 0.1, untrained=0.0))
    assert {finding.outcome for finding in found.values()} == {"not shown, too little training"}
    assert found["patch"].cases[f"untrained, {entropy.SEEN}"].startswith("holds: ")


def probed(gain: float, **columns: Any) -> list[dict[str, Any]]:
    """Rows of a linear probe, from the start and trained."""
    return [
        {
            **columns,
            "seed": seed,
            "step": 100 * after,
            "floor": not after,
            "probe": 30 + after * gain + 0.1 * seed * after,
        }
        for seed in (0, 1)
        for after in (0, 1)
    ]


def bases(start: float, end: float, similarity: float, gain: float = 5.0) -> pd.DataFrame:
    rows = [
        {"seed": seed, "step": step, "input": way, "distance": at + 0.01 * seed, "entropy": at / 2 + 0.01 * seed}
        | {"similarity": similarity + 0.001 * seed, "uniform": 16.0}
        for seed in (0, 1)
        for step, at in ((0, start), (50, (start + end) / 2), (100, end))
        for way in (basis.SEEN, basis.MASKED)
    ]
    return pd.DataFrame([*rows, *probed(gain)])


def test_basis_is_judged_both_ways():
    assert set(judged(basis, bases(3, 6, 0.3)).values()) == {"holds"}
    assert judged(basis, bases(9, 6, 1.0)) == dict.fromkeys(("local", "diffuse"), "contradicted") | {
        "adaptive": "not shown"  # no cosine is above 1
    }
    assert judged(basis, bases(9, 12, 0.3)) == {"local": "contradicted", "diffuse": "holds", "adaptive": "holds"}
    untold = {key: finding.outcome for key, finding in basis.judge(bases(3, 6, 0.3, gain=0.0)).items()}
    too_little = "not shown, too little training"
    assert untold == {"local": "holds", "diffuse": too_little, "adaptive": too_little}


def test_cka_from_end_to_end(experiments: Experiments, tmp_path: Path):
    table = cka.measured(experiments, {**TINY, "vit": {**VIT, "patch": 4}, "encoders": (1, 2, 3), "decoder": 1})
    carried_out(cka, table, tmp_path)
    pairs = table.dropna(subset="cka")
    assert pairs["cka"].between(0, 1 + 1e-9).all()
    assert (pairs["deepest"] == 3).all()
    layers = {1: 2, 2: 3, 3: 4}
    for depth, part in pairs[pairs["rows"] == cka.POOLED].groupby("depth"):
        others = 2 * (2 if depth < 3 else 1)  # seeds, of which the deepest leaves out itself
        assert len(part) == others * layers[depth] * layers[3]
    start = pairs[(pairs["layer"] == 0) & (pairs["other_layer"] == 0)].groupby(pairs["seed"] == pairs["other_seed"])
    assert start["cka"].mean()[True] > start["cka"].mean()[False], "one seed starts from the same embedding"
    assert table["rank"].dropna().between(1, 16).all()


def layered(similarity: Any, gain: float = 5.0) -> pd.DataFrame:
    """A table in which layer l of an encoder of depth n is so similar to all layers of the deepest."""
    rows = [
        {"depth": depth, "seed": seed, "deepest": 4, "other_seed": other, "rows": way, "layer": layer}
        | {"other_layer": match, "cka": similarity(layer, depth) + 1e-4 * seed * depth, "rank": None}
        for depth in (1, 2, 4)
        for seed, other in ((0, 1), (1, 0), (0, 0), (1, 1))
        for way in (cka.POOLED, cka.PATCHES)
        for layer in range(depth + 1)
        for match in range(5)
        if (depth, seed) != (4, other)
    ]
    return pd.DataFrame([*rows, *(row for depth in (1, 2, 4) for row in probed(gain, depth=depth))])


def test_cka_is_judged_both_ways():
    end = layered(lambda layer, depth: 0.9 - (0.3 / depth if layer == depth else 0.05 / depth))
    assert judged(cka, end) == {"larger": "holds", "last": "holds"}
    start = layered(lambda layer, depth: 0.9 - (0.05 / depth if layer == depth else 0.3 / depth))
    assert judged(cka, start) == {"larger": "holds", "last": "contradicted"}
    falling = judged(cka, layered(lambda layer, depth: 0.9 - 0.1 * depth))
    assert falling == {"larger": "contradicted", "last": "not shown"}
    untold = cka.judge(layered(lambda layer, depth: 0.9 - 0.3 / depth, gain=-1.0))
    assert {finding.outcome for finding in untold.values()} == {"not shown, too little training"}


def test_layers_are_matched_by_relative_depth():
    pairs = cka.matched(layered(lambda layer, depth: 0.5))
    found = {depth: set(zip(part["layer"], part["other_layer"], strict=True)) for depth, part in pairs.groupby("depth")}
    assert found == {1: {(0, 0), (1, 4)}, 2: {(0, 0), (1, 2), (2, 4)}, 4: {(n, n) for n in range(5)}}


def test_first_order_from_end_to_end(experiments: Experiments, tmp_path: Path):
    table = first_order.measured(experiments, {**TINY, "vit": {**VIT, "depth": 1}, "images": 2, "draws": 60})
    carried_out(first_order, table, tmp_path)
    assert table.dropna(subset="error")["floor"].to_list() == [True, False, True, False]
    table = table.dropna(subset="exact")
    assert len(table) == 2 * 2 * len(first_order.RATIOS)
    assert (table[["exact", "standard_error", *first_order.LEMMAS]] > 0).all(axis=None)
    least = table[table["ratio"] == min(first_order.RATIOS)]
    for lemma in first_order.LEMMAS:  # within what 60 masks can tell
        assert ((least[lemma] - least["exact"]).abs() < 6 * least["standard_error"] + 0.05 * least["exact"]).all()


def losses(error: Any, untrained: float = 2.0) -> pd.DataFrame:
    rows = [
        {"seed": seed, "image": image, "ratio": ratio, "exact": 100.0, "standard_error": 1.0}
        | {lemma: 100 * (1 - (1 + 0.01 * seed) * error(ratio)) for lemma in first_order.LEMMAS}
        for seed in (0, 1, 2)
        for image in (0, 1)
        for ratio in first_order.RATIOS
    ]
    starts = [
        {"seed": seed, "floor": floor, "error": untrained if floor else 1 + seed / 10}
        for seed in (0, 1, 2)
        for floor in (True, False)
    ]
    return pd.DataFrame([*rows, *starts])


@pytest.mark.parametrize(
    ("error", "vanishes", "small_only"),
    [
        (lambda m: m / 2, "holds", "holds"),
        (lambda m: m / 100, "holds", "contradicted"),
        (lambda m: 0.2 + 0.0 * m, "contradicted", "contradicted"),
        (lambda m: 0.001 / m**0.5, "contradicted", "contradicted"),
    ],
)
def test_first_order_is_judged_both_ways(error: Any, vanishes: str, small_only: str):
    assert judged(first_order, losses(error)) == {"vanishes": vanishes, "small_only": small_only}
    untold = first_order.judge(losses(error, untrained=1.0))
    assert {finding.outcome for finding in untold.values()} == {"not shown, too little training"}


def test_the_settings_are_those_of_the_runs_that_are_shared():
    for budget in ("quick", "full"):
        ours, theirs = entropy.SETTINGS[budget]["9"], ratio_patch.SETTINGS[budget]
        shared = ("dataset", "vit", "patches", "ratios", "pretrain", "seeds")
        assert [ours[key] for key in shared] == [theirs[key] for key in shared]
        some, whole = cka.SETTINGS[budget], layers.SETTINGS[budget]
        shared = ("dataset", "vit", "encoders", "pretrain", "seeds")
        assert [some[key] for key in shared] == [whole[key] for key in shared]
        assert some["decoder"] in whole["decoders"]
